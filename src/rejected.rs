//! The lines that were refused last, for operators who were not looking when it happened.
//!
//! Passive: who refuses notes it, who is asked shows it. The same trouble is one entry with a count, so that one producer that
//! sends nothing right does not push everybody else's out. What is kept of a line is its producer's data: for operators alone.

use crate::route::Rejection;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries kept: more than anybody reads, some 100 KiB at the very most.
pub const KEPT: usize = 100;
/// Of a text of an entry, so many bytes are kept: a field's path may be as long as an event.
const TEXT_BYTES: usize = 400;

/// The memory. One for the whole daemon; its lock is held for a comparison of short texts, never across a wait.
#[derive(Debug, Default)]
pub struct RejectedLines(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    total: u64,
    /// The newest is last.
    list: VecDeque<RejectedLine>,
}

/// Lines that were refused at the same listener for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// The listener, as metrics name it.
    pub listener: String,
    /// Who sent the newest, as the log names it.
    pub producer: String,
    /// Why; `message` and the rest as the producer was told it.
    pub rejection: Rejection,
    /// Number of the newest line, from 1, and the column in it.
    pub line: u64,
    /// See `line`.
    pub column: usize,
    /// The newest line around that column.
    pub excerpt: String,
    /// Which character of `excerpt` is at the column, from 0.
    pub mark: usize,
    /// How many.
    pub count: u64,
    /// When the first was refused, in milliseconds since 1970.
    pub first_ms: u64,
    /// When the newest was.
    pub last_ms: u64,
}

/// A line that is refused just now.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// As in [`RejectedLine`].
    pub listener: &'a str,
    /// As in [`RejectedLine`].
    pub producer: &'a str,
    /// Why.
    pub rejection: &'a Rejection,
    /// Its number.
    pub line: u64,
    /// The column in it.
    pub column: usize,
    /// What to show of it, and which of its characters is at the column.
    pub excerpt: (&'a str, usize),
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
}

impl RejectedLines {
    /// Notes a refused line.
    pub fn note(&self, refused: &Refused<'_>) {
        let mut kept = self.kept();
        kept.total += 1;
        let list = &mut kept.list;
        let Some(index) = list.iter().rposition(|entry| entry.is_same(refused)) else {
            if list.len() == KEPT {
                list.pop_front();
            }
            list.push_back(RejectedLine::of(refused));
            return;
        };
        if index + 1 < list.len() {
            let entry = list.remove(index).expect("it was found there");
            list.push_back(entry);
        }
        list.back_mut().expect("one was found").again(refused);
    }

    /// Those that are kept, the newest first, and how many lines were refused since the start.
    pub fn list(&self) -> (Vec<RejectedLine>, u64) {
        let kept = self.kept();
        (kept.list.iter().rev().cloned().collect(), kept.total)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RejectedLine {
    fn of(refused: &Refused<'_>) -> RejectedLine {
        let Rejection { code, column, path, message, hint } = refused.rejection;
        let own = |text: &String| clipped(text).to_owned();
        let rejection = Rejection {
            code: *code,
            column: *column,
            path: path.as_ref().map(own),
            message: own(message),
            hint: hint.as_ref().map(own),
        };
        RejectedLine {
            listener: clipped(refused.listener).to_owned(),
            producer: clipped(refused.producer).to_owned(),
            rejection,
            line: refused.line,
            column: refused.column,
            excerpt: clipped(refused.excerpt.0).to_owned(),
            mark: refused.excerpt.1,
            count: 1,
            first_ms: refused.now_ms,
            last_ms: refused.now_ms,
        }
    }

    fn is_same(&self, refused: &Refused<'_>) -> bool {
        let (ours, theirs) = (&self.rejection, refused.rejection);
        ours.code == theirs.code
            && self.listener == clipped(refused.listener)
            && ours.path.as_deref() == theirs.path.as_deref().map(clipped)
            && ours.message == clipped(&theirs.message)
    }

    fn again(&mut self, refused: &Refused<'_>) {
        self.count += 1;
        (self.line, self.column, self.last_ms) = (refused.line, refused.column, refused.now_ms);
        self.mark = refused.excerpt.1;
        for (text, new) in [(&mut self.producer, refused.producer), (&mut self.excerpt, refused.excerpt.0)] {
            text.clear();
            text.push_str(clipped(new));
        }
    }
}

fn clipped(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::RejectionCode;

    fn note(lines: &RejectedLines, message: &str, line: u64) {
        let rejection = Rejection {
            code: RejectionCode::BadField,
            column: 3,
            path: Some("a.b".to_owned()),
            message: message.to_owned(),
            hint: None,
        };
        lines.note(&Refused {
            listener: "stdin",
            producer: "stdin",
            rejection: &rejection,
            line,
            column: 3,
            excerpt: (&format!("line {line}"), 2),
            now_ms: 1000 + line,
        });
    }

    #[test]
    fn the_same_trouble_is_one_entry_which_shows_the_newest_line() {
        let lines = RejectedLines::default();
        note(&lines, "one", 1);
        note(&lines, "two", 2);
        for line in 3..1003 {
            note(&lines, "one", line);
        }
        let (list, total) = lines.list();
        let shown: Vec<_> = list
            .iter()
            .map(|entry| (entry.rejection.message.as_str(), entry.count, entry.excerpt.as_str()))
            .collect();
        assert_eq!(shown, [("one", 1001, "line 1002"), ("two", 1, "line 2")]);
        assert_eq!((list[0].first_ms, list[0].last_ms, total), (1001, 2002, 1002));
    }

    #[test]
    fn as_many_are_kept_as_may_be_and_no_text_is_long() {
        let lines = RejectedLines::default();
        for line in 0..250 {
            note(&lines, &format!("{line}{}", "é".repeat(10_000)), line);
        }
        let (list, total) = lines.list();
        assert_eq!((list.len(), total), (KEPT, 250));
        assert!(list[0].rejection.message.starts_with("249é"), "the newest is first");
        assert!(list.iter().all(|entry| entry.rejection.message.len() <= TEXT_BYTES));
    }
}
