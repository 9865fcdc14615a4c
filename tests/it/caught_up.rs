//! Whoever has caught up is told so at once, whether a filter lets anything pass or not. The heartbeat of these daemons would come
//! too late for any of it.

use crate::event_stream::EventStream;
use crate::harness::{Client, ROOMS, Server};
use crate::tool::Tool;
use serde_json::{Value, json};

/// Whose history keeps everything.
fn server() -> Server {
    Server::start(&format!(
        "[server]\nheartbeat = \"1h\"\n[room_defaults]\nhistory = {{ events = 10000 }}\n{ROOMS}"
    ))
}

/// The messages up to the answer of a ping, by their types and offsets.
async fn until_pong(client: &mut Client) -> Vec<(Value, Value)> {
    client.send(json!({ "type": "ping" })).await;
    let mut messages = Vec::new();
    loop {
        let message = client.next_of_any_type().await;
        if message["type"] == "pong" {
            return messages;
        }
        messages.push((message["type"].clone(), message["offset"].clone()));
    }
}

#[tokio::test]
async fn one_position_tells_a_client_whose_filter_lets_nothing_pass() {
    let server = server();
    server.publish("a", 1, 5_000);
    let mut client = Client::connect(&server).await;
    let answer = client.subscribe(json!({ "room": "all", "from": "start", "where": "n == 0" })).await;
    assert_eq!((&answer["offset"], &answer["head"]), (&json!(0), &json!(5_000)));
    let position = client.next_of_any_type().await;
    assert_eq!(position, json!({ "type": "position", "room": "all", "offset": 5_000 }));
    // Of what comes after, it is told with the heartbeat, unless something passes.
    server.publish("a", 5_001, 3);
    server.publish("a", 0, 1);
    assert_eq!(client.next_of_any_type().await["offset"], json!(5_004));
    assert_eq!(until_pong(&mut client).await, []);
}

#[tokio::test]
async fn nobody_is_told_what_events_or_the_answer_tell() {
    let server = server();
    server.publish("a", 1, 100);
    let mut client = Client::connect(&server).await;
    for (room, told) in [
        (json!({ "room": "all", "from": "start" }), json!("batch")),
        (json!({ "room": "all", "from": { "last": 3 }, "where": "n > 98" }), json!("batch")),
    ] {
        client.subscribe(room).await;
        let mut at = json!(0);
        while at != json!(100) {
            let message = client.next_of_any_type().await;
            assert_eq!(message["type"], told, "{message}");
            at = message["offset"].clone();
        }
        assert_eq!(until_pong(&mut client).await, []);
    }
    client.subscribe(json!({ "room": "all", "where": "n == 0" })).await;
    assert_eq!(until_pong(&mut client).await, [], "the answer said 100");
    client.subscribe(json!({ "room": "all", "from": { "last": 50 }, "where": "n == 60" })).await;
    // The page that has the event leads to the end of the log.
    let (batch, rest) = (client.next().await, until_pong(&mut client).await);
    assert_eq!((&batch["data"][0]["n"], batch["offset"].as_u64()), (&json!(60), Some(64)));
    assert_eq!(rest, [(json!("position"), json!(100))]);
}

#[test]
fn one_id_tells_all_rooms_of_a_stream() {
    let server = server();
    server.publish("a", 1, 200);
    server.publish("b", 1, 100);
    let query = "?room=agent%3Aa&room=agent%3Ab&room=all&from=start&where=n%20%3D%3D%200";
    let mut stream = EventStream::open(&server.clients[0], &format!("/sse{query}"), &[]);
    let answer = stream.wait_for("subscribed");
    let epochs: Vec<&str> =
        answer["rooms"].as_array().unwrap().iter().map(|room| room["epoch"].as_str().unwrap()).collect();
    let ids = |offsets: [u64; 3]| -> Vec<String> {
        epochs.iter().zip(offsets).map(|(epoch, offset)| format!("{epoch}:{offset}")).collect()
    };
    assert_eq!(stream.last_id, ids([0, 0, 0]).join(","));
    let arrived = stream.next_block().unwrap();
    assert_eq!((arrived.id, arrived.data), (Some(ids([200, 100, 300]).join(",")), None));
    server.publish("a", 0, 1);
    assert_eq!(stream.next().json()["data"]["n"], 0);
}

#[test]
fn tail_ends_where_a_condition_lets_nothing_pass() {
    let server = server();
    server.publish("a", 1, 3_000);
    server.publish("b", 1, 10);
    let url = server.clients[0].clone();
    // Of 2 both agents have an event, and the room of one has it again.
    for (condition, events) in [("n > 5000", 0), ("n == 2", 3), ("n > 2998", 2)] {
        let tail = ["tail", "--url", &url, "--no-follow", "--where", condition, "all", "agent:b"];
        let ended = Tool::run(&server, &tail);
        assert_eq!((ended.code, &*ended.err), (0, ""), "{condition}");
        assert_eq!(ended.out.lines().count(), events, "{condition}: {}", ended.out);
    }
}
