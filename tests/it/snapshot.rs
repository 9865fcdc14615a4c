//! Snapshots: the newest event of every key, and then everything after.

use crate::harness::{Client, DEADLINE, Producer, Server};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;

/// A room whose events are an agent's state each.
fn config(keys: &str) -> String {
    format!(
        "[rooms.states]\ntypes = [\"t\"]\nkey = \"id\"\nsnapshot = true\n{keys}\n[rooms.plain]\ntypes = [\"t\"]\n"
    )
}

fn line(id: u64, n: u64) -> String {
    format!("{{\"type\":\"t\",\"id\":\"{id}\",\"n\":{n},\"k\":{}}}\n", id % 2)
}

/// Publishes event `n` of each of these keys.
fn publish(server: &Server, events: impl Iterator<Item = (u64, u64)>) {
    let lines: String = events.map(|(id, n)| line(id, n)).collect();
    let answers = server.pipe(&lines);
    assert_eq!(answers.last().unwrap()["rejected"], 0, "{answers:?}");
}

/// What a client makes of what it is sent: the newest `n` of every key, and where it is.
#[derive(Default)]
struct State {
    newest: HashMap<String, u64>,
    offset: Option<u64>,
    pages: usize,
    gaps: Vec<Value>,
}

impl State {
    fn take(&mut self, message: &Value) {
        let mut event = |event: &Value| {
            let n = event["n"].as_u64().unwrap();
            let before = self.newest.insert(event["id"].as_str().unwrap().to_owned(), n);
            assert!(before < Some(n), "{event} after {before:?}");
        };
        match message["type"].as_str().unwrap() {
            "event" => event(&message["data"]),
            "batch" => message["data"].as_array().unwrap().iter().for_each(event),
            "snapshot" => {
                let data = message["data"].as_array().unwrap();
                assert!(data.len() <= 64);
                assert_ne!(message["more"] == true, message.get("offset").is_some(), "{message}");
                data.iter().for_each(event);
                self.pages += 1;
            }
            "gap" => self.gaps.push(message.clone()),
            _ => return,
        }
        self.offset = message["offset"].as_u64().or(self.offset);
    }

    /// Reads until the client is at an offset.
    async fn until(&mut self, client: &mut Client, offset: u64) {
        while self.offset < Some(offset) {
            let message = client.next().await;
            self.take(&message);
        }
    }
}

async fn subscribed(server: &Server, request: Value) -> (Client, Value) {
    let mut client = Client::connect(server).await;
    let answer = client.subscribe(request).await;
    (client, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_whole_while_thousands_of_events_come() {
    const KEYS: u64 = 1000;
    const ROUNDS: u64 = 20;
    // History is a fifth of a round, so that it is gone before a slow reader has had its snapshot.
    let server = Server::start(&config("history = { events = 200, age = \"10m\", bytes = \"4MiB\" }"));
    publish(&server, (0..KEYS).map(|id| (id, 0)));
    let addr = server.ingest[0].clone();
    let producer = std::thread::spawn(move || {
        let mut producer = Producer::connect(&addr);
        for n in 1..=ROUNDS {
            // Keys come in another order in each round.
            for id in 0..KEYS {
                producer.write(&line((id * 7 + n * 13) % KEYS, n));
            }
        }
        producer.finish()
    });
    let head = KEYS * (ROUNDS + 1);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let (client, answer) = subscribed(&server, json!("states")).await;
        assert!(answer["snapshot"] == true && answer.get("offset").is_none(), "{answer}");
        clients.push(tokio::spawn(async move {
            let (mut client, mut state) = (client, State::default());
            state.until(&mut client, head).await;
            state
        }));
    }
    assert_eq!(producer.join().unwrap().last().unwrap()["accepted"], KEYS * ROUNDS);
    let (mut last, answer) = subscribed(&server, json!("states")).await;
    assert_eq!(answer["head"], head);
    let mut state = State::default();
    state.until(&mut last, head).await;
    // A shard that is behind the room gives a snapshot of what it has, and the rest as events.
    assert_eq!((state.newest.len(), state.gaps.len()), (KEYS as usize, 0));
    assert!(state.pages > 0 && state.newest.values().all(|n| *n == ROUNDS), "{:?}", state.newest);
    for client in clients {
        let state = client.await.unwrap();
        assert_eq!(state.newest.len(), KEYS as usize);
        assert!(state.newest.values().all(|n| *n == ROUNDS), "{:?}", state.newest);
        // Who was lapped was told, and has been given the newest of every key since.
        assert!(state.gaps.iter().all(|gap| gap["snapshot"] == true), "{:?}", state.gaps);
    }
}

#[tokio::test]
async fn it_is_given_to_those_who_ask_and_begin_now() {
    let server = Server::start(&config(""));
    let (mut client, answer) = subscribed(&server, json!("states")).await;
    assert_eq!((&answer["head"], &answer["snapshot"]), (&json!(0), &json!(true)));
    let empty = json!({ "type": "snapshot", "room": "states", "offset": 0, "data": [] });
    assert_eq!(client.next().await, empty);
    publish(&server, (0..10).map(|n| (n % 3, n)));
    let mut state = State::default();
    state.until(&mut client, 10).await;
    assert_eq!(state.pages, 0);

    let (_, answer) = subscribed(&server, json!({ "room": "states", "snapshot": false })).await;
    assert_eq!((&answer["offset"], answer.get("snapshot")), (&json!(10), None));
    let (_, answer) = subscribed(&server, json!({ "room": "states", "from": "start" })).await;
    assert_eq!(answer["offset"], 0);
    let request = json!({ "room": "states", "from": { "last": 2 }, "snapshot": true });
    let (mut client, answer) = subscribed(&server, request).await;
    assert_eq!(answer["snapshot"], true);
    let page = client.next().await;
    assert_eq!(page["offset"], 8, "then the two newest: {page}");
    let kept: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|event| &event["n"]).collect();
    assert_eq!(kept, [7], "the newest of the two others come as events");
    assert_eq!(client.events(2).await.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [9, 10]);

    let request = json!({ "room": "states", "where": "k == 1" });
    let (mut client, _) = subscribed(&server, request).await;
    let page = client.next().await;
    assert_eq!((&page["offset"], page["data"].as_array().unwrap().len()), (&json!(10), 1), "{page}");

    let (_, answer) = subscribed(&server, json!({ "room": "plain", "snapshot": true })).await;
    assert_eq!(answer["error"]["code"], "bad_field", "{answer}");
}

#[tokio::test]
async fn keys_are_bounded_and_age() {
    let config = config("").replace("snapshot = true", "snapshot = { age = \"1s\" }");
    let server = Server::start(&format!("{config}[limits]\nkeys = 3\n"));
    publish(&server, (0..5).map(|id| (id, 1)));
    let (mut client, _) = subscribed(&server, json!("states")).await;
    let page = client.next().await;
    let ids: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|event| &event["id"]).collect();
    assert_eq!(ids, ["2", "3", "4"], "the key that had an event longest ago gives way");
    let keys = || {
        let (status, body) = Server::get(&server.admin[0], "/api/v1/room?room=states");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["keys"].as_u64().unwrap()
    };
    let until = Instant::now() + DEADLINE;
    while keys() > 0 {
        assert!(Instant::now() < until, "{} keys are left", keys());
        tokio::task::yield_now().await;
    }
    let (mut client, _) = subscribed(&server, json!("states")).await;
    assert_eq!(client.next().await["data"], json!([]));
}

#[tokio::test]
async fn what_history_no_longer_has_is_made_good() {
    let server = Server::start(&config("history = { events = 5, age = \"10m\", bytes = \"4MiB\" }"));
    let (mut client, answer) = subscribed(&server, json!("states")).await;
    let epoch = answer["epoch"].as_str().unwrap().to_owned();
    publish(&server, (0..10).map(|id| (id, 1)));
    let mut state = State::default();
    state.until(&mut client, 10).await;
    drop(client);
    // 0 to 4 change; then 5 to 9, which history still has.
    publish(&server, (0..5).chain(0..10).map(|id| (id, 2)).zip(2..).map(|((id, _), n)| (id, n)));
    let after = |offset: u64| json!({ "room": "states", "from": { "after": format!("{epoch}:{offset}") } });
    let (mut client, answer) = subscribed(&server, after(10)).await;
    assert_eq!((&answer["offset"], &answer["head"], answer.get("resumed")), (&json!(10), &json!(25), None));
    let gap = client.next().await;
    let expected = json!({
        "type": "gap", "room": "states", "first": 11, "last": 20, "missed": 10,
        "reason": "history_expired", "snapshot": true
    });
    assert_eq!(gap, expected, "no offset: the client is where it was");
    let page = client.next().await;
    assert_eq!(page["offset"], 20);
    state.take(&page);
    let ids: Vec<&str> =
        page["data"].as_array().unwrap().iter().filter_map(|event| event["id"].as_str()).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
    state.until(&mut client, 25).await;
    assert_eq!(state.newest.len(), 10);
    assert!((0..10).all(|id: u64| state.newest[&id.to_string()] == 7 + id), "{:?}", state.newest);

    let mut request = after(10);
    request["snapshot"] = false.into();
    let (mut client, _) = subscribed(&server, request).await;
    let gap = client.next().await;
    assert_eq!((&gap["offset"], gap.get("snapshot")), (&json!(20), None), "{gap}");
    let request = json!({ "room": "states", "from": { "after": "1:7" } });
    let (mut client, answer) = subscribed(&server, request).await;
    assert_eq!(answer["snapshot"], true);
    let gap = client.next().await;
    assert_eq!(
        (&gap["reason"], &gap["last"], &gap["epoch"]),
        (&json!("epoch_changed"), &json!(20), &answer["epoch"])
    );
    assert_eq!(client.next().await["offset"], 20);
    client.events(5).await;
}

#[tokio::test]
async fn another_key_begins_anew() {
    let server = Server::start(&config(""));
    publish(&server, (0..4).map(|n| (n % 2, n)));
    server.reconfigure(&config("").replace("\"id\"", "\"k\""));
    let snapshot = async || {
        let (mut client, _) = subscribed(&server, json!("states")).await;
        client.next().await["data"].as_array().unwrap().len()
    };
    assert_eq!(snapshot().await, 0);
    publish(&server, (0..10).map(|n| (n, n)));
    assert_eq!(snapshot().await, 2);
    server.reconfigure(&config("").replace("key = \"id\"\nsnapshot = true\n", ""));
    let (_, answer) = subscribed(&server, json!({ "room": "states", "snapshot": true })).await;
    assert_eq!(answer["error"]["code"], "bad_field");
}

#[tokio::test]
async fn a_stream_tells_its_position_with_the_last_page() {
    let server = Server::start(&config(""));
    publish(&server, (0..100).map(|id| (id, 1)));
    let blocks = |query: &str, count: usize| {
        let mut producer = Producer::connect(&server.clients[0]);
        let request = format!("GET /sse?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        producer.write(&request);
        let mut text = producer.read_until(|text| text.matches("\n\n").count() > count + 1);
        text = text.split_once("\r\n\r\n").unwrap().1.to_owned();
        // After `retry` and welcome.
        text.split("\n\n").skip(2).take(count).map(str::to_owned).collect::<Vec<_>>()
    };
    let pages = blocks("room=states", 3);
    assert!(pages[0].starts_with("data: {\"type\":\"subscribed\""), "{pages:?}");
    assert!(
        pages[1].starts_with("data: {\"type\":\"snapshot\"") && pages[1].contains("\"more\":true"),
        "{pages:?}"
    );
    assert!(pages[2].starts_with("id: ") && pages[2].contains(":100\ndata: {"), "{pages:?}");
    let none = blocks("room=states&snapshot=0", 1);
    assert!(none[0].starts_with("id: "), "{none:?}");
}

#[test]
fn operators_ask_for_it_over_http() {
    let server = Server::start(&config(""));
    publish(&server, (0..200).map(|n| (n % 150, n)));
    let admin = &server.admin[0];
    let ask = |query: &str| {
        let mut producer = Producer::connect(admin);
        let target = format!("/api/v1/room/snapshot?{query}");
        producer.write(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let answer = producer.read_to_end();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        // Pieces of the body have their lengths between the lines.
        let lines = body.lines().filter(|line| line.starts_with('{'));
        let numbers = lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap());
        (head.to_ascii_lowercase(), if head.contains(" 200 ") { numbers.collect() } else { Vec::new() })
    };
    let (head, all) = ask("room=states");
    assert!(head.contains("application/x-ndjson") && head.contains("broadcast-head: 200"), "{head}");
    assert_eq!(all, (50..200).collect::<Vec<u64>>());
    for (query, status) in [("room=plain", 400), ("", 400), ("room=states&of=x", 400), ("room=stats", 404)] {
        assert!(ask(query).0.starts_with(&format!("http/1.1 {status}")), "{query}");
    }
}
