//! What operators are told afterwards: the lines that were refused last, the reloads, and the figures of the last minutes.

use crate::harness::{DEADLINE, Producer, Server};
use serde_json::{Value, json};
use std::time::Instant;

const ROOMS: &str = "[rooms.all]\ntypes = [\"t\", \"agent_state\"]\n";

fn ask(server: &Server, path: &str) -> Value {
    let (status, body) = Server::get(&server.admin[0], path);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn refused_lines_are_told_with_their_place_and_count() {
    let server = Server::start(ROOMS);
    assert_eq!(ask(&server, "/api/v1/rejected"), json!({ "total": 0, "rejected": [] }));
    let agent = r#"{"type":"agent_state","agentId":"1","status":"busy","resourceUsage":{"cpu":"é","memory":1,"activeConnections":1}}"#;
    let (_, told) = server.post(&format!("{{\"type\":\"t\"}}\n{agent}\n"));
    let answers = server.pipe("{\"type\":\"nobody\"}\n{\"type\":\"t\"}\n{\"type\":\"nobody\"}\n");
    assert_eq!(answers.last().unwrap()["rejected"], 2, "{answers:?}");
    let answer = ask(&server, "/api/v1/rejected");
    assert_eq!(answer["total"], 3);
    let list = answer["rejected"].as_array().unwrap();
    let shown: Vec<_> = list.iter().map(|it| (&it["code"], &it["count"], &it["line"])).collect();
    assert_eq!(
        shown,
        [(&json!("unrouted"), &json!(2), &json!(3)), (&json!("bad_field"), &json!(1), &json!(2))]
    );
    let field = &list[1];
    // As the producer was told it, with the column marked in what is shown of the line.
    for name in ["line", "column", "code", "path", "message", "excerpt"] {
        assert_eq!(field[name], told["errors"][0][name], "{name}");
    }
    let marked = field["excerpt"].as_str().unwrap().chars().skip(field["mark"].as_u64().unwrap() as usize);
    assert!(marked.collect::<String>().starts_with("\"é\""), "{field}");
    assert!(field["listener"].as_str().unwrap().starts_with("tcp:127.0.0.1"), "{field}");
    assert_eq!(list[0]["excerpt"], r#"{"type":"nobody"}"#);
    assert!(list[0]["first"].as_u64() <= list[0]["last"].as_u64() && list[0]["first"].as_u64() > Some(0));
    assert_eq!(Server::get(&server.clients[0], "/api/v1/rejected").0, 404, "for operators alone");
}

#[test]
fn a_flood_of_refused_lines_is_a_few_entries() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    for index in 0..150 {
        producer.write(&format!("{{\"type\":\"other{index}\"}}\n"));
    }
    producer.write(&"nonsense\n".repeat(20_000));
    producer.finish();
    let answer = ask(&server, "/api/v1/rejected");
    let list = answer["rejected"].as_array().unwrap();
    assert_eq!((&answer["total"], list.len()), (&json!(20_150), 100));
    assert_eq!((&list[0]["code"], &list[0]["count"]), (&json!("bad_json"), &json!(20_000)));
    assert_eq!((&list[1]["code"], &list[1]["line"]), (&json!("unrouted"), &json!(150)), "the newest stay");
}

#[test]
fn reloads_are_told_with_what_they_changed_or_why_not() {
    let server = Server::start(&format!("[server]\nwatch = false\n{ROOMS}"));
    assert_eq!(ask(&server, "/api/v1/config/reloads"), json!({ "reloads": [] }));
    let rooms = "[rooms.more]\ntypes = [\"more\"]\n";
    server.reconfigure(&format!("[server]\nwatch = false\n{ROOMS}{rooms}[limits]\nclients = 7\n"));
    server.reload("");
    std::fs::write(server.config(), "[limits]\nclients = 0\n").unwrap();
    assert_eq!(server.reload("?dry_run=true").0, 422);
    assert_eq!(server.reload("").0, 422);
    let answer = ask(&server, "/api/v1/config/reloads");
    let list = answer["reloads"].as_array().unwrap();
    assert_eq!(list.len(), 2, "neither a look nor what changed nothing: {answer}");
    assert_eq!((&list[0]["outcome"], &list[0]["cause"]), (&json!("refused"), &json!("api")));
    assert!(list[0]["problems"][0]["place"].as_str().unwrap().ends_with("broadcast.toml:2:11"), "{answer}");
    assert_eq!((&list[1]["outcome"], &list[1]["rooms_added"]), (&json!("applied"), &json!(["more"])));
    let change = json!({ "key": "limits.clients", "old": "100000", "new": "7" });
    assert_eq!(list[1]["changes"], json!([change]));
    assert!(list[1]["at"].as_u64() <= list[0]["at"].as_u64(), "the newest first");
    assert_eq!(Server::get(&server.clients[0], "/api/v1/config/reloads").0, 404, "for operators alone");
}

#[tokio::test]
async fn the_last_minutes_are_kept_second_by_second() {
    let server = Server::start(&format!("[sources.system]\nevery = \"off\"\n{ROOMS}"));
    let mut client = crate::harness::Client::connect(&server).await;
    client.subscribe("all").await;
    server.post(&"{\"type\":\"t\"}\n".repeat(40));
    server.post("nonsense");
    client.events(40).await;
    // What happened is in one row, or in two; each tells rates over about a second.
    let mut rows = 0;
    let (mut sums, mut after, end) = ([0.0; 3], 0, Instant::now() + DEADLINE);
    let mut memory = 0.0;
    while sums[0] < 20.0 || sums[1] < 20.0 || sums[2] == 0.0 {
        assert!(Instant::now() < end, "{sums:?}");
        let told = ask(&server, &format!("/api/v1/trend?after={after}"));
        let column = |name: &str| -> Vec<Option<f64>> {
            told[name].as_array().unwrap().iter().map(Value::as_f64).collect()
        };
        let times = column("at");
        for (sum, name) in sums.iter_mut().zip(["in", "sent", "rejected"]) {
            assert_eq!(column(name).len(), times.len(), "{told}");
            *sum += column(name).into_iter().flatten().sum::<f64>();
        }
        assert!(times.is_sorted(), "{told}");
        memory = column("memory_bytes").last().copied().flatten().unwrap_or(memory);
        rows += times.len() as u64;
        after = told["next"].as_u64().unwrap();
        assert_eq!(after, rows, "no row comes twice, none is missing");
    }
    assert!(memory > 1e6);
    // The number of another process is no reason to tell nothing.
    let again = ask(&server, &format!("/api/v1/trend?after={}", u64::MAX));
    assert!(again["at"].as_array().unwrap().len() as u64 >= rows);
}
