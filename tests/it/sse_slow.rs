//! Streams whose clients read slowly, or not at all: cut anywhere, and right to the byte all the same.

use crate::event_stream::{EventStream, request};
use crate::harness::Server;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Bytes of each event's filling.
const FILL: usize = 1000;

fn config(history: usize, more: &str) -> String {
    format!(
        "[rooms.all]\ntypes = [\"*\"]\nhistory = {{ events = {history}, bytes = \"1GiB\" }}\n{more}\n\
         [rooms.other]\ntypes = [\"u\"]\n[limits.client]\nunsent = \"16KiB\"\n"
    )
}

/// A stream of two rooms over a small buffer, so that its blocks are put together for it.
fn open(server: &Server) -> EventStream {
    let asked = request("GET", "/sse?room=all&room=other", "1.1", &[]);
    let mut stream = EventStream::ask(&server.clients[0], Some(4096), &asked);
    stream.read_head();
    stream.wait_for("subscribed");
    stream
}

fn publish(server: &Server, first: u64, count: u64) {
    let fill = "x".repeat(FILL);
    let lines: String = (first..first + count)
        .map(|n| format!("{{\"type\":\"t\",\"n\":{n},\"fill\":\"{fill}\"}}\n"))
        .collect();
    server.pipe(&lines);
}

/// Publishes until the only client does not take more. Returns how many events that took.
fn fill_until_blocked(server: &Server) -> u64 {
    let mut written = 0;
    while server.metric("broadcastd_clients_blocked") < 1.0 {
        publish(server, written + 1, 500);
        written += 500;
        assert!(written < 200_000, "the kernel takes too much");
    }
    written
}

/// Reads to an offset of the room. Each message follows the one before, and its `id` says so. Returns the gaps.
fn read_to(stream: &mut EventStream, offset: u64) -> Vec<Value> {
    let (mut at, mut gaps) = (0, Vec::new());
    while at < offset {
        let block = stream.next();
        let message = block.json();
        let first = match message["type"].as_str() {
            Some("event") => message["offset"].as_u64().unwrap(),
            Some("batch") => {
                message["offset"].as_u64().unwrap() + 1 - message["data"].as_array().unwrap().len() as u64
            }
            Some("gap") => {
                gaps.push(message.clone());
                message["first"].as_u64().unwrap()
            }
            _ => panic!("{message}"),
        };
        assert_eq!(first, at + 1, "offsets follow each other: {message}");
        at = message["offset"].as_u64().unwrap();
        let id = block.id.unwrap();
        assert!(id.split(',').any(|position| position.ends_with(&format!(":{at}"))), "{id} at {at}");
        assert!(id.split(',').any(|position| position.ends_with(":0")), "{id}: the other room stays");
    }
    gaps
}

#[test]
fn who_reads_again_in_time_misses_nothing() {
    let server = Server::start(&config(200_000, ""));
    let mut stream = open(&server);
    let written = fill_until_blocked(&server) + 2000;
    publish(&server, written - 1999, 2000);
    assert_eq!(read_to(&mut stream, written), Vec::<Value>::new());
    server.until_metric("broadcastd_subscriptions_catching_up", |behind| behind == 0.0);
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 0.0);
    server.until_metric("broadcastd_pinned_bytes", |bytes| bytes == 0.0);
    publish(&server, written + 1, 1);
    assert_eq!(stream.next().json()["offset"], written + 1, "it is live again");
}

#[test]
fn who_reads_again_too_late_is_told_what_is_missing() {
    let server = Server::start(&config(100, ""));
    let mut stream = open(&server);
    let before = fill_until_blocked(&server);
    let mut written = before;
    while server.metric("broadcastd_backlog_bytes") > 0.0 || written < before + 20_000 {
        publish(&server, written + 1, 1000);
        written += 1000;
    }
    let gaps = read_to(&mut stream, written);
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap["reason"] == "slow_client"), "{gaps:?}");
}

#[test]
fn a_room_that_skips_takes_the_position_along() {
    let server = Server::start(&config(200_000, "slow_client = \"skip\""));
    let mut stream = open(&server);
    let written = fill_until_blocked(&server) + 2000;
    publish(&server, written - 1999, 2000);
    let gaps = read_to(&mut stream, written);
    assert!(!gaps.is_empty());
}

#[test]
fn a_room_that_disconnects_says_why_and_ends_the_stream() {
    let server = Server::start(&config(10, "slow_client = \"disconnect\""));
    let mut stream = open(&server);
    let before = fill_until_blocked(&server);
    let mut written = before;
    while server.metric("broadcastd_backlog_bytes") > 0.0 || written < before + 20_000 {
        publish(&server, written + 1, 1000);
        written += 1000;
    }
    let last = stream.rest().pop().unwrap().json();
    assert_eq!((&last["type"], &last["code"]), (&json!("closing"), &json!(4001)), "{last}");
    assert!(stream.last_id.contains(':'));
}

#[test]
fn a_client_that_never_reads_is_given_up() {
    let server = Server::start(&format!("[server]\nheartbeat = \"300ms\"\n{}", config(10, "")));
    let stream = open(&server);
    let mut written = 0;
    while server.metric("broadcastd_clients") > 0.0 {
        publish(&server, written + 1, 500);
        written += 500;
        assert!(written < 200_000, "the kernel takes too much");
    }
    server.until_metric("broadcastd_pinned_bytes", |bytes| bytes == 0.0);
    drop(stream);
}

#[test]
fn a_limit_on_deliveries_makes_a_stream_wait_and_lose_nothing() {
    let config = format!("{}deliveries = {{ rate = \"200/s\", burst = 50 }}\n", config(10_000, ""));
    let server = Server::start(&config);
    let mut stream = open(&server);
    let begun = Instant::now();
    publish(&server, 1, 150);
    assert_eq!(read_to(&mut stream, 150), Vec::<Value>::new());
    // However many a send had, the next one waits until they are paid.
    publish(&server, 151, 1);
    assert_eq!(stream.next().json()["offset"], 151);
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
}
