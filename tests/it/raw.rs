//! A WebSocket client without a library: every byte is the test's own.

use crate::harness::{Producer, Server};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};

/// The key of RFC 6455 §1.3, and what it is answered with there.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A connection whose bytes are the test's own.
pub struct Raw(Producer);

impl Raw {
    pub fn connect(addr: &str) -> Raw {
        Raw(Producer::connect(addr))
    }

    /// A client after its handshake.
    pub fn client(server: &Server) -> Raw {
        let mut raw = Raw::connect(&server.clients[0]);
        raw.send(request("/ws", &[]).as_bytes());
        assert_eq!(raw.answer().status, 101);
        raw
    }

    /// Sends bytes. A connection that has ended takes them as well: the next read tells.
    pub fn send(&mut self, bytes: &[u8]) {
        let sent = match &mut self.0 {
            Producer::Tcp(stream) => stream.write_all(bytes),
            Producer::Unix(stream) => stream.write_all(bytes),
        };
        let ended = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        sent.or_else(|error| if ended.contains(&error.kind()) { Ok(()) } else { Err(error) }).unwrap();
    }

    /// Reads as many bytes; `None` if the connection ends before.
    pub fn read(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let result = match &mut self.0 {
            Producer::Tcp(stream) => stream.read_exact(&mut bytes),
            Producer::Unix(stream) => stream.read_exact(&mut bytes),
        };
        match result {
            Ok(()) => Some(bytes),
            Err(error) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()) => {
                None
            }
            Err(error) => panic!("nothing was read in time: {error}"),
        }
    }

    /// Reads an answer's head, and its body if it is a refusal.
    pub fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = self.read(1);
            head.extend(byte.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&head))));
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if status == 101 { String::new() } else { self.0.read_to_end() };
        Answer { status, head, body }
    }

    /// The next frame: its first byte, and its payload. `None` if the connection ends before.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.read(2)?;
        let len = match head[1] {
            126 => self.read(2)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
            127 => self.read(8)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
            len => usize::from(len),
        };
        Some((head[0], self.read(len)?))
    }

    /// Reads to the end; the code of the close frame, if one came.
    pub fn close_code(&mut self) -> Option<u16> {
        let close = std::iter::from_fn(|| self.frame()).find(|(first, _)| *first == 0x88);
        close.and_then(|(_, payload)| Some(u16::from_be_bytes(*payload.first_chunk()?)))
    }

    /// The next text frame, as JSON. Pings before it are answered.
    pub fn message(&mut self) -> Value {
        self.try_message().unwrap()
    }

    /// The same, or an error if the connection ends before.
    pub fn try_message(&mut self) -> Result<Value, String> {
        loop {
            match self.frame().ok_or("the connection has ended")? {
                (0x89, payload) => self.send(&frame(0x8a, &payload)),
                (0x81, payload) => return Ok(serde_json::from_slice(&payload).unwrap()),
                other => panic!("a text frame was expected: {other:?}"),
            }
        }
    }
}

pub struct Answer {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub body: String,
}

/// A frame as a client sends it, with a mask that changes nothing.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..126) => bytes.push(0x80 | len as u8),
        Ok(len) => {
            bytes.push(0xfe);
            bytes.extend(len.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0xff);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A proper handshake with changes: a header of this name is replaced, one with an empty value left out.
pub fn request(target: &str, changes: &[(&str, &str)]) -> String {
    let proper = [
        ("Host", "localhost"),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let kept = proper.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let added = changes.iter().filter(|(_, value)| !value.is_empty());
    let headers: Vec<String> =
        kept.chain(added).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\n{}\r\n", headers.concat())
}
