//! A reader of Server-Sent Events that is not ours: the parser of the HTML standard (section 9.2.6), a few lines of HTTP.

use crate::harness::DEADLINE;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

trait Duplex: Read + Write + Send {
    fn finish_writing(&self);
}

impl Duplex for TcpStream {
    fn finish_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Duplex for UnixStream {
    fn finish_writing(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

/// What stands between two empty lines.
#[derive(Debug, Default, PartialEq)]
pub struct Block {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u64>,
    pub comments: usize,
}

impl Block {
    /// Its data as JSON.
    pub fn json(&self) -> Value {
        let data = self.data.as_deref().unwrap_or_else(|| panic!("no data: {self:?}"));
        serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))
    }
}

/// A stream, as a browser's EventSource keeps one.
pub struct EventStream {
    socket: Box<dyn Duplex>,
    /// Bytes of the head or of a chunk's frame that were not looked at yet.
    raw: Vec<u8>,
    /// Of an answer in chunks: how many bytes of one are to come, with the line break behind them.
    chunk: usize,
    /// True if the last chunk has arrived.
    pub has_ended: bool,
    /// What has arrived of a block that is not whole.
    buffer: Vec<u8>,
    pub head: String,
    /// The last `id` of a block that has arrived whole.
    pub last_id: String,
}

impl EventStream {
    /// Asks for `path` and reads the answer's head.
    pub fn open(addr: &str, path: &str, headers: &[(&str, &str)]) -> EventStream {
        let mut stream = EventStream::ask(addr, None, &request("GET", path, "1.1", headers));
        stream.read_head();
        stream
    }

    /// Sends a request; the answer is yet to be read. With a receive buffer of so many bytes, if there is a number.
    pub fn ask(addr: &str, receive_buffer: Option<usize>, request: &str) -> EventStream {
        let mut socket: Box<dyn Duplex> = if let Some(path) = addr.strip_prefix("unix:") {
            let socket = UnixStream::connect(path).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            Box::new(socket)
        } else {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            if let Some(bytes) = receive_buffer {
                socket.set_recv_buffer_size(bytes).unwrap();
            }
            socket.connect(&addr.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
            let socket = TcpStream::from(socket);
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            Box::new(socket)
        };
        socket.write_all(request.as_bytes()).unwrap();
        EventStream {
            socket,
            raw: Vec::new(),
            chunk: 0,
            has_ended: false,
            buffer: Vec::new(),
            head: String::new(),
            last_id: String::new(),
        }
    }

    /// Reads to the end of the head.
    pub fn read_head(&mut self) {
        while !self.take_head() {
            assert!(self.read(1024) > 0, "the answer ended: {:?}", String::from_utf8_lossy(&self.raw));
        }
    }

    /// Takes the head, once it is there.
    pub fn take_head(&mut self) -> bool {
        let end = self.raw.windows(4).position(|four| four == b"\r\n\r\n");
        if self.head.is_empty()
            && let Some(end) = end
        {
            self.head = String::from_utf8(self.raw.drain(..end + 4).collect()).unwrap();
            self.unframe();
        }
        !self.head.is_empty()
    }

    /// Takes what has arrived out of its chunks, as far as it has (RFC 9112, section 7.1.3).
    fn unframe(&mut self) {
        if !self.head.to_ascii_lowercase().contains("transfer-encoding: chunked\r\n") {
            return self.buffer.append(&mut self.raw);
        }
        loop {
            // The data, and the line break behind it.
            let data = self.chunk.saturating_sub(2).min(self.raw.len());
            self.buffer.extend(self.raw.drain(..data));
            self.chunk -= data;
            if self.chunk > 0 {
                if self.chunk > 2 || self.raw.len() < 2 {
                    return;
                }
                assert_eq!(self.raw.drain(..2).collect::<Vec<u8>>(), b"\r\n", "behind a chunk");
                self.chunk = 0;
            }
            let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n") else { return };
            let line = String::from_utf8(self.raw[..end].to_vec()).expect("a length is ASCII");
            let length = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no length: {line:?}"));
            if length == 0 {
                self.has_ended = self.raw[end + 2..] == *b"\r\n";
                return;
            }
            self.raw.drain(..end + 2);
            self.chunk = length + 2;
        }
    }

    /// Reads at most so many bytes; 0 at the end.
    pub fn read(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        let len = self.socket.read(&mut bytes).unwrap_or_else(|error| {
            panic!("nothing was received in time ({error}) after {:?}", String::from_utf8_lossy(&self.buffer))
        });
        self.raw.extend_from_slice(&bytes[..len]);
        if !self.head.is_empty() {
            self.unframe();
        }
        len
    }

    /// Takes the next block, if it is there to its end.
    pub fn take_block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        let mut rest = self.buffer.as_slice();
        loop {
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
            let line = std::str::from_utf8(&rest[..end]).expect("a stream is UTF-8");
            let skipped = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
            rest = &rest[end + skipped..];
            if line.is_empty() {
                break;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => block.comments += 1,
                "id" => block.id = Some(value.to_owned()),
                "event" => block.event = Some(value.to_owned()),
                "data" => match &mut block.data {
                    Some(data) => *data += &format!("\n{value}"),
                    None => block.data = Some(value.to_owned()),
                },
                "retry" => block.retry = Some(value.parse().unwrap()),
                other => panic!("a field {other:?} in {line:?}"),
            }
        }
        let taken = self.buffer.len() - rest.len();
        self.buffer.drain(..taken);
        if let Some(id) = &block.id {
            self.last_id.clone_from(id);
        }
        Some(block)
    }

    /// The next block; none at the end of the stream.
    pub fn next_block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.take_block() {
                return Some(block);
            }
            if self.read(4096) == 0 {
                return None;
            }
        }
    }

    /// The next block with data.
    pub fn next(&mut self) -> Block {
        loop {
            let block = self.next_block().expect("the stream has ended");
            if block.data.is_some() {
                return block;
            }
        }
    }

    /// The next message of a type.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().json();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The next line, of a stream of lines; empty ones keep it open.
    pub fn next_line(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.len() > 1 {
                    return serde_json::from_slice(&line).unwrap();
                }
            } else {
                assert!(self.read(4096) > 0, "the stream has ended");
            }
        }
    }

    /// Takes what has arrived, whatever it is.
    pub fn take_rest(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// Reads to the end; the blocks until then.
    pub fn rest(&mut self) -> Vec<Block> {
        std::iter::from_fn(|| self.next_block()).collect()
    }

    /// Says that nothing more will be sent.
    pub fn finish_writing(&self) {
        self.socket.finish_writing();
    }
}

/// A request for a stream.
pub fn request(method: &str, path: &str, version: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("{method} {path} HTTP/{version}\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request + "\r\n"
}
