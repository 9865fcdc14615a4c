//! What a client knows of its rooms: where to go on, and when it has all there was. Pure.

use super::args::{Since, TailArgs};
use crate::config::show_duration;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Rooms that are listened to, over any number of connections.
pub(super) struct Session {
    rooms: Vec<Room>,
    /// `where` and `every`, as they are sent.
    options: Vec<(&'static str, Value)>,
    /// Where a room begins that nothing is known of.
    from: Value,
}

struct Room {
    name: String,
    /// Epoch and offset: where to go on.
    at: Option<(String, u64)>,
    /// Where it was in an epoch that is over, until that is told.
    lost: Option<u64>,
    /// The newest offset when the room was first subscribed to.
    head: Option<u64>,
    has_ended: bool,
}

/// What a message is.
#[derive(Debug)]
pub(super) enum Seen<'m> {
    /// Events of a room.
    Events(Vec<&'m RawValue>),
    /// The first message: the interval of pings, in milliseconds.
    Welcome(u64),
    /// The subscriptions are there, but for those that were refused.
    Subscribed(Vec<Refused>),
    /// Something to tell.
    Note(String),
    /// The daemon is about to close; come back after so many milliseconds.
    Closing(String, Option<u64>),
    /// A message was not carried out.
    Error(Refused),
    /// Nothing that is shown.
    Other,
}

/// A room, or a whole message, that was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Refused {
    #[serde(skip)]
    pub room: String,
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
}

/// What every message has.
#[derive(Deserialize)]
struct Head<'m> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'m, str>,
    #[serde(borrow)]
    room: Option<Cow<'m, str>>,
    offset: Option<u64>,
    #[serde(borrow)]
    epoch: Option<Cow<'m, str>>,
    #[serde(borrow)]
    data: Option<&'m RawValue>,
}

impl Session {
    pub(super) fn new(args: &TailArgs) -> Session {
        let from = match (args.last, &args.since) {
            (Some(last), _) => json!({ "last": last }),
            (_, Some(Since::Ago(text))) => json!({ "since": text }),
            (_, Some(Since::Ms(ms))) => json!({ "since": ms }),
            _ if args.start || args.no_follow => json!("start"),
            _ => json!("now"),
        };
        // It is asked for what comes, not for how things stand.
        let mut options = vec![("snapshot", json!(false))];
        if let Some(condition) = &args.condition {
            options.push(("where", json!(condition.source())));
        }
        if let Some(every) = args.every {
            options.push(("every", json!(show_duration(every))));
        }
        let mut rooms: Vec<Room> = Vec::new();
        for name in &args.rooms {
            if !rooms.iter().any(|room| room.name == *name) {
                rooms.push(Room { name: name.clone(), at: None, lost: None, head: None, has_ended: false });
            }
        }
        Session { rooms, options, from }
    }

    /// The message that subscribes, each room where it is to go on.
    pub(super) fn subscribe(&self) -> String {
        let room = |room: &Room| {
            let from = match &room.at {
                Some((epoch, offset)) => json!({ "after": format!("{epoch}:{offset}") }),
                None => self.from.clone(),
            };
            let mut entry = json!({ "room": room.name, "from": from });
            for (name, value) in &self.options {
                entry[*name] = value.clone();
            }
            entry
        };
        let rooms: Vec<Value> = self.rooms.iter().filter(|room| !room.has_ended).map(room).collect();
        json!({ "type": "subscribe", "id": "tail", "rooms": rooms }).to_string()
    }

    /// Whether every room has been read as far as it had been written when it was subscribed to.
    pub(super) fn has_all(&self) -> bool {
        self.rooms.iter().all(|room| {
            let read = room.at.as_ref().zip(room.head).is_some_and(|((_, offset), head)| *offset >= head);
            read || room.has_ended
        })
    }

    /// Whether no room is left.
    pub(super) fn is_over(&self) -> bool {
        self.rooms.iter().all(|room| room.has_ended)
    }

    /// Takes a message of the daemon. What is no message of the protocol is nothing that is known.
    pub(super) fn take<'m>(&mut self, text: &'m [u8]) -> Seen<'m> {
        let Ok(head) = serde_json::from_slice::<Head<'m>>(text) else { return Seen::Other };
        let before =
            head.room.as_deref().and_then(|name| self.moved(name, head.epoch.as_deref(), head.offset));
        match (&*head.kind, head.data) {
            ("event", Some(event)) => return Seen::Events(vec![event]),
            ("batch", Some(events)) => {
                return Seen::Events(serde_json::from_str(events.get()).unwrap_or_default());
            }
            ("position" | "pong", _) => return Seen::Other,
            _ => {}
        }
        let Ok(message) = serde_json::from_slice::<Value>(text) else { return Seen::Other };
        match &*head.kind {
            "welcome" => Seen::Welcome(message["heartbeat"].as_u64().unwrap_or_default()),
            "subscribed" => Seen::Subscribed(self.subscribed(&message["rooms"])),
            "unsubscribed" => self.unsubscribed(&message),
            "gap" => Seen::Note(gap(&message, before)),
            "closing" => {
                let reason = message["reason"].as_str().unwrap_or("the connection is closed");
                Seen::Closing(reason.to_owned(), message["retry_after"].as_u64())
            }
            "error" => Refused::read(&message, "").map_or(Seen::Other, Seen::Error),
            _ => Seen::Other,
        }
    }

    /// An offset beside a room is the position there; returns the one before.
    fn moved(&mut self, name: &str, epoch: Option<&str>, offset: Option<u64>) -> Option<u64> {
        let (room, offset) = (self.find(name)?, offset?);
        let at = room.at.as_mut()?;
        if let Some(epoch) = epoch {
            epoch.clone_into(&mut at.0);
        }
        let before = std::mem::replace(&mut at.1, offset);
        Some(room.lost.take().unwrap_or(before))
    }

    fn find(&mut self, name: &str) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.name == name)
    }

    fn subscribed(&mut self, entries: &Value) -> Vec<Refused> {
        let mut refused = Vec::new();
        for entry in entries.as_array().into_iter().flatten() {
            let name = entry["room"].as_str().unwrap_or_default();
            let Some(room) = self.find(name) else { continue };
            if let Some(error) = Refused::read(&entry["error"], name) {
                room.has_ended = error.code == "unknown_room";
                refused.push(error);
            } else if let (Some(epoch), Some(offset)) = (entry["epoch"].as_str(), entry["offset"].as_u64()) {
                room.lost = room.at.take().filter(|at| at.0 != epoch).map(|at| at.1);
                room.at = Some((epoch.to_owned(), offset));
                // What a log had that is over is not waited for.
                let first = room.head.filter(|_| room.lost.is_none());
                room.head = first.or(entry["head"].as_u64());
            }
        }
        refused
    }

    fn unsubscribed(&mut self, message: &Value) -> Seen<'static> {
        let names: Vec<&str> =
            message["rooms"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for name in &names {
            if let Some(room) = self.find(name) {
                room.has_ended = true;
            }
        }
        let reason = message["reason"].as_str().unwrap_or("unsubscribed");
        Seen::Note(format!("{} has ended: {reason}", names.join(", ")))
    }
}

impl Refused {
    fn read(error: &Value, room: &str) -> Option<Refused> {
        let error = Refused::deserialize(error).ok()?;
        Some(Refused { room: room.to_owned(), ..error })
    }
}

/// A gap, for people.
fn gap(message: &Value, before: Option<u64>) -> String {
    let room = message["room"].as_str().unwrap_or_default();
    let reason = match message["reason"].as_str().unwrap_or_default() {
        "history_expired" => "history no longer has them",
        "epoch_changed" => "the room's log began anew",
        "room_closed" => "the configuration no longer has the room",
        "slow_client" => "they were read too slowly",
        other => other,
    };
    let (first, last) = (message["first"].as_u64(), message["offset"].as_u64());
    match (message["missed"].as_u64(), first.zip(last)) {
        (Some(1), Some((first, _))) => format!("{room}: event {first} is missing: {reason}"),
        (Some(missed), Some((first, last))) => {
            format!("{room}: {missed} events ({first} to {last}) are missing: {reason}")
        }
        _ => match before {
            Some(before) => format!("{room}: what came after event {before} may be missing: {reason}"),
            None => format!("{room}: events are missing: {reason}"),
        },
    }
}

#[cfg(test)]
mod tests;
