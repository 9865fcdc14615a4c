//! One producer's account: its lines' outcomes, the fields beside what follows, and what is to be told. Pure but for
//! the log.

use super::answers::{MAX_PENDING_ERRORS, Totals, error_json, excerpt, marked_excerpt};
use super::intake::{Reading, Taken};
use super::lines::Line;
use super::unfinished::PROGRESS_BYTES;
use crate::config::{show_duration, show_size};
use crate::route::{Beside, Rejection, RejectionCode};
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Refused lines of one producer that are logged one by one; the rest is summed up, at its end or at times. Enough to see what is
/// wrong, and not enough for a broken producer to fill a disk.
const LOGGED_LINES: u64 = 5;
/// How often a producer that stays is summed up.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// Where a text begins within what a producer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the line, from 1.
    pub(super) line: u64,
    /// Bytes before it in its line; below zero for a text that began in an earlier line.
    pub(super) before: isize,
}

/// Why a line is given up before it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its body broke off.
    Ended,
    /// Its connection failed, or was closed by the daemon.
    Closed,
    /// It did not go on for so long.
    Slow(Duration),
    /// Unfinished lines have taken their share of the backlog, and the listener sheds.
    NoRoom,
}

/// What a producer sent, and how it fared.
pub(super) struct Producer {
    /// Whom the log names.
    name: String,
    /// Fields beside what follows.
    beside: Beside,
    pub(super) totals: Totals,
    /// Errors that were not handed on yet.
    pub(super) errors: Vec<Vec<u8>>,
    /// Whether errors are kept at all, and how many at most are handed on at once.
    keeps_errors: bool,
    /// Errors that were left out because too many were kept.
    pub(super) dropped: u64,
    /// Whether an object spread over several lines was seen: its other lines are only counted.
    pretty_printed: bool,
    /// Rejections seen, as bits by their codes.
    codes: u64,
    logged: u64,
    not_logged: u64,
    /// When the first of `logged` was logged.
    since: Option<Instant>,
}

impl Producer {
    /// A producer that has sent nothing. With `keeps_errors` off, errors are counted and logged only.
    pub(super) fn new(name: String, beside: Beside, keeps_errors: bool) -> Producer {
        Producer {
            name,
            beside,
            totals: Totals::default(),
            errors: Vec::new(),
            keeps_errors,
            dropped: 0,
            pretty_printed: false,
            codes: 0,
            logged: 0,
            not_logged: 0,
            since: None,
        }
    }

    /// Whom the log names.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes one line of a read.
    pub(super) fn take_line(&mut self, reading: &mut Reading<'_>, number: u64, line: Line<'_>, max: usize) {
        let place = Place { line: number, before: 0 };
        match line {
            Line::Whole(line) => self.take_text(reading, place, line, line),
            Line::TooLong(head) => self.reject(reading, place, head, &too_long(max)),
            Line::Cut(text, cut) => self.reject_cut(reading, place, text, cut),
        }
    }

    /// Takes one JSON value of a body, which may be spread over lines. Line ends in it become spaces, since an event is
    /// one line for whoever gets it.
    pub(super) fn take_value(&mut self, reading: &mut Reading<'_>, place: Place, value: &[u8]) {
        self.take_text(reading, place, &in_one_line(value), value);
    }

    /// Refuses a line or value that is given up, at the place where it breaks off.
    pub(super) fn reject_cut(&mut self, reading: &mut Reading<'_>, place: Place, text: &[u8], cut: Cut) {
        let rejection = cut.rejection(text.len() + 1);
        self.reject(reading, place.within(text, rejection.column), &in_one_line(text), &rejection);
    }

    /// Takes one text without line ends; `sent` is the same with the line ends that it had.
    fn take_text(&mut self, reading: &mut Reading<'_>, place: Place, text: &[u8], sent: &[u8]) {
        self.totals.line = place.line;
        match reading.line(text, &mut self.beside) {
            Ok((Taken::Event, warning)) => {
                self.totals.accepted += 1;
                if let Some(warning) = warning {
                    self.log(
                        reading,
                        place,
                        text,
                        &warning,
                        "event is not what its type says, taken all the same",
                    );
                }
            }
            Ok((Taken::Control, _)) => {}
            Err(rejection) => {
                self.reject(reading, place.within(sent, rejection.column), text, &rejection);
            }
        }
    }

    /// Refuses a text.
    pub(super) fn reject(
        &mut self,
        reading: &mut Reading<'_>,
        place: Place,
        text: &[u8],
        rejection: &Rejection,
    ) {
        self.totals.line = place.line;
        self.totals.rejected += 1;
        self.codes |= bit(rejection.code);
        let at = (place.line, place.column(rejection.column));
        let (excerpt, mark) = marked_excerpt(text, rejection.column);
        reading.reject(&self.name, rejection, at, (&excerpt, mark));
        if rejection.code == RejectionCode::PrettyPrinted && std::mem::replace(&mut self.pretty_printed, true)
        {
            return;
        }
        self.log(reading, place, text, rejection, "line refused");
        if !self.keeps_errors {
            return;
        }
        if self.errors.len() == MAX_PENDING_ERRORS {
            self.dropped += 1;
            return;
        }
        self.errors.push(error_json(place.line, place.column(rejection.column), rejection, text));
    }

    /// Whether a line was refused for this reason.
    pub(super) fn has_seen(&self, code: RejectionCode) -> bool {
        self.codes & bit(code) != 0
    }

    /// Whether lines were refused for this reason and no other.
    pub(super) fn has_only_seen(&self, code: RejectionCode) -> bool {
        self.codes == bit(code)
    }

    fn log(
        &mut self,
        reading: &mut Reading<'_>,
        place: Place,
        text: &[u8],
        rejection: &Rejection,
        what: &str,
    ) {
        if self.logged == LOGGED_LINES || !reading.may_log() {
            self.not_logged += 1;
            if self.since.is_some_and(|since| since.elapsed() >= SUMMARY_INTERVAL) {
                self.log_rest();
            }
            return;
        }
        self.logged += 1;
        self.since.get_or_insert_with(Instant::now);
        tracing::warn!(
            producer = %self.name,
            line = place.line,
            column = place.column(rejection.column),
            code = rejection.code.as_str(),
            path = rejection.path.as_deref().unwrap_or_default(),
            reason = %rejection.message,
            hint = rejection.hint.as_deref().unwrap_or_default(),
            excerpt = %excerpt(text, rejection.column),
            "{what}"
        );
    }

    /// Logs how many lines were refused and not logged, and begins to log anew. Says nothing of a producer none of whose
    /// lines were logged: then there are too many such producers.
    pub(super) fn log_rest(&mut self) {
        if self.not_logged > 0 && self.logged > 0 {
            tracing::warn!(
                producer = %self.name,
                not_shown = self.not_logged,
                accepted = self.totals.accepted,
                rejected = self.totals.rejected,
                "more lines refused"
            );
        }
        self.logged = 0;
        self.not_logged = 0;
        self.since = None;
    }
}

fn bit(code: RejectionCode) -> u64 {
    1 << code as u32
}

/// A text with spaces in place of its line ends.
fn in_one_line(text: &[u8]) -> Cow<'_, [u8]> {
    let is_end = |byte: u8| matches!(byte, b'\n' | b'\r');
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        return Cow::Borrowed(text);
    }
    text.iter().map(|byte| if is_end(*byte) { b' ' } else { *byte }).collect()
}

/// Why a line is refused that is longer than `max` bytes.
pub(super) fn too_long(max: usize) -> Rejection {
    Rejection::new(RejectionCode::TooLong, 1, format!("longer than {max} bytes, and skipped to its end"))
        .hint("send less in one event, or raise ingest.max_event_size")
}

impl Cut {
    fn rejection(self, column: usize) -> Rejection {
        let cut_off = |message: String| Rejection::new(RejectionCode::CutOff, column, message);
        match self {
            Cut::Ended => cut_off("the body ends within this line".to_owned()).hint("send the event again"),
            Cut::Closed => cut_off("the connection ended within this line".to_owned()),
            Cut::Slow(patience) => cut_off(format!(
                "the line did not end or grow by {} within {}",
                show_size(PROGRESS_BYTES as u64),
                show_duration(patience)
            ))
            .hint("flush after every line; or raise ingest.line_timeout or ingest.backlog"),
            Cut::NoRoom => Rejection::new(
                RejectionCode::BacklogFull,
                column,
                "unfinished lines take their half of the backlog, and this listener sheds",
            )
            .hint("send it again later; or when_full = \"wait\"; or a larger ingest.backlog"),
        }
    }
}

impl Place {
    /// The place to count a column from that lies in a value beginning here: its line, which may be a later one.
    fn within(self, value: &[u8], column: usize) -> Place {
        let before = &value[..column.saturating_sub(1).min(value.len())];
        match memchr::memrchr(b'\n', before) {
            None => self,
            Some(last) => {
                let lines = memchr::memchr_iter(b'\n', before).count() as u64;
                Place { line: self.line + lines, before: -last.cast_signed() - 1 }
            }
        }
    }

    /// The 1-based column in the line, of a column in a text that begins here.
    fn column(self, column: usize) -> usize {
        usize::try_from(self.before + column.cast_signed()).unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_in_the_line_it_lies_in() {
        #[track_caller]
        fn check(column: usize, expected: (u64, usize)) {
            let place = Place { line: 3, before: 2 };
            let found = place.within(b"{\n \"a\": 1,\r\n \"b\": 2}", column);
            assert_eq!((found.line, found.column(column)), expected);
        }
        check(1, (3, 3));
        check(2, (3, 4));
        check(3, (4, 1));
        check(5, (4, 3));
        check(13, (5, 1));
        check(15, (5, 3));
    }
}
