//! A client of the simulation: where it is in its rooms, and what it makes of what it is told.

use super::super::chunked::{Dechunker, Piece};
use super::Lives;
use crate::room::Rooms;
use crate::wire::frame::{CLOSE, PING, TEXT, frame_len};
use crate::wire::{Epoch, From, Position, SubscribeRoom};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

#[derive(Default)]
pub(super) struct SimClient {
    stream: Option<UnixStream>,
    /// Of a stream of lines in chunks; none of a WebSocket.
    chunks: Option<Dechunker>,
    bytes: Vec<u8>,
    /// The first event that each room had when the client connected.
    firsts: BTreeMap<String, u64>,
    /// By name, so that a seed means the same everywhere.
    rooms: BTreeMap<String, Followed>,
}

struct Followed {
    epoch: Epoch,
    position: u64,
    /// Whether it must be told that the log began anew before anything else.
    anew: bool,
    /// Whether it was told that it goes on exactly after its position: no gap may come before an event does.
    exactly: bool,
}

impl SimClient {
    pub(super) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn connect(&mut self, stream: UnixStream, is_chunked: bool, firsts: BTreeMap<String, u64>) {
        self.stream = Some(stream);
        self.firsts = firsts;
        self.chunks = is_chunked.then(Dechunker::default);
    }

    /// Loses the connection, and what of it was not read.
    pub(super) fn lose(&mut self) {
        self.stream = None;
        self.bytes.clear();
    }

    /// What it asks for when it comes back.
    pub(super) fn resumed(&self) -> Vec<SubscribeRoom> {
        let room = |(name, followed): (&String, &Followed)| {
            let position = Position { epoch: followed.epoch, offset: followed.position };
            SubscribeRoom { from: From::After(position), ..SubscribeRoom::to(name.clone()) }
        };
        self.rooms.iter().map(room).collect()
    }

    /// Reads at most so many bytes. Returns how many there were.
    pub(super) fn read(&mut self, most: usize, rooms: &Rooms, lives: &Lives) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        let mut buffer = vec![0; most];
        let len = match stream.read(&mut buffer) {
            Ok(0) => {
                self.lose();
                return 0;
            }
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("{error}"),
        };
        if let Some(mut chunks) = self.chunks.take() {
            let mut arrived = &buffer[..len];
            while let Some(piece) = chunks.next(&mut arrived) {
                match piece {
                    Piece::Data(data) => self.lines(data, rooms, lives),
                    Piece::End => assert_eq!(self.bytes, b"", "a chunk ends with a line"),
                }
            }
            self.chunks = Some(chunks);
            return len;
        }
        self.bytes.extend_from_slice(&buffer[..len]);
        let bytes = std::mem::take(&mut self.bytes);
        let mut at = 0;
        while let Some(frame) = frame_len(&bytes[at..]).filter(|frame| at + frame <= bytes.len()) {
            self.frame(&bytes[at..at + frame], rooms, lives);
            at += frame;
        }
        self.bytes = bytes[at..].to_vec();
        len
    }

    fn lines(&mut self, data: &[u8], rooms: &Rooms, lives: &Lives) {
        self.bytes.extend_from_slice(data);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            if line.len() > 1 {
                self.message(&serde_json::from_slice(&line).unwrap(), rooms, lives);
            }
        }
    }

    fn frame(&mut self, frame: &[u8], rooms: &Rooms, lives: &Lives) {
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        match frame[0] & 0x0f {
            TEXT => self.message(&serde_json::from_slice(&frame[header..]).unwrap(), rooms, lives),
            CLOSE | PING => {}
            other => panic!("opcode {other}"),
        }
    }

    fn message(&mut self, message: &Value, rooms: &Rooms, lives: &Lives) {
        let room = message["room"].as_str().unwrap_or_default();
        match message["type"].as_str().unwrap() {
            "welcome" | "closing" => {}
            "subscribed" => {
                for room in message["rooms"].as_array().unwrap() {
                    self.subscribed(room, lives);
                }
            }
            // Its configuration no longer has it.
            "unsubscribed" => {
                for room in message["rooms"].as_array().unwrap() {
                    self.rooms.remove(room.as_str().unwrap());
                }
            }
            "event" => self.event(room, message["offset"].as_u64().unwrap(), &message["data"], lives),
            "batch" => {
                let data = message["data"].as_array().unwrap();
                let last = message["offset"].as_u64().unwrap();
                assert!(message.get("offsets").is_none(), "nothing is left out: {message}");
                for (index, event) in data.iter().enumerate() {
                    self.event(room, last + 1 + index as u64 - data.len() as u64, event, lives);
                }
            }
            "gap" => self.gap(room, message, rooms),
            other => panic!("{other}"),
        }
    }

    fn subscribed(&mut self, room: &Value, lives: &Lives) {
        let name = room["room"].as_str().unwrap();
        if let Some(error) = room.get("error") {
            assert_eq!(error["code"], "unknown_room");
            self.rooms.remove(name);
            return;
        }
        let epoch: Epoch = room["epoch"].as_str().unwrap().parse().unwrap();
        let position = room["offset"].as_u64().unwrap();
        let mut followed = Followed { epoch, position, anew: false, exactly: false };
        if let Some(before) = self.rooms.get(name) {
            let key = (name.to_owned(), before.epoch);
            if before.epoch == epoch {
                assert_eq!(position, before.position, "{name}");
                followed.exactly = room.get("resumed").is_some();
            } else {
                assert!(lives.over.contains(&key), "{name} has another epoch, and nothing ended {key:?}");
                followed.anew = true;
            }
        }
        self.rooms.insert(name.to_owned(), followed);
    }

    fn gap(&mut self, name: &str, message: &Value, rooms: &Rooms) {
        let followed = self.rooms.get_mut(name).unwrap();
        let (first, last) = (message["first"].as_u64().unwrap(), message["offset"].as_u64().unwrap());
        if message["reason"] == "epoch_changed" {
            assert!(std::mem::take(&mut followed.anew), "{message}");
            assert_eq!((first, last), (1, followed.position), "{message}");
            return;
        }
        assert!(!followed.anew, "{message} before it is told that {name} began anew");
        if followed.exactly && message["reason"] == "history_expired" {
            // It may have waited behind another room, while history went.
            let went = rooms.get(name).is_none_or(|room| room.figures().first > self.firsts[name]);
            assert!(went, "{message} after it was resumed");
        }
        assert_eq!(first, followed.position + 1, "{message}");
        assert!(last >= first, "{message}");
        assert_eq!(message["missed"], last + 1 - first, "{message}");
        // Of a room that is gone nobody can look any more what it had.
        if let Some(figures) = rooms.get(name).map(|room| room.figures())
            && figures.epoch == followed.epoch
        {
            assert!(last < figures.first, "{message}, and {name} has events from {} on", figures.first);
        }
        followed.position = last;
    }

    fn event(&mut self, name: &str, offset: u64, event: &Value, lives: &Lives) {
        let followed = self.rooms.get_mut(name).unwrap();
        assert!(!followed.anew, "{name} offset {offset} comes before it is told that the log began anew");
        assert_eq!(offset, followed.position + 1, "{name}");
        let life = &lives.events[&(name.to_owned(), followed.epoch)];
        assert_eq!(event["n"], life[offset as usize - 1], "{name} offset {offset}");
        followed.position = offset;
        followed.exactly = false;
    }

    /// It has had everything.
    pub(super) fn check_end(&self, rooms: &Rooms) {
        for (name, followed) in &self.rooms {
            let figures = rooms.get(name).unwrap().figures();
            let now = (followed.epoch, followed.position, followed.anew);
            assert_eq!(now, (figures.epoch, figures.head, false), "{name}");
        }
    }
}
