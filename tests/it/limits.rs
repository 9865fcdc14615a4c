//! Limits on what clients are sent and on who may be in a room: what is over them is told or waits, and nothing is lost.

use crate::harness::{Client, Server};
use serde_json::json;
use std::time::{Duration, Instant};

const ROOMS: &str =
    "[rooms.all]\ntypes = [\"*\"]\n[rooms.\"agent:{agentId}\"]\ntypes = [\"*\"]\nsubscribers = 2\n";

fn config(limits: &str) -> String {
    format!("[limits.client]\n{limits}\n{ROOMS}")
}

#[tokio::test]
async fn above_its_rate_a_client_waits_and_gets_everything() {
    let server = Server::start(&config("deliveries = { rate = \"500/s\", burst = 100 }"));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let begun = Instant::now();
    server.publish("a", 1, 1000);
    let mut events = client.events(1000).await;
    // However many a send had, the next one waits until they are paid: 1,000 events at 500 a second, less the burst.
    server.publish("a", 1001, 1);
    events.append(&mut client.events(1).await);
    let took = begun.elapsed();
    assert!(events.iter().map(|(offset, _)| *offset).eq(1..=1001), "in order, none twice, none missing");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(server.metric("broadcastd_gaps_total"), 0.0);
    server.until_metric("broadcastd_clients_rate_limited_total", |limited| limited > 0.0);
    // Hot: without the limit it is live at once.
    server.reconfigure(&config(""));
    server.publish("a", 1002, 500);
    assert_eq!(client.events(500).await.last().unwrap().0, 1501);
}

#[tokio::test]
async fn others_are_not_slowed_by_who_waits() {
    let server = Server::start(&config("deliveries = { rate = \"10/m\", burst = 10 }"));
    let mut greedy = Client::connect(&server).await;
    greedy.subscribe("all").await;
    let mut modest = Client::connect(&server).await;
    modest.subscribe("agent:7").await;
    server.publish("a", 1, 500);
    server.publish("7", 1, 5);
    // Behind the other one it would wait for most of an hour.
    assert_eq!(modest.events(5).await.len(), 5);
    drop(greedy);
}

#[tokio::test]
async fn or_it_is_closed_and_told_why() {
    let server = Server::start(&config(
        "deliveries = { rate = \"10/m\", burst = 10 }\nover_deliveries = \"disconnect\"",
    ));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    for n in 0..50 {
        server.publish("a", n, 1);
    }
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.as_str()), (4002, "delivery_rate"));
    server.until_metric("broadcastd_clients_closed_total{code=\"4002\"}", |closed| closed == 1.0);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_is_paced() {
    let mut server = Server::start(&config("deliveries = { rate = \"10/m\", burst = 1 }"));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    server.publish("a", 1, 100);
    server.until_metric("broadcastd_deliveries_total", |delivered| delivered >= 100.0);
    server.publish("a", 101, 200);
    server.until_metric("broadcastd_clients_rate_limited_total", |limited| limited > 0.0);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(client.events(300).await.last().unwrap().0, 300, "what was accepted is delivered");
    assert_eq!(client.closed().await.0, 1001);
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_room_takes_so_many_subscriptions() {
    let server = Server::start(&config(""));
    let mut clients = Vec::new();
    for expected in [false, false, true] {
        let mut client = Client::connect(&server).await;
        let answer = client.subscribe("agent:1").await;
        assert_eq!(answer["error"]["code"] == "limit", expected, "{answer}");
        assert!(client.subscribe("agent:2").await["error"].is_null() || expected);
        clients.push(client);
    }
    // Subscribing again is not one more, and who goes makes room.
    assert!(clients[0].subscribe(json!({ "room": "agent:1", "where": "n > 1" })).await["error"].is_null());
    drop(clients.remove(0));
    server.until_metric("broadcastd_clients", |clients| clients == 2.0);
    assert!(clients[1].subscribe("agent:1").await["error"].is_null());
    server.reconfigure(&config("").replace("subscribers = 2", "subscribers = 1"));
    assert!(
        clients[0].subscribe(json!({ "room": "agent:1", "from": "start" })).await["error"].is_null(),
        "who is there stays"
    );
}
