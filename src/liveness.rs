//! Signs of life: each thread that the daemon needs notes that it turns, and others see which one does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every thread turns at least so often, also with nothing to do.
pub const TURN: Duration = Duration::from_secs(1);
/// A thread that has not turned for so long does not do its work in time.
pub const LATE: Duration = Duration::from_secs(5);
/// A thread that has not turned for so long is taken for stuck.
pub const STUCK: Duration = Duration::from_secs(15);

/// The signs of life of a daemon's threads.
#[derive(Debug)]
pub struct Liveness {
    started: Instant,
    threads: Mutex<Vec<Arc<Thread>>>,
}

#[derive(Debug)]
struct Thread {
    name: String,
    /// Milliseconds since the start.
    turned_at_ms: AtomicU64,
}

/// Where a thread notes its turns.
#[derive(Clone, Debug)]
pub struct Sign {
    started: Instant,
    thread: Arc<Thread>,
}

/// A thread that does not turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// The thread.
    pub name: String,
    /// Since when.
    pub elapsed: Duration,
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness { started: Instant::now(), threads: Mutex::default() }
    }
}

impl Liveness {
    /// Adds a thread, which counts as having turned just now. One that ends stays among them: it is needed until the daemon
    /// stops.
    pub fn thread(&self, name: impl Into<String>) -> Sign {
        let thread = Arc::new(Thread { name: name.into(), turned_at_ms: AtomicU64::new(0) });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&thread));
        let sign = Sign { started: self.started, thread };
        sign.turned(Instant::now());
        sign
    }

    /// The thread that turned least recently, if it has not for longer than [`LATE`].
    pub fn stillest(&self) -> Option<Still> {
        self.stillest_at(Instant::now())
    }

    fn stillest_at(&self, now: Instant) -> Option<Still> {
        let now_ms = now.duration_since(self.started).as_millis() as u64;
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = |thread: &Thread| {
            Duration::from_millis(now_ms.saturating_sub(thread.turned_at_ms.load(Ordering::Relaxed)))
        };
        let still =
            threads.iter().map(|thread| (elapsed(thread), thread)).max_by_key(|(elapsed, _)| *elapsed);
        still
            .filter(|(elapsed, _)| *elapsed > LATE)
            .map(|(elapsed, thread)| Still { name: thread.name.clone(), elapsed })
    }
}

impl Sign {
    /// The thread.
    pub fn name(&self) -> &str {
        &self.thread.name
    }

    /// Notes a turn that ended at a time.
    pub fn turned(&self, at: Instant) {
        let at_ms = at.saturating_duration_since(self.started).as_millis() as u64;
        self.thread.turned_at_ms.store(at_ms, Ordering::Relaxed);
    }

    /// Runs a future, and notes while its thread's tasks get their turns. Cancel-safe if the future is.
    pub async fn during<F: Future>(self, future: F) -> F::Output {
        let beat = async {
            loop {
                self.turned(Instant::now());
                tokio::time::sleep(TURN).await;
            }
        };
        tokio::select! {
            output = future => output,
            () = beat => unreachable!("it never ends"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_is_still_for_longest_has_a_name_once_it_is_late() {
        let liveness = Liveness::default();
        let start = liveness.started;
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(liveness.stillest_at(at(100)), None, "no thread, no reason");
        let (front, shard) = (liveness.thread("front"), liveness.thread("shard-0"));
        front.turned(at(10));
        shard.turned(at(12));
        assert_eq!(liveness.stillest_at(at(15)), None);
        let still =
            |name: &str, secs| Some(Still { name: name.to_owned(), elapsed: Duration::from_secs(secs) });
        assert_eq!(liveness.stillest_at(at(16)), still("front", 6));
        front.turned(at(16));
        assert_eq!(liveness.stillest_at(at(30)), still("shard-0", 18));
        shard.turned(at(29));
        assert_eq!(liveness.stillest_at(at(20)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_waits_is_no_thread_that_hangs() {
        let liveness = Liveness::default();
        let sign = liveness.thread("front");
        let thread = Arc::clone(&sign.thread);
        thread.turned_at_ms.store(u64::MAX, Ordering::Relaxed);
        sign.during(tokio::time::sleep(TURN * 3)).await;
        assert_ne!(thread.turned_at_ms.load(Ordering::Relaxed), u64::MAX);
    }
}
