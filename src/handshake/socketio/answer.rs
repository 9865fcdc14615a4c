//! What each request of Engine.IO is answered.

use super::super::front::{Arrival, Visit, closing};
use super::super::refusal::{Code, Refusal};
use super::super::state::{
    Accepted, Admitted, FrontConfig, FrontState, Purpose, no_content, upgraded, with_headers,
};
use super::frames;
use super::repeat::Mark;
use super::request::{Asked, check};
use super::session::{Kind, NOOP, Session, Taken, Turn};
use crate::config::{Namespace, SocketIoConfig};
use crate::http::{Answer, Body};
use crate::metrics::HandshakeRefusal;
use crate::request_policy::{cors, cors_if_allowed, preflight};
use crate::shard::{ClientSocket, NewSocketIo};
use crate::socketio::{EngineOptions, EnginePacket, Received, packets, push_open, random_id};
use crate::wire::{SocketIo, Wire, frame};
use bytes::BytesMut;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what a request brings may wait until its shard takes it. A shard reads at once, unless the client does not
/// read what it is answered.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Descriptors of a session beside its client's: the other end of its socket, a connection to poll and one to post.
const POLLING_DESCRIPTORS: usize = 3;

/// How long the end that a client sends may wait for the poll that it has sent at the same time, on another connection: that is
/// to hear of it, whichever arrives first.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Whether a path is the one where Socket.IO is served. The slash at its end may be left out.
pub(in crate::handshake) fn is_asked(config: &SocketIoConfig, path: &str) -> bool {
    let rest = path.strip_prefix(config.path.trim_end_matches('/'));
    config.enabled && rest.is_some_and(|rest| rest.is_empty() || rest == "/")
}

/// Answers a request, and says what is to become of its connection if it is no longer HTTP's. `adopt` takes a client
/// over whose socket is the daemon's own.
pub(in crate::handshake) async fn answer<A>(
    state: &Arc<FrontState>,
    adopt: &A,
    visit: &Visit<'_>,
    parts: Parts,
    body: Incoming,
) -> (Answer, Option<Accepted>)
where
    A: Fn(Arrival) -> usize,
{
    let headers = parts.headers.clone();
    let served = Served { state, adopt, visit };
    match served.answer(parts, body).await {
        Ok(Outcome::Accepted(response, accepted)) => (response, Some(accepted)),
        Ok(Outcome::Polled { response, is_last }) => {
            visit.patience.renew();
            let response = with_headers(response, cors(&headers));
            // Nothing more will come, so that a daemon that stops need not wait for this connection.
            let is_end = is_last && state.under_way.is_stopping();
            (if is_end { closing(response) } else { lasting(response, visit) }, None)
        }
        Ok(Outcome::Answer(response)) => {
            visit.place.idle(state.idle_limit());
            visit.patience.renew();
            (lasting(with_headers(response, cors(&headers)), visit), None)
        }
        Err(refusal) => {
            let config = state.config();
            state.log_refusal(&refusal, &headers);
            // A session that is over is how most of them end.
            if refusal.code != Some(Code::Session) {
                state.metrics.refused(refusal.reason);
            }
            let cors = cors_if_allowed(&headers, &config.server.allowed_origins);
            visit.patience.renew();
            (closing(with_headers(refusal.response(), cors).map(Body::from)), None)
        }
    }
}

/// Who answers.
struct Served<'a, A> {
    state: &'a Arc<FrontState>,
    adopt: &'a A,
    visit: &'a Visit<'a>,
}

/// What becomes of a request that is not refused.
enum Outcome {
    /// An answer; there may be more requests.
    Answer(Answer),
    /// What a session has for its client, after which it is over if this is the last. The connection is no idle one
    /// before that is written.
    Polled { response: Answer, is_last: bool },
    /// An answer after which the connection is no longer HTTP's.
    Accepted(Answer, Accepted),
}

type Answered = Result<Outcome, Refusal>;

impl<A: Fn(Arrival) -> usize> Served<'_, A> {
    async fn answer(&self, parts: Parts, body: Incoming) -> Answered {
        let config = self.state.config();
        let asked = check(&parts, &self.state.known(&config, self.visit.ends))?;
        let is_new = matches!(asked, Asked::Open | Asked::OpenWebSocket | Asked::Probe(_));
        if is_new && self.state.under_way.is_stopping() {
            return Err(Refusal::stopping());
        }
        let mark = Mark::of(parts.uri.query());
        match asked {
            Asked::OpenWebSocket => self.open_websocket(&config, parts, body),
            Asked::Probe(sid) => self.probe(&sid, parts, body),
            Asked::Preflight => {
                let answer = preflight(&parts.headers, HeaderValue::from_static("GET, POST"));
                Ok(Outcome::Answer(no_content(answer).map(Body::from)))
            }
            Asked::Open => self.open(&config, &parts.headers).map(Outcome::Answer),
            // What waits must not hold a configuration that a reload replaces.
            Asked::Poll(sid) => {
                drop(config);
                self.poll(&sid, mark).await
            }
            Asked::Post(sid) => {
                let most = config.limits.client.message_size;
                drop(config);
                self.post((&sid, mark), body, most).await.map(Outcome::Answer)
            }
        }
    }

    /// Opens a session that is served by polling.
    fn open(&self, config: &FrontConfig, headers: &HeaderMap) -> Result<Answer, Refusal> {
        let peer = self.visit.ends.peer;
        let (permit, forwarded) = self.state.take_place(config, peer, headers)?;
        let full = || Refusal::limit(HandshakeRefusal::Clients);
        let beside = self.state.clients.take_beside(POLLING_DESCRIPTORS).ok_or_else(full)?;
        let sid = random_id().map_err(|error| lacking(&error))?;
        let (ours, theirs) = pair().map_err(|error| lacking(&error))?;
        let mut open = Vec::new();
        push_open(&mut open, &sid, true, &options(config));
        let session = Session::new(sid.clone(), ours, &self.state.sessions);
        let guard = self.state.sessions.add(Arc::clone(&session), beside);
        let admitted = Admitted {
            wire: wire(),
            head: Vec::new(),
            rooms: Vec::new(),
            positions: Vec::new(),
            permit,
            // The socket has no address that would be the client's.
            forwarded: forwarded.or(peer),
            socketio: Some(Box::new(new_socketio(config, sid, Some(Box::new(guard))))),
        };
        let client = admitted.with_socket(ClientSocket::Unix(theirs), Vec::new());
        session.set_shard((self.adopt)(Arrival::Client(client)));
        Ok(text(Full::from(open).into()))
    }

    /// Opens a session over WebSocket: its first frame is what polling has as the answer.
    fn open_websocket(&self, config: &FrontConfig, parts: Parts, body: Incoming) -> Answered {
        let (permit, forwarded) = self.state.take_place(config, self.visit.ends.peer, &parts.headers)?;
        let sid = random_id().map_err(|error| lacking(&error))?;
        let mut head = Vec::new();
        frame::push_text(&mut head, 0, |out| push_open(out, &sid, false, &options(config)));
        let admitted = Admitted {
            wire: wire(),
            head,
            rooms: Vec::new(),
            positions: Vec::new(),
            permit,
            forwarded,
            socketio: Some(Box::new(new_socketio(config, sid, None))),
        };
        accept(parts, body, Purpose::Client(Box::new(admitted)))
    }

    /// Lets a session's client try a WebSocket. What is wrong with that is said in a close frame, where a browser shows
    /// it; the status of a handshake that fails it hides.
    fn probe(&self, sid: &str, parts: Parts, body: Incoming) -> Answered {
        let turn = match self.state.sessions.get(sid).map(|session| session.begin(Kind::Probe, None)) {
            Some(Ok(turn)) => Ok(turn),
            None | Some(Err(Taken::Over)) => Err("no such session polls: it is over, or has its socket"),
            Some(Err(Taken::Overlap | Taken::Repeated)) => {
                self.state.metrics.refused(HandshakeRefusal::BadRequest);
                Err("the session tries another socket already")
            }
        };
        accept(parts, body, Purpose::Probe(turn))
    }

    /// Waits for what a session has for its client.
    async fn poll(&self, sid: &str, mark: Option<Mark>) -> Answered {
        let turn = self.begin((sid, mark), Kind::Poll, "a session is polled by one request at a time")?;
        self.wait();
        let payload = turn.take().await;
        let is_last = turn.is_over();
        let (state, place) = (Arc::clone(self.state), Arc::clone(self.visit.place));
        // Should the connection end before this is called, the client lacks something, and the session is over.
        let sent = move || {
            turn.done();
            if !(is_last && state.under_way.is_stopping()) {
                place.idle(state.idle_limit());
            }
        };
        let body = Body::in_pieces(payload.into(), self.visit.patience.clone(), sent);
        Ok(Outcome::Polled { response: text(body), is_last })
    }

    /// Brings a session what its client has sent. What is malformed ends it.
    async fn post(
        &self,
        session: (&str, Option<Mark>),
        body: Incoming,
        most: usize,
    ) -> Result<Answer, Refusal> {
        let turn = self.begin(session, Kind::Post, "a session takes from one request at a time")?;
        let Some(payload) = read(body, most).await? else {
            // Nothing of it has gone any further: the session is as it was.
            turn.done();
            let hint = format!(
                "a payload has {most} bytes at most (limits.client.message_size, told as maxPayload)"
            );
            let refusal = Refusal::bad_request(StatusCode::PAYLOAD_TOO_LARGE, hint);
            return Err(refusal.with_code(Code::Request));
        };
        if turn.is_repeated(&payload) {
            turn.done();
            return Ok(text(Full::from("ok").into()));
        }
        let (frames, is_end) = into_frames(&payload)?;
        self.wait();
        if is_end {
            let _ = tokio::time::timeout(POLL_TIMEOUT, turn.polled()).await;
        }
        match tokio::time::timeout(WRITE_TIMEOUT, turn.write(&frames)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unknown()),
            Err(_) => {
                let hint = "the session takes nothing, since its client does not read what it is answered";
                return Err(Refusal::engine(Code::Request, hint));
            }
        }
        turn.brought(&payload);
        if is_end {
            turn.end_session(NOOP);
        }
        turn.done();
        Ok(text(Full::from("ok").into()))
    }

    /// Begins a request of a session.
    fn begin(&self, (sid, mark): (&str, Option<Mark>), kind: Kind, hint: &str) -> Result<Turn, Refusal> {
        let session = self.state.sessions.get(sid).ok_or_else(unknown)?;
        session.begin(kind, mark).map_err(|taken| match taken {
            Taken::Over | Taken::Repeated => unknown(),
            Taken::Overlap => Refusal::engine(Code::Request, hint),
        })
    }

    /// From here on a request is its session's, and no handshake.
    fn wait(&self) {
        self.visit.patience.suspend();
        self.visit.place.wait();
    }
}

/// Reads a body to its end. None when it is too long.
async fn read(mut body: Incoming, most: usize) -> Result<Option<String>, Refusal> {
    if hyper::body::Body::size_hint(&body).lower() > most as u64 {
        return Ok(None);
    }
    let mut read = BytesMut::new();
    while let Some(next) = body.frame().await {
        let next = next.map_err(|_| Refusal::engine(Code::Request, "the payload ends too early"))?;
        // Trailers say nothing.
        let Ok(piece) = next.into_data() else { continue };
        if read.len() + piece.len() > most {
            return Ok(None);
        }
        read.extend_from_slice(&piece);
    }
    let text = String::from_utf8(read.into());
    text.map(Some).map_err(|_| Refusal::engine(Code::Request, "a payload is text in UTF-8"))
}

/// The packets of a payload as frames, and whether the last of them ends the session; what comes after one that does
/// means nothing.
fn into_frames(payload: &str) -> Result<(Vec<u8>, bool), Refusal> {
    let mut frames = Vec::with_capacity(payload.len() + 16);
    for packet in packets(payload) {
        let packet = packet.map_err(|fault| Refusal::engine(Code::Request, fault.to_string()))?;
        frames::push(&mut frames, &packet);
        if matches!(packet, EnginePacket::Text(_, Received::Close)) {
            return Ok((frames, true));
        }
    }
    Ok((frames, false))
}

/// The two ends of a session's socket: this side's, and the shard's.
fn pair() -> io::Result<(tokio::net::UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs))
}

/// How a client is written to before it has connected to a namespace.
fn wire() -> Wire {
    Wire::SocketIo(SocketIo::new(Namespace::main(), false))
}

fn options(config: &FrontConfig) -> EngineOptions {
    EngineOptions {
        ping_interval: config.socketio.ping_interval,
        ping_timeout: config.socketio.ping_timeout,
        max_payload: config.limits.client.message_size,
    }
}

fn new_socketio(config: &FrontConfig, sid: Box<str>, session: Option<Box<dyn Send>>) -> NewSocketIo {
    let EngineOptions { ping_interval, ping_timeout, .. } = options(config);
    NewSocketIo { sid, opened: Instant::now(), ping_interval, ping_timeout, session }
}

fn accept(parts: Parts, body: Incoming, purpose: Purpose) -> Answered {
    let (response, upgrade) = upgraded(parts, body).map_err(|refusal| refusal.with_code(Code::Request))?;
    Ok(Outcome::Accepted(response.map(Body::from), Accepted { upgrade: Some(upgrade), purpose }))
}

fn unknown() -> Refusal {
    Refusal::engine(Code::Session, "the session is over, or another process has it: open a new one")
}

/// The system has nothing left to make a session of.
fn lacking(error: &dyn std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "no session can be opened");
    let refusal = Refusal::limit(HandshakeRefusal::Clients);
    Refusal { text: "the system has nothing left for a session".to_owned(), ..refusal }
}

fn text(body: Body) -> Answer {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer after which the connection may bring more requests, for as long as a handshake may take.
fn lasting(response: Answer, visit: &Visit<'_>) -> Answer {
    // Known to Node and others: who closes first knows that no request is on its way.
    let seconds = visit.patience.step().as_secs();
    let told = HeaderValue::try_from(format!("timeout={seconds}")).ok().filter(|_| seconds > 1);
    with_headers(
        response,
        told.map(|told| (HeaderName::from_static("keep-alive"), told)).into_iter().collect(),
    )
}
