//! Another configuration while everything runs: what it changes, and that nobody notices.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, http};
use crate::systemd::Stopped;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn rooms_come_go_and_change_under_their_readers() {
    let rooms = |history: u32, more: &str| {
        format!("[rooms.stays]\ntypes = [\"t\"]\nhistory = {{ events = {history} }}\n{more}")
    };
    let goes = "[rooms.goes]\ntypes = [\"t\"]\n[rooms.\"agent:{agentId}\"]\ntypes = [\"t\"]\n";
    let server = Server::start(&rooms(100, goes));
    let mut client = Client::connect(&server).await;
    for room in ["stays", "goes", "agent:1"] {
        client.subscribe(room).await;
    }
    server.publish("1", 1, 20);
    for _ in 0..3 {
        client.events(20).await;
    }
    let answer = server.reconfigure(&rooms(5, "[rooms.comes]\ntypes = [\"t\"]\n"));
    assert_eq!(answer["summary"], "rooms +1 −2 · rooms.stays.history.events 100→5");
    let mut closed: Vec<String> = Vec::new();
    while closed.len() < 2 {
        let message = client.wait_for("unsubscribed").await;
        assert_eq!(message["reason"], "room_closed");
        closed.extend(
            message["rooms"].as_array().unwrap().iter().map(|room| room.as_str().unwrap().to_owned()),
        );
    }
    closed.sort_unstable();
    assert_eq!(closed, ["agent:1", "goes"]);
    let refused = client.subscribe("goes").await;
    assert_eq!(refused["error"]["code"], "unknown_room");
    client.subscribe("comes").await;
    server.publish("1", 21, 1);
    let mut got = vec![client.next().await["room"].clone(), client.next().await["room"].clone()];
    got.sort_unstable_by_key(ToString::to_string);
    assert_eq!(got, ["comes", "stays"]);
    // History was trimmed at once.
    let mut late = Client::connect(&server).await;
    late.subscribe(json!({ "room": "stays", "from": "start" })).await;
    assert_eq!(late.events(5).await[0].0, 17);
    // A room of the same name is another life of the log.
    server.reconfigure(&rooms(5, goes));
    let again = client.subscribe(json!({ "room": "goes", "from": "start" })).await;
    assert_eq!(again["head"], 0);
    assert_eq!(server.metric("broadcastd_gaps_total"), 0.0);
}

#[tokio::test]
async fn what_was_published_to_a_room_that_goes_arrives_first() {
    let before = "[rooms.goes]\ntypes = [\"t\"]\nbuffer = { events = 1000, flush_interval = \"10m\" }\n[rooms.stays]\ntypes = [\"u\"]\n";
    let server = Server::start(before);
    let mut client = Client::connect(&server).await;
    client.subscribe("goes").await;
    let filtered = client.subscribe(json!({ "room": "stays", "where": "n > 5" })).await;
    assert_eq!(filtered["head"], 0);
    server.publish("1", 1, 7);
    server.reconfigure("[rooms.stays]\ntypes = [\"u\"]\n");
    let batch = client.next().await;
    assert_eq!(
        (&batch["type"], &batch["offset"]),
        (&json!("batch"), &json!(7)),
        "what the buffer held: {batch}"
    );
    assert_eq!(
        client.next().await,
        json!({ "type": "unsubscribed", "rooms": ["goes"], "reason": "room_closed" })
    );
}

#[tokio::test]
async fn who_reads_nothing_is_told_of_a_room_that_goes_when_it_reads() {
    let server = Server::start(
        "[rooms.goes]\ntypes = [\"*\"]\nhistory = { events = 5 }\n[rooms.stays]\ntypes = [\"*\"]\n",
    );
    let mut client = Client::connect(&server).await;
    client.subscribe("goes").await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    server.reconfigure("[rooms.stays]\ntypes = [\"*\"]\n");
    // Waited for, for a while: a shard has a client that is behind, until it has not.
    server.until_metric("broadcastd_subscriptions_catching_up", |behind| behind == 0.0);
    let mut offset = 0;
    loop {
        let message = client.next().await;
        match message["type"].as_str().unwrap() {
            "event" | "batch" => offset = message["offset"].as_u64().unwrap(),
            "gap" => {
                assert_eq!(message["first"], offset + 1, "{message}");
                offset = message["offset"].as_u64().unwrap();
            }
            "unsubscribed" => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!(offset, 10_000, "everything came, or was told");
}

#[tokio::test]
async fn limits_reach_those_who_are_connected() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    server.reconfigure(&format!(
        "{ROOMS}[limits]\nclients = 1\n[limits.client]\nrooms = 1\nmessage_size = \"200B\"\nmessages = {{ rate = \"1/m\", burst = 3 }}\n"
    ));
    let (status, _) = Server::get(&server.clients[0], "/api/v1/health");
    assert_eq!(status, 200);
    let url = format!("ws://{}/ws", server.clients[0]);
    let refused = tokio_tungstenite::connect_async(&url).await.unwrap_err();
    assert!(matches!(refused, tokio_tungstenite::tungstenite::Error::Http(answer) if answer.status() == 503));
    let error = client.subscribe("agent:1").await;
    assert_eq!(error["error"]["code"], "limit", "{error}");
    client.send(json!({ "type": "ping", "id": 1 })).await;
    client.send(json!({ "type": "ping", "id": 2 })).await;
    client.send(json!({ "type": "ping", "id": 3 })).await;
    client.send(json!({ "type": "ping", "id": 4 })).await;
    let error = client.wait_for("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("rate_limited"), &json!(4)), "{error}");
    client.send(json!({ "type": "ping", "id": "x".repeat(300) })).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn producers_and_pages_follow_as_well() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&format!("{{\"type\":\"t\",\"f\":\"{}\"}}\n", "x".repeat(500)));
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
    let page = |origin: &str| {
        let request = crate::raw::request("/ws", &[("Origin", origin)]);
        let mut raw = crate::raw::Raw::connect(&server.clients[0]);
        raw.send(request.as_bytes());
        raw.answer().status
    };
    assert_eq!(page("https://app.example.org"), 403);
    server.reconfigure(
        "[server]\nallowed_origins = [\"https://app.example.org\"]\nexpose = []\nheartbeat = \"1s\"\n\
         [ingest]\nmax_event_size = \"100B\"\nunrouted = \"count\"\n[rooms.only]\ntypes = [\"u\"]\n",
    );
    assert_eq!(page("https://app.example.org"), 101);
    assert_eq!(Server::get(&server.clients[0], "/").0, 404);
    producer.write(&format!("{{\"type\":\"t\",\"f\":\"{}\"}}\n{{\"type\":\"t\"}}\n", "x".repeat(500)));
    let answers = producer.finish();
    assert_eq!(answers[0]["error"]["code"], "too_long", "{answers:?}");
    assert_eq!(answers.last().unwrap(), &json!({ "accepted": 2, "rejected": 1, "line": 3 }));
    assert_eq!(server.metric("broadcastd_ingest_unrouted_total"), 1.0);
    let mut client = Client::connect_to(&format!("ws://{}/ws", server.admin[0])).await;
    client.send(json!({ "type": "ping" })).await;
    assert_eq!(client.wait_for("pong").await["type"], "pong");
}

/// Four ports in a row that nobody has, below those that the system gives to connections.
fn free_ports() -> [u16; 4] {
    let is_free = |port: &u16| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok();
    let first = (10_000 + (std::process::id() % 10_000) as u16..30_000)
        .find(|port| (*port..port + 4).all(|port| is_free(&port)))
        .expect("some port is free");
    [first, first + 1, first + 2, first + 3]
}

fn connects(addr: impl std::net::ToSocketAddrs) -> bool {
    std::net::TcpStream::connect(addr).is_ok()
}

#[tokio::test]
async fn listeners_come_go_and_move_and_connections_stay() {
    let [clients, ingest, moved, clients_moved] = free_ports();
    let config = |server: &str, ingest: &str| {
        format!(
            "[server]\nlisten = [{server}]\nauth = \"none\"\n[ingest]\nlisten = [{ingest}]\nauth = \"none\"\n{ROOMS}"
        )
    };
    let at = |port: u16| format!("\"127.0.0.1:{port}\"");
    let server =
        Server::start(&config(&at(clients), &format!("{{ tcp = {}, type_field = \"kind\" }}", at(ingest))));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("{\"kind\":\"t\",\"n\":1}\n");
    assert_eq!(client.events(1).await[0].1["n"], 1);

    // Another place each, a Unix socket and a pipe beside.
    let more = format!("{}, {{ unix = \"in.sock\", mode = \"0600\" }}, {{ fifo = \"in.fifo\" }}", at(moved));
    server.reconfigure(&config(&at(clients_moved), &more));
    let until = Instant::now() + DEADLINE;
    while connects(("127.0.0.1", clients)) || connects(("127.0.0.1", ingest)) {
        assert!(Instant::now() < until, "the old ports are closed");
    }
    assert!(connects(("127.0.0.1", clients_moved)) && connects(("127.0.0.1", moved)));
    producer.write("{\"kind\":\"t\",\"n\":2}\n");
    assert_eq!(client.events(1).await[0].1["n"], 2, "who came through the old ones stays, with their keys");
    let socket = server.dir().join("broadcastd/in.sock");
    let mut through = Producer::connect(&format!("unix:{}", socket.display()));
    through.write("{\"type\":\"t\",\"n\":3}\n");
    assert_eq!(client.events(1).await[0].1["n"], 3);
    let mut pipe =
        std::fs::OpenOptions::new().write(true).open(server.dir().join("broadcastd/in.fifo")).unwrap();
    std::io::Write::write_all(&mut pipe, b"{\"type\":\"t\",\"n\":4}\n").unwrap();
    assert_eq!(client.events(1).await[0].1["n"], 4);

    // The same port on every address, other rights for the socket, the pipe gone.
    let more = format!("\"0.0.0.0:{moved}\", {{ unix = \"in.sock\", mode = \"0666\" }}");
    server.reconfigure(&config(&format!("\"0.0.0.0:{clients_moved}\""), &more));
    assert!(connects(("127.0.0.2", moved)) && connects(("127.0.0.2", clients_moved)));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    through.write("{\"type\":\"t\",\"n\":5}\n");
    assert_eq!(client.events(1).await[0].1["n"], 5);
    let mut again = Client::connect_to(&format!("ws://127.0.0.1:{clients_moved}/ws")).await;
    again.subscribe("all").await;

    // What cannot be bound changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = config(&at(clients_moved), &at(taken.local_addr().unwrap().port()));
    std::fs::write(server.config(), refused).unwrap();
    let (status, answer) = server.reload("");
    assert_eq!(status, 422);
    assert!(answer["report"].as_str().unwrap().contains("the port is taken by"), "{answer}");
    assert!(connects(("127.0.0.2", moved)), "as it was");
    producer.write("{\"kind\":\"t\",\"n\":6}\n");
    assert_eq!(client.events(1).await[0].1["n"], 6);
    assert_eq!(producer.finish().last().unwrap()["accepted"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_notice_nothing_of_a_hundred_reloads() {
    const RELOADS: u64 = 100;
    /// Events of each reload. All of them together fit into history, so that clients may be read late.
    const EVENTS: u64 = 4;
    let server = Server::start(ROOMS);
    let mut clients = Vec::new();
    for index in 0..1000 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        if index % 10 == 0 {
            client.subscribe("agent:a").await;
        }
        clients.push(client);
    }
    let (events, due) = std::sync::mpsc::sync_channel(1);
    let written = Arc::new(AtomicU64::new(0));
    let producer = std::thread::spawn({
        let (written, addr) = (Arc::clone(&written), server.ingest[0].clone());
        move || {
            let mut producer = Producer::connect(&addr);
            let mut n = 0;
            for last in due {
                while n < last {
                    producer.write(&format!("{{\"type\":\"t\",\"agentId\":\"a\",\"n\":{n}}}\n"));
                    n += 1;
                    written.store(n, Ordering::Relaxed);
                }
            }
            assert_eq!(producer.finish(), [json!({ "accepted": n, "rejected": 0, "line": n })]);
        }
    });
    for number in 0..RELOADS {
        let mut text = format!("{ROOMS}[rooms.number_{number}]\ntypes = [\"only_here\"]\n");
        text +=
            &format!("[limits]\nviews = {}\n[limits.client]\nunsent = \"{}KiB\"\n", 10 + number, 64 + number);
        text += &format!("[ingest]\nmax_event_size = \"{}KiB\"\n", 64 + number);
        text = text
            .replace("[rooms.all]\n", &format!("[rooms.all]\nhistory = {{ events = {} }}\n", 500 + number));
        // Some events come during each reload, or right after it, and all of them before the next.
        let last = (number + 1) * EVENTS;
        events.send(last).unwrap();
        server.reconfigure(&text);
        while written.load(Ordering::Relaxed) < last {
            std::thread::yield_now();
        }
    }
    drop(events);
    producer.join().unwrap();
    let written = RELOADS * EVENTS;
    for (index, client) in clients.iter_mut().enumerate() {
        let mut next = [0_u64; 2];
        let wanted = if index % 10 == 0 { [written, written] } else { [written, 0] };
        while next != wanted {
            let message = client.next().await;
            assert!(["event", "batch"].contains(&message["type"].as_str().unwrap()), "{message}");
            let room = usize::from(message["room"] == "agent:a");
            let single = [message["data"].clone()];
            for event in message["data"].as_array().map_or(&single[..], Vec::as_slice) {
                assert_eq!(event["n"], next[room], "client {index}");
                next[room] += 1;
            }
            assert_eq!(message["offset"], next[room]);
        }
    }
    assert_eq!(server.metric("broadcastd_config_reloads_total{outcome=\"applied\"}"), 100.0);
    for nothing in
        ["broadcastd_gaps_total", "broadcastd_clients_closed_total", "broadcastd_ingest_rejected_total"]
    {
        assert_eq!(server.metric(nothing), 0.0, "{nothing}");
    }
    assert_eq!(server.metric("broadcastd_clients_opened_total"), 1000.0);
}

#[test]
fn listeners_that_a_reload_has_removed_can_be_had_again_at_once() {
    // An address that no other test takes a port of.
    let config = |server: &str, admin: &str, ingest: &str| {
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\", {server}]\n[admin]\nlisten = [\"127.0.0.1:0\", {admin}]\n[ingest]\nlisten = [\"127.0.0.1:0\", {ingest}]\n{ROOMS}"
        )
    };
    let server = Server::start(&config(
        "\"127.77.3.9:0\"",
        "\"127.77.3.9:0\"",
        "\"127.77.3.9:0\", { unix = \"x.sock\" }",
    ));
    let quoted = |addr: &String| format!("{addr:?}");
    let with = config(
        &quoted(&server.clients[1]),
        &quoted(&server.admin[1]),
        &format!("{}, {{ unix = \"x.sock\" }}", quoted(&server.ingest[1])),
    );
    let without = config("", "", "");
    server.reconfigure(&with);
    for _ in 0..5 {
        assert_eq!(server.reconfigure(&without)["outcome"], "applied");
        assert_eq!(server.reconfigure(&with)["outcome"], "applied");
    }
    assert_eq!(Server::get(&server.clients[1], "/api/v1/health").0, 200);
    Producer::connect(&server.ingest[1]).write("{\"type\":\"t\"}\n");
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
}

#[test]
fn listener_that_is_slow_to_close_can_be_had_again() {
    let config = |server: &str| format!("[server]\nlisten = [\"127.0.0.1:0\"{server}]\n{ROOMS}");
    // An address that no other test takes a port of.
    let server = Server::start(&config(", \"127.77.3.10:0\""));
    let with = config(&format!(", {:?}", server.clients[1]));
    server.reconfigure(&with);
    let front = Stopped::new(&server, "front");
    server.reconfigure(&config(""));
    std::fs::write(server.config(), &with).unwrap();
    let admin = server.admin[0].clone();
    let again = std::thread::spawn(move || {
        http(&admin, b"POST /api/v1/config/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    // As a busy machine may hold a thread.
    std::thread::sleep(Duration::from_millis(1500));
    drop(front);
    let (status, answer) = again.join().unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(Server::get(&server.clients[1], "/api/v1/health").0, 200);
}
