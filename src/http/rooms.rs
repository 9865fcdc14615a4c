//! `/api/v1/rooms` and `/api/v1/room`: rooms at this moment.

use super::{Answer, json_answer, problem};
use crate::query;
use crate::room::{Room, RoomFigures, Rooms};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// Rooms of one answer, if no other number is asked for, and at most.
const ROOMS: usize = 100;
const MOST_ROOMS: usize = 10_000;

/// Rooms by name, from the one after `after` on.
pub(super) fn list(rooms: &Rooms, query: &str) -> Answer {
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
    let wanted = |room: &Arc<Room>| room.name().starts_with(&prefix) && room.name() > after.as_str();
    let mut list: Vec<Arc<Room>> = rooms.all().into_iter().filter(wanted).collect();
    list.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    let more = list.len() > limit;
    list.truncate(limit);
    let shown: Vec<Value> = list.iter().map(|room| show(room)).collect();
    let next = list.last().filter(|_| more).map(|room| room.name());
    json_answer(StatusCode::OK, &json!({ "rooms": shown, "next": next }))
}

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
        let nearest = rooms.generation().nearest(name);
        let hint = nearest.map(|nearest| format!("did you mean {nearest:?}?"));
        problem::answer(StatusCode::NOT_FOUND, &detail, hint.as_deref()).into()
    })
}

fn show(room: &Room) -> Value {
    let figures: RoomFigures = room.figures();
    let policy = room.policy();
    json!({
        "room": room.name(),
        "made_by": policy.name.source(),
        "epoch": figures.epoch.to_string(),
        "head": figures.head,
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
