//! Rooms follow another configuration while events flow.

use super::generation::Generation;
use super::rooms::Rooms;
use crate::time::log_ms;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long reads that began under the old configuration are waited for. One takes a millisecond or two.
const READS: Duration = Duration::from_secs(5);

impl Rooms {
    /// Puts a generation in force, in this order, so that nothing is lost on the way:
    ///
    /// 1. Every read that begins from now on is routed by it.
    /// 2. Reads that are under way are published as the old one routed them.
    /// 3. Rooms that it no longer has are closed; their readers get what is in them and are told that they are gone. Rooms
    ///    that it has otherwise follow at once: history is trimmed, a buffer that changed is flushed.
    /// 4. Its static rooms are opened.
    ///
    /// Blocks for some milliseconds; not for a shard's or an ingest thread.
    pub fn reconfigure(&self, generation: Generation) {
        let backlog = generation.config.ingest.backlog;
        let old = self.set_generation(generation);
        self.totals().set_backlog_limit(backlog);
        let until = Instant::now() + READS;
        // A publisher holds the generation of its read until that is committed. Others hold it for moments.
        while Arc::strong_count(&old) > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        let generation = self.generation();
        let mut tokens = Vec::new();
        for room in self.all() {
            match generation.policy(room.name()) {
                None => self.remove(&room, log_ms(Instant::now()), &mut tokens),
                Some(config) => {
                    let policy = generation.policy_of(config);
                    room.reconfigure(policy, log_ms(Instant::now()), self.totals(), &mut tokens);
                }
            }
        }
        self.ring(&mut tokens);
        self.open_statics();
        self.relieve(log_ms(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{EVENT, generation, held, room, rooms, stage};
    use super::*;
    use crate::config::{BufferConfig, RoomConfig};
    use crate::pattern::{Condition, Path};
    use crate::room::Publisher;

    #[test]
    fn history_is_trimmed_and_a_changed_buffer_flushed_at_once() {
        let buffer = |flush_s| {
            let flush_interval = Duration::from_secs(flush_s);
            Some(BufferConfig { events: None, flush_interval, group_by: None, keep_newest: false })
        };
        let rooms = rooms(vec![room("long", |_| {}), room("waits", |room| room.buffer = buffer(600))]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[EVENT; 10]);
        publisher.commit();
        let (long, _, _) = rooms.register("long", 0, 0).unwrap();
        let (waits, _, _) = rooms.register("waits", 0, 1).unwrap();
        assert_eq!((held(&long), held(&waits)), (10, 0));
        rooms.reconfigure(generation(vec![
            room("long", |room| room.history.events = 3),
            room("waits", |room| room.buffer = buffer(601)),
        ]));
        assert_eq!((long.history_first(), held(&waits)), (8, 10));
        assert_eq!(waits.policy().buffer, buffer(601));
    }

    #[test]
    fn a_reload_flushes_a_buffer_only_if_the_room_waits_otherwise_now() {
        let buffer = || {
            let flush_interval = Duration::from_secs(600);
            Some(BufferConfig { events: None, flush_interval, group_by: None, keep_newest: false })
        };
        let condition = |text| Some(Condition::parse(text).unwrap());
        let waits = |change: &dyn Fn(&mut RoomConfig)| {
            room("waits", |room| {
                (room.buffer, room.key, room.urgent) = (buffer(), vec![Path::top("a")], condition("a == 9"));
                change(room);
            })
        };
        let check = |change: &dyn Fn(&mut RoomConfig), flushed| {
            let rooms = rooms(vec![waits(&|_| {})]);
            let mut publisher = Publisher::new(Arc::clone(&rooms));
            stage(&mut publisher, &[EVENT; 10]);
            publisher.commit();
            rooms.reconfigure(generation(vec![waits(change)]));
            let figures = rooms.get("waits").unwrap().figures();
            let expected = if flushed { (10, 0) } else { (0, 10) };
            assert_eq!((figures.head, figures.buffered), expected);
        };
        check(&|_| {}, false);
        check(&|room| room.history.events = 3, false);
        check(&|room| room.buffer = None, true);
        check(&|room| room.key = vec![Path::top("b")], true);
        check(&|room| room.urgent = condition("a == 8"), true);
    }

    #[test]
    fn a_removed_room_keeps_what_its_readers_have_not_had() {
        let rooms = rooms(vec![room("goes", |_| {}), room("a:{a}", |_| {}), room("stays", |_| {})]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[EVENT; 5]);
        publisher.commit();
        let (goes, _, tail) = rooms.register("goes", 0, 0).unwrap();
        assert_eq!(rooms.totals().rooms(), 3);
        rooms.reconfigure(generation(vec![room("stays", |_| {}), room("comes", |_| {})]));
        assert_eq!(rooms.totals().rooms(), 2, "a:1 and goes are gone, comes is there");
        assert!(goes.is_removed() && held(&goes) == 5);
        assert!(rooms.register("goes", 0, 1).is_none() && rooms.register("a:1", 0, 1).is_none());
        let bytes = rooms.totals().history_bytes();
        rooms.unregister(&goes, 0);
        assert!(held(&goes) == 0 && rooms.totals().history_bytes() < bytes);
        rooms.reconfigure(generation(vec![room("goes", |_| {})]));
        let (again, _, new_tail) = rooms.register("goes", 0, 0).unwrap();
        assert!(!Arc::ptr_eq(&again, &goes) && new_tail.epoch != tail.epoch, "another life of the log");
        assert_eq!(rooms.totals().history_bytes(), 0);
    }

    #[test]
    fn a_read_under_way_is_published_as_it_was_routed() {
        let rooms = rooms(vec![room("goes", |_| {}), room("stays", |_| {})]);
        let (goes, _, _) = rooms.register("goes", 0, 0).unwrap();
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[EVENT; 7]);
        let reload = {
            let rooms = Arc::clone(&rooms);
            std::thread::spawn(move || rooms.reconfigure(generation(vec![room("stays", |_| {})])))
        };
        // The new generation is in force, and the old one's read not published yet.
        while rooms.generation().rooms.len() == 2 {
            std::thread::yield_now();
        }
        assert!(!goes.is_removed());
        publisher.commit();
        reload.join().unwrap();
        assert!(goes.is_removed() && held(&goes) == 7);
    }

    #[test]
    fn events_of_either_generation_are_kept_whatever_the_buffer_was() {
        let newest = |room: &mut RoomConfig| {
            room.key = vec![Path::top("a")];
            let flush_interval = Duration::from_secs(600);
            room.buffer =
                Some(BufferConfig { events: None, flush_interval, group_by: None, keep_newest: true });
        };
        let rooms = rooms(vec![room("all", |_| {})]);
        let (all, _, _) = rooms.register("all", 0, 0).unwrap();
        let (mut old, mut new) = (Publisher::new(Arc::clone(&rooms)), Publisher::new(Arc::clone(&rooms)));
        stage(&mut old, &[EVENT, r#"{"type":"t","a":"2"}"#]);
        // As within a reload: the new generation is in force, the room has not been told, an old read is under way.
        rooms.set_generation(generation(vec![room("all", newest)]));
        stage(&mut new, &[EVENT, r#"{"type":"t","a":"3"}"#]);
        new.commit();
        assert_eq!(held(&all), 0, "kept in the new buffer");
        old.commit();
        assert_eq!(held(&all), 4, "an old read has no keys: it goes past the buffer, after what was in it");
    }
}
