//! `broadcastd status`, and how it ends.

use crate::harness::{ROOMS, Server};
use crate::tool::Tool;
use serde_json::Value;

#[test]
fn a_healthy_daemon_in_a_few_lines_and_as_json() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 3);
    let status =
        |more: &[&str]| Tool::run(&server, &[&["status", "--admin", &server.admin[0]], more].concat());
    let ended = status(&[]);
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert!(ended.out.starts_with("healthy: broadcastd "), "{}", ended.out);
    assert!(ended.out.contains("\nclients  0\n") && ended.out.contains("\nrooms    2\n"), "{}", ended.out);
    let ended = status(&["--json"]);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (ended.code, &json["health"]["status"], &json["status"]["status"]),
        (0, &"healthy".into(), &"healthy".into())
    );
    // The clients' listener tells it as well (`server.expose`).
    assert_eq!(Tool::run(&server, &["status", "--admin", &server.clients[0]]).code, 0);
}

#[test]
fn its_exit_code_says_how_the_daemon_is() {
    let server = Server::start(ROOMS);
    std::fs::write(server.config(), "[limits]\nclients = 0\n").unwrap();
    assert_eq!(server.reload("").0, 422);
    let ended = Tool::run(&server, &["status", "--admin", &server.admin[0]]);
    assert_eq!((ended.code, &*ended.err), (1, ""), "{}", ended.out);
    assert!(
        ended.out.starts_with("degraded: ")
            && ended.out.contains("\n  the newest configuration is refused\n")
    );
    for (arguments, code, says) in [
        (
            &["--admin", "unix:/nonexistent/admin.sock"][..],
            69,
            "cannot reach the daemon at unix:/nonexistent",
        ),
        (&["--admin", &server.ingest[0]], 69, "has no status: 404"),
        (&["--admin", "nonsense"], 64, "HOST:PORT"),
        (&["--config", "absent.toml"], 78, "absent.toml"),
    ] {
        let ended = Tool::run(&server, &[&["status"], arguments].concat());
        assert_eq!((ended.code, &*ended.out), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{arguments:?}: {}", ended.err);
    }
}
