//! `POST /api/v1/websocket/broadcast/test`: an event that says it is a test, to see whether events arrive.

use super::{Answer, For, State, json_answer, problem};
use crate::config::Rate;
use crate::limits::Bucket;
use crate::sources;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde_json::{Value, json};
use std::sync::PoisonError;

/// Test events, whoever asks.
const TESTS: Rate = Rate { per_second: 1.0, burst: 5 };

/// How many test events may be published.
pub(super) fn bucket() -> Bucket {
    Bucket::new(TESTS, 0)
}

/// Publishes a test event. Clients are not given the names of rooms that a template made.
pub(super) fn answer(state: &State, for_whom: For) -> Answer {
    let now_ms = state.started.elapsed().as_millis() as u64;
    if !state.tests.lock().unwrap_or_else(PoisonError::into_inner).take(1, TESTS, now_ms) {
        let detail = "at most one test event a second is published";
        let mut answer = problem::answer(StatusCode::TOO_MANY_REQUESTS, detail, None);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return answer;
    }
    let reached = sources::publish_test(&state.rooms, &state.metrics);
    let receivers: u64 = reached.iter().map(|(_, subscribers)| u64::from(*subscribers)).sum();
    let generation = state.rooms.generation();
    let is_static = |room: &str| generation.policy(room).is_some_and(|policy| policy.name.is_static());
    let rooms: Vec<Value> = reached
        .iter()
        .filter(|(room, _)| for_whom == For::Operators || is_static(room))
        .map(|(room, subscribers)| json!({ "room": room, "subscribers": subscribers }))
        .collect();
    let mut answer = json!({ "published": !reached.is_empty(), "rooms": rooms, "receivers": receivers });
    if reached.is_empty() {
        answer["hint"] =
            "no room takes system_alert: [rooms.system_alerts] types = [\"system_alert\"]".into();
    }
    json_answer(StatusCode::OK, &answer)
}
