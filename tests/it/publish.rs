//! `broadcastd publish` against the daemon.

use crate::harness::{DEADLINE, ROOMS, Server};
use crate::tool::{Ended, Tool};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

/// Rooms that check a type's fields, and one that is reached by a field beside the events.
const CHECKED: &str = r#"
[rooms.system_alerts]
types = ["system_alert"]
[rooms."run:{runId}"]
types = ["t"]
"#;

fn publish(server: &Server, arguments: &[&str]) -> Ended {
    Tool::run(server, &[&["publish", "--to", &server.ingest[0]], arguments].concat())
}

fn feed(server: &Server, arguments: &[&str], input: &str) -> Ended {
    Tool::feed(server, &[&["publish", "--to", &server.ingest[0]], arguments].concat(), input)
}

/// What a room has, without timestamps.
fn events(server: &Server, room: &str) -> Vec<Value> {
    let ended = Tool::run(server, &["tail", "--url", &server.clients[0], "--no-follow", room]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let event = |line: &str| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        event.as_object_mut().unwrap().remove("timestamp");
        event
    };
    ended.out.lines().map(event).collect()
}

#[test]
fn events_of_arguments_are_published() {
    let server = Server::start(CHECKED);
    let ended = publish(
        &server,
        &[
            "--type",
            "system_alert",
            "severity=error",
            "component=db",
            "message=it is down",
            "details.code:=7",
        ],
    );
    assert_eq!((ended.code, &*ended.out, &*ended.err), (0, "", ""));
    let pretty =
        "{\n  \"type\": \"system_alert\", \"severity\": \"info\",\r\n \"component\":\"x\",\"message\":\"\"}";
    let ended = publish(
        &server,
        &[pretty, r#"{"type":"system_alert","severity":"info","component":"y","message":""}"#],
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    let seen = events(&server, "system_alerts");
    assert_eq!(
        seen[0],
        json!({ "type": "system_alert", "severity": "error", "component": "db", "message": "it is down", "details": { "code": 7 } })
    );
    assert_eq!(seen[1..].iter().map(|event| event["component"].clone()).collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn lines_are_published_as_they_come() {
    let server = Server::start(ROOMS);
    let mut command = Tool::command(&server, &["publish", "--to", &server.ingest[0], "--json"]);
    command.stdin(Stdio::piped());
    let mut tool = Tool::spawn(command);
    let mut stdin = tool.stdin();
    let follow = ["tail", "--url", &server.clients[0], "--start", "all"];
    let mut tail = Tool::start(&server, &follow);
    for n in 0..3 {
        // A line's end comes later than its begin.
        write!(stdin, "{{\"type\":\"t\",").unwrap();
        stdin.flush().unwrap();
        writeln!(stdin, "\"n\":{n}}}").unwrap();
        assert!(tail.line().ends_with(&format!("\"n\":{n}}}")));
    }
    write!(stdin, "\n{{\"type\":\"t\"}}").unwrap();
    drop(stdin);
    let ended = tool.end();
    assert_eq!((ended.code, &*ended.out), (0, r#"{"accepted":4,"line":5,"rejected":0}"#), "{}", ended.err);
}

#[test]
fn what_is_refused_is_told_with_its_place() {
    let server = Server::start(CHECKED);
    let input = "{\"type\":\"system_alert\",\"severity\":\"bad\",\"component\":\"c\",\"message\":\"m\"}\n\n{\"type\":\"nowhere\"}\nno json\n";
    let good = "{\"type\":\"system_alert\",\"severity\":\"info\",\"component\":\"c\",\"message\":\"m\"}\n";
    let ended = feed(&server, &[], &format!("{good}{input}{good}"));
    assert_eq!((ended.code, &*ended.out), (65, ""));
    insta::assert_snapshot!("publish_refused", ended.err);
    let ended = feed(&server, &["--json"], &format!("{good}{input}{good}"));
    assert_eq!((ended.code, &*ended.err), (65, ""));
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<(u64, &str)> = lines[..3]
        .iter()
        .map(|line| (line["error"]["line"].as_u64().unwrap(), line["error"]["code"].as_str().unwrap()))
        .collect();
    assert_eq!(places, [(2, "bad_field"), (4, "unrouted"), (5, "bad_json")]);
    assert_eq!(lines[3], json!({ "accepted": 2, "rejected": 3, "line": 6 }));
    let ended = feed(&server, &["--quiet", "--best-effort"], input);
    assert_eq!((ended.code, &*ended.out, &*ended.err), (0, "", ""));
}

#[test]
fn many_lines_are_sent_in_many_bodies_and_counted_right() {
    let server = Server::start(ROOMS);
    let pad = "x".repeat(100);
    let mut input: String =
        (0..20_000).map(|n| format!("{{\"type\":\"t\",\"n\":{n},\"pad\":\"{pad}\"}}\n")).collect();
    input.push_str("oops\n");
    let ended = feed(&server, &["--json"], &input);
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["error"]["line"], 20_001, "{}", ended.err);
    assert_eq!(lines[1], json!({ "accepted": 20_000, "rejected": 1, "line": 20_001 }));
    assert_eq!(server.metric("broadcastd_ingest_events_total"), 20_000.0);
}

#[test]
fn fields_beside_the_events_hold_for_all_that_follows() {
    let server = Server::start(CHECKED);
    let pad = "x".repeat(400 << 10);
    // The events are more than one body.
    let input = format!(
        "{{\"type\":\"t\",\"n\":1}}\n{{\"$with\":{{\"runId\":\"b\"}}}}\n{{\"type\":\"t\",\"n\":2,\"pad\":\"{pad}\"}}\n{{\"type\":\"t\",\"n\":3,\"pad\":\"{pad}\"}}\nbad\n{{\"type\":\"t\",\"n\":4}}\n"
    );
    let ended = feed(&server, &["--with", "runId=a", "--json"], &input);
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["error"]["line"], 5);
    assert_eq!(lines[1], json!({ "accepted": 4, "rejected": 1, "line": 6 }));
    let n = |room: &str| events(&server, room).iter().map(|event| event["n"].clone()).collect::<Vec<_>>();
    assert_eq!((n("run:a"), n("run:b")), (vec![json!(1)], vec![json!(2), json!(3), json!(4)]));
}

#[test]
fn a_deadline_ends_it_and_a_hook_never_fails() {
    let server = Server::start(ROOMS);
    // A listener that takes connections and answers nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap().to_string();
    let event = r#"{"type":"t"}"#;
    let absent = "unix:/nonexistent/ingest.sock";
    for (arguments, code, says) in [
        (&["--to", &silent_at, "--deadline", "100ms", event][..], 75, "--deadline has passed"),
        (&["--to", &silent_at, "--deadline", "100ms", "--best-effort", event], 0, "--deadline has passed"),
        (&["--to", absent, event], 69, "cannot reach the daemon at unix:/nonexistent"),
        (&["--to", absent, "--best-effort", event], 0, "cannot reach"),
        (&["--to", &server.clients[0], event], 69, "refuses"),
        (&["--to", absent, "--type", "t", "x"], 64, "NAME=TEXT"),
        (&["--to", absent, "--best-effort", "--with", "x", event], 64, "--with x"),
        (&["--config", "absent.toml", event], 78, "absent.toml"),
        (&["--config", "absent.toml", "--best-effort", event], 0, "absent.toml"),
        (&["--to", &server.ingest[0], "--best-effort", "nonsense"], 0, "not JSON"),
    ] {
        let ended = Tool::run(&server, &[&["publish"], arguments].concat());
        assert_eq!((ended.code, &*ended.out), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{arguments:?}: {}", ended.err);
    }
    // Standard input that never ends.
    let mut command = Tool::command(
        &server,
        &["publish", "--to", &server.ingest[0], "--deadline", "100ms", "--best-effort"],
    );
    command.stdin(Stdio::piped());
    let begin = Instant::now();
    let mut tool = Tool::spawn(command);
    let stdin = tool.stdin();
    assert_eq!(tool.end().code, 0);
    assert!(begin.elapsed() < DEADLINE / 2);
    drop(stdin);
}

#[test]
fn what_the_daemon_has_no_room_for_is_sent_again() {
    let config = format!(
        "[ingest]\nlisten = [{{ tcp = \"127.0.0.1:0\", when_full = \"shed\" }}]\nbacklog = \"64KiB\"\n[limits]\nhistory_memory = \"1MiB\"\n{ROOMS}"
    );
    let server = Server::start(&config);
    let mut command =
        Tool::command(&server, &["tail", "--url", &server.clients[0], "--start", "all", "--count", "3000"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let tail = Tool::spawn(command);
    let pad = "x".repeat(200);
    let input: String =
        (0..3000).map(|n| format!("{{\"type\":\"t\",\"n\":{n},\"pad\":\"{pad}\"}}\n")).collect();
    let counting = std::thread::spawn(move || {
        use std::io::BufRead;
        std::io::BufReader::new(reader).lines().map_while(Result::ok).count()
    });
    let ended = feed(&server, &["--json"], &input);
    assert_eq!(
        (ended.code, &*ended.out),
        (0, r#"{"accepted":3000,"line":3000,"rejected":0}"#),
        "{}",
        ended.err
    );
    assert_eq!(tail.end().code, 0);
    assert_eq!(counting.join().unwrap(), 3000);
}

#[test]
fn over_a_unix_socket_and_found_by_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("ingest.sock");
    let server =
        Server::start(&format!("[ingest]\nlisten = [{{ unix = \"{}\" }}]\n{ROOMS}", socket.display()));
    let ended = Tool::run(&server, &["publish", "--type", "t", "n:=1"]);
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert_eq!(events(&server, "all"), [json!({ "type": "t", "n": 1 })]);
}

#[test]
fn an_address_of_another_listener_is_named_with_the_right_one() {
    let server = Server::start(ROOMS);
    let right = format!("POST http://{}/events", server.ingest[0]);
    for (addr, whom) in [(&server.clients[0], "clients"), (&server.admin[0], "operators")] {
        let ended = Tool::run(&server, &["publish", "--to", addr, "{\"type\":\"t\"}"]);
        assert_eq!((ended.code, &*ended.out), (69, ""), "{}", ended.err);
        let said =
            format!("{addr} refuses: /events is not served at this listener, which is for {whom} (404)");
        assert!(ended.err.contains(&said) && ended.err.contains(&right), "{}", ended.err);
    }
    // The address that the hint names is one that `--to` takes.
    let url = right.strip_prefix("POST ").unwrap();
    let ended = Tool::run(&server, &["publish", "--to", url, "{\"type\":\"t\"}"]);
    assert_eq!((ended.code, &*ended.err), (0, ""));
}
