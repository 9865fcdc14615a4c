//! Rooms and publishers of this module's tests.

use super::generation::Generation;
use super::{Bell, Publisher, ReadLimit, Room, Rooms};
use crate::config::{Config, HistoryConfig, RoomConfig, SlowClient, SnapshotConfig};
use crate::metrics::Metrics;
use crate::pattern::{Template, TypePattern};
use crate::route::{Beside, Outcome, Routes, Scratch};
use crate::time::Moment;
use std::sync::Arc;
use std::time::Duration;

/// Rooms at most where a test does not say.
const MANY: usize = 1000;

pub(super) fn room(name: &str, change: impl FnOnce(&mut RoomConfig)) -> RoomConfig {
    let mut room = RoomConfig {
        name: Template::parse(name).unwrap(),
        types: vec![TypePattern::parse("*").unwrap()],
        condition: None,
        key: Vec::new(),
        snapshot: SnapshotConfig::default(),
        buffer: None,
        urgent: None,
        history: HistoryConfig { events: 100, age: Duration::from_secs(60), bytes: 1 << 20 },
        slow_client: SlowClient::Replay,
        subscribers: None,
        emitted_as: None,
    };
    change(&mut room);
    room
}

/// A configuration with `limits.rooms`.
fn config(most: usize, rooms: Vec<RoomConfig>) -> Arc<Config> {
    let mut config = Config { rooms, ..Config::default() };
    config.limits.rooms = most;
    Arc::new(config)
}

pub(super) fn generation(rooms: Vec<RoomConfig>) -> Generation {
    generation_within(MANY, rooms)
}

pub(super) fn generation_within(most: usize, rooms: Vec<RoomConfig>) -> Generation {
    let config = config(most, rooms);
    Generation::new(Arc::clone(&config), &config.ingest.listen)
}

pub(super) fn rooms(list: Vec<RoomConfig>) -> Arc<Rooms> {
    rooms_within(MANY, list)
}

pub(super) fn rooms_within(most: usize, list: Vec<RoomConfig>) -> Arc<Rooms> {
    let bells = vec![Arc::new(Bell::new(|| {}))];
    Rooms::new(&config(most, list), bells, Arc::new(Metrics::new())).unwrap()
}

/// Stages one read of these lines.
pub(super) fn stage(publisher: &mut Publisher, lines: &[&str]) {
    let routes = publisher.begin(0);
    for line in lines {
        assert!(stage_line(publisher, &routes, line), "{line} is taken");
    }
}

/// Stages a read of one line. False if `limits.rooms` refuses it.
pub(super) fn try_stage(publisher: &mut Publisher, line: &str) -> bool {
    let routes = publisher.begin(0);
    stage_line(publisher, &routes, line)
}

fn stage_line(publisher: &mut Publisher, routes: &Routes, line: &str) -> bool {
    let mut scratch = Scratch::default();
    let number = publisher.number();
    let outcome = routes.read(&mut scratch, line.as_bytes(), &Beside::default(), Moment::now(), || number);
    let Ok(Outcome::Event(event)) = outcome else { panic!("{line} is an event") };
    publisher.stage(&event, &scratch)
}

pub(super) fn held(room: &Room) -> usize {
    let mut out = Vec::new();
    let everything = ReadLimit { events: 1000, bytes: 1 << 20, overhead: 0, at_least_one: true };
    room.read(0, everything, &mut out);
    out.len()
}

pub(super) const EVENT: &str = r#"{"type":"t","a":"1"}"#;
