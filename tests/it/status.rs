//! `broadcastd status`, and how it ends.

use crate::harness::{Client, DEADLINE, ROOMS, Server};
use crate::tool::Tool;
use serde_json::Value;
use std::time::Instant;

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
    assert!(ended.out.contains("\nevents   3 in, 0 sent, 0 rejected; "), "{}", ended.out);
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
fn a_refused_file_is_named_with_its_problem_until_a_right_one_is_taken_up() {
    let server = Server::start(&format!("[server]\nwatch = true\n{ROOMS}"));
    let right = std::fs::read_to_string(server.config()).unwrap();
    let status = || Tool::run(&server, &["status", "--admin", &server.admin[0]]);
    let until = |says: &dyn Fn(&str) -> bool| {
        let until = Instant::now() + DEADLINE;
        loop {
            let ended = status();
            if says(&ended.out) {
                return ended;
            }
            assert!(Instant::now() < until, "{}", ended.out);
        }
    };
    let file = server.config().display().to_string();
    let healthy = |out: &str| out.starts_with("healthy: ") && !out.contains("refused");
    let write = |text: &str| {
        let new = server.dir().join("new.toml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, server.config()).unwrap();
    };
    write(&format!("[rooms.all\n{right}"));
    let ended = until(&|out| out.contains(&format!("refused: {file}:1:")));
    assert_eq!(ended.code, 1, "{}", ended.out);
    assert!(ended.out.starts_with("degraded: "), "{}", ended.out);
    let (code, health) = Server::get(&server.admin[0], "/api/v1/health");
    assert!(code == 200 && health.contains(&format!("refused: {file}:1:")), "{health}");
    // The same text as in force is taken up as well.
    write(&right);
    assert_eq!(until(&healthy).code, 0);
    std::fs::remove_file(server.config()).unwrap();
    assert_eq!(until(&|out| out.contains("cannot read")).code, 1);
    write(&format!("{right}[limits]\nclients = 7\n"));
    assert_eq!(until(&healthy).code, 0);
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
            && ended.out.contains("\n  the newest configuration is refused: ")
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

#[tokio::test]
async fn transports_are_counted_in_the_status() {
    let server = Server::start(ROOMS);
    let _client = Client::connect(&server).await;
    server.until_metric("broadcastd_clients", |clients| clients == 1.0);
    let ended = Tool::run(&server, &["status", "--admin", &server.admin[0]]);
    assert!(ended.out.contains("\nclients  1 (1 websocket)\n"), "{}", ended.out);
}
