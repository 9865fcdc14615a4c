//! Peers that mean no good, or are too many: bounded, counted, and no matter to anybody else.

use crate::harness::{Client, ROOMS, Server};
use crate::raw::{Raw, frame, request};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

#[test]
fn broken_frames_end_with_their_code() {
    let server = Server::start(ROOMS);
    let text = |payload: &[u8]| frame(0x81, payload);
    let cases: [(&str, Vec<u8>, u16); 15] = [
        ("an unmasked frame", vec![0x81, 2, b'{', b'}'], 1002),
        ("a reserved bit", frame(0xc1, b"{}"), 1002),
        ("another reserved bit", frame(0xa1, b"{}"), 1002),
        ("an unknown opcode", frame(0x83, b"{}"), 1002),
        ("an unknown control opcode", frame(0x8b, b""), 1002),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        ("a message within a message", [frame(0x01, b"{"), text(b"}")].concat(), 1002),
        ("a close with half a code", frame(0x88, &[3]), 1002),
        ("a close with a code that is never sent", frame(0x88, &1006_u16.to_be_bytes()), 1002),
        ("a close reason that is no text", frame(0x88, &[3, 232, 0xff]), 1007),
        ("text that is no UTF-8", text(&[b'"', 0xc0, 0xaf, b'"']), 1007),
        ("a message that is too long", text(&vec![b' '; 64 * 1024 + 1]), 1009),
        (
            "fragments that are too long",
            [frame(0x01, &vec![b' '; 60_000]), frame(0x80, &vec![b' '; 60_000])].concat(),
            1009,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut raw = Raw::client(&server);
        raw.send(&bytes);
        assert_eq!(raw.close_code(), Some(code), "{what}");
    }
    // A length is believed before the bytes come, and none of them is waited for.
    let mut raw = Raw::client(&server);
    raw.send(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(raw.close_code(), Some(1009), "a message of 4 GiB");
    // A frame byte by byte is a frame.
    let mut raw = Raw::client(&server);
    for byte in frame(0x81, b"{\"type\":\"ping\",\"id\":1}") {
        raw.send(&[byte]);
    }
    assert_eq!(raw.message()["type"], "welcome");
    assert_eq!(raw.message(), json!({ "type": "pong", "id": 1 }));
}

#[test]
fn handshakes_that_stay_half_open_are_ended_and_keep_nobody_out() {
    let server = Server::start(&format!("[server]\nhandshakes = 20\n{ROOMS}"));
    let proper = request("/ws", &[]);
    let mut silent: Vec<Raw> = (0..60)
        .map(|index| {
            let mut raw = Raw::connect(&server.clients[0]);
            if index % 2 == 0 {
                raw.send(&proper.as_bytes()[..proper.len() - 2]);
            }
            raw
        })
        .collect();
    // Behind all of them in the queue, which nothing but their number ends.
    assert_eq!(Raw::client(&server).message()["type"], "welcome");
    for raw in &mut silent[..41] {
        assert_eq!(raw.read(1), None, "it is ended without an answer");
    }
    // Each look at the metrics is a handshake as well, and takes the place of one more.
    server.until_metric("broadcastd_handshakes_refused_total{reason=\"handshakes\"}", |refused| {
        refused >= 41.0
    });
    assert_eq!(server.metric("broadcastd_handshakes_refused_total{reason=\"timeout\"}"), 0.0);
}

#[tokio::test]
async fn nonsense_closes_with_1008_and_good_messages_forgive_it() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    for round in 0..3 {
        for _ in 0..10 {
            client.send_text("nonsense").await;
            assert_eq!(client.next().await["code"], "bad_message");
        }
        client.send(json!({ "type": "ping", "id": round })).await;
        assert_eq!(client.wait_for("pong").await["id"], round);
    }
    for _ in 0..16 {
        client.send_text("{\"type\":").await;
    }
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_clients_gets_everything() {
    let server = Server::start(ROOMS);
    server.publish("a", 1, 100);
    let mut storm = Vec::new();
    for _ in 0..500 {
        let url = format!("ws://{}/ws", server.clients[0]);
        storm.push(tokio::spawn(async move {
            let mut client = Client::connect_to(&url).await;
            client.subscribe(json!({ "room": "all", "from": "start" })).await;
            let offsets: Vec<u64> = client.events(200).await.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
        }));
    }
    server.publish("a", 101, 100);
    for client in storm {
        client.await.unwrap();
    }
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
    assert_eq!(server.metric("broadcastd_clients_opened_total"), 500.0);
}

#[test]
fn ten_thousand_connections_are_served() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // As many as the system allows this process, with room for the other tests.
    let count = 10_000.min(hard.saturating_sub(2_000) as usize);
    assert!(count >= 1_000, "the limit of descriptors is too low to test anything: {hard}");
    let server = Server::start(ROOMS);
    let mut clients: Vec<Raw> = (0..count).map(|_| Raw::client(&server)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let subscribe = format!("{{\"type\":\"subscribe\",\"rooms\":\"agent:{}\"}}", index % 100);
        client.send(&frame(0x81, subscribe.as_bytes()));
    }
    for client in &mut clients {
        assert_eq!(client.message()["type"], "welcome");
        assert_eq!(client.message()["type"], "subscribed");
    }
    server.until_metric("broadcastd_clients", |clients| clients == count as f64);
    let line = |agent: usize| format!("{{\"type\":\"t\",\"agentId\":\"{agent}\"}}\n");
    assert_eq!(server.pipe(&(0..100).map(line).collect::<String>()).last().unwrap()["accepted"], 100);
    for (index, client) in clients.iter_mut().enumerate() {
        let message = client.message();
        assert_eq!(
            (&message["offset"], &message["data"]["agentId"]),
            (&json!(1), &json!((index % 100).to_string()))
        );
    }
    drop(clients);
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
}

#[test]
fn names_without_end_stay_within_their_limits() {
    let server = Server::start(&format!("[limits]\nrooms = 50\n{ROOMS}"));
    let lines: String = (0..500).map(|n| format!("{{\"type\":\"t\",\"agentId\":\"{n}\"}}\n")).collect();
    let answers = server.pipe(&lines);
    let total = answers.last().unwrap();
    assert_eq!(total["accepted"], 500, "each is in `all`: {total}");
    assert_eq!(server.metric("broadcastd_room_refused_total"), 451.0);
    // Told by the sweep, once a second.
    server.until_metric("broadcastd_rooms", |rooms| rooms == 50.0);
}
