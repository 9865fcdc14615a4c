//! The producer: lines at a pace, over one TCP connection.

use crate::Outcome;
use crate::ledger::{KINDS, Ledger, Window};
use crate::measure::Histogram;
use mio::net::TcpStream;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// Bytes made ahead of the socket, where events are written as fast as it takes them.
const AHEAD_BYTES: usize = 1 << 20;

/// When events are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    Silent,
    /// `at_once` events every `interval`.
    Every {
        interval: Duration,
        at_once: usize,
    },
    /// `at_once` events whenever fewer than `under_way` would then be on their way.
    UnderWay {
        under_way: usize,
        at_once: usize,
    },
    /// So many, as fast as the socket takes them.
    AtFullSpeed(u64),
}

/// One producer connection.
pub(crate) struct Producer {
    pub(crate) stream: TcpStream,
    pub(crate) pace: Pace,
    /// How much later than due paced events were written, in microseconds.
    pub(crate) lag: Histogram,
    /// When the next paced events are due.
    pub(crate) due: Instant,
    size: usize,
    pending: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    ended: bool,
}

/// What the daemon says at the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
}

impl Producer {
    pub(crate) fn connect(addr: SocketAddr, size: usize) -> Outcome<Producer> {
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Producer {
            stream: TcpStream::from_std(stream),
            pace: Pace::Silent,
            lag: Histogram::default(),
            due: Instant::now(),
            size,
            pending: Vec::new(),
            sent: 0,
            answer: Vec::new(),
            ended: false,
        })
    }

    /// Fills another room with events numbered from 1, over a connection of its own.
    pub(crate) fn fill(&self, addr: SocketAddr, room: u32, events: u64) -> Outcome<()> {
        let mut lines = Vec::new();
        for number in 1..=events {
            push_event(&mut lines, self.size, u64::from(room), number, 0, number % KINDS);
        }
        let mut stream = std::net::TcpStream::connect(addr)?;
        stream.write_all(&lines)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        match total_of(&answer) {
            Some(Total { accepted, .. }) if accepted == events => Ok(()),
            other => Err(format!("{events} events were written, the answer is {other:?}").into()),
        }
    }

    /// Changes the pace, from now on.
    pub(crate) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.due = Instant::now();
    }

    /// Whether everything published has been written.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && !matches!(self.pace, Pace::AtFullSpeed(_))
    }

    /// Makes the events that are due and writes what the socket takes.
    pub(crate) fn pump(&mut self, ledger: &mut Ledger) -> Outcome<()> {
        match self.pace {
            Pace::Silent => {}
            Pace::Every { interval, at_once } => {
                let now = Instant::now();
                while self.due <= now {
                    self.lag.record((now - self.due).as_micros() as u64);
                    let due = ledger.micros(self.due);
                    (0..at_once).for_each(|_| self.push(ledger, due));
                    self.due += interval;
                }
            }
            Pace::UnderWay { under_way, at_once } => {
                let due = ledger.micros(Instant::now());
                let open = |ledger: &Ledger| ledger.window.as_ref().map_or(0, Window::under_way);
                while open(ledger) + at_once <= under_way {
                    (0..at_once).for_each(|_| self.push(ledger, due));
                }
            }
            Pace::AtFullSpeed(left) => {
                let due = ledger.micros(Instant::now());
                let mut left = left;
                while left > 0 && self.pending.len() - self.sent < AHEAD_BYTES {
                    self.push(ledger, due);
                    left -= 1;
                }
                self.pace = if left > 0 { Pace::AtFullSpeed(left) } else { Pace::Silent };
            }
        }
        self.write()
    }

    fn push(&mut self, ledger: &mut Ledger, due: u64) {
        let number = ledger.publish();
        let (room, offset) = ledger.place(number);
        push_event(&mut self.pending, self.size, room, number, due, offset % KINDS);
    }

    fn write(&mut self) -> Outcome<()> {
        while self.sent < self.pending.len() {
            match self.stream.write(&self.pending[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("publishing: {error}").into()),
            }
        }
        if self.sent == self.pending.len() {
            self.pending.clear();
            self.sent = 0;
        } else if self.sent >= AHEAD_BYTES {
            self.pending.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Ends the stream; the daemon answers with its totals.
    pub(crate) fn end(&mut self) -> Outcome<()> {
        self.stream.shutdown(Shutdown::Write)?;
        Ok(())
    }

    /// Reads answers. Must be called whenever the socket is readable.
    pub(crate) fn read(&mut self) -> Outcome<()> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(length) => self.answer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("reading the daemon's answers: {error}").into()),
            }
        }
    }

    /// The totals, once the daemon has closed; an error when it closed without them.
    pub(crate) fn total(&self) -> Outcome<Option<Total>> {
        if !self.ended {
            return Ok(None);
        }
        let total = total_of(&self.answer);
        total.map(Some).ok_or_else(|| format!("no totals in {:?}", crate::scan::excerpt(&self.answer)).into())
    }
}

/// Appends an event's line.
fn push_event(out: &mut Vec<u8>, size: usize, room: u64, number: u64, due: u64, kind: u64) {
    let begin = out.len();
    let written =
        write!(out, r#"{{"type":"load","room":"r{room}","n":{number},"t":{due},"k":{kind},"data":""#);
    written.expect("a Vec takes any bytes");
    let end = (begin + size).saturating_sub(2).max(out.len());
    out.resize(end, b'x');
    out.extend_from_slice(b"\"}\n");
}

/// The totals in a daemon's answer lines.
pub(crate) fn total_of(answer: &[u8]) -> Option<Total> {
    let values = answer.split(|byte| *byte == b'\n').rev();
    let mut totals = values.filter_map(|line| {
        let value: Value = serde_json::from_slice(line).ok()?;
        Some(Total { accepted: value["accepted"].as_u64()?, rejected: value["rejected"].as_u64()? })
    });
    totals.next()
}
