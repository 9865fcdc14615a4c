//! `/api/v1/room/snapshot`: the newest event of every key of a room, as lines of JSON.
//!
//! Read from the room's compacted log page by page while it is sent, so that a reader who stalls holds a page.

use super::body::{Body, Patience};
use super::rooms::{find, unknown};
use super::{Answer, problem};
use crate::query;
use crate::room::{ReadLimit, Room, Rooms};
use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// Read at once, under the room's lock: what an answer takes of memory, and an event that is longer.
const PAGE: ReadLimit = ReadLimit { events: 64, bytes: 256 << 10, overhead: 1, at_least_one: true };

const EPOCH: HeaderName = HeaderName::from_static("broadcast-epoch");
const HEAD: HeaderName = HeaderName::from_static("broadcast-head");

/// What is still to be sent of an answer.
pub struct Snapshot {
    room: Arc<Room>,
    /// Offset up to which every key's newest event was read.
    position: u64,
    /// The newest event when the question came: keys that have a newer one since are in what follows it.
    head: u64,
    is_all: bool,
    patience: Patience,
}

/// Answers with the newest events of a room's keys.
pub(super) fn answer(rooms: &Rooms, query: &str, patience: Patience) -> Answer {
    let mut name = None;
    for (field, value) in query::fields(query).unwrap_or_default() {
        match field.as_str() {
            "room" => name = Some(value),
            _ => return unknown(&field, "room"),
        }
    }
    let Some(name) = name else {
        let hint = Some("GET /api/v1/room/snapshot?room=agent_states");
        return problem::answer(StatusCode::BAD_REQUEST, "`room` is missing", hint);
    };
    let room = match find(rooms, &name) {
        Ok(room) => room,
        Err(refusal) => return *refusal,
    };
    if room.policy().key.is_empty() {
        let hint = Some("give the room a `key` in broadcast.toml");
        return problem::answer(StatusCode::BAD_REQUEST, "the room has no key", hint);
    }
    let head = room.figures().head;
    let epoch = room.epoch().to_string();
    let snapshot = Snapshot { room, position: 0, head, is_all: false, patience };
    let mut answer = Response::new(Body::Snapshot(Box::new(snapshot)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let names = HeaderValue::from_static("broadcast-epoch, broadcast-head");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    headers.insert(EPOCH, HeaderValue::from_str(&epoch).expect("an epoch is written in digits"));
    headers.insert(HEAD, HeaderValue::from(head));
    answer
}

impl Snapshot {
    /// The next lines; none at the end.
    pub(super) fn next_page(&mut self) -> Option<Bytes> {
        if self.is_all {
            return None;
        }
        self.patience.renew();
        let mut entries = Vec::new();
        let read = self.room.read_keys(self.position, self.head, PAGE, &mut entries);
        (self.position, self.is_all) = (read.to, read.is_all);
        if entries.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for (_, entry) in &entries {
            let start = out.len();
            out.extend_from_slice(entry.event.json());
            // Line breaks that an event has between its tokens would be taken for ends.
            for byte in out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
                *byte = b' ';
            }
            out.push(b'\n');
        }
        Some(out.into())
    }
}
