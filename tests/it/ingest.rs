//! Lines over every kind of stream: what is taken, what is refused, and what the producer hears of it.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, undisturbed};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Instant;

/// The events of room `all` from its start, which must be as many.
async fn all(server: &Server, count: usize) -> Vec<Value> {
    let mut client = Client::connect(server).await;
    client.subscribe(json!({ "room": "all", "from": "start" })).await;
    let events = client.events(count).await;
    let (last, _) = events.last().unwrap();
    assert_eq!(*last as usize, count, "{events:?}");
    events.into_iter().map(|(_, event)| event).collect()
}

/// The errors among a producer's answers, and the total.
fn split(answers: Vec<Value>) -> (Vec<Value>, Value) {
    let (totals, errors): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.get("error").is_none());
    let errors = errors.into_iter().map(|error| error["error"].clone()).collect();
    (errors, totals.last().expect("a total comes last").clone())
}

#[tokio::test]
async fn lines_end_in_every_way_that_lines_end() {
    let server = Server::start(ROOMS);
    let text = "\u{feff}{\"type\":\"t\",\"n\":1}\r\n\n  \r\n{\"type\":\"t\",\"n\":2}\n \t{\"type\":\"t\",\"n\":3} \n{\"type\":\"t\",\"n\":4}";
    let (errors, total) = split(server.pipe(text));
    assert_eq!(errors, [json!(null); 0]);
    assert_eq!(total, json!({ "accepted": 4, "rejected": 0, "line": 6 }));
    let events = all(&server, 4).await;
    assert_eq!(events.iter().map(|event| &event["n"]).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn every_refusal_names_its_place_and_the_next_line_goes_on() {
    let server = Server::start(&format!("[types.token]\nrequired = {{ runId = \"string\" }}\n{ROOMS}"));
    let deep = format!("{{\"type\":\"t\",\"a\":{}1{}}}", "[".repeat(70), "]".repeat(70));
    let cases: &[(&str, u64, &str, &str)] = &[
        ("nonsense", 2, "bad_json", ""),
        (r#"{"type":"t","a":}"#, 17, "bad_json", ""),
        (r#"{"type":"t"} {"type":"t"}"#, 14, "bad_json", ""),
        (r#"[{"type":"t"}]"#, 1, "not_an_object", ""),
        ("7", 1, "not_an_object", ""),
        (&deep, 0, "too_deep", ""),
        (r#"{"a":1}"#, 0, "bad_type", "type"),
        (r#"{"type":7}"#, 9, "bad_type", "type"),
        (r#"{"type":"t","agentId":"1","agentId":"2"}"#, 0, "duplicate_field", "agentId"),
        (r#"{"type":"token"}"#, 0, "missing_field", "runId"),
        (r#"{"type":"token","runId":7}"#, 25, "bad_field", "runId"),
        (
            r#"{"type":"agent_state","agentId":"1","status":"idle","resourceUsage":{"cpu":"high","memory":1,"activeConnections":1}}"#,
            76,
            "bad_field",
            "resourceUsage.cpu",
        ),
        (
            r#"{"type":"agent_state","agentId":"1","status":"asleep","resourceUsage":{"cpu":1,"memory":1,"activeConnections":1}}"#,
            46,
            "bad_field",
            "status",
        ),
        (
            r#"{"type":"performance_metric","metricName":"m","value":"1","unit":"ms","category":"system"}"#,
            55,
            "bad_field",
            "value",
        ),
        (
            r#"{"type":"workflow_execution","workflowId":"w","executionId":"e","stage":"s","status":"running","progress":101}"#,
            107,
            "bad_field",
            "progress",
        ),
        (
            r#"{"type":"memory_timeline","memoryId":"m","action":"created","importance":1,"tags":["a",2]}"#,
            83,
            "bad_field",
            "tags",
        ),
        (r#"{"type":"system_alert","severity":"error","component":"db"}"#, 0, "missing_field", "message"),
    ];
    for (line, column, code, path) in cases {
        let (errors, total) =
            split(server.pipe(&format!("{{\"type\":\"t\"}}\n{line}\n{{\"type\":\"t\"}}\n")));
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        let error = &errors[0];
        assert_eq!((&error["line"], &error["code"]), (&json!(2), &json!(code)), "{line}: {error}");
        if *column > 0 {
            assert_eq!(error["column"], *column, "{line}: {error}");
        }
        assert!(error["column"].as_u64() >= Some(1), "{line}: {error}");
        assert_eq!(error["path"].as_str().unwrap_or(""), *path, "{line}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
        assert_eq!(total, json!({ "accepted": 2, "rejected": 1, "line": 3 }));
    }
    let rejected = server.metric("broadcastd_ingest_rejected_total");
    assert_eq!(rejected, cases.len() as f64);
}

#[tokio::test]
async fn lone_surrogates_and_numbers_beyond_a_float_are_refused_whatever_the_rules_are() {
    let long = "x".repeat(5000);
    let flawed = [
        (r#"{"type":"t","msg":"\ud800"}"#, "bad_escape", 20, "msg"),
        (r#"{"type":"t","\udfff":1}"#, "bad_escape", 14, "\\udfff"),
        (r#"{"type":"t","a":[{"b":"\ud83d"}]}"#, "bad_escape", 24, "a[0].b"),
        (&format!(r#"{{"type":"t","text":"{long}","msg":"\ud800"}}"#), "bad_escape", 5030, "msg"),
        (r#"{"type":"t","msg":1e400}"#, "bad_number", 19, "msg"),
        (r#"{"type":"t","a":[{"b":-1e400}]}"#, "bad_number", 23, "a[0].b"),
        (r#"{"$with":{"msg":"\ud800"}}"#, "bad_escape", 18, "$with.msg"),
    ];
    let fine = [
        r#"{"type":"t","msg":"\ud83d\ude00 \\ud800 1e400"}"#,
        r#"{"type":"t","msg":1e308,"a":{"b":1e-400}}"#,
    ];
    let ruled = r#"
[rooms.all]
types = ["*"]
[rooms."msg:{msg}"]
types = ["*"]
where = "has(msg) && !has(a.b)"
key = "msg"
"#;
    for rooms in [ROOMS, ruled] {
        let server = Server::start(rooms);
        let lines: Vec<&str> = flawed.iter().map(|(line, ..)| *line).chain(fine).collect();
        let (errors, total) = split(server.pipe(&lines.join("\n")));
        assert_eq!(total, json!({ "accepted": 2, "rejected": 7, "line": 9 }), "{errors:?}");
        // HTTP takes no control lines in an array.
        let (_, answer) = server.post(&format!("[{}]", lines[..6].join(",")));
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(0), &json!(6)));
        let of_array = answer["errors"].as_array().unwrap();
        for (index, (line, code, column, path)) in flawed.iter().enumerate() {
            let error = &errors[index];
            let shown = (&error["line"], &error["code"], &error["column"], &error["path"]);
            assert_eq!(
                shown,
                (&json!(index + 1), &json!(code), &json!(column), &json!(path)),
                "{line}: {error}"
            );
            assert!(error["hint"].is_string(), "{error}");
            if let Some(error) = of_array.get(index) {
                assert_eq!((&error["code"], &error["path"]), (&json!(code), &json!(path)), "{line}: {error}");
            }
        }
        // A parser that builds every value takes all that was accepted.
        let events = all(&server, 2).await;
        assert_eq!(events[0]["msg"], "\u{1f600} \\ud800 1e400");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_column() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write_bytes(b"{\"type\":\"t\",\"a\":\"\xff\"}\n{\"type\":\"t\"}\n");
    let (errors, total) = split(producer.finish());
    assert_eq!((&errors[0]["code"], &errors[0]["column"]), (&json!("bad_utf8"), &json!(18)), "{errors:?}");
    assert_eq!(total, json!({ "accepted": 1, "rejected": 1, "line": 2 }));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_skipped_to_its_end() {
    let server = Server::start(&format!("[ingest]\nmax_event_size = \"1KiB\"\n{ROOMS}"));
    let event = |len: usize| format!("{{\"type\":\"t\",\"f\":\"{}\"}}", "x".repeat(len - 19));
    let huge = "y".repeat(30 << 20);
    let lines = format!("{}\n{}\n{huge}\n{}", event(1024), event(1025), event(1024));
    let before = resident(&server);
    let (errors, total) = split(server.pipe(&lines));
    assert!(resident(&server) < before + (8 << 20), "30 MiB without a line's end are not kept");
    let codes: Vec<_> = errors.iter().map(|error| (error["line"].clone(), error["code"].clone())).collect();
    assert_eq!(codes, [(json!(2), json!("too_long")), (json!(3), json!("too_long"))]);
    assert_eq!(total, json!({ "accepted": 2, "rejected": 2, "line": 4 }));
    assert_eq!(all(&server, 2).await.len(), 2);
}

/// Bytes of the daemon's resident memory.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn json_spread_over_lines_is_recognised_once() {
    let server = Server::start(ROOMS);
    let pretty = serde_json::to_string_pretty(&json!({ "type": "t", "a": { "b": [1, 2] } })).unwrap();
    let (errors, total) = split(server.pipe(&format!("{pretty}\n{pretty}\n{{\"type\":\"t\"}}\n")));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["code"], "pretty_printed");
    assert!(errors[0]["hint"].as_str().unwrap().contains("jq -c"), "{}", errors[0]);
    assert_eq!(total["accepted"], 1);
    assert_eq!(total["rejected"], 2 * pretty.lines().count());
}

#[test]
fn at_most_twenty_errors_wait_and_the_total_counts_all() {
    let server = Server::start(ROOMS);
    let (errors, total) = split(server.pipe(&"bad\n".repeat(50)));
    assert_eq!(errors.len(), 20);
    assert_eq!(total, json!({ "accepted": 0, "rejected": 50, "line": 50 }));
    assert_eq!(server.metric("broadcastd_ingest_answers_dropped_total"), 30.0);
}

#[test]
fn acknowledgements_are_as_the_listener_says() {
    let config = format!(
        "[ingest]\nlisten = [{{ tcp = \"127.0.0.1:0\", ack = \"none\" }}, {{ tcp = \"127.0.0.1:0\", ack = \"all\" }}, \
         {{ unix = \"in.sock\" }}]\n{ROOMS}"
    );
    let server = Server::start(&config);
    let send = |addr: &str| {
        let mut producer = Producer::connect(addr);
        producer.write("{\"type\":\"t\"}\nbad\n");
        producer
    };
    assert_eq!(send(&server.ingest[0]).finish(), [json!(null); 0], "none");
    // With "all" over TCP, and over a Unix socket, answers come while the producer goes on.
    for (addr, total) in [(&server.ingest[1], true), (&server.ingest[2], false)] {
        let mut producer = send(addr);
        let mut lines = String::new();
        while !(lines.contains("\"bad_json\"") && (!total || lines.contains("\"rejected\":1"))) {
            let mut bytes = [0; 1000];
            let len = match &mut producer {
                Producer::Tcp(stream) => std::io::Read::read(stream, &mut bytes).unwrap(),
                Producer::Unix(stream) => std::io::Read::read(stream, &mut bytes).unwrap(),
            };
            assert!(len > 0, "{lines}");
            lines.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
        }
        producer.write("{\"type\":\"t\"}\n");
        let end = producer.finish();
        assert_eq!(end.last().unwrap(), &json!({ "accepted": 2, "rejected": 1, "line": 3 }));
    }
}

#[test]
fn answers_that_nobody_reads_keep_nobody_from_being_read() {
    let config = format!("[ingest]\nlisten = [{{ unix = \"in.sock\", ack = \"all\" }}]\n{ROOMS}");
    let server = Server::start(&config);
    let mut producer = Producer::connect(&server.ingest[0]);
    // Never reads; writes would stop if the daemon waited for it.
    for _ in 0..100 {
        producer.write(&"bad\n{\"type\":\"t\"}\n".repeat(500));
    }
    server.until_metric("broadcastd_ingest_events_total", |events| events == 50_000.0);
    server.until_metric("broadcastd_ingest_rejected_total", |events| events == 50_000.0);
    drop(producer);
}

#[tokio::test]
async fn fields_beside_the_events_route_until_the_next_ones() {
    let server = Server::start(
        "[rooms.\"run:{runId}\"]\ntypes = [\"*\"]\n[rooms.seven]\ntypes = [\"*\"]\nwhere = 'runId == 7'\n",
    );
    let lines = "{\"$with\":{\"runId\":\"r1\"}}\n{\"type\":\"t\",\"n\":1}\n{\"type\":\"t\",\"n\":2,\"runId\":\"own\"}\n\
                 {\"$with\":{\"runId\":7}}\n{\"type\":\"t\",\"n\":3}\n{\"$with\":{}}\n{\"type\":\"t\",\"n\":4}\n{\"$with\":7}\n";
    let (errors, total) = split(server.pipe(lines));
    assert_eq!(total, json!({ "accepted": 3, "rejected": 2, "line": 8 }));
    assert_eq!((&errors[0]["line"], &errors[0]["code"]), (&json!(7), &json!("unrouted")), "{errors:?}");
    assert_eq!((&errors[1]["line"], &errors[1]["code"]), (&json!(8), &json!("bad_with")), "{errors:?}");
    let mut client = Client::connect(&server).await;
    for (room, n) in [("run:r1", 1), ("run:own", 2), ("run:7", 3), ("seven", 3)] {
        client.subscribe(json!({ "room": room, "from": "start" })).await;
        let (_, event) = client.events(1).await.remove(0);
        assert_eq!(event["n"], n, "{room}");
        assert!(event.get("runId").is_none() || n == 2, "what stands beside is not in the event");
    }
}

#[tokio::test]
async fn what_no_room_takes_and_what_is_invalid_goes_where_the_configuration_says() {
    let start = |ingest: &str| {
        Server::start(&format!(
            "[ingest]\n{ingest}\n[rooms.all]\ntypes = [\"agent_state\"]\n[rooms.rest]\ntypes = [\"rest\"]\n"
        ))
    };
    let (stray, wrong) = ("{\"type\":\"stray\"}\n", "{\"type\":\"agent_state\",\"agentId\":7}\n");
    let server = start("");
    let (errors, _) = split(server.pipe(stray));
    assert_eq!(errors[0]["code"], "unrouted");
    assert!(errors[0]["hint"].as_str().unwrap().contains("types = [\"stray\"]"), "{}", errors[0]);
    let server = start("unrouted = \"count\"\ninvalid = \"warn\"");
    let (errors, total) = split(server.pipe(&format!("{stray}{wrong}")));
    assert_eq!((errors.len(), &total["accepted"]), (0, &json!(2)), "{errors:?}");
    assert_eq!(server.metric("broadcastd_ingest_unrouted_total"), 1.0);
    assert_eq!(server.metric("broadcastd_ingest_invalid_total"), 1.0);
    assert_eq!(all(&server, 1).await[0]["agentId"], 7);
    let server = start("unrouted = { room = \"rest\" }\ninvalid = { room = \"rest\" }");
    assert_eq!(server.pipe(&format!("{stray}{wrong}")).last().unwrap()["accepted"], 2);
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "rest", "from": "start" })).await;
    let types: Vec<_> = client.events(2).await.into_iter().map(|(_, event)| event["type"].clone()).collect();
    assert_eq!(types, ["stray", "agent_state"]);
}

#[tokio::test]
async fn a_listener_has_its_own_type_field_and_time() {
    let config = "[ingest]\nlisten = [{ tcp = \"127.0.0.1:0\", type_field = \"reason\", add_timestamp = false }]\n\
                  [rooms.all]\ntypes = [\"built\"]\n";
    let server = Server::start(config);
    let line = "{\"b\":[1, 2],\"reason\":\"built\"}";
    assert_eq!(server.pipe(&format!("{line}\n")).last().unwrap()["accepted"], 1);
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "all", "from": "start" })).await;
    let frame = client.next_frame().await.into_text().unwrap();
    assert!(frame.contains(line), "an event is kept byte for byte: {frame}");
}

#[tokio::test]
async fn a_named_pipe_outlives_its_writers() {
    let server = Server::start(&format!("[ingest]\nlisten = [{{ fifo = \"in.fifo\" }}]\n{ROOMS}"));
    let path = server.dir().join("broadcastd/in.fifo");
    for n in 0..5 {
        let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
        writeln!(pipe, "{{\"type\":\"t\",\"n\":{n}}}").unwrap();
    }
    let events = all(&server, 5).await;
    assert_eq!(events.iter().map(|event| &event["n"]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn standard_input_is_a_producer_and_its_end_is_not_the_daemons() {
    let (mut command, dir) = Server::command(ROOMS, &["--stdin"]);
    command.stdin(std::process::Stdio::piped());
    let mut server = Server::spawn((command, dir));
    let mut stdin = server.stdin();
    stdin.write_all(b"{\"type\":\"t\",\"n\":1}\nbad\n{\"type\":\"t\",\"n\":2}").unwrap();
    drop(stdin);
    assert_eq!(all(&server, 2).await[1]["n"], 2, "the last line needs no end");
    assert!(server.logged("bad_json").contains("line=2"));
    server.publish("a", 1, 1);
}

#[test]
fn a_producer_killed_within_a_line_has_sent_the_lines_before() {
    let server = Server::start(ROOMS);
    let mut child = std::process::Command::new("sh")
        .arg("-c")
        .arg("printf '{\"type\":\"t\"}\\n{\"type\":\"t\"}\\n{\"type\":'; exec sleep 1000")
        .stdout(Producer::connect(&server.ingest[0]).into_descriptor())
        .spawn()
        .unwrap();
    server.until_metric("broadcastd_ingest_events_total", |events| events == 2.0);
    child.kill().unwrap();
    child.wait().unwrap();
    server.until_metric("broadcastd_producers", |producers| producers == 0.0);
    assert!(server.logged("line refused").contains("line=3"), "what was cut is no event");
}

#[tokio::test]
async fn thousands_of_short_producers_are_an_ordinary_load() {
    let server = Server::start(ROOMS);
    let addr = server.ingest[0].clone();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let addr = addr.clone();
            std::thread::spawn(move || {
                for n in 0..400 {
                    let mut producer = Producer::connect(&addr);
                    producer.write(&format!("{{\"type\":\"t\",\"n\":{}}}\n", thread * 400 + n));
                    // Half of them do not wait for an answer, as `nc -q0` and many loggers do.
                    if n % 2 == 0 {
                        assert_eq!(producer.finish().last().unwrap()["accepted"], 1);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    server.until_metric("broadcastd_ingest_events_total", |events| events == 3200.0);
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "all", "from": { "last": 1000 } })).await;
    assert_eq!(client.events(1000).await.last().unwrap().0, 3200);
    server.until_metric("broadcastd_producers", |producers| producers == 0.0);
}

#[tokio::test]
async fn when_full_wait_stops_the_producer_and_loses_nothing() {
    undisturbed(waits_for_its_reader).await;
}

/// An error if the reader has a gap, as one has that the machine stalls for a second.
async fn waits_for_its_reader() -> Result<(), String> {
    let (server, mut client) = full("wait").await;
    let addr = server.ingest[0].clone();
    let producer = std::thread::spawn(move || {
        let mut producer = Producer::connect(&addr);
        producer.write(&big_lines(20_000));
        producer.finish()
    });
    // Reading is what lets the producer go on.
    let (mut offset, mut gaps) = (0, Vec::new());
    while offset < 20_000 {
        let message = client.next().await;
        let count = message["data"].as_array().map_or(1, |data| data.len() as u64);
        let first = message["first"].as_u64().unwrap_or(message["offset"].as_u64().unwrap() + 1 - count);
        assert_eq!(first, offset + 1, "{message}");
        offset = message["offset"].as_u64().unwrap();
        gaps.extend((message["type"] == "gap").then_some(message));
    }
    assert_eq!(producer.join().unwrap().last().unwrap()["accepted"], 20_000);
    if gaps.is_empty() { Ok(()) } else { Err(format!("{gaps:?}")) }
}

#[tokio::test]
async fn when_full_shed_refuses_and_counts() {
    let (server, mut client) = full("shed").await;
    let begun = Instant::now();
    let (errors, total) = split(server.pipe(&big_lines(20_000)));
    assert!(begun.elapsed() < DEADLINE);
    let (accepted, shed) = (total["accepted"].as_u64().unwrap(), total["rejected"].as_u64().unwrap());
    assert_eq!(accepted + shed, 20_000);
    assert!(shed > 0 && errors.iter().all(|error| error["code"] == "backlog_full"), "{errors:?}");
    let counted = server.metric("broadcastd_ingest_rejected_total{reason=\"backlog_full\"}");
    assert_eq!(counted, shed as f64);
    let (mut offset, mut events, mut missed) = (0, 0, 0);
    while offset < accepted {
        let message = client.next().await;
        offset = message["offset"].as_u64().unwrap();
        match message["type"].as_str().unwrap() {
            "gap" => missed += message["missed"].as_u64().unwrap(),
            "batch" => events += message["data"].as_array().unwrap().len() as u64,
            _ => events += 1,
        }
    }
    assert_eq!(events + missed, accepted, "in = delivered + told");
}

/// A daemon whose backlog is soon full, and a client in room `all`.
async fn full(when_full: &str) -> (Server, Client) {
    let config = format!(
        "[ingest]\nlisten = [{{ tcp = \"127.0.0.1:0\", when_full = \"{when_full}\" }}]\nbacklog = \"64KiB\"\n\
         [rooms.all]\ntypes = [\"*\"]\nhistory = {{ events = 10 }}\n"
    );
    let server = Server::start(&config);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    (server, client)
}

fn big_lines(count: u64) -> String {
    let fill = "x".repeat(1000);
    (0..count).map(|n| format!("{{\"type\":\"t\",\"n\":{n},\"fill\":\"{fill}\"}}\n")).collect()
}
