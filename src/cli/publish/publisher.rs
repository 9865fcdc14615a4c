//! Sends lines so that every one is answered: what the daemon has no room for yet is sent again, what it refuses is told.

use super::lines::Lines;
use super::sender::{Answer, Failure, LineError, Sender};
use crate::cli::out::{self, Out};
use crate::cli::{api, find::Endpoint};
use crate::error::Exit;
use serde::Serialize;
use std::io;

/// Refused lines that are told one by one, in all.
const TOLD: u64 = 100;

/// How lines have fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Totals {
    /// Events that are published.
    pub accepted: u64,
    /// Lines that were refused.
    pub rejected: u64,
    /// The last line that was answered.
    pub line: u64,
}

/// How refused lines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Telling {
    /// For people, on standard error.
    Words,
    /// As producers are told, on standard output.
    Json,
    /// Not at all.
    Quiet,
}

/// A producer.
pub(in crate::cli) struct Publisher {
    sender: Sender,
    /// The `$with` line that holds for what is sent next.
    with: Option<String>,
    telling: Telling,
    totals: Totals,
    told: u64,
    out: Out,
}

impl Publisher {
    /// A producer that gives fields beside all its events.
    pub(in crate::cli) fn new(endpoint: Endpoint, with: Option<String>, telling: Telling) -> Publisher {
        let sender = Sender::new(endpoint);
        Publisher { sender, with, telling, totals: Totals::default(), told: 0, out: Out::new(false) }
    }

    /// How lines have fared so far.
    pub(in crate::cli) fn totals(&self) -> Totals {
        self.totals
    }

    /// Sends lines until each of them is answered. Waits while the daemon has no room.
    pub(in crate::cli) async fn publish(&mut self, mut lines: Lines) -> Result<(), Exit> {
        while lines.count > 0 {
            let (prefix, before) = match &self.with {
                Some(with) => (format!("{}\n", with.trim_end()).into_bytes(), 1),
                None => (Vec::new(), 0),
            };
            let answer = match self.sender.post([prefix, lines.text.clone()].concat()).await {
                Ok(answer) => answer,
                Err(Failure::Refused(error, Some(wait))) if error.code == "backlog_full" => {
                    tokio::time::sleep(wait).await;
                    continue;
                }
                Err(failure) => return Err(self.failed(&failure, &lines)),
            };
            let answered = answered(&answer, before, lines.count);
            if let Some(with) = lines.last_with() {
                self.with = Some(with.to_owned());
            }
            self.take(&answer, before, lines.count - answered).map_err(|error| out::unwritten(&error))?;
            self.totals.line += answered;
            lines = lines.after(answered);
            match answer.retry_after {
                Some(wait) if lines.count > 0 => tokio::time::sleep(wait).await,
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds an answer up, and tells what was refused. The last `again` lines are sent again.
    fn take(&mut self, answer: &Answer, before: u64, again: u64) -> io::Result<()> {
        let mut listed = 0;
        for error in answer.errors.iter().filter(|error| again == 0 || error.code != "backlog_full") {
            listed += 1;
            let line = self.totals.line + error.line.saturating_sub(before);
            self.tell(&LineError { line, ..error.clone() })?;
        }
        // Where some is sent again, every refusal before it is listed: the first of those again is, and came after them.
        let rejected = if again > 0 { listed } else { answer.rejected };
        self.totals.accepted += answer.accepted;
        self.totals.rejected += rejected;
        if rejected > listed && self.telling == Telling::Words {
            out::say(format_args!("and {} more", rejected - listed));
        }
        self.out.flush()
    }

    fn tell(&mut self, error: &LineError) -> io::Result<()> {
        #[derive(Serialize)]
        struct Told<'a> {
            error: &'a LineError,
        }
        match self.telling {
            Telling::Quiet => {}
            Telling::Json => {
                self.out.line(&serde_json::to_vec(&Told { error }).map_err(io::Error::other)?)?;
            }
            Telling::Words => {
                self.told += 1;
                match self.told.cmp(&TOLD) {
                    std::cmp::Ordering::Less => out::say(format_args!("{}", in_words(error))),
                    std::cmp::Ordering::Equal => {
                        out::say(format_args!("… what is refused from here on is counted only"));
                    }
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        Ok(())
    }

    /// Says why lines could not be sent, and which of them may be published all the same.
    fn failed(&self, failure: &Failure, lines: &Lines) -> Exit {
        let endpoint = self.sender.endpoint();
        match failure {
            Failure::Unreachable(error) => return api::unreachable(endpoint, error, "--to"),
            Failure::Refused(error, _) => {
                let what = format!("{endpoint} refuses: {} ({})", error.message, error.code);
                out::error(what, error.hint.as_deref());
            }
            Failure::Lost(why) => {
                let (first, last) = (self.totals.line + 1, self.totals.line + lines.count);
                let hint = format!("lines {first} to {last} may be published or not");
                out::error(format_args!("{endpoint} has not answered: {why}"), Some(&hint));
            }
        }
        Exit::Unreachable
    }
}

/// How many lines the answer is final for: those before the first that there was no room for, if some of it is to be sent
/// again. What was accepted is the beginning, so whatever follows that line was refused for the same reason.
fn answered(answer: &Answer, before: u64, count: u64) -> u64 {
    let full = answer.errors.iter().find(|error| error.code == "backlog_full");
    match (answer.retry_after, full) {
        (Some(_), Some(error)) => error.line.saturating_sub(before + 1).min(count),
        _ => count,
    }
}

/// A refused line, for people.
fn in_words(error: &LineError) -> String {
    let mut text = format!("line {}, column {}: {}: {}", error.line, error.column, error.code, error.message);
    if let Some(excerpt) = &error.excerpt {
        text.push_str(&format!("\n    {}", printable(excerpt)));
    }
    if let Some(hint) = &error.hint {
        // A hint may be lines to add to a file.
        text.push_str(&format!("\n  hint: {}", hint.replace('\n', "\n        ")));
    }
    text
}

/// A producer's text without what a terminal would take for a command.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn error(line: u64, code: &str) -> LineError {
        LineError {
            line,
            column: 3,
            code: code.to_owned(),
            path: None,
            message: "it is wrong".to_owned(),
            hint: Some("a\nb".to_owned()),
            excerpt: Some("{\u{1b}…".to_owned()),
        }
    }

    #[test]
    fn what_there_was_no_room_for_is_sent_again() {
        let retry_after = Some(Duration::from_secs(1));
        let full = vec![error(3, "bad_json"), error(6, "backlog_full"), error(7, "backlog_full")];
        let answer = Answer { accepted: 4, rejected: 6, errors: full, retry_after };
        assert_eq!((answered(&answer, 0, 10), answered(&answer, 1, 10)), (5, 4));
        let stopping = Answer { errors: vec![error(1, "stopping")], retry_after, ..Answer::default() };
        assert_eq!(answered(&stopping, 0, 10), 10);
        assert_eq!(answered(&Answer::default(), 0, 10), 10);
    }

    #[test]
    fn a_refusal_in_words() {
        assert_eq!(
            in_words(&error(2, "bad_json")),
            "line 2, column 3: bad_json: it is wrong\n    {\u{fffd}…\n  hint: a\n        b"
        );
    }
}
