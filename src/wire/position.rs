//! A place in a room's log: an epoch and an offset, written `EPOCH:OFFSET`.

use std::fmt;
use std::str::FromStr;

/// One life of a room's log. Within an epoch an offset never names two different events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A place in a room's log. A reader at a position has had every event up to its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the log.
    pub epoch: Epoch,
    /// Offset of the last event that was read; 0 before the first.
    pub offset: u64,
}

impl Position {
    /// Appends it as text. Allocates nothing but `out`'s own growth.
    pub fn push(self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Filled from its end: the digits, and the colon.
        let mut text = [b':'; 17];
        let (mut begin, mut left) = (15, self.epoch.0 >> 4);
        text[begin] = DIGITS[self.epoch.0 as usize & 0xf];
        while left > 0 {
            begin -= 1;
            text[begin] = DIGITS[left as usize & 0xf];
            left >>= 4;
        }
        out.extend_from_slice(&text[begin..]);
        out.extend_from_slice(itoa::Buffer::new().format(self.offset).as_bytes());
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ();

    fn from_str(text: &str) -> Result<Epoch, ()> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if plain { u64::from_str_radix(text, 16).map(Epoch).map_err(|_| ()) } else { Err(()) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Position, ()> {
        let (epoch, offset) = text.split_once(':').ok_or(())?;
        let plain = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
        let offset = if plain { offset.parse().map_err(|_| ())? } else { return Err(()) };
        Ok(Position { epoch: epoch.parse()?, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_and_nothing_else_does() {
        let position = Position { epoch: Epoch(0xbeef), offset: 42 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for epoch in [0, 1, 0xf, 0x10, 0xbeef, u64::MAX] {
            let position = Position { epoch: Epoch(epoch), offset: 7 };
            let mut out = Vec::new();
            position.push(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), position.to_string());
        }
        for text in
            ["", ":", "1", "1:", ":1", "g:1", "1:-1", "1:+1", "+1:1", "1:1:1", "1: 1", "12345678901234567:1"]
        {
            assert_eq!(text.parse::<Position>(), Err(()), "{text}");
        }
    }
}
