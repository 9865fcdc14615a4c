//! Accepting connections, and what becomes of each.

use super::address::forwarded;
use super::control::NewListener;
use super::refusal::Refusal;
use super::request::check_request;
use super::under_way::{Place, UnderWay};
use crate::config::{LimitsConfig, OriginPattern, ServerConfig};
use crate::http::{Asked, Reply};
use crate::limits::{ClientCounter, ClientPermit};
use crate::listen::{Listener, Stream};
use crate::memory;
use crate::metrics::{HandshakeRefusal, Metrics};
use crate::origin::toml_to_allow;
use crate::shard::{ClientSocket, NewClient};
use crate::shutdown::Shutdown;
use crate::wire::PROTOCOL;
use arc_swap::ArcSwap;
use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
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
}

/// What the fronts of all listeners share.
pub struct FrontState {
    /// Replaced by a reload; every handshake reads it anew.
    config: ArcSwap<FrontConfig>,
    clients: Arc<ClientCounter>,
    metrics: Arc<Metrics>,
    under_way: Arc<UnderWay>,
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

/// What `GET /ws` leaves for after the upgrade.
struct Accepted {
    socket: UpgradeFut,
    rooms: Vec<String>,
    permit: ClientPermit,
    forwarded: Option<IpAddr>,
}

impl FrontState {
    /// State of fronts that count clients in `clients`.
    pub fn new(config: FrontConfig, clients: Arc<ClientCounter>, metrics: Arc<Metrics>) -> Arc<FrontState> {
        Arc::new(FrontState {
            config: ArcSwap::from_pointee(config),
            clients,
            metrics,
            under_way: Arc::default(),
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
        let checked = check_request(&parts, &config.server.allowed_origins).inspect_err(|refusal| {
            if refusal.reason == HandshakeRefusal::Origin {
                self.log_origin(&parts.headers, &config.server.allowed_origins);
            }
        })?;
        let forwarded = forwarded(peer, &parts.headers, &config.server.trusted_proxies);
        let permit = self.clients.admit(forwarded.or(peer), &config.limits).map_err(Refusal::limit)?;
        let (response, socket) = upgrade(Request::from_parts(parts, body))
            .map_err(|error| Refusal::bad_request(StatusCode::BAD_REQUEST, error.to_string()))?;
        let mut response = response.map(|_| Full::default());
        if checked.has_protocol {
            let name = header::SEC_WEBSOCKET_PROTOCOL;
            response.headers_mut().insert(name, HeaderValue::from_static(PROTOCOL));
        }
        Ok((response, Accepted { socket, rooms: checked.rooms, permit, forwarded }))
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
        let deadline = self.state.config.load().server.handshake_timeout;
        let served = match stream {
            Stream::Tcp(stream, peer) => {
                let peer = Some(peer.ip().to_canonical());
                let ends = Ends { peer, local: stream.local_addr().ok().map(|local| local.ip()) };
                let serve = self.serve(stream, ends, |stream| stream.into_std().map(ClientSocket::Tcp));
                tokio::time::timeout(deadline, serve).await
            }
            Stream::Unix(stream) => {
                let ends = Ends { peer: None, local: None };
                let serve = self.serve(stream, ends, |stream| stream.into_std().map(ClientSocket::Unix));
                tokio::time::timeout(deadline, serve).await
            }
        };
        match served {
            Ok(Some(client)) => (self.adopt)(client),
            Ok(None) => {}
            Err(_) => self.state.metrics.refused(HandshakeRefusal::Timeout),
        }
    }

    /// Answers the one request of a connection. Returns the client if it was a handshake that passed; what hyper and
    /// tokio kept for the connection is gone by then.
    async fn serve<S>(
        &self,
        stream: S,
        ends: Ends,
        take: fn(S) -> std::io::Result<ClientSocket>,
    ) -> Option<NewClient>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let accepted = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| async {
            let (response, client) = self.answer(ends, request).await;
            *accepted.lock().unwrap_or_else(PoisonError::into_inner) = client;
            Ok::<_, Infallible>(response)
        });
        let connection = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended within its request");
            return None;
        }
        let accepted = accepted.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        take_over(accepted, take).await
    }

    async fn answer(
        &self,
        ends: Ends,
        request: Request<Incoming>,
    ) -> (Response<Full<Bytes>>, Option<Accepted>) {
        let (parts, body) = request.into_parts();
        if parts.uri.path() != "/ws" {
            return (closing((self.pages)(Asked { parts, body, local: ends.local }).await), None);
        }
        match self.state.admit(ends.peer, parts, body) {
            Ok((response, accepted)) => (response, Some(accepted)),
            Err(refusal) => {
                self.state.metrics.refused(refusal.reason);
                (closing(refusal.response()), None)
            }
        }
    }
}

/// An answer after which the connection is closed. Said by the answer itself: told to keep nothing alive, hyper adds
/// `close` to the `Connection` of an upgrade as well, and strict clients refuse that.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Takes the bare socket out of hyper's and tokio's hands. It stays non-blocking, its registration with tokio's poll is
/// gone, and of hyper's 8 KiB buffer only bytes that the client sent early are copied.
async fn take_over<S>(accepted: Accepted, take: fn(S) -> std::io::Result<ClientSocket>) -> Option<NewClient>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Accepted { socket, rooms, permit, forwarded } = accepted;
    let upgraded = match socket.await {
        Ok(websocket) => websocket.into_inner().into_inner(),
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            return None;
        }
    };
    let parts = upgraded.downcast::<TokioIo<S>>().expect("the connection was served on this very type");
    let early = parts.read_buf.to_vec();
    drop(parts.read_buf);
    match take(parts.io.into_inner()) {
        Ok(socket) => Some(NewClient { socket, early, rooms, permit, forwarded }),
        Err(error) => {
            tracing::debug!(%error, "socket cannot be handed over");
            None
        }
    }
}
