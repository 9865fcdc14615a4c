//! The handshakes under way: how many there are, and who gives way when there are too many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
///
/// A connection that serves a session by polling is no handshake: while a request of it waits it is not counted, for
/// the session has its place among the clients. Between two requests it is idle, and stands in nobody's way: there is a
/// limit on idle ones of their own, and the oldest is ended for a new one.
#[derive(Default)]
pub(super) struct UnderWay {
    inner: Mutex<Inner>,
    left: Notify,
    stopping: AtomicBool,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// By age, the oldest first.
    handshakes: BTreeMap<u64, (Instant, Option<AbortHandle>)>,
    /// Likewise.
    idle: BTreeMap<u64, Option<AbortHandle>>,
    /// Whose request waits within a session.
    waiting: BTreeSet<u64>,
}

/// A connection's place; given back when dropped.
pub(super) struct Place {
    under_way: Arc<UnderWay>,
    /// Another one each time that it changes what it is.
    number: AtomicU64,
    task: OnceLock<AbortHandle>,
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
        let number = self.lock().add(None);
        Place { under_way: self.clone(), number: AtomicU64::new(number), task: OnceLock::new() }
    }

    /// Handshakes under way.
    pub(super) fn len(&self) -> usize {
        self.lock().handshakes.len()
    }

    /// Whether there is no connection at all.
    pub(super) fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.handshakes.is_empty() && inner.idle.is_empty() && inner.waiting.is_empty()
    }

    /// Ends every handshake, and none that begins from now on is to be served. Connections of sessions go on.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for (_, task) in self.lock().handshakes.values_mut() {
            task.take().inspect(AbortHandle::abort);
        }
    }

    /// Returns when no request waits within a session any more, or for its last answer to be written. Cancel-safe.
    pub(super) async fn answered(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().waiting.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Whether none is to be served any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
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

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, task: Option<AbortHandle>) -> u64 {
        let number = self.number();
        self.handshakes.insert(number, (Instant::now(), task));
        number
    }

    fn remove(&mut self, number: u64) {
        self.handshakes.remove(&number);
        self.idle.remove(&number);
        self.waiting.remove(&number);
    }
}

impl Place {
    /// Names the task that can be ended for it.
    pub(super) fn set_task(&self, task: AbortHandle) {
        if let Some((_, slot)) = self.under_way.lock().handshakes.get_mut(&self.number()) {
            *slot = Some(task.clone());
        }
        // Said once for each.
        let _ = self.task.set(task);
    }

    /// A request has come: it is counted as a handshake until it is known to be none. Returns whether the connection
    /// was idle.
    pub(super) fn begin(&self) -> bool {
        let mut inner = self.under_way.lock();
        if !inner.idle.contains_key(&self.number()) {
            return false;
        }
        inner.remove(self.number());
        self.number.store(inner.add(self.task.get().cloned()), Ordering::Relaxed);
        true
    }

    /// The request waits within a session, until the connection is idle again or gone.
    pub(super) fn wait(&self) {
        let number = self.number();
        let mut inner = self.under_way.lock();
        inner.remove(number);
        inner.waiting.insert(number);
        drop(inner);
        self.under_way.left.notify_waiters();
    }

    /// The connection is idle, as one of so many at the most.
    pub(super) fn idle(&self, limit: usize) {
        let mut inner = self.under_way.lock();
        inner.remove(self.number());
        let number = inner.number();
        self.number.store(number, Ordering::Relaxed);
        inner.idle.insert(number, self.task.get().cloned());
        while inner.idle.len() > limit.max(1) {
            if let Some((_, Some(task))) = inner.idle.pop_first() {
                task.abort();
            }
        }
        drop(inner);
        self.under_way.left.notify_waiters();
    }

    /// Whether it waits for another request.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.lock().idle.contains_key(&self.number())
    }

    fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.lock().remove(self.number());
        self.under_way.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose task does nothing.
    fn silent(under_way: &Arc<UnderWay>) -> Arc<Place> {
        let place = Arc::new(under_way.enter());
        let held = place.clone();
        let task = tokio::spawn(async move {
            let _place = held;
            std::future::pending::<()>().await;
        });
        place.set_task(task.abort_handle());
        place
    }

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
            silent(&under_way);
        }
        tokio::time::sleep(GRACE * 20).await;
        assert_eq!(under_way.len(), 3, "while there is room nobody is ended");
        let mut ended = 0;
        under_way.room(3, |count| ended += count).await;
        assert_eq!(ended, 3);
        assert_eq!(under_way.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_a_session_is_no_handshake() {
        let under_way = Arc::new(UnderWay::default());
        let place = silent(&under_way);
        place.wait();
        assert_eq!(under_way.len(), 0);
        under_way.room(1, |_| panic!("there is room")).await;
        under_way.stop();
        place.idle(1);
        assert_eq!((under_way.len(), under_way.lock().idle.len()), (0, 1));
        place.begin();
        assert_eq!((under_way.len(), under_way.lock().idle.len()), (1, 0));
        drop(place);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_connection_gives_way() {
        let under_way = Arc::new(UnderWay::default());
        let places = [(); 3].map(|()| silent(&under_way));
        for place in &places {
            place.idle(2);
        }
        tokio::task::yield_now().await;
        let held = places.each_ref().map(|place| Arc::strong_count(place) - 1);
        assert_eq!(held, [0, 1, 1], "the first one's task is gone");
    }
}
