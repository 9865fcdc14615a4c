//! Views at the socket: a condition on a subscription, what it lets pass, and how far it has come all the same.

use crate::harness::{Client, ROOMS, Server, undisturbed};
use crate::raw::{Raw, frame};
use serde_json::{Value, json};

/// The expression, the object that is the same, and which of the events 1 to 8 pass.
const VIEWS: [(&str, &str, &[u64]); 5] = [
    ("n in [2, 5]", r#"{"n":[2,5]}"#, &[2, 5]),
    ("n == 3 && agentId == \"1\"", r#"{"n":3,"agentId":"1"}"#, &[3]),
    ("runId == 'r2' && n < 8", r#"{"runId":["r2"],"n":[5,6,7]}"#, &[5, 6, 7]),
    ("!(n != 8)", r#"{"n":8}"#, &[8]),
    ("missing == 1 || n == \"1\"", r#"{"missing":1}"#, &[]),
];

#[tokio::test]
async fn a_view_shows_what_its_condition_lets_pass() {
    let server = Server::start(ROOMS);
    let mut live = Vec::new();
    for (expression, object, passing) in VIEWS {
        for condition in [json!(expression), serde_json::from_str(object).unwrap()] {
            let mut client = Client::connect(&server).await;
            let room = json!({ "room": "all", "where": condition });
            assert_eq!(client.subscribe(room.clone()).await["offset"], 0);
            live.push((client, room, passing));
        }
    }
    for n in 1..=8 {
        let run = if n <= 4 { "r1" } else { "r2" };
        let line = format!("{{\"type\":\"t\",\"agentId\":\"1\",\"n\":{n}}}\n");
        assert_eq!(server.post_to(&format!("/events?runId={run}"), &line).0, 200);
    }
    for (mut client, mut room, passing) in live {
        let mut position = 0;
        for n in passing {
            let event = client.next().await;
            assert_eq!((&event["offset"], &event["data"]["n"]), (&json!(n), &json!(n)), "{room}: {event}");
            assert!(event["data"].get("runId").is_none(), "what stands beside an event is not in it");
            assert_eq!(event["skipped"].as_u64().unwrap_or(0), n - position - 1, "{room}: {event}");
            position = *n;
        }
        room["from"] = json!("start");
        client.subscribe(room.clone()).await;
        if passing.is_empty() {
            let position = json!({ "type": "position", "room": "all", "offset": 8 });
            assert_eq!(client.next_of_any_type().await, position, "{room}: it knows that it has caught up");
        } else {
            check_replay(&client.next().await, passing);
        }
        client.send_text(r#"{"type":"ping"}"#).await;
        assert_eq!(client.next().await["type"], "pong");
    }
}

/// A view's events from the log are one batch, which counts what was left out up to its position.
fn check_replay(batch: &Value, passing: &[u64]) {
    let data = batch["data"].as_array().unwrap();
    let numbers: Vec<u64> = data.iter().map(|event| event["n"].as_u64().unwrap()).collect();
    assert_eq!((&numbers[..], &batch["replay"]), (passing, &json!(true)), "{batch}");
    assert_eq!(batch["seqs"], json!(passing), "{batch}");
    let offset = batch["offset"].as_u64().unwrap();
    assert!(offset >= *passing.last().unwrap(), "{batch}");
    match batch.get("offsets") {
        Some(offsets) => assert_eq!(*offsets, json!(passing), "{batch}"),
        None => assert_eq!(offset + 1 - passing.len() as u64, passing[0], "{batch}"),
    }
    assert_eq!(batch["skipped"].as_u64().unwrap_or(0), offset - passing.len() as u64, "{batch}");
}

#[tokio::test]
async fn what_a_view_leaves_out_of_a_long_history_is_counted() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 300);
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "all", "where": "n in [5, 250]", "from": "start" })).await;
    let (first, second) = (client.next().await, client.next().await);
    let of = |message: &Value, field: &str| message[field].as_u64().unwrap();
    assert_eq!((&first["data"][0]["n"], &second["data"][0]["n"]), (&json!(5), &json!(250)));
    assert_eq!(of(&first, "skipped"), of(&first, "offset") - 1, "{first}");
    assert_eq!(of(&second, "skipped"), of(&second, "offset") - of(&first, "offset") - 1, "{second}");
}

#[tokio::test]
async fn a_position_that_moves_without_events_is_told_with_the_heartbeat() {
    // A client that the machine stalls for some heartbeats is gone.
    let config = format!("[server]\nheartbeat = \"200ms\"\n{ROOMS}");
    undisturbed(async || told_with_the_heartbeat(&Server::start(&config))).await;
}

fn told_with_the_heartbeat(server: &Server) -> Result<(), String> {
    let subscribed = |room: &Value| {
        let mut raw = Raw::client(server);
        raw.try_message()?;
        raw.send(&frame(0x81, json!({ "type": "subscribe", "rooms": room }).to_string().as_bytes()));
        let answer = raw.try_message()?["rooms"][0].clone();
        Ok::<_, String>((raw, answer))
    };
    let (mut raw, answer) = subscribed(&json!({ "room": "all", "where": "n == 6" }))?;
    server.publish("1", 1, 5);
    assert_eq!(raw.try_message()?, json!({ "type": "position", "room": "all", "offset": 5 }));
    server.publish("1", 6, 1);
    let event = raw.try_message()?;
    assert_eq!((&event["type"], &event["offset"]), (&json!("event"), &json!(6)), "{event}");
    assert_eq!(event["skipped"], 5);
    // The same after a catch-up that found nothing; and where nothing moves, nothing is told again.
    let epoch = answer["epoch"].as_str().unwrap();
    for (from, positions) in [("1", &[6][..]), ("6", &[])] {
        let after = json!({ "after": format!("{epoch}:{from}") });
        let (mut raw, answer) = subscribed(&json!({ "room": "all", "where": "n == 9", "from": after }))?;
        assert_eq!(answer["resumed"], true);
        let (mut told, mut pings) = (Vec::new(), 0);
        while pings < 4 {
            match raw.frame().ok_or("who answers is gone")? {
                (0x89, _) => {
                    raw.send(&frame(0x8a, b""));
                    pings += 1;
                }
                (_, text) => {
                    let message: Value = serde_json::from_slice(&text).unwrap();
                    assert_eq!(message["type"], "position", "{message}");
                    told.push(message["offset"].as_u64().unwrap());
                }
            }
        }
        assert_eq!(told, positions, "after {from}");
    }
    Ok(())
}
