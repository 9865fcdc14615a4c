//! Plain HTTP answers: the page, health, metrics. Each is made from the head of a request alone, and at once.
//!
//! Knows nothing of sockets: a front (src/handshake) asks it for what is not a WebSocket handshake.

mod page;
mod problem;

use crate::config::Expose;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// An answer, whole.
pub type Answer = Response<Full<Bytes>>;

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
    /// Names of its rooms and room templates, for the page.
    pub rooms: Vec<String>,
}

/// What answers at one kind of listener. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    state: Arc<State>,
    served: Arc<[Path]>,
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
}

impl Path {
    fn as_str(self) -> &'static str {
        match self {
            Path::Page => "/",
            Path::PageScript => "/page.js",
            Path::PageStyle => "/page.css",
            Path::PageRooms => "/page.json",
            Path::Health => "/api/v1/health",
            Path::Metrics => "/metrics",
        }
    }
}

const PAGE: [Path; 4] = [Path::Page, Path::PageScript, Path::PageStyle, Path::PageRooms];

impl Pages {
    /// What clients may see, as `server.expose` says.
    pub fn for_clients(state: Arc<State>, expose: &[Expose]) -> Pages {
        let mut served = Vec::new();
        for exposed in expose {
            match exposed {
                Expose::Page => served.extend(PAGE),
                Expose::Health => served.push(Path::Health),
            }
        }
        Pages { state, served: served.into() }
    }

    /// What operators see.
    pub fn for_admins(state: Arc<State>) -> Pages {
        let served = [PAGE.as_slice(), &[Path::Health, Path::Metrics]].concat();
        Pages { state, served: served.into() }
    }

    /// Answers a request by its head. GET and HEAD are understood; of a HEAD's answer hyper sends no body.
    pub fn respond(&self, parts: &Parts) -> Answer {
        let Some(path) = self.served.iter().find(|path| path.as_str() == parts.uri.path()) else {
            let served: Vec<&str> = self.served.iter().map(|path| path.as_str()).chain(["/ws"]).collect();
            let detail = format!("{} is not served at this listener", parts.uri.path());
            return problem::answer(
                StatusCode::NOT_FOUND,
                &detail,
                Some(&format!("here are: {}", served.join(", "))),
            );
        };
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let mut answer = problem::answer(
                StatusCode::METHOD_NOT_ALLOWED,
                &format!("{} cannot be done here", parts.method),
                Some("events are posted to an ingest listener: POST /events"),
            );
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            Path::Page => page::html(),
            Path::PageScript => page::script(),
            Path::PageStyle => page::style(),
            Path::PageRooms => json(StatusCode::OK, &json!({ "rooms": self.state.rooms })),
            Path::Health => self.health(),
            Path::Metrics => text("text/plain; version=0.0.4; charset=utf-8", self.state.metrics.render()),
        }
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
    use crate::shutdown;
    use http_body_util::BodyExt;
    use hyper::Request;

    fn pages(expose: &[Expose]) -> (Pages, shutdown::Trigger) {
        let (trigger, shutdown) = shutdown::pair();
        let state = State {
            started: Instant::now(),
            metrics: Arc::new(Metrics::new()),
            clients: ClientCounter::new(),
            shutdown,
            rooms: vec!["agent:{agentId}".to_owned()],
        };
        (Pages::for_clients(Arc::new(state), expose), trigger)
    }

    fn ask(pages: &Pages, method: &str, path: &str) -> Answer {
        pages.respond(&Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0)
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
