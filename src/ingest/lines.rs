//! Cuts a stream into lines, read by read. Pure; keeps nothing but the part of a line that has arrived.

use super::producer::{Cut, Place};
use super::unfinished::Kept;

/// What may stand before the first line of a stream.
pub(super) const BOM: &[u8] = b"\xEF\xBB\xBF";
/// How much of a line that is too long is shown to its producer, in bytes: enough to recognise it by.
pub(super) const HEAD_BYTES: usize = 64;
/// From how many bytes on a beginning of a line makes room for as much again.
const LONG_BYTES: usize = 4096;

/// Cuts a stream into lines. Lines end with LF or CRLF, the last one also with the stream. Blank lines are numbered and
/// not handed out; a byte order mark at the stream's start is not part of its line.
#[derive(Debug)]
pub(super) struct Splitter {
    /// What has arrived of the current line in earlier reads; at most `max` and a few bytes.
    carry: Vec<u8>,
    /// Number of the current line, from 1.
    line: u64,
    /// Whether the rest of the current line is thrown away, because it is too long.
    skipping: bool,
    /// Longest line without its end, in bytes.
    max: usize,
}

/// A line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The line; borrowed from the read when it is whole in there.
    Whole(&'a [u8]),
    /// The beginning of a line that is too long. Handed out once, as soon as it is known.
    TooLong(&'a [u8]),
    /// The bytes of an abandoned line, and the reason.
    Cut(&'a [u8], Cut),
}

/// Adds to the beginning of a text of at most `most` bytes, and takes no more memory than that.
pub(super) fn extend(carry: &mut Vec<u8>, rest: &[u8], most: usize) {
    let length = carry.len() + rest.len();
    if length > carry.capacity() {
        // The rest of a text that is so long often comes with the next read, and would move what is here.
        let capacity = if length >= LONG_BYTES { (2 * length).min(most).max(length) } else { length };
        carry.reserve_exact(capacity - carry.len());
    }
    carry.extend_from_slice(rest);
}

impl Splitter {
    /// At the start of a stream whose lines have at most `max` bytes.
    pub(super) fn new(max: usize) -> Splitter {
        Splitter { carry: Vec::new(), line: 1, skipping: false, max }
    }

    /// Sets how long a line may be, from the current one on.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Hands out the lines that end in this read, with their numbers, and keeps the rest. Allocates for a line that is
    /// spread over reads only, and holds no more than one line may have.
    pub(super) fn feed(&mut self, read: &[u8], mut sink: impl FnMut(u64, Line<'_>)) {
        let mut rest = read;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.end_line(&rest[..end], &mut sink);
            rest = &rest[end + 1..];
        }
        self.keep(rest, &mut sink);
    }

    /// Hands out the last line, where the stream does not end with a line end.
    pub(super) fn finish(&mut self, mut sink: impl FnMut(u64, Line<'_>)) {
        if self.skipping || !self.carry.is_empty() {
            self.end_line(b"", &mut sink);
        }
    }

    /// Gives the current line up: hands out what has arrived of it, and skips the rest. Does nothing between two lines.
    pub(super) fn abandon(&mut self, cut: Cut, mut sink: impl FnMut(u64, Line<'_>)) {
        let carry = std::mem::take(&mut self.carry);
        let line = if self.line == 1 { carry.strip_prefix(BOM).unwrap_or(&carry) } else { &carry };
        if !line.trim_ascii().is_empty() {
            self.skipping = true;
            sink(self.line, Line::Cut(line, cut));
        }
    }

    /// Bytes of the current line that have arrived and are kept.
    pub(super) fn kept(&self) -> Kept {
        let place = Place { line: self.line, before: 0 };
        Kept { place, bytes: self.carry.len(), held: self.carry.capacity() }
    }

    /// Number of the line that the next byte belongs to.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    fn end_line(&mut self, tail: &[u8], sink: &mut impl FnMut(u64, Line<'_>)) {
        if std::mem::take(&mut self.skipping) {
            // Was reported when it grew too long.
        } else if self.carry.is_empty() {
            self.hand_out(tail, sink);
        } else if self.carry.len() + tail.len() > self.most() {
            self.hand_out_too_long(tail, sink);
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(tail);
            self.hand_out(&carry, sink);
        }
        self.line += 1;
    }

    fn keep(&mut self, rest: &[u8], sink: &mut impl FnMut(u64, Line<'_>)) {
        if self.skipping {
            return;
        }
        if self.carry.len() + rest.len() > self.most() {
            self.hand_out_too_long(rest, sink);
            self.skipping = true;
        } else {
            let most = self.most();
            extend(&mut self.carry, rest, most);
        }
    }

    fn hand_out(&self, line: &[u8], sink: &mut impl FnMut(u64, Line<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if self.line == 1 { line.strip_prefix(BOM).unwrap_or(line) } else { line };
        if line.len() > self.max {
            sink(self.line, Line::TooLong(&line[..line.len().min(HEAD_BYTES)]));
        } else if !line.trim_ascii().is_empty() {
            sink(self.line, Line::Whole(line));
        }
    }

    fn hand_out_too_long(&mut self, tail: &[u8], sink: &mut impl FnMut(u64, Line<'_>)) {
        let mut head = std::mem::take(&mut self.carry);
        // A byte order mark is taken off the head, which must then still be whole.
        let wanted = HEAD_BYTES + BOM.len();
        head.truncate(wanted);
        head.extend_from_slice(&tail[..tail.len().min(wanted - head.len())]);
        let head = if self.line == 1 { head.strip_prefix(BOM).unwrap_or(&head) } else { &head };
        sink(self.line, Line::TooLong(&head[..head.len().min(HEAD_BYTES)]));
    }

    /// Bytes that a line can have at most before it is known to be too long: a CR may yet turn out to be a part of its
    /// end, and a byte order mark is not counted.
    fn most(&self) -> usize {
        self.max + 1 + if self.line == 1 { BOM.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 8;

    /// A line with its number; the head of one that is too long.
    type Numbered<T> = (u64, Result<T, T>);

    fn lines(max: usize, pieces: &[&[u8]]) -> Vec<Numbered<Vec<u8>>> {
        let mut splitter = Splitter::new(max);
        let mut lines = Vec::new();
        let mut sink = |number, line: Line<'_>| {
            lines.push((
                number,
                match line {
                    Line::Whole(line) => Ok(line.to_vec()),
                    Line::TooLong(head) | Line::Cut(head, _) => Err(head.to_vec()),
                },
            ));
        };
        for piece in pieces {
            splitter.feed(piece, &mut sink);
            assert!(splitter.kept().held <= max + 1 + BOM.len());
        }
        splitter.finish(&mut sink);
        lines
    }

    #[track_caller]
    fn check(text: &[u8], expected: &[Numbered<&str>]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(number, line)| {
                let bytes = |text: &&str| text.as_bytes().to_vec();
                (*number, line.as_ref().map(bytes).map_err(bytes))
            })
            .collect();
        assert_eq!(lines(MAX, &[text]), expected);
        for cut in 0..=text.len() {
            assert_eq!(lines(MAX, &[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines(MAX, &bytes), expected, "byte by byte");
    }

    #[test]
    fn lines_end_with_lf_crlf_or_the_stream() {
        check(b"", &[]);
        check(b"a\nb\n", &[(1, Ok("a")), (2, Ok("b"))]);
        check(b"a\r\nb", &[(1, Ok("a")), (2, Ok("b"))]);
        check(b"a\rb\n", &[(1, Ok("a\rb"))]);
        check(b"a\r", &[(1, Ok("a"))]);
    }

    #[test]
    fn blank_lines_count_and_are_not_handed_out() {
        check(b"\n\r\n \t\na\n\n", &[(4, Ok("a"))]);
        check(b"\n", &[]);
    }

    #[test]
    fn a_byte_order_mark_stands_at_the_start_only() {
        check(b"\xEF\xBB\xBFa\n", &[(1, Ok("a"))]);
        check(b"\xEF\xBB\xBF\na", &[(2, Ok("a"))]);
        check(b"\xEF\xBB\xBF12345678\r\n", &[(1, Ok("12345678"))]);
        check("a\n\u{feff}b".as_bytes(), &[(1, Ok("a")), (2, Ok("\u{feff}b"))]);
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_skipped_to_its_end() {
        check(b"12345678\n", &[(1, Ok("12345678"))]);
        check(b"12345678\r\n", &[(1, Ok("12345678"))]);
        check(b"a\n12345678\r\nb", &[(1, Ok("a")), (2, Ok("12345678")), (3, Ok("b"))]);
        check(b"123456789\nb\n", &[(1, Err("123456789")), (2, Ok("b"))]);
        check(b"a\n12345678\rx\nb", &[(1, Ok("a")), (2, Err("12345678\rx")), (3, Ok("b"))]);
        check(b"\xEF\xBB\xBF123456789", &[(1, Err("123456789"))]);
    }

    #[test]
    fn of_a_long_line_only_the_head_is_kept() {
        let long = vec![b'x'; 10_000];
        let head = vec![b'x'; HEAD_BYTES];
        for pieces in [vec![&long[..]], long.chunks(100).collect(), long.chunks(7).collect()] {
            assert_eq!(lines(100, &pieces), [(1, Err(head.clone()))]);
        }
    }

    #[test]
    fn an_abandoned_line_is_handed_out_once_and_skipped_to_its_end() {
        let mut splitter = Splitter::new(100);
        let mut seen = Vec::new();
        let mut sink = |number: u64, line: Line<'_>| seen.push(format!("{number} {line:?}"));
        splitter.feed(b"a\n \xEF", &mut sink);
        splitter.abandon(Cut::Ended, &mut sink);
        splitter.abandon(Cut::Ended, &mut sink);
        assert_eq!(splitter.kept().held, 0);
        splitter.feed(b"x\nb\n  ", &mut sink);
        // Blanks are no line.
        splitter.abandon(Cut::Ended, &mut sink);
        splitter.feed(b"c\n", &mut sink);
        let whole = |number: u64, line: &[u8]| format!("{number} {:?}", Line::Whole(line));
        let cut = format!("2 {:?}", Line::Cut(b" \xEF", Cut::Ended));
        assert_eq!(seen, [whole(1, b"a"), cut, whole(3, b"b"), whole(4, b"c")]);
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => Just(b"\n".to_vec()),
            1 => Just(b"\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(BOM.to_vec()),
            1 => Just(b"  ".to_vec()),
            4 => proptest::collection::vec(b'a'..=b'z', 0..12),
        ];
        proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_lines(text in texts(), cuts in proptest::collection::vec(0usize..200, 0..8)) {
            // With so low a limit the length of a head depends on when a line is known to be too long.
            let shown = |pieces: &[&[u8]]| -> Vec<_> {
                lines(MAX, pieces).into_iter().map(|(number, line)| (number, line.map_err(|head| head[..MAX].to_vec()))).collect()
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(shown(&pieces), shown(&[&text]));
        }
    }
}
