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
    /// For how long those who are gone are remembered: as it is now, whatever it was when they went.
    keep: Duration,
    /// Those who are gone, in the order in which they went. One that has come back since is passed over.
    gone: VecDeque<Gone>,
    /// The sum of what they take.
    gone_bytes: usize,
}

struct Gone {
    since: Instant,
    pid: Box<str>,
    /// The number of the client that it was.
    owner: u64,
    bytes: usize,
}

struct Entry {
    /// The number of the client that has it.
    owner: u64,
    /// Whether it has ever been in a room. One that has not begins anew: there is nothing to go on with, and the `subscribe`
    /// that it may have sent was lost with its connection.
    is_used: bool,
    remembered: Remembered,
}

/// A client of a namespace, as it was.
#[derive(Clone)]
pub(super) struct Remembered {
    /// Its id.
    pub(super) sid: Box<str>,
    pub(super) namespace: Namespace,
    pub(super) rooms: Vec<RememberedRoom>,
    /// What `auto_join` was when it was last put into those rooms: a room that is new there it has not left.
    pub(super) offered: Arc<[String]>,
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
    /// Nobody yet, and for how long who is gone will be remembered (`socketio.recovery`).
    pub(super) fn new(keep: Option<Duration>) -> Recovery {
        let keep = keep.unwrap_or_default();
        Recovery { inner: Mutex::new(Inner { keep, ..Inner::default() }) }
    }

    /// Changes for how long, for those who are gone already as well; none: they are forgotten.
    pub(super) fn keep_for(&self, keep: Option<Duration>, now: Instant) {
        let mut inner = self.lock();
        inner.keep = keep.unwrap_or_default();
        inner.forget_some(now);
    }

    /// Remembers a client under a secret, in place of whoever had it.
    pub(super) fn begin(&self, pid: &str, owner: u64, remembered: Remembered) {
        self.lock().clients.insert(pid.into(), Entry { owner, is_used: false, remembered });
    }

    /// Notes a room that a client is in from now on, or is in otherwise than before. One that `goes_on` where it was has begun
    /// where it did: of what it was sent since it may not have had all.
    pub(super) fn joined(&self, pid: &str, owner: u64, mut room: RememberedRoom, goes_on: bool) {
        self.change(pid, owner, |Entry { is_used, remembered: Remembered { rooms, .. }, .. }| {
            *is_used = true;
            let before = rooms.iter().position(|other| other.room == room.room);
            if let Some(before) = before.map(|index| rooms.remove(index)).filter(|_| goes_on) {
                (room.began, room.with_snapshot) = (before.began, before.with_snapshot);
            }
            rooms.push(room);
        });
    }

    /// Notes that a client is no longer in a room.
    pub(super) fn left(&self, pid: &str, owner: u64, room: &str) {
        self.change(pid, owner, |entry| entry.remembered.rooms.retain(|other| &*other.room != room));
    }

    /// A client has lost its connection, and is remembered for a while.
    pub(super) fn gone(&self, pid: &str, owner: u64, now: Instant) {
        let mut inner = self.lock();
        inner.remember(pid, owner, now);
        inner.forget_some(now);
    }

    /// A client has said that it will not come back, or may not.
    pub(super) fn forget(&self, pid: &str, owner: u64) {
        let mut inner = self.lock();
        if inner.clients.get(pid).is_some_and(|entry| entry.owner == owner) {
            inner.clients.remove(pid);
        }
    }

    /// Gives what is remembered under a secret to the client that knows it now, and notes what it is offered from now on.
    /// Whoever had it, and is perhaps still thought to be connected, has it no longer.
    pub(super) fn take_over(
        &self,
        pid: &str,
        namespace: Namespace,
        (owner, offers): (u64, &Arc<[String]>),
        now: Instant,
    ) -> Option<Remembered> {
        let mut inner = self.lock();
        inner.forget_some(now);
        let is_it = |entry: &&mut Entry| entry.is_used && entry.remembered.namespace == namespace;
        let entry = inner.clients.get_mut(pid).filter(is_it)?;
        entry.owner = owner;
        let remembered = entry.remembered.clone();
        entry.remembered.offered = Arc::clone(offers);
        Some(remembered)
    }

    /// Everybody who is remembered, one text for each: for the next process, after this one's last client is gone.
    pub(super) fn to_texts(&self) -> Vec<String> {
        let inner = self.lock();
        let used = inner.clients.iter().filter(|(_, entry)| entry.is_used);
        used.map(|(pid, entry)| text_of(pid, &entry.remembered)).collect()
    }

    /// Remembers those whom the process before did. A text that cannot be read is passed over: whose it was begins anew.
    pub(super) fn add_texts(&self, texts: &[String], now: Instant) {
        let mut inner = self.lock();
        for (pid, remembered) in texts.iter().filter_map(|text| of_text(text)) {
            inner.clients.insert(pid.clone(), Entry { owner: 0, is_used: true, remembered });
            inner.remember(&pid, 0, now);
        }
        inner.forget_some(now);
    }

    fn change(&self, pid: &str, owner: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().clients.get_mut(pid).filter(|entry| entry.owner == owner) {
            change(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// What it takes, roughly. A filter counts whole, however many share it: it may be left alone with it. So do the names of
    /// `auto_join`.
    fn bytes(&self) -> usize {
        let of_filter = |filter: &Arc<Filter>| FILTER_SHARE * filter.source().len();
        let of_room =
            |room: &RememberedRoom| ENTRY_BYTES + room.room.len() + room.filter.as_ref().map_or(0, of_filter);
        let offered = self.offered.iter().map(|name| size_of::<String>() + name.len());
        ENTRY_BYTES + self.rooms.iter().map(of_room).sum::<usize>() + offered.sum::<usize>()
    }
}

impl Inner {
    /// Notes since when a client is gone, if it is the one who has the secret.
    fn remember(&mut self, pid: &str, owner: u64, since: Instant) {
        if let Some(entry) = self.clients.get(pid).filter(|entry| entry.owner == owner) {
            let bytes = entry.remembered.bytes();
            self.gone_bytes += bytes;
            self.gone.push_back(Gone { since, pid: pid.into(), owner, bytes });
        }
    }

    /// Forgets those whose time is over, and the oldest where there are too many.
    fn forget_some(&mut self, now: Instant) {
        while let Some(gone) = self.gone.front()
            && (gone.since + self.keep <= now
                || self.gone.len() > MOST_GONE
                || self.gone_bytes > MOST_GONE_BYTES)
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
    json!({
        "pid": pid,
        "sid": &*remembered.sid,
        "namespace": remembered.namespace.as_str(),
        "rooms": rooms,
        "offered": &*remembered.offered,
    })
    .to_string()
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
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let offered = value["offered"].as_array()?.iter().map(name).collect::<Option<Vec<_>>>()?.into();
    let namespace = Namespace::named(value["namespace"].as_str()?)?;
    let sid = value["sid"].as_str()?.into();
    Some((value["pid"].as_str()?.into(), Remembered { sid, namespace, rooms, offered }))
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
