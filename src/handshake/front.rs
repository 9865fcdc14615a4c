//! Accepting connections, and what becomes of each.

use super::control::NewListener;
use super::refusal::Refusal;
use super::socketio::{self, probe};
use super::state::{Accepted, Admitted, Ends, FrontState, Purpose, with_headers};
use super::tail::{Tail, Tailed};
use super::under_way::Place;
use crate::http::{Answer, Asked, Body, Patience, Reply};
use crate::listen::{Foreign, LAST_CONNECTIONS, Listener, Stream};
use crate::memory;
use crate::metrics::HandshakeRefusal;
use crate::request_policy::cors_if_allowed;
use crate::shard::{ClientSocket, NewClient, Upgraded};
use crate::shutdown::Shutdown;
use bytes::Bytes;
use fastwebsockets::upgrade::UpgradeFut;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// Most that is buffered of a request's head, and of an answer: twice what browsers and proxies send at the most.
const BUFFER_BYTES: usize = 16 * 1024;

/// What these listeners speak.
const SPOKEN: &str = "plain HTTP/1.1";
/// How long a client that speaks another protocol may take to read so.
const LINGER: Duration = Duration::from_secs(1);

/// So many handshakes leave behind memory that is worth giving back to the system, some 10 KiB each at the worst, once
/// none has begun or ended for [`QUIET`].
const BURST: usize = 100;
const QUIET: Duration = Duration::from_secs(1);

/// How long after stopping has begun clients that poll may still read their last answers.
const LAST_ANSWERS: Duration = Duration::from_millis(900);
/// How long they may in any case, once their sessions are over.
const LAST_ANSWER: Duration = Duration::from_millis(200);

/// The way in for the clients of a listener: see the module.
///
/// `pages` answers what is no client's; `adopt` takes over what arrives, and says which shard has it. Both run on the
/// runtime's thread and must not block. Cheap to clone when they are.
pub struct Front<P, A> {
    state: Arc<FrontState>,
    pages: P,
    adopt: A,
}

/// What a front hands over.
pub enum Arrival {
    /// A client.
    Client(NewClient),
    /// The socket of a client that the shard of this number has.
    Upgraded(usize, Upgraded),
}

/// What a connection's requests share.
pub(super) struct Visit<'a> {
    pub(super) ends: Ends,
    pub(super) place: &'a Arc<Place>,
    pub(super) patience: &'a Patience,
    /// Told of a request that is to be given up when the client closes its side.
    pub(super) tail: &'a Arc<Tail>,
}

/// hyper is to let go of the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is handed over")]
struct HandedOver;

impl<P, A> Front<P, A>
where
    P: Fn(Asked) -> Reply + Clone + Send + Sync + 'static,
    A: Fn(Arrival) -> usize + Clone + Send + Sync + 'static,
{
    /// A front for one listener.
    pub fn new(state: Arc<FrontState>, pages: P, adopt: A) -> Front<P, A> {
        Front { state, pages, adopt }
    }

    /// Serves a listener until stopping begins, which ends handshakes that are under way, or until it is removed, which
    /// does not. Must run on a runtime with one thread, as the listener asks.
    pub async fn run(self, new: NewListener, mut shutdown: Shutdown) {
        let NewListener { listener, mut removed } = new;
        let mut handshakes = JoinSet::new();
        let mut since_quiet = 0;
        loop {
            tokio::select! {
                () = shutdown.begun() => break,
                () = removed.begun() => {
                    self.accept_last(&mut handshakes, &listener).await;
                    break;
                }
                // Cancelled by a handshake's end: both waits start anew, and nothing was accepted yet.
                stream = self.accept(&listener) => {
                    since_quiet += 1;
                    self.begin(&mut handshakes, stream);
                }
                Some(_) = handshakes.join_next(), if !handshakes.is_empty() => {}
                // Begins anew with every handshake that begins or ends: only a quiet front gets there.
                () = tokio::time::sleep(QUIET), if since_quiet >= BURST => {
                    since_quiet = 0;
                    memory::give_back();
                }
            }
        }
        drop(listener);
        drop(removed);
        tokio::select! {
            biased;
            () = shutdown.begun() => self.stop(handshakes).await,
            () = async { while handshakes.join_next().await.is_some() {} } => {}
        }
    }

    /// Accepts whoever has connected before a listener goes: a connection that waits in the kernel would be reset with it.
    async fn accept_last(&self, handshakes: &mut JoinSet<()>, listener: &Listener) {
        let until = tokio::time::Instant::now() + LAST_CONNECTIONS;
        while let Ok(stream) = tokio::time::timeout_at(until, self.accept(listener)).await {
            self.begin(handshakes, stream);
            // Where there is always another one, the timeout does not see that its time has come.
            if tokio::time::Instant::now() >= until {
                return;
            }
        }
    }

    /// Ends handshakes that are under way. Sessions that are served by polling go on until their shards have closed
    /// them, for what there is must still be delivered, or until there is no connection left that could fetch it.
    pub(super) async fn stop(&self, mut handshakes: JoinSet<()>) {
        let state = &self.state;
        let until = tokio::time::Instant::now() + LAST_ANSWERS;
        state.under_way.stop();
        let over = async {
            state.sessions.empty().await;
            // What is said last must still be written; who does not take it is not waited for.
            let until = until.max(tokio::time::Instant::now() + LAST_ANSWER);
            let _ = tokio::time::timeout_at(until, state.under_way.answered()).await;
        };
        tokio::select! {
            () = over => {}
            () = async { while handshakes.join_next().await.is_some() {} } => {
                if state.under_way.is_empty() {
                    state.sessions.end();
                }
            }
        }
        handshakes.shutdown().await;
    }

    /// The next connection, once there is room for it. Cancel-safe.
    async fn accept(&self, listener: &Listener) -> Stream {
        let state = &self.state;
        let count = |ended| (0..ended).for_each(|_| state.metrics.refused(HandshakeRefusal::Handshakes));
        state.under_way.room(state.config().server.handshakes, count).await;
        listener.accept(&state.metrics.accept_errors).await
    }

    /// Begins the handshake of one connection as a task among `handshakes`.
    pub(super) fn begin(&self, handshakes: &mut JoinSet<()>, stream: Stream) {
        let place = Arc::new(self.state.under_way.enter());
        let front = Front::new(self.state.clone(), self.pages.clone(), self.adopt.clone());
        let served = place.clone();
        let task = handshakes.spawn(async move { front.handshake(stream, &served).await });
        place.set_task(task);
    }

    /// One connection from accept to upgrade, each of its requests within the deadline. The place is free when nothing
    /// is left of it here.
    async fn handshake(&self, stream: Stream, place: &Arc<Place>) {
        let patience = Patience::new(self.state.config().server.handshake_timeout);
        let tail = Arc::new(Tail::default());
        let peer = stream.peer().map(|peer| peer.ip().to_canonical());
        let visit =
            Visit { ends: Ends { peer, local: stream.local_ip() }, place, patience: &patience, tail: &tail };
        let served = async {
            if let Some(foreign) = stream.foreign().await {
                self.refuse(foreign, &stream).await;
                return None;
            }
            match stream {
                Stream::Tcp(stream, _) => {
                    let take = |stream: tokio::net::TcpStream| stream.into_std().map(ClientSocket::Tcp);
                    self.serve(stream, &visit, take).await
                }
                Stream::Unix(stream) => {
                    let take = |stream: tokio::net::UnixStream| stream.into_std().map(ClientSocket::Unix);
                    self.serve(stream, &visit, take).await
                }
            }
        };
        match within(&patience, served).await {
            Some(Some(arrival)) => {
                (self.adopt)(arrival);
            }
            Some(None) => {}
            // An idle connection has had its answers.
            None if place.is_idle() => {}
            None => self.state.metrics.refused(HandshakeRefusal::Timeout),
        }
    }

    /// Answers a connection that speaks another protocol.
    async fn refuse(&self, foreign: Foreign, stream: &Stream) {
        self.state.metrics.refused(HandshakeRefusal::BadRequest);
        tracing::debug!(reason = foreign.message(SPOKEN), "connection refused");
        // Nothing was written before, so that it fits. It fails where the client is gone.
        let _ = stream.try_write(foreign.answer(SPOKEN).as_bytes());
        stream.linger(LINGER).await;
    }

    /// Answers the requests of a connection. Returns what it brought if one was a handshake that passed; what hyper and
    /// tokio kept for the connection is gone by then.
    async fn serve<S>(
        &self,
        stream: S,
        visit: &Visit<'_>,
        take: fn(S) -> std::io::Result<ClientSocket>,
    ) -> Option<Arrival>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let accepted = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| {
            // At once, and not when the answer is first polled: hyper may look for the end before.
            visit.tail.keep();
            let accepted = &accepted;
            async move {
                let (response, client) = self.answer(visit, request).await;
                *accepted.lock().unwrap_or_else(PoisonError::into_inner) = client;
                response
            }
        });
        let mut connection = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(Tailed::new(stream, Arc::clone(visit.tail))), service)
            .with_upgrades();
        let ended = (&mut connection).await;
        let accepted_now = accepted.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (ended, accepted_now) {
            (Ok(()), Some(Accepted { upgrade, purpose })) => {
                let parts = upgraded(upgrade?).await?;
                match purpose {
                    Purpose::Client(admitted) => hand_over(*admitted, parts, take),
                    Purpose::Probe(turn) => probe(turn, parts, visit, take).await,
                }
            }
            (Err(_), Some(Accepted { upgrade: None, purpose: Purpose::Client(admitted) })) => {
                let parts = connection.into_parts()?;
                hand_over(*admitted, (parts.io.into_inner().into_inner(), parts.read_buf), take)
            }
            (Ok(()), None) => None,
            (Err(error), _) => {
                tracing::debug!(%error, "connection ended within its request");
                None
            }
        }
    }

    async fn answer(
        &self,
        visit: &Visit<'_>,
        request: Request<Incoming>,
    ) -> (Result<Answer, HandedOver>, Option<Accepted>) {
        if visit.place.begin() {
            visit.patience.renew();
        }
        let (parts, body) = request.into_parts();
        if socketio::is_asked(&self.state.config().socketio, parts.uri.path()) {
            visit.tail.tell();
            let (answer, accepted) = socketio::answer(&self.state, &self.adopt, visit, parts, body).await;
            return (Ok(answer), accepted);
        }
        if self.state.under_way.is_stopping() {
            return (Ok(closing(Refusal::stopping().response().map(Body::from))), None);
        }
        let refusal = match parts.uri.path() {
            "/ws" => match self.state.admit(visit.ends, parts, body) {
                Ok((response, accepted)) => return (Ok(response.map(Body::from)), Some(accepted)),
                Err(refusal) => refusal,
            },
            "/sse" => return self.answer_stream(visit.ends, &parts),
            _ => {
                let (local, patience) = (visit.ends.local, visit.patience.clone());
                let asked = Asked { parts, body, local, patience };
                return (Ok(closing((self.pages)(asked).await)), None);
            }
        };
        self.state.metrics.refused(refusal.reason);
        (Ok(closing(refusal.response().map(Body::from))), None)
    }

    /// A stream has no answer from here.
    fn answer_stream(&self, ends: Ends, parts: &Parts) -> (Result<Answer, HandedOver>, Option<Accepted>) {
        let refusal = if parts.method == Method::OPTIONS {
            match self.state.preflight(ends, parts) {
                Ok(response) => return (Ok(closing(response.map(Body::from))), None),
                Err(refusal) => refusal,
            }
        } else {
            match self.state.admit_stream(ends, parts) {
                Ok(accepted) => return (Err(HandedOver), Some(accepted)),
                Err(refusal) => refusal,
            }
        };
        self.state.metrics.refused(refusal.reason);
        let origins = &self.state.config().server.allowed_origins;
        let cors = cors_if_allowed(&parts.headers, origins);
        (Ok(closing(with_headers(refusal.response(), cors).map(Body::from))), None)
    }
}

/// What comes of serving, if patience lasts.
async fn within<T>(patience: &Patience, serve: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        served = serve => Some(served),
        () = patience.over() => None,
    }
}

/// An answer after which the connection is closed. Said by the answer itself: told to keep nothing alive, hyper adds
/// `close` to the `Connection` of an upgrade as well, and strict clients refuse that.
pub(super) fn closing(mut response: Answer) -> Answer {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Takes the bare socket out of hyper's hands after an upgrade, with what the client sent early.
async fn upgraded<S>(socket: UpgradeFut) -> Option<(S, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = match socket.await {
        Ok(websocket) => websocket.into_inner().into_inner(),
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            return None;
        }
    };
    let parts =
        upgraded.downcast::<TokioIo<Tailed<S>>>().expect("the connection was served on this very type");
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}

/// Takes the bare socket out of tokio's hands. It stays non-blocking, its registration with tokio's poll is gone, and of
/// hyper's 8 KiB buffer only bytes that the client sent early are copied.
fn hand_over<S>(
    admitted: Admitted,
    (stream, read_buf): (S, Bytes),
    take: fn(S) -> std::io::Result<ClientSocket>,
) -> Option<Arrival> {
    let early = read_buf.to_vec();
    drop(read_buf);
    match take(stream) {
        Ok(socket) => Some(Arrival::Client(admitted.with_socket(socket, early))),
        Err(error) => {
            tracing::debug!(%error, "socket cannot be handed over");
            None
        }
    }
}
