//! A producer of a benchmark: a thread that writes lines at its pace, and reads what became of them.

use super::event::{Mark, Plan};
use crate::cli::find::{At, Endpoint};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes of a write.
const WRITE_BYTES: usize = 64 << 10;
/// Between two writes while nothing is due.
const NAP: Duration = Duration::from_millis(1);
/// How long answers may take after the last event.
const PATIENCE: Duration = Duration::from_secs(30);

/// A producer's part of a run.
pub(super) struct Producer {
    pub plan: Plan,
    pub index: usize,
    pub endpoint: Endpoint,
    /// This producer's events a second.
    pub rate: f64,
    pub duration: Duration,
    pub begin: Instant,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Events written to each room.
    pub rooms: Vec<u64>,
    /// Events that were refused.
    pub rejected: u64,
    /// The first refusal.
    pub refusal: Option<String>,
}

trait Stream: Read + Write + Send {
    fn end(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Producer {
    /// Writes until the time has passed. Blocks.
    pub(super) fn run(&self) -> io::Result<Written> {
        let mut stream = self.connect()?;
        let mut written = Written { rooms: vec![0; self.plan.rooms.len()], ..Written::default() };
        let (mut bytes, mut sent) = (Vec::with_capacity(2 * WRITE_BYTES), 0_u64);
        let started = Instant::now();
        while started.elapsed() < self.duration {
            let due = started.elapsed().min(self.duration).as_secs_f64() * self.rate;
            bytes.clear();
            while (sent as f64) < due && bytes.len() < WRITE_BYTES {
                let room = (sent as usize + self.index) % self.plan.rooms.len();
                let at = self.due(started, sent);
                let mark = Mark { run: self.plan.run, p: self.index, n: written.rooms[room], at };
                self.plan.push(&mut bytes, room, mark);
                written.rooms[room] += 1;
                sent += 1;
            }
            if bytes.is_empty() {
                std::thread::sleep(NAP);
            } else {
                stream.write_all(&bytes)?;
            }
        }
        stream.end()?;
        answers(BufReader::new(stream), &mut written)?;
        Ok(written)
    }

    /// When an event was due, in nanoseconds since the run's begin; now, without a rate.
    fn due(&self, started: Instant, sent: u64) -> u64 {
        let since = if self.rate.is_finite() {
            started.duration_since(self.begin) + Duration::from_secs_f64(sent as f64 / self.rate)
        } else {
            self.begin.elapsed()
        };
        since.as_nanos() as u64
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.endpoint.at {
            At::Tcp(addr) => {
                let stream = TcpStream::connect(addr)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            At::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }
}

/// Reads errors and totals. A listener may give none (`ack = "none"`); then nothing is known to be refused.
fn answers(stream: impl BufRead, written: &mut Written) -> io::Result<()> {
    for line in stream.lines() {
        let answer: Value = serde_json::from_str(&line?).unwrap_or_default();
        if let Some(rejected) = answer["rejected"].as_u64() {
            written.rejected = rejected;
        }
        if let (None, Some(message)) = (&written.refusal, answer["error"]["message"].as_str()) {
            written.refusal = Some(message.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_added_up() {
        let mut written = Written::default();
        let lines = "{\"error\":{\"message\":\"first\"}}\n{\"error\":{\"message\":\"second\"}}\n{\"accepted\":1,\"rejected\":2,\"line\":3}\n";
        answers(lines.as_bytes(), &mut written).unwrap();
        assert_eq!((written.rejected, written.refusal.as_deref()), (2, Some("first")));
    }
}
