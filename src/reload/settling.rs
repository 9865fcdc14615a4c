//! When a file that changes is taken up: once nothing has changed for a moment, or after half a second in any case.
//! A pure state machine: it is told the time.

use std::time::{Duration, Instant};

/// A change is taken up once nothing has changed for so long.
pub const QUIET: Duration = Duration::from_millis(100);
/// No change waits longer than that, although more come, or the writer keeps the file open.
pub const LONGEST: Duration = Duration::from_millis(500);

/// Changes that were not taken up yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settling {
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Instant,
    last: Instant,
    /// Whether somebody may still have the file open to write.
    writing: bool,
}

impl Settling {
    /// Notes a change, and whether its writer has closed the file.
    pub fn changed(&mut self, now: Instant, closed: bool) {
        let open = self.open.get_or_insert(Open { since: now, last: now, writing: false });
        (open.last, open.writing) = (now, !closed);
    }

    /// When the file is to be looked at, if it has changed: `QUIET` after the last change, and no later than `LONGEST`
    /// after the first.
    pub fn due(&self) -> Option<Instant> {
        let open = self.open?;
        let longest = open.since + LONGEST;
        Some(if open.writing { longest } else { longest.min(open.last + QUIET) })
    }

    /// Forgets every change so far: the file is being looked at.
    pub fn taken_up(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays changes, each so many milliseconds after the one before; returns at which the file was looked at.
    fn looks(changes: &[(u64, bool)]) -> (Vec<u64>, Vec<u64>) {
        let begun = Instant::now();
        let ms = |at: Instant| (at - begun).as_millis() as u64;
        let (mut settling, mut now) = (Settling::default(), begun);
        let (mut looks, mut times) = (Vec::new(), Vec::new());
        for (after, closed) in changes {
            now += Duration::from_millis(*after);
            if let Some(due) = settling.due().filter(|due| *due <= now) {
                looks.push(ms(due));
                settling.taken_up();
            }
            settling.changed(now, *closed);
            times.push(ms(now));
        }
        looks.extend(settling.due().map(ms));
        (times, looks)
    }

    #[test]
    fn it_waits_for_quiet_and_not_for_long() {
        for (changes, expected) in [
            (&[(0, true)][..], &[100][..]),
            (&[(0, false)], &[500]),
            (&[(0, false), (30, true)], &[130]),
            (&[(0, true), (99, true), (99, true)], &[298]),
            (&[(0, true), (100, true)], &[100, 200]),
            // One after the other without a rest: every half second.
            (
                &[(0, true), (90, true), (90, true), (90, true), (90, true), (90, true), (90, true)],
                &[500, 640],
            ),
        ] {
            assert_eq!(looks(changes).1, expected, "{changes:?}");
        }
        assert_eq!(Settling::default().due(), None);
    }

    proptest! {
        /// Whatever comes: each change is looked at half a second later at the most, and the last that was closed after the
        /// quiet at the most.
        #[test]
        fn no_change_waits_longer_than_it_may(changes in prop::collection::vec((0_u64..300, any::<bool>()), 1..100)) {
            let (times, looks) = looks(&changes);
            for time in &times {
                let look = looks.iter().find(|look| *look >= time).expect("every change is looked at");
                prop_assert!(look - time <= 500, "{time} was looked at at {look}");
            }
            if changes.last().expect("there is one").1 {
                prop_assert!(looks.last().expect("there is one") - times.last().expect("there is one") <= 100);
            }
        }
    }
}
