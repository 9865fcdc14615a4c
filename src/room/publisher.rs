//! The way from ingest to rooms: one read's events, gathered by room and published at once.
//!
//! [`Publisher::stage`] and [`Publisher::commit`] are the third of the five functions a line passes on its way to a
//! socket. Once their vectors have grown, they allocate only for what waits in a buffer, and for a key that is new.

use super::generation::Generation;
use super::room::{Closed, Room};
use super::rooms::Rooms;
use super::seats::Tokens;
use super::staged::Staged;
use crate::config::RoomConfig;
use crate::event::Event;
use crate::route::{Destination, Routes, Scratch};
use crate::time::log_ms;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// An ingest thread's way to the rooms. Not shared between threads.
pub struct Publisher {
    rooms: Arc<Rooms>,
    /// Held from the beginning of a read to its commit, and not beyond: who waits for the end of a generation's reads waits
    /// until nobody holds it.
    generation: Option<Arc<Generation>>,
    /// Rooms that the read has reached so far, and what goes there. Those after `used` are spare, for their vectors.
    slots: Vec<Slot>,
    used: usize,
    /// Static rooms' slots by their index in the configuration; `NONE` when the read has not reached them.
    statics: Vec<u32>,
    /// Template rooms' slots by name.
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
    tokens: Tokens,
}

struct Slot {
    room: Option<Arc<Room>>,
    /// The room's place in the configuration.
    index: usize,
    staged: Staged,
}

const NONE: u32 = u32::MAX;

impl Publisher {
    /// A publisher to these rooms.
    pub fn new(rooms: Arc<Rooms>) -> Publisher {
        Publisher {
            generation: None,
            rooms,
            slots: Vec::new(),
            used: 0,
            statics: Vec::new(),
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            tokens: Vec::new(),
        }
    }

    /// Takes the generation in force for one read of a listener, by its place in `ingest.listen`, and returns its
    /// routes. Call [`stage`](Self::stage) for each event, then [`commit`](Self::commit).
    pub fn begin(&mut self, listener: usize) -> Arc<Routes> {
        self.begin_with(|generation| &generation.routes[listener])
    }

    /// The same for what the daemon publishes itself. Call [`commit_own`](Self::commit_own) then.
    pub fn begin_own(&mut self) -> Arc<Routes> {
        self.begin_with(|generation| &generation.own_routes)
    }

    fn begin_with(&mut self, routes: impl FnOnce(&Generation) -> &Arc<Routes>) -> Arc<Routes> {
        let generation = self.rooms.generation();
        self.statics.clear();
        self.statics.resize(generation.rooms.len(), NONE);
        let routes = Arc::clone(routes(&generation));
        self.generation = Some(generation);
        routes
    }

    /// The next daemon-wide event number.
    pub fn number(&self) -> u64 {
        self.rooms.number()
    }

    /// Puts an event of the current read aside for each of its rooms. False when `limits.rooms` keeps it out of all of
    /// them: the event is refused with `too_many_rooms`.
    pub fn stage(&mut self, event: &Event, scratch: &Scratch) -> bool {
        let mut taken = false;
        for destination in &scratch.destinations {
            let Some(slot) = self.slot(destination, &scratch.text) else {
                self.rooms.metrics.room_refused.increment(1);
                continue;
            };
            let text = |range: &Range<usize>| &scratch.text[range.clone()];
            let (group, key) = (text(&destination.group), text(&destination.key));
            self.slots[slot].staged.push(event.clone(), group, key, destination.urgent);
            taken = true;
        }
        taken
    }

    /// Rooms that the read has reached so far, each with its subscriptions.
    pub fn reached(&self) -> Vec<(String, u32)> {
        let rooms = self.slots[..self.used].iter().filter_map(|slot| slot.room.as_ref());
        rooms.map(|room| (room.name().to_owned(), room.subscribers())).collect()
    }

    /// Publishes what was staged, room by room, and wakes the shards that have subscriptions there.
    pub fn commit(&mut self) {
        let Some(generation) = self.generation.take() else { return };
        let now = Instant::now();
        let now_ms = log_ms(now);
        let mut events = 0;
        for slot in 0..self.used {
            events += self.slots[slot].staged.len() as u64;
            self.publish(&generation, slot, now, now_ms);
            self.slots[slot].room = None;
        }
        drop(generation);
        self.used = 0;
        self.by_name.clear();
        self.rooms.metrics.room_events.increment(events);
        self.rooms.relieve(now_ms);
        self.rooms.ring(&mut self.tokens);
    }

    /// The same for what the daemon publishes itself: rooms count it apart.
    pub fn commit_own(&mut self) {
        let reached = self.slots[..self.used].iter();
        let own: Vec<_> = reached.map(|slot| (slot.room.clone(), slot.staged.len() as u64)).collect();
        self.commit();
        for (room, events) in own {
            room.expect("a slot in use has a room").count_own(events);
        }
    }

    /// Whether the backlog is at its bound: `when_full` decides what the listener does before its next read.
    pub fn is_full(&self) -> bool {
        self.rooms.totals.is_full()
    }

    fn publish(&mut self, generation: &Generation, slot: usize, now: Instant, now_ms: u64) {
        let Slot { room, index, staged } = &mut self.slots[slot];
        loop {
            let target = room.as_ref().expect("a slot in use has a room");
            let result =
                target.publish(staged, generation, (now, now_ms), &self.rooms.totals, &mut self.tokens);
            match result {
                Ok(published) => {
                    self.rooms.metrics.room_replaced.increment(published.replaced);
                    if let Some(at) = published.flush_at {
                        self.rooms.clock.flush_at(at, Arc::clone(target));
                    }
                    return;
                }
                // The room was given up since it was looked up: it is made anew.
                Err(Closed) => {
                    let Some(reopened) = self.rooms.open(target.name(), generation.rooms.get(*index)) else {
                        self.rooms.metrics.room_refused.increment(staged.len() as u64);
                        staged.clear();
                        return;
                    };
                    *room = Some(reopened);
                }
            }
        }
    }

    fn slot(&mut self, destination: &Destination, text: &str) -> Option<usize> {
        if destination.name.is_empty() {
            let slot = self.statics[destination.room];
            if slot != NONE {
                return Some(slot as usize);
            }
            let config = self.config(destination);
            let room = self.rooms.open(config.name.source(), Some(config))?;
            let slot = self.use_slot(room, destination.room);
            self.statics[destination.room] = slot as u32;
            return Some(slot);
        }
        let name = &text[destination.name.clone()];
        let hash = self.hasher.hash_one(name);
        let slots = &self.slots;
        let named = |slot: u32| slots[slot as usize].room.as_ref().map_or("", |room| room.name());
        if let Some(slot) = self.by_name.find(hash, |slot| named(*slot) == name) {
            return Some(*slot as usize);
        }
        let room = self.rooms.open(name, Some(self.config(destination)))?;
        let slot = self.use_slot(room, destination.room);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_name.insert_unique(hash, slot as u32, |slot| {
            hasher.hash_one(slots[*slot as usize].room.as_ref().map_or("", |room| room.name()))
        });
        Some(slot)
    }

    /// The room, or template, of the read's generation that a destination is made by.
    fn config(&self, destination: &Destination) -> &Arc<RoomConfig> {
        &self.generation.as_ref().expect("a read has begun").rooms[destination.room]
    }

    fn use_slot(&mut self, room: Arc<Room>, index: usize) -> usize {
        if self.used == self.slots.len() {
            self.slots.push(Slot { room: None, index, staged: Staged::default() });
        }
        let slot = &mut self.slots[self.used];
        slot.room = Some(room);
        slot.index = index;
        self.used += 1;
        self.used - 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{generation_within, held, room, rooms, rooms_within, stage, try_stage};
    use super::*;
    use crate::config::BufferConfig;
    use crate::pattern::Path;
    use std::time::Duration;

    #[test]
    fn a_read_goes_to_every_room_that_takes_it_in_order() {
        let rooms = rooms(vec![room("all", |_| {}), room("a:{a}", |_| {}), room("b:{b}", |_| {})]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        for _ in 0..2 {
            stage(
                &mut publisher,
                &[
                    r#"{"type":"t","a":"1","n":0}"#,
                    r#"{"type":"t","a":"2","b":"1","n":1}"#,
                    r#"{"type":"t","a":"1","b":"1","n":2}"#,
                ],
            );
            let (one, _, _) = rooms.register("a:1", 0, 0).unwrap();
            one.joined();
            let mut reached = publisher.reached();
            reached.sort_unstable();
            let subscribed = one.subscribers();
            let expected = [("a:1", subscribed), ("a:2", 0), ("all", 0), ("b:1", 0)];
            assert_eq!(reached, expected.map(|(name, count)| (name.to_owned(), count)));
            publisher.commit();
            assert_eq!(publisher.reached(), []);
        }
        let counts = ["all", "a:1", "a:2", "b:1"].map(|name| held(&rooms.get(name).unwrap()));
        assert_eq!(counts, [6, 4, 2, 4]);
        assert_eq!(publisher.number(), 7, "events are numbered from 1");
        let metrics = rooms.metrics().render();
        assert!(metrics.contains("broadcastd_room_events_total 16\n"), "once per room");
    }

    #[test]
    fn a_room_beyond_the_limit_takes_no_event_and_is_counted() {
        let rooms = rooms_within(2, vec![room("all", |_| {}), room("a:{a}", |_| {})]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[r#"{"type":"t","a":"1"}"#, r#"{"type":"t","a":"2"}"#]);
        publisher.commit();
        let rooms_now = || (rooms.totals().rooms(), rooms.interests());
        assert_eq!((rooms_now(), held(&rooms.get("all").unwrap())), ((2, 0), 2));
        assert!(rooms.get("a:1").is_some() && rooms.get("a:2").is_none());
        assert!(rooms.metrics().render().contains("broadcastd_room_refused_total 1\n"));
        // Where no other room takes it, the event is refused.
        rooms.reconfigure(generation_within(2, vec![room("a:{a}", |_| {}), room("b:{b}", |_| {})]));
        assert!(try_stage(&mut publisher, r#"{"type":"t","b":"1"}"#), "a room has gone");
        publisher.commit();
        assert!(!try_stage(&mut publisher, r#"{"type":"t","b":"2"}"#));
        publisher.commit();
        assert_eq!(rooms_now(), (2, 0));
        assert!(rooms.register("b:2", 0, 0).is_some());
        assert_eq!(rooms_now(), (2, 1), "a subscription needs no place");
    }

    #[test]
    fn events_replaced_in_a_buffer_are_counted() {
        let keyed = room("all", |room| {
            room.key = vec![Path::top("a")];
            room.buffer = Some(BufferConfig {
                events: None,
                flush_interval: Duration::from_secs(600),
                group_by: None,
                keep_newest: true,
            });
        });
        let rooms = rooms(vec![keyed]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        let event = r#"{"type":"t","a":"1"}"#;
        stage(&mut publisher, &[event, event, r#"{"type":"t","a":"2"}"#, event]);
        publisher.commit();
        let figures = rooms.get("all").unwrap().figures();
        assert_eq!((figures.head, figures.buffered), (0, 2));
        assert!(rooms.metrics().render().contains("broadcastd_room_replaced_total 2\n"));
        rooms.flush_all();
        let figures = rooms.get("all").unwrap().figures();
        assert_eq!((figures.head, figures.buffered, figures.batches, figures.keys), (2, 0, 1, 2));
    }

    #[test]
    fn the_backlog_is_full_once_readers_are_far_behind() {
        let rooms = rooms(vec![room("all", |room| room.history.events = 0)]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        rooms.totals().set_backlog_limit(1);
        let (all, _, _) = rooms.register("all", 0, 0).unwrap();
        assert!(!publisher.is_full());
        stage(&mut publisher, &[r#"{"type":"t"}"#]);
        publisher.commit();
        assert!(publisher.is_full());
        all.pass(0, 1, rooms.totals());
        assert!(!publisher.is_full());
    }
}
