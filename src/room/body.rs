//! What a room has once something was published: its log, what waits before it, and its keys.
//!
//! Owned by its room, under the room's lock.

use super::buffer::Buffer;
use super::flushes::Flushes;
use super::keys::Keys;
use super::log::Log;
use super::totals::Held;
use crate::config::{HistoryConfig, RoomConfig};
use crate::event::{Batch, Entry, Event, KeyId};
use std::time::Duration;

/// A room's log, buffer and keys.
pub(super) struct Body {
    pub(super) log: Log,
    pub(super) buffer: Buffer,
    /// None in a room without a key.
    pub(super) keys: Option<Box<Keys>>,
    /// Whether a flush of the buffer is on the clock.
    pub(super) on_clock: bool,
    /// Batches flushed.
    pub(super) batches: u64,
    /// Events of the daemon's own in the log, and in the buffer.
    own: u64,
    own_buffered: u64,
    /// When what the buffer held came into the log.
    pub(super) flushes: Flushes,
}

impl Body {
    /// An empty body whose log goes on after `head`. `keys` is how many keys there may be.
    pub(super) fn new(head: u64, config: &RoomConfig, keys: usize) -> Body {
        let log = Log::new(head);
        let has_key = !config.key.is_empty();
        let keys = has_key.then(|| Box::new(Keys::new(keys, log.first())));
        let (buffer, flushes) = (Buffer::default(), Flushes::default());
        Body { log, buffer, keys, on_clock: false, batches: 0, own: 0, own_buffered: 0, flushes }
    }

    /// Appends an event to the log, and notes it as the newest of its key.
    pub(super) fn append(&mut self, event: Event, key: &str) {
        append(&mut self.log, &mut self.keys, event, key, Batch::Single);
    }

    /// The same of an event that may be part of a batch.
    pub(super) fn append_to(&mut self, event: Event, key: &str, batch: Batch) {
        append(&mut self.log, &mut self.keys, event, key, batch);
    }

    /// Recalls a key's newest event, which is before everything in the log; in the order of their offsets.
    pub(super) fn recall(&mut self, key: &str, offset: u64, event: &Event) {
        if let Some(keys) = self.keys.as_mut().filter(|_| offset < self.log.first()) {
            keys.recall(key, offset, event);
        }
    }

    /// Appends what the buffer holds.
    pub(super) fn flush(&mut self, now_ms: u64) {
        let Body { log, buffer, keys, batches, own, own_buffered, flushes, .. } = self;
        *own += std::mem::take(own_buffered);
        if buffer.opened_at().is_some() {
            flushes.note(log.head() + 1, now_ms);
        }
        buffer.flush(|event, key, batch| {
            *batches += u64::from(batch == Batch::Last);
            append(log, keys, event, key, batch);
        });
    }

    /// Counts events of the daemon's own, which were published just now: those that wait in the buffer count once it is flushed.
    pub(super) fn count_own(&mut self, events: u64) {
        let waiting = events.min(self.buffer.len() as u64);
        self.own += events - waiting;
        self.own_buffered += waiting;
    }

    /// Events of the daemon's own that got an offset.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    /// Lets go of what is over the limits of history, and of backlog up to the offset `passed`.
    pub(super) fn trim(&mut self, limit: &HistoryConfig, now_ms: u64, passed: u64) {
        self.log.trim(limit, now_ms, passed);
        self.flushes.release(passed);
        self.note_log();
    }

    /// Lets go of backlog up to the offset `passed`.
    pub(super) fn release(&mut self, passed: u64) {
        self.log.release(passed);
        self.flushes.release(passed);
        self.note_log();
    }

    /// Lets go of keys that are too old.
    pub(super) fn expire_keys(&mut self, config: &RoomConfig, now_ms: u64) {
        if let Some(keys) = &mut self.keys {
            keys.expire(now_ms.saturating_sub(config.snapshot.age.as_millis() as u64));
        }
    }

    /// When history or a key will be too old next, if nothing comes or goes until then.
    pub(super) fn due_ms(&mut self, config: &RoomConfig) -> Option<u64> {
        // What was accepted longer ago than its age is too old.
        let due = |accepted_at_ms: u64, age: Duration| {
            accepted_at_ms.saturating_add(age.as_millis() as u64).saturating_add(1)
        };
        let history = self.log.oldest_ms().map(|at_ms| due(at_ms, config.history.age));
        let Some(keys) = &mut self.keys else { return history };
        let keys = keys.oldest_ms().map(|at_ms| due(at_ms, config.snapshot.age));
        history.into_iter().chain(keys).min()
    }

    /// Lets go of history, oldest first, and then of keys, until at most `bytes` are held: events of which a newer one of
    /// their key is known are worth less than those of which none is.
    pub(super) fn shrink(&mut self, bytes: u64, history: &HistoryConfig, now_ms: u64, passed: u64) {
        loop {
            let left = bytes.saturating_sub(self.keys_bytes());
            if self.log.history_bytes() <= left {
                break;
            }
            // What history lets go of may be its key's newest, and is the key's to hold then.
            self.trim(&HistoryConfig { bytes: left.min(history.bytes), ..*history }, now_ms, passed);
        }
        if let Some(keys) = &mut self.keys {
            keys.shrink(bytes.saturating_sub(self.log.history_bytes()));
        }
    }

    /// Follows another configuration: of another key nothing is known yet, though numbers go on.
    pub(super) fn follow(&mut self, old: &RoomConfig, new: &RoomConfig, most_keys: usize) {
        if new.key.is_empty() {
            self.keys = None;
            return;
        }
        let first = self.log.first();
        let keys = self.keys.get_or_insert_with(|| Box::new(Keys::new(most_keys, first)));
        if old.key != new.key {
            keys.clear();
        }
        keys.bound(most_keys);
    }

    /// What it holds.
    pub(super) fn held(&self) -> Held {
        Held {
            history: self.log.history_bytes() + self.keys_bytes(),
            backlog: self.log.backlog_bytes() + self.buffer.bytes(),
        }
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty()
            && self.buffer.opened_at().is_none()
            && self.keys.as_ref().is_none_or(|keys| keys.is_empty())
    }

    fn keys_bytes(&self) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys.bytes())
    }

    fn note_log(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.log_begins(self.log.first());
        }
    }
}

fn append(log: &mut Log, keys: &mut Option<Box<Keys>>, event: Event, key: &str, batch: Batch) {
    let offset = log.head() + 1;
    let key = keys.as_mut().map_or(KeyId::NONE, |keys| keys.note(key, offset, &event));
    log.append(Entry { event, batch, key });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pattern::Path;

    fn body(most_keys: usize) -> (Body, RoomConfig) {
        let mut config = Config::default().rooms.remove(0);
        config.key = vec![Path::top("id")];
        config.history.events = 4;
        (Body::new(0, &config, most_keys), config)
    }

    /// Publishes events of these keys, each accepted a second after the one before, and trims.
    fn publish(body: &mut Body, config: &RoomConfig, keys: &[&str]) {
        for key in keys {
            let seq = body.log.head() + 1;
            let event = Event::new(seq, seq * 1000, &[b"{\"type\":\"t\"}"], b"", &mut Vec::new());
            body.append(event, key);
        }
        body.trim(&config.history, body.log.head() * 1000, u64::MAX);
    }

    fn keys(body: &Body) -> usize {
        body.keys.as_ref().map_or(0, |keys| keys.len())
    }

    #[test]
    fn history_gives_way_before_keys_and_both_are_counted() {
        let (mut body, config) = body(100);
        publish(&mut body, &config, &["a", "b", "c", "d", "e", "e", "e", "e"]);
        assert_eq!((body.log.history_first(), keys(&body)), (5, 5));
        let (held, history) = (body.held().history, body.log.history_bytes());
        assert!(held > history, "what keys alone hold is counted");
        body.shrink(held - 1, &config.history, 8000, u64::MAX);
        assert_eq!((body.log.history_first(), keys(&body)), (6, 5), "an event that has a newer one");
        body.shrink(held - history, &config.history, 8000, u64::MAX);
        assert!(body.log.is_empty() && keys(&body) < 5, "the newest event of e is its key's to hold");
        assert!(body.held().history <= held - history && keys(&body) > 0);
        body.shrink(0, &config.history, 8000, u64::MAX);
        assert!(body.is_empty() && body.held().history == 0);
    }

    #[test]
    fn a_room_with_keys_is_not_empty_until_they_are_too_old() {
        let (mut body, mut config) = body(3);
        config.history.events = 0;
        publish(&mut body, &config, &["a", "b", "c", "d", "", "a"]);
        assert_eq!((body.log.is_empty(), keys(&body), body.is_empty()), (true, 3, false));
        config.snapshot.age = std::time::Duration::from_secs(2);
        body.expire_keys(&config, 6500);
        assert_eq!(keys(&body), 1);
        body.expire_keys(&config, 9000);
        assert!(body.is_empty());
    }

    #[test]
    fn another_key_begins_with_nothing_and_other_numbers() {
        let (mut body, old) = body(3);
        publish(&mut body, &old, &["a", "b"]);
        let mut new = old.clone();
        body.follow(&old, &new, 1);
        assert_eq!(keys(&body), 1, "limits.keys is lower");
        new.key = vec![Path::top("other")];
        body.follow(&old, &new, 1);
        assert_eq!(keys(&body), 0);
        publish(&mut body, &new, &["a"]);
        let mut entries = Vec::new();
        let limit = crate::room::ReadLimit { events: 9, bytes: 1 << 20, overhead: 0, at_least_one: true };
        body.log.read(0, limit, &mut entries);
        assert_eq!(entries.iter().map(|entry| entry.key.0).collect::<Vec<_>>(), [1, 2, 3]);
        new.key.clear();
        body.follow(&old, &new, 1);
        assert!(body.keys.is_none());
    }
}
