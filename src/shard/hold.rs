//! Holding: whether a pass waits because the oldest kept chunk would have to go.
//!
//! A pass over blocked clients costs nothing, so that without this rule the cursor would outrun everybody in a burst.

use super::shard::Shard;
use super::view::Hold;
use std::time::{Duration, Instant};

/// Chunks that a view keeps.
const KEPT_CHUNKS: usize = 4;
/// Bytes of chunks of all views of a shard, above which a view keeps only one.
const KEPT_BYTES: i64 = 64 << 20;
/// A client whose socket took nothing for so long is not waited for.
const PROGRESS: Duration = Duration::from_secs(1);
/// What the slower half gets beyond twice the time of the faster.
const GRACE: Duration = Duration::from_secs(1);

/// How a view's members stand to its oldest chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Census {
    members: usize,
    /// Members who have had all of it.
    passed: usize,
    /// Members who need it, go on reading, and are no laggards.
    waited_for: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The chunk may go.
    LetGo,
    /// The pass waits.
    Wait,
    /// The chunk may go; who still needs it is a laggard.
    LeaveBehind,
}

impl Hold {
    fn new(now: Instant) -> Hold {
        Hold { since: now, half_at: None }
    }

    /// Decides, and notes when half the members had passed.
    fn judge(&mut self, census: Census, now: Instant) -> Verdict {
        if census.waited_for == 0 {
            return Verdict::LetGo;
        }
        if census.passed * 2 < census.members {
            return Verdict::Wait;
        }
        let half_at = *self.half_at.get_or_insert(now);
        if now > half_at + 2 * (half_at - self.since) + GRACE { Verdict::LeaveBehind } else { Verdict::Wait }
    }
}

impl Shard {
    /// Makes room for another chunk of a view. True when the pass must wait instead; it is tried again then.
    pub(super) fn must_hold(&mut self, view: u32) -> bool {
        let most = if self.stats.levels.chunk_bytes > KEPT_BYTES { 1 } else { KEPT_CHUNKS };
        loop {
            let active = self.views[view as usize].active.as_ref().expect("a view in a pass is active");
            if active.kept.chunks().len() < most {
                return false;
            }
            if self.holds_oldest(view) {
                self.held.push(view);
                return true;
            }
            self.drop_oldest(view);
        }
    }

    fn holds_oldest(&mut self, view: u32) -> bool {
        let state = &self.views[view as usize];
        let active = state.active.as_ref().expect("a view in a pass is active");
        let oldest = active.kept.chunk(0);
        let last = oldest.frames.last().map_or(oldest.from, |frame| frame.last);
        let in_history = self.seats[state.seat as usize].room.history_first() <= oldest.from + 1;
        if in_history {
            return false;
        }
        let census = self.census(view, last);
        let now = self.now;
        let active = self.views[view as usize].active.as_mut().expect("a view in a pass is active");
        let began = active.hold.is_none();
        let verdict = active.hold.get_or_insert_with(|| Hold::new(now)).judge(census, now);
        if verdict != Verdict::Wait {
            active.hold = None;
        }
        if verdict == Verdict::LeaveBehind {
            self.leave_behind(view, last);
        }
        self.stats.holds += u64::from(began && verdict == Verdict::Wait);
        verdict == Verdict::Wait
    }

    fn census(&self, view: u32, last: u64) -> Census {
        let state = &self.views[view as usize];
        let elapsed_ms = self.elapsed_ms();
        let mut census = Census { members: state.members.len(), passed: state.live as usize, waited_for: 0 };
        for member in &state.members[state.live as usize..] {
            let client = &self.clients[member.client as usize];
            let subscription = &client.subscriptions[member.subscription as usize];
            if subscription.position >= last {
                census.passed += 1;
            } else if !subscription.laggard {
                let progressed = client.stalled_ms(elapsed_ms) < PROGRESS.as_millis() as u64;
                census.waited_for += usize::from(progressed);
            }
        }
        census
    }

    fn leave_behind(&mut self, view: u32, last: u64) {
        let state = &self.views[view as usize];
        for member in &state.members[state.live as usize..] {
            let client = &mut self.clients[member.client as usize];
            let subscription = &mut client.subscriptions[member.subscription as usize];
            subscription.laggard |= subscription.position < last;
        }
    }

    fn drop_oldest(&mut self, view: u32) {
        let active = self.views[view as usize].active.as_mut().expect("a view in a pass is active");
        self.stats.levels.chunk_bytes -= active.kept.chunk(0).bytes.len() as i64;
        active.kept.drop_oldest(&mut self.pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(passed: usize, waited_for: usize) -> Census {
        Census { members: 10, passed, waited_for }
    }

    #[test]
    fn nobody_waits_for_those_who_do_not_read() {
        let now = Instant::now();
        assert_eq!(Hold::new(now).judge(census(0, 0), now), Verdict::LetGo);
        assert_eq!(Hold::new(now).judge(census(9, 0), now), Verdict::LetGo);
    }

    #[test]
    fn the_slower_half_gets_twice_the_time_of_the_faster_and_a_second() {
        let start = Instant::now();
        let mut hold = Hold::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(hold.judge(census(4, 6), at(60_000)), Verdict::Wait, "half have not passed");
        let mut hold_of_half = Hold::new(start);
        assert_eq!(hold_of_half.judge(census(4, 6), at(100)), Verdict::Wait);
        assert_eq!(hold_of_half.judge(census(5, 5), at(200)), Verdict::Wait);
        assert_eq!(hold_of_half.judge(census(6, 4), at(200 + 400 + 1000)), Verdict::Wait);
        assert_eq!(hold_of_half.judge(census(6, 4), at(200 + 400 + 1001)), Verdict::LeaveBehind);
        assert_eq!(hold_of_half.judge(census(10, 0), at(250)), Verdict::LetGo);
    }
}
