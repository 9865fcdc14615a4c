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

    /// The same for what the daemon publishes itself.
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
