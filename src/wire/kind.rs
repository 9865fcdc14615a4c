//! Types of the daemon's messages, and which of their names no producer can have.

use crate::config::OwnEvent;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The `type` of a message of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Welcome,
    Subscribed,
    Unsubscribed,
    Event,
    Batch,
    Snapshot,
    Gap,
    Position,
    Error,
    Pong,
    Closing,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Welcome,
        Kind::Subscribed,
        Kind::Unsubscribed,
        Kind::Event,
        Kind::Batch,
        Kind::Snapshot,
        Kind::Gap,
        Kind::Position,
        Kind::Error,
        Kind::Pong,
        Kind::Closing,
    ];

    /// The type as clients see it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Kind::Welcome => "welcome",
            Kind::Subscribed => "subscribed",
            Kind::Unsubscribed => "unsubscribed",
            Kind::Event => "event",
            Kind::Batch => "batch",
            Kind::Snapshot => "snapshot",
            Kind::Gap => "gap",
            Kind::Position => "position",
            Kind::Error => "error",
            Kind::Pong => "pong",
            Kind::Closing => "closing",
        }
    }

    /// Its event to a Socket.IO client; none if such a client gets other words.
    pub(super) const fn own_event(self) -> Option<OwnEvent> {
        match self {
            Kind::Gap => Some(OwnEvent::Gap),
            Kind::Position => Some(OwnEvent::Position),
            Kind::Error => Some(OwnEvent::Error),
            Kind::Pong => Some(OwnEvent::Pong),
            Kind::Closing => Some(OwnEvent::Closing),
            Kind::Welcome
            | Kind::Subscribed
            | Kind::Unsubscribed
            | Kind::Event
            | Kind::Batch
            | Kind::Snapshot => None,
        }
    }

    /// True if a bare stream of lines says it: what has happened to its events, and no more.
    pub(super) const fn is_said_in_lines(self) -> bool {
        matches!(self, Kind::Gap | Kind::Error | Kind::Unsubscribed | Kind::Closing)
    }

    /// True if a stream of Server-Sent Events says it under its own name, beside events.
    const fn is_said_beside_events(self) -> bool {
        match self {
            Kind::Welcome
            | Kind::Subscribed
            | Kind::Unsubscribed
            | Kind::Gap
            | Kind::Error
            | Kind::Pong
            | Kind::Closing => true,
            Kind::Event | Kind::Batch | Kind::Snapshot | Kind::Position => false,
        }
    }

    /// True if no room's events may have this name in a stream of Server-Sent Events: the daemon uses it for itself, or an
    /// `EventSource` does for its connection.
    pub(super) fn is_reserved_in_sse(name: &str) -> bool {
        name == "open" || Kind::ALL.iter().any(|kind| kind.as_str() == name && kind.is_said_beside_events())
    }

    /// True if an event has a field of its own that stands for a line of the daemon's in a bare stream (`$gap`), or for an event
    /// that has one (`$event`).
    pub(super) fn is_mistaken_for_a_line(event: &[u8]) -> bool {
        let may_be =
            memchr::memchr(b'$', event).is_some() || memchr::memmem::find(event, b"\\u0024").is_some();
        may_be && has_reserved_field(event)
    }
}

fn has_reserved_field(event: &[u8]) -> bool {
    let fields: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(event);
    let is_reserved = |field: &String| {
        field.strip_prefix('$').is_some_and(|name| {
            let is_said = |kind: &Kind| *kind == Kind::Event || kind.is_said_in_lines();
            Kind::ALL.iter().any(|kind| kind.as_str() == name && is_said(kind))
        })
    };
    fields.is_ok_and(|fields| fields.keys().any(is_reserved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_in_the_list() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
        assert_eq!(Kind::ALL.len(), Kind::Closing as usize + 1);
    }

    #[test]
    fn an_event_with_a_field_of_a_line_of_the_daemons_is_known_however_it_is_written() {
        for event in [
            r#"{"$gap":{"room":"a"}}"#,
            r#"{"a":1,"$closing":null}"#,
            r#"{"\u0024gap":1}"#,
            r#"{"$\u0067ap":1}"#,
            r#"{ "$event" : {} }"#,
        ] {
            assert!(Kind::is_mistaken_for_a_line(event.as_bytes()), "{event}");
        }
        for event in
            [r#"{"a":"$gap"}"#, r#"{"a":{"$gap":1}}"#, r#"{"gap":1}"#, r#"{"$gaps":1,"$welcome":2}"#, "{}"]
        {
            assert!(!Kind::is_mistaken_for_a_line(event.as_bytes()), "{event}");
        }
    }
}
