//! The wall clock is set while the daemon runs: libfaketime sets it for the daemon alone, and leaves the monotonic clock.

use crate::harness::{Client, DEADLINE, Server, http};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const HOUR_S: i64 = 3600;

const CONFIG: &str = r#"
[limits]
rooms = 3
[rooms.long]
types = ["long"]
[rooms."short:{id}"]
types = ["short"]
history = { age = "1s" }
"#;

fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("libfaketime: apt-get install faketime")
}

/// Sets the daemon's wall clock, by so many seconds from the right time.
fn set(file: &Path, seconds: i64) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn start(file: &Path) -> Server {
    set(file, 0);
    let (mut command, dir) = Server::command(CONFIG, &[]);
    command
        .stdin(Stdio::null())
        .env("LD_PRELOAD", libfaketime())
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DISABLE_SHM", "1");
    Server::spawn((command, dir))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Publishes an event to the room `long`. Returns the seconds that its timestamp is ahead of the right time.
fn publish_long(server: &Server, n: u64) -> i64 {
    let answer = server.pipe(&format!("{{\"type\":\"long\",\"n\":{n}}}\n"));
    assert_eq!(answer.last().unwrap()["accepted"], 1, "{answer:?}");
    let newest = history(server, "last:1").pop().unwrap();
    assert_eq!(newest["n"], n);
    (newest["timestamp"].as_i64().unwrap() - now_ms()).div_euclid(1000)
}

fn history(server: &Server, from: &str) -> Vec<Value> {
    // HTTP/1.0: the answer's lines are not cut into chunks.
    let request =
        format!("GET /api/v1/room/events?room=long&from={from} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let (status, text) = http(&server.admin[0], request.as_bytes());
    assert_eq!(status, 200, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Publishes an event to a room of its own, as soon as there is a place for that.
fn publish_short(server: &Server, id: u64) {
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = server.pipe(&format!("{{\"type\":\"short\",\"id\":{id}}}\n"));
        if answer.last().unwrap()["accepted"] == 1 {
            return;
        }
        assert_eq!(answer[0]["error"]["code"], "too_many_rooms", "{answer:?}");
        assert!(Instant::now() < until, "no room is reclaimed");
    }
}

#[tokio::test]
async fn setting_the_wall_clock_changes_no_age() {
    let folder = tempfile::tempdir().unwrap();
    let wall = folder.path().join("wall");
    let server = start(&wall);
    let mut client = Client::connect(&server).await;
    client.subscribe("long").await;
    assert!((-60..60).contains(&publish_long(&server, 1)));
    (1..=2).for_each(|id| publish_short(&server, id));

    set(&wall, -HOUR_S);
    let ahead_s = publish_long(&server, 2);
    assert!((-HOUR_S - 60..-HOUR_S + 60).contains(&ahead_s), "the daemon's clock is set: {ahead_s}");
    // A room is reclaimed once its events are a second old, so that there is a place for a third.
    publish_short(&server, 3);

    set(&wall, 24 * HOUR_S);
    publish_long(&server, 3);
    // The sweeps have been over every room when there is a place for these.
    (4..=6).for_each(|id| publish_short(&server, id));
    let five_minutes_ago = now_ms() + (24 * HOUR_S - 300) * 1000;
    let in_a_minute = five_minutes_ago + 360_000;
    for (from, events) in [
        ("start".to_owned(), 3),
        ("since:-5m".to_owned(), 3),
        (format!("since:{five_minutes_ago}"), 3),
        (format!("since:{in_a_minute}"), 0),
    ] {
        assert_eq!(history(&server, &from).len(), events, "from={from}");
    }

    client.events(3).await;
    server.until_metric("broadcastd_event_age_seconds_count", |count| count >= 3.0);
    let sum_s = server.metric("broadcastd_event_age_seconds_sum");
    assert!(sum_s < HOUR_S as f64, "{sum_s} s of age");
}
