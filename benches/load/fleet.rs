//! All clients and the producer, in one poll loop on one thread.

use crate::Outcome;
use crate::client::{Asked, Client, Phase, Reading, Rhythm, SCRATCH_BYTES, Subscription};
use crate::ledger::{Ledger, Window};
use crate::options::Transport;
use crate::producer::{Pace, Producer, Total};
use crate::scan::Scanner;
use crate::server::Server;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const PRODUCER: Token = Token(usize::MAX - 1);

/// Ready sockets handled before the producer has its turn again: keeps it punctual.
const EVENTS: usize = 128;

/// How often clients with a rhythm are looked at.
const TICK: Duration = Duration::from_millis(5);

/// How long connecting, and catching up at the end, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections from one source address. Linux chooses from 28,232 ports, and searches long once half are taken.
const PER_ADDRESS: usize = 5000;

/// The load on one server.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    addr: SocketAddr,
    /// Bytes of the receive buffers of clients opened from now on; 0 leaves the system's.
    pub(crate) receive_buffer: usize,
    /// How clients opened from now on are connected.
    pub(crate) transport: Transport,
    /// Rooms of each client that is connected from now on.
    pub(crate) rooms_each: usize,
    pub(crate) clients: Vec<Client>,
    pub(crate) producer: Producer,
    pub(crate) ledger: Ledger,
    scanner: Scanner,
    scratch: Vec<u8>,
    /// Clients with a rhythm of their own.
    timed: Vec<usize>,
    ticked: Instant,
    /// Clients that are ready; kept so that nobody has to count.
    ready: usize,
}

impl Fleet {
    /// A producer and no clients.
    pub(crate) fn new(server: &Server, rooms: usize, size: usize, receive_buffer: usize) -> Outcome<Fleet> {
        let poll = Poll::new()?;
        let mut producer = Producer::connect(server.ingest, size)?;
        poll.registry().register(&mut producer.stream, PRODUCER, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Fleet {
            poll,
            events: Events::with_capacity(EVENTS),
            addr: server.clients,
            receive_buffer,
            transport: Transport::Websocket,
            rooms_each: 1,
            clients: Vec::new(),
            producer,
            ledger: Ledger::new(rooms),
            scanner: Scanner::new(),
            scratch: vec![0; SCRATCH_BYTES],
            timed: Vec::new(),
            ticked: Instant::now(),
            ready: 0,
        })
    }

    /// Connects this many clients, `at_once` at a time; client `i` of the fleet subscribes to room `i % rooms`, and to as
    /// many after it as each is to have.
    pub(crate) fn connect(&mut self, count: usize, at_once: usize) -> Outcome<()> {
        self.connect_each(count, at_once, self.rooms_each)
    }

    /// Connects this many clients that subscribe to nothing and that nobody waits for.
    pub(crate) fn connect_idle(&mut self, count: usize, at_once: usize) -> Outcome<()> {
        let first = self.clients.len();
        self.connect_each(count, at_once, 0)?;
        self.clients[first..].iter_mut().for_each(|client| client.counted = false);
        Ok(())
    }

    fn connect_each(&mut self, count: usize, at_once: usize, rooms_each: usize) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        let wanted = self.clients.len() + count;
        while self.ready < wanted {
            while self.clients.len() < wanted && self.clients.len() - self.ready < at_once {
                let (rooms, index) = (self.ledger.rooms as usize, self.clients.len());
                let of_client =
                    (index..index + rooms_each).map(|room| Subscription::new((room % rooms) as u32));
                self.open(of_client.collect(), false)?;
            }
            self.turn(deadline)?;
            self.check_waiting(deadline, "connecting")?;
        }
        Ok(())
    }

    /// Waits until all clients are ready.
    pub(crate) fn until_ready(&mut self, patience: Duration) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        while self.ready < self.clients.len() {
            self.turn(deadline)?;
            self.check_waiting(deadline, "connecting")?;
        }
        Ok(())
    }

    /// Begins one connection.
    pub(crate) fn open(&mut self, subscriptions: Vec<Subscription>, half_open: bool) -> Outcome<usize> {
        let index = self.clients.len();
        let mut client = self
            .dial(index, subscriptions, Vec::new())
            .map_err(|error| format!("client {index}: {error}"))?;
        client.half_open = half_open;
        self.clients.push(client);
        Ok(index)
    }

    /// Drops a client's connection, whatever is under way there, and begins another that resumes.
    pub(crate) fn reopen(&mut self, index: usize) -> Outcome<()> {
        let mut subscriptions = std::mem::take(&mut self.clients[index].subscriptions);
        for own in &mut subscriptions {
            own.joined = false;
            own.asked = Asked::Offset(own.position);
        }
        self.ready -= usize::from(self.clients[index].phase == Phase::Ready);
        self.timed.retain(|timed| *timed != index);
        let last_id = std::mem::take(&mut self.clients[index].last_id);
        self.clients[index] = self.dial(index, subscriptions, last_id)?;
        Ok(())
    }

    fn dial(&self, index: usize, subscriptions: Vec<Subscription>, last_id: Vec<u8>) -> Outcome<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if self.receive_buffer > 0 {
            // Before connecting, since the window is agreed then.
            socket.set_recv_buffer_size(self.receive_buffer)?;
        }
        socket.set_tcp_nodelay(true)?;
        // Closing resets: thousands of sockets in TIME_WAIT would be in the next run's way.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_nonblocking(true)?;
        if index >= PER_ADDRESS {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + (index / PER_ADDRESS) as u32);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        if let Err(error) = socket.connect(&self.addr.into())
            && error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32)
        {
            return Err(format!("client {index}: connect: {error}").into());
        }
        let stream = (TcpStream::from_std(socket.into()), self.transport);
        let mut client = Client::new(stream, self.addr, subscriptions, last_id);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.stream, Token(index), interest)?;
        Ok(client)
    }

    /// Clients in a phase.
    pub(crate) fn count(&self, phase: Phase) -> usize {
        self.clients.iter().filter(|client| client.phase == phase).count()
    }

    /// Gives a client another rhythm and whether others wait for it.
    pub(crate) fn set_rhythm(&mut self, index: usize, rhythm: Rhythm, counted: bool) {
        let now = Instant::now();
        let client = &mut self.clients[index];
        (client.rhythm, client.counted, client.asleep, client.credit) = (rhythm, counted, false, 0.0);
        // Spread over a whole turn of the rhythm, so that no two wake together.
        let turn = if let Rhythm::Bursts { awake, asleep } = rhythm { awake + asleep } else { 4 * TICK };
        client.due = now + turn.mul_f64((index % 97) as f64 / 97.0);
        client.asleep = matches!(rhythm, Rhythm::Bursts { .. });
        self.timed.retain(|timed| *timed != index);
        match rhythm {
            Rhythm::Always => self.read(index, usize::MAX),
            Rhythm::Never => {}
            Rhythm::Bursts { .. } | Rhythm::Rate(_) => self.timed.push(index),
        }
    }

    /// Publishes at a pace. A pace bound by what is under way waits for every counted client.
    pub(crate) fn publish(&mut self, pace: Pace) {
        if let Pace::UnderWay { .. } = pace {
            let mut readers = vec![0; self.ledger.rooms as usize];
            for client in self.clients.iter().filter(|client| client.counted) {
                client.subscriptions.iter().for_each(|own| readers[own.room as usize] += 1);
            }
            self.ledger.window = Some(Window::new(self.ledger.published + 1, readers));
        }
        self.producer.set_pace(pace);
    }

    /// Goes on for a time.
    pub(crate) fn run_for(&mut self, time: Duration) -> Outcome<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Stops publishing and waits until all counted clients have everything. What is missing in the end is lost.
    pub(crate) fn settle(&mut self) -> Outcome<Duration> {
        if !matches!(self.producer.pace, Pace::AtFullSpeed(_)) {
            self.producer.set_pace(Pace::Silent);
        }
        let begun = Instant::now();
        let mut progress = (begun, 0);
        while !(self.producer.is_idle() && self.behind(true) == 0) {
            let step = Instant::now() + Duration::from_millis(2);
            while Instant::now() < step {
                self.turn(step)?;
            }
            if self.arrived() > progress.1 {
                progress = (Instant::now(), self.arrived());
            } else if progress.0.elapsed() > Duration::from_secs(5) {
                let behind = self.behind(false);
                self.ledger.faults.lost += behind;
                self.ledger
                    .faults
                    .note(|| format!("{behind} events had not arrived when nothing came any more"));
                break;
            }
        }
        Ok(begun.elapsed())
    }

    /// Events that counted clients have yet to get; with `any`, whether there are some.
    pub(crate) fn behind(&self, any: bool) -> u64 {
        let mut behind = 0;
        for client in self.clients.iter().filter(|client| client.counted && client.phase == Phase::Ready) {
            for own in client.subscriptions.iter().filter(|own| own.joined) {
                let head = self.ledger.head(own.room);
                behind += (head + 1).saturating_sub(own.next());
            }
            if any && behind > 0 {
                break;
            }
        }
        behind
    }

    /// Ends the producer's stream, once all is written, and waits for the daemon's totals.
    pub(crate) fn finish(&mut self) -> Outcome<Total> {
        let (mut deadline, mut arrived, mut ended) = (Instant::now() + PATIENCE, 0, false);
        loop {
            if let Some(total) = self.producer.total()? {
                return Ok(total);
            }
            if !ended && self.producer.is_idle() {
                self.producer.end()?;
                ended = true;
            }
            self.turn(deadline)?;
            if self.arrived() > arrived {
                (deadline, arrived) = (Instant::now() + PATIENCE, self.arrived());
            }
            self.check_waiting(deadline, "waiting for the daemon's totals")?;
        }
    }

    /// Events that clients have, or know to have missed.
    fn arrived(&self) -> u64 {
        self.ledger.tally.deliveries + self.ledger.tally.missed
    }

    /// Fails at a deadline.
    pub(crate) fn check_waiting(&self, deadline: Instant, what: &str) -> Outcome<()> {
        if Instant::now() < deadline && self.ledger.faults.wrong < 100 {
            return Ok(());
        }
        let notes = self.ledger.faults.notes.join("\n  ");
        Err(format!("{what}: {} of {} clients are ready\n  {notes}", self.ready, self.clients.len()).into())
    }

    /// One turn of the loop: publishes what is due, handles ready sockets, reads for those whose time has come.
    pub(crate) fn turn(&mut self, until: Instant) -> Outcome<()> {
        self.producer.pump(&mut self.ledger)?;
        let now = Instant::now();
        let mut wake = until;
        if let Pace::Every { .. } = self.producer.pace {
            wake = wake.min(self.producer.due);
        }
        if !self.timed.is_empty() {
            wake = wake.min(self.ticked + TICK);
        }
        // The kernel rounds a time-out to whole milliseconds, up: what is due sooner is looked for without waiting.
        let wait = wake.saturating_duration_since(now).saturating_sub(Duration::from_millis(1));
        if wait.is_zero() {
            // Where the daemon has no core of its own, looking without waiting would keep it from running.
            std::thread::yield_now();
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == PRODUCER {
                self.producer.read()?;
            } else {
                self.on_event(event.token().0, event.is_writable());
            }
        }
        self.events = events;
        if !self.timed.is_empty() && self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.tick(self.ticked);
        }
        Ok(())
    }

    fn on_event(&mut self, index: usize, writable: bool) {
        let client = &mut self.clients[index];
        if writable && client.phase == Phase::Connecting {
            let result = client.on_writable();
            self.book(index, result);
        }
        let client = &self.clients[index];
        if client.rhythm == Rhythm::Always || client.phase != Phase::Ready {
            self.read(index, usize::MAX);
        }
    }

    /// Reads for clients whose time has come.
    fn tick(&mut self, now: Instant) {
        for place in 0..self.timed.len() {
            let index = self.timed[place];
            let client = &mut self.clients[index];
            match client.rhythm {
                Rhythm::Bursts { awake, asleep } => {
                    if now >= client.due {
                        client.asleep = !client.asleep;
                        client.due = now + if client.asleep { asleep } else { awake };
                    }
                    if !client.asleep {
                        self.read(index, usize::MAX);
                    }
                }
                Rhythm::Rate(bytes) if now >= client.due => {
                    let late = now.saturating_duration_since(client.due) + 4 * TICK;
                    client.credit += bytes * late.as_secs_f64();
                    // What was not there to be read cannot be made up for later, beyond a tenth of a second.
                    client.credit = client.credit.min(bytes / 10.0);
                    client.due = now + 4 * TICK;
                    let budget = client.credit as usize;
                    self.read(index, budget);
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, index: usize, budget: usize) {
        let client = &mut self.clients[index];
        let before = client.phase;
        if before == Phase::Closed {
            return;
        }
        let reading =
            &mut Reading { scratch: &mut self.scratch, scanner: &mut self.scanner, ledger: &mut self.ledger };
        let result = client.read(budget, reading);
        if let Ok(taken) = result {
            client.credit -= taken as f64;
        }
        self.ready += usize::from(before != Phase::Ready && client.phase == Phase::Ready);
        self.book(index, result.map(|_| ()));
    }

    /// Books a client's end.
    pub(crate) fn book(&mut self, index: usize, result: Result<(), String>) {
        if let Err(error) = result {
            let client = &mut self.clients[index];
            self.ready -= usize::from(client.phase == Phase::Ready);
            client.phase = Phase::Closed;
            self.ledger.faults.wrong(|| format!("client {index}: {error}"));
        }
    }

    /// Clients that are ready.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }
}
