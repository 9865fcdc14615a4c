//! Answers to handshakes that are refused: a status, and a short text that says what would be right.

use crate::metrics::HandshakeRefusal;
use crate::request_policy::Denied;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

/// After how many seconds who is refused for a limit may ask again.
const RETRY_AFTER_SECONDS: &str = "5";

/// What Engine.IO (protocol revision 4) calls what is wrong with a request. The numbers and words are those of its own
/// server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Transport = 0,
    Session = 1,
    Method = 2,
    Request = 3,
    Forbidden = 4,
    Version = 5,
}

impl Code {
    fn words(self) -> &'static str {
        match self {
            Code::Transport => "Transport unknown",
            Code::Session => "Session ID unknown",
            Code::Method => "Bad handshake method",
            Code::Request => "Bad request",
            Code::Forbidden => "Forbidden",
            Code::Version => "Unsupported protocol version",
        }
    }
}

impl From<Denied<'_>> for Refusal {
    fn from(denied: Denied<'_>) -> Refusal {
        let (status, reason) = match denied {
            Denied::BadHost => (StatusCode::BAD_REQUEST, HandshakeRefusal::BadRequest),
            Denied::OtherHost(..) => (StatusCode::FORBIDDEN, HandshakeRefusal::BadRequest),
            Denied::BadOrigin | Denied::OtherOrigin(_) => (StatusCode::FORBIDDEN, HandshakeRefusal::Origin),
        };
        let text = match denied {
            Denied::OtherOrigin(_) => {
                "pages of this origin may not connect; the daemon's log has the line that would allow it"
                    .into()
            }
            _ => denied.hint().map_or_else(|| denied.to_string(), |hint| format!("{denied}: {hint}")),
        };
        Refusal { reason, ..Refusal::bad_request(status, text) }
    }
}

/// Why a handshake is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: HandshakeRefusal,
    /// What is wrong and what would be right, for whoever reads the answer.
    pub(super) text: String,
    pub(super) header: Option<(HeaderName, &'static str)>,
    /// Of a request that speaks Engine.IO: it is answered with JSON.
    pub(super) code: Option<Code>,
}

impl Refusal {
    pub(super) fn bad_request(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, reason: HandshakeRefusal::BadRequest, text: text.into(), header: None, code: None }
    }

    pub(super) fn with_header(self, name: HeaderName, value: &'static str) -> Refusal {
        Refusal { header: Some((name, value)), ..self }
    }

    /// Of a request that speaks Engine.IO, with what would be right.
    pub(super) fn engine(code: Code, hint: impl Into<String>) -> Refusal {
        Refusal::bad_request(StatusCode::BAD_REQUEST, hint).with_code(code)
    }

    pub(super) fn with_code(self, code: Code) -> Refusal {
        Refusal { code: Some(code), ..self }
    }

    /// A limit on clients is reached.
    pub(super) fn limit(reason: HandshakeRefusal) -> Refusal {
        let (status, text) = match reason {
            HandshakeRefusal::ClientsPerIp => {
                (StatusCode::TOO_MANY_REQUESTS, "too many clients of this address (limits.clients_per_ip)")
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, "too many clients (limits.clients)"),
        };
        Refusal {
            status,
            reason,
            text: text.into(),
            header: Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS)),
            code: None,
        }
    }

    /// Of a request for something new on a connection that goes on while the daemon stops.
    pub(super) fn stopping() -> Refusal {
        let text = "the daemon is stopping";
        let refusal = Refusal::bad_request(StatusCode::SERVICE_UNAVAILABLE, text);
        refusal.with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let (kind, body) = match self.code {
            None => ("text/plain; charset=utf-8", self.text + "\n"),
            Some(code) => {
                let body = json!({ "code": code as u8, "message": code.words(), "hint": self.text });
                ("application/json", body.to_string())
            }
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
