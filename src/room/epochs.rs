//! The epochs that one process gives out: consecutive numbers from a random origin.
//!
//! A clock would do only where it never shows the same moment twice: a machine without one starts at the same millisecond
//! after every crash. With 64 random bits no two starts ever share an epoch, whatever their clocks say.

use crate::wire::Epoch;
use std::collections::HashSet;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Distance from an origin to the next epoch that another process gave out: more than one process ever needs.
const REACH: u64 = 1 << 40;

/// Gives out epochs. The numbers go on from 0 after the last one.
pub(super) struct Epochs {
    origin: AtomicU64,
    next: AtomicU64,
    /// Carried over from another process.
    carried: OnceLock<HashSet<Epoch>>,
}

impl Epochs {
    /// Epochs from an origin of the system's random generator. Fails if the generator fails.
    pub(super) fn new() -> io::Result<Epochs> {
        Ok(Epochs::at(origin(getrandom::u64, &[])?))
    }

    /// Begins again with an origin that keeps clear of epochs carried over from another process. Call it before
    /// [`next`](Self::next).
    pub(super) fn keep_clear_of(&self, carried: &[Epoch]) -> io::Result<()> {
        let origin = origin(getrandom::u64, carried)?;
        self.origin.store(origin, Ordering::Relaxed);
        self.next.store(origin, Ordering::Relaxed);
        self.carried.get_or_init(|| carried.iter().copied().collect());
        Ok(())
    }

    /// True if this process gave an epoch out, or carries it on.
    pub(super) fn knows(&self, epoch: Epoch) -> bool {
        let origin = self.origin.load(Ordering::Relaxed);
        let given = self.next.load(Ordering::Relaxed).wrapping_sub(origin);
        let is_carried = |carried: &HashSet<Epoch>| carried.contains(&epoch);
        epoch.0.wrapping_sub(origin) < given || self.carried.get().is_some_and(is_carried)
    }

    fn at(origin: u64) -> Epochs {
        Epochs { origin: AtomicU64::new(origin), next: AtomicU64::new(origin), carried: OnceLock::new() }
    }

    /// The next epoch.
    pub(super) fn next(&self) -> Epoch {
        Epoch(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Draws until no carried epoch is within [`REACH`], which is nearly always at once.
fn origin(mut draw: impl FnMut() -> Result<u64, getrandom::Error>, carried: &[Epoch]) -> io::Result<u64> {
    loop {
        let origin = draw().map_err(|error| {
            io::Error::other(format!(
                "rooms need random epochs, and the system's random generator failed: {error}; is getrandom(2) or \
                 /dev/urandom out of reach?"
            ))
        })?;
        if carried.iter().all(|epoch| epoch.0.wrapping_sub(origin) >= REACH) {
            return Ok(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_in_the_same_millisecond_share_no_epoch() {
        let all: Vec<Epochs> = (0..2000).map(|_| Epochs::new().unwrap()).collect();
        let given: HashSet<Epoch> = all.iter().flat_map(|epochs| [epochs.next(), epochs.next()]).collect();
        assert_eq!(given.len(), 4000);
    }

    #[test]
    fn an_origin_is_drawn_again_while_a_carried_epoch_is_within_reach() {
        let carried = [Epoch(5), Epoch(u64::MAX - REACH)];
        let mut draws = [u64::MAX - REACH, 5, u64::MAX - 3, 4, 6].into_iter();
        assert_eq!(origin(|| Ok(draws.next().unwrap()), &carried).unwrap(), 6);
        assert_eq!(draws.next(), None);
    }

    #[test]
    fn a_random_generator_that_fails_is_an_error_that_names_it() {
        let error = origin(|| Err(getrandom::Error::UNSUPPORTED), &[]).unwrap_err().to_string();
        assert!(error.contains("random generator failed"), "{error}");
    }

    #[test]
    fn epochs_of_a_process_go_on_after_the_last_number() {
        let epochs = Epochs::at(u64::MAX);
        assert_eq!((epochs.next(), epochs.next()), (Epoch(u64::MAX), Epoch(0)));
    }

    #[test]
    fn epochs_that_were_given_out_or_carried_over_are_known() {
        let epochs = Epochs::at(u64::MAX);
        assert!(!epochs.knows(Epoch(u64::MAX)));
        let given = [epochs.next(), epochs.next()];
        let strange = [Epoch(1), Epoch(u64::MAX - 1)];
        assert!(given.iter().all(|epoch| epochs.knows(*epoch)));
        assert!(!strange.iter().any(|epoch| epochs.knows(*epoch)));
        epochs.keep_clear_of(&strange).unwrap();
        let own = epochs.next();
        assert!(strange.iter().chain([&own]).all(|epoch| epochs.knows(*epoch)));
        assert!(!epochs.knows(Epoch(own.0.wrapping_sub(1))), "what was given out before counts no more");
    }
}
