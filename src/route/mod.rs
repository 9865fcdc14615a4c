//! Which rooms a line belongs to: routes compiled from one configuration for one ingest listener.
//!
//! [`Routes::read`] is the second of the five functions a line passes on its way to a socket. It parses, checks and
//! routes in one pass, and allocates once, for the event itself. Pure: a room is a number or a name here.

mod beside;
mod check;
mod fault;
mod flaw;
mod json;
mod rejection;
mod rooms;
mod routes;
mod sample;
mod self_test;
mod skeleton;

pub use beside::{Beside, parse_with};
pub use rejection::{Rejection, RejectionCode};
pub use routes::Routes;
pub use sample::{Sample, sample};
pub use self_test::run_tests;

use crate::event::Event;
use crate::pattern::Value;
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
    /// The value of the room's `key` in [`Scratch::text`] (its parts joined by U+001F); empty in a room without a key, and
    /// when the event has none of the key's fields.
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
    /// What is parsed of a long line.
    skeleton: skeleton::Skeleton,
    /// Room for the values of a line's fields; empty between lines.
    values: Vec<Value<'static>>,
}

impl Scratch {
    fn clear(&mut self) {
        self.destinations.clear();
        self.text.clear();
        self.names_too_long = 0;
        self.warning = None;
    }
}
