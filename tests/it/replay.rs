//! `broadcastd replay` against the daemon.

use crate::harness::{ROOMS, Server};
use crate::tool::Tool;
use std::time::{Duration, Instant};

/// A recording of three events, 300 ms apart.
fn recording(server: &Server) -> String {
    let path = server.dir().join("recording.ndjson");
    let line = |n: u64| {
        format!(
            "{{\"timestamp\":{},\"type\":\"t\",\"agentId\":\"a\",\"n\":{n}}}\n",
            1_700_000_000_000 + 300 * n
        )
    };
    std::fs::write(&path, (0..3).map(line).collect::<String>()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_recording_comes_again_at_its_pace_byte_for_byte() {
    let server = Server::start(ROOMS);
    let file = recording(&server);
    let replay = |more: &[&str]| {
        let begin = Instant::now();
        let ended = Tool::run(&server, &[&["replay", &file, "--to", &server.ingest[0]], more].concat());
        assert_eq!((ended.code, &*ended.err), (0, ""), "{more:?}");
        begin.elapsed()
    };
    // It never takes less; how much more it takes is the machine's business.
    assert!(replay(&[]) >= Duration::from_millis(600));
    assert!(replay(&["--speed", "2"]) >= Duration::from_millis(300));
    replay(&["--speed", "max"]);
    replay(&["--max-pause", "1ms"]);
    let ended = Tool::run(&server, &["tail", "--url", &server.clients[0], "--no-follow", "agent:a"]);
    assert_eq!(ended.out + "\n", std::fs::read_to_string(&file).unwrap().repeat(4));
}

#[test]
fn what_is_due_goes_out_while_the_rest_is_waited_for() {
    let server = Server::start(ROOMS);
    let mut command = Tool::command(&server, &["replay", "-", "--to", &server.ingest[0], "--json"]);
    command.stdin(std::process::Stdio::piped());
    let mut replay = Tool::spawn(command);
    let mut stdin = replay.stdin();
    std::io::Write::write_all(&mut stdin, b"{\"type\":\"t\"}\n{\"type\":\"t\"}\noops\n").unwrap();
    server.until_metric("broadcastd_ingest_events_total", |events| events == 2.0);
    drop(stdin);
    let ended = replay.end();
    assert_eq!(ended.code, 65);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines[0].contains("\"line\":3") && lines[0].contains("bad_json"), "{}", ended.out);
    assert_eq!(lines[1], r#"{"accepted":2,"line":3,"rejected":1}"#);
}

#[test]
fn how_it_ends_is_in_its_exit_code() {
    let server = Server::start(ROOMS);
    let file = recording(&server);
    for (arguments, code, says) in [
        (&["absent.ndjson"][..], 1, "cannot read absent.ndjson"),
        (&["."], 1, "cannot read .: is a directory"),
        (&[&*file, "--to", "unix:/nonexistent/ingest.sock"], 69, "cannot reach"),
        (&[&*file, "--speed", "fast"], 64, "a number above 0"),
        (&[&*file, "--with", "x"], 64, "--with x"),
        (&[&*file, "--config", "absent.toml"], 78, "absent.toml"),
    ] {
        let ended = Tool::run(&server, &[&["replay"], arguments].concat());
        assert_eq!((ended.code, &*ended.out), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{arguments:?}: {}", ended.err);
    }
}
