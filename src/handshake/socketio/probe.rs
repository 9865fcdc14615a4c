//! A session's client tries a WebSocket, and goes over to it (the upgrade of Engine.IO): `2probe` from it, `3probe` to
//! it, requests that poll are ended, `5` from it. Until then the front itself speaks on the socket, and a probe that
//! fails leaves the session as it was.

use super::super::front::{Arrival, Visit};
use super::super::under_way::Place;
use super::session::Turn;
use crate::shard::ClientSocket;
use crate::socketio::{Received, parse_text};
use crate::wire::frame::{PONG, frame_len, push_close, push_control, push_text};
use crate::wire::{FrameReader, Incoming, Partial};
use bytes::Bytes;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a frame that a probe may have: its packets have six at the most, and control frames 125 beside their headers.
const FRAME_BYTES: usize = 256;
/// Key of a client's frame.
const KEY_BYTES: usize = 4;
/// Says that a frame has one.
const MASKED: u8 = 0x80;
/// Clients that probe say nothing else.
const PROBE: &str = "probe";

/// A socket that is probed.
struct Probe<S> {
    stream: S,
    /// What has arrived and was not looked at.
    arrived: Vec<u8>,
    reader: FrameReader,
    partial: Option<Box<Partial>>,
}

/// What one frame asks for.
enum Step {
    Next,
    Probed,
    Upgrade,
    /// With what code the socket is closed.
    End(u16, &'static str),
}

/// What comes of a probe.
enum Outcome {
    /// The client asks for the upgrade; what it said after that was not looked at.
    Upgrade,
    /// The socket is closed with a code and a reason.
    Close(u16, &'static str),
    /// The client has gone.
    Gone,
}

/// Speaks with a client that may go over to this socket, as long as there is patience. What comes of it is the upgrade,
/// if the client asked for it.
pub(in crate::handshake) async fn probe<S>(
    turn: Result<Turn, &'static str>,
    (stream, early): (S, Bytes),
    visit: &Visit<'_>,
    take: fn(S) -> io::Result<ClientSocket>,
) -> Option<Arrival>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    visit.patience.renew();
    let mut probe = Probe { stream, arrived: early.to_vec(), reader: FrameReader::new(), partial: None };
    drop(early);
    let outcome = match &turn {
        Ok(turn) => tokio::select! {
            outcome = probe.speak(turn, visit.place) => outcome.ok()?,
            () = turn.ended() => Outcome::Close(1000, "the session is over"),
        },
        Err(reason) => Outcome::Close(1008, reason),
    };
    let turn = match (turn, outcome) {
        (Ok(turn), Outcome::Upgrade) => turn,
        (turn, Outcome::Close(code, reason)) => {
            // The session need not wait until the client has heard of it.
            drop(turn);
            probe.close(code, reason).await.ok()?;
            return None;
        }
        (_, Outcome::Gone | Outcome::Upgrade) => return None,
    };
    let Probe { stream, arrived, .. } = probe;
    let (shard, upgraded) = turn.upgrade(|| take(stream), arrived).await?;
    Some(Arrival::Upgraded(shard, upgraded))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Probe<S> {
    async fn speak(&mut self, turn: &Turn, place: &Place) -> io::Result<Outcome> {
        loop {
            let mut out = Vec::new();
            match self.step(&mut out) {
                None => {
                    // Cancelled with the whole probe only.
                    if self.stream.read_buf(&mut self.arrived).await? == 0 {
                        return Ok(Outcome::Gone);
                    }
                }
                Some(Step::Next) => self.stream.write_all(&out).await?,
                Some(Step::Probed) => {
                    // From the answer on the client polls no more, and would miss whatever comes if this were ended as a
                    // handshake: it belongs to its session.
                    place.wait();
                    push_text(&mut out, 0, |out| out.extend_from_slice(b"3probe"));
                    self.stream.write_all(&out).await?;
                    turn.set_probed();
                }
                Some(Step::Upgrade) => return Ok(Outcome::Upgrade),
                Some(Step::End(code, reason)) => return Ok(Outcome::Close(code, reason)),
            }
        }
    }

    /// Takes the next frame; none if it is not whole. Appends what it is answered with on this side of the protocol.
    fn step(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        // A frame without a key is whole without one, and a fault.
        let key = if self.arrived.get(1).is_some_and(|second| second & MASKED != 0) { KEY_BYTES } else { 0 };
        let whole = frame_len(&self.arrived).map(|len| len.saturating_add(key));
        let Some(len) = whole.filter(|len| *len <= self.arrived.len()) else {
            let is_long = whole.is_some_and(|len| len > FRAME_BYTES);
            return is_long.then_some(Step::End(1009, "too long for a probe"));
        };
        let mut step = Step::Next;
        let frame: Vec<u8> = self.arrived.drain(..len).collect();
        let fed = self.reader.feed(&mut self.partial, &frame, FRAME_BYTES, |incoming| {
            step = read(&incoming, out);
            true
        });
        match fed {
            Ok(()) => Some(step),
            Err(error) => Some(Step::End(error.code, error.reason)),
        }
    }

    /// Says why, and reads until the client has ended its side: closing a socket with unread bytes would reset the
    /// connection, and the reason might not arrive.
    async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let mut out = Vec::new();
        push_close(&mut out, code, reason);
        self.stream.write_all(&out).await?;
        self.stream.shutdown().await?;
        loop {
            self.arrived.clear();
            if self.stream.read_buf(&mut self.arrived).await? == 0 {
                return Ok(());
            }
        }
    }
}

fn read(incoming: &Incoming<'_>, out: &mut Vec<u8>) -> Step {
    match incoming {
        Incoming::Ping(payload) => push_control(out, PONG, payload),
        Incoming::Pong(_) => {}
        Incoming::Close(..) => return Step::End(1000, ""),
        Incoming::Binary(_) => return Step::End(1008, "a probe is text"),
        Incoming::Text(text) => {
            return match parse_text(text) {
                Ok(Received::Ping(PROBE)) => Step::Probed,
                Ok(Received::Upgrade) => Step::Upgrade,
                Ok(Received::Noop) => Step::Next,
                _ => Step::End(1008, "a socket is probed before it is used: 2probe, and 5 after the answer"),
            };
        }
    }
    Step::Next
}
