//! The reloads that came last, with what they changed, and the refusal that still stands. Passive.

use super::{Cause, Outcome, Refusal};
use crate::escape;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reloads kept. Each is at most as long as two configurations.
pub const KEPT: usize = 20;

/// The memory.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    list: VecDeque<Reload>,
    /// Why the newest configuration is refused.
    refusal: Option<Refusal>,
}

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
    /// Notes a reload. One that changed nothing, and would only push others out, is left out of the list.
    pub fn note(&self, reload: Reload) {
        let mut inner = self.lock();
        match &reload.outcome {
            Outcome::WouldApply(_) => return,
            Outcome::Unchanged => return inner.refusal = None,
            Outcome::Applied(_) => inner.refusal = None,
            Outcome::Refused(refusal) => inner.refusal = Some(refusal.clone()),
        }
        if inner.list.len() == KEPT {
            inner.list.pop_front();
        }
        inner.list.push_back(reload);
    }

    /// Those that are kept, the newest first.
    pub fn list(&self) -> Vec<Reload> {
        self.lock().list.iter().rev().cloned().collect()
    }

    /// Why the newest configuration is refused; None while it is in force.
    pub fn refusal(&self) -> Option<Refusal> {
        self.lock().refusal.clone()
    }

    /// The refusal for a line of status, or nothing while the newest configuration is in force.
    pub fn remark(&self) -> String {
        let remark = |refusal: Refusal| format!("; the newest configuration is refused: {}", refusal.brief());
        self.refusal().map(remark).map_or_else(String::new, escape::text)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BRIEF, Diff, Fault};
    use super::*;
    use crate::config::Code;

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

    #[test]
    fn a_refusal_stands_until_a_configuration_is_taken_up() {
        let recent = Recent::default();
        let note = |outcome| {
            recent.note(Reload { at_ms: 0, cause: Cause::File, took: Duration::ZERO, outcome });
            recent.refusal().map(|refusal| refusal.brief())
        };
        let fault = |message: &str, place: Option<&str>| Fault {
            code: Code::WrongValue,
            message: message.to_owned(),
            place: place.map(str::to_owned),
            hint: None,
        };
        let one = || Refusal::of_faults(vec![fault("bad", Some("a.toml:1:2"))]);
        let three = || Refusal::of_faults(vec![fault("first", None), fault("b", None), fault("c", None)]);
        let stands = Some("a.toml:1:2: bad".to_owned());
        assert_eq!(note(Outcome::Refused(one())), stands);
        assert_eq!(note(Outcome::WouldApply(Diff::default())), stands);
        assert_eq!(note(Outcome::Unchanged), None, "the old text is back");
        assert_eq!(note(Outcome::Refused(three())).as_deref(), Some("first (and 2 more)"));
        assert_eq!(note(Outcome::Applied(Diff::default())), None);
        let long = Refusal::of_faults(vec![fault(&"x".repeat(5000), None)]);
        assert_eq!(note(Outcome::Refused(long)).unwrap().chars().count(), BRIEF + 1);
    }
}
