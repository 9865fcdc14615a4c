//! An event as rooms keep it: one allocation that every room and shard shares.

use std::sync::Arc;

const SEQ: std::ops::Range<usize> = 0..8;
const ACCEPTED_AT: std::ops::Range<usize> = 8..16;
const BESIDE_BYTES: std::ops::Range<usize> = 16..20;
const HEADER_BYTES: usize = 20;

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
        scratch.clear();
        scratch.extend_from_slice(&seq.to_le_bytes());
        scratch.extend_from_slice(&accepted_at_ms.to_le_bytes());
        scratch.extend_from_slice(&(beside.len() as u32).to_le_bytes());
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

    /// The event's daemon-wide number, the same in every room.
    pub fn seq(&self) -> u64 {
        self.number(SEQ)
    }

    /// When the event was accepted, in milliseconds since the Unix epoch.
    pub fn accepted_at_ms(&self) -> u64 {
        self.number(ACCEPTED_AT)
    }

    /// Bytes the event takes in memory.
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn number(&self, range: std::ops::Range<usize>) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[range]);
        u64::from_le_bytes(bytes)
    }

    fn beside_len(&self) -> usize {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[BESIDE_BYTES]);
        u32::from_le_bytes(bytes) as usize
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
    }
}
