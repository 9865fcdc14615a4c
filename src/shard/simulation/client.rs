//! A client of the simulation: reads whatever the shard writes, byte by byte, on either wire, and checks it.

use super::super::chunked::{Dechunker, Piece};
use super::model::{Asked, Followed, Published};
use crate::wire::frame::{CLOSE, PING, TEXT, frame_len};
use crate::wire::{From, Transfer, Wire};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::os::unix::net::UnixStream;

/// A client.
pub(super) struct SimClient {
    stream: UnixStream,
    pub(super) number: u64,
    wire: Wire,
    /// The framing around a stream's bytes.
    chunks: Dechunker,
    bytes: Vec<u8>,
    pub(super) rooms: HashMap<String, Followed>,
    /// What it had of rooms that it left, to go on from.
    pub(super) left: HashMap<String, Followed>,
    /// Of a stream: what it asked for, which a stream cannot change.
    pub(super) asked: Option<StreamAsked>,
    /// The last `id` of a stream of Server-Sent Events.
    last_id: Option<String>,
    pub(super) closed: bool,
}

/// What a stream has asked for.
#[derive(Clone)]
pub(super) struct StreamAsked {
    pub(super) rooms: Vec<String>,
    pub(super) from: From,
    pub(super) asked: Asked,
    pub(super) snapshot: Option<bool>,
}

/// What a lost stream comes back with.
pub(super) struct Lost {
    pub(super) wire: Wire,
    pub(super) asked: StreamAsked,
    pub(super) last_id: Option<String>,
    pub(super) rooms: HashMap<String, Followed>,
}

impl SimClient {
    /// Loses the connection. None of a WebSocket, which does not come back.
    pub(super) fn lose(self) -> Option<Lost> {
        let SimClient { wire, asked, last_id, rooms, .. } = self;
        asked.map(|asked| Lost { wire, asked, last_id, rooms })
    }

    pub(super) fn new(stream: UnixStream, number: u64, wire: Wire) -> SimClient {
        SimClient {
            stream,
            number,
            wire,
            chunks: Dechunker::default(),
            bytes: Vec::new(),
            rooms: HashMap::new(),
            left: HashMap::new(),
            asked: None,
            last_id: None,
            closed: false,
        }
    }

    /// The last `id` of a stream of Server-Sent Events.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Reads so many bytes at most, and checks what is whole of them.
    pub(super) fn read(&mut self, most: usize, published: &Published) -> usize {
        let mut buffer = vec![0; most];
        let len = match self.stream.read(&mut buffer) {
            Ok(0) => {
                // Only who was told why has an end that is none of the connection alone.
                let is_chunked = self.wire.transfer() == Transfer::Chunked;
                assert_eq!(self.chunks.has_ended(), is_chunked && self.closed, "client {}", self.number);
                self.closed = true;
                0
            }
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("client {}: {error}", self.number),
        };
        let mut arrived = &buffer[..len];
        if self.wire.transfer() == Transfer::Plain {
            self.take(arrived, published);
            return len;
        }
        while let Some(piece) = self.chunks.next(&mut arrived) {
            match piece {
                Piece::Data(bytes) => self.take(bytes, published),
                Piece::End => assert_eq!(self.bytes, b"", "a chunk ends with a block or line"),
            }
        }
        len
    }

    /// Checks what is whole of what has arrived.
    fn take(&mut self, arrived: &[u8], published: &Published) {
        self.bytes.extend_from_slice(arrived);
        let bytes = std::mem::take(&mut self.bytes);
        let mut at = 0;
        while let Some(end) = self.unit(&bytes[at..]).map(|len| at + len) {
            match self.wire {
                Wire::WebSocket | Wire::SocketIo(_) => self.frame(&bytes[at..end], published),
                Wire::Sse(_) => self.block(std::str::from_utf8(&bytes[at..end]).unwrap(), published),
                Wire::Lines { .. } if end > at + 1 => self.json(&bytes[at..end], published),
                Wire::Lines { .. } => {}
            }
            at = end;
        }
        self.bytes = bytes[at..].to_vec();
    }

    /// The length of the frame, block or line that the bytes begin with, if it is whole.
    fn unit(&self, bytes: &[u8]) -> Option<usize> {
        match self.wire {
            Wire::WebSocket | Wire::SocketIo(_) => frame_len(bytes).filter(|len| *len <= bytes.len()),
            Wire::Sse(_) => bytes.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2),
            Wire::Lines { .. } => bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
        }
    }

    fn frame(&mut self, frame: &[u8], published: &Published) {
        assert_eq!(frame[0] & 0xf0, 0x80, "a frame begins where one must");
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        match frame[0] & 0x0f {
            TEXT => self.json(&frame[header..], published),
            CLOSE => self.closed = true,
            PING => {}
            other => panic!("opcode {other}"),
        }
    }

    fn block(&mut self, block: &str, published: &Published) {
        let (mut id, mut data) = (None, None);
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(value),
                Some(("event" | "retry", _)) => {}
                _ => assert_eq!(line, ":", "a line of {block:?}"),
            }
        }
        if let Some(data) = data {
            self.json(data.as_bytes(), published);
        }
        let Some(id) = id else { return };
        let mut told = Vec::new();
        for position in id.split(',') {
            let (epoch, offset) = position.split_once(':').unwrap();
            let (name, room) = self.rooms.iter_mut().find(|(_, room)| room.epoch == epoch).unwrap();
            assert!(room.snapshot.is_none(), "{id}: {name} is in a snapshot");
            let offset = offset.parse().unwrap();
            assert!(offset >= room.position, "{id}: {name} is at {}", room.position);
            room.pass_over(offset, published);
            told.push(name.clone());
        }
        let untold = self.rooms.iter().filter(|(name, room)| room.snapshot.is_none() && !told.contains(name));
        assert_eq!(untold.count(), 0, "{id} tells every position");
        self.last_id = Some(id);
    }

    fn json(&mut self, json: &[u8], published: &Published) {
        let message: Value = serde_json::from_slice(json).unwrap();
        let room = message["room"].as_str().unwrap_or_default().to_owned();
        self.message(&room, &message, published);
    }

    fn message(&mut self, room: &str, message: &Value, published: &Published) {
        match message["type"].as_str().unwrap() {
            "welcome" => return,
            "closing" => {
                self.closed = true;
                return;
            }
            "subscribed" => return self.subscribed(message),
            "unsubscribed" => {
                for room in message["rooms"].as_array().unwrap() {
                    if let Some(followed) = self.rooms.remove(room.as_str().unwrap()) {
                        self.left.insert(room.as_str().unwrap().to_owned(), followed);
                    }
                }
                return;
            }
            _ => {}
        }
        let number = self.number;
        let followed =
            self.rooms.get_mut(room).unwrap_or_else(|| panic!("client {number} is not in {room}: {message}"));
        match message["type"].as_str().unwrap() {
            "event" => followed.event(message["offset"].as_u64().unwrap(), &message["data"], published),
            "batch" => {
                let data = message["data"].as_array().unwrap();
                let last = message["offset"].as_u64().unwrap();
                assert_eq!(message["seqs"].as_array().unwrap().len(), data.len());
                for (index, event) in data.iter().enumerate() {
                    let consecutive = last + 1 + index as u64 - data.len() as u64;
                    let offset =
                        message.get("offsets").map_or(consecutive, |list| list[index].as_u64().unwrap());
                    followed.event(offset, event, published);
                }
                followed.pass_over(last, published);
            }
            "snapshot" => followed.page(message, published),
            "gap" => followed.gap(message, published),
            "position" => {
                assert_ne!(followed.asked, Asked::default());
                followed.pass_over(message["offset"].as_u64().unwrap(), published);
            }
            other => panic!("{other}"),
        }
    }

    /// Of a WebSocket, the answer's `id` says what was asked: 1 for a filter, 2 for a pace, 4 for going on from where it
    /// was left.
    fn subscribed(&mut self, message: &Value) {
        let id = message["id"].as_u64().unwrap_or(0);
        let stream = self.asked.clone();
        for answer in message["rooms"].as_array().unwrap() {
            assert!(answer.get("error").is_none(), "{answer}");
            let name = answer["room"].as_str().unwrap().to_owned();
            let asked = Asked { filtered: id & 1 > 0, paced: id & 2 > 0 };
            let asked = stream.as_ref().map_or(asked, |stream| stream.asked);
            let goes_on = stream.is_some() || id & 4 > 0;
            let left = self.left.get(&name).filter(|left| goes_on && left.epoch == answer["epoch"]);
            let followed = Followed::begin(answer, asked, left);
            self.rooms.insert(name, followed);
        }
    }
}
