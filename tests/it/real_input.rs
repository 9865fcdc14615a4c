//! Producers that are not ours: cargo, ripgrep, and an agent in Python. What they write arrives, whole and in order.

use crate::harness::{Client, Server, repository};
use serde_json::{Value, json};
use std::process::Command;

/// Starts the daemon with an example's configuration; its listener's other settings stay.
fn example(name: &str, listen: &str) -> Server {
    let config = std::fs::read_to_string(repository(&format!("examples/{name}/broadcast.toml"))).unwrap();
    Server::start_with(&config, &["--set", &format!("ingest.listen=[{listen}]")])
}

/// The lines of a program's standard output.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8(output.stdout).unwrap()
}

/// The events that a room has, without the timestamp that they were given.
async fn events_of(server: &Server, room: &str) -> Vec<Value> {
    let mut client = Client::connect(server).await;
    let answer = client.subscribe(json!({ "room": room, "from": "start" })).await;
    let count = answer["head"].as_u64().unwrap_or_else(|| panic!("{answer}")) as usize;
    let mut events: Vec<Value> = client.events(count).await.into_iter().map(|(_, event)| event).collect();
    for event in &mut events {
        assert!(event.as_object_mut().unwrap().remove("timestamp").is_some_and(|time| time.is_u64()));
    }
    events
}

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those of some events whose field is this value.
fn those(events: &[Value], pointer: &str, value: &str) -> Vec<Value> {
    events.iter().filter(|event| event.pointer(pointer) == Some(&json!(value))).cloned().collect()
}

#[tokio::test]
async fn a_build_by_cargo() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let manifest = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}\n")
    };
    write("Cargo.toml", &manifest("front", "[dependencies]\nback = { path = \"back\" }\n[workspace]"));
    write("src/main.rs", "fn main() { let unused = 1; let wrong: u32 = back::word(); }\n");
    write("back/Cargo.toml", &manifest("back", ""));
    write("back/src/lib.rs", "pub fn word() -> &'static str { let idle = 1; \"word\" }\n");
    let lines = output(
        Command::new(env!("CARGO"))
            .args(["build", "--offline", "--message-format=json"])
            .current_dir(dir.path())
            .env("CARGO_TARGET_DIR", dir.path().join("target")),
    );
    let written = parsed(&lines);
    assert!(written.len() >= 4, "an artifact, a warning, an error, the end: {lines}");
    let server = example("cargo", "{ tcp = \"127.0.0.1:0\", type_field = \"reason\" }");
    let answers = server.pipe(&lines);
    assert_eq!(answers, [json!({ "accepted": written.len(), "rejected": 0, "line": written.len() })]);
    assert_eq!(events_of(&server, "build").await, written);
    let diagnostics = those(&written, "/reason", "compiler-message");
    assert_eq!(events_of(&server, "diagnostics").await, diagnostics);
    let errors = those(&diagnostics, "/message/level", "error");
    assert!(!errors.is_empty() && errors.len() < diagnostics.len());
    assert_eq!(events_of(&server, "errors").await, errors);
    assert_eq!(events_of(&server, "target:back").await, those(&written, "/target/name", "back"));
    let results = events_of(&server, "results").await;
    assert_eq!(results, [json!({ "reason": "build-finished", "success": false })]);
}

#[tokio::test]
async fn a_search_by_ripgrep() {
    let lines = output(Command::new("rg").args(["--json", "fn ", "src"]).current_dir(repository(".")));
    let written = parsed(&lines);
    assert!(written.len() > 500, "{} lines", written.len());
    let server = example("ripgrep", "\"127.0.0.1:0\"");
    let mut live = Client::connect(&server).await;
    live.subscribe("search").await;
    let answers = server.pipe(&lines);
    assert_eq!(answers, [json!({ "accepted": written.len(), "rejected": 0, "line": written.len() })]);
    let seen = live.events(written.len()).await;
    for ((offset, event), (index, wrote)) in seen.iter().zip(written.iter().enumerate()) {
        assert_eq!(*offset as usize, index + 1);
        assert_eq!((&event["type"], &event["data"]), (&wrote["type"], &wrote["data"]));
    }
    let of_main = those(&written, "/data/path/text", "src/main.rs");
    assert_eq!(of_main.len(), 3, "begin, one match, end");
    assert_eq!(events_of(&server, "file:src%2Fmain.rs").await, of_main);
    assert_eq!(events_of(&server, "summaries").await.len(), 1);
    let many = |event: &&Value| event["data"]["stats"]["matched_lines"].as_u64() >= Some(10);
    let ends = those(&written, "/type", "end");
    assert_eq!(events_of(&server, "many").await, ends.iter().filter(many).cloned().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_agent_at_work() {
    let shipped = std::fs::read_to_string(repository("broadcast.toml")).unwrap();
    let server = Server::start_with(
        &shipped,
        &[
            "--set",
            "ingest.listen=[\"127.0.0.1:0\"]",
            "--set",
            "server.listen=[\"127.0.0.1:0\"]",
            "--set",
            "admin.listen=[\"127.0.0.1:0\"]",
            "--set",
            "sources.system.every=off",
            "--set",
            "sources.alerts.enabled=false",
        ],
    );
    let agent = |to: &str| {
        let mut command = Command::new("python3");
        command.arg(repository("examples/agent.py")).arg(repository("src")).args(["--to", to]);
        command
    };
    let ran = agent(&server.ingest[0]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let dry = parsed(&output(&mut agent("-")));
    for (kind, room) in [
        ("agent_state", "agent_states"),
        ("workflow_execution", "workflow_executions"),
        ("memory_timeline", "memory_timeline"),
        ("system_alert", "system_alerts"),
    ] {
        let events = events_of(&server, room).await;
        assert!(!events.is_empty() && events.iter().all(|event| event["type"] == kind), "{room}: {events:?}");
        assert_eq!(events.len(), those(&dry, "/type", kind).len(), "{room}");
    }
    // Behind a buffer: there after its interval.
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "performance_metrics", "from": "start" })).await;
    let metrics = those(&dry, "/type", "performance_metric").len();
    assert!(metrics >= 5);
    let seen = client.events(metrics).await;
    assert!(seen.iter().all(|(_, event)| event["agentId"] == "walker"), "{seen:?}");
    let own = events_of(&server, "agent:walker").await.len();
    assert_eq!(own, dry.len() - those(&dry, "/type", "system_alert").len(), "what has an agentId");
}
