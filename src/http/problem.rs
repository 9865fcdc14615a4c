//! Problems as RFC 9457 has them.

use super::Answer;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// A problem's answer, with a hint what would be right.
pub(super) fn answer(status: StatusCode, detail: &str, hint: Option<&str>) -> Answer {
    with(status, detail, hint.map_or_else(|| json!({}), |hint| json!({ "hint": hint })))
}

/// A problem's answer with further members (RFC 9457 §3.2).
pub(super) fn with(status: StatusCode, detail: &str, more: Value) -> Answer {
    let title = status.canonical_reason().unwrap_or("error");
    let mut value =
        json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    let mut answer = Response::new(Full::new(Bytes::from(format!("{value}\n"))).into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer
}
