//! The way in: what a handshake must be, whose page may make one, and how many there may be.

use crate::harness::{Client, ROOMS, Server, undisturbed};
use crate::raw::{ACCEPT, Answer, KEY, Raw, frame, request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Sends a request on a connection of its own.
fn ask(addr: &str, request: &str) -> (Raw, Answer) {
    let mut raw = Raw::connect(addr);
    raw.send(request.as_bytes());
    let answer = raw.answer();
    (raw, answer)
}

fn refused(server: &Server, reason: &str) -> f64 {
    server.metric(&format!("broadcastd_handshakes_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn the_subprotocol_is_agreed_to_when_it_is_offered() {
    let server = Server::start(ROOMS);
    let name = "Sec-WebSocket-Protocol";
    for (changes, agreed) in [
        (&[][..], false),
        (&[(name, "broadcastd.v1")], true),
        (&[(name, "other, broadcastd.v1")], true),
        (&[(name, "other"), (name, "broadcastd.v1")], true),
        (&[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")], false),
        (&[("Upgrade", "WebSocket"), ("Connection", "UPGRADE")], false),
        (&[("Content-Length", "0")], false),
    ] {
        for addr in [&server.clients[0], &server.admin[0]] {
            let (mut raw, answer) = ask(addr, &request("/ws", changes));
            assert_eq!(answer.status, 101, "{changes:?}: {}", answer.body);
            assert!(answer.head.contains("\r\nupgrade: websocket\r\n"), "{}", answer.head);
            assert!(answer.head.contains(&format!("accept: {}\r\n", ACCEPT.to_ascii_lowercase())));
            let line = "\r\nsec-websocket-protocol: broadcastd.v1\r\n";
            assert_eq!(answer.head.contains(line), agreed, "{changes:?}: {}", answer.head);
            assert!(!answer.head.contains("extensions"), "{}", answer.head);
            assert_eq!(raw.message()["type"], "welcome", "it is always the first message");
        }
    }
}

#[test]
fn a_refused_handshake_says_what_would_be_right() {
    let server = Server::start(ROOMS);
    let post = request("/ws", &[]).replace("GET", "POST");
    let old = request("/ws", &[]).replace("HTTP/1.1", "HTTP/1.0");
    let key = "Sec-WebSocket-Key";
    let cases = [
        (post, 405, "allow: get", "GET"),
        (old, 505, "", "proxy_http_version 1.1"),
        (request("/ws", &[("Host", "")]), 400, "", "Host"),
        (request("/ws", &[("Host", "a"), ("Host", "b")]), 400, "", "Host"),
        (request("/ws", &[("Content-Length", "2")]) + "{}", 400, "", "no body"),
        (request("/ws", &[("Transfer-Encoding", "chunked")]) + "0\r\n\r\n", 400, "", "no body"),
        (request("/ws", &[("Connection", "")]), 426, "upgrade: websocket", "Connection: Upgrade"),
        (request("/ws", &[("Connection", "close")]), 426, "upgrade: websocket", "Connection: Upgrade"),
        (request("/ws", &[("Upgrade", "")]), 426, "upgrade: websocket", "Upgrade: websocket"),
        (request("/ws", &[("Upgrade", "h2c")]), 426, "upgrade: websocket", "Upgrade: websocket"),
        (request("/ws", &[("Sec-WebSocket-Version", "")]), 426, "sec-websocket-version: 13", "13"),
        (request("/ws", &[("Sec-WebSocket-Version", "8")]), 426, "sec-websocket-version: 13", "13"),
        (request("/ws", &[(key, "")]), 400, "", key),
        (request("/ws", &[(key, "c2hvcnQ=")]), 400, "", "24 characters"),
        (request("/ws", &[(key, "dGhlIHNhbXBsZSBub25j*Q==")]), 400, "", key),
        (request("/ws", &[(key, KEY), (key, KEY)]), 400, "", key),
        (request("/ws", &[("Sec-WebSocket-Protocol", "graphql-ws")]), 400, "", "broadcastd.v1"),
        (request("/ws?room=a&room=%zz", &[]), 400, "", "room"),
        (request("/ws?room=%ff", &[]), 400, "", "room"),
    ];
    for (request, status, header, text) in &cases {
        let (_, answer) = ask(&server.clients[0], request);
        assert_eq!(answer.status, *status, "{request}{}", answer.body);
        assert!(answer.head.contains(header), "{request}{}", answer.head);
        assert!(answer.body.contains(text), "{request}{}", answer.body);
    }
    assert_eq!(refused(&server, "bad_request"), cases.len() as f64);
    assert_eq!(server.metric("broadcastd_handshakes_refused_total"), cases.len() as f64);
    // Each connection is answered once, or a refused page could try another request behind a proxy's back.
    let two = request("/ws", &[("Upgrade", "")]) + &request("/ws", &[]);
    let (_, answer) = ask(&server.clients[0], &two);
    assert_eq!(answer.status, 426);
    assert!(answer.head.contains("connection: close") && !answer.body.contains("HTTP/1.1"));
}

#[test]
fn pages_of_allowed_origins_may_connect_and_the_log_says_how_to_add_another() {
    let listed =
        r#"["local", "https://app.example.org", "https://any.example.org:*", "http://ten.example.org:8080"]"#;
    let server = Server::start(&format!("[server]\nallowed_origins = {listed}\n{ROOMS}"));
    let mut count = 0.0;
    for (origin, allowed) in [
        ("https://evil.example", false),
        ("http://localhost", true),
        ("https://localhost:3000", true),
        ("http://app.localhost:3000", true),
        ("http://127.0.0.1:1", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:8080", true),
        ("http://localhost.evil.example", false),
        ("http://127.0.0.1.evil.example", false),
        ("http://192.168.0.1", false),
        ("https://app.example.org", true),
        ("https://app.example.org:443", true),
        ("HTTPS://App.Example.org", true),
        ("http://app.example.org", false),
        ("https://app.example.org:8443", false),
        ("https://sub.app.example.org", false),
        ("https://any.example.org", true),
        ("https://any.example.org:8443", true),
        ("http://any.example.org:8443", false),
        ("http://ten.example.org:8080", true),
        ("http://ten.example.org", false),
        ("null", false),
        ("rubbish", false),
    ] {
        let (_, answer) = ask(&server.clients[0], &request("/ws", &[("Origin", origin)]));
        assert_eq!(answer.status, if allowed { 101 } else { 403 }, "{origin}");
        count += f64::from(!allowed);
    }
    assert_eq!(refused(&server, "origin"), count);
    let line = server.logged("page refused");
    let toml = listed.replace(']', r#", "https://evil.example"]"#);
    assert!(line.contains(&format!("[server] allowed_origins = {toml}")), "{line}");
    // Its own address is not a page's excuse.
    let (_, answer) = ask(
        &server.clients[0],
        &request("/ws", &[("Host", "rebound.example"), ("Origin", "http://rebound.example")]),
    );
    assert_eq!(answer.status, 403);
}

#[test]
fn a_star_lets_every_page_in_and_an_empty_list_none() {
    for (list, status) in [(r#"["*"]"#, 101), ("[]", 403)] {
        let server = Server::start(&format!("[server]\nallowed_origins = {list}\n{ROOMS}"));
        for origin in ["null", "https://evil.example", "http://localhost"] {
            let (_, answer) = ask(&server.clients[0], &request("/ws", &[("Origin", origin)]));
            assert_eq!(answer.status, status, "{list} {origin}");
        }
        let (_, answer) = ask(&server.clients[0], &request("/ws", &[]));
        assert_eq!(answer.status, 101, "who is no page may connect");
    }
}

#[test]
fn more_clients_than_may_be_are_told_to_come_back() {
    let server = Server::start(&format!("[limits]\nclients = 2\n{ROOMS}"));
    let held = [Raw::client(&server), Raw::client(&server)];
    for addr in [&server.clients[0], &server.admin[0]] {
        let (_, answer) = ask(addr, &request("/ws", &[]));
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("\r\nretry-after: "), "{}", answer.head);
        assert!(answer.body.contains("limits.clients"), "{}", answer.body);
    }
    assert_eq!(refused(&server, "clients"), 2.0);
    server.until_metric("broadcastd_clients", |clients| clients == 2.0);
    drop(held);
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
    let _again = [Raw::client(&server), Raw::client(&server)];
}

#[test]
fn clients_of_one_address_are_counted_together_behind_proxies_as_well() {
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:clients.sock\"]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n\
         [limits]\nclients_per_ip = 2\n{ROOMS}"
    );
    let server = Server::start(&config);
    let mut held = Vec::new();
    let mut counted = 0.0;
    for (listener, forwarded, status) in [
        (0, "203.0.113.9", 101),
        (0, "6.6.6.6, 203.0.113.9", 101),
        (0, "203.0.113.9", 429),
        (0, "6.6.6.6, 203.0.113.9, 10.1.2.3", 429),
        (1, "203.0.113.9", 429),
        (0, "203.0.113.10", 101),
        (0, "2001:db8:0:1::1", 101),
        (0, "[2001:db8:0:1:ffff::2]:4711", 101),
        (0, "2001:db8:0:1::3", 429),
        (1, "2001:db8:0:2::3", 101),
        (0, "", 101),
        (0, "10.0.0.7", 101),
        (0, "10.0.0.7, 127.0.0.1", 101),
        (0, "10.0.0.7", 429),
        (0, "", 101),
        (0, "", 429),
        (1, "", 101),
        (1, "", 101),
        (1, "", 101),
    ] {
        let (raw, answer) =
            ask(&server.clients[listener], &request("/ws", &[("X-Forwarded-For", forwarded)]));
        assert_eq!(answer.status, status, "{forwarded:?} at listener {listener}");
        if status == 429 {
            counted += 1.0;
            assert!(answer.head.contains("\r\nretry-after: "), "{}", answer.head);
            assert!(answer.body.contains("limits.clients_per_ip"), "{}", answer.body);
        }
        held.push(raw);
    }
    assert_eq!(refused(&server, "clients_per_ip"), counted);
    let stranger = Server::start(&format!("[limits]\nclients_per_ip = 1\n{ROOMS}"));
    let (_first, first) = ask(&stranger.clients[0], &request("/ws", &[("X-Forwarded-For", "203.0.113.1")]));
    let (_, second) = ask(&stranger.clients[0], &request("/ws", &[("X-Forwarded-For", "203.0.113.2")]));
    assert_eq!((first.status, second.status), (101, 429), "who is no trusted proxy is not believed");
}

#[tokio::test]
async fn a_handshake_has_a_deadline_and_a_client_none() {
    let config = |timeout: &str| format!("[server]\nhandshake_timeout = \"{timeout}\"\n{ROOMS}");
    let server = Server::start(&config("10m"));
    let mut client = Client::connect(&server).await;
    server.reconfigure(&config("1s"));
    let whole = request("/ws", &[]);
    let mut silent = ["", &whole[..20], &whole[..whole.len() - 2]].map(|sent| {
        let mut raw = Raw::connect(&server.clients[0]);
        raw.send(sent.as_bytes());
        raw
    });
    for raw in &mut silent {
        assert_eq!(raw.read(1), None, "it is ended without an answer");
    }
    server.until_metric("broadcastd_handshakes_refused_total{reason=\"timeout\"}", |count| count == 3.0);
    client.send(json!({ "type": "ping", "id": 1 })).await;
    assert_eq!(client.next().await, json!({ "type": "pong", "id": 1 }));
}

#[test]
fn silent_handshakes_make_room_for_proper_ones() {
    let server = Server::start(&format!("[server]\nhandshakes = 2\nhandshake_timeout = \"600s\"\n{ROOMS}"));
    let mut silent: Vec<Raw> = (0..2).map(|_| Raw::connect(&server.clients[0])).collect();
    silent[0].send(b"GET /ws HTTP/1.1\r\nHost: ");
    let mut client = Raw::client(&server);
    assert_eq!(client.message()["type"], "welcome");
    for raw in &mut silent {
        assert_eq!(raw.read(1), None, "it is ended without an answer");
    }
    server.until_metric("broadcastd_handshakes_refused_total{reason=\"handshakes\"}", |count| count == 2.0);
    assert_eq!(refused(&server, "timeout"), 0.0);
}

/// Heartbeats of a daemon whose clients a test keeps or lets go. One that the machine stalls for some of them is let go as well.
const SHORT_HEARTBEATS: &str = "[server]\nheartbeat = \"200ms\"\n";

#[tokio::test]
async fn a_client_that_reads_everything_stays_however_late_its_pongs_are() {
    undisturbed(async || late_pongs(&Server::start(&format!("{SHORT_HEARTBEATS}{ROOMS}")))).await;
}

fn late_pongs(server: &Server) -> Result<(), String> {
    let mut late = Raw::client(server);
    late.send(&frame(0x81, br#"{"type":"subscribe","rooms":["all"]}"#));
    while late.try_message()?["type"] != "subscribed" {}
    let (mut pings, mut sent) = (0, 0);
    // Eight heartbeats without a pong, while events come.
    while pings < 8 {
        sent += 1;
        server.publish("1", sent, 1);
        loop {
            let Some((first, payload)) = late.frame() else {
                return Err(format!("after {pings} pings and {sent} events the client is closed"));
            };
            pings += u32::from(first == 0x89);
            let offset =
                serde_json::from_slice(&payload).ok().and_then(|event: Value| event["offset"].as_u64());
            if first == 0x81 && offset == Some(sent) {
                break;
            }
        }
    }
    for _ in 0..pings {
        late.send(&frame(0x8a, b""));
    }
    // Without events it must answer: it does not.
    while late.frame().is_some() {}
    server.until_metric("broadcastd_clients_closed_total{code=\"1006\"}", |count| count == 1.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_for_two_heartbeats_is_gone_and_nobody_else() {
    undisturbed(async || silent_and_talking(&Server::start(&format!("{SHORT_HEARTBEATS}{ROOMS}"))).await)
        .await;
}

async fn silent_and_talking(server: &Server) -> Result<(), String> {
    let mut polite = Client::connect(server).await;
    polite.subscribe("all").await;
    let polite = tokio::spawn(async move { polite.next().await });
    // Answers no ping, and says other things: that will do.
    let mut talking = Raw::client(server);
    let mut silent = Raw::client(server);
    let begun = Instant::now();
    let (mut pings, mut pongs) = (0, 0);
    assert_eq!(talking.try_message()?["heartbeat"], 200);
    while pings < 8 {
        match talking.frame().ok_or("who says something is gone")? {
            (0x89, _) => {
                pings += 1;
                talking.send(&frame(0x81, br#"{"type":"ping"}"#));
            }
            (0x81, _) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(pongs >= 7, "{pongs}");
    assert!(begun.elapsed() >= Duration::from_millis(1200), "a ping comes once in a heartbeat");
    assert_eq!(silent.message()["type"], "welcome");
    let frames: Vec<(u8, Vec<u8>)> = std::iter::from_fn(|| silent.frame()).collect();
    let opcodes: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert_eq!(opcodes, [0x89, 0x89], "two pings, and an end without a close frame");
    server.publish("1", 1, 1);
    let event = polite.await.map_err(|_| "who answers is gone")?;
    assert_eq!(event["offset"], 1);
    server.until_metric("broadcastd_clients_closed_total{code=\"1006\"}", |count| count >= 1.0);
    Ok(())
}
