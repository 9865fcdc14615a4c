//! A long line without most of the text in its strings: as much of it as has to be parsed.
//!
//! A parser looks at every byte of a string, one by one, for what ends it. Nearly all of a long line is such text, and
//! that it is text can be seen many bytes at a time. So every long run of it gives its place to one character, and what
//! is left, which has the same structure, is parsed instead. Only for lines that are well: where there is anything to be
//! said about a line, it is said of the line itself.

use crate::pattern::Value;
use std::borrow::Cow;

/// Lines shorter than this are parsed as they are: there is too little to be won.
pub(super) const SHORTEST_LINE: usize = 2048;
/// Runs shorter than this stay: noting one costs as much as parsing it.
const SHORTEST_RUN: usize = 32;
/// What a run gives its place to: text, and neither the end of a string nor part of an escape's digits.
const PLACEHOLDER: u8 = b'x';
/// The first character that may stand in a JSON string as it is (RFC 8259, section 7).
const FIRST_PRINTABLE: u8 = 0x20;
/// Bytes that are looked at together.
const CHUNK: usize = 256;

/// What is left of a line. Kept from line to line for its memory, which is a fraction of the longest line's.
#[derive(Default)]
pub(super) struct Skeleton {
    text: Vec<u8>,
    cuts: Vec<Cut>,
}

/// A run that was taken out.
struct Cut {
    /// Where its placeholder is in the skeleton.
    at: usize,
    /// How much shorter the skeleton is from there on.
    removed: usize,
}

impl Skeleton {
    /// Makes the skeleton of a line. False, and nothing is said of the line, if there is too little to take out of it or
    /// it cannot be told from here: a string that does not end, has control characters or bytes that are not UTF-8, or
    /// is a long name.
    ///
    /// Otherwise the skeleton's text is UTF-8 and JSON exactly where the line is. A run lies between two bytes of ASCII,
    /// and is UTF-8; it lies in a string for every parser that has found no error before it, and is text there.
    pub(super) fn make(&mut self, line: &[u8]) -> bool {
        self.text.clear();
        self.cuts.clear();
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &line[at..]) {
            let start = at + quote + 1;
            self.text.extend_from_slice(&line[at..start]);
            match self.take_string(line, start) {
                Some(end) => at = end,
                None => return false,
            }
        }
        self.text.extend_from_slice(&line[at..]);
        !self.cuts.is_empty() && self.is_short_for(line.len(), line.len())
    }

    /// What is to be parsed in the line's place, if it is UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.text).ok()
    }

    /// Makes texts that were read from the skeleton those that are in its line. None if that cannot be: text with escapes
    /// was put together by the parser, and does not say where it was from.
    pub(super) fn restore<'a>(&self, line: &'a [u8], values: &mut [Value<'a>]) -> Option<()> {
        for value in values {
            let Value::String(text) = value else { continue };
            let Cow::Borrowed(read) = text else { return None };
            let start = read.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
            // A text that nobody looks at may have been left out, and is then from nowhere.
            if start <= self.text.len() {
                let place = self.in_line(start)..self.in_line(start + read.len());
                *text = Cow::Borrowed(std::str::from_utf8(line.get(place)?).ok()?);
            }
        }
        Some(())
    }

    /// Takes over the string whose text begins at `start`. Returns where it is over.
    fn take_string(&mut self, line: &[u8], start: usize) -> Option<usize> {
        let cuts = self.cuts.len();
        let mut at = start;
        loop {
            let len = memchr::memchr2(b'"', b'\\', &line[at..])?;
            self.take_run(&line[at..at + len])?;
            at += len;
            if line[at] == b'"' {
                break;
            }
            // Its digits are part of an escape, and no text. If they are none, that is for the parser to find.
            let len = if line.get(at + 1) == Some(&b'u') { 6 } else { 2 };
            self.text.extend_from_slice(line.get(at..at + len)?);
            at += len;
            if !self.is_short_for(at, line.len()) {
                return None;
            }
        }
        self.text.push(b'"');
        at += 1;
        // Without some of its text a name could be taken for another.
        let is_name = || line[at..].trim_ascii_start().starts_with(b":");
        let is_told = self.cuts.len() == cuts || !is_name();
        (is_told && self.is_short_for(at, line.len())).then_some(at)
    }

    /// Takes over a run of text, or a placeholder for it.
    fn take_run(&mut self, run: &[u8]) -> Option<()> {
        if run.len() < SHORTEST_RUN {
            self.text.extend_from_slice(run);
            return Some(());
        }
        if !is_text(run) {
            return None;
        }
        let before = self.cuts.last().map_or(0, |cut| cut.removed);
        self.cuts.push(Cut { at: self.text.len(), removed: before + run.len() - 1 });
        self.text.push(PLACEHOLDER);
        Some(())
    }

    /// Whether the skeleton is short for so much of a line. An eighth of the whole may be dense, at its beginning for
    /// example; so a line that is dense all over is known as such early.
    fn is_short_for(&self, taken: usize, line: usize) -> bool {
        self.text.len() <= line / 8 + taken / 4
    }

    /// Where a place in the skeleton is in the line. Behind a placeholder is behind its run.
    fn in_line(&self, at: usize) -> usize {
        let before = self.cuts.partition_point(|cut| cut.at < at);
        at + before.checked_sub(1).map_or(0, |last| self.cuts[last].removed)
    }
}

/// Whether a run without quotes and backslashes is what JSON allows in a string, and UTF-8.
fn is_text(run: &[u8]) -> bool {
    let (chunks, rest) = run.as_chunks::<CHUNK>();
    let is_plain = chunks.iter().all(|chunk| is_printable(chunk)) && is_printable(rest);
    is_plain || (!run.iter().any(|byte| *byte < FIRST_PRINTABLE) && std::str::from_utf8(run).is_ok())
}

/// Whether bytes are ASCII, and none is a control character that JSON forbids. Less the first that it allows, those that
/// are neither are the greatest; so one maximum tells, and the compiler finds it for many bytes at once.
fn is_printable(bytes: &[u8]) -> bool {
    let greatest = bytes.iter().fold(0, |greatest, byte| byte.wrapping_sub(FIRST_PRINTABLE).max(greatest));
    greatest < 0x80 - FIRST_PRINTABLE
}

#[cfg(test)]
mod tests;
