//! The floor: what no server can be below that sends as often.
//!
//! One thread holds the accepted sockets and calls a blocking send once for each client and `joined` events. It reads
//! the same lines as the daemon and sends frames of the daemon's size, which clients check in the same way.

use crate::frame::{self, push_plain, unmask};
use crate::{Outcome, scan};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long events wait for others to be joined with, when no more come.
const PATIENCE: Duration = Duration::from_millis(2);

/// Clients by room.
type Rooms = Arc<Mutex<Vec<Vec<TcpStream>>>>;

/// Runs until killed.
pub(crate) fn run(joined: usize, frame_bytes: usize) -> Outcome<()> {
    let clients = TcpListener::bind("127.0.0.1:0")?;
    let ingest = TcpListener::bind("127.0.0.1:0")?;
    println!("listening clients {}\nlistening ingest {}\nready", clients.local_addr()?, ingest.local_addr()?);
    let rooms = Rooms::default();
    let accepted = Arc::clone(&rooms);
    thread::spawn(move || {
        for client in clients.incoming().flatten() {
            if let Err(error) = accept(client, &accepted) {
                eprintln!("floor: {error}");
            }
        }
    });
    loop {
        let (producer, _) = ingest.accept()?;
        Floor { rooms: &rooms, joined, frame_bytes, pending: Vec::new(), waiting: 0 }.serve(producer)?;
    }
}

/// Upgrades a connection and reads which room it wants.
fn accept(mut client: TcpStream, rooms: &Rooms) -> Outcome<()> {
    client.set_nodelay(true)?;
    let mut request = Vec::new();
    let mut piece = [0; 2048];
    while !request.ends_with(b"\r\n\r\n") {
        let length = client.read(&mut piece)?;
        request.extend_from_slice(&piece[..length]);
        if length == 0 {
            return Err("a client left during its handshake".into());
        }
    }
    let accept = frame::ACCEPT;
    write!(
        client,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    let room = read_subscribe(&mut client)?;
    let mut answer = Vec::new();
    let text = format!(
        r#"{{"type":"subscribed","rooms":[{{"room":"load:r{room}","epoch":"1","head":0,"offset":0}}]}}"#
    );
    push_plain(&mut answer, frame::TEXT, text.as_bytes());
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    if rooms.len() <= room {
        rooms.resize_with(room + 1, Vec::new);
    }
    client.write_all(&answer)?;
    rooms[room].push(client);
    Ok(())
}

fn read_subscribe(client: &mut TcpStream) -> Outcome<usize> {
    let mut start = [0; 2];
    client.read_exact(&mut start)?;
    let length = match start[1] & 0x7f {
        126 => {
            let mut long = [0; 2];
            client.read_exact(&mut long)?;
            usize::from(u16::from_be_bytes(long))
        }
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    client.read_exact(&mut mask)?;
    let mut text = vec![0; length];
    client.read_exact(&mut text)?;
    unmask(mask, &mut text);
    let text = String::from_utf8(text)?;
    let (_, rest) = text.split_once("load:r").ok_or("a client subscribed to no room of the load's")?;
    let room = rest.split('"').next().and_then(|room| room.parse().ok());
    Ok(room.ok_or("a client subscribed to no room of the load's")?)
}

/// The sending side, for one producer.
struct Floor<'a> {
    rooms: &'a Rooms,
    joined: usize,
    frame_bytes: usize,
    /// By room: how many events it had, how many wait, and their frames.
    pending: Vec<(u64, usize, Vec<u8>)>,
    /// Events that wait, in all rooms.
    waiting: usize,
}

impl Floor<'_> {
    fn serve(&mut self, mut producer: TcpStream) -> Outcome<()> {
        producer.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = vec![0; 1 << 20];
        let mut filled = 0;
        loop {
            match producer.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.flush()?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let mut begin = 0;
            while let Some(length) = memchr::memchr(b'\n', &buffer[begin..filled]) {
                self.publish(&buffer[begin..begin + length])?;
                begin += length + 1;
            }
            buffer.copy_within(begin..filled, 0);
            filled -= begin;
        }
        self.flush()?;
        producer.write_all(b"{\"accepted\":0,\"rejected\":0,\"line\":0}\n")?;
        Ok(())
    }

    fn publish(&mut self, line: &[u8]) -> Outcome<()> {
        let room = memchr::memmem::find(line, b"\"room\":\"r").and_then(|at| {
            let digits = line[at + 9..].split(|byte| *byte == b'"').next()?;
            std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
        });
        let room = room.ok_or_else(|| format!("no room in {}", scan::excerpt(line)))?;
        if self.pending.len() <= room {
            self.pending.resize_with(room + 1, Default::default);
        }
        let (offset, waiting, frames) = &mut self.pending[room];
        *offset += 1;
        *waiting += 1;
        self.waiting += 1;
        let mut text = format!(r#"{{"type":"event","room":"load:r{room}","offset":{offset},"seq":1,"data":"#);
        text.push_str(std::str::from_utf8(line)?);
        // Blanks before the last brace make it as long as the daemon's.
        let header = if self.frame_bytes < 128 {
            2
        } else if self.frame_bytes < 65_540 {
            4
        } else {
            10
        };
        let blanks = self.frame_bytes.saturating_sub(header + text.len() + 1);
        text.extend(std::iter::repeat_n(' ', blanks));
        text.push('}');
        push_plain(frames, frame::TEXT, text.as_bytes());
        if *waiting >= self.joined {
            self.send(room)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        for room in 0..self.pending.len() {
            if self.waiting == 0 {
                break;
            }
            if self.pending[room].1 > 0 {
                self.send(room)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, room: usize) -> Outcome<()> {
        let (_, waiting, frames) = &mut self.pending[room];
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = rooms.get_mut(room).map(Vec::as_mut_slice).unwrap_or_default();
        for client in clients {
            // A load that ends closes its clients while frames are under way.
            match client.write_all(frames) {
                Err(error)
                    if error.kind() != ErrorKind::ConnectionReset
                        && error.kind() != ErrorKind::BrokenPipe =>
                {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        frames.clear();
        self.waiting -= *waiting;
        *waiting = 0;
        Ok(())
    }
}
