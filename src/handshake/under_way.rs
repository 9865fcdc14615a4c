//! The handshakes under way: how many there are, and who gives way when there are too many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a handshake may stand in the way of others. A proper client sends its request with the first packet after
/// the connection is open, so that a second is many round trips.
const GRACE: Duration = Duration::from_secs(1);

/// Handshakes under way, over all listeners.
///
/// While there are as many as may be, nobody is accepted: a burst of connections waits in the kernel, where it costs
/// this process nothing, and is served within moments. Who stays silent cannot keep the others out: handshakes that
/// take longer than [`GRACE`] are ended as soon as there is no room.
#[derive(Default)]
pub(super) struct UnderWay {
    inner: Mutex<Inner>,
    left: Notify,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// By age, the oldest first.
    handshakes: BTreeMap<u64, (Instant, Option<AbortHandle>)>,
}

/// A handshake's place; given back when dropped.
pub(super) struct Place {
    under_way: Arc<UnderWay>,
    number: u64,
}

impl UnderWay {
    /// Returns when fewer than `limit` handshakes are under way. Tells `ended` how many were ended for it, at once: the
    /// end of one is a reason to cancel the wait. Takes no place, so that listeners without anything to accept hold none;
    /// several listeners may together go over the limit by one each. Cancel-safe.
    pub(super) async fn room(&self, limit: usize, mut ended: impl FnMut(u64)) {
        loop {
            let left = self.left.notified();
            if self.len() < limit.max(1) {
                return;
            }
            if tokio::time::timeout(GRACE, left).await.is_err() {
                ended(self.end_older_than(GRACE));
            }
        }
    }

    /// Takes a place.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.handshakes.insert(number, (Instant::now(), None));
        Place { under_way: self.clone(), number }
    }

    /// Names the task that can be ended for the handshake with this number, if it is still under way.
    pub(super) fn set_task(&self, number: u64, task: AbortHandle) {
        if let Some((_, slot)) = self.lock().handshakes.get_mut(&number) {
            *slot = Some(task);
        }
    }

    /// Handshakes under way.
    pub(super) fn len(&self) -> usize {
        self.lock().handshakes.len()
    }

    fn end_older_than(&self, age: Duration) -> u64 {
        let mut inner = self.lock();
        let mut ended = 0;
        for (since, task) in inner.handshakes.values_mut() {
            // Taking the handle: an ended task is gone only when its runtime gets to it, and must be counted once.
            if since.elapsed() >= age
                && let Some(task) = task.take()
            {
                task.abort();
                ended += 1;
            }
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.lock().handshakes.remove(&self.number);
        self.under_way.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_is_room_as_soon_as_one_leaves() {
        let under_way = Arc::new(UnderWay::default());
        let (first, _second) = (under_way.enter(), under_way.enter());
        under_way.room(3, |_| panic!("there is room")).await;
        let waiting = {
            let under_way = under_way.clone();
            tokio::spawn(async move { under_way.room(2, |_| panic!("nobody is slow")).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        assert_eq!(under_way.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stays_silent_gives_way_when_there_is_no_room() {
        let under_way = Arc::new(UnderWay::default());
        for _ in 0..3 {
            let place = under_way.enter();
            let number = place.number();
            let silent = tokio::spawn(async move {
                let _place = place;
                std::future::pending::<()>().await;
            });
            under_way.set_task(number, silent.abort_handle());
        }
        tokio::time::sleep(GRACE * 20).await;
        assert_eq!(under_way.len(), 3, "while there is room nobody is ended");
        let mut ended = 0;
        under_way.room(3, |count| ended += count).await;
        assert_eq!(ended, 3);
        assert_eq!(under_way.len(), 0);
    }
}
