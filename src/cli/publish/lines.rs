//! Lines of a stream, gathered into bodies of whole lines. Pure.

use crate::route::parse_with;

/// Bytes of lines that are sent at once, unless one line alone is longer.
const BODY_BYTES: usize = 256 << 10;

/// Lines that are to be sent together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Lines {
    /// The text; its last line may have no end.
    pub text: Vec<u8>,
    /// How many lines.
    pub count: u64,
}

/// What came of a stream and was not sent yet.
#[derive(Debug, Default)]
pub(in crate::cli) struct Gathering {
    bytes: Vec<u8>,
    /// Bytes that were looked through and have no line's end after [`ready`](Self::ready).
    searched: usize,
    /// Bytes of whole lines.
    ready: usize,
}

impl Gathering {
    /// Takes a piece.
    pub(in crate::cli) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        if let Some(end) = memchr::memrchr(b'\n', &self.bytes[self.searched..]) {
            self.ready = self.searched + end + 1;
        }
        self.searched = self.bytes.len();
    }

    /// Whether there is enough for a body.
    pub(in crate::cli) fn is_full(&self) -> bool {
        self.ready >= BODY_BYTES
    }

    /// Bytes that are kept.
    pub(in crate::cli) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole lines, or all there is at the stream's end.
    pub(in crate::cli) fn take(&mut self, at_end: bool) -> Option<Lines> {
        let len = if at_end { self.bytes.len() } else { self.ready };
        if len == 0 {
            return None;
        }
        let rest = self.bytes.split_off(len);
        let text = std::mem::replace(&mut self.bytes, rest);
        (self.ready, self.searched) = (0, self.bytes.len());
        Some(Lines::new(text))
    }
}

impl Lines {
    pub(in crate::cli) fn new(text: Vec<u8>) -> Lines {
        let ends = memchr::memchr_iter(b'\n', &text).count() as u64;
        let count = ends + u64::from(text.last().is_some_and(|last| *last != b'\n'));
        Lines { text, count }
    }

    /// What follows the first `count` lines.
    pub(in crate::cli) fn after(&self, count: u64) -> Lines {
        let Some(before) = (count as usize).checked_sub(1) else { return self.clone() };
        match memchr::memchr_iter(b'\n', &self.text).nth(before) {
            Some(end) => Lines::new(self.text[end + 1..].to_vec()),
            None => Lines::default(),
        }
    }

    /// The last good `$with` line: what it sets holds for what follows, also for lines that are sent later.
    pub(in crate::cli) fn last_with(&self) -> Option<&str> {
        // Nearly no text has one, and whether it does is cheap to see.
        memchr::memmem::find(&self.text, b"\"$with\"")?;
        let lines = self.text.rsplit(|byte| *byte == b'\n');
        let good = |line: &&str| matches!(parse_with(line), Some(Ok(_)));
        lines.filter_map(|line| std::str::from_utf8(line).ok()).find(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: Option<Lines>) -> Option<(String, u64)> {
        lines.map(|lines| (String::from_utf8(lines.text).unwrap(), lines.count))
    }

    #[test]
    fn whole_lines_are_taken_and_the_rest_waits() {
        let mut gathering = Gathering::default();
        gathering.push(b"a");
        assert_eq!(text(gathering.take(false)), None);
        gathering.push(b"b\ncc\nd");
        assert_eq!(text(gathering.take(false)), Some(("ab\ncc\n".to_owned(), 2)));
        assert_eq!((text(gathering.take(false)), gathering.len()), (None, 1));
        gathering.push(b"e");
        gathering.push(b"\nf");
        assert_eq!(text(gathering.take(false)), Some(("de\n".to_owned(), 1)));
        assert_eq!(text(gathering.take(true)), Some(("f".to_owned(), 1)));
        assert_eq!(text(gathering.take(true)), None);
        gathering.push(&[b"x".repeat(BODY_BYTES), b"\n".to_vec()].concat());
        assert!(gathering.is_full());
    }

    #[test]
    fn the_rest_after_some_lines() {
        let lines = Lines::new(b"1\n\n3\n4".to_vec());
        assert_eq!(lines.count, 4);
        for (count, rest, left) in
            [(0, "1\n\n3\n4", 4), (1, "\n3\n4", 3), (3, "4", 1), (4, "", 0), (9, "", 0)]
        {
            assert_eq!(text(Some(lines.after(count))), Some((rest.to_owned(), left)), "{count}");
        }
    }

    #[test]
    fn fields_beside_the_events_hold_on() {
        let with = |text: &str| Lines::new(text.as_bytes().to_vec()).last_with().map(str::to_owned);
        let (a, b) = (r#"{"$with":{"a":"1"}}"#, r#" { "$with" : {"b":2}}"#);
        assert_eq!(with("{\"x\":1}\n"), None);
        assert_eq!(with(&format!("{a}\n{{}}\n{b}\r\n{{\"x\":\"$with\"}}\n")), Some(format!("{b}\r")));
        assert_eq!(with(&format!("{a}\n{{\"$with\":7}}\n")), Some(a.to_owned()), "a bad one sets nothing");
        assert_eq!(with("{\"x\":\"$with\"}\n"), None);
    }
}
