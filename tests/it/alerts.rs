//! What the daemon publishes itself: alerts, and metrics of the machine.

use crate::harness::{Client, DEADLINE, Producer, Server, http};
use serde_json::{Value, json};
use std::time::Instant;

const ALERTS: &str = "[rooms.system_alerts]\ntypes = [\"system_alert\"]\n[rooms.all]\ntypes = [\"t\"]\n";

fn config(more: &str) -> String {
    format!("[sources.system]\nevery = \"off\"\n{more}{ALERTS}")
}

async fn listening(server: &Server, room: &str) -> Client {
    let mut client = Client::connect(server).await;
    client.subscribe(json!({ "room": room, "from": "start" })).await;
    client
}

/// The next alert of a kind; others before it are passed over.
async fn alert(client: &mut Client, code: &str) -> Value {
    loop {
        let events = client.events(1).await;
        for (_, event) in &events {
            assert_eq!((&event["type"], &event["component"]), (&json!("system_alert"), &json!("broadcastd")));
            assert!(event["timestamp"].is_u64() && !event["message"].as_str().unwrap().is_empty(), "{event}");
        }
        if let Some((_, event)) = events.into_iter().find(|(_, event)| event["details"]["code"] == code) {
            return event;
        }
    }
}

#[tokio::test]
async fn reloads_are_told_whatever_came_of_them() {
    let server = Server::start(&config(""));
    let mut client = listening(&server, "system_alerts").await;
    server.reconfigure(&config("[limits]\nclients = 7\n"));
    let told = alert(&mut client, "config_reloaded").await;
    assert_eq!((&told["severity"], &told["details"]["cause"]), (&json!("info"), &json!("api")));
    assert_eq!(told["details"]["summary"], "limits.clients 100000→7");
    std::fs::write(server.config(), config("[limits]\nclients = 0\n")).unwrap();
    assert_eq!(server.reload("").0, 422);
    let told = alert(&mut client, "config_refused").await;
    assert_eq!(told["severity"], "error");
    assert!(told["details"]["problems"][0].as_str().unwrap().contains("limits.clients"), "{told}");
}

#[tokio::test]
async fn refused_lines_and_reached_limits_are_told_once() {
    let server = Server::start(&config("[limits]\nclients = 2\n[ingest]\nconnections = 1\n"));
    let mut client = listening(&server, "system_alerts").await;
    let mut producer = Producer::connect(&server.ingest[0]);
    // Within a line, blank as it is, it does not give way.
    producer.write(" ");
    server.until_metric("broadcastd_ingest_bytes_total", |bytes| bytes == 1.0);
    assert_eq!(Producer::connect(&server.ingest[0]).read_to_end(), "");
    let told = alert(&mut client, "limit_reached").await;
    assert_eq!(
        told["details"],
        json!({ "code": "limit_reached", "limit": "ingest.connections", "refused": 1 })
    );
    drop(producer);
    server.until_metric("broadcastd_producers", |producers| producers == 0.0);
    // Its own events are none of a producer's: they are not refused, whatever producers send.
    server.pipe(&"bad\n".repeat(500));
    let told = alert(&mut client, "lines_refused").await;
    assert_eq!(told["severity"], "warning");
    assert_eq!(told["details"]["reasons"], json!({ "bad_json": 500 }));
    server.pipe(&"bad\n".repeat(500));
    let _second = Client::connect(&server).await;
    let url = format!("ws://{}/ws", server.clients[0]);
    tokio_tungstenite::connect_async(&url).await.unwrap_err();
    let event = client.events(1).await.remove(0).1;
    assert_eq!(event["details"]["limit"], "limits.clients", "lines were told a moment ago: {event}");
    assert_eq!(server.metric("broadcastd_own_events_total"), 3.0);
    assert_eq!(server.metric("broadcastd_alerts_suppressed_total"), 0.0);
}

#[tokio::test]
async fn clients_are_told_of_if_wanted_and_never_in_a_storm() {
    let server = Server::start(&config("[sources.alerts]\nclients = true\n"));
    let mut client = listening(&server, "system_alerts").await;
    let own = alert(&mut client, "client_connected").await["details"].clone();
    let other = Client::connect(&server).await;
    let second = alert(&mut client, "client_connected").await["details"].clone();
    assert_ne!(own["client"], second["client"]);
    drop(other);
    let gone = alert(&mut client, "client_gone").await["details"].clone();
    assert_eq!((&gone["client"], &gone["close_code"]), (&second["client"], &json!(1006)));
    let counted = [&own, &second, &gone].map(|details| details["clients"].as_u64().unwrap());
    assert_eq!(counted, [1, 2, 1], "an alert counts the client that came, and not the one that went");
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(Client::connect(&server).await);
    }
    drop(clients);
    server.until_metric("broadcastd_clients", |clients| clients == 1.0);
    let told = server.metric("broadcastd_own_events_total");
    let suppressed = server.until_metric("broadcastd_alerts_suppressed_total", |suppressed| suppressed > 0.0);
    assert!(told + suppressed <= 603.0, "{told} told, {suppressed} not");
    server.reconfigure(&config("[sources.alerts]\nenabled = false\n"));
    assert_eq!(server.post("{\"type\":\"t\"}").0, 200, "and everything goes on");
}

#[tokio::test]
async fn what_no_room_takes_is_counted() {
    let server = Server::start("[sources.system]\nevery = \"1s\"\n[rooms.all]\ntypes = [\"t\"]\n");
    server.until_metric("broadcastd_own_unrouted_total", |unrouted| unrouted >= 6.0);
    assert_eq!(server.metric("broadcastd_ingest_rejected_total"), 0.0);
    assert_eq!(server.metric("broadcastd_ingest_unrouted_total"), 0.0);
}

#[tokio::test]
async fn the_machine_and_chosen_processes_are_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("backend.pid");
    std::fs::write(&pid_file, std::process::id().to_string()).unwrap();
    let metrics = |more: &str| {
        format!("[sources.system]\nevery = \"1s\"\n{more}[rooms.metrics]\ntypes = [\"performance_metric\"]\n")
    };
    let server = Server::start(&metrics("processes = [{ name = \"broadcastd\" }]\n"));
    let mut client = listening(&server, "metrics").await;
    let mut names: Vec<String> = Vec::new();
    while !names.contains(&"process.cpu".to_owned()) {
        // One, or a batch.
        for (_, event) in client.events(1).await {
            names.push(event["metricName"].as_str().unwrap().to_owned());
            if event["metricName"] == "process.count" {
                assert_eq!(event["metadata"]["process"], "broadcastd");
                assert!(event["value"].as_f64().unwrap() >= 1.0, "{event}");
            }
        }
    }
    for name in ["system.cpu", "system.memory", "system.load", "process.memory"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
    // Hot: another process, by its file.
    server.reconfigure(&metrics(&format!("processes = [{{ pid_file = \"{}\" }}]\n", pid_file.display())));
    let of_backend =
        |event: &Value| event["metadata"]["process"] == "backend" && event["metricName"] == "process.memory";
    let found = loop {
        if let Some((_, event)) = client.events(1).await.into_iter().find(|(_, event)| of_backend(event)) {
            break event;
        }
    };
    assert!(found["value"].as_f64().unwrap() > 1e6, "{found}");
    server.reconfigure(&metrics("").replace("\"1s\"", "\"off\""));
}

#[tokio::test]
async fn own_events_are_counted_apart_from_those_of_producers() {
    let server = Server::start(&config(
        "[rooms.buffered]\ntypes = [\"system_alert\"]\nbuffer = { flush_interval = \"10m\" }\n",
    ));
    let mut client = listening(&server, "system_alerts").await;
    let alert_of_a_producer = r#"{"type":"system_alert","severity":"info","component":"db","message":"up"}"#;
    assert_eq!(server.post(&format!("{alert_of_a_producer}\n{alert_of_a_producer}\n")).0, 200);
    for _ in 0..3 {
        let test =
            "POST /api/v1/websocket/broadcast/test HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert_eq!(http(&server.admin[0], test.as_bytes()).0, 200);
    }
    client.events(5).await;
    let ask = |path: &str| -> Value { serde_json::from_str(&Server::get(&server.admin[0], path).1).unwrap() };
    let counts = |room: &str| {
        let room = ask(&format!("/api/v1/room?room={room}"));
        (room["head"].clone(), room["own"].clone(), room["buffered"].clone())
    };
    // Counted right after they were published.
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let end = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < end, "{what}: {:?}, {:?}", counts("system_alerts"), counts("buffered"));
        }
    };
    until("3 of 5 are its own", &|| counts("system_alerts") == (json!(5), json!(3), json!(0)));
    assert_eq!(counts("buffered"), (json!(0), json!(0), json!(5)), "what waits has not been published yet");
    // Flushed, since it has no buffer any more. The reload is told of by an event of the daemon's own.
    server.reconfigure(&config("[rooms.buffered]\ntypes = [\"system_alert\"]\n"));
    client.events(1).await;
    until("all but 2 are its own", &|| counts("buffered") == (json!(6), json!(4), json!(0)));
    let status = ask("/api/v1/websocket/status");
    assert_eq!((&status["events"]["accepted"], &status["events"]["own"]), (&json!(2), &json!(4)), "{status}");
    let room =
        status["rooms"].as_array().unwrap().iter().find(|room| room["name"] == "system_alerts").unwrap();
    assert_eq!((&room["published"], &room["own"]), (&json!(6), &json!(4)), "{room}");
    assert_eq!(server.metric("broadcastd_room_own_total{room=\"system_alerts\"}"), 4.0);
}
