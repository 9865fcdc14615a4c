//! Which rooms a line belongs to: routes compiled from one configuration for one ingest listener.
//!
//! [`Routes::read`] is the second of the five functions a line passes on its way to a socket. It parses, checks and
//! routes in one pass, and allocates once, for the event itself. Pure: a room is a number or a name here.

mod routes;

pub use routes::Routes;

use crate::event::Event;
use std::ops::Range;

/// What one line became.
#[derive(Debug)]
pub enum Outcome {
    /// An event for the rooms in [`Scratch::destinations`] (never empty), to be published.
    Event(Event),
    /// A valid event that no room takes, where `unrouted = "count"`.
    Unrouted,
    /// Its rooms' names were all too long; counted, not published.
    NameTooLong,
}

/// A room that an event goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Index into the configuration's `rooms`.
    pub room: usize,
    /// The room's name in [`Scratch::text`] for a template; empty for a static room.
    pub name: Range<usize>,
    /// The value of the room's `key` in [`Scratch::text`] (its parts joined by U+001F), where the room's buffer keeps
    /// the newest of every key; empty otherwise.
    pub key: Range<usize>,
    /// The value of the buffer's `group_by` in [`Scratch::text`]; empty without.
    pub group: Range<usize>,
    /// Whether the room's `urgent` condition holds.
    pub urgent: bool,
}

/// What a thread keeps from line to line so that nothing is allocated but the event.
#[derive(Default)]
pub struct Scratch {
    /// Rooms of the line that was read last.
    pub destinations: Vec<Destination>,
    /// The text that `destinations` point into; valid for the line that was read last.
    pub text: String,
    /// Room names over 200 bytes, of the line that was read last.
    pub names_too_long: usize,
    /// Whether the line failed its type's checks and was taken all the same (`invalid = "warn"`, or a room).
    pub warning: Option<Box<Rejection>>,
    /// Buffer that events are put together in.
    pub(crate) bytes: Vec<u8>,
}

/// Fields beside the event: they route what follows, and are not in its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    fields: Vec<(String, serde_json::Value)>,
    json: Vec<u8>,
}

impl Beside {
    /// Fields of a `$with` object or of a query string. A later field wins over an earlier one of the same name.
    pub fn new(fields: Vec<(String, serde_json::Value)>) -> Beside {
        let mut kept: Vec<(String, serde_json::Value)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            kept.retain(|(other, _)| *other != name);
            kept.push((name, value));
        }
        let object: serde_json::Map<_, _> = kept.iter().cloned().collect();
        let json = if object.is_empty() {
            Vec::new()
        } else {
            serde_json::Value::Object(object).to_string().into_bytes()
        };
        Beside { fields: kept, json }
    }

    /// The fields, each name once.
    pub fn fields(&self) -> &[(String, serde_json::Value)] {
        &self.fields
    }

    /// The fields as a JSON object's text; empty when there are none.
    pub fn json(&self) -> &[u8] {
        &self.json
    }
}

/// Why a line was refused: what a producer is told, and what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Closed set of reasons; also the metric's label.
    pub code: RejectionCode,
    /// 1-based byte column within the line.
    pub column: usize,
    /// JSON path of the field, where there is one (`resourceUsage.cpu`).
    pub path: Option<String>,
    /// What is wrong and what would be right, one sentence.
    pub message: String,
    /// What to do, where more than the message is worth saying (TOML to add, `jq -c`).
    pub hint: Option<String>,
}

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectionCode {
    /// Not JSON, or something after the object.
    BadJson,
    /// Not UTF-8.
    BadUtf8,
    /// JSON, but not an object.
    NotAnObject,
    /// Part of an object spread over several lines.
    PrettyPrinted,
    /// Nested deeper than 64.
    TooDeep,
    /// Longer than `max_event_size`.
    TooLong,
    /// A field that routes or is checked appears twice.
    DuplicateField,
    /// No type, or not a string.
    BadType,
    /// A field that must be there is not.
    MissingField,
    /// A field is not what its type says.
    BadField,
    /// No room takes it.
    Unrouted,
    /// A `$with` line that is not one.
    BadWith,
    /// The backlog is full and the listener sheds.
    BacklogFull,
    /// The daemon is stopping.
    Stopping,
    /// `limits.rooms` is reached.
    TooManyRooms,
}

impl RejectionCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [RejectionCode; 15] = [
        RejectionCode::BadJson,
        RejectionCode::BadUtf8,
        RejectionCode::NotAnObject,
        RejectionCode::PrettyPrinted,
        RejectionCode::TooDeep,
        RejectionCode::TooLong,
        RejectionCode::DuplicateField,
        RejectionCode::BadType,
        RejectionCode::MissingField,
        RejectionCode::BadField,
        RejectionCode::Unrouted,
        RejectionCode::BadWith,
        RejectionCode::BacklogFull,
        RejectionCode::Stopping,
        RejectionCode::TooManyRooms,
    ];

    /// The code as producers and metrics see it.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectionCode::BadJson => "bad_json",
            RejectionCode::BadUtf8 => "bad_utf8",
            RejectionCode::NotAnObject => "not_an_object",
            RejectionCode::PrettyPrinted => "pretty_printed",
            RejectionCode::TooDeep => "too_deep",
            RejectionCode::TooLong => "too_long",
            RejectionCode::DuplicateField => "duplicate_field",
            RejectionCode::BadType => "bad_type",
            RejectionCode::MissingField => "missing_field",
            RejectionCode::BadField => "bad_field",
            RejectionCode::Unrouted => "unrouted",
            RejectionCode::BadWith => "bad_with",
            RejectionCode::BacklogFull => "backlog_full",
            RejectionCode::Stopping => "stopping",
            RejectionCode::TooManyRooms => "too_many_rooms",
        }
    }
}
