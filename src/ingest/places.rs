//! The places of one listener's producers. A full listener gives the place of its quietest producer to a new one.
//!
//! Each listener has `ingest.connections` places of its own, so that one listener never starves another.

use crate::metrics::{Metrics, ProducerEnd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a producer must be quiet before it gives way. Shorter, and producers at work would close each other.
const QUIET: Duration = Duration::from_secs(2);
/// The index of a place that was given away.
const GIVEN_AWAY: usize = usize::MAX;
/// No time: the producer is at work.
const AT_WORK: u64 = u64::MAX;

/// A listener's producers.
pub(super) struct Places {
    list: Mutex<Vec<Arc<Place>>>,
    metrics: Arc<Metrics>,
    started: Instant,
}

/// One producer's place.
pub(super) struct Place {
    /// In its list, under whose lock it changes.
    index: AtomicUsize,
    /// Since when the producer has been quiet, in milliseconds since the list was made.
    quiet_since: AtomicU64,
    started: Instant,
    given_away: Notify,
}

/// A producer's hold of its place, and its share of its thread's load; given back when dropped.
pub(super) struct Permit {
    places: Arc<Places>,
    place: Arc<Place>,
    load: Arc<AtomicUsize>,
}

impl Places {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Places> {
        Arc::new(Places { list: Mutex::default(), metrics, started: Instant::now() })
    }

    /// Takes one of `most` places, for a thread whose producers `load` counts. If all are taken, the producer that has been
    /// quiet longest gives way; without such a producer the answer is None, and counted.
    pub(super) fn admit(self: &Arc<Self>, most: usize, load: &Arc<AtomicUsize>) -> Option<Permit> {
        let mut list = self.list();
        if list.len() >= most && !self.give_way(&mut list) {
            self.metrics.producers_refused.increment(1);
            return None;
        }
        let place = Arc::new(Place {
            index: AtomicUsize::new(list.len()),
            quiet_since: AtomicU64::new(AT_WORK),
            started: self.started,
            given_away: Notify::new(),
        });
        list.push(place.clone());
        load.fetch_add(1, Ordering::Relaxed);
        self.metrics.producers.add(1);
        Some(Permit { places: self.clone(), place, load: load.clone() })
    }

    fn give_way(&self, list: &mut Vec<Arc<Place>>) -> bool {
        let quiet_since = |place: &Arc<Place>| place.quiet_since.load(Ordering::Relaxed);
        let latest = self.started.elapsed().saturating_sub(QUIET).as_millis() as u64;
        let Some(index) = (0..list.len()).min_by_key(|index| quiet_since(&list[*index])) else {
            return false;
        };
        if quiet_since(&list[index]) > latest {
            return false;
        }
        remove(list, index).given_away.notify_one();
        self.metrics.producer_closed(ProducerEnd::GaveWay);
        true
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(list: &mut Vec<Arc<Place>>, index: usize) -> Arc<Place> {
    let place = list.swap_remove(index);
    place.index.store(GIVEN_AWAY, Ordering::Relaxed);
    if let Some(moved) = list.get(index) {
        moved.index.store(index, Ordering::Relaxed);
    }
    place
}

impl Place {
    /// Notes whether the producer is quiet from now on: nothing of it is unfinished, and its answers are on their way.
    pub(super) fn rest(&self, is_quiet: bool) {
        let since = if is_quiet { self.started.elapsed().as_millis() as u64 } else { AT_WORK };
        self.quiet_since.store(since, Ordering::Relaxed);
    }

    /// Returns when the place was given to another producer, once.
    pub(super) async fn given_away(&self) {
        self.given_away.notified().await;
    }
}

impl Permit {
    pub(super) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut list = self.places.list();
        let index = self.place.index.load(Ordering::Relaxed);
        if index != GIVEN_AWAY {
            remove(&mut list, index);
        }
        drop(list);
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.places.metrics.producers.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_producer_that_is_quiet_longest_gives_way() {
        let places = Places::new(Arc::new(Metrics::new()));
        let admit = || places.admit(3, &Arc::default());
        let permits: Vec<Permit> = (0..3).filter_map(|_| admit()).collect();
        tokio::time::advance(QUIET * 10).await;
        assert!(admit().is_none(), "all are at work");
        permits[1].place.rest(true);
        tokio::time::advance(QUIET / 2).await;
        permits[0].place.rest(true);
        assert!(admit().is_none(), "none has been quiet for long");
        tokio::time::advance(QUIET / 2).await;
        let new = admit();
        assert!(new.is_some());
        permits[1].place.given_away().await;
        assert!(admit().is_none(), "the new one is at work");
        tokio::time::advance(QUIET / 2).await;
        permits[0].place.rest(false);
        assert!(admit().is_none(), "it is at work again");
        // Places are given back once, in any order.
        drop(permits);
        assert_eq!(places.list().len(), 1);
        drop(new);
        assert!(places.list().is_empty());
        assert!(
            places.metrics.render().contains("broadcastd_producers_closed_total{reason=\"gave_way\"} 1\n")
        );
        assert!(places.metrics.render().contains("broadcastd_producers 0\n"));
    }
}
