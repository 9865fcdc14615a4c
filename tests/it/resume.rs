//! Where a subscription begins, what history still has, what is told of the rest, and how buffers hand events on.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So many messages as a test sends.
const FAST: &str = "[limits.client]\nmessages = \"100000/s\"\nsubscriptions = \"100000/s\"\n";

/// Sends a ping and takes what comes before the pong.
async fn until_pong(client: &mut Client) -> Vec<Value> {
    client.send(json!({ "type": "ping" })).await;
    let mut messages = Vec::new();
    loop {
        let message = client.next().await;
        if message["type"] == "pong" {
            return messages;
        }
        messages.push(message);
    }
}

/// Takes a subscription's messages to an offset; gives the offsets of its events.
async fn offsets_to(client: &mut Client, last: u64) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.last() != Some(&last) {
        let message = client.next().await;
        let end = message["offset"].as_u64().unwrap();
        let count = message["data"].as_array().map_or(1, Vec::len) as u64;
        assert!(["event", "batch"].contains(&message["type"].as_str().unwrap()), "{message}");
        assert!(message.get("offsets").is_none(), "nothing is left out: {message}");
        if message["type"] == "batch" {
            assert!(count <= 64, "{count} events in one batch");
            assert_eq!(message["seqs"].as_array().unwrap().len() as u64, count);
        }
        offsets.extend(end + 1 - count..=end);
    }
    offsets
}

fn gap(room: &str, first: u64, offset: u64, reason: &str) -> Value {
    let missed = offset + 1 - first;
    json!({ "type": "gap", "room": room, "first": first, "offset": offset, "missed": missed, "reason": reason })
}

fn new_epoch(room: &str, offset: u64, epoch: &Value) -> Value {
    let reason = "epoch_changed";
    json!({ "type": "gap", "room": room, "first": 1, "offset": offset, "missed": null, "reason": reason, "epoch": epoch })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn from_says_where_a_subscription_begins() {
    let server = Server::start(&format!("{FAST}{ROOMS}"));
    server.publish("1", 1, 100);
    // Between the two halves lies a millisecond that belongs to neither.
    let before = now_ms() + 1;
    while now_ms() <= before {
        std::hint::spin_loop();
    }
    server.publish("1", 101, 100);
    let mut client = Client::connect(&server).await;
    let epoch = client.subscribe("all").await["epoch"].as_str().unwrap().to_owned();
    for (from, begins, resumed) in [
        (json!("now"), 200, false),
        (json!(null), 200, false),
        (json!("start"), 0, false),
        (json!({ "last": 10 }), 190, false),
        (json!({ "last": 0 }), 200, false),
        (json!({ "last": 200 }), 0, false),
        (json!({ "last": u64::MAX }), 0, false),
        (json!({ "since": "-1h" }), 0, false),
        (json!({ "since": "-300000ms" }), 0, false),
        (json!({ "since": "-9999999d" }), 0, false),
        (json!({ "since": 0 }), 0, false),
        (json!({ "since": before }), 100, false),
        (json!({ "since": before as f64 + 0.25 }), 100, false),
        (json!({ "since": now_ms() + 3_600_000 }), 200, false),
        (json!({ "after": format!("{epoch}:0") }), 0, true),
        (json!({ "after": format!("{epoch}:1") }), 1, true),
        (json!({ "after": format!("{epoch}:63") }), 63, true),
        (json!({ "after": format!("{epoch}:128") }), 128, true),
        (json!({ "after": format!("{epoch}:199") }), 199, true),
        (json!({ "after": format!("{epoch}:200") }), 200, true),
    ] {
        let answer = client.subscribe(json!({ "room": "all", "from": from })).await;
        assert_eq!((&answer["offset"], &answer["head"]), (&json!(begins), &json!(200)), "{from}");
        assert_eq!(answer.get("resumed"), resumed.then_some(&json!(true)), "{from}");
        if begins < 200 {
            assert_eq!(offsets_to(&mut client, 200).await, (begins + 1..=200).collect::<Vec<_>>(), "{from}");
        }
        assert_eq!(until_pong(&mut client).await, [json!(null); 0], "{from}");
    }
    server.publish("1", 201, 1);
    let event = client.next().await;
    assert_eq!((&event["type"], &event["offset"]), (&json!("event"), &json!(201)));
    assert!(event.get("replay").is_none(), "it is live: {event}");
}

#[tokio::test]
async fn what_history_has_not_is_told_once_and_exactly() {
    let server = Server::start(&format!("{FAST}[rooms.all]\ntypes = [\"*\"]\nhistory = {{ events = 10 }}\n"));
    server.publish("1", 1, 50);
    let mut client = Client::connect(&server).await;
    let epoch = client.subscribe("all").await["epoch"].clone();
    let position = |offset: u64| json!({ "after": format!("{}:{offset}", epoch.as_str().unwrap()) });
    // What was asked for by its place is told; the others ask for what there is.
    for (from, begins, expired, resumed) in [
        (position(0), 0, Some(1), false),
        (position(20), 20, Some(21), false),
        (position(39), 39, Some(40), false),
        (position(40), 40, None, true),
        (position(45), 45, None, true),
        (json!("start"), 40, None, false),
        (json!({ "last": 30 }), 40, None, false),
        (json!({ "since": "-1h" }), 40, None, false),
    ] {
        let answer = client.subscribe(json!({ "room": "all", "from": from })).await;
        assert_eq!((&answer["offset"], &answer["head"]), (&json!(begins), &json!(50)), "{from}");
        assert_eq!(answer.get("resumed"), resumed.then_some(&json!(true)), "{from}");
        if let Some(first) = expired {
            assert_eq!(client.next().await, gap("all", first, 40, "history_expired"));
        }
        let next = begins.max(40) + 1;
        assert_eq!(offsets_to(&mut client, 50).await, (next..=50).collect::<Vec<_>>(), "{from}");
        assert_eq!(until_pong(&mut client).await, [json!(null); 0], "{from}");
    }
    // How many of them a condition would have let pass, nobody knows.
    client.subscribe(json!({ "room": "all", "from": position(20), "where": "n > 45" })).await;
    let mut unknown = gap("all", 21, 40, "history_expired");
    unknown["missed"] = Value::Null;
    assert_eq!(client.next().await, unknown);
    let batch = client.next().await;
    assert_eq!((&batch["data"][0]["n"], &batch["offset"]), (&json!(46), &json!(50)));
    server.until_metric("broadcastd_gaps_total{reason=\"history_expired\"}", |count| count == 4.0);
    let missed = "broadcastd_gap_events_total{reason=\"history_expired\"}";
    server.until_metric(missed, |count| count == 40.0 + 20.0 + 1.0);
}

#[tokio::test]
async fn a_position_of_another_epoch_begins_anew_with_what_there_is() {
    let config = format!("{FAST}[rooms.all]\ntypes = [\"*\"]\nhistory = {{ events = 10 }}\n");
    let old = Server::start(&config);
    old.publish("1", 1, 5);
    let mut client = Client::connect(&old).await;
    let old_epoch = client.subscribe("all").await["epoch"].clone();
    drop((client, old));
    let server = Server::start(&config);
    let mut client = Client::connect(&server).await;
    let subscribe = |epoch: &Value, offset: u64| {
        let after = format!("{}:{offset}", epoch.as_str().unwrap());
        json!({ "room": "all", "from": { "after": after } })
    };
    // Nothing was published yet, not even as much as the client had.
    let answer = client.subscribe(subscribe(&old_epoch, 5)).await;
    let epoch = answer["epoch"].clone();
    assert_ne!(epoch, old_epoch, "a restarted daemon has other epochs");
    assert_eq!(answer, json!({ "room": "all", "epoch": epoch, "head": 0, "offset": 0 }));
    assert_eq!(client.next().await, new_epoch("all", 0, &epoch));
    server.publish("1", 1, 30);
    assert_eq!(offsets_to(&mut client, 30).await, (1..=30).collect::<Vec<_>>());
    // The old position, one of an epoch that never was, and one beyond the newest event.
    for from in [subscribe(&old_epoch, 25), subscribe(&json!("1"), 25), subscribe(&epoch, 31)] {
        let answer = client.subscribe(from.clone()).await;
        assert_eq!(answer, json!({ "room": "all", "epoch": epoch, "head": 30, "offset": 20 }), "{from}");
        assert_eq!(client.next().await, new_epoch("all", 20, &epoch), "{from}");
        assert_eq!(offsets_to(&mut client, 30).await, (21..=30).collect::<Vec<_>>(), "{from}");
        assert_eq!(until_pong(&mut client).await, [json!(null); 0], "{from}");
    }
}

#[tokio::test]
async fn history_is_bounded_by_bytes_and_by_age() {
    let rooms = "[rooms.small]\ntypes = [\"small\"]\nhistory = { bytes = \"2KiB\" }\n\
                 [rooms.none]\ntypes = [\"none\"]\nhistory = { events = 0 }\n\
                 [rooms.short]\ntypes = [\"short\"]\nhistory = { age = \"300ms\" }\n";
    let server = Server::start(&format!("{FAST}{rooms}"));
    let mut client = Client::connect(&server).await;
    let mut live = Client::connect(&server).await;
    live.subscribe("none").await;
    for kind in ["small", "none"] {
        let line = format!("{{\"type\":\"{kind}\",\"text\":\"{}\"}}\n", "x".repeat(200));
        server.pipe(&line.repeat(40));
    }
    let answer = client.subscribe(json!({ "room": "small", "from": "start" })).await;
    let begins = answer["offset"].as_u64().unwrap();
    assert!((30..40).contains(&begins), "some 200 bytes each, and 2 KiB in all: {answer}");
    assert_eq!(offsets_to(&mut client, 40).await, (begins + 1..=40).collect::<Vec<_>>());
    let answer = client.subscribe(json!({ "room": "none", "from": "start" })).await;
    assert_eq!((&answer["head"], &answer["offset"]), (&json!(40), &json!(40)));
    assert_eq!(offsets_to(&mut live, 40).await, (1..=40).collect::<Vec<_>>(), "who is live needs no history");
    let epoch = client.subscribe("short").await["epoch"].clone();
    let begun = Instant::now();
    server.pipe("{\"type\":\"short\"}\n{\"type\":\"short\"}\n");
    assert_eq!(client.events(2).await.len(), 2);
    // They go by time alone; nothing else is published.
    while client.subscribe(json!({ "room": "short", "from": "start" })).await["offset"] != 2 {
        assert!(begun.elapsed() < DEADLINE, "history does not grow old");
        // The events, or that they have just gone.
        assert_eq!(client.next().await["offset"], 2);
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let after = format!("{}:1", epoch.as_str().unwrap());
    let answer = client.subscribe(json!({ "room": "short", "from": { "after": after } })).await;
    assert_eq!((&answer["epoch"], &answer["head"]), (&epoch, &json!(2)), "the room itself stays");
    assert_eq!(client.next().await, gap("short", 2, 2, "history_expired"));
}

#[tokio::test]
async fn a_room_given_up_goes_on_while_it_is_remembered_and_anew_after() {
    let room = "[rooms.\"agent:{agentId}\"]\ntypes = [\"*\"]\nhistory = { age = \"1ms\" }\n";
    let server = Server::start(&format!("{FAST}[limits]\nrooms = 1\n{room}"));
    let mut client = Client::connect(&server).await;
    let rooms = |count: f64| server.until_metric("broadcastd_rooms", |rooms| rooms == count);
    let epoch = client.subscribe("agent:1").await["epoch"].clone();
    server.publish("1", 1, 5);
    assert_eq!(client.events(5).await.len(), 5);
    rooms(1.0);
    client.send(json!({ "type": "unsubscribe", "rooms": "agent:1" })).await;
    client.wait_for("unsubscribed").await;
    rooms(0.0);
    let after = |offset: u64| {
        let after = format!("{}:{offset}", epoch.as_str().unwrap());
        json!({ "room": "agent:1", "from": { "after": after } })
    };
    // It goes on where it was, with its epoch.
    let answer = client.subscribe(after(3)).await;
    assert_eq!((&answer["epoch"], &answer["head"]), (&epoch, &json!(5)), "{answer}");
    assert_eq!(client.next().await, gap("agent:1", 4, 5, "history_expired"));
    assert_eq!(client.subscribe(after(5)).await["resumed"], true);
    server.publish("1", 6, 1);
    assert_eq!(client.events(1).await[0].0, 6);
    rooms(1.0);
    // As many are remembered as there may be: another one takes its place.
    for (room, publishes) in [("agent:1", false), ("agent:2", true)] {
        if publishes {
            client.subscribe(room).await;
            server.publish("2", 1, 1);
            assert_eq!(client.events(1).await[0].0, 1);
            rooms(1.0);
        }
        client.send(json!({ "type": "unsubscribe", "rooms": room })).await;
        client.wait_for("unsubscribed").await;
        rooms(0.0);
    }
    let answer = client.subscribe(after(6)).await;
    assert_ne!(answer["epoch"], epoch);
    assert_eq!((&answer["head"], &answer["offset"], answer.get("resumed")), (&json!(0), &json!(0), None));
    assert_eq!(client.next().await, new_epoch("agent:1", 0, &answer["epoch"]));
    server.publish("1", 7, 1);
    assert_eq!(client.events(1).await[0].0, 1);
}

const BUFFERS: &str = r#"
[rooms.counted]
types = ["counted"]
buffer = { events = 3, flush_interval = "1h" }
[rooms.timed]
types = ["timed"]
buffer = { flush_interval = "50ms" }
[rooms.grouped]
types = ["grouped"]
buffer = { events = 6, flush_interval = "1h", group_by = "group" }
[rooms.newest]
types = ["newest"]
key = "key"
buffer = { events = 3, flush_interval = "1h", keep = "newest" }
[rooms.urgent]
types = ["urgent"]
buffer = { events = 100, flush_interval = "1h" }
urgent = "severity == 'critical'"
[rooms.large]
types = ["large"]
buffer = { flush_interval = "1h" }
[rooms.long]
types = ["long"]
buffer = { events = 150, flush_interval = "1h" }
"#;

/// A room, what is published there, and the batches that come of it: the offset, and which of the events.
type Flushed = (&'static str, Vec<Value>, Vec<(u64, Vec<u64>)>);

fn flushed() -> Vec<Flushed> {
    let plain = |count: usize| vec![json!({}); count];
    let groups = ["a", "b", "a", "b", "a", "c"].map(|group| json!({ "group": group }));
    let keys = ["k", "l", "k", "m"].map(|key| json!({ "key": key }));
    let severities = ["low", "low", "critical", "low"].map(|severity| json!({ "severity": severity }));
    let large = vec![json!({ "text": "x".repeat(400_000) }); 4];
    vec![
        ("counted", plain(7), vec![(3, vec![1, 2, 3]), (6, vec![4, 5, 6])]),
        ("timed", plain(2), vec![(2, vec![1, 2])]),
        ("grouped", groups.into(), vec![(3, vec![1, 3, 5]), (5, vec![2, 4]), (6, vec![6])]),
        ("newest", keys.into(), vec![(3, vec![2, 3, 4])]),
        ("urgent", severities.into(), vec![(3, vec![1, 2, 3])]),
        // Full at 1 MiB; what is too long for one frame comes in several.
        ("large", large, vec![(1, vec![1]), (2, vec![2]), (3, vec![3])]),
        (
            "long",
            plain(150),
            vec![(64, (1..=64).collect()), (128, (65..=128).collect()), (150, (129..=150).collect())],
        ),
    ]
}

#[tokio::test]
async fn a_buffer_hands_its_events_on_in_contiguous_batches() {
    let server = Server::start(&format!("{FAST}{BUFFERS}"));
    let mut first_seq = 0;
    for (room, events, batches) in flushed() {
        let mut client = Client::connect(&server).await;
        client.subscribe(room).await;
        let lines = events.iter().zip(1..).map(|(event, n)| {
            let mut event = event.clone();
            event["type"] = json!(room);
            event["n"] = json!(n);
            format!("{event}\n")
        });
        server.pipe(&lines.collect::<String>());
        let mut at = 0;
        for (offset, numbers) in &batches {
            let batch = client.next().await;
            let data = batch["data"].as_array().unwrap();
            let seqs: Vec<u64> = numbers.iter().map(|n| first_seq + n).collect();
            let shown = |n: &Value| n["n"].as_u64().unwrap();
            assert_eq!((&batch["type"], &batch["room"]), (&json!("batch"), &json!(room)));
            assert_eq!(data.iter().map(shown).collect::<Vec<_>>(), *numbers, "{room}");
            assert_eq!((&batch["seqs"], &batch["offset"]), (&json!(seqs), &json!(offset)), "{room}");
            assert_eq!(*offset, at + numbers.len() as u64, "offsets are given when a buffer is flushed");
            for field in ["offsets", "skipped", "replay"] {
                assert!(batch.get(field).is_none(), "{room} has {field}");
            }
            at = *offset;
        }
        assert_eq!(until_pong(&mut client).await, [json!(null); 0], "what is left waits");
        // One who comes later finds what was flushed, and no more.
        let answer = client.subscribe(json!({ "room": room, "from": "start" })).await;
        assert_eq!(answer["head"], at);
        assert_eq!(offsets_to(&mut client, at).await, (1..=at).collect::<Vec<_>>());
        first_seq += events.len() as u64;
    }
    server.until_metric("broadcastd_room_replaced_total", |count| count == 1.0);
}

#[tokio::test]
async fn one_can_go_on_in_the_middle_of_a_batch() {
    let server = Server::start(&format!("{FAST}{BUFFERS}"));
    let mut client = Client::connect(&server).await;
    let epoch = client.subscribe("long").await["epoch"].as_str().unwrap().to_owned();
    server.pipe(&"{\"type\":\"long\"}\n".repeat(150));
    assert_eq!(offsets_to(&mut client, 150).await, (1..=150).collect::<Vec<_>>());
    let mut other = Client::connect(&server).await;
    for after in [0, 1, 63, 64, 65, 100, 127, 128, 129, 149] {
        let from = json!({ "after": format!("{epoch}:{after}") });
        let answer = other.subscribe(json!({ "room": "long", "from": from })).await;
        assert_eq!((&answer["resumed"], &answer["offset"]), (&json!(true), &json!(after)));
        assert_eq!(offsets_to(&mut other, 150).await, (after + 1..=150).collect::<Vec<_>>(), "after {after}");
    }
    server.pipe(&"{\"type\":\"long\"}\n".repeat(150));
    for client in [&mut client, &mut other] {
        assert_eq!(offsets_to(client, 300).await, (151..=300).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_while_events_come_sees_each_of_them_once() {
    const EVENTS: u64 = 10_000;
    let room = "types = [\"*\"]\nhistory = { events = 100000, bytes = \"64MiB\" }\n";
    let config = format!(
        "{FAST}[rooms.plain]\n{room}[rooms.buffered]\n{room}buffer = {{ events = 50, flush_interval = \"5ms\" }}\n"
    );
    let server = Server::start(&config);
    let mut at = Vec::new();
    let mut client = Client::connect(&server).await;
    for room in ["plain", "buffered"] {
        let answer = client.subscribe(room).await;
        at.push((room, answer["epoch"].as_str().unwrap().to_owned(), 0));
    }
    drop(client);
    let mut producer = Producer::connect(&server.ingest[0]);
    let published = tokio::task::spawn_blocking(move || {
        for n in 1..=EVENTS {
            producer.write(&format!("{{\"type\":\"t\",\"n\":{n}}}\n"));
        }
        producer.finish()
    });
    let (mut visits, begun) = (0, Instant::now());
    while at.iter().any(|(_, _, offset)| *offset < EVENTS) {
        let mut client = Client::connect(&server).await;
        for (room, epoch, offset) in &at {
            let after = format!("{epoch}:{offset}");
            let answer = client.subscribe(json!({ "room": room, "from": { "after": after } })).await;
            assert_eq!((&answer["resumed"], &answer["offset"]), (&json!(true), &json!(offset)));
        }
        for _ in 0..=visits * 13 % 40 {
            if at.iter().all(|(_, _, offset)| *offset == EVENTS) {
                break;
            }
            let message = client.next().await;
            let (_, _, offset) = at.iter_mut().find(|(room, _, _)| message["room"] == *room).unwrap();
            let end = message["offset"].as_u64().unwrap();
            let one = std::slice::from_ref(&message["data"]);
            for event in message["data"].as_array().map_or(one, Vec::as_slice) {
                *offset += 1;
                assert_eq!(event["n"], *offset, "each once, in order: {}", message["type"]);
            }
            assert_eq!(*offset, end, "a position is that of the last event");
        }
        visits += 1;
        assert!(begun.elapsed() < DEADLINE * 2, "{at:?} after {visits} visits");
    }
    assert_eq!(published.await.unwrap().last().unwrap()["accepted"], EVENTS);
    assert!(visits > 5, "{visits} visits");
}
