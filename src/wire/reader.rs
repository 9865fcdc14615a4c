//! WebSocket frames that a client sends: checked, unmasked, put together (RFC 6455 §5, §7.4, §8.1).
//!
//! One [`FrameReader`] serves every connection of a shard; what a connection itself keeps is a [`Partial`], and only
//! while part of a frame or of a fragmented message has arrived.
//!
//! What fastwebsockets' parser lets through (unmasked frames, fragments without bound, control frames of any length,
//! half a character at a message's end) is checked here, on the header and on the whole message; the parser gets whole
//! frames only, so that it never waits.

use super::header::{Header, Opcode};
use fastwebsockets::{CloseCode, Frame, Role, WebSocketError, WebSocketRead};
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// Frames longer than this (the default of `limits.client.message_size`) leave no buffer of their size behind.
const KEPT_BYTES: usize = 64 * 1024;

/// Code of a close frame without one (RFC 6455 §7.4.1); never sent.
const NO_CLOSE_CODE: u16 = 1005;

/// The parser that a shard's connections share.
pub struct FrameReader {
    parser: WebSocketRead<Pipe>,
    pipe: Pipe,
}

/// What has arrived of a frame or of a fragmented message that is not whole.
#[derive(Default)]
pub struct Partial {
    /// The beginning of a frame, as it arrived; empty between frames.
    frame: Vec<u8>,
    /// The fragments of a message whose last one has not arrived.
    message: Option<Fragments>,
}

/// Fragments, unmasked and joined.
struct Fragments {
    is_text: bool,
    bytes: Vec<u8>,
}

/// A whole message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message, fragments joined, valid UTF-8.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping with its payload.
    Ping(&'a [u8]),
    /// A pong with its payload.
    Pong(&'a [u8]),
    /// A close frame: code (1005 when there is none) and reason.
    Close(u16, &'a str),
}

/// Why a connection must be closed: the close code (1002, 1007, 1009) and the reason to send with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Close code to send.
    pub code: u16,
    /// Reason to send.
    pub reason: &'static str,
}

impl ReadError {
    /// The client breaks the protocol.
    pub(super) fn protocol(reason: &'static str) -> ReadError {
        ReadError { code: 1002, reason }
    }

    /// Text that is not UTF-8.
    fn utf8() -> ReadError {
        ReadError { code: 1007, reason: "text is not valid UTF-8" }
    }

    /// A message over the limit.
    pub(super) fn too_big() -> ReadError {
        ReadError { code: 1009, reason: "message too big" }
    }
}

impl Partial {
    /// Bytes of memory it holds. At most twice the message size and one frame's header: fragments so far, and the
    /// beginning of the next one; a frame's announced length is not reserved before its bytes arrive.
    pub fn bytes(&self) -> usize {
        self.frame.capacity() + self.message.as_ref().map_or(0, |message| message.bytes.capacity())
    }

    fn is_empty(&self) -> bool {
        self.frame.is_empty() && self.message.is_none()
    }

    /// Moves what belongs to the pending frame out of `bytes`, and returns the header once the frame is whole.
    fn fill(&mut self, bytes: &mut &[u8], max_message_size: usize) -> Result<Option<Header>, ReadError> {
        loop {
            if let Some(header) = Header::read(&self.frame)? {
                self.check(header, max_message_size)?;
                let missing = header.frame_len() - self.frame.len();
                let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
                append(&mut self.frame, taken, header.frame_len());
                *bytes = rest;
                return Ok((taken.len() == missing).then_some(header));
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            append(&mut self.frame, std::slice::from_ref(first), Header::LONGEST);
            *bytes = rest;
        }
    }

    fn check(&self, header: Header, max_message_size: usize) -> Result<(), ReadError> {
        header.check(self.message.as_ref().map(|message| message.bytes.len()), max_message_size)
    }
}

/// Takes the frame that `bytes` begin with, if it is there to its end. Its header is checked as soon as that is there.
fn whole_frame<'b>(
    partial: Option<&Partial>,
    bytes: &mut &'b [u8],
    max_message_size: usize,
) -> Result<Option<(Header, &'b [u8])>, ReadError> {
    let Some(header) = Header::read(bytes)? else { return Ok(None) };
    let open = partial.and_then(|partial| partial.message.as_ref());
    header.check(open.map(|message| message.bytes.len()), max_message_size)?;
    let Some((frame, rest)) = bytes.split_at_checked(header.frame_len()) else { return Ok(None) };
    *bytes = rest;
    Ok(Some((header, frame)))
}

/// Appends without reserving more than `most` in all, or twice what has arrived.
fn append(to: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let len = to.len() + bytes.len();
    if len > to.capacity() {
        let capacity = (to.capacity() * 2).min(most).max(len);
        to.reserve_exact(capacity - to.len());
    }
    to.extend_from_slice(bytes);
}

impl FrameReader {
    /// A reader of frames from clients.
    pub fn new() -> FrameReader {
        let pipe = Pipe::default();
        let (mut parser, _) =
            fastwebsockets::after_handshake_split(pipe.clone(), tokio::io::sink(), Role::Server);
        parser.set_auto_close(false);
        parser.set_auto_pong(false);
        // Headers are checked against the limit before the parser sees them.
        parser.set_max_message_size(usize::MAX);
        FrameReader { parser, pipe }
    }

    /// Takes bytes as they arrived, in pieces of any size, and hands every whole message to `sink` in order.
    ///
    /// `partial` is `None` while nothing is pending. `max_message_size` bounds a message, fragments together. `sink`
    /// returns whether to go on; what follows a `false`, or a close frame, is thrown away. On an error the connection
    /// must be closed; messages before it have been handed out. Keeps nothing allocated for a connection whose bytes
    /// end with a whole message.
    pub fn feed(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        bytes: &[u8],
        max_message_size: usize,
        mut sink: impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let outcome = self.read(partial, bytes, max_message_size, &mut sink);
        let goes_on = outcome == Ok(true);
        if !goes_on || partial.as_ref().is_some_and(|partial| partial.is_empty()) {
            *partial = None;
        }
        outcome.map(|_| ())
    }

    /// Returns whether the connection goes on.
    fn read(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        mut bytes: &[u8],
        max_message_size: usize,
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<bool, ReadError> {
        while !bytes.is_empty() {
            let mut goes_on = true;
            if let Some(pending) = partial.as_mut().filter(|partial| !partial.frame.is_empty()) {
                if let Some(header) = pending.fill(&mut bytes, max_message_size)? {
                    let frame = std::mem::take(&mut pending.frame);
                    goes_on = self.take(partial, header, &frame, sink)?;
                }
            } else if let Some((header, frame)) =
                whole_frame(partial.as_deref(), &mut bytes, max_message_size)?
            {
                goes_on = self.take(partial, header, frame, sink)?;
            } else {
                let pending = partial.get_or_insert_default();
                append(&mut pending.frame, bytes, bytes.len());
                bytes = &[];
            }
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes one whole frame whose header was checked. Returns whether to go on.
    fn take(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        header: Header,
        frame: &[u8],
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<bool, ReadError> {
        let goes_on = self.dispatch(partial, header, frame, sink);
        if goes_on.is_err() || frame.len() > KEPT_BYTES {
            // A parser that stopped inside a frame, or whose buffer has grown, must not serve the next connection.
            *self = FrameReader::new();
        }
        goes_on
    }

    fn dispatch(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        header: Header,
        frame: &[u8],
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<bool, ReadError> {
        let frame = self.parse(frame)?;
        let payload: &[u8] = &frame.payload;
        match header.opcode {
            Opcode::Ping => Ok(sink(Incoming::Ping(payload))),
            Opcode::Pong => Ok(sink(Incoming::Pong(payload))),
            Opcode::Close => close(payload).map(|incoming| {
                sink(incoming);
                false
            }),
            Opcode::Text if header.fin => Ok(sink(Incoming::Text(utf8(payload)?))),
            Opcode::Binary if header.fin => Ok(sink(Incoming::Binary(payload))),
            Opcode::Text | Opcode::Binary => {
                let is_text = header.opcode == Opcode::Text;
                let message = Fragments { is_text, bytes: payload.to_vec() };
                partial.get_or_insert_default().message = Some(message);
                Ok(true)
            }
            Opcode::Continuation => {
                let open = &mut partial.get_or_insert_default().message;
                let mut message = open.take().expect("the header was checked against the message's state");
                append(&mut message.bytes, payload, usize::MAX);
                if header.fin {
                    message.hand_to(sink)
                } else {
                    *open = Some(message);
                    Ok(true)
                }
            }
        }
    }

    /// Has the shared parser read and unmask one whole frame. The bytes are copied twice, into the pipe and into the
    /// parser's own buffer; both keep their memory, so that nothing is allocated for frames up to [`KEPT_BYTES`].
    fn parse(&mut self, frame: &[u8]) -> Result<Frame<'_>, ReadError> {
        self.pipe.put(frame);
        // Nothing is ever sent, since answers to pings and closes are switched off.
        let mut send = |_: Frame<'_>| std::future::ready(Ok::<(), Infallible>(()));
        let read = pin!(self.parser.read_frame(&mut send));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(frame)) => Ok(frame),
            Poll::Ready(Err(WebSocketError::InvalidUTF8)) => Err(ReadError::utf8()),
            Poll::Ready(Err(_)) | Poll::Pending => Err(ReadError::protocol("bad frame")),
        }
    }
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader::new()
    }
}

impl Fragments {
    fn hand_to(&self, sink: &mut impl FnMut(Incoming<'_>) -> bool) -> Result<bool, ReadError> {
        let incoming =
            if self.is_text { Incoming::Text(utf8(&self.bytes)?) } else { Incoming::Binary(&self.bytes) };
        Ok(sink(incoming))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(bytes).map_err(|_| ReadError::utf8())
}

/// Reads a close frame's payload (RFC 6455 §5.5.1, §7.4).
fn close(payload: &[u8]) -> Result<Incoming<'_>, ReadError> {
    match payload {
        [] => Ok(Incoming::Close(NO_CLOSE_CODE, "")),
        [_] => Err(ReadError::protocol("a close frame has one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !CloseCode::from(code).is_allowed() {
                return Err(ReadError::protocol("invalid close code"));
            }
            Ok(Incoming::Close(code, utf8(reason)?))
        }
    }
}

/// The in-memory stream that the shared parser reads: one whole frame at a time. The parser owns one end for good,
/// hence the lock, which is never contended.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<PipeBytes>>);

#[derive(Default)]
struct PipeBytes {
    bytes: Vec<u8>,
    read: usize,
}

impl Pipe {
    fn put(&self, frame: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.read = 0;
        inner.bytes.clear();
        inner.bytes.extend_from_slice(frame);
    }
}

impl AsyncRead for Pipe {
    /// Always ready; the end of the frame reads as the end of the stream.
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = &inner.bytes[inner.read..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        inner.read += count;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_leaves_no_buffer_of_its_size_behind() {
        let mut reader = FrameReader::new();
        let kept = |reader: &FrameReader| reader.pipe.0.lock().unwrap().bytes.capacity();
        for (len, leaves) in
            [(1000, true), (KEPT_BYTES - 14, true), (KEPT_BYTES, false), (5 * KEPT_BYTES, false)]
        {
            let len_bytes = (len as u64).to_be_bytes();
            let length = if len > 0xffff {
                [&[0xff], &len_bytes[..]].concat()
            } else {
                [&[0xfe], &len_bytes[6..]].concat()
            };
            // A mask of zeros changes nothing.
            let frame = [&[0x82], &length[..], &[0; 4], &vec![b'x'; len]].concat();
            let mut read = 0;
            reader
                .feed(&mut None, &frame, usize::MAX >> 1, |incoming| {
                    assert!(matches!(incoming, Incoming::Binary(bytes) if bytes.len() == len));
                    read += 1;
                    true
                })
                .unwrap();
            assert_eq!((read, kept(&reader) >= frame.len()), (1, leaves), "{len}");
        }
    }
}
