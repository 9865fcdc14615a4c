//! The main job: what goes in at one side reaches everybody on the other.

use crate::harness::{Client, ROOMS, Server};
use serde_json::json;

#[tokio::test]
async fn an_event_reaches_every_room_it_belongs_to() {
    let server = Server::start(ROOMS);
    let mut everything = Client::connect(&server).await;
    let mut one = Client::connect(&server).await;
    assert_eq!(everything.subscribe("all").await["head"], 0);
    assert_eq!(one.subscribe("agent:42").await["head"], 0);
    server.publish("41", 1, 1);
    server.publish("42", 2, 1);
    let first = everything.next().await;
    assert_eq!(first["type"], "event");
    assert_eq!(
        (&first["room"], &first["offset"], &first["data"]["n"]),
        (&json!("all"), &json!(1), &json!(1))
    );
    let second = everything.next().await;
    let of_one = one.next().await;
    assert_eq!(
        (&of_one["room"], &of_one["offset"], &of_one["data"]["n"]),
        (&json!("agent:42"), &json!(1), &json!(2))
    );
    assert_eq!(second["seq"], of_one["seq"], "an event has one number in all its rooms");
    assert!(of_one["data"]["timestamp"].is_u64());
}

#[tokio::test]
async fn a_returning_client_goes_on_where_it_was() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 100);
    let mut client = Client::connect(&server).await;
    let answer = client.subscribe(json!({ "room": "all", "from": "start" })).await;
    let epoch = answer["epoch"].as_str().unwrap().to_owned();
    let events = client.events(100).await;
    assert_eq!(events.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    drop(client);
    server.publish("1", 101, 50);
    let mut client = Client::connect(&server).await;
    let after = json!({ "room": "all", "from": { "after": format!("{epoch}:60") } });
    assert_eq!(client.subscribe(after).await["resumed"], true);
    let events = client.events(90).await;
    assert_eq!(events.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (61..=150).collect::<Vec<_>>());
    server.publish("1", 151, 1);
    assert_eq!(client.next().await["offset"], 151, "it is live now");
}

#[tokio::test]
async fn many_rooms_and_events_arrive_in_order_everywhere() {
    // History has all of it, so that a client may be read late.
    let server = Server::start(&format!("[room_defaults]\nhistory = {{ events = 2000 }}\n{ROOMS}"));
    let mut clients = Vec::new();
    for agent in 0..20 {
        let mut client = Client::connect(&server).await;
        client.subscribe(format!("agent:{agent}")).await;
        client.subscribe("all").await;
        clients.push(client);
    }
    let line = |n: u64| format!("{{\"type\":\"t\",\"agentId\":{},\"n\":{n}}}\n", n % 20);
    server.pipe(&(0..2000).map(line).collect::<String>());
    for (agent, client) in clients.iter_mut().enumerate() {
        let (mut all, mut own) = (0, 0);
        while all < 2000 || own < 100 {
            for (room, offset, event) in client.events_of_rooms(1).await {
                if room == "all" {
                    assert_eq!(event["n"], all);
                    all += 1;
                    assert_eq!(offset, all);
                } else {
                    assert_eq!(event["n"], own * 20 + agent as u64);
                    own += 1;
                    assert_eq!(offset, own);
                }
            }
        }
    }
}
