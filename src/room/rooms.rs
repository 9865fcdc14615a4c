//! The registry of rooms: by name, made on demand, reclaimed, bounded.

use super::bell::Bell;
use super::clock::Clock;
use super::epochs::Epochs;
use super::generation::Generation;
use super::remembered::Remembered;
use super::room::{Closed, Room, Tail};
use super::seats::Tokens;
use super::totals::Totals;
use crate::config::{Config, RoomConfig};
use crate::metrics::Metrics;
use crate::wire::Epoch;
use arc_swap::ArcSwap;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of the registry, each with a lock of its own.
const TABLES: usize = 32;

/// All rooms of the daemon. Shared by ingest threads, shards and the clock.
pub struct Rooms {
    tables: [Mutex<HashTable<Arc<Room>>>; TABLES],
    hasher: DefaultHashBuilder,
    generation: ArcSwap<Generation>,
    /// Rooms that were given up.
    pub(super) remembered: Mutex<Remembered>,
    /// Names that were subscribed to and never published to. Clients that come back were told their epochs.
    pub(super) unpublished: Mutex<Remembered>,
    /// One for each shard, by its index.
    bells: Vec<Arc<Bell>>,
    pub(super) totals: Totals,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    /// Names in the registry: rooms that hold events, and interests.
    names: AtomicUsize,
    /// The number of the newest event.
    pub(super) seq: AtomicU64,
    pub(super) epochs: Epochs,
}

impl Rooms {
    /// The rooms of a configuration: its static rooms, open from the start. `bells` has one bell for each shard. Fails if
    /// the system's random generator fails, which epochs come from.
    pub fn new(config: &Arc<Config>, bells: Vec<Arc<Bell>>, metrics: Arc<Metrics>) -> io::Result<Arc<Rooms>> {
        let rooms = Rooms::with_none(config, bells, metrics)?;
        rooms.open_statics();
        Ok(rooms)
    }

    /// The same before the first room is opened.
    pub(super) fn with_none(
        config: &Arc<Config>,
        bells: Vec<Arc<Bell>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Arc<Rooms>> {
        let rooms = Arc::new(Rooms {
            tables: std::array::from_fn(|_| Mutex::new(HashTable::new())),
            hasher: DefaultHashBuilder::default(),
            generation: ArcSwap::from_pointee(Generation::new(Arc::clone(config), &config.ingest.listen)),
            remembered: Mutex::default(),
            unpublished: Mutex::default(),
            bells,
            totals: Totals::default(),
            metrics,
            clock: Clock::default(),
            names: AtomicUsize::new(0),
            seq: AtomicU64::new(0),
            epochs: Epochs::new()?,
        });
        rooms.totals.set_backlog_limit(config.ingest.backlog);
        Ok(rooms)
    }

    /// Opens the static rooms of the generation in force.
    pub(super) fn open_statics(&self) {
        let generation = self.generation();
        for room in generation.rooms.iter().filter(|room| room.name.is_static()) {
            // The check of a configuration makes sure that its static rooms fit `limits.rooms`; after a reload templates'
            // rooms may have taken the places, and then a static one opens as soon as there is one.
            let _ = self.open(room.name.source(), Some(room));
        }
    }

    /// Puts a generation in force for every read, subscription and sweep that begins from now on. Returns the one before.
    pub(super) fn set_generation(&self, mut generation: Generation) -> Arc<Generation> {
        generation.serial = self.generation.load().serial + 1;
        self.generation.swap(Arc::new(generation))
    }

    /// The configuration in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// The daemon's figures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// True if an epoch is one that this process gave out or carries on. Positions of others are of logs that no longer
    /// exist, as after a crash.
    pub fn knows(&self, epoch: Epoch) -> bool {
        self.epochs.knows(epoch)
    }

    /// Bytes over all rooms.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Names that are subscribed to and were never published to.
    pub fn interests(&self) -> usize {
        self.names.load(Ordering::Relaxed).saturating_sub(self.totals.rooms())
    }

    /// The room of a name, to publish to. `made_by` is the template that made the name. None when `limits.rooms` is
    /// reached.
    pub(super) fn open(&self, name: &str, made_by: Option<&Arc<RoomConfig>>) -> Option<Arc<Room>> {
        loop {
            let room = self.get_or_make(name, made_by)?;
            let (rooms, keys) = {
                let limits = &self.generation.load().limits;
                (limits.rooms, limits.keys)
            };
            let claim = || {
                let claimed = self.totals.rooms.fetch_add(1, Ordering::Relaxed) < rooms;
                if !claimed {
                    self.totals.rooms.fetch_sub(1, Ordering::Relaxed);
                }
                claimed
            };
            if room.holds_events() {
                return Some(room);
            }
            match room.open(keys, claim) {
                Ok(true) => return Some(room),
                Ok(false) => {
                    self.drop_if_unused(&room);
                    return None;
                }
                Err(Closed) => {}
            }
        }
    }

    /// Opens a room that there is not, in an epoch that it had. Whether `limits.rooms` allows it is the caller's to know. None
    /// when the configuration has no such room.
    pub(super) fn open_in(&self, epoch: Epoch, name: &str) -> Option<Arc<Room>> {
        let generation = self.generation.load();
        let policy = generation.policy_of(generation.policy(name)?);
        let room = Arc::new(Room::new(name, policy, epoch, 0));
        room.open(generation.limits.keys, || true).expect("a room that nobody has is not closed");
        let hash = self.hasher.hash_one(name);
        let again = |room: &Arc<Room>| self.hasher.hash_one(room.name());
        self.table(part_of(hash)).insert_unique(hash, Arc::clone(&room), again);
        self.names.fetch_add(1, Ordering::Relaxed);
        self.totals.rooms.fetch_add(1, Ordering::Relaxed);
        Some(room)
    }

    /// The room of a name, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<Room>> {
        let hash = self.hasher.hash_one(name);
        self.table(part_of(hash)).find(hash, |room| room.name() == name).cloned()
    }

    /// Registers a shard with the room of a name, and returns the room, what the shard calls it (`token`, unless it is
    /// registered already), and its tail. A name that was never published to becomes an interest. None when the
    /// configuration has no such room.
    pub fn register(&self, name: &str, shard: u16, token: u32) -> Option<(Arc<Room>, u32, Tail)> {
        loop {
            let room = self.get_or_make(name, None)?;
            if let Ok((token, tail)) = room.register(shard, token) {
                return Some((room, token, tail));
            }
        }
    }

    /// Takes a shard's registration back; an interest that nobody reads any more is gone.
    pub fn unregister(&self, room: &Arc<Room>, shard: u16) {
        if room.unregister(shard, &self.totals) && !room.holds_events() {
            self.drop_if_unused(room);
        }
    }

    /// The next event's daemon-wide number.
    pub(super) fn number(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells shards of grown rooms. Empties `tokens`.
    pub(super) fn ring(&self, tokens: &mut Tokens) {
        if tokens.is_empty() {
            return;
        }
        tokens.sort_unstable();
        let mut shard_tokens = Vec::with_capacity(tokens.len());
        for of_one_shard in tokens.chunk_by(|a, b| a.0 == b.0) {
            shard_tokens.clear();
            shard_tokens.extend(of_one_shard.iter().map(|(_, token)| *token));
            self.bells[of_one_shard[0].0 as usize].ring(&shard_tokens);
        }
        tokens.clear();
    }

    /// Lets expired history go and reclaims rooms that nobody needs, in one part of the registry: call it with 0 to
    /// [`PARTS`](Self::PARTS) in turn.
    pub(super) fn sweep(&self, part: usize, now_ms: u64) {
        let generation = self.generation.load();
        let mut table = self.table(part);
        table.retain(|room| {
            if !room.is_due(now_ms) {
                return true;
            }
            // Who holds it beside this table reads there, or is about to publish. Nobody can get hold of it while the table is
            // locked. The name is looked up last: of many rooms with readers that would be most of what a sweep costs.
            let reclaim = Arc::strong_count(room) == 1 && !generation.is_static(room.name());
            let Some((epoch, head)) = room.sweep(now_ms, reclaim, &self.totals) else { return true };
            self.forget(room, epoch, head);
            false
        });
    }

    /// Into how many parts the registry is divided.
    pub const PARTS: usize = TABLES;

    /// Brings history back under `limits.history_memory`, if it is over it: the rooms furthest over their share give
    /// way first. Some room is made, so that this is rarely needed.
    pub(super) fn relieve(&self, now_ms: u64) {
        let limit = self.generation.load().limits.history_memory;
        if self.totals.history_bytes() <= limit {
            return;
        }
        let all = (0..TABLES).flat_map(|part| self.of_part(part));
        let mut held: Vec<(u64, Arc<Room>)> = all.map(|room| (room.history_bytes(), room)).collect();
        let level = share(held.iter().map(|(bytes, _)| *bytes).collect(), limit - limit / 16);
        held.retain(|(bytes, _)| *bytes > level);
        for (_, room) in held {
            room.shrink(level, now_ms, &self.totals);
        }
    }

    /// Every room in the registry. Takes the locks of its parts one after the other; not for a shard's thread.
    pub fn all(&self) -> Vec<Arc<Room>> {
        (0..TABLES).flat_map(|part| self.of_part(part)).collect()
    }

    /// Every room of one part, 0 to [`PARTS`](Self::PARTS): for who gives others a turn between two of them.
    pub fn of_part(&self, part: usize) -> Vec<Arc<Room>> {
        self.table(part).iter().cloned().collect()
    }

    fn get_or_make(&self, name: &str, made_by: Option<&Arc<RoomConfig>>) -> Option<Arc<Room>> {
        let hash = self.hasher.hash_one(name);
        let mut table = self.table(part_of(hash));
        if let Some(room) = table.find(hash, |room| room.name() == name) {
            return Some(Arc::clone(room));
        }
        let generation = self.generation.load();
        let policy = generation.policy(name).or(made_by)?;
        let recall =
            |memory: &Mutex<Remembered>| memory.lock().unwrap_or_else(PoisonError::into_inner).take(name);
        let (epoch, head) = recall(&self.remembered)
            .or_else(|| recall(&self.unpublished))
            .unwrap_or_else(|| (self.epochs.next(), 0));
        let room = Arc::new(Room::new(name, generation.policy_of(policy), epoch, head));
        table.insert_unique(hash, Arc::clone(&room), |room| self.hasher.hash_one(room.name()));
        self.names.fetch_add(1, Ordering::Relaxed);
        Some(room)
    }

    /// Takes a room whose name the configuration no longer has out of the registry. Its readers keep it until they have
    /// had what is in it.
    pub(super) fn remove(&self, room: &Arc<Room>, now_ms: u64, tokens: &mut Tokens) {
        let hash = self.hasher.hash_one(room.name());
        let mut table = self.table(part_of(hash));
        if let Ok(entry) = table.find_entry(hash, |other| Arc::ptr_eq(other, room)) {
            entry.remove();
            self.names.fetch_sub(1, Ordering::Relaxed);
            if room.holds_events() {
                self.totals.rooms.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // Under the table's lock nobody can find the room while it closes.
        room.close(now_ms, &self.totals, tokens);
    }

    fn drop_if_unused(&self, room: &Arc<Room>) {
        let hash = self.hasher.hash_one(room.name());
        let mut table = self.table(part_of(hash));
        // Under the table's lock nobody can find the room while it closes.
        let Some((epoch, head)) = room.sweep(0, !room.holds_events(), &self.totals) else { return };
        if let Ok(entry) = table.find_entry(hash, |other| Arc::ptr_eq(other, room)) {
            entry.remove();
        }
        self.forget(room, epoch, head);
    }

    /// Counts a room out, and remembers it.
    fn forget(&self, room: &Room, epoch: Epoch, head: u64) {
        self.names.fetch_sub(1, Ordering::Relaxed);
        if room.holds_events() {
            self.totals.rooms.fetch_sub(1, Ordering::Relaxed);
        }
        self.remember(room.name(), epoch, head);
    }

    /// Remembers a room's epoch and head. Names without events are remembered apart, so that however many clients name, rooms
    /// that had some are not forgotten for them.
    pub(super) fn remember(&self, name: &str, epoch: Epoch, head: u64) {
        let limits = &self.generation.load().limits;
        let (memory, most) = match head {
            0 => (&self.unpublished, limits.rooms.max(limits.clients)),
            _ => (&self.remembered, limits.rooms),
        };
        memory.lock().unwrap_or_else(PoisonError::into_inner).insert(name, epoch, head, most);
    }

    fn table(&self, part: usize) -> MutexGuard<'_, HashTable<Arc<Room>>> {
        self.tables[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table's own hash uses the low bits and the top seven, so that the part is taken from the middle.
fn part_of(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}

/// The level at which rooms' bytes must be cut off for their sum to be at most `total`.
fn share(mut bytes: Vec<u64>, total: u64) -> u64 {
    bytes.sort_unstable();
    let mut left = total;
    for (index, room) in bytes.iter().enumerate() {
        let level = left / (bytes.len() - index) as u64;
        if *room > level {
            return level;
        }
        left -= room;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{EVENT, generation, room, rooms, rooms_within, stage};
    use super::super::{Publisher, ReadLimit};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_shard_is_told_of_its_own_rooms_once_until_it_reads() {
        let bells = [(); 2].map(|()| Arc::new(Bell::new(|| {})));
        let config = Arc::clone(&generation(vec![room("a:{a}", |_| {})]).config);
        let rooms = Rooms::new(&config, bells.to_vec(), Arc::new(Metrics::new())).unwrap();
        for (name, shard, token) in [("a:1", 1, 11), ("a:1", 0, 7), ("a:2", 1, 12), ("a:3", 0, 9)] {
            rooms.register(name, shard, token).unwrap();
        }
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        let publish = |publisher: &mut Publisher, names: [&str; 2]| {
            stage(
                publisher,
                &names.map(|name| format!(r#"{{"type":"t","a":"{name}"}}"#)).each_ref().map(String::as_str),
            );
            publisher.commit();
            bells.each_ref().map(|bell| {
                let mut tokens = Vec::new();
                bell.take(&mut tokens);
                tokens.into_iter().collect::<BTreeSet<u32>>()
            })
        };
        assert_eq!(publish(&mut publisher, ["1", "2"]), [BTreeSet::from([7]), BTreeSet::from([11, 12])]);
        assert_eq!(publish(&mut publisher, ["1", "3"]), [BTreeSet::from([9]), BTreeSet::new()]);
        let room = rooms.get("a:1").unwrap();
        let limit = ReadLimit { events: 9, bytes: 1 << 20, overhead: 0, at_least_one: true };
        assert_eq!(room.take(1, 1, limit, &mut Vec::new(), &mut 0), (2, 0, 2));
        assert_eq!(publish(&mut publisher, ["1", "1"]), [BTreeSet::new(), BTreeSet::from([11])]);
    }

    #[test]
    fn a_shard_that_comes_again_keeps_its_name_for_the_room() {
        let rooms = rooms(vec![room("all", |_| {})]);
        let (_, token, tail) = rooms.register("all", 0, 4).unwrap();
        assert_eq!((token, tail.head, tail.first), (4, 0, 1));
        assert_eq!(rooms.register("all", 0, 5).map(|(_, token, _)| token), Some(4));
        assert_eq!(rooms.register("all", 1, 5).map(|(_, token, _)| token), Some(5));
        assert!(rooms.register("other", 0, 6).is_none());
    }

    #[test]
    fn an_interest_goes_with_its_last_reader_and_keeps_its_epoch() {
        let rooms = rooms(vec![room("a:{a}", |_| {})]);
        let (room, _, tail) = rooms.register("a:1", 0, 0).unwrap();
        rooms.register("a:1", 1, 0).unwrap();
        rooms.register("a:2", 1, 1).unwrap();
        assert_eq!((rooms.interests(), rooms.totals().rooms(), rooms.all().len()), (2, 0, 2));
        rooms.unregister(&room, 0);
        assert!(rooms.get("a:1").is_some(), "shard 1 reads it");
        rooms.unregister(&room, 1);
        assert!(rooms.get("a:1").is_none());
        assert_eq!((rooms.interests(), rooms.totals().rooms(), rooms.all().len()), (1, 0, 1));
        assert!(rooms.knows(tail.epoch));
        let (_, _, again) = rooms.register("a:1", 0, 0).unwrap();
        assert_eq!(again, tail);
    }

    #[test]
    fn a_room_with_events_stays_when_its_readers_go() {
        let rooms = rooms(vec![room("a:{a}", |_| {})]);
        let (room, _, _) = rooms.register("a:1", 0, 0).unwrap();
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[EVENT]);
        publisher.commit();
        assert_eq!((rooms.interests(), rooms.totals().rooms()), (0, 1));
        rooms.unregister(&room, 0);
        assert!(rooms.get("a:1").is_some());
        assert_eq!((rooms.interests(), rooms.totals().rooms()), (0, 1));
    }

    #[test]
    fn names_that_are_only_subscribed_to_do_not_push_rooms_out_of_memory() {
        let rooms = rooms_within(2, vec![room("a:{a}", |_| {})]);
        let limits = rooms.generation().limits.clone();
        rooms.remember("a:1", Epoch(1), 5);
        rooms.remember("a:2", Epoch(2), 5);
        for n in 0..limits.clients as u64 + 9 {
            rooms.remember(&format!("b:{n}"), Epoch(n), 0);
        }
        let of = |memory: &Mutex<Remembered>| memory.lock().unwrap().iter().count();
        assert_eq!((of(&rooms.remembered), of(&rooms.unpublished)), (2, limits.clients));
        rooms.remember("a:3", Epoch(3), 5);
        let kept: Vec<String> =
            rooms.remembered.lock().unwrap().iter().map(|(name, ..)| name.to_owned()).collect();
        assert_eq!(kept, ["a:2", "a:3"]);
    }

    #[test]
    fn the_largest_rooms_give_way_when_history_takes_too_much_memory() {
        let rooms = rooms(vec![room("a:{a}", |_| {})]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        let line = |a: u64| format!(r#"{{"type":"t","a":"{a}"}}"#);
        let publish = |publisher: &mut Publisher, a: u64, times: usize| {
            stage(publisher, &vec![line(a).as_str(); times]);
            publisher.commit();
        };
        publish(&mut publisher, 1, 2);
        publish(&mut publisher, 2, 60);
        publish(&mut publisher, 3, 40);
        let bytes = |a: u64| rooms.get(&format!("a:{a}")).unwrap().history_bytes();
        let before = [bytes(1), bytes(2), bytes(3)];
        assert_eq!(rooms.totals().history_bytes(), before.iter().sum::<u64>());
        let limit = before[0] * 32;
        let mut config = (*rooms.generation().config).clone();
        config.limits.history_memory = limit;
        rooms.reconfigure(Generation::new(Arc::new(config.clone()), &config.ingest.listen));
        let after = [bytes(1), bytes(2), bytes(3)];
        let left: u64 = after.iter().sum();
        assert_eq!((after[0], rooms.totals().history_bytes()), (before[0], left));
        assert!(left <= limit - limit / 16 && left > limit * 7 / 8, "{left} of {limit}");
        assert!(after[1].abs_diff(after[2]) < before[0] && after[2] < before[2], "{after:?}");
        // What is within the limit stays.
        publish(&mut publisher, 1, 1);
        assert_eq!([bytes(2), bytes(3)], after[1..]);
    }

    #[test]
    fn a_share_cuts_the_largest_first() {
        for (bytes, total, level) in [
            (vec![10, 10, 10], 30, u64::MAX),
            (vec![10, 10, 100], 60, 40),
            (vec![50, 50, 2], 22, 10),
            (vec![7], 0, 0),
            (vec![], 0, u64::MAX),
        ] {
            assert_eq!(share(bytes.clone(), total), level, "{bytes:?} in {total}");
        }
    }
}
