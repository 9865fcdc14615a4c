//! Checks of a request that posts events, before its body is read. Pure.

use crate::request_policy::Denied;
use hyper::StatusCode;

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

impl From<Denied<'_>> for Refusal {
    fn from(denied: Denied<'_>) -> Refusal {
        let (status, code) = match denied {
            Denied::BadHost => (StatusCode::BAD_REQUEST, "bad_request"),
            Denied::OtherHost(..) => (StatusCode::FORBIDDEN, "bad_host"),
            Denied::BadOrigin | Denied::OtherOrigin(_) => (StatusCode::FORBIDDEN, "bad_origin"),
        };
        let hint = match denied {
            Denied::OtherOrigin("null") => {
                Some("send events from a backend: only \"*\" in server.allowed_origins covers \"null\"")
            }
            Denied::OtherOrigin(_) => {
                Some("send events from a backend, or add the origin to server.allowed_origins")
            }
            _ => denied.hint(),
        };
        Refusal { hint, ..Refusal::new(status, code, denied.to_string()) }
    }
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

/// Checks the content type of a page's request: browsers ask before they send one of these.
pub(super) fn check_page_type(content_type: Option<&str>) -> Result<(), Refusal> {
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
    fn a_page_needs_a_content_type_that_browsers_ask_about() {
        for (content_type, is_taken) in [
            (Some("application/json"), true),
            (Some("Application/X-NDJSON; charset=utf-8"), true),
            (Some("application/cloudevents+json"), true),
            (None, false),
            (Some("text/plain"), false),
            (Some("text/plain; application/json"), false),
        ] {
            assert_eq!(check_page_type(content_type).is_ok(), is_taken, "{content_type:?}");
        }
    }

    #[test]
    fn bodies_that_cannot_be_events_are_refused() {
        assert_eq!(check_body(Some("application/x-www-form-urlencoded"), None), Ok(()));
        assert_eq!(check_body(None, Some("identity")), Ok(()));
        assert!(check_body(None, Some("gzip")).is_err());
        assert!(check_body(Some("multipart/form-data; boundary=x"), None).is_err());
    }
}
