//! An event as rooms keep it: one allocation that every room and shard shares.

use std::sync::Arc;

const SEQ: std::ops::Range<usize> = 0..8;
const ACCEPTED_AT: std::ops::Range<usize> = 8..16;
const BESIDE_BYTES: std::ops::Range<usize> = 16..20;
const TYPE_AT: std::ops::Range<usize> = 20..24;
const TYPE_BYTES: std::ops::Range<usize> = 24..26;
const HEADER_BYTES: usize = 26;

/// Where an event's type is in its JSON, quotes and escapes as they were written: from which byte on, and how many bytes.
/// Nothing for a type that is longer than 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSpan {
    at: u32,
    bytes: u16,
}

impl TypeSpan {
    /// A type that is at `at` and `bytes` long.
    pub fn new(at: usize, bytes: usize) -> TypeSpan {
        match (u32::try_from(at), u16::try_from(bytes)) {
            (Ok(at), Ok(bytes)) => TypeSpan { at, bytes },
            _ => TypeSpan::default(),
        }
    }

    /// The same type after so many bytes were put in before it.
    #[must_use]
    pub fn moved_by(self, bytes: usize) -> TypeSpan {
        TypeSpan::new(self.at as usize + bytes, self.bytes.into())
    }

    /// As one number, to be kept.
    pub fn to_number(self) -> u64 {
        u64::from(self.at) << 16 | u64::from(self.bytes)
    }

    /// From what [`to_number`](Self::to_number) gave.
    pub fn from_number(number: u64) -> TypeSpan {
        TypeSpan::new((number >> 16) as usize, (number & 0xffff) as usize)
    }
}

/// A checked event. Cloning shares the one allocation, which holds the event's JSON byte for byte (with the
/// `timestamp` that was added, if it was), its daemon-wide number, when it was accepted, and the fields beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct Event(Arc<[u8]>);

impl Event {
    /// Makes an event of parts that are joined in one exact allocation.
    ///
    /// `json` is the event's text in pieces, `beside` the JSON object of the fields beside it (empty: none),
    /// `scratch` a buffer that is overwritten and kept for the next event.
    pub fn new(seq: u64, accepted_at_ms: u64, json: &[&[u8]], beside: &[u8], scratch: &mut Vec<u8>) -> Event {
        Event::typed((seq, accepted_at_ms), json, TypeSpan::default(), beside, scratch)
    }

    /// As [`new`](Self::new), with the place of its type in `json`.
    pub fn typed(
        (seq, accepted_at_ms): (u64, u64),
        json: &[&[u8]],
        of_type: TypeSpan,
        beside: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Event {
        scratch.clear();
        scratch.extend_from_slice(&seq.to_le_bytes());
        scratch.extend_from_slice(&accepted_at_ms.to_le_bytes());
        scratch.extend_from_slice(&(beside.len() as u32).to_le_bytes());
        scratch.extend_from_slice(&of_type.at.to_le_bytes());
        scratch.extend_from_slice(&of_type.bytes.to_le_bytes());
        for piece in json {
            scratch.extend_from_slice(piece);
        }
        scratch.extend_from_slice(beside);
        Event(Arc::from(scratch.as_slice()))
    }

    /// The event's JSON text.
    pub fn json(&self) -> &[u8] {
        &self.0[HEADER_BYTES..self.0.len() - self.beside_len()]
    }

    /// The JSON object of the fields beside the event; empty when there are none.
    pub fn beside(&self) -> &[u8] {
        &self.0[self.0.len() - self.beside_len()..]
    }

    /// Where its type is in its JSON.
    pub fn type_span(&self) -> TypeSpan {
        TypeSpan {
            at: u32::from_le_bytes(self.array(TYPE_AT)),
            bytes: u16::from_le_bytes(self.array(TYPE_BYTES)),
        }
    }

    /// Its type as a JSON string, as its producer wrote it. None where nobody has said where it is.
    pub fn type_json(&self) -> Option<&[u8]> {
        let TypeSpan { at, bytes } = self.type_span();
        let (at, bytes) = (at as usize, bytes as usize);
        self.json().get(at..at + bytes).filter(|json| !json.is_empty())
    }

    /// The event's daemon-wide number, the same in every room.
    pub fn seq(&self) -> u64 {
        u64::from_le_bytes(self.array(SEQ))
    }

    /// When the event was accepted, in log time ([`Moment`](crate::time::Moment)).
    pub fn accepted_at_ms(&self) -> u64 {
        u64::from_le_bytes(self.array(ACCEPTED_AT))
    }

    /// Bytes the event takes in memory.
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn beside_len(&self) -> usize {
        u32::from_le_bytes(self.array(BESIDE_BYTES)) as usize
    }

    fn array<const N: usize>(&self, range: std::ops::Range<usize>) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[range]);
        bytes
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event({} {})", self.seq(), String::from_utf8_lossy(self.json()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_back() {
        let mut scratch = Vec::new();
        let event = Event::new(7, 99, &[b"{", b"\"a\":1}"], b"{\"b\":2}", &mut scratch);
        assert_eq!(event.json(), b"{\"a\":1}");
        assert_eq!(event.beside(), b"{\"b\":2}");
        assert_eq!((event.seq(), event.accepted_at_ms()), (7, 99));
        assert_eq!(event.type_json(), None);
    }

    #[test]
    fn a_type_is_found_where_it_was_put() {
        let span = TypeSpan::new(8, 3).moved_by(1);
        assert_eq!(TypeSpan::from_number(span.to_number()), span);
        let event = Event::typed((7, 99), &[b"{ ", b"\"type\":\"t\"}"], span, b"{\"b\":2}", &mut Vec::new());
        assert_eq!(event.type_json(), Some(&b"\"t\""[..]));
        assert_eq!(event.type_span(), span);
        assert_eq!(TypeSpan::new(1, 70_000), TypeSpan::default());
    }
}
