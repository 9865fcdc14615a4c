//! A newcomer's first event.

use crate::harness::{Client, Server};
use serde_json::{Value, json};

/// The rooms that are built in.
const BUILT_IN: &str = "[limits]\nclients = 100\n";

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
