//! The two clocks: wall time for people, log time for ages.
//!
//! Wall time is set, stepped and wrong at times. The daemon shows it and understands it in `since`, and counts no age in it.
//! *Log time* never goes back and never jumps: milliseconds of the monotonic clock, plus the time that the machine slept.
//! An event of before a night's suspend is a night old, so history counts sleep. Delivery does not:
//! [`awake_ms_since`] leaves it out.

use nix::time::{ClockId, clock_gettime};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Log time at the process's start: large, so that events of earlier processes have their places before it.
const BEGIN_MS: u64 = 1 << 40;
/// Shorter suspends are not noticed. The two clocks are not read in one instant, so that they differ a little.
const SHORTEST_SLEEP_MS: u64 = 1000;

static CLOCK: LazyLock<LogClock> = LazyLock::new(|| LogClock::new(whole_millisecond(), ahead_ms()));

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Log time: for ages.
    pub log_ms: u64,
    /// Milliseconds since the Unix epoch: for people.
    pub wall_ms: u64,
}

impl Moment {
    /// This moment, to stamp an event with. Reads each clock once.
    pub fn now() -> Moment {
        let wall_ms = now_ms();
        Moment { log_ms: log_ms(Instant::now()), wall_ms }
    }

    /// This moment, to look for events by their wall time.
    ///
    /// Reads the clocks in the other order. If a millisecond begins between two readings, this finds an event too many
    /// rather than one too few.
    pub fn to_search() -> Moment {
        let log_ms = log_ms(Instant::now());
        Moment { log_ms, wall_ms: now_ms() }
    }

    /// Log time of a wall time, as if the wall clock had always run as it does now.
    pub fn log_of(self, wall_ms: u64) -> u64 {
        match self.wall_ms.checked_sub(wall_ms) {
            Some(ago_ms) => self.log_ms.saturating_sub(ago_ms),
            None => self.log_ms.saturating_add(wall_ms - self.wall_ms),
        }
    }
}

/// Wall time: milliseconds since the Unix epoch, or 0 before it. For people only: it may jump.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Log time at an instant.
pub fn log_ms(at: Instant) -> u64 {
    CLOCK.at(at)
}

/// Time since a log time, without the machine's last sleep. Reads a clock once.
pub fn awake_ms_since(log_ms: u64) -> u64 {
    CLOCK.awake_ms(log_ms, Instant::now())
}

/// Adds a suspend of the machine that has ended to log time. One thread alone calls it, often.
pub fn notice_sleep() {
    CLOCK.notice(Instant::now(), ahead_ms());
}

/// Log time, from the monotonic clock and the time that the machine slept.
struct LogClock {
    origin: Instant,
    /// By how much the clock that counts sleep was ahead of the monotonic one at the origin.
    ahead_ms: u64,
    /// All sleep since the origin.
    slept_ms: AtomicU64,
    /// The last sleep: how long it was, and when it ended.
    last_sleep_ms: AtomicU64,
    woke_at_ms: AtomicU64,
}

impl LogClock {
    fn new(origin: Instant, ahead_ms: u64) -> LogClock {
        let zero = || AtomicU64::new(0);
        LogClock { origin, ahead_ms, slept_ms: zero(), last_sleep_ms: zero(), woke_at_ms: zero() }
    }

    fn at(&self, at: Instant) -> u64 {
        let elapsed_ms = at.saturating_duration_since(self.origin).as_millis() as u64;
        BEGIN_MS + elapsed_ms + self.slept_ms.load(Ordering::Relaxed)
    }

    fn awake_ms(&self, since_ms: u64, now: Instant) -> u64 {
        let slept = since_ms < self.woke_at_ms.load(Ordering::Relaxed);
        let asleep_ms = if slept { self.last_sleep_ms.load(Ordering::Relaxed) } else { 0 };
        self.at(now).saturating_sub(since_ms).saturating_sub(asleep_ms)
    }

    fn notice(&self, now: Instant, ahead_ms: u64) {
        let before_ms = self.slept_ms.load(Ordering::Relaxed);
        let slept_ms = ahead_ms.saturating_sub(self.ahead_ms);
        let Some(asleep_ms) = slept_ms.checked_sub(before_ms).filter(|ms| *ms >= SHORTEST_SLEEP_MS) else {
            return;
        };
        // Before the jump that they explain: meanwhile an age is too small, and never the sleep itself.
        self.last_sleep_ms.store(asleep_ms, Ordering::Relaxed);
        self.woke_at_ms.store(self.at(now) + asleep_ms, Ordering::Relaxed);
        self.slept_ms.store(slept_ms, Ordering::Release);
    }
}

/// An instant at which a millisecond of wall time began. With it as origin both clocks begin milliseconds together, until
/// somebody sets one.
fn whole_millisecond() -> Instant {
    // Of some pairs of readings the closest: the first may be slow, and the thread may lose its core in between.
    let pairs = (0..8).map(|_| {
        let (now, wall) = (Instant::now(), SystemTime::now());
        (now.elapsed(), now, wall.duration_since(UNIX_EPOCH).unwrap_or_default())
    });
    let (_, now, wall) = pairs.min_by_key(|(took, ..)| *took).expect("there are some pairs");
    let begun = Duration::from_nanos(u64::from(wall.subsec_nanos() % 1_000_000));
    now.checked_sub(begun).unwrap_or(now)
}

/// By how much the clock that counts sleep is ahead of the one that does not. Read in this order, it is never too much.
fn ahead_ms() -> u64 {
    let with_sleep = read(ClockId::CLOCK_BOOTTIME);
    with_sleep.saturating_sub(read(ClockId::CLOCK_MONOTONIC)).as_millis() as u64
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// A moment that a later process can find on its own clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The moment.
    pub moment: Moment,
    /// Time since the machine's boot, sleep included.
    pub up_ms: u64,
    /// Id of the boot; empty if the system hides it.
    pub boot: String,
}

impl Stamp {
    /// This moment.
    pub fn now() -> Stamp {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let up_ms = read(ClockId::CLOCK_BOOTTIME).as_millis() as u64;
        Stamp { moment: Moment::now(), up_ms, boot: boot.trim().to_owned() }
    }

    /// Milliseconds since an earlier stamp, of this process or one before.
    ///
    /// Exact within one boot, whatever the wall clock did. After a reboot, and on another machine, only the wall clock can
    /// say; if it was set back meanwhile, the answer is 0.
    pub fn ms_since(&self, earlier: &Stamp) -> u64 {
        let is_same = self.boot == earlier.boot || self.boot.is_empty() || earlier.boot.is_empty();
        match self.up_ms.checked_sub(earlier.up_ms).filter(|_| is_same) {
            Some(elapsed_ms) => elapsed_ms,
            None => self.moment.wall_ms.saturating_sub(earlier.moment.wall_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn after(origin: Instant, ms: u64) -> Instant {
        origin + Duration::from_millis(ms)
    }

    #[test]
    fn log_time_counts_sleep_and_waiting_does_not() {
        let origin = Instant::now();
        let clock = LogClock::new(origin, 500);
        let accepted = clock.at(after(origin, 100));
        assert_eq!(accepted, BEGIN_MS + 100);
        clock.notice(after(origin, 110), 500 + SHORTEST_SLEEP_MS - 1);
        assert_eq!(
            clock.at(after(origin, 110)),
            BEGIN_MS + 110,
            "the clocks differ a little, and nobody slept"
        );
        // Eight hours of sleep, 20 ms after the event.
        clock.notice(after(origin, 120), 500 + 8 * HOUR_MS);
        let now = after(origin, 150);
        assert_eq!(clock.at(now) - accepted, 8 * HOUR_MS + 50);
        assert_eq!(clock.awake_ms(accepted, now), 50);
        let later = clock.at(after(origin, 140));
        assert_eq!(clock.awake_ms(later, now), 10, "accepted after the sleep");
        // A sleep counts once, and a clock that goes back is no sleep.
        clock.notice(after(origin, 150), 500 + 8 * HOUR_MS);
        clock.notice(after(origin, 150), 0);
        assert_eq!(clock.at(now), BEGIN_MS + 8 * HOUR_MS + 150);
    }

    #[test]
    fn an_instant_before_the_origin_is_the_origin() {
        let origin = after(Instant::now(), 1000);
        let clock = LogClock::new(origin, 0);
        assert_eq!(clock.at(Instant::now()), BEGIN_MS);
        assert_eq!(clock.awake_ms(BEGIN_MS + 5, origin), 0);
    }

    #[test]
    fn wall_time_is_found_by_the_present_offset() {
        let now = Moment { log_ms: 1_000_000, wall_ms: 50_000_000 };
        for (wall_ms, log_ms) in [
            (50_000_000, 1_000_000),
            (49_999_000, 999_000),
            (50_001_000, 1_001_000),
            (48_999_999, 0),
            (0, 0),
            (u64::MAX, u64::MAX - 49_000_000),
        ] {
            assert_eq!(now.log_of(wall_ms), log_ms, "{wall_ms}");
        }
    }

    #[test]
    fn time_over_a_restart_is_the_boots_or_the_wall_clocks() {
        let stamp = |boot: &str, up_ms, wall_ms| Stamp {
            moment: Moment { log_ms: BEGIN_MS, wall_ms },
            up_ms,
            boot: boot.to_owned(),
        };
        let before = stamp("a", 10_000, 9 * HOUR_MS);
        for (now, elapsed_ms, why) in [
            (stamp("a", 15_000, 9 * HOUR_MS + 5_000), 5_000, "nothing happened to the clock"),
            (stamp("a", 15_000, 8 * HOUR_MS), 5_000, "set back by an hour"),
            (stamp("a", 15_000, 99 * HOUR_MS), 5_000, "set forward"),
            (stamp("b", 90_000, 9 * HOUR_MS + 60_000), 60_000, "another boot"),
            (stamp("b", 90_000, HOUR_MS), 0, "another boot, and the clock was set back"),
            (stamp("", 15_000, HOUR_MS), 5_000, "the boot is hidden"),
            (stamp("", 4_000, 10 * HOUR_MS), HOUR_MS, "the boot is hidden, and is another one"),
        ] {
            assert_eq!(now.ms_since(&before), elapsed_ms, "{why}");
        }
    }

    #[test]
    fn the_clocks_of_this_process_agree() {
        let (before, now) = (Stamp::now(), Moment::now());
        assert!(now.log_ms >= before.moment.log_ms && now.log_ms >= BEGIN_MS);
        assert!(awake_ms_since(before.moment.log_ms) < HOUR_MS && Stamp::now().ms_since(&before) < HOUR_MS);
        assert!(now.wall_ms > 1_700_000_000_000);
    }
}
