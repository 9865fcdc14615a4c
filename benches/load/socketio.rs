//! Socket.IO as a client speaks it over a WebSocket: one namespace, a subscription by the service's words, events.

use crate::client::Subscription;
use crate::scan::{Item, Scanner, digits};
use serde_json::Value;

/// The address of a session that begins with a WebSocket.
pub(crate) const PATH: &str = "/socket.io/?EIO=4&transport=websocket";
/// Connects to the main namespace.
pub(crate) const CONNECT: &str = "40";
/// Answers a ping.
pub(crate) const PONG: &str = "3";

/// What a text frame is.
#[derive(Debug, PartialEq)]
pub(crate) enum Packet {
    /// The session is open.
    Open,
    /// The namespace is connected to.
    Connected,
    Ping,
    /// Events; they are in [`Scanner::items`], with their numbers, and without offsets.
    Events,
    /// Another event, with its first argument.
    Other(String, Value),
}

/// The packet that subscribes to rooms.
pub(crate) fn subscribe(subscriptions: &[Subscription]) -> String {
    let rooms: Vec<_> = subscriptions.iter().map(|own| format!("\"load:r{}\"", own.room)).collect();
    format!(r#"42["subscribe",{{"rooms":[{}]}}]"#, rooms.join(","))
}

/// Reads a text frame.
pub(crate) fn read(text: &[u8], scanner: &mut Scanner) -> Result<Packet, String> {
    match text {
        [b'0', ..] => Ok(Packet::Open),
        [b'2'] => Ok(Packet::Ping),
        [b'4', b'0', ..] => Ok(Packet::Connected),
        [b'4', b'2', rest @ ..] if rest.starts_with(b"[\"load\",") => {
            scanner.items.clear();
            let mut at = 0;
            while let Some(found) = memchr::memmem::find(&rest[at..], b"\"n\":") {
                let (number, end) = digits(rest, at + found + 4).ok_or("an event without a number")?;
                let (due, end) = digits(rest, end + 5).ok_or("an event without a time")?;
                scanner.items.push(Item { offset: 0, number, due });
                at = end;
            }
            Ok(Packet::Events)
        }
        [b'4', b'2', rest @ ..] => {
            let parsed: Result<(String, Value), _> =
                serde_json::from_slice::<Vec<Value>>(rest).map(|mut list| {
                    let argument = if list.len() > 1 { list.swap_remove(1) } else { Value::Null };
                    (list[0].as_str().unwrap_or_default().to_owned(), argument)
                });
            let (name, argument) = parsed.map_err(|error| format!("an event that is no JSON: {error}"))?;
            Ok(Packet::Other(name, argument))
        }
        _ => Err(format!("cannot read {}", crate::scan::excerpt(text))),
    }
}
