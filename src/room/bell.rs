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
