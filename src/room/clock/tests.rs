//! Sweeps: what is too old goes in time, and a room that a sweep passes over had nothing to do.

use super::super::fixture;
use super::super::generation::Generation;
use super::super::staged::Staged;
use super::*;
use crate::config::{BufferConfig, Config, HistoryConfig, RoomConfig};
use crate::event::Event;
use crate::metrics::Metrics;
use crate::pattern::{Path, Template};
use crate::room::{Bell, ReadLimit};
use crate::time::Moment;
use crate::wire::From;
use proptest::prelude::*;
use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;

/// Making them takes longer than anything else here.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));

/// In the midst of a second.
const BEGIN_MS: u64 = 1_700_000_000_250;

/// Rooms `log:…`, `keyed:…` which have a key, and `waits:…` which have a buffer.
fn generation(events: usize, history_s: u64, keys_s: u64) -> Generation {
    let room = |name: &str, key: Vec<Path>, buffer: Option<BufferConfig>| {
        let mut room: RoomConfig = Config::default().rooms.remove(0);
        (room.name, room.key, room.buffer) = (Template::parse(name).unwrap(), key, buffer);
        room.history = HistoryConfig { events, age: Duration::from_secs(history_s), bytes: 1 << 20 };
        room.snapshot.age = Duration::from_secs(keys_s);
        room
    };
    let flush_interval = Duration::from_secs(600);
    let buffer = BufferConfig { events: None, flush_interval, group_by: None, keep_newest: false };
    let rooms = vec![
        room("log:{a}", Vec::new(), None),
        room("keyed:{a}", vec![Path::top("a")], None),
        room("waits:{a}", Vec::new(), Some(buffer)),
    ];
    let config = Arc::new(Config { rooms, ..Config::default() });
    Generation::new(Arc::clone(&config), &config.ingest.listen)
}

fn rooms(generation: &Generation) -> Arc<Rooms> {
    Rooms::new(&generation.config, vec![Arc::new(Bell::new(|| {}))], Arc::clone(&METRICS)).unwrap()
}

fn publish(rooms: &Rooms, name: &str, key: &str, at_ms: u64) {
    let room = rooms.open(name, None).unwrap();
    let mut staged = Staged::default();
    let event = Event::new(rooms.number(), at_ms, &[b"{\"type\":\"t\"}"], b"", &mut Vec::new());
    staged.push(event, "", key, false);
    let now = (Instant::now(), at_ms);
    room.publish(&mut staged, &rooms.generation(), now, &rooms.totals, &mut Vec::new()).unwrap();
}

fn reconfigure(rooms: &Rooms, generation: Generation, at_ms: u64) {
    rooms.set_generation(generation);
    let generation = rooms.generation();
    for room in rooms.all() {
        let policy = generation.policy_of(generation.policy(room.name()).unwrap());
        room.reconfigure(policy, at_ms, &rooms.totals, &mut Vec::new());
    }
}

fn everything() -> ReadLimit {
    ReadLimit { events: 1000, bytes: 1 << 20, overhead: 0, at_least_one: true }
}

/// Events of its log, and keys.
fn held(room: &Room) -> (usize, usize) {
    let mut out = Vec::new();
    room.read(0, everything(), &mut out);
    (out.len(), room.figures().keys)
}

#[test]
fn what_is_too_old_goes_with_the_first_sweep_after_its_time() {
    let rooms = rooms(&generation(10, 10, 20));
    publish(&rooms, "keyed:a", "k", BEGIN_MS);
    publish(&rooms, "keyed:a", "l", BEGIN_MS + 3000);
    let (room, _, _) = rooms.register("keyed:a", 0, 0).unwrap();
    for (after_ms, due, left) in [
        (0, false, (2, 2)),
        (9_000, false, (2, 2)),
        // Seconds are looked at as a whole.
        (10_000, true, (2, 2)),
        (10_001, true, (1, 2)),
        (10_002, false, (1, 2)),
        (13_001, true, (0, 2)),
        (20_000, true, (0, 2)),
        (20_001, true, (0, 1)),
        (22_000, false, (0, 1)),
        (23_001, true, (0, 0)),
        (1 << 40, false, (0, 0)),
    ] {
        assert_eq!(room.is_due(BEGIN_MS + after_ms), due, "after {after_ms} ms");
        rooms.sweep_at(BEGIN_MS + after_ms);
        assert_eq!(held(&room), left, "after {after_ms} ms");
    }
    publish(&rooms, "keyed:a", "k", BEGIN_MS + 30_000);
    assert!(room.is_due(BEGIN_MS + 40_001), "what comes is looked at in its time");
}

#[test]
fn a_shorter_age_holds_at_once() {
    let rooms = rooms(&generation(10, 600, 600));
    for name in ["log:a", "keyed:a"] {
        publish(&rooms, name, "k", BEGIN_MS);
        publish(&rooms, name, "l", BEGIN_MS + 5000);
    }
    let (log, keyed) = (rooms.get("log:a").unwrap(), rooms.get("keyed:a").unwrap());
    reconfigure(&rooms, generation(10, 3, 3), BEGIN_MS + 6000);
    assert_eq!((held(&log), held(&keyed)), ((1, 0), (1, 2)), "keys go with the next sweep");
    rooms.sweep_at(BEGIN_MS + 6000);
    assert_eq!((held(&log), held(&keyed)), ((1, 0), (1, 1)));
    rooms.sweep_at(BEGIN_MS + 8001);
    assert_eq!((held(&log), held(&keyed)), ((0, 0), (0, 0)));
}

#[test]
fn a_room_is_given_up_once_nobody_holds_it_and_nothing_is_in_it() {
    let rooms = rooms(&generation(10, 10, 10));
    publish(&rooms, "log:a", "", BEGIN_MS);
    let (room, _, _) = rooms.register("log:a", 0, 0).unwrap();
    rooms.sweep_at(BEGIN_MS + 10_001);
    assert!(held(&room) == (0, 0) && !room.is_due(BEGIN_MS + 20_000), "it has a reader");
    rooms.unregister(&room, 0);
    rooms.sweep_at(BEGIN_MS + 20_000);
    assert!(rooms.get("log:a").is_some(), "somebody may be about to publish there");
    drop(room);
    rooms.sweep_at(BEGIN_MS + 20_000);
    assert!(rooms.get("log:a").is_none());
}

#[test]
fn since_follows_the_wall_clock_at_the_time_of_asking() {
    let rooms = rooms(&generation(10, 6000, 6000));
    for at_ms in [0, 60_000, 120_000] {
        publish(&rooms, "log:a", "", BEGIN_MS + at_ms);
    }
    let (room, _, tail) = rooms.register("log:a", 0, 0).unwrap();
    let log_ms = BEGIN_MS + 120_500;
    // The wall clock is right; or was an hour ahead, and behind, when the events came.
    for wall_ms in [9_000_000, 9_000_000 - 3_600_000, 9_000_000 + 3_600_000] {
        let now = Moment { log_ms, wall_ms };
        let position = |from| room.start_at(tail, &from, || now).position;
        for (ago_ms, expected) in [(0, 3), (400, 3), (500, 2), (60_500, 1), (119_000, 1), (120_500, 0)] {
            assert_eq!(position(From::Ago(ago_ms)), expected, "{ago_ms} ms ago");
            assert_eq!(position(From::SinceMs(wall_ms - ago_ms)), expected, "since {ago_ms} ms ago");
        }
        assert_eq!((position(From::SinceMs(0)), position(From::SinceMs(wall_ms + 1000))), (0, 3));
    }
}

#[test]
fn buffered_events_are_due_from_their_flush() {
    let rooms = rooms(&generation(10, 600, 600));
    let (room, _, _) = rooms.register("waits:a", 0, 0).unwrap();
    let take = |after| {
        let (first, flushed_ms, head) = room.take(0, after, everything(), &mut Vec::new(), &mut 0);
        (first, flushed_ms.saturating_sub(BEGIN_MS), head)
    };
    for (at_ms, flushed_ms) in [(0, 900), (950, 1000), (1100, 2000)] {
        publish(&rooms, "waits:a", "", BEGIN_MS + at_ms);
        let at = (Instant::now(), BEGIN_MS + flushed_ms);
        room.flush_due(at, true, &rooms.totals, &mut Vec::new());
    }
    assert_eq!([take(0), take(1), take(2)], [(1, 900, 3), (2, 1000, 3), (3, 2000, 3)]);
    room.pass(0, 2, &rooms.totals);
    assert_eq!((take(1).1, take(2).1), (0, 2000), "nobody needs the times of what is passed");
    let (plain, _, _) = rooms.register("log:a", 0, 1).unwrap();
    publish(&rooms, "log:a", "", BEGIN_MS);
    assert_eq!(plain.take(0, 0, everything(), &mut Vec::new(), &mut 0), (1, 0, 1));
}

#[test]
fn the_clock_flushes_a_buffer_when_its_interval_has_passed() {
    let (tx, rx) = sync_channel(8);
    let bell = Arc::new(Bell::new(move || {
        let _ = tx.send(());
    }));
    let flush_interval = Duration::from_millis(50);
    let waits = fixture::room("waits", |room| {
        room.buffer = Some(BufferConfig { events: None, flush_interval, group_by: None, keep_newest: false });
    });
    let config = Arc::clone(&fixture::generation(vec![waits]).config);
    let rooms = Rooms::new(&config, vec![Arc::clone(&bell)], Arc::new(Metrics::new())).unwrap();
    let (room, _, _) = rooms.register("waits", 0, 3).unwrap();
    rooms.register("waits:else", 0, 4);
    let clock = std::thread::spawn({
        let rooms = Arc::clone(&rooms);
        move || rooms.run_clock()
    });
    let mut publisher = crate::room::Publisher::new(Arc::clone(&rooms));
    for head in 1..=2 {
        assert!(bell.prepare_sleep());
        let begun = Instant::now();
        fixture::stage(&mut publisher, &[r#"{"type":"t"}"#]);
        publisher.commit();
        rx.recv_timeout(Duration::from_secs(20)).expect("the shard is woken");
        assert!(begun.elapsed() >= flush_interval);
        assert_eq!((room.figures().head, room.figures().buffered), (head, 0));
        let mut tokens = Vec::new();
        bell.take(&mut tokens);
        assert_eq!(tokens, [3]);
        room.take(0, head, everything(), &mut Vec::new(), &mut 0);
    }
    // It sweeps and reports every few milliseconds.
    let told = |rooms: &Rooms| rooms.metrics().render().contains("broadcastd_rooms 1\n");
    let until = Instant::now() + Duration::from_secs(20);
    while !told(&rooms) && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(told(&rooms));
    rooms.stop_clock();
    clock.join().unwrap();
}

#[test]
fn only_rooms_whose_time_has_come_are_flushed_and_the_earliest_first() {
    let rooms = rooms(&generation(10, 600, 600));
    let now = Instant::now();
    let far = now + Duration::from_secs(600);
    for (name, at) in [("log:far", far), ("log:b", now), ("log:a", now.checked_sub(SWEEP).unwrap())] {
        rooms.clock.flush_at(at, rooms.open(name, None).unwrap());
    }
    let names = |due: Vec<Arc<Room>>| due.iter().map(|room| room.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(rooms.wait(far).unwrap()), ["log:a", "log:b"]);
    assert_eq!(names(rooms.wait(Instant::now()).unwrap()), [""; 0], "a sweep is due before");
    rooms.stop_clock();
    assert!(rooms.wait(far).is_none());
}

#[test]
fn a_flush_that_is_due_earlier_than_the_others_wakes_the_clock() {
    let rooms = rooms(&generation(10, 600, 600));
    let far = Instant::now() + Duration::from_secs(600);
    rooms.clock.flush_at(far, rooms.open("log:far", None).unwrap());
    let (tx, rx) = sync_channel(8);
    let waiting = std::thread::spawn({
        let rooms = Arc::clone(&rooms);
        move || {
            tx.send(Instant::now()).unwrap();
            rooms.wait(far)
        }
    });
    // Whether it waits by now or is about to makes no difference to what is right.
    let begun = rx.recv().unwrap();
    while begun.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
    rooms.clock.flush_at(Instant::now(), rooms.open("log:near", None).unwrap());
    let due = waiting.join().unwrap().unwrap();
    assert_eq!(due.iter().map(|room| room.name()).collect::<Vec<_>>(), ["log:near"]);
}

#[test]
fn figures_of_all_rooms_are_reported() {
    let generation = generation(1, 600, 600);
    let metrics = Arc::new(Metrics::new());
    let rooms = Rooms::new(&generation.config, vec![Arc::new(Bell::new(|| {}))], metrics).unwrap();
    publish(&rooms, "log:a", "", BEGIN_MS);
    publish(&rooms, "waits:a", "", BEGIN_MS);
    for name in ["log:b", "log:c", "log:d"] {
        rooms.register(name, 0, 0).unwrap();
    }
    rooms.report();
    let (history, backlog) = (rooms.totals().history_bytes(), rooms.totals().backlog_bytes());
    assert!(history > 0 && backlog > 0);
    let text = rooms.metrics().render();
    for line in [
        "broadcastd_rooms 2".to_owned(),
        "broadcastd_interests 3".to_owned(),
        format!("broadcastd_history_bytes {history}"),
        format!("broadcastd_backlog_bytes {backlog}"),
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}");
    }
}

const NAMES: [&str; 3] = ["log:a", "keyed:a", "waits:a"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_sweep_passes_over_rooms_that_have_nothing_to_do(
        steps in prop::collection::vec((0..10u8, 0..3usize, 0..5u64), 1..24),
        later_ms in 0..40_000u64,
    ) {
        let rooms = rooms(&generation(3, 8, 12));
        let mut now_ms = BEGIN_MS;
        let mut readers = [None, None, None];
        for (step, name, amount) in steps {
            match step {
                0..3 => publish(&rooms, NAMES[name], &amount.to_string(), now_ms),
                3..5 => now_ms += amount * 1700,
                5 => rooms.sweep_at(now_ms),
                6 => reconfigure(&rooms, generation(amount as usize, 2 + amount, 14 - 3 * amount), now_ms),
                7 => match readers[name].take() {
                    None => readers[name] = rooms.register(NAMES[name], 0, 0).map(|(room, ..)| room),
                    Some(room) => rooms.unregister(&room, 0),
                },
                8 => rooms.all().iter().for_each(|room| {
                    room.flush_due((Instant::now(), now_ms), true, &rooms.totals, &mut Vec::new());
                }),
                _ => rooms.all().iter().for_each(|room| room.shrink(amount * 100, now_ms, &rooms.totals)),
            }
        }
        for room in rooms.all() {
            let at_ms = now_ms + later_ms;
            if !room.is_due(at_ms) {
                let (before, log) = (room.figures(), held(&room));
                prop_assert!(room.sweep(at_ms, true, &rooms.totals).is_none());
                prop_assert_eq!((room.figures(), held(&room)), (before, log));
            }
        }
    }
}
