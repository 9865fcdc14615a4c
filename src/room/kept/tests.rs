use super::*;
use crate::config::{BufferConfig, Config, RoomConfig, SlowClient, SnapshotConfig};
use crate::metrics::Metrics;
use crate::pattern::{Template, TypePattern};
use crate::room::{Bell, Publisher, Room};
use crate::route::{Beside, Outcome, Scratch};
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

const OWNER: &str = "/etc/broadcastd/broadcast.toml";

fn room(name: &str, change: impl FnOnce(&mut RoomConfig)) -> RoomConfig {
    let mut room = RoomConfig {
        name: Template::parse(name).unwrap(),
        types: vec![TypePattern::parse("*").unwrap()],
        condition: None,
        key: Vec::new(),
        snapshot: SnapshotConfig::ASKED,
        buffer: None,
        urgent: None,
        history: HistoryConfig { events: 100, age: Duration::from_secs(600), bytes: 1 << 20 },
        slow_client: SlowClient::Replay,
        subscribers: None,
        emitted_as: None,
    };
    change(&mut room);
    room
}

fn buffered(room: &mut RoomConfig) {
    let flush_interval = Duration::from_secs(600);
    room.buffer = Some(BufferConfig { events: Some(3), flush_interval, group_by: None, keep_newest: false });
}

fn usual() -> Config {
    let rooms = vec![room("all", |_| {}), room("batches", buffered), room("agent:{agentId}", |_| {})];
    Config { rooms, ..Config::default() }
}

/// Making them takes longer than anything else here.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));

fn rooms(config: Config) -> Arc<Rooms> {
    Rooms::new(&Arc::new(config), vec![Arc::new(Bell::new(|| {}))], Arc::clone(&METRICS)).unwrap()
}

fn publish(rooms: &Arc<Rooms>, agents: &[u8]) {
    let mut publisher = Publisher::new(Arc::clone(rooms));
    let routes = publisher.begin(0);
    let mut scratch = Scratch::default();
    for (index, agent) in agents.iter().enumerate() {
        let line = format!("{{\"type\":\"t\",\"agentId\":\"{agent}\",\"text\":\"caf\u{e9} {index}\"}}");
        let number = publisher.number();
        let beside = Beside::default();
        let outcome = routes.read(&mut scratch, line.as_bytes(), &beside, Moment::now(), || number);
        let Ok(Outcome::Event(event)) = outcome else { panic!("{line} is an event") };
        assert!(publisher.stage(&event, &scratch));
    }
    publisher.commit();
}

/// A subscription that comes and goes; returns the epoch that it was told.
fn visit(rooms: &Rooms, name: &str) -> Epoch {
    let (room, _, tail) = rooms.register(name, 0, 0).unwrap();
    rooms.unregister(&room, 0);
    tail.epoch
}

fn written(rooms: &Rooms) -> Vec<u8> {
    let mut out = Vec::new();
    rooms.keep(OWNER, &["beside".to_owned()], &mut out, Instant::now() + Duration::from_secs(60)).unwrap();
    out
}

fn restarted(bytes: &[u8], config: Config) -> Result<Arc<Rooms>, NotKept> {
    let (bells, from) = (vec![Arc::new(Bell::new(|| {}))], (OWNER, bytes, bytes.len() as u64));
    Rooms::going_on(&Arc::new(config), bells, Arc::clone(&METRICS), from).map(|(rooms, _, beside)| {
        assert!(beside.is_empty() || beside == ["beside"]);
        rooms
    })
}

type Shown = (String, Epoch, u64, u64, Vec<(Event, Batch)>);

/// An event without its time, which moves with each process's clock.
fn untimed(event: &Event) -> Event {
    let (numbers, json) = ((event.seq(), 0), [event.json()]);
    Event::typed(numbers, &json, event.type_span(), event.beside(), &mut Vec::new())
}

fn shown(room: &Room) -> Shown {
    let figures = room.figures();
    let mut entries = Vec::new();
    room.read(figures.first - 1, ReadLimit { events: usize::MAX, ..PAGE }, &mut entries);
    let entries = entries.iter().map(|entry| (untimed(&entry.event), entry.batch)).collect();
    (room.name().to_owned(), figures.epoch, figures.first, figures.head, entries)
}

fn all(rooms: &Rooms) -> Vec<Shown> {
    let mut list: Vec<Shown> = rooms.all().iter().map(|room| shown(room)).collect();
    list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    list
}

#[test]
fn rooms_go_on_as_they_were() {
    let before = rooms(usual());
    publish(&before, &[1, 2, 1, 1, 3, 1, 2]);
    before.flush_all();
    let epoch = visit(&before, "agent:nobody");
    let after = restarted(&written(&before), usual()).unwrap();
    assert_eq!(all(&after), all(&before));
    assert_eq!(after.totals().history_bytes(), before.totals().history_bytes());
    assert_eq!(after.totals().rooms(), before.totals().rooms());
    assert_eq!(visit(&after, "agent:nobody"), epoch, "a name without events has the epoch that was told");
    assert_eq!(after.number(), before.number());
    // The next event of each room gets the next offset, and rooms that are new get other epochs.
    publish(&after, &[1, 4]);
    let (one, four) = (after.get("agent:1").unwrap().figures(), after.get("agent:4").unwrap().figures());
    assert_eq!((one.head, one.first, four.head), (5, 1, 1));
    let epochs: Vec<Epoch> = all(&before).into_iter().map(|(_, epoch, ..)| epoch).collect();
    assert!(epochs.contains(&one.epoch) && !epochs.contains(&four.epoch));
}

#[test]
fn rooms_events_and_names_are_counted_when_written_and_when_read() {
    let before = rooms(usual());
    publish(&before, &[1, 2, 1]);
    before.flush_all();
    visit(&before, "agent:nobody");
    let mut bytes = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    let kept = before.keep(OWNER, &["x".to_owned(), "y".to_owned()], &mut bytes, until).unwrap();
    assert_eq!(kept, Kept { rooms: 4, events: 9, remembered: 1 });
    let going_on = |config: Config| {
        let from = (OWNER, &bytes[..], bytes.len() as u64);
        let bells = vec![Arc::new(Bell::new(|| {}))];
        let (_, kept, beside) =
            Rooms::going_on(&Arc::new(config), bells, Arc::clone(&METRICS), from).unwrap();
        assert_eq!(beside, ["x", "y"]);
        kept
    };
    assert_eq!(going_on(usual()), kept);
    let mut config = usual();
    config.rooms[0].history.events = 1;
    assert_eq!(going_on(config), Kept { rooms: 4, events: 7, remembered: 1 });
    let mut config = usual();
    config.rooms.truncate(2);
    assert_eq!(going_on(config), Kept { rooms: 2, events: 6, remembered: 0 }, "no room has these names");
    let mut config = usual();
    config.limits.rooms = 3;
    let few = going_on(config);
    assert_eq!((few.rooms, few.remembered), (3, 2), "one has no place");
}

#[test]
fn rooms_share_an_event_as_before() {
    let before = rooms(usual());
    publish(&before, &[1]);
    let after = restarted(&written(&before), usual()).unwrap();
    let mut entries = Vec::new();
    for name in ["all", "agent:1"] {
        after.get(name).unwrap().read(0, PAGE, &mut entries);
    }
    assert_eq!(entries[0].event.json().as_ptr(), entries[1].event.json().as_ptr());
}

#[test]
fn what_was_given_up_is_remembered_on() {
    let mut config = usual();
    config.rooms[2].history.events = 0;
    let before = rooms(config.clone());
    publish(&before, &[1, 1]);
    let epoch = before.get("agent:1").unwrap().figures().epoch;
    let first = restarted(&written(&before), config.clone()).unwrap();
    assert!(first.get("agent:1").is_none(), "nothing is left of it but a memory");
    let second = restarted(&written(&first), config).unwrap();
    publish(&second, &[1]);
    let figures = second.get("agent:1").unwrap().figures();
    assert_eq!((figures.epoch, figures.head), (epoch, 3));
}

#[test]
fn the_configuration_in_force_decides() {
    let before = rooms(usual());
    publish(&before, &[1, 2, 3, 1, 2, 3, 1, 2, 3, 1]);
    before.flush_all();
    let bytes = written(&before);
    let changed = |change: fn(&mut Config)| {
        let mut config = usual();
        change(&mut config);
        restarted(&bytes, config).unwrap()
    };
    let figures =
        |rooms: &Rooms, name: &str| rooms.get(name).map(|room| (room.figures().first, room.figures().head));
    let same = changed(|_| {});
    assert_eq!((figures(&same, "all"), figures(&same, "agent:1")), (Some((1, 10)), Some((1, 4))));
    let fewer = changed(|config| config.rooms[0].history.events = 3);
    assert_eq!(figures(&fewer, "all"), Some((8, 10)));
    let shorter = changed(|config| config.rooms[0].history.bytes = 1);
    assert_eq!(figures(&shorter, "all"), Some((11, 10)));
    let gone = changed(|config| drop(config.rooms.remove(2)));
    assert_eq!((figures(&gone, "agent:1"), gone.totals().rooms()), (None, 2));
    let plain = changed(|config| config.rooms[1].buffer = None);
    assert_eq!(figures(&plain, "batches"), Some((1, 10)));
    let little = changed(|config| config.limits.history_memory = 0);
    assert_eq!((little.totals().history_bytes(), figures(&little, "all")), (0, Some((11, 10))));
    // Where there is no place for a room's events, its offsets go on all the same.
    let full = changed(|config| config.limits.rooms = 3);
    assert_eq!(full.totals().rooms(), 3);
    let had: Vec<Epoch> = ["agent:1", "agent:2", "agent:3"]
        .iter()
        .map(|name| before.get(name).unwrap().figures().epoch)
        .collect();
    for (name, epoch) in ["agent:1", "agent:2", "agent:3"].iter().zip(had) {
        let (_, _, tail) = full.register(name, 0, 7).unwrap();
        assert_eq!((tail.epoch, tail.head), (epoch, before.get(name).unwrap().figures().head), "{name}");
    }
}

#[test]
fn history_that_is_too_old_by_now_is_left_out() {
    let before = rooms(usual());
    publish(&before, &[1, 1]);
    let bytes = written(&before);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3) {
        std::hint::spin_loop();
    }
    let mut config = usual();
    config.rooms[0].history.age = Duration::from_millis(1);
    let after = restarted(&bytes, config).unwrap();
    let figures = after.get("all").unwrap().figures();
    assert_eq!((figures.first, figures.head), (3, 2));
    assert_eq!(after.get("agent:1").unwrap().figures().first, 1);
}

const HOUR_MS: u64 = 3_600_000;

/// Half a minute after `written`, on a log clock of its own. `wall_ms` is how far the wall clock was set.
fn half_a_minute_later(written: &Stamp, boot: &str, set_ms: i64) -> Stamp {
    let wall_ms = (written.moment.wall_ms + 30_000).saturating_add_signed(set_ms);
    let moment = Moment { log_ms: 1 << 40, wall_ms };
    Stamp { moment, up_ms: written.up_ms + 30_000, boot: boot.to_owned() }
}

#[test]
fn restart_keeps_ages_whatever_the_wall_clock_does() {
    let before = rooms(usual());
    publish(&before, &[1, 1]);
    // Written a minute after.
    let mut written = Stamp { boot: "a".to_owned(), ..Stamp::now() };
    written.moment.log_ms += 60_000;
    let mut bytes = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    before.keep_at(&written, OWNER, &[], RecordWriter::new(&mut bytes, until).unwrap()).unwrap();
    let hour = HOUR_MS as i64;
    for (boot, set_ms, least_s, why) in [
        ("a", 0, 90, "the clock is right"),
        ("a", -hour, 90, "it was set back"),
        ("a", 400 * hour, 90, "it was set forward"),
        ("b", 0, 90, "the machine was booted"),
        ("b", -hour, 60, "it was booted and its clock set back: only what was before is known"),
    ] {
        let now = half_a_minute_later(&written, boot, set_ms);
        for (age_s, events) in [(least_s - 1, 0), (least_s + 2, 2)] {
            let mut config = usual();
            config.rooms[0].history.age = Duration::from_secs(age_s);
            let (bells, from) = (vec![Arc::new(Bell::new(|| {}))], (OWNER, &bytes[..], bytes.len() as u64));
            let restarted =
                Rooms::going_on_at(now.clone(), &Arc::new(config), bells, Arc::clone(&METRICS), from);
            let (after, ..) = restarted.unwrap();
            assert_eq!(shown(&after.get("all").unwrap()).4.len(), events, "{why}: age = {age_s} s");
        }
    }
}

#[test]
fn wall_times_of_the_previous_format_become_ages() {
    let numbers = |list: &[u64]| list.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let now = Stamp::now();
    let event = |seq, ago_ms: u64, more: u64| {
        let at_ms = now.moment.wall_ms + more - ago_ms;
        let body = [numbers(&[seq, at_ms, 0, 0]), vec![0, 0, 0, 0, 0], b"{}".to_vec()];
        (EVENT, body.concat())
    };
    let bytes = sealed(
        FORMAT_OF_WALL_TIMES,
        &[
            (START, [numbers(&[9, 9]), OWNER.into()].concat()),
            (ROOM, [numbers(&[7, 3, 3]), b"all".to_vec()].concat()),
            event(1, 700_000, 0),
            event(2, 500_000, 0),
            // The clock was an hour ahead then.
            event(3, 500_000, HOUR_MS),
            (END, numbers(&[1, 3])),
        ],
    );
    let after = restarted(&bytes, usual()).unwrap();
    let kept = shown(&after.get("all").unwrap());
    assert_eq!((kept.2, kept.3), (2, 3), "the first is older than ten minutes");
    after.sweep_at(now.moment.log_ms + 601_000);
    assert_eq!(shown(&after.get("all").unwrap()).4.len(), 0, "none stays for ever");
}

#[test]
fn a_position_of_before_is_one_of_now() {
    let before = rooms(usual());
    publish(&before, &[1, 1, 1]);
    let epoch = before.get("all").unwrap().figures().epoch;
    let after = restarted(&written(&before), usual()).unwrap();
    let (_, _, tail) = after.register("all", 0, 0).unwrap();
    assert_eq!((tail.epoch, tail.first, tail.head), (epoch, 1, 3));
}

#[test]
fn starts_in_the_same_millisecond_share_no_epoch() {
    // Made in microseconds each, as a machine without a clock does after every crash.
    let epochs_of = |rooms: Arc<Rooms>| ["all", "batches"].map(|name| rooms.get(name).unwrap().epoch());
    let given: HashSet<Epoch> = (0..200).flat_map(|_| epochs_of(rooms(usual()))).collect();
    assert_eq!(given.len(), 400);
}

#[test]
fn new_epochs_after_a_restart_differ_from_those_carried_over() {
    let mut rooms = rooms(usual());
    let mut given = HashSet::new();
    for visitor in 0..50 {
        let epoch = visit(&rooms, &format!("agent:{visitor}"));
        assert!(given.insert(epoch), "{epoch} was given twice");
        rooms = restarted(&written(&rooms), usual()).unwrap();
    }
}

#[test]
fn whatever_is_damaged_is_refused_whole() {
    let before = rooms(usual());
    publish(&before, &[1, 2, 1]);
    before.flush_all();
    visit(&before, "agent:nobody");
    let bytes = written(&before);
    assert!(restarted(&bytes, usual()).is_ok());
    // Every byte, every end that is too early, and more than there was.
    for at in 0..bytes.len() {
        for wrong in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= wrong;
            assert!(restarted(&damaged, usual()).is_err(), "byte {at} as {}", damaged[at]);
        }
        assert!(restarted(&bytes[..at], usual()).is_err(), "{at} bytes");
    }
    for more in [&b"\0"[..], b"more", &bytes] {
        assert!(restarted(&[&bytes, more].concat(), usual()).is_err(), "{} bytes more", more.len());
    }
}

/// A file whose checksum is right, whatever stands in it.
fn sealed(format: u32, records: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [MAGIC, &format.to_le_bytes()].concat();
    for (kind, body) in records {
        bytes.push(*kind);
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

#[test]
fn what_makes_no_sense_is_refused_whatever_its_checksum() {
    let numbers =
        |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let start =
        |owner: &str| (START, [numbers(&[9, 9, 0, 0, 0, 4]), b"boot".to_vec(), owner.into()].concat());
    let room = |head, events| (ROOM, [numbers(&[7, head, events]), b"all".to_vec()].concat());
    let event = |batch: u8, beside_len: u32| {
        (
            EVENT,
            [numbers(&[1, 0, 0, 0]), vec![batch], beside_len.to_le_bytes().to_vec(), b"{}".to_vec()].concat(),
        )
    };
    let end = |rooms, events| (END, numbers(&[rooms, events]));
    let us = || start(OWNER);
    let check = |records: &[(u8, Vec<u8>)], expected: &str| {
        let bytes = sealed(FORMAT, records);
        let why =
            restarted(&bytes, usual()).err().map_or_else(|| "nothing".to_owned(), |why| why.to_string());
        assert!(why.contains(expected), "{why:?} is not {expected:?}");
    };
    check(&[us(), room(1, 1), event(0, 0), end(1, 1)], "nothing");
    check(&[us(), room(5, 0), end(1, 0)], "nothing");
    check(&[], "ends too early");
    check(&[us()], "ends too early");
    check(&[room(1, 1), event(0, 0), end(1, 1)], "does not begin");
    check(&[start("/other.toml"), end(0, 0)], "whose configuration is /other.toml");
    check(&[us(), room(1, 2), event(0, 0), event(0, 0), end(1, 2)], "more events than offsets");
    check(&[us(), room(2, 2), event(0, 0), end(1, 2)], "events are missing");
    check(&[us(), room(1, 1), event(0, 0), event(0, 0), end(1, 2)], "belongs to no room");
    check(&[us(), event(0, 0), end(0, 1)], "belongs to no room");
    check(&[us(), room(1, 1), event(3, 0), end(1, 1)], "batch");
    check(&[us(), room(1, 1), event(0, 3), end(1, 1)], "too short");
    check(&[us(), (ROOM, vec![1, 2]), end(1, 0)], "too short");
    let keyed = || (KEYED, Vec::new());
    check(&[us(), room(1, 1), keyed(), (KEY, numbers(&[1, 0, 9])), event(0, 0), end(1, 1)], "too short");
    check(&[us(), room(1, 1), keyed(), (KEY, numbers(&[1, 1, 0, 5])), event(0, 0), end(1, 1)], "too short");
    check(&[us(), (KEY, numbers(&[1, 0, 0])), end(0, 0)], "belongs to no room");
    check(&[us(), (REMEMBERED, [numbers(&[1, 1]), vec![0xff]].concat()), end(0, 0)], "no text");
    check(&[us(), (b'?', Vec::new()), end(0, 0)], "never written");
    check(&[us(), end(1, 0)], "rooms or events are missing");
    check(&[us(), end(0, 0), us()], "goes on after its end");
    let why = |bytes: &[u8]| restarted(bytes, usual()).err().map(|why| why.to_string()).unwrap();
    assert!(why(&sealed(FORMAT + 1, &[us(), end(0, 0)])).contains("another version wrote it, in format 5"));
    assert!(why(b"PK\x03\x04 something else").contains("no file of broadcastd's"));
    assert!(why(b"").contains("no file of broadcastd's"));
    let mut endless = sealed(FORMAT, &[us()]);
    endless.truncate(endless.len() - 4);
    endless.extend([&[EVENT][..], &u32::MAX.to_le_bytes(), &[0; 8]].concat());
    assert!(why(&endless).contains("damaged"));
}

#[test]
fn writing_is_given_up_in_time_and_when_it_fails() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let rooms = rooms(usual());
    let past = Instant::now().checked_sub(Duration::from_millis(1)).unwrap();
    let late = rooms.keep(OWNER, &[], Vec::new(), past).unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    let full = rooms.keep(OWNER, &[], Full, Instant::now() + Duration::from_secs(60)).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_number_of_restarts_changes_nothing(
        parts in prop::collection::vec(prop::collection::vec(0..6_u8, 0..90), 1..6)
    ) {
        let plain = rooms(usual());
        let mut kept = rooms(usual());
        for part in parts {
            publish(&plain, &part);
            publish(&kept, &part);
            plain.flush_all();
            kept.flush_all();
            kept = restarted(&written(&kept), usual()).unwrap();
            let without_epoch = |rooms: &Rooms| -> Vec<_> {
                let shown = |(name, _, first, head, entries): Shown| {
                    let entries: Vec<_> = entries
                        .into_iter()
                        // What is added to an event is the time, which differs.
                        .map(|(event, batch)| (event.seq(), event.json().len(), batch))
                        .collect();
                    (name, first, head, entries)
                };
                all(rooms).into_iter().map(shown).collect()
            };
            prop_assert_eq!(without_epoch(&kept), without_epoch(&plain));
        }
    }
}

#[test]
fn keys_go_on_with_their_newest_events() {
    let keyed = |key: &str| {
        let mut config = usual();
        config.rooms[0].key = vec![crate::pattern::Path::top(key)];
        config.rooms[0].history.events = 2;
        config
    };
    let newest = |rooms: &Rooms| {
        let mut out = Vec::new();
        let limit = ReadLimit { events: usize::MAX, ..PAGE };
        let read = rooms.get("all").unwrap().read_keys(0, u64::MAX, limit, &mut out);
        assert!(read.is_all);
        out.into_iter().map(|(offset, entry)| (offset, untimed(&entry.event))).collect::<Vec<_>>()
    };
    let before = rooms(keyed("agentId"));
    publish(&before, &[1, 2, 3, 1, 4, 1]);
    let bytes = written(&before);
    let after = restarted(&bytes, keyed("agentId")).unwrap();
    assert_eq!(newest(&before).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [2, 3, 5, 6]);
    assert_eq!(newest(&after), newest(&before));
    assert_eq!(after.totals().history_bytes(), before.totals().history_bytes());
    // The next event of a key is its newest, and takes it from where it was.
    publish(&after, &[2]);
    assert_eq!(newest(&after).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [3, 5, 6, 7]);
    let other = restarted(&bytes, keyed("text")).unwrap();
    assert!(newest(&other).is_empty(), "keys of another kind are none of this room's");
    let fewer = restarted(&bytes, {
        let mut config = keyed("agentId");
        config.limits.keys = 2;
        config
    })
    .unwrap();
    assert_eq!(newest(&fewer).len(), 2);
}
