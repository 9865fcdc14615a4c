//! Plain HTTP answers: the page, health, metrics, the API.
//!
//! Knows nothing of sockets: a front (src/handshake) asks it for what is not a WebSocket handshake.

mod body;
mod busiest;
mod client;
mod clients;
mod config;
mod dashboard;
mod health;
mod history;
mod metrics;
mod page;
mod problem;
mod rejected;
mod rooms;
mod slices;
mod snapshot;
mod status;
mod test;
mod trend;

use crate::addresses::Addresses;
use crate::config::{Config, Expose};
use crate::limits::{Bucket, ClientCounter};
use crate::metrics::Metrics;
use crate::rejected::RejectedLines;
use crate::reload;
use crate::request_policy::{self, Access, Denied, Policy};
use crate::room::Rooms;
use crate::shard::Shards;
use crate::shutdown::Shutdown;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use body::{Body, Patience, Pieces};
pub use page::send_command;

/// An answer.
pub type Answer = Response<Body>;

/// A request.
pub struct Asked {
    /// Its head.
    pub parts: Parts,
    /// Its body, not read yet.
    pub body: Incoming,
    /// The address that it came to; none on a Unix socket.
    pub local: Option<IpAddr>,
    /// How long it is waited for whoever asked.
    pub patience: Patience,
}

/// An answer to come.
pub type Reply = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What the answers tell of the daemon.
pub struct State {
    /// When it started.
    pub started: Instant,
    /// Its figures.
    pub metrics: Arc<Metrics>,
    /// Its clients.
    pub clients: Arc<ClientCounter>,
    /// Whether it is stopping.
    pub shutdown: Shutdown,
    /// Its rooms, and the configuration in force.
    pub rooms: Arc<Rooms>,
    /// The way to reload the configuration.
    pub reload: reload::Handle,
    /// The shards, for what operators ask of clients.
    pub shards: Arc<Shards>,
    /// Test events that may be published.
    pub tests: Mutex<Bucket>,
    /// The lines that were refused last.
    pub rejected: Arc<RejectedLines>,
    /// The status that was told last, and when: strangers may ask for it, and it takes a look at every room.
    pub status: tokio::sync::Mutex<Option<(Instant, serde_json::Value)>>,
    /// Where it listens.
    pub addresses: ArcSwap<Addresses>,
}

impl State {
    /// The state of a daemon that starts now.
    pub fn new(
        rooms: &Arc<Rooms>,
        shards: &Arc<Shards>,
        clients: &Arc<ClientCounter>,
        metrics: &Arc<Metrics>,
        reload: reload::Handle,
        shutdown: Shutdown,
    ) -> Arc<State> {
        Arc::new(State {
            started: Instant::now(),
            metrics: Arc::clone(metrics),
            clients: Arc::clone(clients),
            shutdown,
            rooms: Arc::clone(rooms),
            reload,
            shards: Arc::clone(shards),
            tests: Mutex::new(test::bucket()),
            rejected: Arc::default(),
            status: tokio::sync::Mutex::default(),
            addresses: ArcSwap::default(),
        })
    }
}

/// What answers at one kind of listener. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    state: Arc<State>,
    for_whom: For,
}

/// Whose listener it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Clients see what `server.expose` names.
    Clients,
    /// Operators see everything.
    Operators,
}

impl For {
    fn as_str(self) -> &'static str {
        match self {
            For::Clients => "clients",
            For::Operators => "operators",
        }
    }
}

/// Something that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Page,
    PageScript,
    PageStyle,
    PageFacts,
    Module,
    Dashboard,
    Health,
    Status,
    Test,
    Rooms,
    Room,
    RoomEvents,
    RoomSnapshot,
    Clients,
    Client,
    Config,
    Reload,
    Reloads,
    Rejected,
    Trend,
    OpenApi,
    Metrics,
}

impl Path {
    const ALL: [Path; 22] = [
        Path::Page,
        Path::PageScript,
        Path::PageStyle,
        Path::PageFacts,
        Path::Module,
        Path::Dashboard,
        Path::Health,
        Path::Status,
        Path::Test,
        Path::Rooms,
        Path::Room,
        Path::RoomEvents,
        Path::RoomSnapshot,
        Path::Clients,
        Path::Client,
        Path::Config,
        Path::Reload,
        Path::Reloads,
        Path::Rejected,
        Path::Trend,
        Path::OpenApi,
        Path::Metrics,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Path::Page => "/",
            Path::PageScript => "/page.js",
            Path::PageStyle => "/page.css",
            Path::PageFacts => "/page.json",
            Path::Module => "/client.js",
            Path::Dashboard => "/dashboard/{file}",
            Path::Health => "/api/v1/health",
            Path::Status => "/api/v1/websocket/status",
            Path::Test => "/api/v1/websocket/broadcast/test",
            Path::Rooms => "/api/v1/rooms",
            Path::Room => "/api/v1/room",
            Path::RoomEvents => "/api/v1/room/events",
            Path::RoomSnapshot => "/api/v1/room/snapshot",
            Path::Clients => "/api/v1/clients",
            Path::Client => "/api/v1/clients/{id}",
            Path::Config => "/api/v1/config",
            Path::Reload => "/api/v1/config/reload",
            Path::Reloads => "/api/v1/config/reloads",
            Path::Rejected => "/api/v1/rejected",
            Path::Trend => "/api/v1/trend",
            Path::OpenApi => "/openapi.json",
            Path::Metrics => "/metrics",
        }
    }

    fn is(self, path: &str) -> bool {
        match self {
            Path::Client => clients::id_of(path).is_some(),
            Path::Module => client::is_module(path),
            Path::Dashboard => dashboard::file(path).is_some(),
            _ => self.as_str() == path,
        }
    }

    /// What `server.expose` calls it, if clients may see it at all.
    fn exposed_as(self) -> Option<Expose> {
        match self {
            Path::Page | Path::PageScript | Path::PageStyle | Path::PageFacts => Some(Expose::Page),
            Path::Health => Some(Expose::Health),
            Path::Status => Some(Expose::Status),
            Path::Test => Some(Expose::Test),
            _ => None,
        }
    }

    /// Requests that may have it. The program's own files and its health hold nothing that is secret.
    fn access(self, for_whom: For) -> Access {
        match self {
            Path::Page | Path::PageScript | Path::PageStyle | Path::Module | Path::Health => Access::Public,
            _ if for_whom == For::Clients => Access::Pages,
            _ => Access::Own,
        }
    }

    /// Methods it understands.
    fn methods(self) -> &'static [Method] {
        match self {
            Path::Reload | Path::Test => &[Method::POST],
            Path::Client => &[Method::DELETE],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// Whether pages of allowed origins may read it across origins (CORS).
    fn is_api(self) -> bool {
        self.as_str().starts_with("/api/") || self == Path::OpenApi
    }
}

impl Pages {
    /// What clients may see, as `server.expose` says.
    pub fn for_clients(state: Arc<State>) -> Pages {
        Pages { state, for_whom: For::Clients }
    }

    /// What operators see.
    pub fn for_admins(state: Arc<State>) -> Pages {
        Pages { state, for_whom: For::Operators }
    }

    /// Answers a request. Of a HEAD's answer hyper sends no body.
    pub fn respond(&self, asked: Asked) -> Reply {
        let pages = self.clone();
        Box::pin(async move {
            let Asked { parts, body: _, local, patience } = asked;
            match pages.check(&parts, local) {
                Err(refusal) => pages.for_origin(*refusal, None, &parts.headers),
                Ok(path) => {
                    let is_preflight = parts.method == Method::OPTIONS;
                    let answer = if is_preflight {
                        preflight(path, &parts.headers)
                    } else {
                        pages.answer(path, &parts, patience).await
                    };
                    pages.for_origin(answer, Some(path), &parts.headers)
                }
            }
        })
    }

    /// Which path a request is for, if it may have it.
    fn check(&self, parts: &Parts, local: Option<IpAddr>) -> Result<Path, Box<Answer>> {
        let config = &self.state.rooms.generation().config;
        let is_served = |path: &Path| match self.for_whom {
            For::Operators => true,
            For::Clients if *path == Path::Module => true,
            For::Clients => path.exposed_as().is_some_and(|name| config.server.expose.contains(&name)),
        };
        let served = || Path::ALL.into_iter().filter(is_served);
        let path = served().find(|path| path.is(parts.uri.path()));
        let policy = Policy { local, origins: &config.server.allowed_origins, hosts: &config.ingest.hosts };
        policy
            .check(path.map_or(Access::Public, |path| path.access(self.for_whom)), parts)
            .map_err(denied)?;
        let Some(path) = path else {
            let (path, whom) = (parts.uri.path(), self.for_whom.as_str());
            let detail = format!("{path} is not served at this listener, which is for {whom}");
            let hint = served_here(served().map(Path::as_str), config);
            let hint = if is_producers(parts) { format!("{}; {hint}", self.ingest(local)) } else { hint };
            return Err(problem::answer(StatusCode::NOT_FOUND, &detail, Some(&hint)).into());
        };
        let is_preflight = parts.method == Method::OPTIONS && path.is_api();
        if !path.methods().contains(&parts.method) && !is_preflight {
            return Err(self.not_allowed(path, parts, local).into());
        }
        Ok(path)
    }

    /// Where events go, for a producer that connected to `local` of this listener.
    fn ingest(&self, local: Option<IpAddr>) -> String {
        let addresses = self.state.addresses.load();
        let reached = |address: &String| match address.parse::<SocketAddr>() {
            Ok(mut at) => {
                let is_reached =
                    |local: &IpAddr| at.ip().is_unspecified() && (at.is_ipv6() || local.is_ipv4());
                if let Some(local) = local.map(|local| local.to_canonical()).filter(is_reached) {
                    at.set_ip(local);
                }
                format!("POST http://{at}/events")
            }
            Err(_) => format!("lines to {address}"),
        };
        match addresses.ingest.iter().map(reached).collect::<Vec<_>>() {
            none if none.is_empty() => "this daemon has no ingest listener (ingest.listen)".to_owned(),
            listed => format!("events go to an ingest listener: {}", listed.join(", or ")),
        }
    }

    fn not_allowed(&self, path: Path, parts: &Parts, local: Option<IpAddr>) -> Answer {
        let detail = format!("{} cannot be done here", parts.method);
        let right = format!("{} {}", path.methods()[0], path.as_str());
        let hint = match path {
            Path::Page if is_producers(parts) => format!("{}; here is {right}", self.ingest(local)),
            _ => right,
        };
        let mut answer = problem::answer(StatusCode::METHOD_NOT_ALLOWED, &detail, Some(&hint));
        answer.headers_mut().insert(header::ALLOW, methods(path));
        answer
    }

    async fn answer(&self, path: Path, parts: &Parts, patience: Patience) -> Answer {
        let state = &self.state;
        let query = parts.uri.query().unwrap_or_default();
        match path {
            Path::Page if self.for_whom == For::Operators => dashboard::html(),
            Path::Page => page::html(),
            Path::PageScript => page::script(),
            Path::PageStyle => page::style(),
            Path::PageFacts => page::facts(state),
            Path::Module => client::module(parts.uri.path(), &parts.headers),
            Path::Dashboard => dashboard::answer(parts.uri.path()),
            Path::Health => health::answer(state, self.for_whom),
            Path::Status => status::answer(state, self.for_whom).await,
            Path::Test => test::answer(state, self.for_whom),
            Path::Rooms => rooms::list(&state.rooms, query).await,
            Path::Room => rooms::one(&state.rooms, query),
            Path::RoomEvents => history::answer(&state.rooms, query, patience),
            Path::RoomSnapshot => snapshot::answer(&state.rooms, query, patience),
            Path::Clients => clients::list(&state.shards, query).await,
            Path::Client => clients::end(&state.shards, parts.uri.path()).await,
            Path::Config => config::effective(state),
            Path::Reload => config::reload(&state.reload, query).await,
            Path::Reloads => config::recent(state.reload.recent()),
            Path::Rejected => rejected::list(&state.rejected),
            Path::Trend => trend::answer(&state.metrics, query),
            Path::OpenApi => text("application/json", include_str!("openapi.json")),
            Path::Metrics => metrics::answer(&state.metrics, &state.rooms).await,
        }
    }

    /// Lets a page read an answer of the API, or why it was refused: a page of an allowed origin with credentials. What
    /// clients may see anyway, others may read as well.
    fn for_origin(&self, mut answer: Answer, path: Option<Path>, request: &HeaderMap) -> Answer {
        if path.is_some_and(|path| !path.is_api()) {
            return answer;
        }
        let config = &self.state.rooms.generation().config;
        let mut cors = request_policy::cors_if_allowed(request, &config.server.allowed_origins);
        if cors.is_empty() && path.is_some() {
            cors = request_policy::cors(request);
            cors.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        answer.headers_mut().extend(cors);
        answer
    }
}

/// The answer to a request that [`request_policy`] refuses.
fn denied(denied: Denied<'_>) -> Box<Answer> {
    let status = match denied {
        Denied::BadHost => StatusCode::BAD_REQUEST,
        Denied::OtherHost(..) | Denied::BadOrigin | Denied::OtherOrigin(_) => StatusCode::FORBIDDEN,
    };
    let hint = match denied {
        Denied::OtherOrigin(page) => Some(request_policy::advice(page)),
        _ => denied.hint().map(str::to_owned),
    };
    problem::answer(status, &denied.to_string(), hint.as_deref()).into()
}

/// Says what a listener serves.
fn served_here(paths: impl Iterator<Item = &'static str>, config: &Config) -> String {
    let paths: Vec<&str> = paths.chain(["/ws", "/sse"]).collect();
    let socketio =
        if config.socketio.enabled { format!(", {}", config.socketio.path) } else { String::new() };
    format!("here are: {}{socketio}", paths.join(", "))
}

/// Whether a request seems to be a producer's, which took this listener for one of ingest.
fn is_producers(parts: &Parts) -> bool {
    let is_sent = [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method);
    is_sent || parts.uri.path().trim_end_matches('/') == "/events"
}

fn methods(path: Path) -> HeaderValue {
    let methods: Vec<&str> = path.methods().iter().map(Method::as_str).collect();
    HeaderValue::from_str(&methods.join(", ")).expect("methods are plain words")
}

/// Tells a browser what a page may do.
fn preflight(path: Path, request: &HeaderMap) -> Answer {
    let mut answer = Response::new(Body::from(Full::default()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().extend(request_policy::preflight(request, methods(path)));
    answer
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = text("application/json", format!("{value}\n"));
    *answer.status_mut() = status;
    answer
}

fn text(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(Full::new(body.into())));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Alerts;
    use crate::config::Config;
    use crate::shard::ShardPolls;
    use crate::shutdown;
    use http_body_util::BodyExt;
    use hyper::Request;
    use std::time::Duration;

    fn pages(expose: &[Expose]) -> (Pages, shutdown::Trigger) {
        let (trigger, shutdown) = shutdown::pair();
        let mut config = Config::default();
        config.server.expose = expose.to_vec();
        let metrics = Arc::new(Metrics::new());
        let rooms = Rooms::new(&Arc::new(config), Vec::new(), Arc::clone(&metrics)).unwrap();
        let alerts = Alerts::new(::metrics::Counter::noop()).0;
        let polls = ShardPolls::new(0).unwrap();
        let shards = Shards::spawn(polls, &rooms, &metrics, &alerts).unwrap().0;
        let clients = ClientCounter::new();
        let state = State::new(&rooms, &shards, &clients, &metrics, reload::pair().0, shutdown);
        (Pages::for_clients(state), trigger)
    }

    async fn ask(pages: &Pages, method: &str, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let parts = request.body(()).unwrap().into_parts().0;
        match pages.check(&parts, None) {
            Err(refusal) => *refusal,
            Ok(path) => pages.answer(path, &parts, Patience::new(Duration::from_secs(10))).await,
        }
    }

    async fn body(answer: Answer) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_exposed_is_served_and_nothing_else() {
        let (pages, _trigger) = pages(&[Expose::Health]);
        assert_eq!(ask(&pages, "GET", "/api/v1/health").await.status(), StatusCode::OK);
        for path in ["/", "/page.js", "/metrics", "/etc/passwd"] {
            let answer = ask(&pages, "GET", path).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
        let refused = ask(&pages, "POST", "/api/v1/health").await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers()[header::ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn health_turns_when_stopping_begins() {
        let (pages, trigger) = pages(&[Expose::Health]);
        assert!(body(ask(&pages, "GET", "/api/v1/health").await).await.contains("\"status\":\"healthy\""));
        trigger.fire();
        let answer = ask(&pages, "GET", "/api/v1/health").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(body(answer).await.contains("stopping"));
    }

    #[tokio::test]
    async fn the_page_loads_nothing_from_elsewhere() {
        let (pages, _trigger) = pages(&[Expose::Page]);
        let answer = ask(&pages, "GET", "/").await;
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let html = body(answer).await;
        assert!(html.contains("\"page.js\"") && !html.contains("http://") && !html.contains("https://"));
        assert!(!html.contains("style=") && !html.contains("onclick="), "the policy forbids both");
        assert!(body(ask(&pages, "GET", "/page.json").await).await.contains("agent:{agentId}"));
    }
}
