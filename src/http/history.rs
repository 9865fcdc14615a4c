//! `/api/v1/room/events`: a part of a room's history as lines of JSON, read page by page while it is sent.

use super::body::{Body, Patience};
use super::rooms::{bad_limit, find, unknown};
use super::{Answer, problem};
use crate::event::{Entry, Filter};
use crate::query;
use crate::room::{ReadLimit, Room, Rooms, Tail};
use crate::wire::{
    Epoch, EventFrame, From, Gap, GapReason, MessageError, Position, QueryFields, SubscribeRoom, Transfer,
    Wire, parse_query_from, parse_query_room, push_event, push_gap, push_position,
};
use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// Events of one answer, if no other number is asked for, and at most.
const EVENTS: usize = 1000;
const MOST_EVENTS: usize = 10_000;

/// Read from the log at once: what an answer takes of memory, and an event that is longer.
const PAGE: ReadLimit = ReadLimit { events: 64, bytes: 256 << 10, overhead: 160, at_least_one: true };

const EPOCH: HeaderName = HeaderName::from_static("broadcast-epoch");
const FIRST: HeaderName = HeaderName::from_static("broadcast-first");
const HEAD: HeaderName = HeaderName::from_static("broadcast-head");

/// What is still to be sent of an answer.
pub struct History {
    room: Arc<Room>,
    room_json: Vec<u8>,
    epoch: Epoch,
    filter: Option<Filter>,
    wire: Wire,
    /// Offset up to which everything was given, left out, or told as a gap.
    position: u64,
    /// The newest event when the question came: the answer ends there, however much is published meanwhile.
    end: u64,
    /// Events that may still be given.
    left: usize,
    /// The log began anew since the position that was asked for, and can have events from here on.
    began_anew: Option<u64>,
    ended: bool,
    patience: Patience,
}

/// Answers with a part of a room's history.
pub(super) fn answer(rooms: &Rooms, query: &str, patience: Patience) -> Answer {
    match Asked::read(query) {
        Err(refusal) => *refusal,
        Ok(Asked { room: SubscribeRoom { room: name, from, condition, .. }, limit, wire }) => {
            let room = match find(rooms, &name) {
                Ok(room) => room,
                Err(refusal) => return *refusal,
            };
            let figures = room.figures();
            let tail = Tail { epoch: figures.epoch, head: figures.head, first: figures.first };
            let start = room.start(tail, &from);
            let history = History {
                room_json: serde_json::to_vec(&name).expect("writing a string to memory does not fail"),
                room,
                epoch: tail.epoch,
                filter: condition.map(Filter::new),
                wire,
                position: start.position,
                end: tail.head,
                left: limit,
                began_anew: start.began_anew,
                ended: false,
                patience,
            };
            head(tail, Body::History(Box::new(history)))
        }
    }
}

/// What a query asks for.
struct Asked {
    room: SubscribeRoom,
    limit: usize,
    wire: Wire,
}

impl Asked {
    fn read(query: &str) -> Result<Asked, Box<Answer>> {
        let Some(fields) = query::fields(query) else {
            let detail = "the query cannot be decoded";
            let hint = Some("percent-encoded UTF-8 is needed, as in room=agent%3A42");
            return Err(problem::answer(StatusCode::BAD_REQUEST, detail, hint).into());
        };
        let (mut room, mut from, mut condition) = (None, From::Start, None);
        let (mut limit, mut bare) = (EVENTS, true);
        for (name, value) in fields {
            match name.as_str() {
                "room" => room = Some(value),
                "from" => from = parse_query_from(&value).map_err(|error| bad_field(&error))?,
                "where" => condition = Some(value),
                "limit" => match value.parse() {
                    Ok(number) if (1..=MOST_EVENTS).contains(&number) => limit = number,
                    _ => return Err(bad_limit(MOST_EVENTS).into()),
                },
                "frames" => match value.as_str() {
                    "1" | "true" | "" => bare = false,
                    "0" | "false" => bare = true,
                    _ => {
                        let detail = format!("`frames` must be 1 or 0, not {value:?}");
                        return Err(problem::answer(StatusCode::BAD_REQUEST, &detail, None).into());
                    }
                },
                _ => return Err(unknown(&name, "room, from, where, limit and frames").into()),
            }
        }
        let Some(room) = room else {
            let hint = Some("GET /api/v1/room/events?room=agent%3A42&from=last:10");
            return Err(problem::answer(StatusCode::BAD_REQUEST, "`room` is missing", hint).into());
        };
        let fields = QueryFields { condition: condition.as_deref(), ..QueryFields::default() };
        let room = parse_query_room(&room, from, fields).map_err(|error| bad_field(&error))?;
        Ok(Asked { room, limit, wire: Wire::Lines { bare, transfer: Transfer::Plain } })
    }
}

fn bad_field(error: &MessageError) -> Box<Answer> {
    problem::answer(StatusCode::BAD_REQUEST, &error.message, error.hint.as_deref()).into()
}

fn head(tail: Tail, body: Body) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let names = HeaderValue::from_static("broadcast-epoch, broadcast-first, broadcast-head");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    let epoch = tail.epoch.to_string();
    headers.insert(EPOCH, HeaderValue::from_str(&epoch).expect("an epoch is written in digits"));
    headers.insert(FIRST, HeaderValue::from(tail.first));
    headers.insert(HEAD, HeaderValue::from(tail.head));
    answer
}

impl History {
    /// The next lines; none at the end, and none in a page where nothing passed the filter.
    pub(super) fn next_page(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        self.patience.renew();
        let mut out = Vec::new();
        if let Some(first) = self.began_anew.take() {
            self.push_gap(&mut out, 1, first - 1, GapReason::EpochChanged);
        }
        let mut entries = Vec::new();
        if self.position < self.end {
            let first = self.room.read(self.position, PAGE, &mut entries);
            if first > self.position + 1 {
                let last = (first - 1).min(self.end);
                self.push_gap(&mut out, self.position + 1, last, GapReason::HistoryExpired);
                self.position = last;
            }
        }
        self.push_events(&mut out, &entries);
        if entries.is_empty() || self.position >= self.end || self.left == 0 {
            self.ended = true;
            let position = Position { epoch: self.epoch, offset: self.position };
            push_position(self.wire, &mut out, &self.room_json, position);
            if out.is_empty() {
                return None;
            }
        }
        Some(out.into())
    }

    fn push_events(&mut self, out: &mut Vec<u8>, entries: &[Entry]) {
        for entry in entries {
            if self.position >= self.end || self.left == 0 {
                return;
            }
            self.position += 1;
            if self.filter.as_ref().is_some_and(|filter| !filter.passes(&entry.event)) {
                continue;
            }
            self.left -= 1;
            let frame = EventFrame {
                room_json: &self.room_json,
                epoch: self.epoch,
                offset: self.position,
                skipped: 0,
                replay: false,
            };
            push_event(self.wire, out, frame, entry.event.seq(), entry.event.json());
        }
    }

    fn push_gap(&self, out: &mut Vec<u8>, first: u64, offset: u64, reason: GapReason) {
        let is_known = self.filter.is_none() && reason == GapReason::HistoryExpired;
        let missed = is_known.then(|| offset + 1 - first);
        let gap = Gap {
            room_json: &self.room_json,
            epoch: self.epoch,
            first,
            offset,
            missed,
            reason,
            snapshot: false,
        };
        push_gap(self.wire, out, gap);
    }
}
