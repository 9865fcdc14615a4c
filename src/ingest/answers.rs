//! What a producer is told about its lines: errors and totals, as JSON. Pure.
//!
//! Answers wait until the stream takes them, and never keep anybody from reading: of errors at most
//! [`MAX_PENDING_ERRORS`] wait, of totals the newest, since a total counts everything before it.

use crate::config::Ack;
use crate::route::Rejection;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;

/// Error lines that wait at most for a producer that does not read; also the most that a response lists.
pub(super) const MAX_PENDING_ERRORS: usize = 20;
/// How much of a line an error shows before the column and in all, in bytes.
const EXCERPT_BEFORE: usize = 24;
const EXCERPT_BYTES: usize = 64;

/// How a producer's lines have fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    /// Events taken.
    pub(super) accepted: u64,
    /// Lines refused.
    pub(super) rejected: u64,
    /// Number of the last line that was read.
    pub(super) line: u64,
}

#[derive(Serialize)]
struct Error<'a> {
    line: u64,
    column: usize,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    excerpt: &'a str,
}

/// A refused line as a JSON object. `column` is where it is to be looked for, `rejection.column` where in `text`.
pub(super) fn error_json(line: u64, column: usize, rejection: &Rejection, text: &[u8]) -> Vec<u8> {
    let error = Error {
        line,
        column,
        code: rejection.code.as_str(),
        path: rejection.path.as_deref(),
        message: &rejection.message,
        hint: rejection.hint.as_deref(),
        excerpt: &excerpt(text, rejection.column),
    };
    serde_json::to_vec(&error).expect("strings and numbers are always JSON")
}

/// The text around a 1-based column, cut between characters; `…` stands where it was cut. What is not UTF-8 becomes
/// U+FFFD.
pub(super) fn excerpt(text: &[u8], column: usize) -> Cow<'_, str> {
    marked_excerpt(text, column).0
}

/// The same, and which of its characters is the one at the column, from 0.
pub(super) fn marked_excerpt(text: &[u8], column: usize) -> (Cow<'_, str>, usize) {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    // A character has at most three bytes after its first; more of them are not UTF-8 and may be cut anywhere.
    let boundary =
        |at: usize| (0..4).map(|back| at.saturating_sub(back)).find(|at| !is_inside(*at)).unwrap_or(at);
    let at = column.saturating_sub(1).min(text.len());
    let mut start = boundary(at.saturating_sub(EXCERPT_BEFORE));
    let end = boundary((start + EXCERPT_BYTES).min(text.len()));
    if end == text.len() {
        start = boundary(end.saturating_sub(EXCERPT_BYTES)).min(start);
    }
    let shown = String::from_utf8_lossy(&text[start..end]);
    let mark = String::from_utf8_lossy(&text[start..at]).chars().count() + usize::from(start > 0);
    if start == 0 && end == text.len() {
        return (shown, mark);
    }
    let cut = |is_cut: bool| if is_cut { "…" } else { "" };
    (Cow::Owned(format!("{}{shown}{}", cut(start > 0), cut(end < text.len()))), mark)
}

/// Answers on a raw stream, on their way to the producer.
#[derive(Debug)]
pub(super) struct Answers {
    ack: Ack,
    /// Whether answers may go out before the producer's end of stream.
    early: bool,
    /// Whether the producer's stream has ended.
    ended: bool,
    /// Whether nothing can be written any more.
    closed: bool,
    queue: VecDeque<Box<[u8]>>,
    /// Bytes of the queue's first that are written.
    written: usize,
    errors_waiting: usize,
    /// The newest total, if it has not been queued.
    total: Option<Totals>,
    /// The total that was told last.
    told: Totals,
    /// Errors that found no place since they were last counted.
    dropped: u64,
}

impl Answers {
    /// Answers for a stream. `is_tcp`: an answer that comes before the producer's end resets the connection if the
    /// producer closes without having read it, and destroys what it sent; so they wait, unless totals are asked for all
    /// the time, by which the producer says that it reads.
    pub(super) fn new(ack: Ack, is_tcp: bool) -> Answers {
        let early = match ack {
            Ack::None => false,
            Ack::Errors => !is_tcp,
            Ack::All => true,
        };
        Answers {
            ack,
            early,
            ended: false,
            closed: false,
            queue: VecDeque::new(),
            written: 0,
            errors_waiting: 0,
            total: None,
            told: Totals::default(),
            dropped: 0,
        }
    }

    /// Takes the errors of a read and the totals after it.
    pub(super) fn push(&mut self, errors: &mut Vec<Vec<u8>>, totals: Totals) {
        if self.ack == Ack::None {
            errors.clear();
            return;
        }
        for error in errors.drain(..) {
            if self.errors_waiting == MAX_PENDING_ERRORS || self.closed {
                self.dropped += 1;
                continue;
            }
            self.errors_waiting += 1;
            let line = [b"{\"error\":", &error[..], b"}\n"].concat();
            self.queue.push_back(line.into_boxed_slice());
        }
        if self.ack == Ack::All && !self.closed && totals != self.told {
            self.told = totals;
            self.total = Some(totals);
        }
    }

    /// The producer's stream has ended, or no more of it counts: now everything goes out, and the total last.
    pub(super) fn end(&mut self, totals: Totals) {
        self.ended = true;
        if self.ack != Ack::None && !self.closed {
            self.total = Some(totals);
        }
    }

    /// Nothing more can be written.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.dropped += self.errors_waiting as u64;
        self.errors_waiting = 0;
        self.queue.clear();
        self.total = None;
    }

    /// Whether answers may go out before the producer's end of stream.
    pub(super) fn is_early(&self) -> bool {
        self.early
    }

    /// Whether there is something to write now.
    pub(super) fn is_due(&self) -> bool {
        (self.early || self.ended) && (!self.queue.is_empty() || self.total.is_some())
    }

    /// Writes what is due until `write` takes no more. Whatever `write` fails with, except that it would block, closes
    /// the answers.
    pub(super) fn write(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
        while self.is_due() {
            let Some(first) = self.queue.front() else {
                let total = self.total.take().expect("something is due, and not an error");
                let mut line = serde_json::to_vec(&total).expect("numbers are always JSON");
                line.push(b'\n');
                self.queue.push_back(line.into_boxed_slice());
                continue;
            };
            match write(&first[self.written..]) {
                Ok(written) if self.written + written < first.len() => self.written += written,
                Ok(_) => {
                    self.written = 0;
                    self.errors_waiting -= usize::from(first.starts_with(b"{\"error\""));
                    self.queue.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(),
            }
        }
    }

    /// Errors that were not sent, since this was last asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::RejectionCode;

    fn totals(accepted: u64, rejected: u64) -> Totals {
        Totals { accepted, rejected, line: accepted + rejected }
    }

    fn errors(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|index| format!("{{\"line\":{index}}}").into_bytes()).collect()
    }

    fn written(answers: &mut Answers, most: usize) -> String {
        let mut out = Vec::new();
        answers.write(|bytes| {
            let count = bytes.len().min(most - out.len()).min(7);
            out.extend_from_slice(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_error_says_where_why_and_what_to_do() {
        let rejection = Rejection {
            code: RejectionCode::BadField,
            column: 6,
            path: Some("a.b".to_owned()),
            message: "must be a number".to_owned(),
            hint: None,
        };
        let json = error_json(3, 6, &rejection, br#"{"a":{"b":"x"}}"#);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"line":3,"column":6,"code":"bad_field","path":"a.b","message":"must be a number","excerpt":"{\"a\":{\"b\":\"x\"}}"}"#
        );
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        #[track_caller]
        fn check(text: &str, column: usize, expected: &str) {
            assert_eq!(excerpt(text.as_bytes(), column), expected);
        }
        check("", 1, "");
        check("short", 99, "short");
        let digits = "0123456789".repeat(10);
        check(&digits, 1, &format!("{}…", &digits[..64]));
        check(&digits, 50, &format!("…{}…", &digits[25..89]));
        check(&digits, 100, &format!("…{}", &digits[36..]));
        for column in 1..200 {
            let text = "é漢".repeat(40);
            let shown = excerpt(text.as_bytes(), column);
            assert!(!shown.contains('\u{fffd}') && shown.len() <= 64 + 3 + 6, "{column}: {shown}");
        }
        let text = "é漢X".repeat(40);
        let (shown, mark) = marked_excerpt(text.as_bytes(), 6 * 20 + 6);
        assert_eq!(shown.chars().nth(mark), Some('X'), "{shown}");
        assert_eq!(marked_excerpt(b"{}x", 3).1, 2);
        assert_eq!(excerpt(&[b'a', 0xff, b'b'], 2), "a\u{fffd}b");
        assert!(excerpt(&[0x80; 300], 150).starts_with("…\u{fffd}"));
    }

    #[test]
    fn on_tcp_errors_wait_for_the_end() {
        let mut answers = Answers::new(Ack::Errors, true);
        answers.push(&mut errors(2), totals(1, 2));
        assert_eq!(written(&mut answers, 1000), "");
        answers.end(totals(1, 2));
        let expected = "{\"error\":{\"line\":0}}\n{\"error\":{\"line\":1}}\n{\"accepted\":1,\"rejected\":2,\"line\":3}\n";
        assert_eq!(written(&mut answers, 1000), expected);
        assert!(!answers.is_due());
    }

    #[test]
    fn on_unix_sockets_errors_go_out_at_once_and_the_total_at_the_end() {
        let mut answers = Answers::new(Ack::Errors, false);
        answers.push(&mut errors(1), totals(0, 1));
        assert_eq!(written(&mut answers, 1000), "{\"error\":{\"line\":0}}\n");
        answers.push(&mut Vec::new(), totals(1, 1));
        assert_eq!(written(&mut answers, 1000), "");
    }

    #[test]
    fn all_gives_totals_in_between_and_only_the_newest_waits() {
        let mut answers = Answers::new(Ack::All, true);
        answers.push(&mut Vec::new(), totals(1, 0));
        answers.push(&mut Vec::new(), totals(2, 0));
        assert_eq!(written(&mut answers, 10), "{\"accepted");
        answers.push(&mut Vec::new(), totals(3, 0));
        answers.push(&mut Vec::new(), totals(4, 0));
        let rest = "\":2,\"rejected\":0,\"line\":2}\n{\"accepted\":4,\"rejected\":0,\"line\":4}\n";
        assert_eq!(written(&mut answers, 1000), rest);
    }

    #[test]
    fn more_errors_than_may_wait_are_counted() {
        let mut answers = Answers::new(Ack::Errors, false);
        answers.push(&mut errors(MAX_PENDING_ERRORS + 5), totals(0, 25));
        assert_eq!(answers.take_dropped(), 5);
        assert_eq!(written(&mut answers, 10_000).lines().count(), MAX_PENDING_ERRORS);
        answers.push(&mut errors(1), totals(0, 26));
        assert_eq!(answers.take_dropped(), 0, "what was written makes place");
        answers.write(|_| Err(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(answers.take_dropped(), 1);
        assert!(!answers.is_due());
    }

    #[test]
    fn none_says_nothing() {
        let mut answers = Answers::new(Ack::None, false);
        answers.push(&mut errors(3), totals(0, 3));
        answers.end(totals(0, 3));
        assert!(!answers.is_due());
        assert_eq!(answers.take_dropped(), 0);
    }
}
