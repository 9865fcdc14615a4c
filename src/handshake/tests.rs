//! The front over real sockets, one connection at a time.

use super::{Arrival, Front, FrontConfig, FrontState};
use crate::config::{
    ClientLimits, Expose, IpNetwork, LimitsConfig, OriginPattern, OverDeliveries, Rate, ServerConfig,
    SocketIoConfig,
};
use crate::http::{Asked, Reply};
use crate::limits::ClientCounter;
use crate::listen::Stream;
use crate::metrics::Metrics;
use crate::shard::{ClientSocket, NewClient, Upgraded};
use crate::wire::{Epoch, Position, Sse, SubscribeRoom, Transfer, Wire};
use http_body_util::Full;
use hyper::Response;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// The handshake of RFC 6455 §1.3.
const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a shard is called that adopts.
const SHARD: usize = 3;

/// A front, what it adopted, and its tasks.
pub(super) struct Bench {
    pub(super) state: Arc<FrontState>,
    metrics: Arc<Metrics>,
    pub(super) clients: Arc<ClientCounter>,
    adopted: Arc<Mutex<Vec<NewClient>>>,
    upgraded: Arc<Mutex<Vec<Upgraded>>>,
    handshakes: JoinSet<()>,
}

impl Bench {
    pub(super) fn new(change: impl FnOnce(&mut FrontConfig)) -> Bench {
        let mut config = config();
        change(&mut config);
        let (metrics, clients) = (Arc::new(Metrics::new()), ClientCounter::new());
        let names = |name: &str| if name == "none" { Err(Some("one".to_owned())) } else { Ok(()) };
        let state = FrontState::new(config, clients.clone(), metrics.clone(), Box::new(names));
        let (adopted, upgraded) = (Arc::default(), Arc::default());
        Bench { state, metrics, clients, adopted, upgraded, handshakes: JoinSet::new() }
    }

    pub(super) fn front(
        &self,
    ) -> Front<fn(Asked) -> Reply, impl Fn(Arrival) -> usize + Clone + Send + Sync + use<>> {
        let (adopted, upgraded) = (self.adopted.clone(), self.upgraded.clone());
        let adopt = move |arrival| {
            match arrival {
                Arrival::Client(client) => adopted.lock().unwrap().push(client),
                Arrival::Upgraded(shard, socket) => {
                    assert_eq!(shard, SHARD);
                    upgraded.lock().unwrap().push(socket);
                }
            }
            SHARD
        };
        Front::new(self.state.clone(), page as fn(Asked) -> Reply, adopt)
    }

    pub(super) fn begin(&mut self, stream: Stream) {
        self.front().begin(&mut self.handshakes, stream);
    }

    /// A connection over TCP whose server end is under way.
    pub(super) async fn connect(&mut self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        self.begin(Stream::Tcp(stream, peer));
        client
    }

    /// Sends a request on a connection of its own and returns the whole answer of a connection that ends with it.
    pub(super) async fn ask(&mut self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        self.settle().await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until no handshake is under way, and checks that none left anything behind.
    pub(super) async fn settle(&mut self) {
        while let Some(ended) = self.handshakes.join_next().await {
            ended.unwrap();
        }
        assert_eq!(self.state.under_way(), 0);
    }

    /// Stops the front.
    pub(super) async fn stop(&mut self) {
        self.front().stop(std::mem::take(&mut self.handshakes)).await;
    }

    pub(super) fn render(&self) -> String {
        self.metrics.render()
    }

    pub(super) fn counted(&self, reason: &str) -> bool {
        let line = format!("broadcastd_handshakes_refused_total{{reason=\"{reason}\"}} 1");
        self.metrics.render().lines().any(|rendered| rendered == line)
    }

    /// The socket that a client went over to.
    pub(super) fn take_upgraded(&self) -> Upgraded {
        self.upgraded.lock().unwrap().pop().expect("a client has gone over")
    }

    pub(super) fn take(&self) -> NewClient {
        self.adopted.lock().unwrap().pop().expect("a client was handed over")
    }
}

fn config() -> FrontConfig {
    let rate = Rate { per_second: 1.0, burst: 1 };
    let second = Duration::from_secs(1);
    FrontConfig {
        hosts: vec![],
        socketio: SocketIoConfig::default(),
        server: ServerConfig {
            listen: vec![],
            allowed_origins: vec![OriginPattern::Local],
            trusted_proxies: vec![],
            expose: vec![Expose::Page],
            drain_timeout: second,
            shards: 1,
            heartbeat: second,
            handshake_timeout: Duration::from_secs(10),
            handshakes: 16,
            watch: false,
            keep_on_restart: false,
            auth_none: false,
        },
        limits: LimitsConfig {
            clients: 100,
            rooms: 1,
            history_memory: 1,
            views: 1,
            keys: 1,
            clients_per_ip: None,
            client: ClientLimits {
                rooms: 2,
                message_size: 1,
                messages: rate,
                subscriptions: rate,
                deliveries: None,
                over_deliveries: OverDeliveries::Pace,
                unsent: 1,
                user_timeout: second,
            },
        },
    }
}

fn page(asked: Asked) -> Reply {
    Box::pin(async move { Response::new(Full::from(format!("page of {}", asked.parts.uri.path())).into()) })
}

pub(super) async fn read_head(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_client_is_handed_over_with_what_it_sent_early() {
    let mut bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    client.write_all(format!("{REQUEST}\r\nearly bytes").as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains(&format!("sec-websocket-accept: {ACCEPT}\r\n")), "{head}");
    assert!(!head.contains("sec-websocket-protocol") && !head.contains("content-length"), "{head}");
    bench.settle().await;
    let new = bench.take();
    assert_eq!((new.early.as_slice(), new.rooms.len(), new.forwarded), (&b"early bytes"[..], 0, None));
    assert_eq!(bench.clients.connected(), 1);

    let ClientSocket::Tcp(mut socket) = new.socket else { panic!("a TCP socket") };
    let blocked = socket.read(&mut [0; 8]).unwrap_err();
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock, "the socket does not block");
    socket.write_all(b"from the shard").unwrap();
    let mut answer = [0; 14];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"from the shard");
    drop(new.permit);
    assert_eq!(bench.clients.connected(), 0);
}

#[tokio::test]
async fn rooms_and_the_subprotocol_are_taken_from_the_request() {
    let mut bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    let request = REQUEST.replace("/ws", "/ws?room=agent%3A42&room=b")
        + "Sec-WebSocket-Protocol: x, broadcastd.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.contains("sec-websocket-protocol: broadcastd.v1\r\n"), "{head}");
    assert!(!head.contains("extensions"), "{head}");
    bench.settle().await;
    let new = bench.take();
    assert_eq!(new.rooms, ["agent:42", "b"].map(|room| SubscribeRoom::to(room.to_owned())));
    assert_eq!(new.early.capacity(), 0, "nothing is kept where nothing came early");
}

#[tokio::test]
async fn unix_sockets_are_handed_over_as_such() {
    let mut bench = Bench::new(|_| {});
    let (mut client, server) = UnixStream::pair().unwrap();
    bench.begin(Stream::Unix(server));
    client.write_all(format!("{REQUEST}X-Forwarded-For: 203.0.113.9\r\n\r\n").as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    bench.settle().await;
    let new = bench.take();
    assert!(matches!(new.socket, ClientSocket::Unix(_)));
    assert_eq!(new.forwarded, "203.0.113.9".parse().ok());
}

#[tokio::test]
async fn everything_else_is_a_page_and_ends_its_connection() {
    let mut bench = Bench::new(|_| {});
    let answer = bench.ask("GET /any?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("page of /any"), "{answer}");
    let answer = bench.ask("not HTTP\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut client = bench.connect().await;
    let _ = client.write_all(long.as_bytes()).await;
    bench.settle().await;
    assert!(bench.adopted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_are_answered_and_counted() {
    let mut bench = Bench::new(|_| {});
    let answer = bench.ask("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("upgrade: websocket\r\n"), "{answer}");
    assert!(bench.counted("bad_request"));
    let answer = bench.ask(&format!("{REQUEST}Origin: https://evil.example\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(bench.counted("origin"));
    let answer = bench.ask(&format!("{}\r\n", REQUEST.replace("GET", "PUT"))).await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET\r\n"), "{answer}");
    let answer = bench.ask(&format!("{}\r\n", REQUEST.replace("HTTP/1.1", "HTTP/1.0"))).await;
    assert!(answer.contains(" 505 "), "{answer}");
    assert!(bench.adopted.lock().unwrap().is_empty());
    assert_eq!(bench.clients.connected(), 0);
}

#[tokio::test]
async fn clients_over_a_limit_are_refused() {
    let request = format!("{REQUEST}\r\n");
    let mut bench = Bench::new(|config| config.limits.clients = 0);
    let answer = bench.ask(&request).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5\r\n"), "{answer}");
    assert!(bench.counted("clients"));

    let trusted = IpNetwork { addr: "127.0.0.0".parse().unwrap(), prefix: 8 };
    let mut bench = Bench::new(|config| {
        config.limits.clients_per_ip = Some(1);
        config.server.trusted_proxies = vec![trusted];
    });
    for (address, is_taken) in [("203.0.113.9", true), ("203.0.113.10", true), ("203.0.113.9", false)] {
        let mut client = bench.connect().await;
        client.write_all(format!("{REQUEST}X-Forwarded-For: {address}\r\n\r\n").as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert_eq!(head.starts_with("HTTP/1.1 101 "), is_taken, "{head}");
        assert_eq!(head.starts_with("HTTP/1.1 429 "), !is_taken, "{head}");
    }
    bench.settle().await;
    assert!(bench.counted("clients_per_ip"));
    assert_eq!(bench.take().forwarded, "203.0.113.10".parse().ok());
}

#[tokio::test]
async fn who_closes_its_side_is_answered_if_its_request_is_whole_and_gone_if_not() {
    let mut bench = Bench::new(|_| {});
    let ask = async |bench: &mut Bench, request: &str| {
        let mut client = bench.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        // Long before its time is over, which is counted.
        bench.settle().await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for version in ["1.1", "1.0"] {
        let answer = ask(&mut bench, &format!("GET / HTTP/{version}\r\nHost: localhost\r\n\r\n")).await;
        assert!(answer.contains(" 200 OK"), "{answer}");
    }
    // Whether its body is read is for the page to say.
    let cut = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    assert!(ask(&mut bench, cut).await.contains(" 200 OK"));
    for cut in ["", "G", "GET / HTTP/1.1\r\nHost: loc"] {
        assert_eq!(ask(&mut bench, cut).await, "", "{cut:?}");
        assert!(!bench.counted("timeout"), "{cut:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_finish_its_request_is_cut_off() {
    let mut bench = Bench::new(|_| {});
    let (mut silent, server) = UnixStream::pair().unwrap();
    bench.begin(Stream::Unix(server));
    let (mut slow, server) = UnixStream::pair().unwrap();
    bench.begin(Stream::Unix(server));
    slow.write_all(REQUEST.as_bytes()).await.unwrap();
    let began = tokio::time::Instant::now();
    bench.settle().await;
    assert_eq!(began.elapsed().as_secs(), 10, "handshake_timeout");
    assert_eq!(
        (silent.read(&mut [0; 1]).await.unwrap_or(0), slow.read(&mut [0; 1]).await.unwrap_or(0)),
        (0, 0)
    );
    assert!(bench.metrics.render().contains("broadcastd_handshakes_refused_total{reason=\"timeout\"} 2"));
}

#[tokio::test]
async fn a_reload_reaches_the_next_handshake() {
    let mut bench = Bench::new(|_| {});
    let request = format!("{REQUEST}Origin: https://app.example\r\n\r\n");
    assert!(bench.ask(&request).await.starts_with("HTTP/1.1 403 "));
    let mut config = config();
    config.server.allowed_origins = vec![OriginPattern::Any];
    bench.state.set_config(config);
    let mut client = bench.connect().await;
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
}

/// A stream of two rooms that goes on.
const STREAM: &str =
    "GET /sse?room=agent%3A42&room=b HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: a:1,b:2\r\n";

#[tokio::test]
async fn a_stream_is_handed_over_without_an_answer() {
    let mut bench = Bench::new(|_| {});
    let mut client = bench.connect().await;
    let second = "GET /sse?room=c HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(format!("{STREAM}\r\n{second}").as_bytes()).await.unwrap();
    bench.settle().await;
    let new = bench.take();
    assert_eq!(new.wire, Wire::Sse(Sse { transfer: Transfer::Chunked, ..Sse::default() }));
    assert_eq!(new.rooms, ["agent:42", "b"].map(|room| SubscribeRoom::to(room.to_owned())));
    let position = |epoch, offset| Position { epoch: Epoch(epoch), offset };
    assert_eq!(new.positions, [position(0xa, 1), position(0xb, 2)]);
    assert_eq!(new.early, second.as_bytes(), "no second request is answered");
    assert!(new.head.starts_with(b"HTTP/1.1 200 OK\r\n") && new.head.ends_with(b"\r\n\r\n"));
    assert_eq!(bench.clients.connected(), 1);

    let ClientSocket::Tcp(mut socket) = new.socket else { panic!("a TCP socket") };
    let blocked = socket.read(&mut [0; 8]).unwrap_err();
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock, "the socket does not block, and is open");
    socket.write_all(b"from the shard").unwrap();
    drop(socket);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "from the shard", "nothing was written before");
    drop(new.permit);
    assert_eq!(bench.clients.connected(), 0);
}

#[tokio::test]
async fn a_stream_over_a_unix_socket_and_http_1_0_is_handed_over() {
    let mut bench = Bench::new(|_| {});
    let (mut client, server) = UnixStream::pair().unwrap();
    bench.begin(Stream::Unix(server));
    let request =
        "GET /sse?room=b HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\nAccept: application/x-ndjson\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    bench.settle().await;
    let new = bench.take();
    assert!(matches!(new.socket, ClientSocket::Unix(_)));
    assert_eq!(new.forwarded, "203.0.113.9".parse().ok());
    assert_eq!((new.wire, new.early.capacity()), (Wire::Lines { bare: false, transfer: Transfer::Plain }, 0));
}

#[tokio::test]
async fn a_stream_that_is_refused_has_a_status() {
    let mut bench = Bench::new(|_| {});
    for (request, answer) in [
        (STREAM.replace("room=b", "form=b"), "HTTP/1.1 400 "),
        (STREAM.replace("room=b", "room=b&room=c"), "HTTP/1.1 400 "),
        (STREAM.replace("room=b", "room=none").replace("Last", "X"), "HTTP/1.1 404 "),
        (STREAM.replace("GET", "POST"), "HTTP/1.1 405 "),
        (STREAM.replace("GET", "HEAD"), "HTTP/1.1 405 "),
        (STREAM.replace("Host: localhost", "Host: rebound.example"), "HTTP/1.1 403 "),
    ] {
        let answered = bench.ask(&format!("{request}\r\n")).await;
        assert!(answered.starts_with(answer) && answered.contains("connection: close\r\n"), "{answered}");
    }
    let evil = bench.ask(&format!("{STREAM}Origin: https://evil.example\r\n\r\n")).await;
    assert!(evil.starts_with("HTTP/1.1 403 ") && !evil.contains("access-control"), "{evil}");
    assert!(bench.counted("origin"));
    assert!(bench.adopted.lock().unwrap().is_empty());
    assert_eq!(bench.clients.connected(), 0);
    let mut full = Bench::new(|config| config.limits.clients = 0);
    let answer = full.ask(&format!("{STREAM}Origin: http://localhost:1\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: http://localhost:1\r\n"),
        "its page reads why: {answer}"
    );
    assert!(answer.contains("access-control-expose-headers: retry-after\r\n"), "{answer}");
    assert!(answer.contains("access-control-allow-credentials: true\r\n"), "{answer}");
}

#[tokio::test]
async fn preflights_grant_credentials_and_the_headers_that_were_asked_for() {
    let mut bench = Bench::new(|_| {});
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /sse?room=b HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization,last-event-id\r\n\r\n"
        )
    };
    let answer = bench.ask(&preflight("http://localhost:3000")).await.to_ascii_lowercase();
    for line in [
        "http/1.1 204 no content\r\n",
        "access-control-allow-origin: http://localhost:3000\r\n",
        "vary: origin\r\n",
        "access-control-allow-methods: get\r\n",
        "access-control-allow-headers: authorization,last-event-id\r\n",
        "access-control-allow-credentials: true\r\n",
    ] {
        assert!(answer.contains(line), "{line:?} in {answer}");
    }
    let answer = bench.ask(&preflight("https://evil.example")).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("access-control"), "{answer}");
    assert!(bench.adopted.lock().unwrap().is_empty());
}
