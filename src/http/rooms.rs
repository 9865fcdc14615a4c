//! `/api/v1/rooms` and `/api/v1/room`: rooms at this moment.

use super::slices::Slices;
use super::{Answer, json_answer, problem, text};
use crate::query;
use crate::room::{Room, RoomFigures, Rooms};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Rooms of one answer, if no other number is asked for, and at most.
const ROOMS: usize = 100;
const MOST_ROOMS: usize = 10_000;

/// Rooms by name, from the one after `after` on. In slices: with ten thousand rooms it takes tens of milliseconds.
pub(super) async fn list(rooms: &Rooms, query: &str) -> Answer {
    let (mut prefix, mut after, mut limit) = (String::new(), String::new(), ROOMS);
    for (name, value) in query::fields(query).unwrap_or_default() {
        match name.as_str() {
            "prefix" => prefix = value,
            "after" => after = value,
            "limit" => match value.parse() {
                Ok(number) if (1..=MOST_ROOMS).contains(&number) => limit = number,
                _ => return bad_limit(MOST_ROOMS),
            },
            _ => return unknown(&name, "prefix, after and limit"),
        }
    }
    let mut slices = Slices::new();
    let wanted = |name: &str| name.starts_with(&prefix) && name > after.as_str();
    let mut list = first_of(rooms, limit + 1, &mut slices, wanted).await;
    let more = list.len() > limit;
    list.truncate(limit);
    let mut body = br#"{"rooms":["#.to_vec();
    for (index, ByName(room)) in list.iter().enumerate() {
        body.extend_from_slice(if index == 0 { b"" } else { b"," });
        write(&mut body, &show(room));
        slices.step().await;
    }
    body.extend_from_slice(br#"],"next":"#);
    write(&mut body, &json!(list.last().filter(|_| more).map(|ByName(room)| room.name())));
    body.extend_from_slice(b"}\n");
    text("application/json", body)
}

fn write(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("writing a value to memory does not fail");
}

/// A room, in the order of names.
struct ByName(Arc<Room>);

/// The first `most` rooms by name of those that are wanted. No more than so many are kept at any time.
async fn first_of(
    rooms: &Rooms,
    most: usize,
    slices: &mut Slices,
    wanted: impl Fn(&str) -> bool,
) -> Vec<ByName> {
    let mut kept: BinaryHeap<ByName> = BinaryHeap::new();
    for part in 0..Rooms::PARTS {
        for room in rooms.of_part(part) {
            slices.step().await;
            if !wanted(room.name()) {
                continue;
            }
            let room = ByName(room);
            if kept.len() < most {
                kept.push(room);
            } else if let Some(mut last) = kept.peek_mut().filter(|last| room < **last) {
                *last = room;
            }
        }
    }
    let mut list = Vec::with_capacity(kept.len());
    while let Some(room) = kept.pop() {
        list.push(room);
        slices.step().await;
    }
    list.reverse();
    list
}

impl Ord for ByName {
    fn cmp(&self, other: &ByName) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &ByName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &ByName) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByName {}

/// The room that `room` names.
pub(super) fn one(rooms: &Rooms, query: &str) -> Answer {
    let fields = query::fields(query).unwrap_or_default();
    let Some((_, name)) = fields.iter().find(|(name, _)| name == "room") else {
        let hint = Some("GET /api/v1/room?room=agent%3A42");
        return problem::answer(StatusCode::BAD_REQUEST, "`room` is missing", hint);
    };
    match find(rooms, name) {
        Ok(room) => json_answer(StatusCode::OK, &show(&room)),
        Err(refusal) => *refusal,
    }
}

/// The room of a name, or an answer that says which may have been meant.
pub(super) fn find(rooms: &Rooms, name: &str) -> Result<Arc<Room>, Box<Answer>> {
    rooms.get(name).ok_or_else(|| {
        let detail = format!("there is no room {name:?} now");
        let nearest = rooms.generation().nearest(name).filter(|nearest| nearest != name);
        let hint = nearest.map(|nearest| query::did_you_mean(&nearest));
        problem::answer(StatusCode::NOT_FOUND, &detail, hint.as_deref()).into()
    })
}

fn show(room: &Room) -> Value {
    let figures: RoomFigures = room.figures();
    let policy = room.policy();
    json!({
        "room": room.name(),
        "active": room.holds_events(),
        "made_by": policy.name.source(),
        "epoch": figures.epoch.to_string(),
        "head": figures.head,
        "own": figures.own,
        "history": { "first": figures.first, "events": figures.head + 1 - figures.first, "bytes": figures.history_bytes },
        "keys": figures.keys,
        "buffered": figures.buffered,
        "batches": figures.batches,
        "subscribers": figures.subscribers,
        "delivered": figures.delivered,
        "skipped": figures.skipped,
        "gaps": figures.gaps,
    })
}

pub(super) fn unknown(name: &str, known: &str) -> Answer {
    let detail = format!("the query has no field `{name}`");
    problem::answer(StatusCode::BAD_REQUEST, &detail, Some(&format!("it has {known}")))
}

pub(super) fn bad_limit(most: usize) -> Answer {
    let detail = format!("`limit` must be a whole number from 1 to {most}");
    problem::answer(StatusCode::BAD_REQUEST, &detail, None)
}
