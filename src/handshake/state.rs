//! What the fronts of all listeners share: the configuration in force, the checks of requests, and the counts.

use super::address::forwarded;
use super::refusal::Refusal;
use super::request::check_request;
use super::socketio::{ProbeTurn, Sessions};
use super::stream::{Known, Names, check_stream, preflight};
use super::under_way::UnderWay;
use crate::config::{Config, LimitsConfig, NULL_ORIGIN, OriginPattern, ServerConfig, SocketIoConfig};
use crate::limits::{ClientCounter, ClientPermit};
use crate::metrics::{HandshakeRefusal, Metrics};
use crate::request_policy::{Policy, page_of, toml_to_allow};
use crate::shard::{ClientSocket, NewClient, NewSocketIo};
use crate::wire::{PROTOCOL, Position, SubscribeRoom, Wire};
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a refused origin is logged; who is refused can ask as often as it likes.
const ORIGIN_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What a front needs of the configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontConfig {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `[socketio]`.
    pub socketio: SocketIoConfig,
    /// `ingest.hosts`.
    pub hosts: Vec<String>,
}

/// What the fronts of all listeners share.
pub struct FrontState {
    /// Replaced by a reload; every handshake reads it anew.
    config: ArcSwap<FrontConfig>,
    pub(super) clients: Arc<ClientCounter>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) under_way: Arc<UnderWay>,
    /// Socket.IO clients that are served by polling.
    pub(super) sessions: Arc<Sessions>,
    names: Box<Names>,
    /// When an origin may be logged again.
    next_origin_log: Mutex<Instant>,
}

/// The two ends of a connection; none on a Unix socket.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: Option<IpAddr>,
    pub(super) local: Option<IpAddr>,
}

/// A request that passed every check, and whose connection is no longer HTTP's after it.
pub(super) struct Accepted {
    /// The socket's way out of hyper's hands; none for a stream, whose request hyper does not answer.
    pub(super) upgrade: Option<UpgradeFut>,
    pub(super) purpose: Purpose,
}

/// What its socket is for.
pub(super) enum Purpose {
    /// A client's.
    Client(Box<Admitted>),
    /// It may become a client's that is served by polling; if not, it is closed with what is wrong.
    Probe(Result<ProbeTurn, &'static str>),
}

/// A client that lacks nothing but its socket.
pub(super) struct Admitted {
    pub(super) wire: Wire,
    pub(super) head: Vec<u8>,
    pub(super) rooms: Vec<SubscribeRoom>,
    pub(super) positions: Vec<Position>,
    pub(super) permit: ClientPermit,
    pub(super) forwarded: Option<IpAddr>,
    pub(super) socketio: Option<Box<NewSocketIo>>,
}

impl Admitted {
    pub(super) fn with_socket(self, socket: ClientSocket, early: Vec<u8>) -> NewClient {
        let Admitted { wire, head, rooms, positions, permit, forwarded, socketio } = self;
        NewClient { socket, wire, head, early, rooms, positions, permit, forwarded, socketio }
    }
}

impl FrontConfig {
    /// What a configuration says.
    pub fn of(config: &Config) -> FrontConfig {
        FrontConfig {
            server: config.server.clone(),
            limits: config.limits.clone(),
            socketio: config.socketio.clone(),
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
            sessions: Arc::default(),
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

    /// Sessions of Socket.IO that are served by polling.
    pub fn polling_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Connections that may be idle at once: a session has one to poll and one to post, and there may be some beside.
    pub(super) fn idle_limit(&self) -> usize {
        self.config.load().server.handshakes + 2 * self.sessions.len()
    }

    /// What is in force now.
    pub(super) fn config(&self) -> Guard<Arc<FrontConfig>> {
        self.config.load()
    }

    /// Checks a request for `/ws`, and takes a place for the client.
    pub(super) fn admit(
        &self,
        ends: Ends,
        parts: Parts,
        body: Incoming,
    ) -> Result<(Response<Full<Bytes>>, Accepted), Refusal> {
        let config = self.config.load();
        let checked = check_request(&parts, &policy(&config, ends));
        let checked = checked.inspect_err(|refusal| self.log_refusal(refusal, &parts.headers))?;
        let (permit, forwarded) = self.take_place(&config, ends.peer, &parts.headers)?;
        let (mut response, upgrade) = upgraded(parts, body)?;
        if checked.has_protocol {
            let name = header::SEC_WEBSOCKET_PROTOCOL;
            response.headers_mut().insert(name, HeaderValue::from_static(PROTOCOL));
        }
        let admitted = Admitted {
            wire: Wire::WebSocket,
            head: Vec::new(),
            rooms: checked.rooms.into_iter().map(SubscribeRoom::to).collect(),
            positions: Vec::new(),
            permit,
            forwarded,
            socketio: None,
        };
        Ok((response, Accepted { upgrade: Some(upgrade), purpose: Purpose::Client(Box::new(admitted)) }))
    }

    /// Checks a request for `/sse`, and takes a place for the client.
    pub(super) fn admit_stream(&self, ends: Ends, parts: &Parts) -> Result<Accepted, Refusal> {
        let config = self.config.load();
        let asked = check_stream(parts, &self.known(&config, ends));
        let asked = asked.inspect_err(|refusal| self.log_refusal(refusal, &parts.headers))?;
        let (permit, forwarded) = self.take_place(&config, ends.peer, &parts.headers)?;
        let super::stream::Asked { rooms, positions, wire, head } = asked;
        let admitted = Admitted { wire, head, rooms, positions, permit, forwarded, socketio: None };
        Ok(Accepted { upgrade: None, purpose: Purpose::Client(Box::new(admitted)) })
    }

    /// A client's place, and its address if that is not the socket's.
    pub(super) fn take_place(
        &self,
        config: &FrontConfig,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<(ClientPermit, Option<IpAddr>), Refusal> {
        let forwarded = forwarded(peer, headers, &config.server.trusted_proxies);
        let permit = self.clients.admit(forwarded.or(peer), &config.limits).map_err(Refusal::limit)?;
        Ok((permit, forwarded))
    }

    /// Answers what a browser asks before a request for `/sse`.
    pub(super) fn preflight(&self, ends: Ends, parts: &Parts) -> Result<Response<Full<Bytes>>, Refusal> {
        let config = self.config.load();
        let allowed = preflight(parts, &policy(&config, ends));
        allowed.map(no_content).inspect_err(|refusal| self.log_refusal(refusal, &parts.headers))
    }

    pub(super) fn known<'a>(&'a self, config: &'a FrontConfig, ends: Ends) -> Known<'a> {
        Known { policy: policy(config, ends), rooms: &*self.names, most_rooms: config.limits.client.rooms }
    }

    pub(super) fn log_refusal(&self, refusal: &Refusal, headers: &HeaderMap) {
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
        let Some(origin) = page_of(headers).unwrap_or_default() else {
            tracing::warn!("page refused: it sends several Origins, or one that is not ASCII");
            return;
        };
        let shown: String = origin.chars().take(200).collect();
        let add = toml_to_allow(origin, patterns).map_or_else(
            || format!("\"*\" to server.allowed_origins, or {NULL_ORIGIN}"),
            |toml| format!("[server] {toml}"),
        );
        tracing::warn!(origin = ?shown, %add, "page refused");
    }
}

/// The rule for requests of a connection.
fn policy(config: &FrontConfig, ends: Ends) -> Policy<'_> {
    Policy { local: ends.local, origins: &config.server.allowed_origins, hosts: &config.hosts }
}

/// The answer to a handshake that passed, and the socket's way out of hyper's hands.
pub(super) fn upgraded(parts: Parts, body: Incoming) -> Result<(Response<Full<Bytes>>, UpgradeFut), Refusal> {
    let upgrade = upgrade(Request::from_parts(parts, body));
    let (response, upgrade) =
        upgrade.map_err(|error| Refusal::bad_request(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok((response.map(|_| Full::default()), upgrade))
}

/// The answer that has nothing but headers.
pub(super) fn no_content(headers: HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    with_headers(response, headers)
}

pub(super) fn with_headers<B>(mut response: Response<B>, headers: HeaderMap) -> Response<B> {
    response.headers_mut().extend(headers);
    response
}
