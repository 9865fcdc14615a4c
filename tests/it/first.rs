//! A newcomer's first event, with what the daemon says how to send it.

use crate::harness::{Client, Server, in_folder};
use serde_json::{Value, json};
use std::process::Command;

/// The rooms that are built in.
const BUILT_IN: &str = "[limits]\nclients = 100\n";

/// What the page is told.
fn facts(server: &Server) -> Value {
    serde_json::from_str(&Server::get(&server.clients[0], "/page.json").1).unwrap()
}

#[tokio::test]
async fn first_event_of_any_type_is_in_events() {
    let server = Server::start(BUILT_IN);
    let (_, answer) = server.post("{\"type\":\"hello\"}");
    assert_eq!(answer["accepted"], 1, "{answer}");
    let known = "{\"type\":\"system_alert\",\"severity\":\"info\",\"component\":\"c\",\"message\":\"m\"}";
    let owned = "{\"type\":\"step\",\"agentId\":\"42\"}";
    let (_, answer) = server.post(&format!("{known}\n{owned}\n{{\"type\":\"bye\"}}\n"));
    assert_eq!(answer["accepted"], 3, "{answer}");
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "events", "from": "start" })).await;
    let types: Vec<Value> =
        client.events(2).await.into_iter().map(|(_, event)| event["type"].clone()).collect();
    assert_eq!(types, ["hello", "bye"], "what another room takes is not in events");
}

#[test]
fn page_tells_a_command_that_sends_an_event_wherever_ingest_listens() {
    let listeners = ["\"127.0.0.1:0\"", "{ unix = \"in.sock\" }", "{ fifo = \"in.fifo\" }"];
    for (index, listener) in listeners.into_iter().enumerate() {
        let server = Server::start(&format!("{BUILT_IN}[ingest]\nlisten = [{listener}]\n"));
        let facts = facts(&server);
        assert_eq!(facts["send"]["room"], "events");
        assert_eq!(facts["dashboard"], json!(server.admin));
        let command = facts["send"]["command"].as_str().unwrap();
        if index == 0 {
            assert!(command.ends_with(&format!("http://{}/events", server.ingest[0])), "{command}");
        }
        let mut shell = Command::new("bash");
        in_folder(&mut shell, server.dir());
        assert!(shell.args(["-c", command]).output().unwrap().status.success(), "{command}");
        server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
        assert_eq!(server.metric("broadcastd_ingest_rejected_total"), 0.0);
    }
}

#[test]
fn page_follows_a_reload() {
    let rooms = "[rooms.a]\ntypes = [\"a\"]\n[rooms.b]\ntypes = [\"b\"]\nwhere = 'x == 1'\n";
    let listen = |place: &str| format!("{BUILT_IN}[ingest]\nlisten = [{place}]\n");
    let server = Server::start(&listen("\"127.0.0.1:0\""));
    server.reconfigure(&(listen("{ unix = \"next.sock\" }") + rooms));
    let facts = facts(&server);
    assert_eq!(facts["rooms"], json!(["a", "b"]));
    assert_eq!(facts["send"]["room"], "a");
    let command = facts["send"]["command"].as_str().unwrap();
    assert!(command.contains("next.sock") && command.contains(r#"{"type":"a","#), "{command}");
}
