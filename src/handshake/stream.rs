//! `GET /sse`: Server-Sent Events (HTML standard, section 9.2), or lines of JSON for those who ask for them (`Accept:
//! application/x-ndjson`).
//!
//! The whole request is checked here, so that what is wrong with it is answered with a status; a stream that has begun can
//! only end. Its answer comes in chunks; to HTTP/1.0, which knows none, it ends with the connection (RFC 9112 §6.3).

use super::refusal::Refusal;
use super::request::only;
use crate::query;
use crate::request_policy::{self, Access, Policy};
use crate::wire::{
    From, MessageError, Naming, Position, QueryFields, Sse, SubscribeRoom, Transfer, Wire, parse_query_from,
    parse_query_room,
};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

/// Rooms of one stream, if `limits.client.rooms` allows as many. Each frame of a stream of Server-Sent Events tells its position in all of them.
const MOST_ROOMS: usize = 64;

/// Fields of a query.
const FIELDS: [&str; 8] = ["room", "from", "where", "every", "snapshot", "raw", "event", "last_event_id"];

/// With what a browser says where it was.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a proper request asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) rooms: Vec<SubscribeRoom>,
    /// Where the last stream was, in any order of its rooms.
    pub(super) positions: Vec<Position>,
    pub(super) wire: Wire,
    /// The head of the answer.
    pub(super) head: Vec<u8>,
}

/// What is known beside the request.
pub(super) struct Known<'a> {
    /// Which hosts and pages may ask.
    pub(super) policy: Policy<'a>,
    /// Which rooms there are.
    pub(super) rooms: &'a Names,
    /// `limits.client.rooms`.
    pub(super) most_rooms: usize,
}

/// Says whether there is a room of a name, or may be one; if not, which may have been meant.
pub type Names = dyn Fn(&str) -> Result<(), Option<String>> + Send + Sync;

/// Checks everything about a request but who sends it.
pub(super) fn check_stream(parts: &Parts, known: &Known<'_>) -> Result<Asked, Refusal> {
    known.policy.check(Access::Pages, parts)?;
    if parts.method != Method::GET {
        let text = "a stream of events is asked for with GET";
        let refusal = Refusal::bad_request(StatusCode::METHOD_NOT_ALLOWED, text);
        return Err(refusal.with_header(header::ALLOW, "GET, OPTIONS"));
    }
    let query = Query::read(parts.uri.query().unwrap_or(""))?;
    let wire = query.wire(parts)?;
    let positions = query.positions(&parts.headers)?;
    let rooms = query.subscriptions(known, !positions.is_empty())?;
    Ok(Asked { rooms, positions, wire, head: head(wire, &parts.headers) })
}

/// Answers what a browser asks before a page of another origin may ask for a stream with headers of its own.
pub(super) fn preflight(parts: &Parts, policy: &Policy<'_>) -> Result<HeaderMap, Refusal> {
    policy.check(Access::Pages, parts)?;
    let mut answer = request_policy::cors(&parts.headers);
    answer.extend(request_policy::preflight(&parts.headers, HeaderValue::from_static("GET")));
    Ok(answer)
}

/// True if a query's field is one of ours.
fn is_field(name: &str) -> bool {
    FIELDS.contains(&name) || is_last_event_id(name)
}

/// True if a field is `last_event_id`, in any of the spellings that libraries have for it (`lastEventId`, `lastEventID`).
fn is_last_event_id(name: &str) -> bool {
    query::folded(name) == "lasteventid"
}

/// A query, decoded. Fields that are not ours mean nothing.
struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: &str) -> Result<Query, Refusal> {
        let Some(fields) = query::fields(query) else {
            return Err(bad(
                "the query cannot be decoded: percent-encoded UTF-8 is needed, as in room=agent%3A42",
            ));
        };
        // A misspelt `from` must not silently mean "from now on".
        for (name, _) in fields.iter().filter(|(name, _)| !is_field(name)) {
            if let Some(ours) = query::meant(name, &FIELDS) {
                let name: String = name.chars().take(40).collect();
                return Err(bad(&format!("no field {name:?} in a query; did you mean {ours:?}?")));
            }
        }
        Ok(Query(fields))
    }

    fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn one<'q>(&'q self, name: &'q str) -> Result<Option<&'q str>, Refusal> {
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(bad(&format!("{name} is given twice; it holds for all rooms of a stream"))),
        }
    }

    fn wire(&self, Parts { version, headers, .. }: &Parts) -> Result<Wire, Refusal> {
        let bare = match self.one("raw")? {
            None | Some("0" | "false") => false,
            Some("1" | "true" | "") => true,
            Some(other) => return Err(bad(&format!("raw is 1 or 0, not {other:?}"))),
        };
        let naming = match self.one("event")? {
            None | Some("none") => Naming::None,
            Some("type") => Naming::Type,
            Some("room") => Naming::Room,
            Some(other) => return Err(bad(&format!("event is none, type or room, not {other:?}"))),
        };
        let accepts = |kind| {
            let mut values = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
            values.any(|accept| accept.contains(kind))
        };
        let wants_lines = accepts("application/x-ndjson") || accepts("application/jsonl");
        let is_lines = wants_lines && !accepts("text/event-stream");
        let transfer = if *version == Version::HTTP_11 { Transfer::Chunked } else { Transfer::Plain };
        Ok(if is_lines { Wire::Lines { bare, transfer } } else { Wire::Sse(Sse { bare, naming, transfer }) })
    }

    /// The rooms to subscribe to. One that is gone does not keep a stream that goes on from the others: `subscribed` says
    /// that it is not there.
    fn subscriptions(&self, known: &Known<'_>, goes_on: bool) -> Result<Vec<SubscribeRoom>, Refusal> {
        let names = self.rooms(known.most_rooms.min(MOST_ROOMS))?;
        let from =
            self.one("from")?.map_or(Ok(From::Now), parse_query_from).map_err(|error| bad_field(&error))?;
        let fields = QueryFields {
            condition: self.one("where")?,
            every: self.one("every")?,
            snapshot: self.one("snapshot")?,
        };
        let mut subscriptions = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        for name in names {
            let subscription = parse_query_room(name, from.clone(), fields);
            subscriptions.push(subscription.map_err(|error| bad_field(&error))?);
            missing.extend((known.rooms)(name).err().map(|nearest| (name, nearest)));
        }
        match missing.first() {
            Some((name, nearest)) if !goes_on || missing.len() == subscriptions.len() => {
                let meant = nearest.as_ref().map(|nearest| format!("; {}", query::did_you_mean(nearest)));
                let text = format!("no room has the name {name:?}{}", meant.unwrap_or_default());
                Err(Refusal::bad_request(StatusCode::NOT_FOUND, text))
            }
            _ => Ok(subscriptions),
        }
    }

    /// The names of the rooms that are asked for, each once.
    fn rooms(&self, most: usize) -> Result<Vec<&str>, Refusal> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.all("room").filter(|name| !name.is_empty()) {
            if names.contains(&name) {
                continue;
            }
            if names.len() == most {
                return Err(bad(&format!("a stream has {most} rooms at most")));
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err(bad("which rooms? /sse?room=agent_states&room=agent%3A42"));
        }
        Ok(names)
    }

    /// The last `last_event_id` that says something: libraries add theirs at the end of an address that may have one.
    fn last_event_id(&self) -> Option<&str> {
        let says = |(name, value): &&(String, String)| is_last_event_id(name) && !value.is_empty();
        self.0.iter().rev().find(says).map(|(_, value)| value.as_str())
    }

    /// Where the last stream was, if the client says so.
    fn positions(&self, headers: &HeaderMap) -> Result<Vec<Position>, Refusal> {
        // What the browser says is newer than what its page was made with.
        let last = if headers.contains_key(LAST_EVENT_ID) {
            Some(only(headers, &LAST_EVENT_ID).ok_or_else(bad_id)?)
        } else {
            self.last_event_id()
        };
        let Some(last) = last.filter(|last| !last.is_empty()) else { return Ok(Vec::new()) };
        let positions: Result<Vec<Position>, ()> = last.split(',').map(str::parse).collect();
        positions.ok().filter(|positions| positions.len() <= MOST_ROOMS).ok_or_else(bad_id)
    }
}

/// The answer's head. Proxies are told not to keep back or change what comes (nginx: `X-Accel-Buffering`).
fn head(wire: Wire, headers: &HeaderMap) -> Vec<u8> {
    let kind = match wire {
        Wire::Lines { .. } => "application/x-ndjson",
        Wire::Sse(_) | Wire::WebSocket | Wire::SocketIo(_) => "text/event-stream",
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n"
    );
    let mut head = head.into_bytes();
    if wire.transfer() == Transfer::Chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    for (name, value) in &request_policy::cors(headers) {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn bad(text: &str) -> Refusal {
    Refusal::bad_request(StatusCode::BAD_REQUEST, text)
}

/// To begin with what comes next would leave a hole that nobody is told of.
fn bad_id() -> Refusal {
    bad(
        "Last-Event-ID is not one of this daemon's: it has EPOCH:OFFSET of each room, with commas between them",
    )
}

fn bad_field(error: &MessageError) -> Refusal {
    let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    bad(&format!("{}{hint}", error.message))
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
