//! A small WebSocket client: text messages both ways, pings answered, every message bounded.
//!
//! Reading is a task of its own, for fastwebsockets' `read_frame` must not be cancelled within a frame; what it reads goes
//! through a channel of a few messages, so that who does not read is a slow client to the daemon, and nothing gathers here.

use super::api::connect;
use super::find::Endpoint;
use bytes::Bytes;
use fastwebsockets::{
    Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketRead, WebSocketWrite,
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Longest message: the longest event that a daemon can be told to take (256 MiB), and what is around it.
const MESSAGE_BYTES: usize = 257 << 20;
/// Messages that were read and not taken, and frames that are to be written.
const WAITING: usize = 16;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long nothing may come until the daemon has said what its heartbeat is.
const SILENCE_MS: u64 = 120_000;
/// Between two looks at how long nothing has come.
const LOOK: Duration = Duration::from_secs(1);
/// How long an answer to a close frame is waited for.
const GOODBYE: Duration = Duration::from_millis(500);
/// Bytes of a refusal that are read.
const REFUSAL_BYTES: usize = 4096;
/// The protocol that is spoken.
const PROTOCOL: &str = "broadcastd.v1";

/// A connection to the clients' side of a daemon.
pub(super) struct Socket {
    messages: mpsc::Receiver<Result<Vec<u8>, End>>,
    frames: mpsc::Sender<Frame<'static>>,
    /// How long nothing may come, in milliseconds.
    silence: Arc<AtomicU64>,
    /// Reading, writing and hyper's part; they end with this.
    _tasks: JoinSet<()>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a close frame.
    Closed {
        /// Its code; 1005 if there is none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// Without one.
    Lost(String),
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody answers.
    Unreachable(io::Error),
    /// The daemon answers, and does not let this client in.
    Refused {
        /// What it says.
        message: String,
        /// Whether it would say the same later.
        is_final: bool,
    },
}

impl Socket {
    /// Connects, and makes the handshake.
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Socket, Refusal> {
        match tokio::time::timeout(HANDSHAKE, Socket::handshake(endpoint)).await {
            Ok(result) => result,
            Err(error) => Err(Refusal::Unreachable(error.into())),
        }
    }

    async fn handshake(endpoint: &Endpoint) -> Result<Socket, Refusal> {
        let other = |error| Refusal::Unreachable(io::Error::other(error));
        let stream = connect(endpoint).await.map_err(Refusal::Unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its errors come out of the request, or of the upgraded stream.
            let _ = connection.with_upgrades().await;
        });
        let request = Request::get(endpoint.path_or("/ws"))
            .header(HOST, &endpoint.host)
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "Upgrade")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
            .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
            .body(Empty::<Bytes>::new())
            .map_err(|error| Refusal::Unreachable(io::Error::other(error)))?;
        let mut response = sender.send_request(request).await.map_err(other)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        if response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|protocol| protocol != PROTOCOL) {
            let message = format!("it is a WebSocket server, and does not speak {PROTOCOL}");
            return Err(Refusal::Refused { message, is_final: true });
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(other)?;
        Ok(Socket::spawn(upgraded, tasks))
    }

    fn spawn(upgraded: Upgraded, mut tasks: JoinSet<()>) -> Socket {
        let socket = WebSocket::after_handshake(TokioIo::new(upgraded), Role::Client);
        let (mut read, write) = socket.split(tokio::io::split);
        read.set_max_message_size(MESSAGE_BYTES);
        // Pings are frames like others: they say that the daemon is there.
        read.set_auto_pong(false);
        let (frames, to_write) = mpsc::channel(WAITING);
        let (told, messages) = mpsc::channel(WAITING);
        let silence = Arc::new(AtomicU64::new(SILENCE_MS));
        tasks.spawn(read_all(Reader { read, frames: frames.clone(), silence: Arc::clone(&silence) }, told));
        tasks.spawn(write_all(write, to_write));
        Socket { messages, frames, silence, _tasks: tasks }
    }

    /// The daemon pings so often: when nothing came for two and a half times as long, the connection is lost.
    pub(super) fn expect_heartbeat(&self, ms: u64) {
        self.silence.store(ms.saturating_mul(5) / 2, Ordering::Relaxed);
    }

    /// The next text message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, End> {
        let lost = || Err(End::Lost("the connection has ended".to_owned()));
        self.messages.recv().await.unwrap_or_else(lost)
    }

    /// A message that has been read already.
    pub(super) fn ready(&mut self) -> Option<Result<Vec<u8>, End>> {
        self.messages.try_recv().ok()
    }

    /// Says goodbye, and waits a moment for the answer: a client that just goes is a lost connection to the daemon.
    pub(super) async fn close(mut self) {
        if self.frames.send(Frame::close(1000, b"")).await.is_ok() {
            let answered = async { while self.next().await.is_ok() {} };
            let _ = tokio::time::timeout(GOODBYE, answered).await;
        }
    }

    /// Sends a text message.
    pub(super) async fn send(&self, text: String) -> Result<(), End> {
        let frame = Frame::text(Payload::Owned(text.into_bytes()));
        self.frames.send(frame).await.map_err(|_| End::Lost("the connection has ended".to_owned()))
    }
}

/// What the daemon says to a handshake that it refuses.
async fn refusal(response: Response<Incoming>) -> Refusal {
    let status = response.status();
    let is_final = !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let body = Limited::new(response.into_body(), REFUSAL_BYTES).collect().await;
    let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let message = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    Refusal::Refused { message, is_final }
}

type Writer = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;

/// The side that reads.
struct Reader {
    read: WebSocketRead<ReadHalf<TokioIo<Upgraded>>>,
    frames: mpsc::Sender<Frame<'static>>,
    silence: Arc<AtomicU64>,
}

async fn read_all(mut reader: Reader, told: mpsc::Sender<Result<Vec<u8>, End>>) {
    let end = loop {
        match reader.message().await {
            Ok(message) => {
                if told.send(Ok(message)).await.is_err() {
                    // Nobody listens any more.
                    return;
                }
            }
            Err(end) => break end,
        }
    };
    let _ = told.send(Err(end)).await;
}

impl Reader {
    /// Reads a message of one frame or several; pings are answered on the way.
    async fn message(&mut self) -> Result<Vec<u8>, End> {
        let mut message: Option<Vec<u8>> = None;
        loop {
            let frame = self.frame().await?;
            match (frame.opcode, &mut message) {
                (OpCode::Close, _) => return Err(close_of(&frame.payload)),
                (OpCode::Ping, _) => {
                    let pong = Frame::pong(Payload::Owned(frame.payload.to_vec()));
                    let _ = self.frames.send(pong).await;
                    continue;
                }
                (OpCode::Pong, _) => continue,
                (OpCode::Text, None) => message = Some(frame.payload.to_vec()),
                (OpCode::Continuation, Some(begun)) if begun.len() + frame.payload.len() <= MESSAGE_BYTES => {
                    begun.extend_from_slice(&frame.payload);
                }
                _ => return Err(End::Lost("what came is no text message".to_owned())),
            }
            if let Some(whole) = message.take_if(|_| frame.fin) {
                return Ok(whole);
            }
        }
    }

    /// Reads a frame to its end, or until nothing has come for too long: then the connection is given up, since a frame may
    /// have been read in part.
    async fn frame(&mut self) -> Result<Frame<'_>, End> {
        let frames = &self.frames;
        let mut answer = |frame: Frame<'_>| {
            let payload = Payload::Owned(frame.payload.to_vec());
            let owned = Frame::new(frame.fin, frame.opcode, None, payload);
            async move { frames.send(owned).await.map_err(|_| WebSocketError::ConnectionClosed) }
        };
        let since = Instant::now();
        let reading = self.read.read_frame(&mut answer);
        tokio::pin!(reading);
        loop {
            match tokio::time::timeout(LOOK, &mut reading).await {
                Ok(result) => return result.map_err(|error| End::Lost(error.to_string())),
                Err(_) if since.elapsed() >= Duration::from_millis(self.silence.load(Ordering::Relaxed)) => {
                    return Err(End::Lost("nothing is heard of the daemon".to_owned()));
                }
                Err(_) => {}
            }
        }
    }
}

fn close_of(payload: &[u8]) -> End {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => End::Closed {
            code: u16::from_be_bytes(*code),
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        None => End::Closed { code: 1005, reason: String::new() },
    }
}

async fn write_all(mut writer: Writer, mut frames: mpsc::Receiver<Frame<'static>>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_frame(frame).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_are_read() {
        let closed = |code, reason: &str| End::Closed { code, reason: reason.to_owned() };
        assert_eq!(close_of(b"\x0f\xa1slow_client"), closed(4001, "slow_client"));
        assert_eq!(close_of(b"\x03\xe8"), closed(1000, ""));
        assert_eq!(close_of(b""), closed(1005, ""));
    }
}
