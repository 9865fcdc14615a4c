//! When enough has come: `--count` and `--until`. Pure.

use super::args::TailArgs;
use crate::event::{Event, Filter};

/// What is waited for.
pub(super) struct Ending {
    left: Option<u64>,
    until: Option<Filter>,
    /// Kept for the next event.
    scratch: Vec<u8>,
}

impl Ending {
    pub(super) fn new(args: &TailArgs) -> Ending {
        Ending {
            left: args.count.map(Into::into),
            until: args.until.clone().map(Filter::new),
            scratch: Vec::new(),
        }
    }

    /// Whether anything is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.left.is_some() || self.until.is_some()
    }

    /// Counts an event; whether it is the last.
    pub(super) fn is_reached(&mut self, event: &str) -> bool {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        let scratch = &mut self.scratch;
        let holds = |filter: &Filter| filter.passes(&Event::new(0, 0, &[event.as_bytes()], &[], scratch));
        self.left == Some(0) || self.until.as_ref().is_some_and(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    #[track_caller]
    fn check(arguments: &[&str], events: &[&str], last: Option<usize>) {
        let arguments = ["broadcastd", "tail", "r"].iter().chain(arguments);
        let Some(Command::Tail(args)) = Cli::parse_from(arguments).command else { panic!("it is tail") };
        let mut ending = Ending::new(&args);
        assert_eq!(ending.is_awaited(), last.is_some());
        assert_eq!(events.iter().position(|event| ending.is_reached(event)), last);
    }

    #[test]
    fn the_last_event_is_the_counts_or_the_conditions() {
        let events = [r#"{"n":1}"#, r#"{"n":2,"a":{"b":"x"}}"#, r#"{"n":3}"#];
        check(&[], &events, None);
        check(&["--count", "2"], &events, Some(1));
        check(&["--until", "n >= 2"], &events, Some(1));
        check(&["--until", "a.b == 'x'", "--count", "1"], &events, Some(0));
        check(&["--until", "a.b == 'x'", "--count", "9"], &events, Some(1));
    }
}
