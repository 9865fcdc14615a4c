//! The newest of every key now and then: 1,000 clients of a room with a key, sent everything, and at most once every two
//! seconds (`--every`). What each of them knows in the end must be the newest of every key.

use super::variant;
use crate::Outcome;
use crate::frame::{self, push_masked};
use crate::measure::{Instructions, cpu_time};
use crate::options::{Options, Plan};
use crate::report::Row;
use crate::server::Server;
use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Events are written in groups, so many a second.
const GROUPS: f64 = 100.0;
/// How long answers, and what was published last, may be on their way.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client, and what it knows.
struct Follower {
    stream: TcpStream,
    partial: Vec<u8>,
    /// The newest event of every key; the first is 1.
    newest: Vec<u64>,
    events: u64,
    is_ready: bool,
}

struct Searches {
    key: Finder<'static>,
    number: Finder<'static>,
}

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut everything = Row::new(name, format!("{}-everything", variant(options, plan)));
    one(options, plan, None, &mut everything)?;
    let mut paced = Row::new(name, format!("{}-every-{}", variant(options, plan), options.every));
    one(options, plan, Some(&options.every), &mut paced)?;
    for (ratio, of) in [
        ("cpu_ratio_to_everything", "server_percent"),
        ("instructions_ratio_to_everything", "instructions_per_s"),
    ] {
        paced.put(ratio, paced.get(of).zip(everything.get(of)).map(|(paced, all)| paced / all));
    }
    emit(everything);
    emit(paced);
    Ok(())
}

fn one(options: &Options, plan: &Plan, every: Option<&str>, row: &mut Row) -> Outcome<()> {
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::connect(&server, plan.clients, options.keys, every)?;
    let mut producer = std::net::TcpStream::connect(server.ingest)?;
    let mut published = 0;
    let at_once = (plan.rate / GROUPS).max(1.0) as u64;
    publish(&mut fleet, &mut producer, &mut published, at_once, Duration::from_secs_f64(plan.warm_up))?;
    let (scrape, instructions) = (server.scrape(), Instructions::start(server.counter, server.pid));
    let (cpu, before, begun) = (cpu_time(server.pid)?, (published, fleet.events()), Instant::now());
    publish(&mut fleet, &mut producer, &mut published, at_once, Duration::from_secs_f64(plan.seconds))?;
    let (cpu, wall) = (cpu_time(server.pid)? - cpu, begun.elapsed().as_secs_f64());
    let instructions = instructions.stop(cpu);
    let sends = server.scrape().grown(&scrape, "broadcastd_sends_total");
    let deliveries = (fleet.events() - before.1) as f64;
    row.put("clients", plan.clients as f64)
        .put("events_per_s", (published - before.0) as f64 / wall)
        .put("events_per_client_s", deliveries / wall / plan.clients as f64)
        .put("server_percent", cpu / wall * 100.0)
        .put("instructions_per_s", instructions.map(|count| count as f64 / wall))
        .put("sends_per_s", sends.map(|sends| sends / wall));
    let deadline = Instant::now() + PATIENCE;
    while !fleet.knows_everything(published) && Instant::now() < deadline {
        fleet.turn(Duration::from_millis(20))?;
    }
    let behind = fleet.followers.iter().filter(|own| !fleet.is_newest(own, published)).count();
    row.put("clients_without_the_newest", behind as f64);
    drop(fleet);
    server.stop()?;
    if behind > 0 {
        return Err(format!("{behind} clients have not the newest of every key").into());
    }
    Ok(())
}

/// Publishes for a while; each event is of the next key.
fn publish(
    fleet: &mut Fleet,
    producer: &mut std::net::TcpStream,
    published: &mut u64,
    at_once: u64,
    time: Duration,
) -> Outcome<()> {
    let (end, mut due) = (Instant::now() + time, Instant::now());
    while Instant::now() < end {
        if Instant::now() >= due {
            let mut lines = String::new();
            for _ in 0..at_once {
                *published += 1;
                let (number, key) = (*published, *published % fleet.keys);
                let pad = "x".repeat(64);
                writeln!(lines, r#"{{"type":"paced","id":{key},"n":{number},"pad":"{pad}"}}"#)?;
            }
            producer.write_all(lines.as_bytes())?;
            due += Duration::from_secs_f64(1.0 / GROUPS);
        }
        fleet.turn(due.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}

struct Fleet {
    poll: Poll,
    events: Events,
    followers: Vec<Follower>,
    keys: u64,
    scratch: Vec<u8>,
    searches: Searches,
}

impl Fleet {
    fn connect(server: &Server, clients: usize, keys: u64, every: Option<&str>) -> Outcome<Fleet> {
        let searches = Searches { key: Finder::new(b"\"id\":"), number: Finder::new(b"\"n\":") };
        let (poll, events) = (Poll::new()?, Events::with_capacity(256));
        let mut fleet =
            Fleet { poll, events, followers: Vec::new(), keys, scratch: vec![0; 256 << 10], searches };
        let every = every.map_or_else(String::new, |every| format!(r#","every":"{every}""#));
        let mut first = frame::upgrade_request(server.clients, "/ws").into_bytes();
        let text = format!(r#"{{"type":"subscribe","rooms":{{"room":"paced"{every}}}}}"#);
        push_masked(&mut first, frame::TEXT, text.as_bytes());
        for index in 0..clients {
            let mut stream = std::net::TcpStream::connect(server.clients)?;
            stream.write_all(&first)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            fleet.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            let newest = vec![0; keys as usize];
            fleet.followers.push(Follower {
                stream,
                partial: Vec::new(),
                newest,
                events: 0,
                is_ready: false,
            });
        }
        let deadline = Instant::now() + PATIENCE;
        while fleet.followers.iter().any(|own| !own.is_ready) {
            fleet.turn(Duration::from_millis(20))?;
            if Instant::now() > deadline {
                return Err("not every client was answered".into());
            }
        }
        Ok(fleet)
    }

    fn turn(&mut self, wait: Duration) -> Outcome<()> {
        self.poll.poll(&mut self.events, Some(wait))?;
        for event in &self.events {
            let own = &mut self.followers[event.token().0];
            loop {
                match own.stream.read(&mut self.scratch) {
                    Ok(0) => return Err("a client was closed".into()),
                    Ok(length) => {
                        own.partial.extend_from_slice(&self.scratch[..length]);
                        own.take(&self.searches)?;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn events(&self) -> u64 {
        self.followers.iter().map(|own| own.events).sum()
    }

    fn knows_everything(&self, published: u64) -> bool {
        self.followers.iter().all(|own| self.is_newest(own, published))
    }

    fn is_newest(&self, own: &Follower, published: u64) -> bool {
        (published.saturating_sub(self.keys) + 1..=published)
            .all(|number| own.newest[(number % self.keys) as usize] == number)
    }
}

impl Follower {
    /// Reads whole frames.
    fn take(&mut self, searches: &Searches) -> Result<(), String> {
        let mut at = 0;
        if !self.is_ready && self.partial.starts_with(b"HTTP") {
            let Some(end) = frame::upgrade_answer(&self.partial)? else { return Ok(()) };
            at = end;
        }
        while let Some(header) = frame::header(&self.partial[at..])? {
            let Some(whole) = self.partial.get(at..at + header.frame_bytes()) else { break };
            let text = &whole[header.length..];
            at += whole.len();
            if text.starts_with(b"{\"type\":\"subscribed\"") {
                self.is_ready = true;
            }
            let mut rest = text;
            while let Some(found) = searches.key.find(rest) {
                let (key, after) = number(&rest[found + 5..]);
                let found = searches.number.find(after).ok_or("an event without a number")?;
                let (n, after) = number(&after[found + 4..]);
                let newest = self.newest.get_mut(key as usize).ok_or("a key that was not published")?;
                if n <= *newest {
                    return Err(format!("event {n} of key {key} after {newest}"));
                }
                *newest = n;
                self.events += 1;
                rest = after;
            }
        }
        self.partial.drain(..at);
        Ok(())
    }
}

/// The number that a text begins with, and what follows it.
fn number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    (value, &text[digits..])
}
