//! Checks of a request that speaks Engine.IO (protocol revision 4): what it asks for, and whether its page may.

use super::super::refusal::{Code, Refusal};
use super::super::request::{check_http, check_upgrade};
use super::super::stream::Known;
use crate::query;
use crate::request_policy::{Access, Denied};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, header};

/// What a proper request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What a browser asks before a page of another origin may ask for more.
    Preflight,
    /// A session, to be served by polling.
    Open,
    /// A session over WebSocket.
    OpenWebSocket,
    /// What a session has for its client.
    Poll(String),
    /// That a session takes something from its client.
    Post(String),
    /// To carry a session on over WebSocket.
    Probe(String),
}

/// Checks everything about a request but who sends it, and whether there is its session.
pub(super) fn check(parts: &Parts, known: &Known<'_>) -> Result<Asked, Refusal> {
    if parts.method == Method::OPTIONS {
        known.policy.check(Access::Pages, parts).map_err(denied)?;
        return Ok(Asked::Preflight);
    }
    let query = parts.uri.query().unwrap_or("");
    let fields = query::fields(query).ok_or_else(|| {
        Refusal::engine(Code::Request, "the query cannot be decoded: percent-encoded UTF-8 is needed")
    })?;
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let transport = field("transport");
    let access = if transport == Some("websocket") { Access::WebSocket } else { Access::Pages };
    known.policy.check(access, parts).map_err(denied)?;
    check_version(field("EIO"))?;
    let sid = field("sid").filter(|sid| !sid.is_empty()).map(str::to_owned);
    match transport {
        Some("polling") => {
            if field("j").is_some() {
                let hint = "polling with JSONP (j) is not served: leave out jsonp and forceJSONP";
                return Err(Refusal::engine(Code::Request, hint));
            }
            check_method(&parts.method, sid)
        }
        Some("websocket") => {
            check_http(parts).and_then(|()| check_upgrade(&parts.headers)).map_err(bad)?;
            Ok(sid.map_or(Asked::OpenWebSocket, Asked::Probe))
        }
        _ => Err(Refusal::engine(Code::Transport, "transport is polling or websocket")),
    }
}

fn check_version(version: Option<&str>) -> Result<(), Refusal> {
    match version {
        Some("4") => Ok(()),
        Some("3") => {
            let hint = "EIO=3 is what clients of Socket.IO 2 speak: version 3 or 4 is needed";
            Err(Refusal::engine(Code::Version, hint))
        }
        _ => Err(Refusal::engine(Code::Version, "EIO=4 is needed, as socket.io-client 3 and 4 send it")),
    }
}

fn check_method(method: &Method, sid: Option<String>) -> Result<Asked, Refusal> {
    match (method, sid) {
        (&Method::GET, None) => Ok(Asked::Open),
        (&Method::GET, Some(sid)) => Ok(Asked::Poll(sid)),
        (&Method::POST, Some(sid)) => Ok(Asked::Post(sid)),
        (_, None) => Err(Refusal::engine(Code::Method, "a session is opened with GET")),
        (_, Some(_)) => {
            let refusal = Refusal::bad_request(StatusCode::METHOD_NOT_ALLOWED, "a session has GET and POST");
            Err(refusal.with_header(header::ALLOW, "GET, POST, OPTIONS").with_code(Code::Request))
        }
    }
}

fn bad(refusal: Refusal) -> Refusal {
    refusal.with_code(Code::Request)
}

fn denied(denied: Denied<'_>) -> Refusal {
    let refusal = Refusal::from(denied);
    let code = if refusal.status == StatusCode::FORBIDDEN { Code::Forbidden } else { Code::Request };
    refusal.with_code(code)
}
