//! Reads what the daemon sends, quickly where it matters.
//!
//! `event` and `batch` frames come by the million: a few searches find what is needed, which works because the load's
//! own events hold no such words. Every other message is rare and read as JSON.

use memchr::memmem::Finder;
use serde_json::Value;

/// One event of a frame: its number and time stamp as the producer wrote them, and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) offset: u64,
    pub(crate) number: u64,
    /// Microseconds since the load's start.
    pub(crate) due: u64,
}

/// What a text frame is.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// Events of a room; they are in [`Scanner::items`]. `offset` is the position after them, which is beyond the last
    /// one where a filter left out what follows.
    Events { room: u32, offset: u64 },
    /// Anything else.
    Other(Value),
}

/// Prepared searches, and the events of the frame read last.
pub(crate) struct Scanner {
    room: Finder<'static>,
    offset: Finder<'static>,
    offsets: Finder<'static>,
    number: Finder<'static>,
    pub(crate) items: Vec<Item>,
}

impl Scanner {
    pub(crate) fn new() -> Scanner {
        Scanner {
            room: Finder::new(b"\"room\":\"load:r"),
            offset: Finder::new(b"\"offset\":"),
            offsets: Finder::new(b"\"offsets\":["),
            number: Finder::new(b"\"n\":"),
            items: Vec::new(),
        }
    }

    /// Reads a text frame.
    pub(crate) fn read(&mut self, text: &[u8]) -> Result<Message, String> {
        let batch = text.starts_with(b"{\"type\":\"batch\"");
        if batch || text.starts_with(b"{\"type\":\"event\"") {
            let found = self.events(text, batch);
            return found.ok_or_else(|| format!("cannot read {}", excerpt(text)));
        }
        serde_json::from_slice(text).map(Message::Other).map_err(|_| format!("not JSON: {}", excerpt(text)))
    }

    fn events(&mut self, text: &[u8], batch: bool) -> Option<Message> {
        self.items.clear();
        let (room, last, mut at) = usual(text).or_else(|| self.anywhere(text))?;
        while let Some(found) = self.number.find(&text[at..]) {
            let (number, end) = digits(text, at + found + self.number.needle().len())?;
            if !text[end..].starts_with(b",\"t\":") {
                return None;
            }
            let (due, end) = digits(text, end + 5)?;
            self.items.push(Item { offset: last, number, due });
            at = end;
            if !batch {
                break;
            }
        }
        if batch {
            self.give_offsets(text, last)?;
        }
        (!self.items.is_empty()).then_some(Message::Events { room: room as u32, offset: last })
    }

    /// Room and offset, wherever they stand.
    fn anywhere(&self, text: &[u8]) -> Option<(u64, u64, usize)> {
        let (room, _) = digits(text, self.room.find(text)? + self.room.needle().len())?;
        let (last, _) = digits(text, self.offset.find(text)? + self.offset.needle().len())?;
        Some((room, last, 0))
    }

    /// A batch names the position after it; offsets stand in `offsets` unless they are consecutive and end there.
    fn give_offsets(&mut self, text: &[u8], last: u64) -> Option<()> {
        let Some(found) = self.offsets.find(text) else {
            let first = (last + 1).checked_sub(self.items.len() as u64)?;
            self.items.iter_mut().zip(first..).for_each(|(item, offset)| item.offset = offset);
            return Some(());
        };
        let mut at = found + self.offsets.needle().len();
        for item in &mut self.items {
            let (offset, end) = digits(text, at)?;
            item.offset = offset;
            at = end + 1;
        }
        (text[at - 1] == b']' && self.items.last()?.offset <= last).then_some(())
    }
}

/// Room, offset and where they end, if they stand where they usually do: saves two searches of three.
fn usual(text: &[u8]) -> Option<(u64, u64, usize)> {
    const EVENT: &[u8] = b"{\"type\":\"event\",\"room\":\"load:r";
    const BATCH: &[u8; EVENT.len()] = b"{\"type\":\"batch\",\"room\":\"load:r";
    const BETWEEN: &[u8] = b"\",\"offset\":";
    if !text.starts_with(EVENT) && !text.starts_with(BATCH) {
        return None;
    }
    let (room, end) = digits(text, EVENT.len())?;
    if !text[end..].starts_with(BETWEEN) {
        return None;
    }
    let (offset, end) = digits(text, end + BETWEEN.len())?;
    Some((room, offset, end))
}

/// The number that begins at `at`, and where it ends.
pub(crate) fn digits(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let rest = text.get(at..)?;
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value =
        rest[..length].iter().fold(0u64, |value, digit| value.wrapping_mul(10) + u64::from(digit - b'0'));
    (1..=19).contains(&length).then_some((value, at + length))
}

/// The beginning of a text, to show.
pub(crate) fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(160)]).into_owned()
}
