//! Engine.IO over real sockets: a client at one end, a test that plays the shard at the other.

mod heavy;
mod polling;
mod requests;
mod upgrading;

use super::super::tests::{Bench, read_head};
use crate::shard::{ClientSocket, NewClient};
use crate::wire::frame::push_text;
use crate::wire::{FrameReader, Incoming};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

/// A front as it is for Engine.IO: with message sizes that are worth something.
fn bench() -> Bench {
    Bench::new(|config| config.limits.client.message_size = 100_000)
}

/// A session that a shard has, which is played here.
struct Shard {
    /// The shard's end.
    socket: UnixStream,
    client: NewClient,
}

impl Shard {
    fn adopt(mut client: NewClient) -> Shard {
        let (fake, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let ClientSocket::Unix(socket) = std::mem::replace(&mut client.socket, ClientSocket::Unix(fake))
        else {
            panic!("a socket of the daemon's own")
        };
        Shard { socket: UnixStream::from_std(socket).unwrap(), client }
    }

    fn sid(&self) -> &str {
        &self.client.socketio.as_ref().unwrap().sid
    }

    /// Sends packets, each in a frame.
    async fn send(&mut self, packets: &[&str]) {
        let mut bytes = Vec::new();
        for packet in packets {
            push_text(&mut bytes, 0, |out| out.extend_from_slice(packet.as_bytes()));
        }
        self.socket.write_all(&bytes).await.unwrap();
    }

    /// Reads so many messages; binary ones are shown as text.
    async fn read(&mut self, count: usize) -> Vec<String> {
        let (mut reader, mut partial, mut read) = (FrameReader::new(), None, Vec::new());
        let mut buffer = vec![0; 4096];
        while read.len() < count {
            let len = self.socket.read(&mut buffer).await.unwrap();
            assert!(len > 0, "{read:?} and the end");
            let sink = |incoming: Incoming<'_>| {
                read.push(match incoming {
                    Incoming::Text(text) => text.to_owned(),
                    other => format!("{other:?}"),
                });
                true
            };
            reader.feed(&mut partial, &buffer[..len], 1 << 20, sink).unwrap();
        }
        read
    }

    /// Whether the front has ended its side, behind whatever it had sent.
    async fn is_ended(&mut self) -> bool {
        tokio::time::timeout(LONG, self.socket.read_to_end(&mut Vec::new())).await.is_ok()
    }
}

/// An answer, with its status, its headers in lower case, and its body.
#[derive(Debug)]
struct Answered {
    head: String,
    body: String,
}

impl Answered {
    #[track_caller]
    fn is(&self, status: u16, body: &str) {
        assert!(self.head.starts_with(&format!("http/1.1 {status} ")), "{self:?}");
        assert_eq!(self.body, body);
    }

    /// Whether it is an error of Engine.IO with this code.
    #[track_caller]
    fn is_error(&self, status: u16, code: u8) {
        assert!(self.head.starts_with(&format!("http/1.1 {status} ")), "{self:?}");
        let error: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(error["code"], code, "{self:?}");
        assert!(error["message"].is_string() && error["hint"].is_string(), "{self:?}");
    }
}

fn get(query: &str) -> String {
    format!("GET /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(sid: &str, body: &str) -> String {
    let len = body.len();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n{body}")
}

fn poll(sid: &str) -> String {
    get(&format!("&sid={sid}"))
}

/// The rest of a WebSocket handshake.
const UPGRADE: &str = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn read_answer(client: &mut TcpStream) -> Answered {
    let head = read_head(client).await.to_ascii_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
    client.read_exact(&mut body).await.unwrap();
    Answered { head, body: String::from_utf8(body).unwrap() }
}

async fn ask(client: &mut TcpStream, request: &str) -> Answered {
    client.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(LONG, read_answer(client)).await.unwrap()
}

/// A connection, and the session that it has opened.
async fn open(bench: &mut Bench) -> (TcpStream, Shard) {
    let mut client = bench.connect().await;
    let answered = ask(&mut client, &get("")).await;
    assert!(answered.head.starts_with("http/1.1 200 "), "{answered:?}");
    (client, Shard::adopt(bench.take()))
}

/// Waits until something holds that other tasks bring about.
async fn until(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it holds in the end");
}
