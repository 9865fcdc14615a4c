//! `broadcastd tail` against the daemon.

use crate::harness::{DEADLINE, ROOMS, Server};
use crate::tool::Tool;
use serde_json::Value;
use std::process::Stdio;
use std::time::Instant;

/// The `n` of events, one a line.
fn numbers(out: &str) -> Vec<u64> {
    let n = |line: &str| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap();
    out.lines().map(n).collect()
}

/// Starts a tail that has subscribed when this returns.
fn listening(server: &Server, arguments: &[&str]) -> Tool {
    let before = subscriptions(server);
    let tool = Tool::start(server, &[&["tail", "--url", &server.clients[0]], arguments].concat());
    subscribed(server, before);
    tool
}

/// Subscriptions to rooms, and to those that nothing was published to yet.
fn subscriptions(server: &Server) -> f64 {
    server.metric("broadcastd_room_subscribers") + server.metric("broadcastd_interests")
}

fn subscribed(server: &Server, before: f64) {
    let until = Instant::now() + DEADLINE;
    while subscriptions(server) <= before {
        assert!(Instant::now() < until, "nobody subscribes");
    }
}

/// Ends every client, as an operator does.
fn end_clients(server: &Server) {
    let (_, text) = Server::get(&server.admin[0], "/api/v1/clients");
    let clients: Value = serde_json::from_str(&text).unwrap();
    for client in clients["clients"].as_array().unwrap() {
        let id = client["id"].as_str().unwrap();
        let request =
            format!("DELETE /api/v1/clients/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(crate::harness::http(&server.admin[0], request.as_bytes()).0, 204);
    }
}

#[test]
fn since_takes_dates() {
    let server = Server::start(ROOMS);
    server.publish("7", 1, 3);
    let tail = |since: &str| {
        Tool::run(&server, &["tail", "--url", &server.clients[0], "--no-follow", "--since", since, "all"])
    };
    assert_eq!(numbers(&tail("2020-01-01T00:00:00Z").out), [1, 2, 3]);
    assert_eq!(tail("2999-01-01T00:00:00+01:00").out, "");
    let ended = tail("2020-01-01");
    assert_eq!(ended.code, 64);
    assert!(ended.err.contains("2026-11-25T10:00:00Z"), "{}", ended.err);
}

#[test]
fn what_is_there_is_printed_and_then_it_ends() {
    let server = Server::start(ROOMS);
    let url = server.clients[0].clone();
    let tail = |arguments: &[&str]| {
        let ended = Tool::run(&server, &[&["tail", "--url", &url, "--no-follow"], arguments].concat());
        assert_eq!((ended.code, &*ended.err), (0, ""), "{arguments:?}");
        ended.out
    };
    assert_eq!(tail(&["all"]), "", "a room that nothing was published to");
    server.post(r#"{"n": 1, "type":"t", "agentId":"7", "text":"\u00fc ü"}"#);
    server.publish("7", 2, 299);
    let all = tail(&["all"]);
    assert!(
        all.lines().next().unwrap().ends_with(r#""n": 1, "type":"t", "agentId":"7", "text":"\u00fc ü"}"#),
        "{all}"
    );
    assert_eq!(numbers(&all), (1..=300).collect::<Vec<_>>());
    assert_eq!(numbers(&tail(&["agent:7", "-n", "3"])), [298, 299, 300]);
    assert_eq!(tail(&["agent:7", "--since", "-1h"]), all);
    assert_eq!(tail(&["agent:7", "--since", "4000000000000"]), "");
    assert_eq!(numbers(&tail(&["all", "--where", "n > 297 && agentId == '7'"])), [298, 299, 300]);
    assert_eq!(numbers(&tail(&["all", "agent:7", "--count", "2"])), [1, 2]);
    let frames = tail(&["all", "--frames", "-n", "1"]);
    let kinds: Vec<Value> =
        frames.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
    assert_eq!(kinds, ["welcome", "subscribed", "batch"], "{frames}");
}

#[test]
fn events_come_as_they_happen_and_a_condition_ends_it() {
    let server = Server::start(ROOMS);
    let mut tail = listening(&server, &["all", "--until", "n >= 3 && agentId == 'x'"]);
    for (agent, n) in [("x", 1), ("y", 5), ("x", 3)] {
        server.publish(agent, n, 1);
        assert_eq!(numbers(&tail.line()), [n]);
    }
    let ended = tail.end();
    assert_eq!((ended.code, &*ended.out), (0, ""), "{}", ended.err);
}

#[test]
fn a_terminal_gets_no_control_characters_of_events() {
    let server = Server::start(ROOMS);
    let event = "{\"type\":\"t\",\"m\":\"\u{9b}31m \u{202e}x \u{7f}\"}";
    assert_eq!(server.post(event).1["accepted"], 1);
    let tail = |arguments: &str| {
        // script(1) runs it on a terminal of its own.
        let command = format!("{} tail --start --no-follow all {arguments}", crate::harness::binary());
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).stdin(std::process::Stdio::null());
        crate::harness::in_folder(&mut script, server.dir());
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    let shown = tail("");
    assert!(shown.contains("\"m\":\"\\u009b31m \\u202ex \\u007f\""), "{shown:?}");
    assert!(tail("--raw").contains("\u{9b}31m \u{202e}x \u{7f}"));
    // A pipe gets what the producer wrote.
    assert!(
        Tool::run(&server, &["tail", "--start", "--no-follow", "all"])
            .out
            .contains("\u{9b}31m \u{202e}x \u{7f}")
    );
}

#[test]
fn after_a_drop_it_goes_on_exactly_where_it_was() {
    let server = Server::start(ROOMS);
    let mut tail = listening(&server, &["all", "--count", "300"]);
    let mut seen = Vec::new();
    for round in 0..3 {
        server.publish("a", 100 * round + 1, 50);
        seen.extend((0..50).flat_map(|_| numbers(&tail.line())));
        end_clients(&server);
        server.publish("a", 100 * round + 51, 50);
        tail.note("trying again");
        tail.note("connected again");
        seen.extend((0..50).flat_map(|_| numbers(&tail.line())));
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
    assert_eq!(tail.end().code, 0);
}

#[test]
fn a_restart_of_the_daemon_is_told_as_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clients.sock");
    let config = format!("[server]\nlisten = [\"unix:{}\"]\n{ROOMS}", socket.display());
    let mut server = Server::start(&config);
    let mut tail = listening(&server, &["all", "--count", "3"]);
    server.publish("a", 1, 2);
    assert_eq!([tail.line(), tail.line()].iter().flat_map(|line| numbers(line)).collect::<Vec<_>>(), [1, 2]);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    tail.note("the daemon has closed the connection (1001");
    server.wait();
    let again = Server::start(&config);
    again.publish("a", 3, 1);
    let gap = tail.note("all: ");
    assert!(gap.contains("what came after event 2 may be missing: the room's log began anew"), "{gap}");
    assert_eq!(numbers(&tail.line()), [3]);
    assert_eq!(tail.end().code, 0);
}

#[test]
fn a_reader_who_goes_ends_it_quietly() {
    let server = Server::start(ROOMS);
    server.publish("a", 1, 5);
    let script = r#""$0" tail --url "$1" --start all | head -n 2"#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, crate::harness::binary(), &server.clients[0]]).stderr(Stdio::piped());
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert_eq!(numbers(std::str::from_utf8(&output.stdout).unwrap()), [1, 2]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    // And while there is nothing to write.
    let before = subscriptions(&server);
    let mut command = Tool::command(&server, &["tail", "--url", &server.clients[0], "agent:b"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let tail = Tool::spawn(command);
    subscribed(&server, before);
    drop(reader);
    let ended = tail.end();
    assert_eq!((ended.code, &*ended.err), (0, ""));
}

#[test]
fn how_it_ends_is_in_its_exit_code() {
    let server = Server::start(ROOMS);
    let (url, gone) = (server.clients[0].clone(), "unix:/nonexistent/clients.sock");
    for (arguments, code, says) in [
        (&["--url", &url, "al"][..], 66, "did you mean \"all\"?"),
        (&["--url", &url, "agent:a/b"], 66, "did you mean \"agent:a%2Fb\"?"),
        (&["--url", &url, "all", "nothing", "-q"], 66, "nothing: no room has this name"),
        (&["--url", gone, "all"], 69, "cannot reach the daemon at unix:/nonexistent/clients.sock"),
        (&["--url", &server.ingest[0], "all"], 69, "lets nobody in: 404"),
        (&["--url", &url, "all", "--timeout", "50ms", "--count", "1"], 75, "--timeout has passed"),
        (&["--url", &url, "all", "--timeout", "50ms"], 0, ""),
        (&["--url", "wss://localhost", "all"], 64, "TLS is not spoken"),
        (&["--url", &url, "all", "--until", "n = 1"], 64, "column 3"),
        (&["--url", &url, "all", "--since", "yesterday"], 64, "-5m"),
        (&["--url", &url, "all", "-n", "1", "--since", "-1m"], 64, "cannot be used"),
        (&["--url", &url], 64, "ROOM"),
        (&["--config", "absent.toml", "all"], 78, "absent.toml"),
    ] {
        let ended = Tool::run(&server, &[&["tail"], arguments].concat());
        assert_eq!((ended.code, &*ended.out), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(
            ended.err.contains(says) && (code != 0 || ended.err.is_empty()),
            "{arguments:?}: {}",
            ended.err
        );
    }
}

#[test]
fn it_finds_the_daemon_by_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clients.sock");
    let config = format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n{ROOMS}", socket.display());
    let server = Server::start(&config);
    server.publish("a", 1, 1);
    // broadcast.toml of the folder; the port of 0 is passed over.
    let ended = Tool::run(&server, &["tail", "--no-follow", "all"]);
    assert_eq!((ended.code, numbers(&ended.out)), (0, vec![1]), "{}", ended.err);
    let mut command = Tool::command(&server, &["tail", "--no-follow", "all"]);
    command.current_dir("/").env("BROADCASTD_CONFIG", server.config());
    assert_eq!(numbers(&Tool::spawn(command).end().out), [1]);
    let none = folder.path().join("none.toml");
    std::fs::write(&none, "[server]\nlisten = [\"127.0.0.1:0\"]\n").unwrap();
    let ended = Tool::run(&server, &["tail", "--config", none.to_str().unwrap(), "all"]);
    assert_eq!(ended.code, 69);
    assert!(ended.err.contains("server.listen") && ended.err.contains("--url ADDRESS"), "{}", ended.err);
}

#[test]
fn a_room_that_the_configuration_drops_ends_it() {
    let server = Server::start(ROOMS);
    let mut tail = listening(&server, &["agent:1"]);
    server.reconfigure("[rooms.all]\ntypes = [\"*\"]\n");
    tail.note("agent:1 has ended: room_closed");
    assert_eq!(tail.end().code, 66);
}
