//! Clients that read slowly, or not at all: what they get, and that nobody else notices.

use crate::harness::{Client, DEADLINE, Server, undisturbed};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio_tungstenite::tungstenite::Message;

/// Bytes of each event's filling.
const FILL: usize = 1000;

/// A room `all` with so many events of history, and what else its table has.
fn room(history: usize, more: &str) -> String {
    format!(
        "[rooms.all]\ntypes = [\"*\"]\nhistory = {{ events = {history}, bytes = \"1GiB\" }}\n{more}\n\
         [rooms.other]\ntypes = [\"u\"]\n[limits.client]\nunsent = \"16KiB\"\n"
    )
}

/// Lines numbered from `first`.
fn lines(first: u64, count: u64) -> String {
    let fill = "x".repeat(FILL);
    (first..first + count).map(|n| format!("{{\"type\":\"t\",\"n\":{n},\"fill\":\"{fill}\"}}\n")).collect()
}

/// A daemon with such a room, and a client in it.
async fn start(history: usize, more: &str) -> (Server, Client) {
    let server = Server::start(&room(history, more));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    (server, client)
}

/// Publishes until the only client does not take more. Returns how many events that took.
fn fill_until_blocked(server: &Server) -> u64 {
    let mut written = 0;
    while server.metric("broadcastd_clients_blocked") < 1.0 {
        server.pipe(&lines(written + 1, 500));
        written += 500;
        assert!(written < 200_000, "the kernel takes too much");
    }
    written
}

/// What a client read: offsets in order, and the gaps between them.
#[derive(Default)]
struct Seen {
    offset: u64,
    events: u64,
    gaps: VecDeque<Value>,
}

impl Seen {
    /// Reads to an offset, and checks that each message follows the one before.
    async fn read_to(&mut self, client: &mut Client, offset: u64) {
        while self.offset < offset {
            let message = client.next().await;
            match message["type"].as_str() {
                Some("event") => self.follow(message["offset"].as_u64().unwrap(), 1),
                Some("batch") => {
                    let count = message["data"].as_array().unwrap().len();
                    assert!(count <= 64, "a page has at most 64 events, not {count}");
                    self.follow(message["offset"].as_u64().unwrap(), count as u64);
                }
                Some("gap") => {
                    assert_eq!(message["first"], self.offset + 1, "{message}");
                    self.offset = message["offset"].as_u64().unwrap();
                    self.gaps.push_back(message);
                }
                _ => panic!("{message}"),
            }
        }
    }

    /// Events that gaps told of. Each must be for reading too slowly.
    fn missed(&self) -> u64 {
        assert!(self.gaps.iter().all(|gap| gap["reason"] == "slow_client"), "{:?}", self.gaps);
        self.gaps.iter().map(|gap| gap["missed"].as_u64().unwrap()).sum()
    }

    fn follow(&mut self, offset: u64, count: u64) {
        assert_eq!(offset, self.offset + count, "offsets follow each other");
        self.offset = offset;
        self.events += count;
    }
}

#[tokio::test]
async fn who_comes_back_in_time_misses_nothing() {
    let (server, mut client) = start(200_000, "").await;
    let written = fill_until_blocked(&server) + 2000;
    server.pipe(&lines(written - 1999, 2000));
    let mut seen = Seen::default();
    seen.read_to(&mut client, written).await;
    assert_eq!((seen.events, seen.gaps.len()), (written, 0));
    server.until_metric("broadcastd_subscriptions_catching_up", |behind| behind == 0.0);
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 0.0);
    server.until_metric("broadcastd_pinned_bytes", |bytes| bytes == 0.0);
    server.publish("x", 1, 1);
    assert_eq!(client.next().await["offset"], written + 1, "it is live again");
}

#[tokio::test]
async fn who_comes_back_too_late_is_told_what_is_missing() {
    let (server, mut client) = start(100, "").await;
    let before = fill_until_blocked(&server);
    // What waits for a client that has made no progress for a second is given up.
    let mut written = before;
    while server.metric("broadcastd_backlog_bytes") > 0.0 || written < before + 20_000 {
        server.pipe(&lines(written + 1, 1000));
        written += 1000;
    }
    let mut seen = Seen::default();
    seen.read_to(&mut client, written).await;
    assert!(!seen.gaps.is_empty());
    let missed = seen.missed();
    assert_eq!(seen.events + missed, written, "every offset is an event or in a gap");
    server.until_metric("broadcastd_gap_events_total", |events| events == missed as f64);
    server.until_metric("broadcastd_gaps_total", |gaps| gaps == seen.gaps.len() as f64);
}

#[tokio::test]
async fn skip_goes_on_with_the_newest() {
    let (server, mut client) = start(200_000, "slow_client = \"skip\"").await;
    let written = fill_until_blocked(&server) + 3000;
    server.pipe(&lines(written - 2999, 3000));
    let mut seen = Seen::default();
    seen.read_to(&mut client, written).await;
    assert!(!seen.gaps.is_empty(), "history has it all, and is not what the room asks for");
    let missed = seen.missed();
    assert_eq!(seen.events + missed, written);
    server.publish("x", 1, 1);
    assert_eq!(client.next().await["offset"], written + 1, "it is live again");
}

#[tokio::test]
async fn disconnect_ends_with_4001_and_the_client_can_come_back() {
    let server = Server::start(&room(100, "slow_client = \"disconnect\""));
    let mut client = Client::connect(&server).await;
    let epoch = client.subscribe("all").await["epoch"].as_str().unwrap().to_owned();
    let before = fill_until_blocked(&server);
    let mut written = before;
    while server.metric("broadcastd_backlog_bytes") > 0.0 || written < before + 20_000 {
        server.pipe(&lines(written + 1, 1000));
        written += 1000;
    }
    let mut last = 0;
    let code = loop {
        let next = tokio::time::timeout(DEADLINE, client.socket.next()).await.expect("nothing in time");
        match next {
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                last = message["offset"].as_u64().unwrap_or(last);
                assert_ne!(message["type"], "gap", "{message}");
            }
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    assert_eq!(code, Some(4001));
    server.until_metric("broadcastd_clients_closed_total{code=\"4001\"}", |closed| closed == 1.0);
    let mut again = Client::connect(&server).await;
    again.subscribe(json!({ "room": "all", "from": { "after": format!("{epoch}:{last}") } })).await;
    let gap = again.next().await;
    assert_eq!((&gap["type"], &gap["first"]), (&json!("gap"), &json!(last + 1)), "{gap}");
    assert_eq!(gap["reason"], "history_expired");
}

#[tokio::test]
async fn the_stalled_do_not_delay_the_others() {
    let server = Server::start(&room(10, ""));
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        stalled.push(client);
    }
    let mut reading = Client::connect(&server).await;
    reading.subscribe("all").await;
    let mut seen = Seen::default();
    let mut written = 0;
    while server.metric("broadcastd_clients_blocked") < 50.0 {
        server.pipe(&lines(written + 1, 200));
        written += 200;
        seen.read_to(&mut reading, written).await;
    }
    for _ in 0..20 {
        server.pipe(&lines(written + 1, 200));
        written += 200;
        seen.read_to(&mut reading, written).await;
    }
    assert_eq!((seen.events, seen.gaps.len()), (written, 0), "who reads has everything");
    // A frame of FILL bytes, its envelope and its header.
    let pinned = server.metric("broadcastd_pinned_bytes");
    assert!(pinned > 0.0 && pinned <= 50.0 * (FILL as f64 + 300.0), "{pinned}");
    assert_eq!(server.metric("broadcastd_clients_blocked"), 50.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_no_gap_for_those_who_read() {
    // A client that the machine stalls for a second does not read.
    undisturbed(async || {
        let server = Server::start(&format!("[ingest]\nbacklog = \"1MiB\"\n{}", room(10, "")));
        flood(&server).await
    })
    .await;
}

async fn flood(server: &Server) -> Result<(), String> {
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(server).await;
        client.subscribe("all").await;
        clients.push(tokio::spawn(async move {
            let mut seen = Seen::default();
            seen.read_to(&mut client, 20_000).await;
            seen
        }));
    }
    let (addr, text) = (server.ingest[0].clone(), lines(1, 20_000));
    let producer = tokio::task::spawn_blocking(move || {
        let mut producer = crate::harness::Producer::connect(&addr);
        producer.write(&text);
        producer.finish()
    });
    let mut gaps = VecDeque::new();
    for client in clients {
        let mut seen = client.await.unwrap();
        assert_eq!(seen.events + seen.missed(), 20_000);
        gaps.append(&mut seen.gaps);
    }
    assert_eq!(producer.await.unwrap().last().unwrap()["accepted"], 20_000);
    if gaps.is_empty() { Ok(()) } else { Err(format!("{gaps:?}")) }
}

#[tokio::test]
async fn the_rest_of_a_cut_frame_comes_before_everything_else() {
    let (server, mut client) = start(200_000, "").await;
    client.subscribe("other").await;
    let written = fill_until_blocked(&server);
    // Answers and another room's events are due while a frame is cut.
    for id in 0..10 {
        client.send(json!({ "type": "ping", "id": id })).await;
    }
    server.pipe("{\"type\":\"u\"}\n");
    let (mut offsets, mut pongs) = (Vec::new(), 0);
    let mut other = false;
    while offsets.last() != Some(&(written + 1)) || pongs < 10 || !other {
        let message = client.next().await;
        match (message["type"].as_str().unwrap(), message["room"].as_str()) {
            ("pong", _) => pongs += 1,
            (_, Some("other")) => other = true,
            ("event", _) => offsets.push(message["offset"].as_u64().unwrap()),
            ("batch", _) => {
                let last = message["offset"].as_u64().unwrap();
                offsets.extend(last + 1 - message["data"].as_array().unwrap().len() as u64..=last);
            }
            _ => panic!("{message}"),
        }
    }
    assert_eq!(offsets, (1..=written + 1).collect::<Vec<_>>());
}
