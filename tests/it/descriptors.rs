//! Few descriptors: limits that are lowered to them, and who still gets in when clients take all they may.

use crate::event_stream::{EventStream, request as stream_request};
use crate::harness::{Producer, ROOMS, Server, http, in_folder};
use crate::raw::{Raw, request};
use crate::tool::Tool;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Few threads, so that the daemon itself takes few descriptors on every machine.
const SMALL: &str = "[server]\nshards = 1\n[ingest]\nthreads = 1\n";

/// A daemon that may open so many descriptors: soft and hard limit.
fn limited(descriptors: &str, config: &str) -> Server {
    let (plain, dir) = Server::command(config, &[]);
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}")).arg(plain.get_program()).args(plain.get_args());
    in_folder(&mut command, dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Server::spawn((command, dir))
}

/// What the status says of the limit on clients: in force, and as it is configured.
fn limits(server: &Server) -> (u64, u64) {
    let (_, status) = Server::get(&server.admin[0], "/api/v1/websocket/status");
    let status: Value = serde_json::from_str(&status).unwrap();
    (status["clientLimit"].as_u64().unwrap(), status["configuredClientLimit"].as_u64().unwrap())
}

#[test]
fn limits_that_descriptors_do_not_allow_are_lowered_and_said_once() {
    let with = |clients: u32| format!("{SMALL}[limits]\nclients = {clients}\n{ROOMS}");
    let server = limited("200:500", &with(1000));
    let line = server.logged("limits lowered to what descriptors allow");
    assert!(line.contains("INFO") && line.contains("descriptors=500"), "{line}");
    assert!(line.contains("limits.clients 1000→") && line.contains("LimitNOFILE="), "{line}");
    let (limit, configured) = limits(&server);
    assert!((200..500).contains(&limit) && configured == 1000, "{limit} of {configured}");
    assert_eq!(server.metric("broadcastd_clients_limit"), limit as f64);
    let status = Tool::run(&server, &["status", "--admin", &server.admin[0]]);
    assert!(status.code == 0 && status.out.starts_with("healthy: "), "it works as it should: {status:?}");
    assert!(status.out.contains(&format!("\nlimit    {limit} clients: ")), "{}", status.out);
    let doctor = Tool::run(&server, &["doctor", "--config", server.config().to_str().unwrap()]);
    let said = format!("the daemon takes {limit} clients and not 1000 (limits.clients)");
    assert!(doctor.out.contains(&said) && doctor.out.contains("-> LimitNOFILE="), "{}", doctor.out);
    // The same changes nothing and says nothing; another limit is said.
    server.reconfigure(&format!("{}[rooms.more]\ntypes = [\"u\"]\n", with(1000)));
    server.logged("configuration reloaded");
    server.reconfigure(&with(900));
    let next = server.logged("limit");
    assert!(next.contains("lowered") && next.contains("limits.clients 900→"), "once for each: {next}");
    server.reconfigure(&with(10));
    assert_eq!((limits(&server), server.metric("broadcastd_clients_limit")), ((10, 10), 10.0));
    let status = Tool::run(&server, &["status", "--admin", &server.admin[0]]);
    assert!(!status.out.contains("\nlimit "), "{}", status.out);

    let server = limited("200:8000", &with(1000));
    assert_eq!(server.metric("process_max_fds"), 8000.0, "raised to what is allowed");
    let log = server.log();
    assert!(!log.contains("descriptors") && !log.contains("WARN"), "nothing is lowered: {log}");
}

#[test]
fn idle_clients_leave_descriptors_for_operators_and_producers() {
    let server = limited("64:64", &format!("{SMALL}{ROOMS}"));
    // Clients that stay, until there is no place.
    let mut clients = Vec::new();
    let refusal = loop {
        let mut raw = Raw::connect(&server.clients[0]);
        raw.send(request("/ws?room=all", &[]).as_bytes());
        let answer = raw.answer();
        if answer.status != 101 {
            break answer;
        }
        clients.push(raw);
        assert!(clients.len() < 64, "the limit of descriptors is passed");
    };
    let limit = server.metric("broadcastd_clients_limit");
    assert!(clients.len() as f64 == limit && limit >= 2.0, "{limit}");
    assert_eq!(refusal.status, 503);
    assert!(refusal.head.contains("\r\nretry-after: ") && refusal.body.contains("limits.clients"));
    let stream = stream_request("GET", "/sse?room=all", "1.1", &[]);
    assert_eq!(http(&server.clients[0], stream.as_bytes()).0, 503);
    assert_eq!(server.metric("broadcastd_handshakes_refused_total{reason=\"clients\"}"), 2.0);
    // Producers that stay, and connections that say nothing.
    let producers: Vec<Producer> = (0..20).map(|_| Producer::connect(&server.ingest[0])).collect();
    let silent: Vec<Raw> = (0..60).map(|_| Raw::connect(&server.clients[0])).collect();
    for n in 1..=5 {
        let status = Tool::run(&server, &["status", "--admin", &server.admin[0]]);
        assert_eq!((status.code, &*status.err), (0, ""), "{}", status.out);
        publish_when_there_is_room(&server, n);
        let is_event = |message: &Value| message["type"] == "event";
        let message = std::iter::repeat_with(|| clients[0].message()).find(is_event).unwrap();
        assert_eq!(message["data"]["n"].as_u64(), Some(n), "{message}");
    }
    assert_eq!(server.metric("broadcastd_accept_errors_total"), 0.0, "{}", server.log());
    // A place that is given back is another client's.
    drop((silent, producers));
    drop(clients.pop());
    server.until_metric("broadcastd_clients", |count| count == limit - 1.0);
    EventStream::open(&server.clients[0], "/sse?room=all", &[]);
}

/// Publishes an event. Where idle producers have all places, one gives way once it has been idle for two seconds.
fn publish_when_there_is_room(server: &Server, n: u64) {
    let until = std::time::Instant::now() + crate::harness::DEADLINE;
    let line = format!("{{\"type\":\"t\",\"agentId\":\"1\",\"n\":{n}}}");
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{line}",
        line.len()
    );
    loop {
        let mut producer = Raw::connect(&server.ingest[0]);
        producer.send(request.as_bytes());
        if producer.read(12).is_some_and(|status| status.ends_with(b" 200")) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{}", server.log());
    }
}

#[test]
fn polling_sessions_count_with_all_their_descriptors() {
    let server = limited("120:120", &format!("{SMALL}{ROOMS}"));
    let open =
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut polls = Vec::new();
    let (status, body) = loop {
        let (status, body) = http(&server.clients[0], open.as_bytes());
        if status != 200 {
            break (status, body);
        }
        let session: Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        let sid = session["sid"].as_str().unwrap();
        // A poll that waits, on a connection of its own.
        let mut poll = Raw::connect(&server.clients[0]);
        poll.send(
            format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .as_bytes(),
        );
        polls.push(poll);
        assert!(polls.len() < 120, "the limit of descriptors is passed");
    };
    assert!(status == 503 && body.contains("limits.clients"), "{status} {body}");
    assert_eq!(polls.len(), limits(&server).0 as usize / 4, "each takes four");
    server.publish("1", 1, 1);
    assert_eq!(server.metric("broadcastd_accept_errors_total"), 0.0, "{}", server.log());
}
