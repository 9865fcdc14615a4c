//! Who may post events over HTTP: by the `Host` and the `Origin` of a request. Pure.
//!
//! A web page must not post events unless its origin is allowed: neither by a cross-origin request, which has an
//! `Origin`, nor by a name that was made to point here (DNS rebinding), which is the request's `Host`.

use crate::config::OriginPattern;
use crate::origin::{is_allowed, is_own_host};
use hyper::StatusCode;
use std::net::SocketAddr;

/// Content types that a page can only send after the browser has asked us (CORS preflight), and what they hold.
const LINES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
const JSON: &str = "application/json";

/// Why a request is refused: the status, and what it is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), hint: None }
    }

    #[must_use]
    pub(super) fn hint(self, hint: &'static str) -> Refusal {
        Refusal { hint: Some(hint), ..self }
    }
}

/// Checks a `Host` that came over TCP to the address `local`: loopback, that address, or one of `hosts`.
pub(super) fn check_host(host: Option<&str>, local: SocketAddr, hosts: &[String]) -> Result<(), Refusal> {
    let Some(host) = host else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "there is no Host"));
    };
    if is_own_host(host, local.ip(), hosts) {
        return Ok(());
    }
    let message = format!("Host is {host:?}, which is neither loopback nor this listener's address");
    Err(Refusal::new(StatusCode::FORBIDDEN, "bad_host", message)
        .hint("post to the address that ingest.listen has, or add the name to ingest.hosts"))
}

/// Checks an `Origin` and the content type that comes with it.
pub(super) fn check_origin(
    origin: &str,
    content_type: Option<&str>,
    allowed: &[OriginPattern],
) -> Result<(), Refusal> {
    if !is_allowed(origin, allowed) {
        let message = format!("pages of {origin} may not post events");
        let hint = match origin {
            "null" => "send events from a backend: only \"*\" in server.allowed_origins covers \"null\"",
            _ => "send events from a backend, or add the origin to server.allowed_origins",
        };
        return Err(Refusal::new(StatusCode::FORBIDDEN, "bad_origin", message).hint(hint));
    }
    let essence = content_type.map(essence).unwrap_or_default();
    if is_lines(content_type)
        || essence == JSON
        || essence.starts_with("application/") && essence.ends_with("+json")
    {
        return Ok(());
    }
    let message = "a page's request needs a JSON content type";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_content_type", message)
        .hint("Content-Type: application/json, or application/x-ndjson"))
}

/// Refuses bodies that cannot be events. Anything that may be is left to its content.
pub(super) fn check_body(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<(), Refusal> {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    if content_encoding.is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        return Err(Refusal::new(status, "bad_content_encoding", "compressed bodies are not read")
            .hint("send the events as they are, without Content-Encoding"));
    }
    if content_type.is_some_and(|content_type| essence(content_type).starts_with("multipart/")) {
        return Err(Refusal::new(status, "bad_content_type", "forms are not read")
            .hint("curl --data-binary @events.ndjson instead of -F"));
    }
    Ok(())
}

/// Refuses a request that does not say where its body ends: by HTTP it has none, and its events would vanish
/// (RFC 9112 §6.3).
pub(super) fn check_length(is_told: bool) -> Result<(), Refusal> {
    if is_told {
        return Ok(());
    }
    let message = "the request has neither Content-Length nor Transfer-Encoding, so it has no body";
    Err(Refusal::new(StatusCode::LENGTH_REQUIRED, "length_required", message)
        .hint("send a Content-Length, or a chunked body: my-agent | curl -T - -X POST URL"))
}

/// Whether a content type says that the body is lines.
pub(super) fn is_lines(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|content_type| LINES.contains(&essence(content_type).as_str()))
}

/// A content type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_loopback_our_own_or_configured() {
        #[track_caller]
        fn check(host: &str, status: Option<u16>) {
            let local = "10.1.2.3:9998".parse().unwrap();
            let checked = check_host(Some(host), local, &["events.example.org".to_owned()]);
            assert_eq!(checked.err().map(|refusal| refusal.status.as_u16()), status, "{host}");
        }
        for host in [
            "localhost",
            "LocalHost:9998",
            "a.localhost.",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]:9998",
            "[::1]",
        ] {
            check(host, None);
        }
        check("10.1.2.3:9998", None);
        check("[::ffff:10.1.2.3]:9998", None);
        check("Events.example.org:9998", None);
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "10.1.2.4",
            "[::2]",
            "127.0.0.1.example.org",
            "127.0.0.1:x",
        ] {
            check(host, Some(403));
        }
        let missing = check_host(None, "127.0.0.1:1".parse().unwrap(), &[]).unwrap_err();
        assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_page_needs_an_allowed_origin_and_a_content_type_that_browsers_ask_about() {
        #[track_caller]
        fn check(rule: &[OriginPattern], origin: &str, content_type: Option<&str>, status: Option<u16>) {
            let checked = check_origin(origin, content_type, rule);
            assert_eq!(
                checked.err().map(|refusal| refusal.status.as_u16()),
                status,
                "{origin} {content_type:?}"
            );
        }
        let rule = [OriginPattern::Local];
        let ours = "http://localhost:3000";
        check(&rule, ours, Some("application/json"), None);
        check(&rule, ours, Some("Application/X-NDJSON; charset=utf-8"), None);
        check(&rule, ours, Some("application/cloudevents+json"), None);
        check(&rule, ours, None, Some(415));
        check(&rule, ours, Some("text/plain"), Some(415));
        check(&rule, ours, Some("text/plain; application/json"), Some(415));
        check(&rule, "null", Some("application/json"), Some(403));
        check(&rule, "https://evil.example", Some("application/json"), Some(403));
    }

    #[test]
    fn bodies_that_cannot_be_events_are_refused() {
        assert_eq!(check_body(Some("application/x-www-form-urlencoded"), None), Ok(()));
        assert_eq!(check_body(None, Some("identity")), Ok(()));
        assert!(check_body(None, Some("gzip")).is_err());
        assert!(check_body(Some("multipart/form-data; boundary=x"), None).is_err());
    }
}
