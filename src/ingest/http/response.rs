//! What a request is answered with.

use crate::ingest::access::Refusal;
use crate::ingest::producer::Producer;
use crate::route::RejectionCode;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

/// When to try again, in seconds: a backlog drains within a few, and a restart takes as long.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long a browser need not ask again, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// A response.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Counts<'a> {
    accepted: u64,
    rejected: u64,
    errors: &'a [Box<RawValue>],
    /// Why the body was not read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

impl Error<'_> {
    fn of(refusal: &Refusal) -> Error<'_> {
        Error { code: refusal.code, message: &refusal.message, hint: refusal.hint }
    }
}

impl Answer {
    /// How the events of a body fared; the rule is in the module above.
    pub(super) fn of(producer: &mut Producer) -> Answer {
        Answer::counts(status(producer), producer, None)
    }

    /// How the events fared of a body that was not read to its end; the refusal says why.
    pub(super) fn unfinished(producer: &mut Producer, refusal: &Refusal) -> Answer {
        let mut answer = Answer::counts(refusal.status, producer, Some(Error::of(refusal)));
        // RFC 9112 §8, RFC 9110 §15.5.9: what is left of the body must not be taken for a request.
        answer.close();
        answer
    }

    fn counts(status: StatusCode, producer: &mut Producer, error: Option<Error<'_>>) -> Answer {
        let raw = |error: Vec<u8>| {
            let text = String::from_utf8(error).expect("an error is JSON, which is UTF-8");
            RawValue::from_string(text).expect("an error is JSON")
        };
        let errors: Vec<Box<RawValue>> = producer.errors.drain(..).map(raw).collect();
        let totals = producer.totals;
        let counts = Counts { accepted: totals.accepted, rejected: totals.rejected, errors: &errors, error };
        Answer::json(status, &counts)
    }

    /// The connection ends with this answer.
    pub(super) fn last(mut self) -> Answer {
        self.close();
        self
    }

    fn close(&mut self) {
        self.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }

    /// A request that is refused before its body is read.
    pub(super) fn refused(refusal: &Refusal) -> Answer {
        let mut answer = Answer::json(refusal.status, &Refused { error: Error::of(refusal) });
        if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers.insert(header::ALLOW, METHODS);
        }
        if refusal.status == StatusCode::LENGTH_REQUIRED {
            // Its body would be taken for the next request.
            answer.close();
        }
        answer
    }

    /// Tells a browser that a page of an allowed origin may post.
    pub(super) fn preflight(has_origin: bool) -> Answer {
        let mut answer =
            Answer { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Vec::new() };
        answer.headers.insert(header::ALLOW, METHODS);
        if has_origin {
            answer.headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            let content_type = HeaderValue::from_name(header::CONTENT_TYPE);
            answer.headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, content_type);
            answer.headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
        }
        answer
    }

    fn json(status: StatusCode, value: &impl Serialize) -> Answer {
        let mut body = serde_json::to_vec(value).expect("strings and numbers are always JSON");
        body.push(b'\n');
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, JSON);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        Answer { status, headers, body }
    }

    /// Lets a page of an allowed origin read the answer. One of another origin gets nothing to read.
    pub(super) fn for_origin(mut self, origin: Option<String>) -> Answer {
        let Some(origin) = origin else { return self };
        self.headers.insert(header::VARY, HeaderValue::from_name(header::ORIGIN));
        if self.status != StatusCode::FORBIDDEN
            && let Ok(origin) = HeaderValue::from_str(&origin)
        {
            self.headers.insert(HeaderName::from_static("access-control-allow-origin"), origin);
        }
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn status(producer: &Producer) -> StatusCode {
    let totals = producer.totals;
    if producer.has_seen(RejectionCode::BacklogFull) {
        StatusCode::SERVICE_UNAVAILABLE
    } else if totals.accepted > 0 || totals.rejected == 0 {
        StatusCode::OK
    } else if producer.has_only_seen(RejectionCode::TooLong) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    }
}
