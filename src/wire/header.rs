//! The header of a frame from a client (RFC 6455 §5.2), read before the frame itself has arrived.

use super::reader::ReadError;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether it is a message's last frame.
    pub(super) fin: bool,
    /// What the frame is.
    pub(super) opcode: Opcode,
    len: usize,
    payload_len: u64,
}

impl Header {
    /// The longest header: two bytes, a length of eight, a mask of four.
    pub(super) const LONGEST: usize = 14;

    /// Reads the header that `bytes` begin with; none while it is not whole. What is wrong with a byte is said as soon
    /// as the byte is there.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, ReadError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(ReadError::protocol("a reserved bit is set and no extension was agreed on"));
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::read(first & 0x0f)?;
        if opcode.is_control() && !fin {
            return Err(ReadError::protocol("a control frame is fragmented"));
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(ReadError::protocol("a frame is not masked"));
        }
        let short_len = second & 0x7f;
        if opcode.is_control() && short_len > 125 {
            return Err(ReadError::protocol("a control frame is longer than 125 bytes"));
        }
        let len_bytes = match short_len {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(extended) = bytes.get(2..2 + len_bytes) else { return Ok(None) };
        let extended = extended.iter().fold(0, |len: u64, byte| len << 8 | u64::from(*byte));
        let (payload_len, least) = match len_bytes {
            0 => (u64::from(short_len), 0),
            2 => (extended, 126),
            _ => (extended, 0x1_0000),
        };
        if payload_len < least || payload_len > i64::MAX as u64 {
            return Err(ReadError::protocol("a frame's length is not written as it must be"));
        }
        Ok(Some(Header { fin, opcode, len: 2 + len_bytes + 4, payload_len }))
    }

    /// Checks the header against the message that is open (bytes of its fragments so far), and the bound of messages.
    pub(super) fn check(self, open: Option<usize>, max_message_size: usize) -> Result<(), ReadError> {
        match (self.opcode, open) {
            (Opcode::Continuation, None) => {
                return Err(ReadError::protocol("a continuation frame without a message"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(ReadError::protocol("a new message before the last one's end"));
            }
            _ => {}
        }
        let before = if self.opcode.is_control() { 0 } else { open.unwrap_or(0) as u64 };
        let fits = self.opcode.is_control() || before + self.payload_len <= max_message_size as u64;
        if fits { Ok(()) } else { Err(ReadError::too_big()) }
    }

    /// Length of the whole frame. Meaningful once the header was checked.
    pub(super) fn frame_len(self) -> usize {
        self.len + self.payload_len as usize
    }
}

impl Opcode {
    fn read(nibble: u8) -> Result<Opcode, ReadError> {
        Ok(match nibble {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return Err(ReadError::protocol("unknown opcode")),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}
