//! Work that takes milliseconds, done so that whoever serves clients does not wait for it.

use std::time::{Duration, Instant};

/// How long such work goes on in one piece. A shard on the same core that wakes meanwhile waits for the rest of it, since the
/// scheduler lets a thread that has slept much run on for milliseconds; clients would see those.
const SLICE: Duration = Duration::from_micros(100);
/// How long the core is given up between two pieces. Some 60 µs more pass before a thread is woken (the timer's slack).
const REST: Duration = Duration::from_micros(50);
/// Steps between two looks at the clock.
const STEPS: u32 = 8;

/// Divides work into slices.
pub(super) struct Slices {
    since: Instant,
    steps: u32,
}

impl Slices {
    pub(super) fn new() -> Slices {
        Slices { since: Instant::now(), steps: 0 }
    }

    /// To be called between small steps, of some microseconds at most. Cancel-safe.
    pub(super) async fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && self.since.elapsed() >= SLICE {
            // The thread itself: the runtime's timers count milliseconds, and 80 of those would be a tenth of a second.
            std::thread::sleep(REST);
            // And what else the thread serves.
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
    }
}
