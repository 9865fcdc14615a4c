//! Sessions that go over to a WebSocket.

use super::super::session::Kind;
use super::*;
use crate::shard::Upgraded;
use crate::socketio::{EnginePacket, Received};
use std::io::Read;

/// A client's frame with a text packet.
pub(super) fn frame(packet: &str) -> Vec<u8> {
    let mut out = Vec::new();
    super::super::frames::push(&mut out, &EnginePacket::Text(packet, Received::Noop));
    out
}

pub(super) async fn connect(bench: &mut Bench, sid: &str) -> TcpStream {
    let mut socket = bench.connect().await;
    let request = format!("GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\n{UPGRADE}");
    socket.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket
}

pub(super) async fn probe(socket: &mut TcpStream) {
    socket.write_all(&frame("2probe")).await.unwrap();
    let mut answer = [0; 8];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x81\x063probe");
}

/// Everything that is on its way to the client.
pub(super) fn on_its_way(upgraded: &mut Upgraded) -> Vec<u8> {
    let mut bytes = std::mem::take(&mut upgraded.unsent);
    let _ = upgraded.polled.read_to_end(&mut bytes);
    bytes
}

/// The close code and reason that a socket ends with.
async fn closed(socket: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    tokio::time::timeout(LONG, socket.read_to_end(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes[0], 0x88, "{bytes:?}");
    (u16::from_be_bytes([bytes[2], bytes[3]]), String::from_utf8(bytes[4..].to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_on_its_way_goes_over_with_the_session() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let mut sent = frame_of_shard("42[1]");
    sent.extend(frame_of_shard("42[2]"));
    // A request that waits has read the beginning of a frame.
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    shard.socket.write_all(&sent[..3]).await.unwrap();
    until(|| bench.state.sessions.get(&sid).unwrap().has_read(3)).await;
    let mut socket = connect(&mut bench, &sid).await;
    assert!(bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Poll), "nothing has happened yet");
    probe(&mut socket).await;
    read_answer(&mut client).await.is(200, "6");
    ask(&mut client, &poll(&sid)).await.is(200, "6");
    shard.socket.write_all(&sent[3..]).await.unwrap();
    ask(&mut client, &post(&sid, "4last")).await.is(200, "ok");
    socket.write_all(&[frame("5"), frame("4first")].concat()).await.unwrap();
    until(|| bench.state.polling_sessions() == 0).await;
    ask(&mut client, &poll(&sid)).await.is_error(400, 1);
    drop(client);
    bench.settle().await;
    let mut upgraded = bench.take_upgraded();
    assert_eq!((&*upgraded.sid, &upgraded.early), (&*sid, &frame("4first")));
    assert_eq!(upgraded.unsent, sent[..3]);
    assert_eq!(on_its_way(&mut upgraded), sent);
    assert_eq!(shard.read(1).await, ["4last"]);
    let ClientSocket::Tcp(own) = upgraded.socket else { panic!("a TCP socket") };
    (&own).write_all_now(b"\x81\x012");
    let mut answer = [0; 3];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x81\x012");
}

fn frame_of_shard(packet: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_text(&mut out, 0, |out| out.extend_from_slice(packet.as_bytes()));
    out
}

trait WriteNow {
    fn write_all_now(self, bytes: &[u8]);
}

impl WriteNow for &std::net::TcpStream {
    fn write_all_now(mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_probe_that_fails_leaves_the_session_as_it_was() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let mut pong = vec![0x89, 0x82, 0, 0, 0, 0];
    pong.extend_from_slice(b"hi");
    for (packets, code) in [
        (vec![frame("4message")], 1008),
        (vec![frame("2")], 1008),
        (vec![frame("abc")], 1008),
        (vec![vec![0x82, 0x81, 0, 0, 0, 0, 1]], 1008),
        (vec![vec![0x81, 0x01, b'5']], 1002),
        (vec![frame(&format!("4{}", "x".repeat(300)))[..20].to_vec()], 1009),
        (vec![vec![0x88, 0x80, 0, 0, 0, 0]], 1000),
    ] {
        let mut socket = connect(&mut bench, &sid).await;
        probe(&mut socket).await;
        for packet in packets {
            socket.write_all(&packet).await.unwrap();
        }
        assert_eq!(closed(&mut socket).await.0, code);
        until(|| !bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Probe)).await;
        drop(socket);
    }
    let mut socket = connect(&mut bench, &sid).await;
    socket.write_all(&pong).await.unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x8a\x02hi", "pings are answered");
    drop(socket);
    until(|| !bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Probe)).await;
    shard.send(&["42[1]"]).await;
    ask(&mut client, &poll(&sid)).await.is(200, "42[1]");
    ask(&mut client, &post(&sid, "4a")).await.is(200, "ok");
}

#[tokio::test]
async fn a_socket_that_no_session_waits_for_is_closed_with_a_reason() {
    let mut bench = bench();
    let (_client, shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let mut nobody = connect(&mut bench, "nobody").await;
    let (code, reason) = closed(&mut nobody).await;
    assert!(code == 1008 && reason.contains("no such session"), "{code} {reason}");
    let mut first = connect(&mut bench, &sid).await;
    let mut second = connect(&mut bench, &sid).await;
    let (code, reason) = closed(&mut second).await;
    assert!(code == 1008 && reason.contains("another socket"), "{code} {reason}");
    probe(&mut first).await;
    drop(shard);
    assert_eq!(closed(&mut first).await, (1000, "the session is over".to_owned()));
    assert_eq!(bench.state.polling_sessions(), 0);
}

#[tokio::test]
async fn an_upgrade_waits_for_a_post_that_is_being_brought() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let mut socket = connect(&mut bench, &sid).await;
    probe(&mut socket).await;
    let request = post(&sid, "4abc");
    client.write_all(&request.as_bytes()[..request.len() - 1]).await.unwrap();
    until(|| bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Post)).await;
    socket.write_all(&frame("5")).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.state.polling_sessions(), 1);
    client.write_all(b"c").await.unwrap();
    read_answer(&mut client).await.is(200, "ok");
    until(|| bench.state.polling_sessions() == 0).await;
    drop(client);
    bench.settle().await;
    assert_eq!(&*bench.take_upgraded().sid, sid);
    assert_eq!(shard.read(1).await, ["4abc"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_has_the_time_of_a_handshake() {
    let mut bench = bench();
    let (client, shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    drop(client);
    let mut socket = connect(&mut bench, &sid).await;
    probe(&mut socket).await;
    let began = tokio::time::Instant::now();
    bench.settle().await;
    assert_eq!(began.elapsed().as_secs(), 10, "handshake_timeout");
    assert!(bench.counted("timeout"));
    assert_eq!(bench.state.polling_sessions(), 1);
    assert!(!bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Probe));
}
