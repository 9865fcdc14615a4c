//! Clients of Socket.IO that may come back (connection state recovery, Socket.IO 4.6): the rooms that each was in, under a secret
//! that it alone was told. Shared by all shards, since a client may come back to another one.
//!
//! What a client has had it says itself when it comes back; here is only what it asked for. So it may come back before
//! anybody has noticed that it was gone, as one does whose network has changed.

use crate::config::Namespace;
use crate::event::Filter;
use crate::pattern::Condition;
use crate::wire::Position;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are gone and remembered at most; the one that is gone for longest is forgotten first.
const MOST_GONE: usize = 20_000;

/// Bytes that may be remembered of them. Ten rooms with short filters are some 5 KiB.
const MOST_GONE_BYTES: usize = 64 << 20;
/// What a client and a room take, beside text.
const ENTRY_BYTES: usize = 200;
/// What a filter takes for each byte of its text.
const FILTER_SHARE: usize = 4;

/// Every client that may come back.
#[derive(Default)]
pub(super) struct Recovery {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    clients: HashMap<Box<str>, Entry>,
    /// Those who are gone, and until when they are remembered, in the order in which they went. One that has come back since
    /// is passed over.
    gone: VecDeque<Gone>,
    /// The sum of what they take.
    gone_bytes: usize,
}

struct Gone {
    until: Instant,
    pid: Box<str>,
    /// The number of the client that it was.
    owner: u64,
    bytes: usize,
}

struct Entry {
    /// The number of the client that has it.
    owner: u64,
    remembered: Remembered,
}

/// A client of a namespace, as it was.
#[derive(Clone)]
pub(super) struct Remembered {
    /// Its id.
    pub(super) sid: Box<str>,
    pub(super) namespace: Namespace,
    pub(super) rooms: Vec<RememberedRoom>,
}

/// A room that it was in.
#[derive(Clone)]
pub(super) struct RememberedRoom {
    pub(super) room: Box<str>,
    /// Shared with the view that it was a member of.
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) every: Option<Duration>,
    pub(super) snapshot: Option<bool>,
    /// Where it began, or where the snapshot led with which it began.
    pub(super) began: Position,
    pub(super) with_snapshot: bool,
}

impl Recovery {
    /// Remembers a client under a secret, in place of whoever had it.
    pub(super) fn begin(&self, pid: &str, owner: u64, remembered: Remembered) {
        self.lock().clients.insert(pid.into(), Entry { owner, remembered });
    }

    /// Notes a room that a client is in from now on, or is in otherwise than before. One that `goes_on` where it was has begun
    /// where it did: of what it was sent since it may not have had all.
    pub(super) fn joined(&self, pid: &str, owner: u64, mut room: RememberedRoom, goes_on: bool) {
        self.change(pid, owner, |rooms| {
            let before = rooms.iter().position(|other| other.room == room.room);
            if let Some(before) = before.map(|index| rooms.remove(index)).filter(|_| goes_on) {
                (room.began, room.with_snapshot) = (before.began, before.with_snapshot);
            }
            rooms.push(room);
        });
    }

    /// Notes that a client is no longer in a room.
    pub(super) fn left(&self, pid: &str, owner: u64, room: &str) {
        self.change(pid, owner, |rooms| rooms.retain(|other| &*other.room != room));
    }

    /// A client has lost its connection, and is remembered for a while.
    pub(super) fn gone(&self, pid: &str, owner: u64, until: Instant, now: Instant) {
        let mut inner = self.lock();
        inner.remember(pid, owner, until);
        inner.forget_some(now);
    }

    /// A client has said that it will not come back, or may not.
    pub(super) fn forget(&self, pid: &str, owner: u64) {
        let mut inner = self.lock();
        if inner.clients.get(pid).is_some_and(|entry| entry.owner == owner) {
            inner.clients.remove(pid);
        }
    }

    /// Gives what is remembered under a secret to the client that knows it now. Whoever had it, and is perhaps still thought to
    /// be connected, has it no longer.
    pub(super) fn take_over(
        &self,
        pid: &str,
        namespace: Namespace,
        owner: u64,
        now: Instant,
    ) -> Option<Remembered> {
        let mut inner = self.lock();
        inner.forget_some(now);
        let entry = inner.clients.get_mut(pid).filter(|entry| entry.remembered.namespace == namespace)?;
        entry.owner = owner;
        Some(entry.remembered.clone())
    }

    /// Everybody who is remembered, one text for each: for the next process, after this one's last client is gone.
    pub(super) fn to_texts(&self) -> Vec<String> {
        let inner = self.lock();
        inner.clients.iter().map(|(pid, entry)| text_of(pid, &entry.remembered)).collect()
    }

    /// Remembers those whom the process before did. A text that cannot be read is passed over: whose it was begins anew.
    pub(super) fn add_texts(&self, texts: &[String], until: Instant) {
        let mut inner = self.lock();
        for (pid, remembered) in texts.iter().filter_map(|text| of_text(text)) {
            inner.clients.insert(pid.clone(), Entry { owner: 0, remembered });
            inner.remember(&pid, 0, until);
        }
        inner.forget_some(Instant::now());
    }

    fn change(&self, pid: &str, owner: u64, change: impl FnOnce(&mut Vec<RememberedRoom>)) {
        if let Some(entry) = self.lock().clients.get_mut(pid).filter(|entry| entry.owner == owner) {
            change(&mut entry.remembered.rooms);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// What it takes, roughly. A filter counts whole, however many share it: it may be left alone with it.
    fn bytes(&self) -> usize {
        let of_filter = |filter: &Arc<Filter>| FILTER_SHARE * filter.source().len();
        let of_room =
            |room: &RememberedRoom| ENTRY_BYTES + room.room.len() + room.filter.as_ref().map_or(0, of_filter);
        ENTRY_BYTES + self.rooms.iter().map(of_room).sum::<usize>()
    }
}

impl Inner {
    /// Notes until when a client is remembered that is gone, if it is the one who has the secret.
    fn remember(&mut self, pid: &str, owner: u64, until: Instant) {
        if let Some(entry) = self.clients.get(pid).filter(|entry| entry.owner == owner) {
            let bytes = entry.remembered.bytes();
            self.gone_bytes += bytes;
            self.gone.push_back(Gone { until, pid: pid.into(), owner, bytes });
        }
    }

    /// Forgets those whose time is over, and the oldest where there are too many.
    fn forget_some(&mut self, now: Instant) {
        while let Some(gone) = self.gone.front()
            && (gone.until <= now || self.gone.len() > MOST_GONE || self.gone_bytes > MOST_GONE_BYTES)
        {
            let Some(Gone { pid, owner, bytes, .. }) = self.gone.pop_front() else { return };
            self.gone_bytes -= bytes;
            if self.clients.get(&pid).is_some_and(|entry| entry.owner == owner) {
                self.clients.remove(&pid);
            }
        }
    }
}

fn text_of(pid: &str, remembered: &Remembered) -> String {
    let room = |room: &RememberedRoom| {
        json!({
            "room": &*room.room,
            "where": room.filter.as_ref().map(|filter| filter.source()),
            "every_ms": room.every.map(|every| every.as_millis() as u64),
            "snapshot": room.snapshot,
            "began": room.began.to_string(),
            "with_snapshot": room.with_snapshot,
        })
    };
    let rooms: Vec<Value> = remembered.rooms.iter().map(room).collect();
    let namespace = remembered.namespace.as_str();
    json!({ "pid": pid, "sid": &*remembered.sid, "namespace": namespace, "rooms": rooms }).to_string()
}

fn of_text(text: &str) -> Option<(Box<str>, Remembered)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let room = |value: &Value| {
        let filter = match value["where"].as_str() {
            Some(source) => Some(Arc::new(Filter::new(Condition::parse(source).ok()?))),
            None => None,
        };
        Some(RememberedRoom {
            room: value["room"].as_str()?.into(),
            filter,
            every: value["every_ms"].as_u64().map(Duration::from_millis),
            snapshot: value["snapshot"].as_bool(),
            began: value["began"].as_str()?.parse().ok()?,
            with_snapshot: value["with_snapshot"].as_bool()?,
        })
    };
    let rooms = value["rooms"].as_array()?.iter().map(room).collect::<Option<Vec<_>>>()?;
    let namespace = Namespace::named(value["namespace"].as_str()?)?;
    Some((value["pid"].as_str()?.into(), Remembered { sid: value["sid"].as_str()?.into(), namespace, rooms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        Remembered { sid: "sid".into(), namespace: Namespace::main(), rooms: Vec::new() }
    }

    fn room(name: &str) -> RememberedRoom {
        let began = Position { epoch: crate::wire::Epoch(1), offset: 0 };
        let (room, with_snapshot) = (name.into(), false);
        RememberedRoom { room, filter: None, every: None, snapshot: None, began, with_snapshot }
    }

    fn rooms(remembered: &Remembered) -> Vec<&str> {
        remembered.rooms.iter().map(|room| &*room.room).collect()
    }

    #[test]
    fn who_comes_back_in_time_has_its_rooms() {
        let (recovery, now) = (Recovery::default(), Instant::now());
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        recovery.begin("p", 1, remembered());
        for name in ["a", "b", "a"] {
            recovery.joined("p", 1, room(name), false);
        }
        recovery.joined("p", 2, room("foreign"), false);
        recovery.left("p", 1, "b");
        recovery.gone("p", 1, later, now);
        assert!(recovery.take_over("q", Namespace::main(), 2, soon).is_none());
        assert!(recovery.take_over("p", Namespace::named("/x").unwrap(), 2, soon).is_none());
        let back = recovery.take_over("p", Namespace::main(), 2, soon).unwrap();
        assert_eq!((&*back.sid, rooms(&back)), ("sid", vec!["a"]));
        // It has come back: its old end no longer counts, nor does what its old connection still says.
        recovery.left("p", 1, "a");
        recovery.forget("p", 1);
        let again = recovery.take_over("p", Namespace::main(), 3, later).unwrap();
        assert_eq!(rooms(&again), ["a"]);
        recovery.gone("p", 3, later, later);
        assert!(recovery.take_over("p", Namespace::main(), 4, later).is_none());
        assert!(recovery.lock().clients.is_empty() && recovery.lock().gone.is_empty());
    }

    #[test]
    fn who_comes_back_before_it_was_missed_has_its_rooms() {
        let (recovery, now) = (Recovery::default(), Instant::now());
        recovery.begin("p", 1, remembered());
        recovery.joined("p", 1, room("a"), false);
        assert_eq!(rooms(&recovery.take_over("p", Namespace::main(), 2, now).unwrap()), ["a"]);
        recovery.gone("p", 1, now, now);
        assert!(recovery.lock().clients.contains_key("p"));
        recovery.forget("p", 2);
        assert!(recovery.lock().clients.is_empty());
    }

    #[test]
    fn the_next_process_remembers_the_same() {
        let (before, after, now) = (Recovery::default(), Recovery::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        before.begin("p", 7, remembered());
        let filter = Some(Arc::new(Filter::new(Condition::parse("value > 1").unwrap())));
        let every = Some(Duration::from_millis(2500));
        let (snapshot, with_snapshot) = (Some(true), true);
        before.joined("p", 7, RememberedRoom { filter, every, snapshot, with_snapshot, ..room("a") }, false);
        before.joined("p", 7, room("b"), false);
        let mut texts = before.to_texts();
        texts.push("{}".to_owned());
        after.add_texts(&texts, later);
        assert_eq!(after.to_texts(), before.to_texts());
        assert_eq!(rooms(&after.take_over("p", Namespace::main(), 1, now).unwrap()), ["a", "b"]);
        after.add_texts(&texts, later);
        assert!(after.take_over("p", Namespace::main(), 1, later).is_none());
    }

    #[test]
    fn a_room_that_goes_on_has_begun_where_it_did() {
        let (recovery, now) = (Recovery::default(), Instant::now());
        recovery.begin("p", 1, remembered());
        let at = |offset| RememberedRoom {
            began: Position { offset, ..room("a").began },
            with_snapshot: offset == 3,
            ..room("a")
        };
        let began = || {
            let rooms = recovery.take_over("p", Namespace::main(), 1, now).unwrap().rooms;
            (rooms[0].began.offset, rooms[0].with_snapshot)
        };
        // There is nothing yet that it could go on from.
        for (offset, goes_on, expected) in
            [(2, true, (2, false)), (3, false, (3, true)), (9, true, (3, true)), (9, false, (9, false))]
        {
            recovery.joined("p", 1, at(offset), goes_on);
            assert_eq!(began(), expected);
        }
    }

    #[test]
    fn no_more_are_remembered_than_may_be() {
        let (recovery, now) = (Recovery::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for number in 0..=MOST_GONE as u64 {
            let pid = number.to_string();
            recovery.begin(&pid, number, remembered());
            recovery.gone(&pid, number, later, now);
        }
        assert_eq!(recovery.lock().clients.len(), MOST_GONE);
        assert!(recovery.take_over("0", Namespace::main(), 1, now).is_none());
    }

    #[test]
    fn what_is_remembered_of_who_is_gone_is_bounded() {
        let (recovery, now) = (Recovery::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        let list = vec!["\"0123456789\""; 256].join(",");
        let filter = Arc::new(Filter::new(Condition::parse(&format!("a in [{list}]")).unwrap()));
        let rooms = vec![RememberedRoom { filter: Some(filter), ..room("a") }; 256];
        for number in 0..40 {
            let pid = number.to_string();
            recovery.begin(&pid, number, Remembered { rooms: rooms.clone(), ..remembered() });
            recovery.gone(&pid, number, later, now);
            assert!(recovery.lock().gone_bytes <= MOST_GONE_BYTES);
        }
        let left = recovery.lock().clients.len();
        assert!((1..40).contains(&left), "{left} are left");
        assert!(recovery.take_over("39", Namespace::main(), 50, now).is_some());
        recovery.lock().forget_some(later);
        assert_eq!(recovery.lock().gone_bytes, 0);
    }
}
