//! The log: how it looks, how much it says, and its level while the daemon runs.

use crate::harness::{Client, Producer, ROOMS, Server};
use serde_json::Value;

#[tokio::test]
async fn a_line_is_an_object_where_json_is_wanted() {
    let server = Server::start(&format!("[log]\nformat = \"json\"\n{ROOMS}"));
    server.pipe("bad\n");
    let line: Value = serde_json::from_str(&server.logged("line refused")).unwrap();
    assert_eq!(
        (&line["level"], &line["line"], &line["code"]),
        (&"WARN".into(), &1.into(), &"bad_json".into())
    );
    assert!(line["timestamp"].is_string() && line["producer"].is_string(), "{line}");
}

#[tokio::test]
async fn the_level_follows_the_configuration() {
    let server = Server::start(ROOMS);
    let connect = || Producer::connect(&server.clients[0]).write("GET / HT");
    server.reconfigure(&format!("[log]\nlevel = \"debug\"\n{ROOMS}"));
    server.logged("configuration reloaded");
    connect();
    server.logged("DEBUG");
    server.reconfigure(&format!("[log]\nlevel = \"error\"\n{ROOMS}"));
    server.pipe("bad\n");
    server.reconfigure(ROOMS);
    server.pipe("bad\n");
    assert!(server.logged("WARN").contains("line refused"));
    assert_eq!(server.metric("broadcastd_ingest_rejected_total"), 2.0);
    std::fs::write(server.config(), format!("[log]\nformat = \"json\"\n{ROOMS}")).unwrap();
    assert!(server.reload("").1["report"].as_str().unwrap().contains("`log.format` cannot be changed"));
}

#[tokio::test]
async fn a_slow_client_is_named_once_and_a_good_day_is_a_few_lines() {
    let server = Server::start(&format!("[server]\nheartbeat = \"200ms\"\n{ROOMS}"));
    let mut slow = Client::connect(&server).await;
    slow.subscribe("all").await;
    let mut other = Client::connect(&server).await;
    other.subscribe("agent:1").await;
    server.publish("1", 1, 1000);
    other.events(1000).await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    let named = server.logged("client reads too slowly");
    assert!(named.contains("address=\"127.0.0.1\"") && named.contains("client="), "{named}");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    drop((slow, other));
    server.logged("stopped: ");
    let server = Server::start(ROOMS);
    for _ in 0..50 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        server.publish("1", 1, 10);
    }
    let log = server.log();
    assert!(log.lines().count() <= 5, "{log}");
}
