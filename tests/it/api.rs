//! The HTTP API: every answer as the OpenAPI document has it, and what it does.

use crate::harness::{Client, DEADLINE, Producer, Server, http, repository};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const ROOMS: &str = "[rooms.all]\ntypes = [\"t\"]\nkey = \"agentId\"\n[rooms.\"agent:{agentId}\"]\ntypes = [\"t\"]\n\
                     [rooms.system_alerts]\ntypes = [\"system_alert\"]\n[rooms.waits]\ntypes = [\"t\"]\n\
                     buffer = { events = 100, flush_interval = \"10m\" }\n";

/// An answer: its status, its head in small letters, its body.
fn ask(addr: &str, method: &str, target: &str, headers: &str) -> (u16, String, Value) {
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let request = format!(
        "{method} {target} HTTP/1.1\r\n{host}Content-Length: 0\r\nConnection: close\r\n{headers}\r\n"
    );
    let mut producer = Producer::connect(addr);
    producer.write(&request);
    let answer = producer.read_to_end();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let value = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap_or(json!(body)) };
    (status, head.to_ascii_lowercase(), value)
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    for room in ["all", "agent:1", "waits"] {
        client.subscribe(room).await;
    }
    server.publish("1", 1, 3);
    let admin = &server.admin[0];
    let evil = "Origin: https://evil.example\r\n";
    let mut seen: Vec<Value> = Vec::new();
    let mut check = |path: &str, method: &str, target: &str, headers: &str, status: u16| {
        let (answered, head, body) = ask(admin, method, target, headers);
        assert_eq!(answered, status, "{method} {target}: {body}");
        let kind =
            if status < 400 || body.is_null() { "application/json" } else { "application/problem+json" };
        assert!(status == 204 || head.contains(kind) || status == 503, "{head}");
        seen.push(json!({ "path": path, "method": method, "status": status, "body": body }));
        body
    };
    check("/api/v1/health", "GET", "/api/v1/health", "", 200);
    let status = check("/api/v1/websocket/status", "GET", "/api/v1/websocket/status", "", 200);
    assert_eq!((&status["status"], &status["connectedClients"]), (&json!("healthy"), &json!(1)), "{status}");
    assert_eq!(status["bufferStatus"]["bufferedEvents"], 3);
    check("/api/v1/websocket/status", "GET", "/api/v1/websocket/status", evil, 403);
    let test = "/api/v1/websocket/broadcast/test";
    let told = check(test, "POST", test, "", 200);
    assert_eq!(told["rooms"], json!([{ "room": "system_alerts", "subscribers": 0 }]));
    check(test, "POST", test, evil, 403);
    for _ in 0..4 {
        check(test, "POST", test, "", 200);
    }
    check(test, "POST", test, "", 429);
    let rooms = check("/api/v1/rooms", "GET", "/api/v1/rooms?limit=2", "", 200);
    assert_eq!((&rooms["rooms"][0]["room"], &rooms["next"]), (&json!("agent:1"), &json!("all")), "{rooms}");
    let rooms = check("/api/v1/rooms", "GET", "/api/v1/rooms?after=all&prefix=s", "", 200);
    assert_eq!((rooms["rooms"].as_array().unwrap().len(), &rooms["next"]), (1, &Value::Null));
    check("/api/v1/rooms", "GET", "/api/v1/rooms?limit=0", "", 400);
    check("/api/v1/rooms", "GET", "/api/v1/rooms", evil, 403);
    let room = check("/api/v1/room", "GET", "/api/v1/room?room=agent%3A1", "", 200);
    assert_eq!(
        (&room["head"], &room["subscribers"], &room["made_by"]),
        (&json!(3), &json!(1), &json!("agent:{agentId}"))
    );
    check("/api/v1/room", "GET", "/api/v1/room", "", 400);
    check("/api/v1/room", "GET", "/api/v1/room?room=all", "Host: evil.example\r\n", 403);
    let missing = check("/api/v1/room", "GET", "/api/v1/room?room=al", "", 404);
    assert!(missing["hint"].as_str().unwrap().contains("\"all\""), "{missing}");
    let events = "/api/v1/room/events";
    check(events, "GET", "/api/v1/room/events?room=all&limit=x", "", 400);
    check(events, "GET", "/api/v1/room/events?room=all", evil, 403);
    check(events, "GET", "/api/v1/room/events?room=al", "", 404);
    let snapshot = "/api/v1/room/snapshot";
    check(snapshot, "GET", "/api/v1/room/snapshot?room=waits", "", 400);
    check(snapshot, "GET", "/api/v1/room/snapshot?room=all", evil, 403);
    check(snapshot, "GET", "/api/v1/room/snapshot?room=al", "", 404);
    let clients = check("/api/v1/clients", "GET", "/api/v1/clients", "", 200);
    let only = &clients["clients"][0];
    assert_eq!(
        (&only["rooms"], &only["address"]),
        (&json!(["agent:1", "all", "waits"]), &json!("127.0.0.1"))
    );
    check("/api/v1/clients", "GET", "/api/v1/clients?rooms=all", "", 400);
    check("/api/v1/clients", "GET", "/api/v1/clients", evil, 403);
    let one = "/api/v1/clients/{id}";
    check(one, "DELETE", "/api/v1/clients/ffff", "", 404);
    check(one, "DELETE", &format!("/api/v1/clients/{}", only["id"].as_str().unwrap()), evil, 403);
    check(one, "DELETE", &format!("/api/v1/clients/{}", only["id"].as_str().unwrap()), "", 204);
    let told = check("/api/v1/config", "GET", "/api/v1/config", "", 200);
    assert_eq!(
        told["addresses"],
        json!({ "clients": server.clients, "admin": server.admin, "ingest": server.ingest })
    );
    check("/api/v1/config", "GET", "/api/v1/config", evil, 403);
    let reload = "/api/v1/config/reload";
    check(reload, "POST", reload, "", 200);
    check(reload, "POST", reload, evil, 403);
    check(reload, "POST", &format!("{reload}?dry=1"), "", 400);
    std::fs::write(server.config(), ROOMS.replace("rooms.all", "rooms.everything")).unwrap();
    check(reload, "POST", &format!("{reload}?dry_run=true"), "", 200);
    check(reload, "POST", reload, "", 200);
    std::fs::write(server.config(), "[limits]\nclients = 0\n").unwrap();
    check(reload, "POST", reload, "", 422);
    let degraded = check("/api/v1/websocket/status", "GET", "/api/v1/websocket/status", "", 200);
    assert_eq!(degraded["status"], "degraded", "{degraded}");
    let reloads = check("/api/v1/config/reloads", "GET", "/api/v1/config/reloads", "", 200);
    assert_eq!(reloads["reloads"].as_array().unwrap().len(), 2, "{reloads}");
    check("/api/v1/config/reloads", "GET", "/api/v1/config/reloads", evil, 403);
    server.post("nonsense");
    let rejected = check("/api/v1/rejected", "GET", "/api/v1/rejected", "", 200);
    assert_eq!(rejected["rejected"][0]["code"], "bad_json", "{rejected}");
    check("/api/v1/rejected", "GET", "/api/v1/rejected", evil, 403);
    let trend = "/api/v1/trend";
    check(trend, "GET", trend, "", 200);
    check(trend, "GET", "/api/v1/trend?after=x", "", 400);
    check(trend, "GET", trend, evil, 403);
    for query in ["room=system_alerts", "room=system_alerts&frames=1", "room=system_alerts&from=after:1:1"] {
        let lines = crate::history::get(&server, query).lines;
        seen.extend(lines.into_iter().map(
            |line| json!({ "path": "/api/v1/room/events", "method": "GET", "status": 200, "body": line }),
        ));
    }
    let (status, text) = Server::get(admin, "/api/v1/room/snapshot?room=everything");
    assert_eq!((status, text.lines().any(|line| line.starts_with('{'))), (200, false), "{text}");
    server.publish("1", 1, 1);
    let (_, text) = Server::get(admin, "/api/v1/room/snapshot?room=everything");
    let line = text.lines().find(|line| line.starts_with('{')).unwrap();
    let body: Value = serde_json::from_str(line).unwrap();
    seen.push(json!({ "path": "/api/v1/room/snapshot", "method": "GET", "status": 200, "body": body }));
    let (_, _, document) = ask(admin, "GET", "/openapi.json", "");
    assert_eq!(document["openapi"], "3.1.0");
    let mut python = Command::new("python3");
    python.arg(repository("tests/it/openapi.py")).arg(repository("src/http/openapi.json"));
    let mut child =
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines: String = seen.iter().map(|answer| format!("{answer}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test]
async fn a_client_is_ended_by_its_id_and_a_slow_one_is_seen() {
    let server = Server::start("[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 20000 }\n");
    let mut slow = Client::connect(&server).await;
    slow.subscribe("all").await;
    let mut other = Client::connect(&server).await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let (_, _, listed) = ask(&server.admin[0], "GET", "/api/v1/clients?room=all", "");
        let only = listed["clients"].as_array().unwrap();
        assert_eq!(only.len(), 1, "{listed}");
        assert_eq!(only[0]["blocked"], true);
        // Its shard goes on with the other events.
        if only[0]["lag_events"].as_u64().unwrap() > 100 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{listed}");
    }
    let (_, _, listed) = ask(&server.admin[0], "GET", "/api/v1/clients", "");
    let idle =
        listed["clients"].as_array().unwrap().iter().find(|client| client["rooms"] == json!([])).unwrap();
    let target = format!("/api/v1/clients/{}", idle["id"].as_str().unwrap());
    assert_eq!(ask(&server.admin[0], "DELETE", &target, "").0, 204);
    assert_eq!(other.closed().await.0, 4000);
    server.until_metric("broadcastd_clients_closed_total{code=\"4000\"}", |closed| closed == 1.0);
    assert_eq!(ask(&server.admin[0], "DELETE", &target, "").0, 404);
}

#[tokio::test]
async fn a_test_event_arrives_and_says_so() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("system_alerts").await;
    // Where the service that this replaces had it: at the clients' port.
    let (status, _, told) = ask(&server.clients[0], "POST", "/api/v1/websocket/broadcast/test", "");
    assert_eq!((status, &told["published"], &told["receivers"]), (200, &json!(true), &json!(1)));
    let event = client.events(1).await.remove(0).1;
    assert_eq!((&event["type"], &event["details"]["test"]), (&json!("system_alert"), &json!(true)));
    server.reconfigure("[rooms.all]\ntypes = [\"t\"]\n");
    let (_, _, told) = ask(&server.clients[0], "POST", "/api/v1/websocket/broadcast/test", "");
    assert_eq!(told["published"], false);
    assert!(told["hint"].as_str().unwrap().contains("system_alert"), "{told}");
}

#[test]
fn clients_see_what_is_exposed_and_pages_what_is_allowed() {
    let server =
        Server::start(&format!("[server]\nallowed_origins = [\"https://app.example.org\"]\n{ROOMS}"));
    let clients = &server.clients[0];
    for path in ["/api/v1/health", "/api/v1/websocket/status"] {
        assert_eq!(ask(clients, "GET", path, "").0, 200, "{path}");
    }
    for path in [
        "/metrics",
        "/dashboard/main.js",
        "/api/v1/rooms",
        "/api/v1/clients",
        "/api/v1/config",
        "/openapi.json",
    ] {
        assert_eq!(ask(clients, "GET", path, "").0, 404, "{path}");
        assert_eq!(ask(&server.admin[0], "GET", path, "").0, 200, "{path}");
    }
    assert_eq!(ask(clients, "POST", "/api/v1/config/reload", "").0, 404);
    let ours = "Origin: https://app.example.org\r\n";
    let (status, head, _) = ask(&server.admin[0], "GET", "/api/v1/rooms", ours);
    assert_eq!(status, 200);
    assert!(
        head.contains("access-control-allow-origin: https://app.example.org")
            && head.contains("vary: origin")
    );
    let (status, head, _) = ask(&server.admin[0], "OPTIONS", "/api/v1/clients/1f", ours);
    assert_eq!(status, 204);
    assert!(head.contains("access-control-allow-methods: delete"), "{head}");
    let evil = "Origin: https://evil.example\r\n";
    let (status, head, _) = ask(&server.admin[0], "OPTIONS", "/api/v1/config/reload", evil);
    assert!(status == 403 && !head.contains("access-control-allow-origin"), "{head}");
    let (status, head, _) = ask(&server.admin[0], "GET", "/api/v1/config/reload", "");
    assert!(status == 405 && head.contains("allow: post"), "{head}");
    server.reconfigure(&format!("[server]\nexpose = [\"health\"]\n{ROOMS}"));
    assert_eq!(ask(clients, "GET", "/api/v1/websocket/status", "").0, 404, "hot");
}

/// Health and status at one moment, and the part that both have.
fn both(server: &Server) -> (u16, Value, Value) {
    let (code, _, health) = ask(&server.admin[0], "GET", "/api/v1/health", "");
    let (_, _, mut status) = ask(&server.admin[0], "GET", "/api/v1/websocket/status", "");
    for own in ["producers", "events", "transports", "rooms", "uptimeSeconds", "version"] {
        status.as_object_mut().unwrap().remove(own).unwrap();
    }
    status["bufferStatus"].as_object_mut().unwrap().remove("bufferedEvents").unwrap();
    assert_eq!((&health["status"], &health["reasons"]), (&status["status"], &status["reasons"]), "{health}");
    (code, health, status)
}

#[tokio::test]
async fn health_has_the_services_part_and_agrees_with_the_status() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    for room in ["all", "agent:1", "agent:2", "agent:3"] {
        client.subscribe(room).await;
    }
    server.publish("1", 1, 3);
    let (code, health, status) = both(&server);
    assert_eq!((code, &health["status"], &health["broadcast"]), (200, &json!("healthy"), &status));
    assert_eq!(status["connectedClients"], 1);
    // Declared: all, system_alerts, waits. Opened by events: agent:1. Only subscribed to: agent:2 and agent:3.
    let counts = ["activeRooms", "interests", "listedRooms"].map(|name| status[name].as_u64().unwrap());
    assert_eq!(counts, [4, 2, 6]);
    let (_, _, listed) = ask(&server.admin[0], "GET", "/api/v1/rooms", "");
    let (_, _, seen) = ask(&server.admin[0], "GET", "/api/v1/websocket/status", "");
    for rooms in [&listed["rooms"], &seen["rooms"]] {
        let rooms = rooms.as_array().unwrap();
        let active = rooms.iter().filter(|room| room["active"] == true).count();
        assert_eq!([active, rooms.len() - active, rooms.len()], [4, 2, 6], "{rooms:?}");
    }
    server.until_metric("broadcastd_rooms", |rooms| rooms == 4.0);
    std::fs::write(server.config(), "[limits]\nclients = 0\n").unwrap();
    assert_eq!(server.reload("").0, 422);
    let (code, health, status) = both(&server);
    assert_eq!((code, &health["ready"], &health["status"]), (200, &json!(true), &json!("degraded")));
    let reason = health["reasons"][0].as_str().unwrap();
    let place = format!("the newest configuration is refused: {}:2:", server.config().display());
    assert!(reason.starts_with(&place) && reason.contains("`limits.clients`"), "{health}");
    assert_eq!(health["broadcast"], status);
    // A load balancer asks at the clients' listener, and gets the same judgement without paths and texts.
    for path in ["/api/v1/health", "/api/v1/websocket/status"] {
        let (code, _, told) = ask(&server.clients[0], "GET", path, "");
        let reasons = json!(["the newest configuration is refused"]);
        assert_eq!((code, &told["status"], &told["reasons"]), (200, &json!("degraded"), &reasons));
    }
}

#[test]
fn pages_of_allowed_origins_send_credentials_to_every_part_and_read_refusals() {
    let server =
        Server::start(&format!("[server]\nallowed_origins = [\"https://app.example.org\"]\n{ROOMS}"));
    let (clients, admin) = (&server.clients[0], &server.admin[0]);
    let ours = "Origin: https://app.example.org\r\n";
    let asks = format!(
        "{ours}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization,x-tenant\r\n"
    );
    let polling = "/socket.io/?EIO=4&transport=polling";
    for (addr, method, target, headers, status) in [
        (clients, "OPTIONS", "/sse?room=all", &asks, 204),
        (clients, "OPTIONS", polling, &asks, 204),
        (clients, "OPTIONS", "/api/v1/health", &asks, 204),
        (admin, "OPTIONS", "/api/v1/rooms", &asks, 204),
        (clients, "GET", polling, &ours.to_owned(), 200),
        (clients, "GET", "/api/v1/health", &ours.to_owned(), 200),
        (admin, "GET", "/api/v1/rooms", &ours.to_owned(), 200),
        // Refusals.
        (clients, "GET", "/sse?room=none", &ours.to_owned(), 404),
        (clients, "GET", "/sse", &ours.to_owned(), 400),
        (clients, "GET", "/socket.io/?EIO=4&transport=polling&sid=none", &ours.to_owned(), 400),
        (clients, "GET", "/api/v1/none", &ours.to_owned(), 404),
        (clients, "POST", "/api/v1/health", &ours.to_owned(), 405),
        (admin, "GET", "/api/v1/room?room=none", &ours.to_owned(), 404),
        (admin, "GET", "/api/v1/rooms", &format!("{ours}Host: rebound.example\r\n"), 403),
    ] {
        let (answered, head, body) = ask(addr, method, target, headers);
        assert_eq!(answered, status, "{method} {target}: {body}");
        let mut lines = vec![
            "access-control-allow-origin: https://app.example.org",
            "access-control-allow-credentials: true",
        ];
        if method == "OPTIONS" {
            lines.push("access-control-allow-headers: authorization,x-tenant");
        }
        for line in lines {
            assert!(head.lines().any(|found| found == line), "{method} {target}: no {line} in {head}");
        }
    }
    // Health is for everybody; credentials are for pages of allowed origins.
    for (method, status) in [("GET", 200), ("OPTIONS", 204)] {
        let (answered, head, _) = ask(clients, method, "/api/v1/health", "Origin: https://other.example\r\n");
        assert_eq!(answered, status, "{head}");
        assert!(head.contains("access-control-allow-origin: https://other.example"), "{head}");
        assert!(!head.contains("access-control-allow-credentials"), "{head}");
    }
    let (status, head, _) = ask(clients, "GET", "/api/v1/none", "Origin: https://other.example\r\n");
    assert!(status == 404 && !head.contains("access-control"), "{head}");
}

#[test]
fn health_says_why_not() {
    let server = Server::start(&format!("[server]\ndrain_timeout = \"10m\"\n{ROOMS}"));
    let (status, body) = Server::get(&server.admin[0], "/api/v1/health");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["live"], &body["ready"], &body["reasons"]),
        (200, &json!(true), &json!(true), &json!([]))
    );
    // Keeps the drain waiting.
    let _producer = Producer::connect(&server.ingest[0]);
    server.until_metric("broadcastd_producers", |producers| producers == 1.0);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.logged("stopping");
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let (status, body) = http(
            &server.admin[0],
            b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        );
        if status == 503 {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&body["status"], &body["reasons"]), (&json!("unhealthy"), &json!(["stopping"])));
            assert_eq!((&body["ready"], both(&server).0), (&json!(false), 503));
            return;
        }
        assert!(std::time::Instant::now() < until, "{body}");
    }
}

#[tokio::test]
async fn rooms_are_listed_part_by_part_in_the_order_of_their_names() {
    let server = Server::start(ROOMS);
    let lines = (0..1_000).map(|n| format!("{{\"type\":\"t\",\"agentId\":\"{}\"}}\n", n * 7919 % 1_000));
    server.pipe(&lines.collect::<String>());
    let mut expected: Vec<String> = (0..1_000).map(|n| format!("agent:{n}")).collect();
    expected.sort_unstable();
    for limit in [1, 64, 333, 1_000, 10_000] {
        let (mut after, mut names) =
            (if limit == 1 { "agent:98".to_owned() } else { String::new() }, Vec::new());
        loop {
            let target =
                format!("/api/v1/rooms?prefix=agent%3A&limit={limit}&after={}", after.replace(':', "%3A"));
            let (status, head, page) = ask(&server.admin[0], "GET", &target, "");
            assert_eq!(status, 200, "{page}");
            assert!(head.contains("content-type: application/json\r\n"), "{head}");
            let rooms = page["rooms"].as_array().unwrap();
            assert!(rooms.len() <= limit);
            names.extend(rooms.iter().map(|room| room["room"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!((rooms.len(), names.last().unwrap().as_str()), (limit, next));
            next.clone_into(&mut after);
        }
        let first = expected.iter().position(|name| limit > 1 || name > &"agent:98".to_owned()).unwrap();
        assert_eq!(names, expected[first..], "{limit} at once");
    }
}

#[tokio::test]
async fn of_a_client_in_many_rooms_the_first_are_named_and_all_are_counted() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    let rooms: Vec<String> = (0..200).rev().map(|n| format!("agent:{n:03}")).collect();
    client.send(json!({ "type": "subscribe", "rooms": rooms })).await;
    client.wait_for("subscribed").await;
    // The last by name is not named, and is found all the same.
    for target in ["/api/v1/clients", "/api/v1/clients?room=agent%3A199"] {
        let (_, _, listed) = ask(&server.admin[0], "GET", target, "");
        let only = &listed["clients"][0];
        let first: Vec<String> = (0..64).map(|n| format!("agent:{n:03}")).collect();
        assert_eq!((&only["rooms"], &only["subscriptions"]), (&json!(first), &json!(200)), "{target}");
    }
}
