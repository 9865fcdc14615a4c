//! `GET /sse`: what a stream is made of, where it goes on, and what ends it.

use crate::event_stream::{Block, EventStream, request};
use crate::harness::{Client, DEADLINE, ROOMS, Server, http};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> EventStream {
    EventStream::open(&server.clients[0], &format!("/sse{query}"), headers)
}

/// Opens a stream that goes on after an id.
fn resume(server: &Server, query: &str, id: &str) -> EventStream {
    open(server, query, &[("Last-Event-ID", id)])
}

fn refused(server: &Server, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
    http(&server.clients[0], request("GET", &format!("/sse{query}"), "1.1", headers).as_bytes())
}

/// An event's number of its own.
fn n(block: &Block) -> u64 {
    let message = block.json();
    assert_eq!(message["type"], "event", "{message}");
    message["data"]["n"].as_u64().unwrap()
}

#[test]
fn a_stream_says_where_it_is_with_every_block() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 2);
    let mut stream = open(&server, "?room=agent%3A1&room=all", &[]);
    assert!(stream.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", stream.head);
    assert!(stream.head.contains("content-type: text/event-stream\r\n"), "{}", stream.head);
    let retry = stream.next_block().unwrap();
    assert!((500..5500).contains(&retry.retry.unwrap()) && retry.data.is_none(), "{retry:?}");
    let welcome = stream.next();
    assert_eq!((welcome.id.as_ref(), welcome.event.as_ref()), (None, None));
    assert_eq!(welcome.json()["type"], "welcome");
    let subscribed = stream.next();
    let rooms = subscribed.json()["rooms"].clone();
    assert_eq!((&rooms[0]["room"], &rooms[0]["offset"]), (&json!("agent:1"), &json!(2)));
    let epoch = |index: usize| rooms[index]["epoch"].as_str().unwrap().to_owned();
    assert_eq!(subscribed.id, Some(format!("{}:2,{}:2", epoch(0), epoch(1))), "before the first event");

    server.publish("1", 3, 1);
    let (mut own, mut all) = (2, 2);
    for _ in 0..2 {
        let block = stream.next();
        let message = block.json();
        assert_eq!((message["offset"].as_u64(), n(&block), block.event.as_ref()), (Some(3), 3, None));
        *(if message["room"] == "all" { &mut all } else { &mut own }) = 3;
        let mut positions: Vec<&str> = block.id.as_ref().unwrap().split(',').collect();
        positions.sort_unstable();
        let mut expected = [format!("{}:{own}", epoch(0)), format!("{}:{all}", epoch(1))];
        expected.sort_unstable();
        assert_eq!(positions, expected);
    }
    let mut again = resume(&server, "?room=all&room=agent%3A1", &stream.last_id);
    let message = again.wait_for("subscribed");
    for room in message["rooms"].as_array().unwrap() {
        assert_eq!((&room["resumed"], &room["offset"]), (&json!(true), &json!(3)), "{message}");
    }
}

#[test]
fn no_room_and_no_event_passes_for_what_the_daemon_says() {
    let server = Server::start("[rooms.\"{agentId}\"]\ntypes = [\"*\"]\n");
    for name in ["gap", "closing", "error", "open", "other"] {
        let mut stream = open(&server, &format!("?room={name}&raw=1&event=room&from=start"), &[]);
        stream.next();
        stream.next();
        server.publish(name, 1, 1);
        let block = stream.next();
        assert_eq!(block.event.as_deref(), Some(if name == "other" { name } else { "event" }), "{block:?}");
        assert_eq!(block.json()["n"], 1);
    }
    let forged =
        r#"{"$gap":{"room":"lines","first":1,"offset":9},"type":"t","agentId":"lines","timestamp":1}"#;
    assert_eq!(server.post(forged).1["accepted"], 1);
    let (_, lines) = Server::get(&server.admin[0], "/api/v1/room/events?room=lines");
    assert!(lines.contains(&format!("{{\"$event\":{forged}}}\n")), "{lines}");
}

#[test]
fn names_and_bare_events_are_for_the_asking() {
    let server = Server::start(ROOMS);
    let mut typed = open(&server, "?room=all&event=type", &[]);
    let mut named = open(&server, "?room=all&event=room", &[]);
    let mut bare = open(&server, "?room=all&raw=1", &[]);
    let mut bare_named = open(&server, "?room=all&raw=1&event=room", &[]);
    for (stream, welcome) in [
        (&mut typed, Some("welcome")),
        (&mut named, None),
        (&mut bare, Some("welcome")),
        (&mut bare_named, Some("welcome")),
    ] {
        assert_eq!(stream.next().event.as_deref(), welcome);
        let subscribed = stream.next();
        assert_eq!(subscribed.event.as_deref(), welcome.map(|_| "subscribed"));
    }
    let pretty = "{\n  \"type\": \"t\",\r\n  \"n\": 1, \"timestamp\": 5\n}";
    assert_eq!(server.post(pretty).1["accepted"], 1);
    assert_eq!(typed.next().event.as_deref(), Some("event"));
    assert_eq!(named.next().event.as_deref(), Some("all"));
    for (stream, name) in [(&mut bare, None), (&mut bare_named, Some("all"))] {
        let block = stream.next();
        assert_eq!(block.event.as_deref(), name);
        assert_eq!(block.json(), json!({ "type": "t", "n": 1, "timestamp": 5 }));
        assert!(block.id.unwrap().ends_with(":1"));
    }
    let mut gone = resume(&server, "?room=all&raw=1&event=room", "1:7");
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(gone.next().event.unwrap());
    }
    assert_eq!(names, ["welcome", "subscribed", "gap", "all"], "a gap is never taken for an event");
}

#[test]
fn the_first_position_comes_with_data_also_after_a_snapshot_of_bare_events() {
    let server = Server::start("[rooms.keyed]\ntypes = [\"*\"]\nkey = \"n\"\nsnapshot = true\n");
    server.publish("1", 1, 2);
    let mut stream = open(&server, "?room=keyed&raw=1", &[]);
    let told: Vec<_> = (0..5).map(|_| stream.next()).map(|block| (block.event, block.id.is_some())).collect();
    let named = |name: &str, told| (Some(name.to_owned()), told);
    let event = (None, false);
    assert_eq!(
        told,
        [named("welcome", false), named("subscribed", false), event.clone(), event, named("snapshot", true)]
    );
    let mut again = resume(&server, "?room=keyed&raw=1", &stream.last_id);
    assert_eq!(again.wait_for("subscribed")["rooms"][0]["resumed"], json!(true));
}

#[test]
fn accept_asks_for_lines() {
    let server = Server::start(ROOMS);
    let mut lines = open(&server, "?room=all&from=start", &[("Accept", "application/x-ndjson")]);
    assert!(lines.head.contains("content-type: application/x-ndjson\r\n"), "{}", lines.head);
    assert_eq!(lines.next_line()["type"], "welcome");
    let subscribed = lines.next_line()["rooms"][0].clone();
    let mut bare = open(&server, "?room=all&raw=1", &[("Accept", "application/x-ndjson")]);
    server.publish("1", 1, 3);
    for offset in 1..=3 {
        let event = lines.next_line();
        assert_eq!((&event["type"], &event["offset"]), (&json!("event"), &json!(offset)));
        assert_eq!(bare.next_line()["n"], offset);
    }
    let epoch = subscribed["epoch"].as_str().unwrap();
    let query = format!("?room=all&raw=1&last_event_id={epoch}:1");
    let mut again = open(&server, &query, &[("Accept", "application/x-ndjson")]);
    assert_eq!(again.next_line()["n"], 2, "whoever keeps count can go on");
    let query = "?room=all&raw=1&last_event_id=1:1";
    let mut strange = open(&server, query, &[("Accept", "application/x-ndjson")]);
    assert_eq!(strange.next_line()["$gap"]["reason"], "epoch_changed");
    assert_eq!(strange.next_line()["n"], 1);
}

#[test]
fn a_room_that_began_anew_is_told_apart_from_one_that_is_new() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 3);
    server.publish("2", 1, 3);
    let of = |agent: &str| {
        let mut stream = open(&server, &format!("?room=agent%3A{agent}"), &[]);
        let message = stream.wait_for("subscribed");
        message["rooms"][0]["epoch"].as_str().unwrap().to_owned()
    };
    let (one, two) = (of("1"), of("2"));
    let both = "?room=agent%3A1&room=agent%3A2";
    // A position of a log that is no more: the other room began anew.
    let mut stream = resume(&server, both, &format!("dead:9,{one}:2"));
    let rooms = stream.wait_for("subscribed")["rooms"].clone();
    assert_eq!((&rooms[0]["resumed"], &rooms[0]["offset"]), (&json!(true), &json!(2)));
    assert_eq!((&rooms[1]["resumed"], &rooms[1]["offset"]), (&Value::Null, &json!(0)));
    assert_eq!(stream.last_id, "", "who is cut before the gap is told it when it comes back");
    let block = stream.next();
    let gap = block.json();
    assert_eq!((&gap["room"], &gap["reason"]), (&json!("agent:2"), &json!("epoch_changed")));
    assert_eq!(gap["epoch"], two.as_str());
    assert_eq!(block.id, Some(format!("{one}:2,{two}:0")), "positions are told with the last gap");
    let mut missed = [2, 0];
    while missed != [3, 3] {
        let message = stream.next().json();
        assert_eq!((&message["type"], &message["replay"]), (&json!("batch"), &json!(true)));
        missed[usize::from(message["room"] == "agent:2")] = message["offset"].as_u64().unwrap();
    }
    // All positions have their rooms: the other room is new, and begins where `from` says.
    let mut stream = resume(&server, &format!("{both}&from=last:1"), &format!("{one}:3"));
    let rooms = stream.wait_for("subscribed")["rooms"].clone();
    assert_eq!((&rooms[0]["resumed"], &rooms[1]["offset"]), (&json!(true), &json!(2)));
    assert_eq!(stream.next().json()["offset"], 3, "no gap: {rooms}");
    // Fewer rooms than before: the rest goes on.
    let mut stream = resume(&server, "?room=agent%3A2", &format!("{one}:3,{two}:1"));
    assert_eq!(stream.wait_for("subscribed")["rooms"][0]["offset"], 1);
}

#[test]
fn what_history_no_longer_has_is_a_gap_with_its_position() {
    let server = Server::start(
        "[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 10 }\n[rooms.other]\ntypes = [\"u\"]",
    );
    let mut stream = open(&server, "?room=all&room=other", &[]);
    stream.wait_for("subscribed");
    let begin = stream.last_id.clone();
    server.publish("1", 1, 100);
    // Until the shard has passed them on they are all still to be had.
    while stream.wait_for("event")["offset"] != 100 {}
    let mut late = resume(&server, "?room=all&room=other", &begin);
    let gap = late.wait_for("gap");
    assert_eq!((&gap["first"], &gap["offset"], &gap["missed"]), (&json!(1), &json!(90), &json!(90)));
    let (all, other) = begin.split_once(',').unwrap();
    let after = format!("{other},{}:90", all.split_once(':').unwrap().0);
    assert_eq!(late.last_id, after);
    let mut again = resume(&server, "?room=all&room=other", &after);
    let message = again.wait_for("batch");
    assert_eq!((&message["offset"], message["data"].as_array().unwrap().len()), (&json!(100), 10));
}

#[test]
fn what_a_filter_keeps_back_moves_the_position_all_the_same() {
    let config = format!("[server]\nheartbeat = \"200ms\"\n{ROOMS}");
    let server = Server::start(&config);
    for rooms in ["?room=all", "?room=all&room=agent%3Ax"] {
        let mut stream = open(&server, &format!("{rooms}&where=n%20%3D%3D%200"), &[]);
        stream.wait_for("subscribed");
        let begin = stream.last_id.clone();
        server.publish("1", 1, 5);
        let told = |id: &str| id.split([',', ':']).nth(1).unwrap().parse::<u64>().unwrap();
        let mut heartbeats = 0;
        while told(&stream.last_id) < told(&begin) + 5 {
            let block = stream.next_block().unwrap();
            assert_eq!((&block.data, &block.event), (&None, &None), "{block:?}");
            heartbeats += block.comments;
        }
        assert_eq!(stream.last_id.matches(':').count(), begin.matches(':').count(), "of all rooms");
        while heartbeats == 0 {
            heartbeats += stream.next_block().unwrap().comments;
        }
    }
    let mut lines = open(&server, "?room=all", &[("Accept", "application/x-ndjson")]);
    let mut text = String::new();
    while !text.contains("\n\n") {
        assert!(lines.read(1) > 0);
        text += &lines.take_rest();
    }
}

#[test]
fn limits_are_those_of_all_clients() {
    let config = format!(
        "[limits]\nclients = 3\nclients_per_ip = 2\n[limits.client]\nrooms = 2\n{ROOMS}[rooms.small]\ntypes = [\"u\"]\nsubscribers = 1\n"
    );
    let server = Server::start(&config);
    let (status, text) = refused(&server, "?room=agent%3A1&room=agent%3A2&room=all", &[]);
    assert_eq!(status, 400, "{text}");
    let (status, text) = refused(&server, "?room=al", &[]);
    assert_eq!((status, text.contains("\"all\"")), (404, true), "{text}");
    let first = open(&server, "?room=small", &[]);
    let mut second = open(&server, "?room=small&room=all", &[]);
    let rooms = second.wait_for("subscribed")["rooms"].clone();
    assert_eq!(rooms[0]["error"]["code"], "limit");
    assert_eq!(rooms[1]["offset"], 0);
    assert_eq!(second.last_id.matches(':').count(), 1);
    let (status, text) = refused(&server, "?room=all", &[]);
    assert_eq!(status, 429, "{text}");
    drop(second);
    server.until_metric("broadcastd_clients", |clients| clients == 1.0);
    let mut alone = open(&server, "?room=small", &[]);
    let told: Vec<Value> =
        alone.rest().iter().filter(|block| block.data.is_some()).map(Block::json).collect();
    assert_eq!(told[1]["rooms"][0]["error"]["code"], "limit");
    assert_eq!((&told[2]["type"], &told[2]["code"]), (&json!("closing"), &json!(1000)), "no room is left");
    drop((first, alone));
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
}

#[test]
fn what_is_no_get_and_what_follows_a_request_is_not_served() {
    let server = Server::start(ROOMS);
    let addr = &server.clients[0];
    for method in ["POST", "HEAD", "DELETE"] {
        let (status, _) =
            http(addr, request(method, "/sse?room=all", "1.1", &[("Content-Length", "0")]).as_bytes());
        assert_eq!(status, 405, "{method}");
    }
    let preflight = [("Origin", "http://localhost:1"), ("Access-Control-Request-Method", "GET")];
    let (status, _) = http(addr, request("OPTIONS", "/sse?room=all", "1.1", &preflight).as_bytes());
    assert_eq!(status, 204);
    let (status, _) = refused(&server, "?room=all", &[("Origin", "https://evil.example")]);
    assert_eq!(status, 403);
    let rebound = "GET /sse?room=all HTTP/1.1\r\nHost: rebound.example\r\n\r\n";
    assert_eq!(http(addr, rebound.as_bytes()).0, 403);

    let one = request("GET", "/sse?room=all", "1.1", &[("Origin", "http://localhost:1")]);
    let mut stream = EventStream::ask(addr, None, &(one.clone() + &one + &"x".repeat(100_000)));
    stream.read_head();
    assert!(stream.head.contains("access-control-allow-origin: http://localhost:1\r\n"), "{}", stream.head);
    stream.wait_for("subscribed");
    server.publish("1", 1, 1);
    assert_eq!(n(&stream.next()), 1, "what was sent after the request means nothing");
    let mut old = EventStream::ask(addr, None, &request("GET", "/sse?room=all&from=start", "1.0", &[]));
    old.read_head();
    assert!(old.head.contains("connection: close\r\n") && !old.head.contains("chunked"), "{}", old.head);
    old.wait_for("batch");
    server.until_metric("broadcastd_clients", |clients| clients == 2.0);
}

#[test]
fn whoever_closes_its_side_has_left() {
    let server = Server::start(ROOMS);
    let mut stream = open(&server, "?room=all", &[]);
    stream.wait_for("subscribed");
    stream.finish_writing();
    let rest = stream.rest();
    assert!(rest.iter().all(|block| block.data.is_none()), "{rest:?}");
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
    // At once with its request, as `nc -N` does: the end may be there before the request is looked at.
    for _ in 0..50 {
        let asked = request("GET", "/sse?room=all", "1.1", &[]);
        let mut hasty = EventStream::ask(&server.clients[0], None, &asked);
        hasty.finish_writing();
        hasty.read_head();
        hasty.rest();
    }
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
}

#[test]
fn a_unix_socket_has_streams_too() {
    let config = format!("[server]\nlisten = [\"unix:clients.sock\"]\n{ROOMS}");
    let server = Server::start(&config);
    let asked = "GET /sse?room=all HTTP/1.1\r\nHost: any.example\r\n\r\n";
    let mut stream = EventStream::ask(&server.clients[0], None, asked);
    stream.read_head();
    stream.wait_for("subscribed");
    server.publish("1", 1, 1);
    assert_eq!(n(&stream.next()), 1);
}

#[tokio::test]
async fn operators_see_how_clients_are_connected() {
    let server = Server::start(ROOMS);
    let _websocket = Client::connect(&server).await;
    let mut stream = open(&server, "?room=all", &[]);
    let number = stream.wait_for("welcome")["client"].clone();
    let mut lines = open(&server, "?room=all", &[("Accept", "application/x-ndjson")]);
    lines.next_line();
    server.until_metric("broadcastd_clients", |clients| clients == 3.0);
    let (_, metrics) = Server::get(&server.admin[0], "/metrics");
    for transport in ["websocket", "sse", "lines"] {
        assert!(
            metrics.contains(&format!("broadcastd_clients{{transport=\"{transport}\"}} 1\n")),
            "{metrics}"
        );
    }
    let (_, status) = Server::get(&server.admin[0], "/api/v1/websocket/status");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        status["transports"],
        json!({ "websocket": 1, "sse": 1, "lines": 1, "socketio": 0, "polling": 0 })
    );
    let (_, list) = Server::get(&server.admin[0], "/api/v1/clients");
    let list: Value = serde_json::from_str(&list).unwrap();
    let transports: Vec<&str> = list["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|client| client["transport"].as_str().unwrap())
        .collect();
    assert_eq!(transports, ["websocket", "sse", "lines"]);
    let path = format!("/api/v1/clients/{}", number.as_str().unwrap());
    let (status, _) = http(&server.admin[0], request("DELETE", &path, "1.1", &[]).as_bytes());
    assert_eq!(status, 204);
    let last = stream.rest().pop().unwrap().json();
    assert_eq!((&last["type"], &last["code"]), (&json!("closing"), &json!(4000)));
}

#[test]
fn a_drain_delivers_and_says_when_to_come_back() {
    let mut server = Server::start(ROOMS);
    let mut stream = open(&server, "?room=all&room=agent%3A1", &[]);
    stream.wait_for("subscribed");
    server.publish("1", 1, 50);
    server.signal(Signal::SIGTERM);
    let blocks = stream.rest();
    assert!(stream.has_ended, "the answer is whole");
    assert!(server.wait().success());
    let events = blocks.iter().filter(|block| block.id.is_some() && block.data.is_some()).count();
    assert_eq!(events, 100);
    let [.., retry, closing] = blocks.as_slice() else { panic!("{blocks:?}") };
    let message = closing.json();
    assert_eq!((&message["type"], &message["code"], &closing.id), (&json!("closing"), &json!(1001), &None));
    assert_eq!(json!(retry.retry.unwrap()), message["retry_after"]);
    assert!(stream.last_id.split(',').all(|position| position.ends_with(":50")), "{}", stream.last_id);
}

#[test]
fn rooms_that_a_reload_takes_leave_the_others_where_they_are() {
    let rooms = |names: &[&str]| -> String {
        names.iter().map(|name| format!("[rooms.{name}]\ntypes = [\"*\"]\n")).collect()
    };
    let server = Server::start(&rooms(&["a", "b", "c"]));
    let mut stream = open(&server, "?room=a&room=b&room=c", &[]);
    stream.wait_for("subscribed");
    server.publish("1", 1, 1);
    (0..3).for_each(|_| assert_eq!(n(&stream.next()), 1));
    server.reconfigure(&rooms(&["a", "c"]));
    let message = stream.wait_for("unsubscribed");
    assert_eq!((&message["rooms"], &message["reason"]), (&json!(["b"]), &json!("room_closed")));
    assert_eq!(
        stream.last_id.matches(":1").count(),
        2,
        "{} tells of the rooms that are left",
        stream.last_id
    );
    // The same address again, as an EventSource asks: the rooms that are left go on.
    server.publish("1", 2, 1);
    let mut again = resume(&server, "?room=a&room=b&room=c", &stream.last_id);
    let answered = again.wait_for("subscribed")["rooms"].clone();
    assert_eq!(answered[1]["error"]["code"], "unknown_room");
    for index in [0, 2] {
        assert_eq!((&answered[index]["resumed"], &answered[index]["offset"]), (&json!(true), &json!(1)));
    }
    let last = stream.last_id.clone();
    server.reconfigure(&rooms(&["d"]));
    let blocks = stream.rest();
    let kinds: Vec<Value> = blocks
        .iter()
        .filter(|block| block.data.is_some())
        .map(|block| block.json()["type"].clone())
        .collect();
    assert_eq!(kinds, ["event", "event", "unsubscribed", "unsubscribed", "closing"]);
    assert_eq!(refused(&server, "?room=a&room=b&room=c", &[("Last-Event-ID", &last)]).0, 404);
}

#[test]
fn curl_shows_what_there_is_and_tells_an_end_from_a_lost_connection() {
    let lines = "Accept: application/x-ndjson";
    // Of a chunked answer that is cut curl says so (18, a partial file). HTTP/1.0 has no way to tell.
    for (signal, arguments, status) in [
        (Signal::SIGTERM, vec!["-sN"], 0),
        (Signal::SIGKILL, vec!["-sN"], 18),
        (Signal::SIGTERM, vec!["-sN", "-H", lines], 0),
        (Signal::SIGKILL, vec!["-sN", "-H", lines], 18),
        (Signal::SIGTERM, vec!["-sN0"], 0),
        (Signal::SIGKILL, vec!["-sN0"], 0),
    ] {
        let mut server = Server::start(ROOMS);
        let url = format!("http://{}/sse?room=all", server.clients[0]);
        let mut curl =
            Command::new("curl").args(&arguments).arg(&url).stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
        printed.find(|line| line.contains("\"type\":\"subscribed\"")).unwrap();
        server.publish("1", 1, 1);
        let line = printed.find(|line| line.contains("\"type\":\"event\"")).unwrap();
        assert!(line.contains(r#""room":"all","offset":1,"#) && line.contains(r#""n":1"#), "{line}");
        server.signal(signal);
        server.wait();
        let is_closed = printed.any(|line| line.contains("\"type\":\"closing\""));
        assert_eq!(is_closed, signal == Signal::SIGTERM, "{arguments:?}");
        assert_eq!(curl.wait().unwrap().code(), Some(status), "{arguments:?} and {signal}");
    }
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let server = Server::start(ROOMS);
    let url = format!("http://{}/sse?room=all", server.clients[0]);
    let mut curl = Ended(Command::new("curl").args(["-sN", &url]).stdout(Stdio::null()).spawn().unwrap());
    server.until_metric("broadcastd_clients", |clients| clients == 1.0);
    curl.0.kill().unwrap();
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
}

#[test]
fn an_answer_comes_in_chunks_to_http_1_1_and_as_it_is_to_1_0() {
    let server = Server::start(ROOMS);
    let addr = &server.clients[0];
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let headers = [("Accept", accept)];
        let mut streams = ["1.1", "1.0"].map(|version| {
            let asked = request("GET", "/sse?room=all&room=agent%3A1", version, &headers);
            let mut stream = EventStream::ask(addr, None, &asked);
            stream.read_head();
            let is_chunked = stream.head.contains("\r\ntransfer-encoding: chunked\r\n");
            assert_eq!(is_chunked, version == "1.1", "{}", stream.head);
            stream
        });
        let first = server.metric("broadcastd_room_events_total") as u64 / 2 + 1;
        server.publish("1", first, 200);
        let last = format!("\"n\":{}", first + 199);
        let texts = streams.each_mut().map(|stream| {
            let mut text = String::new();
            // In each of two rooms.
            while text.matches(&last).count() < 2 {
                assert!(stream.read(1000) > 0);
                text += &stream.take_rest();
            }
            let events = text.lines().filter(|line| line.contains("\"type\":\"event\"")).count();
            assert_eq!(events, 400, "each event once: {text}");
            text
        });
        assert!(!texts[1].contains('\r'), "{accept}: no chunk is among them");
    }
}

/// A process that is ended with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nginx_keeps_nothing_back() {
    let server = Server::start(ROOMS);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let addr = &server.clients[0];
    // Buffering is on, as it is unless somebody turns it off.
    let proxy =
        "proxy_set_header Host localhost; proxy_buffering on; proxy_buffers 8 64k; proxy_buffer_size 64k;";
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {};\n", path(name)))
        .collect();
    let config = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {};\nerror_log stderr info;\n\
         events {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n{temporary}gzip on;\ngzip_types *;\nserver {{\n\
         listen unix:{};\nlocation /old/ {{ proxy_pass http://{addr}/; {proxy} }}\n\
         location / {{ proxy_pass http://{addr}; proxy_http_version 1.1; {proxy} }}\n}}\n}}\n",
        path("pid"),
        path("socket"),
    );
    std::fs::write(path("nginx.conf"), config).unwrap();
    let nginx = Command::new("/usr/sbin/nginx")
        .args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut nginx = Ended(nginx);
    let mut log = BufReader::new(nginx.0.stderr.take().unwrap());
    let until = std::time::Instant::now() + DEADLINE;
    while !std::path::Path::new(&path("socket")).exists() {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "nginx has ended: {line}");
        assert!(std::time::Instant::now() < until, "nginx does not listen: {line}");
    }
    let nginx_addr = format!("unix:{}", path("socket"));
    for place in ["", "/old"] {
        // Asked with HTTP/1.0, nginx answers as we do: until the end.
        let asked = request("GET", &format!("{place}/sse?room=all"), "1.0", &[("Accept-Encoding", "gzip")]);
        let mut stream = EventStream::ask(&nginx_addr, None, &asked);
        stream.read_head();
        assert!(stream.head.contains(" 200 OK"), "{}", stream.head);
        stream.wait_for("subscribed");
        let last = stream.last_id.clone();
        for _ in 0..3 {
            // Each waits for the one before: what is kept back would never come.
            let next = server.metric("broadcastd_room_events_total") as u64 / 2 + 1;
            server.publish("1", next, 1);
            assert_eq!(n(&stream.next()), next);
        }
        drop(stream);
        server.until_metric("broadcastd_clients", |clients| clients == 0.0);
        let id = [("Last-Event-ID", last.as_str())];
        let asked = request("GET", &format!("{place}/sse?room=all"), "1.0", &id);
        let mut again = EventStream::ask(&nginx_addr, None, &asked);
        again.read_head();
        assert_eq!(again.wait_for("batch")["data"].as_array().unwrap().len(), 3);
    }
}
