//! Answers to handshakes that are refused: a status, and a short text that says what would be right.

use crate::metrics::HandshakeRefusal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// After how many seconds who is refused for a limit may ask again.
const RETRY_AFTER_SECONDS: &str = "5";

/// Why a handshake is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: HandshakeRefusal,
    /// What is wrong and what would be right, for whoever reads the answer.
    pub(super) text: String,
    pub(super) header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(super) fn bad_request(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, reason: HandshakeRefusal::BadRequest, text: text.into(), header: None }
    }

    pub(super) fn with_header(self, name: HeaderName, value: &'static str) -> Refusal {
        Refusal { header: Some((name, value)), ..self }
    }

    pub(super) fn origin() -> Refusal {
        Refusal {
            status: StatusCode::FORBIDDEN,
            reason: HandshakeRefusal::Origin,
            text: "pages of this origin may not connect; the daemon's log has the line that would allow it"
                .into(),
            header: None,
        }
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
        }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.text + "\n"));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
