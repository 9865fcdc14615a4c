//! Accepting connections, and what becomes of each.

use super::address::forwarded;
use super::control::NewListener;
use super::refusal::Refusal;
use super::request::check_request;
use super::stream::{Known, Names, check_stream, cors_of_refusal, preflight};
use super::under_way::{Place, UnderWay};
use crate::config::{Config, LimitsConfig, OriginPattern, ServerConfig};
use crate::http::{Answer, Asked, Body, Patience, Reply};
use crate::limits::{ClientCounter, ClientPermit};
use crate::listen::{Listener, Stream};
use crate::memory;
use crate::metrics::{HandshakeRefusal, Metrics};
use crate::origin::toml_to_allow;
use crate::shard::{ClientSocket, NewClient};
use crate::shutdown::Shutdown;
use crate::wire::{PROTOCOL, Position, SubscribeRoom, Wire};
use arc_swap::ArcSwap;
use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// Most that is buffered of a request's head, and of an answer: twice what browsers and proxies send at the most.
const BUFFER_BYTES: usize = 16 * 1024;

/// How often a refused origin is logged; who is refused can ask as often as it likes.
const ORIGIN_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// So many handshakes leave behind memory that is worth giving back to the system, some 10 KiB each at the worst, once
/// none has begun or ended for [`QUIET`].
const BURST: usize = 100;
const QUIET: Duration = Duration::from_secs(1);

/// What a front needs of the configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontConfig {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `ingest.hosts`.
    pub hosts: Vec<String>,
}

/// What the fronts of all listeners share.
pub struct FrontState {
    /// Replaced by a reload; every handshake reads it anew.
    config: ArcSwap<FrontConfig>,
    clients: Arc<ClientCounter>,
    metrics: Arc<Metrics>,
    under_way: Arc<UnderWay>,
    names: Box<Names>,
    /// When an origin may be logged again.
    next_origin_log: Mutex<Instant>,
}

/// The way in for the clients of a listener: see the module.
///
/// `pages` answers what is not `GET /ws`; `adopt` takes over a client. Both run on the runtime's thread and must not block.
/// Cheap to clone when they are.
pub struct Front<P, A> {
    state: Arc<FrontState>,
    pages: P,
    adopt: A,
}

/// The two ends of a connection; none on a Unix socket.
#[derive(Clone, Copy)]
struct Ends {
    peer: Option<IpAddr>,
    local: Option<IpAddr>,
}

/// A client that passed every check, for after its request.
struct Accepted {
    /// The socket's way out of hyper's hands; none for a stream, whose request hyper does not answer.
    upgrade: Option<UpgradeFut>,
    wire: Wire,
    head: Vec<u8>,
    rooms: Vec<SubscribeRoom>,
    positions: Vec<Position>,
    permit: ClientPermit,
    forwarded: Option<IpAddr>,
}

/// hyper is to let go of the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is handed over")]
struct HandedOver;

impl FrontConfig {
    /// What a configuration says.
    pub fn of(config: &Config) -> FrontConfig {
        FrontConfig {
            server: config.server.clone(),
            limits: config.limits.clone(),
            hosts: config.ingest.hosts.clone(),
        }
    }
}

impl FrontState {
    /// State of fronts that count clients in `clients`, and know from `names` which rooms there are.
    pub fn new(
        config: FrontConfig,
        clients: Arc<ClientCounter>,
        metrics: Arc<Metrics>,
        names: Box<Names>,
    ) -> Arc<FrontState> {
        Arc::new(FrontState {
            config: ArcSwap::from_pointee(config),
            clients,
            metrics,
            under_way: Arc::default(),
            names,
            next_origin_log: Mutex::new(Instant::now()),
        })
    }

    /// Puts a configuration in force for every handshake that begins from now on.
    pub fn set_config(&self, config: FrontConfig) {
        self.config.store(Arc::new(config));
    }

    /// Handshakes under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Checks a request for `/ws`, and takes a place for the client.
    fn admit(
        &self,
        peer: Option<IpAddr>,
        parts: Parts,
        body: Incoming,
    ) -> Result<(Response<Full<Bytes>>, Accepted), Refusal> {
        let config = self.config.load();
        let checked = check_request(&parts, &config.server.allowed_origins);
        let checked = checked.inspect_err(|refusal| self.log_refusal(refusal, &parts.headers))?;
        let forwarded = forwarded(peer, &parts.headers, &config.server.trusted_proxies);
        let permit = self.clients.admit(forwarded.or(peer), &config.limits).map_err(Refusal::limit)?;
        let (response, upgrade) = upgrade(Request::from_parts(parts, body))
            .map_err(|error| Refusal::bad_request(StatusCode::BAD_REQUEST, error.to_string()))?;
        let mut response = response.map(|_| Full::default());
        if checked.has_protocol {
            let name = header::SEC_WEBSOCKET_PROTOCOL;
            response.headers_mut().insert(name, HeaderValue::from_static(PROTOCOL));
        }
        let rooms = checked.rooms.into_iter().map(SubscribeRoom::to).collect();
        let accepted = Accepted {
            upgrade: Some(upgrade),
            wire: Wire::WebSocket,
            head: Vec::new(),
            rooms,
            positions: Vec::new(),
            permit,
            forwarded,
        };
        Ok((response, accepted))
    }

    /// Checks a request for `/sse`, and takes a place for the client.
    fn admit_stream(&self, ends: Ends, parts: &Parts) -> Result<Accepted, Refusal> {
        let config = self.config.load();
        let asked = check_stream(parts, &self.known(&config, ends));
        let asked = asked.inspect_err(|refusal| self.log_refusal(refusal, &parts.headers))?;
        let forwarded = forwarded(ends.peer, &parts.headers, &config.server.trusted_proxies);
        let permit = self.clients.admit(forwarded.or(ends.peer), &config.limits).map_err(Refusal::limit)?;
        let super::stream::Asked { rooms, positions, wire, head } = asked;
        Ok(Accepted { upgrade: None, wire, head, rooms, positions, permit, forwarded })
    }

    /// Answers what a browser asks before a request for `/sse`.
    fn preflight(&self, ends: Ends, headers: &HeaderMap) -> Result<Response<Full<Bytes>>, Refusal> {
        let config = self.config.load();
        let allowed = preflight(headers, &self.known(&config, ends));
        allowed.map(no_content).inspect_err(|refusal| self.log_refusal(refusal, headers))
    }

    fn known<'a>(&'a self, config: &'a FrontConfig, ends: Ends) -> Known<'a> {
        Known {
            local: ends.local,
            origins: &config.server.allowed_origins,
            hosts: &config.hosts,
            rooms: &*self.names,
            most_rooms: config.limits.client.rooms,
        }
    }

    fn log_refusal(&self, refusal: &Refusal, headers: &HeaderMap) {
        if refusal.reason == HandshakeRefusal::Origin {
            self.log_origin(headers, &self.config.load().server.allowed_origins);
        }
    }

    fn log_origin(&self, headers: &HeaderMap, patterns: &[OriginPattern]) {
        let now = Instant::now();
        let mut next = self.next_origin_log.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *next {
            return;
        }
        *next = now + ORIGIN_LOG_INTERVAL;
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or("");
        let shown: String = origin.chars().take(200).collect();
        let add = toml_to_allow(origin, patterns).map_or_else(
            || "nothing: only \"*\" in server.allowed_origins covers it".to_owned(),
            |toml| format!("[server] {toml}"),
        );
        tracing::warn!(origin = ?shown, %add, "page refused");
    }
}

impl<P, A> Front<P, A>
where
    P: Fn(Asked) -> Reply + Clone + Send + Sync + 'static,
    A: Fn(NewClient) + Clone + Send + Sync + 'static,
{
    /// A front for one listener.
    pub fn new(state: Arc<FrontState>, pages: P, adopt: A) -> Front<P, A> {
        Front { state, pages, adopt }
    }

    /// Serves a listener until stopping begins, which ends handshakes that are under way, or until it is removed, which does
    /// not. Must run on a runtime with one thread, as the listener asks.
    pub async fn run(self, new: NewListener, mut shutdown: Shutdown) {
        let NewListener { listener, mut removed } = new;
        let mut handshakes = JoinSet::new();
        let mut since_quiet = 0;
        loop {
            tokio::select! {
                () = shutdown.begun() => return handshakes.shutdown().await,
                () = removed.begun() => break,
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
        tokio::select! {
            () = shutdown.begun() => {}
            () = async { while handshakes.join_next().await.is_some() {} } => {}
        }
        handshakes.shutdown().await;
    }

    /// The next connection, once there is room for it. Cancel-safe.
    async fn accept(&self, listener: &Listener) -> Stream {
        let state = &self.state;
        let count = |ended| (0..ended).for_each(|_| state.metrics.refused(HandshakeRefusal::Handshakes));
        state.under_way.room(state.config.load().server.handshakes, count).await;
        listener.accept(&state.metrics.accept_errors).await
    }

    /// Begins the handshake of one connection as a task among `handshakes`.
    pub(super) fn begin(&self, handshakes: &mut JoinSet<()>, stream: Stream) {
        let place = self.state.under_way.enter();
        let number = place.number();
        let front = Front::new(self.state.clone(), self.pages.clone(), self.adopt.clone());
        let task = handshakes.spawn(async move { front.handshake(stream, place).await });
        self.state.under_way.set_task(number, task);
    }

    /// One connection from accept to upgrade, within the deadline. The place is free when nothing is left of it here.
    async fn handshake(&self, stream: Stream, _place: Place) {
        let patience = Patience::new(self.state.config.load().server.handshake_timeout);
        let served = match stream {
            Stream::Tcp(stream, peer) => {
                let peer = Some(peer.ip().to_canonical());
                let ends = Ends { peer, local: stream.local_addr().ok().map(|local| local.ip()) };
                let take = |stream: tokio::net::TcpStream| stream.into_std().map(ClientSocket::Tcp);
                within(&patience, self.serve(stream, ends, &patience, take)).await
            }
            Stream::Unix(stream) => {
                let ends = Ends { peer: None, local: None };
                let take = |stream: tokio::net::UnixStream| stream.into_std().map(ClientSocket::Unix);
                within(&patience, self.serve(stream, ends, &patience, take)).await
            }
        };
        match served {
            Some(Some(client)) => (self.adopt)(client),
            Some(None) => {}
            None => self.state.metrics.refused(HandshakeRefusal::Timeout),
        }
    }

    /// Answers the one request of a connection. Returns the client if it was a handshake that passed; what hyper and
    /// tokio kept for the connection is gone by then.
    async fn serve<S>(
        &self,
        stream: S,
        ends: Ends,
        patience: &Patience,
        take: fn(S) -> std::io::Result<ClientSocket>,
    ) -> Option<NewClient>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let accepted = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| async {
            let (response, client) = self.answer(ends, request, patience.clone()).await;
            *accepted.lock().unwrap_or_else(PoisonError::into_inner) = client;
            response
        });
        let mut connection = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let ended = (&mut connection).await;
        let accepted_now = accepted.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (ended, accepted_now) {
            (Ok(()), Some(mut accepted)) => {
                let parts = upgraded(accepted.upgrade.take()?).await?;
                hand_over(accepted, parts, take)
            }
            (Err(_), Some(accepted)) if accepted.upgrade.is_none() => {
                let parts = connection.into_parts()?;
                hand_over(accepted, (parts.io.into_inner(), parts.read_buf), take)
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
        ends: Ends,
        request: Request<Incoming>,
        patience: Patience,
    ) -> (Result<Answer, HandedOver>, Option<Accepted>) {
        let (parts, body) = request.into_parts();
        let refusal = match parts.uri.path() {
            "/ws" => match self.state.admit(ends.peer, parts, body) {
                Ok((response, accepted)) => return (Ok(response.map(Body::from)), Some(accepted)),
                Err(refusal) => refusal,
            },
            "/sse" => return self.answer_stream(ends, &parts),
            _ => {
                let asked = Asked { parts, body, local: ends.local, patience };
                return (Ok(closing((self.pages)(asked).await)), None);
            }
        };
        self.state.metrics.refused(refusal.reason);
        (Ok(closing(refusal.response().map(Body::from))), None)
    }

    /// A stream has no answer from here.
    fn answer_stream(&self, ends: Ends, parts: &Parts) -> (Result<Answer, HandedOver>, Option<Accepted>) {
        let refusal = if parts.method == Method::OPTIONS {
            match self.state.preflight(ends, &parts.headers) {
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
        let origins = &self.state.config.load().server.allowed_origins;
        let cors = cors_of_refusal(&parts.headers, origins);
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
fn closing(mut response: Answer) -> Answer {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn no_content(headers: Vec<(HeaderName, String)>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    with_headers(response, headers)
}

fn with_headers(
    mut response: Response<Full<Bytes>>,
    headers: Vec<(HeaderName, String)>,
) -> Response<Full<Bytes>> {
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).expect("it was the value of a header, or is a plain word");
        response.headers_mut().insert(name, value);
    }
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
    let parts = upgraded.downcast::<TokioIo<S>>().expect("the connection was served on this very type");
    Some((parts.io.into_inner(), parts.read_buf))
}

/// Takes the bare socket out of tokio's hands. It stays non-blocking, its registration with tokio's poll is gone, and of
/// hyper's 8 KiB buffer only bytes that the client sent early are copied.
fn hand_over<S>(
    accepted: Accepted,
    (stream, read_buf): (S, Bytes),
    take: fn(S) -> std::io::Result<ClientSocket>,
) -> Option<NewClient> {
    let Accepted { upgrade: _, wire, head, rooms, positions, permit, forwarded } = accepted;
    let early = read_buf.to_vec();
    drop(read_buf);
    match take(stream) {
        Ok(socket) => {
            Some(NewClient { socket, wire, head, early, rooms, positions, permit, forwarded, socketio: None })
        }
        Err(error) => {
            tracing::debug!(%error, "socket cannot be handed over");
            None
        }
    }
}
