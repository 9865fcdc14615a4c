//! Engine.IO at the daemon's own listeners: what is refused there, how a session is opened, what a reload changes.

use crate::harness::{ROOMS, Server, http};
use crate::raw::{Raw, frame};
use crate::socketio_client::{Io, open_polling, poll, probe};
use serde_json::Value;

fn request(method: &str, query: &str, headers: &str) -> String {
    format!(
        "{method} /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    )
}

/// Status and body.
fn ask(server: &Server, method: &str, query: &str, headers: &str) -> (u16, String) {
    http(&server.clients[0], request(method, query, headers).as_bytes())
}

#[track_caller]
fn check_refused(answer: &(u16, String), status: u16, code: u8) {
    assert_eq!(answer.0, status, "{answer:?}");
    let error: Value = serde_json::from_str(&answer.1).unwrap();
    assert_eq!(error["code"], code, "{answer:?}");
}

/// The handshake that a session was opened with.
fn opened(packet: &str) -> Value {
    serde_json::from_str(packet.strip_prefix('0').expect("a packet of type open")).unwrap()
}

#[test]
fn a_session_is_opened_and_mistakes_have_their_codes() {
    let server = Server::start(ROOMS);
    let (status, body) = ask(&server, "GET", "EIO=4&transport=polling", "");
    assert_eq!(status, 200, "{body}");
    let handshake = opened(&body);
    assert_eq!(handshake.as_object().unwrap().len(), 5, "{handshake}");
    assert_eq!(handshake["sid"].as_str().unwrap().len(), 20);
    assert_eq!(handshake["upgrades"], serde_json::json!(["websocket"]));
    assert_eq!((&handshake["pingInterval"], &handshake["pingTimeout"]), (&25_000.into(), &20_000.into()));
    assert_eq!(handshake["maxPayload"], 65_536);

    check_refused(&ask(&server, "GET", "EIO=4", ""), 400, 0);
    check_refused(&ask(&server, "GET", "EIO=4&transport=polling&sid=nobody", ""), 400, 1);
    check_refused(&ask(&server, "PUT", "EIO=4&transport=polling", ""), 400, 2);
    check_refused(&ask(&server, "GET", "EIO=4&transport=polling&j=1", ""), 400, 3);
    let evil = "Origin: https://evil.example\r\n";
    check_refused(&ask(&server, "GET", "EIO=4&transport=polling", evil), 403, 4);
    check_refused(&ask(&server, "GET", "EIO=3&transport=polling", ""), 400, 5);
    let counted = |reason| {
        let name = format!("broadcastd_handshakes_refused_total{{reason=\"{reason}\"}}");
        server.metric(&name) as u64
    };
    assert_eq!((counted("bad_request"), counted("origin")), (4, 1));
    let log = server.logged("page refused");
    assert!(log.contains("allowed_origins") && log.contains("https://evil.example"), "{log}");
}

#[test]
fn a_session_over_websocket_begins_with_its_handshake() {
    let server = Server::start(ROOMS);
    let mut client = Raw::connect(&server.clients[0]);
    client.send(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
          Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.status, 101, "{}", answer.body);
    let (first, payload) = client.frame().unwrap();
    let handshake = opened(std::str::from_utf8(&payload).unwrap());
    assert_eq!((first, &handshake["upgrades"]), (0x81, &serde_json::json!([])));
    assert_eq!(handshake["sid"].as_str().unwrap().len(), 20);
}

/// The body of an answer after which the connection goes on.
fn next_answer(client: &mut Raw) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read(1).expect("the connection goes on"));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ") && !head.contains("connection: close"), "{head}");
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    String::from_utf8(client.read(len.parse().unwrap()).unwrap()).unwrap()
}

#[test]
fn requests_share_a_connection() {
    let server = Server::start(ROOMS);
    let mut client = Raw::connect(&server.clients[0]);
    let mut sids = Vec::new();
    for _ in 0..3 {
        client.send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n");
        sids.push(opened(&next_answer(&mut client))["sid"].clone());
    }
    sids.dedup();
    assert_eq!(sids.len(), 3);
}

#[test]
fn a_reload_moves_it_and_switches_it_off() {
    let server = Server::start(ROOMS);
    let at = |path: &str| {
        let request = request("GET", "EIO=4&transport=polling", "").replace("/socket.io/", path);
        http(&server.clients[0], request.as_bytes()).0
    };
    assert_eq!((at("/socket.io/"), at("/socket.io"), at("/live/")), (200, 200, 404));
    server.reconfigure(&format!("[socketio]\npath = \"/live\"\n{ROOMS}"));
    assert_eq!((at("/socket.io/"), at("/live/"), at("/live")), (404, 200, 200));
    server.reconfigure(&format!("[socketio]\nenabled = false\n{ROOMS}"));
    assert_eq!((at("/socket.io/"), at("/live/")), (404, 404));
}

/// A session that polls, in the main namespace and all that it was told of it taken.
fn polling(server: &Server) -> String {
    let sid = open_polling(server);
    assert_eq!(poll(server, &sid, Some("40")), "ok");
    let mut told = String::new();
    while !told.contains("connection_established") {
        told += &poll(server, &sid, None);
    }
    sid
}

/// What a client is told that goes over to its socket while it is closed.
fn check_closed(io: &mut Io, code: u16) {
    io.send("5");
    let (_, _, closing) = io.packet();
    assert_eq!((&closing[0], &closing[1]["code"]), (&"closing".into(), &code.into()), "{closing}");
    let (mut kind, _, mut value) = io.packet();
    if code == 4000 {
        assert_eq!(kind, "41");
        (kind, _, value) = io.packet();
    }
    assert_eq!((&*kind, value), ("", code.into()), "a close frame");
}

#[test]
fn a_client_that_is_closed_while_it_goes_over_to_its_socket_is_told_so() {
    let server = Server::start(ROOMS);
    let sid = polling(&server);
    let mut io = probe(&server, &sid);
    let (_, list) = Server::get(&server.admin[0], "/api/v1/clients");
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list["clients"][0]["id"].as_str().unwrap();
    let delete = format!(
        "DELETE /api/v1/clients/{id} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.admin[0]
    );
    let (status, answer) = http(&server.admin[0], delete.as_bytes());
    assert!(status < 300, "{status} {answer}");
    check_closed(&mut io, 4000);
    io.0.send(&frame(0x88, &4000_u16.to_be_bytes()));
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
}

#[test]
fn polling_clients_are_told_apart_until_they_upgrade() {
    let server = Server::start(ROOMS);
    let sid = polling(&server);
    let shown = || {
        let ask =
            |path: &str| -> Value { serde_json::from_str(&Server::get(&server.admin[0], path).1).unwrap() };
        let (clients, status) = (ask("/api/v1/clients"), ask("/api/v1/websocket/status"));
        let of = |name: &str| status["transports"][name].as_u64();
        (clients["clients"][0]["transport"].as_str().map(str::to_owned), of("polling"), of("socketio"))
    };
    let series = |transport: &str| format!("broadcastd_clients{{transport=\"{transport}\"}}");
    server.until_metric(&series("polling"), |clients| clients == 1.0);
    assert_eq!(shown(), (Some("polling".to_owned()), Some(1), Some(0)));
    let mut io = probe(&server, &sid);
    io.0.send(&frame(0x81, b"5"));
    server.until_metric(&series("socketio"), |clients| clients == 1.0);
    assert_eq!(shown(), (Some("socketio".to_owned()), Some(0), Some(1)));
    drop(io);
    server.until_metric(&series("socketio"), |clients| clients == 0.0);
    assert_eq!(server.metric(&series("polling")), 0.0);
}

#[test]
fn a_daemon_that_stops_lets_a_client_go_over_to_its_socket_and_tells_it() {
    let mut server = Server::start(ROOMS);
    let sid = polling(&server);
    let mut io = probe(&server, &sid);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    // Handshakes are ended right after nobody is accepted any more.
    while std::net::TcpStream::connect(&server.clients[0]).is_ok() {
        std::thread::yield_now();
    }
    check_closed(&mut io, 1001);
    io.0.send(&frame(0x88, &1001_u16.to_be_bytes()));
    assert!(server.wait().success());
}
