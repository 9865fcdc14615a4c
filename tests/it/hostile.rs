//! Peers that mean no good, or are too many: bounded, counted, and no matter to anybody else.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A proper handshake up to its last line.
fn half_a_handshake(addr: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
}

/// A socket after its handshake, without a WebSocket library on top; the welcome is read.
fn raw_client(addr: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{}\r\n", half_a_handshake(addr)).as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\"heartbeat\":25000}") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    stream
}

/// A frame as a client sends it, with the mask 0.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..65536 => {
            bytes.push(0xfe);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0xff);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Reads to the end; the code of the close frame, if one came.
fn close_code(stream: &mut TcpStream) -> Option<u16> {
    let mut bytes = Vec::new();
    // A reset after the close frame is an end too.
    let _ = stream.read_to_end(&mut bytes);
    let mut rest = &bytes[..];
    while rest.len() >= 2 {
        let (head, len) = match rest[1] {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            len => (2, usize::from(len)),
        };
        if rest[0] == 0x88 && len >= 2 {
            return Some(u16::from_be_bytes([rest[head], rest[head + 1]]));
        }
        rest = &rest[head + len..];
    }
    None
}

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
        let mut stream = raw_client(&server.clients[0]);
        stream.write_all(&bytes).unwrap();
        assert_eq!(close_code(&mut stream), Some(code), "{what}");
    }
    // A length is believed before the bytes come, and none of them is waited for.
    let mut stream = raw_client(&server.clients[0]);
    stream.write_all(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap();
    assert_eq!(close_code(&mut stream), Some(1009), "a message of 4 GiB");
    // A frame byte by byte is a frame.
    let mut stream = raw_client(&server.clients[0]);
    for byte in frame(0x81, b"{\"type\":\"ping\",\"id\":1}") {
        stream.write_all(&[byte]).unwrap();
    }
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).unwrap();
    assert_eq!(close_code(&mut stream), Some(1000), "the answer to a close has its code");
}

#[test]
fn handshakes_that_stay_half_open_are_ended_and_keep_nobody_out() {
    let config = format!("[server]\nhandshakes = 20\nhandshake_timeout = \"2s\"\n{ROOMS}");
    let server = Server::start(&config);
    let addr = &server.clients[0];
    let mut silent: Vec<TcpStream> = (0..60)
        .map(|index| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            if index % 2 == 0 {
                stream.write_all(half_a_handshake(addr).as_bytes()).unwrap();
            }
            stream
        })
        .collect();
    // Behind all of them in the queue.
    let begun = Instant::now();
    drop(raw_client(addr));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for stream in &mut silent {
        let mut rest = Vec::new();
        // Ended with or without a reset.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 101"));
    }
    let refused =
        |reason: &str| server.metric(&format!("broadcastd_handshakes_refused_total{{reason=\"{reason}\"}}"));
    assert_eq!(refused("handshakes") + refused("timeout"), 60.0);
    assert!(refused("handshakes") >= 20.0);
}

#[tokio::test]
async fn a_silent_peer_is_found_out() {
    let server = Server::start(&format!("[server]\nheartbeat = \"1s\"\n{ROOMS}"));
    let addr = server.clients[0].clone();
    let mut lively = Client::connect(&server).await;
    lively.subscribe("all").await;
    // Never answers a ping.
    let ended = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(&addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(format!("{}\r\n", half_a_handshake(&addr)).as_bytes()).unwrap();
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        begun.elapsed()
    });
    // The other one's library answers while it waits.
    let silent_for = tokio::select! {
        ended = ended => ended.unwrap(),
        message = lively.next() => panic!("{message}"),
    };
    assert!(silent_for >= Duration::from_millis(1900), "{silent_for:?}");
    assert!(silent_for < Duration::from_secs(10), "{silent_for:?}");
    server.publish("a", 1, 1);
    assert_eq!(lively.next().await["offset"], 1);
    assert_eq!(server.metric("broadcastd_clients_closed_total{code=\"1006\"}"), 1.0);
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
    let addr = &server.clients[0];
    let mut clients: Vec<TcpStream> = (0..count).map(|_| raw_client(addr)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let subscribe = format!("{{\"type\":\"subscribe\",\"rooms\":\"agent:{}\"}}", index % 100);
        client.write_all(&frame(0x81, subscribe.as_bytes())).unwrap();
    }
    // Messages come in a text frame each; pings are nothing here.
    let read = |client: &mut TcpStream| {
        let mut head = [0; 2];
        client.read_exact(&mut head).unwrap();
        let len = if head[1] == 126 {
            let mut long = [0; 2];
            client.read_exact(&mut long).unwrap();
            usize::from(u16::from_be_bytes(long))
        } else {
            usize::from(head[1])
        };
        let mut payload = vec![0; len];
        client.read_exact(&mut payload).unwrap();
        if head[0] == 0x81 { serde_json::from_slice(&payload).unwrap() } else { json!(null) }
    };
    let read_text = |client: &mut TcpStream| {
        std::iter::repeat_with(|| read(client)).find(|message| !message.is_null()).unwrap()
    };
    for client in &mut clients {
        assert_eq!(read_text(client)["type"], "subscribed");
    }
    assert_eq!(server.metric("broadcastd_clients"), count as f64);
    let line = |agent: usize| format!("{{\"type\":\"t\",\"agentId\":\"{agent}\"}}\n");
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&(0..100).map(line).collect::<String>());
    assert_eq!(producer.finish().last().unwrap()["accepted"], 100);
    for (index, client) in clients.iter_mut().enumerate() {
        let message = read_text(client);
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
