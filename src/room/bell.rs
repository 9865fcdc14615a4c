//! How a shard learns that rooms have grown.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shard's bell. Publishers put the tokens of grown rooms here; the shard takes them all at once. A token is put
/// here at most once until its room is read again, so there are never more than the shard has rooms.
pub struct Bell {
    grown: Mutex<Vec<u32>>,
    /// Set by the shard before it sleeps: only then does it need a wake-up, which is a system call.
    sleeping: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// A bell that wakes its shard through `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Bell {
        Bell { grown: Mutex::new(Vec::new()), sleeping: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Tells the shard of grown rooms.
    pub fn ring(&self, tokens: &[u32]) {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(tokens);
        self.rouse();
    }

    /// Wakes the shard if it sleeps.
    pub fn rouse(&self) {
        // Sequentially consistent with `prepare_sleep`: either the shard sees what was put here before, or this sees
        // that it sleeps.
        if self.sleeping.swap(false, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    /// The shard is about to sleep. False when there is something to do after all.
    pub fn prepare_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let idle = self.grown.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !idle {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        idle
    }

    /// The shard is awake.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Takes the tokens of grown rooms into `out`, which must be empty.
    pub fn take(&self, out: &mut Vec<u32>) {
        std::mem::swap(&mut *self.grown.lock().unwrap_or_else(PoisonError::into_inner), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    fn bell() -> (Bell, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let wake = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        (Bell::new(wake), wakes)
    }

    #[test]
    fn a_sleeping_shard_is_woken_once_and_a_busy_one_never() {
        let (bell, wakes) = bell();
        bell.ring(&[1]);
        assert_eq!(wakes.load(Ordering::SeqCst), 0, "the shard is awake");
        bell.take(&mut Vec::new());
        assert!(bell.prepare_sleep());
        bell.ring(&[2]);
        bell.ring(&[3]);
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        bell.take(&mut Vec::new());
        assert!(bell.prepare_sleep());
        bell.rouse();
        bell.rouse();
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        assert!(bell.prepare_sleep());
        bell.awake();
        bell.rouse();
        assert_eq!(wakes.load(Ordering::SeqCst), 2, "it woke by itself");
    }

    #[test]
    fn a_shard_does_not_sleep_over_tokens_that_wait() {
        let (bell, wakes) = bell();
        bell.ring(&[4, 5]);
        assert!(!bell.prepare_sleep());
        bell.ring(&[6]);
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
        let mut tokens = Vec::new();
        bell.take(&mut tokens);
        assert_eq!(tokens, [4, 5, 6]);
        assert!(bell.prepare_sleep());
    }
}
