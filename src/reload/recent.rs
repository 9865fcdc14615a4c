//! The reloads that came last, with what they changed. Passive.

use super::{Cause, Outcome};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Reloads kept. Each is at most as long as two configurations.
pub const KEPT: usize = 20;

/// The memory.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Reload>>);

/// A reload that was more than a look: applied or refused.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who asked.
    pub cause: Cause,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

impl Recent {
    /// Notes a reload. One that changed nothing, and would only push others out, is left out.
    pub fn note(&self, reload: Reload) {
        if !matches!(reload.outcome, Outcome::Applied(_) | Outcome::Refused(_)) {
            return;
        }
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == KEPT {
            list.pop_front();
        }
        list.push_back(reload);
    }

    /// Those that are kept, the newest first.
    pub fn list(&self) -> Vec<Reload> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Diff;
    use super::*;

    #[test]
    fn the_newest_are_kept_and_what_changed_nothing_is_not() {
        let recent = Recent::default();
        let reload = |at_ms, outcome| Reload { at_ms, cause: Cause::File, took: Duration::ZERO, outcome };
        recent.note(reload(0, Outcome::Applied(Diff::default())));
        for at_ms in 1..100 {
            recent.note(reload(at_ms, Outcome::Unchanged));
            recent.note(reload(at_ms, Outcome::WouldApply(Diff::default())));
        }
        assert_eq!(recent.list().len(), 1);
        for at_ms in 100..200 {
            recent.note(reload(at_ms, Outcome::Applied(Diff::default())));
        }
        let list = recent.list();
        assert_eq!((list.len(), list[0].at_ms, list[KEPT - 1].at_ms), (KEPT, 199, 180));
    }
}
