//! Framing of a stream in the answer to its HTTP request (RFC 9112, section 7.1).

/// Framing of a stream's bytes. Clients share a view's bytes if their framing is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfer {
    /// None, as for WebSockets. An answer to HTTP/1.0 ends with its connection.
    #[default]
    Plain,
    /// Chunks, for HTTP/1.1. Clients deliver each chunk at once, and can tell a complete answer from a lost connection.
    Chunked,
}

/// Line break behind the bytes of a chunk.
const TAIL: &[u8] = b"\r\n";
/// Chunk without bytes, which ends an answer.
const LAST: &[u8] = b"0\r\n\r\n";
/// Bytes of the longest head: sixteen digits and a line break.
const LONGEST_HEAD: usize = 18;

impl Transfer {
    /// Bytes that a chunk adds to so many of a stream.
    pub fn overhead(self, len: usize) -> usize {
        if self == Transfer::Plain || len == 0 {
            0
        } else {
            head(len, &mut [0; LONGEST_HEAD]).len() + TAIL.len()
        }
    }

    /// Encloses the bytes of `out` from `start` on in one chunk. No bytes get no chunk: that would end the answer.
    pub fn enclose(self, out: &mut Vec<u8>, start: usize) {
        let len = out.len() - start;
        out.resize(out.len() + self.overhead(len), 0);
        self.enclose_at(out, start..start + len, start);
    }

    /// Moves bytes into a chunk that begins at `to`, at or behind their start, and returns where they are then. There must
    /// be room for its overhead.
    pub fn enclose_at(
        self,
        bytes: &mut [u8],
        from: std::ops::Range<usize>,
        to: usize,
    ) -> std::ops::Range<usize> {
        let len = from.len();
        if self == Transfer::Plain || len == 0 {
            bytes.copy_within(from, to);
            return to..to + len;
        }
        let mut buffer = [0; LONGEST_HEAD];
        let head = head(len, &mut buffer);
        let start = to + head.len();
        bytes.copy_within(from, start);
        bytes[to..start].copy_from_slice(head);
        bytes[start + len..start + len + TAIL.len()].copy_from_slice(TAIL);
        start..start + len
    }

    /// Appends a chunk's beginning, for so many bytes of a stream.
    pub fn push_head(self, out: &mut Vec<u8>, len: usize) {
        if self == Transfer::Chunked {
            out.extend_from_slice(head(len, &mut [0; LONGEST_HEAD]));
        }
    }

    /// Appends a chunk's end.
    pub fn push_tail(self, out: &mut Vec<u8>) {
        if self == Transfer::Chunked {
            out.extend_from_slice(TAIL);
        }
    }

    /// Bytes that end the answer.
    pub fn last(self) -> &'static [u8] {
        if self == Transfer::Chunked { LAST } else { b"" }
    }
}

/// First line of a chunk of so many bytes, written to the end of a buffer.
fn head(len: usize, buffer: &mut [u8; LONGEST_HEAD]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    buffer[LONGEST_HEAD - 2..].copy_from_slice(b"\r\n");
    let (mut begin, mut left) = (LONGEST_HEAD - 2, len);
    while begin == LONGEST_HEAD - 2 || left > 0 {
        begin -= 1;
        buffer[begin] = DIGITS[left & 0xf];
        left >>= 4;
    }
    &buffer[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_its_length_before_it_and_a_line_break_after() {
        for len in [1, 9, 10, 15, 16, 255, 256, 4095, 4096, 70_000] {
            let payload = "x".repeat(len);
            let expected = format!("before{len:x}\r\n{payload}\r\n");
            let mut out = format!("before{payload}").into_bytes();
            Transfer::Chunked.enclose(&mut out, 6);
            assert!(out == expected.as_bytes(), "{len}");
            let mut pushed = b"before".to_vec();
            Transfer::Chunked.push_head(&mut pushed, len);
            pushed.extend_from_slice(payload.as_bytes());
            Transfer::Chunked.push_tail(&mut pushed);
            assert!(pushed == out, "{len}");
            assert_eq!(out.len() - 6 - len, Transfer::Chunked.overhead(len));
        }
    }

    #[test]
    fn nothing_is_enclosed_where_there_is_nothing_or_no_chunk_is_asked_for() {
        for (transfer, before) in [(Transfer::Chunked, "before"), (Transfer::Plain, "")] {
            let mut out = b"before".to_vec();
            transfer.enclose(&mut out, before.len());
            assert_eq!(out, b"before");
        }
        assert_eq!((Transfer::Plain.last(), Transfer::Chunked.last()), (&b""[..], &b"0\r\n\r\n"[..]));
    }
}
