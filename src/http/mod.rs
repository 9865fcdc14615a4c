//! Plain HTTP answers: the page, health, metrics, the API.
//!
//! Knows nothing of sockets: a front (src/handshake) asks it for what is not a WebSocket handshake.

mod config;
mod metrics;
mod page;
mod problem;

use crate::config::Expose;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::origin;
use crate::reload;
use crate::room::Rooms;
use crate::shutdown::Shutdown;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// An answer, whole.
pub type Answer = Response<Full<Bytes>>;

/// A request.
pub struct Asked {
    /// Its head.
    pub parts: Parts,
    /// Its body, not read yet.
    pub body: Incoming,
    /// The address that it came to; none on a Unix socket.
    pub local: Option<IpAddr>,
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

/// Something that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Page,
    PageScript,
    PageStyle,
    PageRooms,
    Health,
    Metrics,
    Config,
    Reload,
}

impl Path {
    const ALL: [Path; 8] = [
        Path::Page,
        Path::PageScript,
        Path::PageStyle,
        Path::PageRooms,
        Path::Health,
        Path::Metrics,
        Path::Config,
        Path::Reload,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Path::Page => "/",
            Path::PageScript => "/page.js",
            Path::PageStyle => "/page.css",
            Path::PageRooms => "/page.json",
            Path::Health => "/api/v1/health",
            Path::Metrics => "/metrics",
            Path::Config => "/api/v1/config",
            Path::Reload => "/api/v1/config/reload",
        }
    }

    /// What `server.expose` calls it, if clients may see it at all.
    fn exposed_as(self) -> Option<Expose> {
        match self {
            Path::Page | Path::PageScript | Path::PageStyle | Path::PageRooms => Some(Expose::Page),
            Path::Health => Some(Expose::Health),
            Path::Metrics | Path::Config | Path::Reload => None,
        }
    }

    /// Methods it understands.
    fn methods(self) -> &'static [Method] {
        match self {
            Path::Reload => &[Method::POST],
            _ => &[Method::GET, Method::HEAD],
        }
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
        let Asked { parts, body: _, local } = asked;
        match self.check(&parts, local) {
            Err(refusal) => Box::pin(std::future::ready(*refusal)),
            Ok(Path::Reload) => Box::pin(config::reload(self.state.reload.clone(), parts)),
            Ok(path) => Box::pin(std::future::ready(self.at_once(path))),
        }
    }

    /// Which path a request is for, if it may have it.
    fn check(&self, parts: &Parts, local: Option<IpAddr>) -> Result<Path, Box<Answer>> {
        let config = &self.state.rooms.generation().config;
        let is_served = |path: &Path| match self.for_whom {
            For::Operators => true,
            For::Clients => path.exposed_as().is_some_and(|name| config.server.expose.contains(&name)),
        };
        let served = || Path::ALL.into_iter().filter(is_served);
        let Some(path) = served().find(|path| path.as_str() == parts.uri.path()) else {
            let served: Vec<&str> = served().map(Path::as_str).chain(["/ws"]).collect();
            let detail = format!("{} is not served at this listener", parts.uri.path());
            let hint = format!("here are: {}", served.join(", "));
            return Err(problem::answer(StatusCode::NOT_FOUND, &detail, Some(&hint)).into());
        };
        if !path.methods().contains(&parts.method) {
            let allowed: Vec<&str> = path.methods().iter().map(Method::as_str).collect();
            let detail = format!("{} cannot be done here", parts.method);
            let hint = match path {
                Path::Page => "events are posted to an ingest listener: POST /events".to_owned(),
                _ => format!("{} {}", allowed[0], path.as_str()),
            };
            let mut answer = problem::answer(StatusCode::METHOD_NOT_ALLOWED, &detail, Some(&hint));
            let allowed = HeaderValue::from_str(&allowed.join(", ")).expect("methods are plain words");
            answer.headers_mut().insert(header::ALLOW, allowed);
            return Err(answer.into());
        }
        if path.exposed_as().is_none() {
            let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
            self.check_origin(text(header::HOST), text(header::ORIGIN), local)?;
        }
        Ok(path)
    }

    /// What is for operators alone is not for web pages of others: neither through a name that was made to point here (DNS
    /// rebinding) nor across origins.
    fn check_origin(
        &self,
        host: Option<&str>,
        page: Option<&str>,
        local: Option<IpAddr>,
    ) -> Result<(), Box<Answer>> {
        let config = &self.state.rooms.generation().config;
        let is_ours = |local| host.is_some_and(|host| origin::is_own_host(host, local, &config.ingest.hosts));
        if local.is_some_and(|local| !is_ours(local)) {
            let detail = "Host is neither loopback nor this listener's address";
            let hint = Some("use the address that admin.listen has");
            return Err(problem::answer(StatusCode::FORBIDDEN, detail, hint).into());
        }
        if page.is_some_and(|page| !origin::is_allowed(page, &config.server.allowed_origins)) {
            let detail = "pages of this origin may not do this";
            let hint = Some("add the origin to server.allowed_origins");
            return Err(problem::answer(StatusCode::FORBIDDEN, detail, hint).into());
        }
        Ok(())
    }

    fn at_once(&self, path: Path) -> Answer {
        match path {
            Path::Page => page::html(),
            Path::PageScript => page::script(),
            Path::PageStyle => page::style(),
            Path::PageRooms => self.page_rooms(),
            Path::Health => self.health(),
            Path::Metrics => metrics::answer(&self.state.metrics, &self.state.rooms),
            Path::Config => config::effective(&self.state.rooms.generation().config),
            Path::Reload => unreachable!("is answered by itself"),
        }
    }

    fn page_rooms(&self) -> Answer {
        let generation = self.state.rooms.generation();
        let names: Vec<&str> = generation.rooms.iter().map(|room| room.name.source()).collect();
        json(StatusCode::OK, &json!({ "rooms": names }))
    }

    /// 200 while the daemon serves, 503 once it is stopping.
    fn health(&self) -> Answer {
        let draining = self.state.shutdown.has_begun();
        let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        json(
            status,
            &json!({
                "status": if draining { "draining" } else { "ok" },
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_seconds": self.state.started.elapsed().as_secs(),
                "clients": self.state.clients.connected(),
            }),
        )
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = text("application/json", format!("{value}\n"));
    *answer.status_mut() = status;
    answer
}

fn text(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shutdown;
    use http_body_util::BodyExt;
    use hyper::Request;

    fn pages(expose: &[Expose]) -> (Pages, shutdown::Trigger) {
        let (trigger, shutdown) = shutdown::pair();
        let mut config = Config::default();
        config.server.expose = expose.to_vec();
        let metrics = Arc::new(Metrics::new());
        let state = State {
            started: Instant::now(),
            rooms: Rooms::new(&Arc::new(config), Vec::new(), Arc::clone(&metrics)),
            metrics,
            clients: ClientCounter::new(),
            shutdown,
            reload: reload::pair().0,
        };
        (Pages::for_clients(Arc::new(state)), trigger)
    }

    fn ask(pages: &Pages, method: &str, path: &str) -> Answer {
        let parts = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
        match pages.check(&parts, None) {
            Err(refusal) => *refusal,
            Ok(path) => pages.at_once(path),
        }
    }

    async fn body(answer: Answer) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_exposed_is_served_and_nothing_else() {
        let (pages, _trigger) = pages(&[Expose::Health]);
        assert_eq!(ask(&pages, "GET", "/api/v1/health").status(), StatusCode::OK);
        for path in ["/", "/page.js", "/metrics", "/etc/passwd"] {
            let answer = ask(&pages, "GET", path);
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
        let refused = ask(&pages, "POST", "/api/v1/health");
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers()[header::ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn health_turns_when_stopping_begins() {
        let (pages, trigger) = pages(&[Expose::Health]);
        assert!(body(ask(&pages, "GET", "/api/v1/health")).await.contains("\"status\":\"ok\""));
        trigger.fire();
        let answer = ask(&pages, "GET", "/api/v1/health");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(body(answer).await.contains("draining"));
    }

    #[tokio::test]
    async fn the_page_loads_nothing_from_elsewhere() {
        let (pages, _trigger) = pages(&[Expose::Page]);
        let answer = ask(&pages, "GET", "/");
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let html = body(answer).await;
        assert!(html.contains("/page.js") && !html.contains("http://") && !html.contains("https://"));
        assert!(!html.contains("style=") && !html.contains("onclick="), "the policy forbids both");
        assert!(body(ask(&pages, "GET", "/page.json")).await.contains("agent:{agentId}"));
    }
}
