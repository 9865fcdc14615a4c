//! One table of heads, tried at every listener over TCP and Unix sockets; protocols and paths that belong elsewhere.

use crate::harness::{Client, Producer, Server, http};
use serde_json::{Value, json};

const CONFIG: &str = "
[server]
listen = [\"127.0.0.1:0\", \"unix:clients.sock\"]
allowed_origins = [\"local\", \"https://app.example\"]
[admin]
listen = [\"127.0.0.1:0\", \"unix:admin.sock\"]
[ingest]
listen = [\"127.0.0.1:0\", { unix = \"in.sock\" }]
hosts = [\"events.example\"]
[rooms.all]
types = [\"*\"]
[rooms.\"agent:{agentId}\"]
types = [\"*\"]
[rooms.\"alerts:{severity}\"]
types = [\"system_alert\"]
";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends a request and returns the status of its answer, which may be a stream.
fn status(addr: &str, target: &str, head: &[u8], more: &str) -> u16 {
    let mut producer = Producer::connect(addr);
    let method = if target == "/events" { "POST" } else { "GET" };
    producer
        .write_bytes(&[format!("{method} {target} ").as_bytes(), head, more.as_bytes(), b"\r\n"].concat());
    let answer = producer.read_until(|text| text.contains("\r\n"));
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// A version and header lines, and how requests with them fare: those that anybody may make, WebSockets, clients', and those of
/// operators and producers.
type Case = (&'static [u8], [u16; 4]);

const BAD_HOST: [u16; 4] = [400; 4];
const BAD_ORIGIN: [u16; 4] = [403; 4];

const TCP: &[Case] = &[
    (b"HTTP/1.1\r\nHost: localhost\r\n", [200; 4]),
    (b"HTTP/1.1\r\nHost: events.example:9998\r\n", [200; 4]),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n", [200; 4]),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n", [200, 403, 403, 403]),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n", [200, 403, 403, 403]),
    // A name that was made to point here.
    (b"HTTP/1.1\r\nHost: rebound.example\r\n", [200, 200, 403, 403]),
    (b"HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\n", [200, 403, 403, 403]),
    (b"HTTP/1.1\r\nHost: app.example\r\n", [200, 200, 200, 403]),
    (b"HTTP/1.1\r\nHost: proxy.example\r\nOrigin: https://app.example\r\n", [200, 200, 200, 403]),
];

/// These are the same over Unix sockets.
const ANYWHERE: &[Case] = &[
    (b"HTTP/1.1\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost:\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: me@localhost\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: localhost, evil.example\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: localhost/x\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: localhost:x\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: l\xc3\xb6calhost\r\n", BAD_HOST),
    (b"HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n", BAD_HOST),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n", BAD_ORIGIN),
    (
        b"HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: https://evil.example\r\n",
        BAD_ORIGIN,
    ),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: https://\xc3\xa9vil.example\r\n", BAD_ORIGIN),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: \xff\r\n", BAD_ORIGIN),
];

const UNIX: &[Case] = &[
    (b"HTTP/1.1\r\nHost: localhost\r\n", [200; 4]),
    (b"HTTP/1.1\r\nHost: anything.example\r\n", [200; 4]),
    (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n", [200, 403, 403, 403]),
];

#[test]
fn every_listener_judges_hosts_and_origins_alike() {
    let server = Server::start(CONFIG);
    for (socket, cases) in [(0, TCP), (0, ANYWHERE), (1, UNIX), (1, ANYWHERE)] {
        let [clients, admin, ingest] =
            [&server.clients, &server.admin, &server.ingest].map(|addrs| addrs[socket].as_str());
        for (head, [public, websocket, pages, own]) in cases {
            let check = |addr: &str, target: &str, more: &str, expected: u16| {
                let expected = if expected == 200 && more == UPGRADE { 101 } else { expected };
                let shown = String::from_utf8_lossy(head);
                assert_eq!(status(addr, target, head, more), expected, "{addr} {target} {shown}");
            };
            for target in ["/", "/page.js", "/client.js", "/api/v1/health"] {
                check(clients, target, "", *public);
            }
            // What is not there may be refused, and never served.
            let missing = if *public == 200 { 404 } else { *public };
            check(clients, "/nothing", "", missing);
            if !head.starts_with(b"HTTP/1.0") {
                check(clients, "/ws", UPGRADE, *websocket);
                check(clients, "/socket.io/?EIO=4&transport=websocket", UPGRADE, *websocket);
            }
            for target in [
                "/sse?room=all",
                "/socket.io/?EIO=4&transport=polling",
                "/api/v1/websocket/status",
                "/page.json",
            ] {
                check(clients, target, "", *pages);
            }
            for target in ["/", "/api/v1/health"] {
                check(admin, target, "", *public);
            }
            for target in ["/api/v1/rooms", "/metrics", "/api/v1/websocket/status", "/page.json"] {
                check(admin, target, "", *own);
            }
            let json = "Content-Type: application/json\r\nContent-Length: 0\r\n";
            check(ingest, "/events", json, *own);
        }
    }
}

#[tokio::test]
async fn clients_are_given_no_names_of_rooms_that_a_template_made() {
    let server = Server::start(CONFIG);
    let mut client = Client::connect(&server).await;
    client.subscribe("agent:secret-1").await;
    client.subscribe("all").await;
    server.publish("secret-2", 1, 1);
    let ask = |addr: &str, method: &str, path: &str| -> Value {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (status, body) = http(addr, request.as_bytes());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let names = |answer: &Value, name: &str| -> Vec<String> {
        let mut names: Vec<String> = answer["rooms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|room| room[name].as_str().unwrap().into())
            .collect();
        names.sort();
        names
    };
    let status = "/api/v1/websocket/status";
    let told = ask(&server.clients[0], "GET", status);
    assert_eq!((names(&told, "name"), &told["listedRooms"]), (vec!["all".to_owned()], &json!(3)), "{told}");
    let all = names(&ask(&server.admin[0], "GET", status), "name");
    assert_eq!(all, ["agent:secret-1", "agent:secret-2", "all"]);
    let test = "/api/v1/websocket/broadcast/test";
    let told = ask(&server.clients[0], "POST", test);
    assert_eq!((names(&told, "room"), &told["published"]), (vec!["all".to_owned()], &json!(true)), "{told}");
    let told = ask(&server.admin[0], "POST", test);
    assert_eq!(names(&told, "room"), ["alerts:info", "all"]);
}

/// A TLS ClientHello's beginning, and what every HTTP/2 connection begins with.
const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[test]
fn tls_and_http_2_are_ended_at_once_with_a_word() {
    let server = Server::start(CONFIG);
    for (addr, spoken) in [
        (&server.ingest[0], "this port speaks plain HTTP/1.1 and NDJSON\n"),
        (&server.ingest[1], "this port speaks plain HTTP/1.1 and NDJSON\n"),
        (&server.clients[0], "this port speaks plain HTTP/1.1\n"),
        (&server.admin[0], "this port speaks plain HTTP/1.1\n"),
    ] {
        for (first, name) in [(TLS, "TLS"), (HTTP2, "HTTP/2")] {
            // The client waits, as a TLS client does: it neither sends more nor ends its side.
            let mut client = Producer::connect(addr);
            client.write_bytes(first);
            let answer = client.read_to_end();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{addr} {name}: {answer}");
            assert!(
                answer.contains(&format!("\r\n\r\n{name} is not spoken here: {spoken}hint: ")),
                "{answer}"
            );
        }
    }
    let rejected = "broadcastd_ingest_rejected_total{reason=\"wrong_protocol\"}";
    assert_eq!(server.metric(rejected), 4.0);
    assert_eq!(server.metric("broadcastd_handshakes_refused_total{reason=\"bad_request\"}"), 4.0);
    let line = server.logged("TLS is not spoken here");
    assert!(line.contains("wrong_protocol") && line.contains("http://"), "{line}");
    let (_, list) = Server::get(&server.admin[0], "/api/v1/rejected");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["rejected"].as_array().unwrap().len(), 4, "{list}");
    assert_eq!(
        (&list["rejected"][0]["code"], &list["total"]),
        (&json!("wrong_protocol"), &json!(4)),
        "{list}"
    );
}

#[test]
fn lines_that_only_look_like_another_protocol_stay_lines() {
    let server = Server::start(CONFIG);
    let answers = server.pipe("\u{16}x\n{\"type\":\"t\"}\n");
    assert_eq!(answers[0]["error"]["code"], "bad_json", "{answers:?}");
    assert_eq!(answers[1]["accepted"], 1);
    let answers = server.pipe("PRI * HTTP/2.0\n{\"type\":\"\\u0016\\u0003\"}\n");
    assert_eq!(answers[0]["error"]["code"], "bad_json", "{answers:?}");
    assert_eq!(answers[1]["accepted"], 1);
    let answers = server.pipe("{\"type\":\"t\"}\n\u{16}\u{3}\nPRI * HTTP/2.0\r\n");
    assert_eq!(answers.last().unwrap(), &json!({ "accepted": 1, "rejected": 2, "line": 3 }));
}

#[test]
fn producers_at_another_listener_are_told_where_ingest_is() {
    let server = Server::start(CONFIG);
    let (tcp, unix) = (format!("POST http://{}/events", server.ingest[0]), &server.ingest[1]);
    let ask = |addr: &str, method: &str, path: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let (status, body) = http(addr, request.as_bytes());
        let problem: Value = serde_json::from_str(&body).unwrap();
        (status, problem["detail"].as_str().unwrap().to_owned(), problem["hint"].as_str().unwrap().to_owned())
    };
    for (addr, whom) in [(&server.clients[0], "clients"), (&server.admin[0], "operators")] {
        for (method, path, expected) in [
            ("POST", "/events", 404),
            ("GET", "/events", 404),
            ("POST", "/event", 404),
            ("PUT", "/events/", 404),
            ("PATCH", "/x", 404),
            ("POST", "/", 405),
            ("PUT", "/", 405),
        ] {
            let (status, detail, hint) = ask(addr, method, path);
            assert_eq!(status, expected, "{method} {path}: {detail}");
            let is_named = hint.contains(&tcp) && hint.contains(&format!("lines to {unix}"));
            assert!(is_named, "{method} {path}: {hint}");
            if status == 404 {
                assert_eq!(detail, format!("{path} is not served at this listener, which is for {whom}"));
                assert!(hint.contains("here are: /, ") && hint.ends_with("/ws, /sse, /socket.io/"), "{hint}");
            }
        }
        let (status, _, hint) = ask(addr, "GET", "/nothing");
        assert!(status == 404 && !hint.contains(&tcp) && hint.ends_with("/sse, /socket.io/"), "{hint}");
    }
    // It follows a reload, and says if there is none.
    server.reconfigure(
        &CONFIG.replace("[\"127.0.0.1:0\", { unix = \"in.sock\" }]", "[\"127.0.0.1:0\"]").replace(
            "hosts = [\"events.example\"]\n",
            "hosts = [\"events.example\"]\n[socketio]\nenabled = false\n",
        ),
    );
    let (_, _, hint) = ask(&server.clients[0], "POST", "/events");
    assert!(hint.contains(&tcp) && !hint.contains("in.sock") && hint.ends_with("/ws, /sse"), "{hint}");
    let (_, _, hint) = ask(&server.clients[0], "POST", "/socket.io/");
    assert!(hint.contains(&tcp), "{hint}");
}
