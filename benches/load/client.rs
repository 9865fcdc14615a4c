//! One client: a socket, how far it is, how it reads.

use crate::frame::{self, push_masked};
use crate::ledger::{KINDS, Ledger};
use crate::options::Transport;
use crate::scan::{Item, Message, Scanner};
use crate::socketio::{self, Packet};
use crate::sse;
use mio::net::TcpStream;
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes that one read takes.
const READ_BYTES: usize = 256 * 1024;
/// The longest frame that a client takes.
const FRAME_BYTES: usize = 2 * 1024 * 1024;
/// Room for a frame's beginning and what one read adds.
pub(crate) const SCRATCH_BYTES: usize = READ_BYTES + FRAME_BYTES;

/// When a client reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rhythm {
    /// Whatever has come, at once.
    Always,
    /// Not at all.
    Never,
    /// All there is, for `awake`, then nothing for `asleep`.
    Bursts { awake: Duration, asleep: Duration },
    /// So many bytes a second.
    Rate(f64),
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    /// Half of the request is sent.
    HalfOpen,
    Upgrading,
    Subscribing,
    Ready,
    Closed,
}

/// What a subscription asked for when it was last sent, and what its answer must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Answered.
    Nothing,
    Now,
    /// The answer's offset must be this one.
    Offset(u64),
    /// The answer's offset must be so many below its head.
    Last(u64),
    Leave,
}

/// A client's place in one room.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) room: u32,
    /// Offset of the last event it had, or had declared.
    pub(crate) position: u64,
    /// The kind of events it wants; none: all.
    pub(crate) kind: Option<u8>,
    pub(crate) asked: Asked,
    pub(crate) epoch: Box<str>,
    pub(crate) joined: bool,
    /// When it was due to come back, in the ledger's microseconds.
    pub(crate) since: u64,
}

impl Subscription {
    pub(crate) fn new(room: u32) -> Subscription {
        let (asked, epoch) = (Asked::Now, "".into());
        Subscription { room, position: 0, kind: None, asked, epoch, joined: false, since: 0 }
    }

    /// The offset that must come next.
    pub(crate) fn next(&self) -> u64 {
        let next = self.position + 1;
        match self.kind {
            None => next,
            Some(kind) => next + (u64::from(kind) + KINDS - next % KINDS) % KINDS,
        }
    }
}

/// One connection. Its owner tells it when to read.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    transport: Transport,
    /// The last `id` of a whole block, of a stream.
    pub(crate) last_id: Vec<u8>,
    pub(crate) phase: Phase,
    pub(crate) rhythm: Rhythm,
    /// Whether its latencies count and others wait for it.
    pub(crate) counted: bool,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) pings: u64,
    /// Whether it sends half of its request and waits for [`Client::go_on`].
    pub(crate) half_open: bool,
    /// Next turn of its rhythm, and bytes it may still read.
    pub(crate) due: Instant,
    pub(crate) asleep: bool,
    pub(crate) credit: f64,
    request: Vec<u8>,
    /// The beginning of a frame, or of the upgrade's answer.
    partial: Vec<u8>,
}

/// What a client needs of its owner to read.
pub(crate) struct Reading<'a> {
    pub(crate) scratch: &'a mut [u8],
    pub(crate) scanner: &'a mut Scanner,
    pub(crate) ledger: &'a mut Ledger,
}

impl Client {
    /// `last_id` is the one of its last stream, if it had one.
    pub(crate) fn new(
        (stream, transport): (TcpStream, Transport),
        addr: SocketAddr,
        subscriptions: Vec<Subscription>,
        last_id: Vec<u8>,
    ) -> Client {
        let request = match transport {
            Transport::Websocket => frame::upgrade_request(addr, "/ws"),
            Transport::SocketIo => frame::upgrade_request(addr, socketio::PATH),
            Transport::Sse => sse::request(addr, &subscriptions, &last_id),
        };
        Client {
            stream,
            transport,
            last_id,
            phase: Phase::Connecting,
            rhythm: Rhythm::Always,
            counted: true,
            subscriptions,
            pings: 0,
            half_open: false,
            due: Instant::now(),
            asleep: false,
            credit: 0.0,
            request: request.into_bytes(),
            partial: Vec::new(),
        }
    }

    /// Sends the request, or half of it, once the connection stands.
    pub(crate) fn on_writable(&mut self) -> Result<(), String> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
            return Err(format!("connect: {error}"));
        }
        if self.stream.peer_addr().is_err() {
            return Ok(());
        }
        let length = if self.half_open { self.request.len() / 2 } else { self.request.len() };
        write_whole(&mut self.stream, &self.request[..length])?;
        self.request.drain(..length);
        self.phase = if self.half_open { Phase::HalfOpen } else { Phase::Upgrading };
        Ok(())
    }

    /// Sends the rest of a half-open request.
    pub(crate) fn go_on(&mut self) -> Result<(), String> {
        let rest = std::mem::take(&mut self.request);
        self.phase = Phase::Upgrading;
        write_whole(&mut self.stream, &rest)
    }

    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) -> Result<(), String> {
        let mut frame = Vec::with_capacity(text.len() + 14);
        push_masked(&mut frame, frame::TEXT, text.as_bytes());
        write_whole(&mut self.stream, &frame)
    }

    /// Reads what has come, `budget` bytes at most, and books it. Returns how much it read.
    pub(crate) fn read(&mut self, budget: usize, reading: &mut Reading<'_>) -> Result<usize, String> {
        let mut taken = 0;
        while taken < budget && self.phase != Phase::Closed {
            let held = self.partial.len();
            let wanted = READ_BYTES.min(budget - taken);
            let Some(space) = reading.scratch.get_mut(held..held + wanted) else {
                return Err(format!("a frame of more than {FRAME_BYTES} bytes"));
            };
            let length = match self.stream.read(space) {
                Ok(0) => return Err("closed by the server".into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("read: {error}")),
            };
            taken += length;
            reading.ledger.tick();
            reading.scratch[..held].copy_from_slice(&self.partial);
            let filled = held + length;
            // Taken out while frames are booked, since that needs the rest of `reading`.
            let scratch = std::mem::take(&mut reading.scratch);
            let consumed = self.consume(&scratch[..filled], reading);
            self.partial.clear();
            if let Ok(consumed) = consumed {
                self.partial.extend_from_slice(&scratch[consumed..filled]);
            }
            reading.scratch = scratch;
            consumed?;
            // A read that is not filled has emptied the socket; what comes after it raises a new event.
            if length < wanted {
                break;
            }
        }
        Ok(taken)
    }

    /// Books whole frames or blocks; returns how many bytes they are.
    fn consume(&mut self, bytes: &[u8], reading: &mut Reading<'_>) -> Result<usize, String> {
        if self.transport == Transport::Sse {
            return self.consume_stream(bytes, reading);
        }
        let mut at = 0;
        if self.phase == Phase::Upgrading || self.phase == Phase::HalfOpen {
            let Some(end) = frame::upgrade_answer(bytes)? else { return Ok(0) };
            at = end;
            if self.transport == Transport::SocketIo {
                self.phase = Phase::Subscribing;
                self.send(socketio::CONNECT)?;
            } else if self.subscriptions.is_empty() {
                self.phase = Phase::Ready;
            } else {
                self.phase = Phase::Subscribing;
                let text = subscribe_text(&self.subscriptions);
                self.send(&text)?;
            }
        }
        while let Some(header) = frame::header(&bytes[at..])? {
            let Some(frame) = bytes.get(at..at + header.frame_bytes()) else { break };
            let payload = &frame[header.length..];
            match header.opcode {
                frame::TEXT if self.transport == Transport::SocketIo => {
                    self.on_packet(payload, frame.len(), reading)?;
                }
                frame::TEXT => self.on_text(payload, frame.len(), reading)?,
                frame::PING => {
                    self.pings += 1;
                    reading.ledger.tally.pings += 1;
                    let mut pong = Vec::new();
                    push_masked(&mut pong, frame::PONG, payload);
                    write_whole(&mut self.stream, &pong)?;
                }
                frame::CLOSE => {
                    let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    return Err(format!("closed by the server with {code}"));
                }
                opcode => return Err(format!("a frame of opcode {opcode}")),
            }
            at += frame.len();
        }
        Ok(at)
    }

    fn consume_stream(&mut self, bytes: &[u8], reading: &mut Reading<'_>) -> Result<usize, String> {
        let mut at = 0;
        if self.phase == Phase::Upgrading || self.phase == Phase::HalfOpen {
            let Some(end) = sse::answer(bytes)? else { return Ok(0) };
            at = end;
            self.phase = Phase::Subscribing;
        }
        while let Some((data, length)) = sse::chunk(&bytes[at..])? {
            let counted = reading.ledger.tally.bytes;
            let mut begin = 0;
            while let Some(block) = sse::block(&data[begin..]) {
                if let Some(data) = block.data {
                    self.on_text(data, block.length, reading)?;
                }
                if let Some(id) = block.id {
                    self.last_id.clear();
                    self.last_id.extend_from_slice(id);
                }
                begin += block.length;
            }
            if begin < data.len() {
                return Err("a chunk ends within a block".into());
            }
            if reading.ledger.tally.bytes > counted {
                reading.ledger.tally.bytes += (length - data.len()) as u64;
            }
            at += length;
        }
        Ok(at)
    }

    fn on_text(&mut self, text: &[u8], bytes: usize, reading: &mut Reading<'_>) -> Result<(), String> {
        match reading.scanner.read(text)? {
            Message::Events { room, offset } => {
                reading.ledger.tally.bytes += bytes as u64;
                let found = self.subscriptions.iter_mut().find(|own| own.room == room && own.joined);
                let Some(subscription) = found else {
                    return Err(format!("an event of r{room}, to which it is not subscribed"));
                };
                for item in &reading.scanner.items {
                    reading.ledger.event(subscription, *item, self.counted);
                }
                if offset > subscription.position {
                    reading.ledger.moved(subscription, offset);
                }
            }
            Message::Other(value) => self.on_message(&value, reading.ledger)?,
        }
        Ok(())
    }

    fn on_packet(&mut self, text: &[u8], bytes: usize, reading: &mut Reading<'_>) -> Result<(), String> {
        match socketio::read(text, reading.scanner)? {
            Packet::Open => {}
            Packet::Ping => {
                self.pings += 1;
                reading.ledger.tally.pings += 1;
                self.send(socketio::PONG)?;
            }
            Packet::Connected if self.subscriptions.is_empty() => self.phase = Phase::Ready,
            Packet::Connected => self.send(&socketio::subscribe(&self.subscriptions))?,
            Packet::Events => {
                reading.ledger.tally.bytes += bytes as u64;
                for item in &reading.scanner.items {
                    let (room, offset) = reading.ledger.place(item.number);
                    let found = self.subscriptions.iter_mut().find(|own| u64::from(own.room) == room);
                    let subscription = found.ok_or_else(|| format!("an event of r{room}"))?;
                    reading.ledger.event(subscription, Item { offset, ..*item }, self.counted);
                }
            }
            Packet::Other(name, argument) => match name.as_str() {
                "connection_established" | "position" => {}
                "subscription_confirmed" => {
                    for name in argument["subscriptions"].as_array().into_iter().flatten() {
                        let subscription = self.subscription(name)?;
                        // Nothing is published while clients subscribe.
                        subscription.position = reading.ledger.head(subscription.room);
                        (subscription.asked, subscription.joined) = (Asked::Nothing, true);
                    }
                    self.phase = Phase::Ready;
                }
                "gap" => self.on_message(&argument, reading.ledger)?,
                _ => return Err(format!("not expected: {name} {argument}")),
            },
        }
        Ok(())
    }

    fn on_message(&mut self, message: &Value, ledger: &mut Ledger) -> Result<(), String> {
        match message["type"].as_str() {
            Some("welcome" | "pong") => {}
            Some("subscribed") => {
                for answer in message["rooms"].as_array().into_iter().flatten() {
                    let subscription = self.subscription(&answer["room"])?;
                    on_subscribed(subscription, answer)?;
                }
                if self.subscriptions.iter().all(|own| own.asked == Asked::Nothing) {
                    self.phase = Phase::Ready;
                }
            }
            Some("unsubscribed") => {
                for name in message["rooms"].as_array().into_iter().flatten() {
                    let subscription = self.subscription(name)?;
                    if subscription.asked != Asked::Leave {
                        return Err(format!("unsubscribed from {name} without being asked"));
                    }
                    (subscription.asked, subscription.joined) = (Asked::Nothing, false);
                }
            }
            Some("gap") => {
                let counted = self.counted;
                let subscription = self.subscription(&message["room"])?;
                let (Some(first), Some(offset)) = (message["first"].as_u64(), message["offset"].as_u64())
                else {
                    return Err(format!("cannot read {message}"));
                };
                if message["reason"] == "epoch_changed" {
                    return Err(format!("an epoch changed: {message}"));
                }
                ledger.gap(subscription, first, offset, counted);
            }
            Some("position") => {
                let subscription = self.subscription(&message["room"])?;
                let offset = message["offset"].as_u64().ok_or_else(|| format!("cannot read {message}"))?;
                ledger.moved(subscription, offset);
            }
            _ => return Err(format!("not expected: {message}")),
        }
        Ok(())
    }

    fn subscription(&mut self, name: &Value) -> Result<&mut Subscription, String> {
        let room = name.as_str().and_then(|name| name.strip_prefix("load:r")?.parse::<u32>().ok());
        let found = self.subscriptions.iter_mut().find(|own| Some(own.room) == room);
        found.ok_or_else(|| format!("a message about {name}, to which it is not subscribed"))
    }
}

/// Books the answer for one room.
fn on_subscribed(subscription: &mut Subscription, answer: &Value) -> Result<(), String> {
    if answer.get("error").is_some() {
        return Err(format!("refused: {answer}"));
    }
    let (Some(offset), Some(head)) = (answer["offset"].as_u64(), answer["head"].as_u64()) else {
        return Err(format!("cannot read {answer}"));
    };
    let right = match subscription.asked {
        Asked::Now => offset == head,
        Asked::Offset(asked) => offset == asked,
        Asked::Last(count) => offset == head.saturating_sub(count),
        Asked::Nothing | Asked::Leave => false,
    };
    if !right {
        return Err(format!("asked for {:?}, got {answer}", subscription.asked));
    }
    subscription.epoch = answer["epoch"].as_str().unwrap_or_default().into();
    subscription.position = offset;
    (subscription.asked, subscription.joined) = (Asked::Nothing, true);
    Ok(())
}

/// The message that subscribes to rooms as their `kind` and `asked` say.
fn subscribe_text(subscriptions: &[Subscription]) -> String {
    let rooms: Vec<_> = subscriptions.iter().map(room_text).collect();
    format!(r#"{{"type":"subscribe","rooms":[{}]}}"#, rooms.join(","))
}

/// One room of a `subscribe`, as JSON.
pub(crate) fn room_text(subscription: &Subscription) -> String {
    let room = subscription.room;
    let from = match subscription.asked {
        Asked::Offset(0) => r#","from":"start""#.into(),
        Asked::Offset(offset) => format!(r#","from":{{"after":"{}:{offset}"}}"#, subscription.epoch),
        Asked::Last(count) => format!(r#","from":{{"last":{count}}}"#),
        _ => String::new(),
    };
    let condition = subscription.kind.map_or(String::new(), |kind| format!(r#","where":"k == {kind}""#));
    if from.is_empty() && condition.is_empty() {
        return format!(r#""load:r{room}""#);
    }
    format!(r#"{{"room":"load:r{room}"{from}{condition}}}"#)
}

/// Client messages are small and rare: the socket has room for them, or something is wrong.
fn write_whole(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    loop {
        return match stream.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(length) => Err(format!("{length} of {} bytes written", bytes.len())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(format!("write: {error}")),
        };
    }
}
