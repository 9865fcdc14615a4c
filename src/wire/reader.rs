//! WebSocket frames that a client sends: checked, unmasked, put together.
//!
//! One [`FrameReader`] serves every connection of a shard; what a connection itself keeps is a [`Partial`], and only
//! while part of a frame or of a fragmented message has arrived.

/// The parser that a shard's connections share.
pub struct FrameReader {}

/// What has arrived of a frame or of a fragmented message that is not whole.
#[derive(Default)]
pub struct Partial {}

impl Partial {
    /// Bytes it holds; bounded by the message size and one frame header.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}

/// A whole message or control frame.
#[derive(Debug, PartialEq, Eq)]
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

impl FrameReader {
    /// A reader of frames from clients.
    pub fn new() -> FrameReader {
        todo!()
    }

    /// Takes bytes as they arrived, in pieces of any size, and hands every whole message to `sink` in order.
    ///
    /// `partial` is `None` while nothing is pending. `max_message_size` bounds a message, fragments together. `sink`
    /// returns whether to go on; what follows a `false` is thrown away. On an error the connection must be closed;
    /// messages before it have been handed out.
    pub fn feed(
        &mut self,
        _partial: &mut Option<Box<Partial>>,
        _bytes: &[u8],
        _max_message_size: usize,
        _sink: impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<(), ReadError> {
        todo!()
    }
}
