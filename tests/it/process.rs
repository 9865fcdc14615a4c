//! The daemon as a process: limits of the system, and as the first process of a container.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

#[tokio::test]
async fn a_log_file_at_its_limit_ends_nothing() {
    let config = format!("[log]\nlevel = \"debug\"\n{ROOMS}");
    let (mut command, dir) = Server::command_within("prlimit", &["--fsize=20000"], &config);
    let log = dir.path().join("log");
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut server = Server::spawn((command, dir));
    let mut client = Client::connect(&server).await;
    let epoch = client.subscribe("all").await["epoch"].as_str().unwrap().to_owned();
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400));
    producer.read_until(|text| text.matches("HTTP/1.1 404").count() == 400);
    server.until_metric("broadcastd_log_dropped_total", |dropped| dropped > 0.0);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 20_000, "the file is full");
    server.publish("1", 1, 3);
    let newest = client.events(3).await[2].0;
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    // Its rooms are smaller than the limit.
    let server = server.start_again();
    let mut client = Client::connect(&server).await;
    let position = json!({ "after": format!("{epoch}:{newest}") });
    let answer = client.subscribe(json!({ "room": "all", "from": position })).await;
    assert_eq!(answer["resumed"], true, "{answer}");
}

/// The children of a process, and of those the ones that have ended and were not reaped.
fn children(pid: i32) -> (usize, usize) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children: Vec<&str> = children.split_whitespace().collect();
    let is_ended = |child: &&&str| {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('Z')))
    };
    (children.len(), children.iter().filter(is_ended).count())
}

#[test]
fn orphans_of_a_container_are_reaped() {
    let spaces = ["--pid", "--fork", "--kill-child"];
    if !Command::new("unshare").args(spaces).arg("true").status().is_ok_and(|status| status.success()) {
        writeln!(std::io::stderr(), "orphans of a container: skipped: no process namespace here").unwrap();
        return;
    }
    let server = Server::spawn(Server::command_within("unshare", &spaces, ROOMS));
    let unshare = server.pid();
    let first = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
    let first: i32 = first.trim().parse().unwrap();
    for _ in 0..20 {
        // What a probe leaves behind: its shell ends at once, and the process that it began goes to the first one.
        let probe = ["-c", "sleep 0.01 & exit 0"];
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={first}")).args(["--pid", "sh"]).args(probe);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    }
    let until = Instant::now() + DEADLINE;
    while children(first) != (0, 0) {
        assert!(Instant::now() < until, "left behind (all, ended): {:?}", children(first));
    }
}
