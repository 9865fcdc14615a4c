//! Clients of Socket.IO in the simulation, with connections that are lost and recovered.
//!
//! A client does what the library at its end does: it keeps the last string that an event ended with, and says it with its
//! secret when it comes back, each namespace for itself. Every string is held against what the client has had by then: beyond
//! that it would lose events, and short of it have some twice.

use super::*;
use crate::shard::new_client::NewSocketIo;
use crate::socketio::Emitted;
use crate::wire::frame::{CLOSE, TEXT, frame_len};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Read;
use std::time::Instant;

pub(super) const NAMESPACES: [&str; 2] = ["/", "/other"];
const CLIENTS: usize = 6;

/// What the shard has done for a client, which reads of it later.
#[derive(Clone)]
struct Done {
    /// Of each client's joins the how manieth.
    number: u64,
    /// As `subscribed` would say it.
    answer: Value,
    asked: Asked,
    /// It goes on where it was.
    goes_on: bool,
    /// It was in the room just so already.
    is_same: bool,
}

/// A client in a namespace.
#[derive(Default)]
struct Place {
    pid: Option<String>,
    last_offset: Option<String>,
    /// The rooms that it knows to be in, each with the number of the join.
    rooms: HashMap<String, (u64, Followed)>,
    /// What it was in when it last lost its connection.
    before: HashMap<String, (u64, Followed)>,
    /// Joins that it has not read of.
    coming: VecDeque<Done>,
    /// What the shard has it in.
    is_in: HashMap<String, Done>,
    /// Rooms with a filter or a pace that its last string may not know of.
    changed: Vec<String>,
}

struct Connection {
    stream: UnixStream,
    number: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Client {
    connection: Option<Connection>,
    places: [Place; 2],
}

struct Recovered {
    simulation: Simulation,
    clients: Vec<Client>,
    joins: u64,
}

fn masked(text: &str) -> Vec<u8> {
    let mut frame = match u8::try_from(text.len()).unwrap_or(u8::MAX) {
        len @ 0..126 => vec![0x81, 0x80 | len],
        _ => vec![0x81, 0xfe],
    };
    if text.len() > 125 {
        frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

impl Client {
    /// Reads so many bytes at most. Returns how many there were.
    fn read(&mut self, most: usize, published: &Published) -> usize {
        let Some(connection) = &mut self.connection else { return 0 };
        let mut buffer = vec![0; most];
        let len = match connection.stream.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("client {}: {error}", connection.number),
        };
        connection.bytes.extend_from_slice(&buffer[..len]);
        let mut bytes = std::mem::take(&mut connection.bytes);
        let mut at = 0;
        let mut is_over = len == 0;
        while let Some(end) = frame_len(&bytes[at..]).map(|len| at + len).filter(|end| *end <= bytes.len()) {
            let frame = &bytes[at..end];
            let header = match frame[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            match frame[0] & 0x0f {
                TEXT => self.packet(std::str::from_utf8(&frame[header..]).unwrap(), published),
                CLOSE => is_over = true,
                other => panic!("opcode {other}"),
            }
            at = end;
        }
        bytes.drain(..at);
        match &mut self.connection {
            Some(connection) if !is_over => connection.bytes = bytes,
            _ => self.lose(),
        }
        len
    }

    /// Loses the connection, with what of it was not read.
    fn lose(&mut self) {
        self.connection = None;
        for place in &mut self.places {
            place.coming.clear();
            place.before.extend(place.rooms.drain());
        }
    }

    fn packet(&mut self, packet: &str, published: &Published) {
        let kind = &packet[..2];
        let (namespace, payload) = match packet[2..].strip_prefix("/other,") {
            Some(payload) => (1, payload),
            None => (0, &packet[2..]),
        };
        let place = &mut self.places[namespace];
        let payload: Value = serde_json::from_str(payload).unwrap();
        match kind {
            "40" => place.pid = Some(payload["pid"].as_str().unwrap().to_owned()),
            "42" => place.event(payload.as_array().unwrap(), published),
            other => panic!("{other} {payload}"),
        }
    }
}

impl Place {
    fn event(&mut self, args: &[Value], published: &Published) {
        let name = args[0].as_str().unwrap();
        match name {
            "connection_established" => {
                // One that begins anew is in no room; one that comes back is where its last string says.
                assert_eq!(args.get(2), (args[1]["recovered"] == false).then(|| json!("")).as_ref());
                self.last_offset = args.get(2).map(|_| String::new()).or(self.last_offset.take());
                return;
            }
            "closing" => return assert_eq!(args.len(), 2),
            "subscription_confirmed" => {
                for room in args[1]["subscriptions"].as_array().unwrap() {
                    self.joined(room.as_str().unwrap(), published);
                }
                return self.told(args[2].as_str().unwrap(), published);
            }
            "unsubscription_confirmed" => {
                for room in args[1]["unsubscribed"].as_array().unwrap() {
                    self.rooms.remove(room.as_str().unwrap());
                }
                return self.told(args[2].as_str().unwrap(), published);
            }
            _ => {}
        }
        let room = if matches!(name, "gap" | "position") { args[1]["room"].as_str().unwrap() } else { name };
        let (_, followed) = self.rooms.get_mut(room).unwrap_or_else(|| panic!("not in {room}: {}", args[0]));
        let offset = args.get(2).map(|offset| offset.as_str().unwrap());
        match name {
            "gap" => followed.gap(&args[1], published),
            "position" if followed.snapshot.is_some() => {
                followed.page(&json!({ "data": [], "offset": args[1]["offset"] }), published);
            }
            "position" => followed.pass_over(args[1]["offset"].as_u64().unwrap(), published),
            _ => {
                let one = std::slice::from_ref(&args[1]);
                for event in args[1].as_array().map_or(one, Vec::as_slice) {
                    if offset.is_none() {
                        followed.page(&json!({ "data": [event], "more": true }), published);
                    } else {
                        followed.event(
                            published.offset_of(room, event["n"].as_u64().unwrap()),
                            event,
                            published,
                        );
                    }
                }
            }
        }
        if let Some(offset) = offset {
            self.told(offset, published);
        }
    }

    /// A string that says where the client is: it has had that, and no more.
    fn told(&mut self, string: &str, published: &Published) {
        let mut told = Vec::new();
        for position in string.split(',').filter(|position| !position.is_empty()) {
            let (epoch, offset) = position.split_once(':').unwrap();
            let room = self.rooms.iter_mut().find(|(_, (_, room))| room.epoch == epoch);
            let (name, (_, room)) = room.unwrap_or_else(|| panic!("{string}: not in {position}"));
            assert!(room.snapshot.is_none(), "{string}: {name} is in a snapshot");
            let offset = offset.parse().unwrap();
            assert!(offset >= room.position, "{string}: {name} is at {}", room.position);
            room.pass_over(offset, published);
            assert!(!told.contains(name), "{string}: {name} twice");
            told.push(name.clone());
        }
        let untold =
            self.rooms.iter().filter(|(name, (_, room))| room.snapshot.is_none() && !told.contains(name));
        assert_eq!(untold.count(), 0, "{string} tells every position");
        self.last_offset = Some(string.to_owned());
        self.changed.clear();
    }

    /// It reads that it is in a room.
    fn joined(&mut self, room: &str, published: &Published) {
        let Done { number, answer, asked, goes_on, is_same } = self.coming.pop_front().unwrap();
        assert_eq!(answer["room"], *room);
        if is_same && self.rooms.contains_key(room) {
            return;
        }
        let before = self
            .rooms
            .remove(room)
            .or_else(|| self.before.remove(room).filter(|(before, _)| *before == number));
        let is_snapshot = answer["snapshot"] == true;
        let followed = match before {
            Some((before, mut followed)) if !is_snapshot && (goes_on || before == number) => {
                let offset = answer["offset"].as_u64().unwrap();
                assert_eq!(answer["epoch"], *followed.epoch);
                if offset < followed.position || followed.snapshot.is_some() {
                    // Where it was when its string was made is another matter than where it was in a snapshot.
                    let may =
                        self.changed.iter().any(|changed| changed == room) || followed.snapshot.is_some();
                    assert!(may, "{room}: had {}, goes on after {offset}", followed.position);
                    Followed::begin(&answer, asked, None)
                } else {
                    followed.go_on(offset, asked, published);
                    self.changed.push(room.to_owned());
                    followed
                }
            }
            _ => Followed::begin(&answer, asked, None),
        };
        self.rooms.insert(room.to_owned(), (number, followed));
    }
}

impl Recovered {
    fn new(seed: u64) -> Recovered {
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        Recovered { simulation: Simulation::new(seed), clients, joins: 0 }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            let index = self.simulation.random.below(CLIENTS as u64) as usize;
            match self.simulation.random.below(16) {
                0 if self.clients[index].connection.is_some() => self.clients[index].lose(),
                0 | 1 => self.connect(index),
                2 | 3 => self.subscribe(index),
                4 => self.unsubscribe(index),
                5..=8 => self.simulation.publish(),
                9..=12 => {
                    let most = [100, 5_000, 1 << 20][self.simulation.random.below(3) as usize];
                    self.clients[index].read(most, &self.simulation.published);
                }
                13 => self.simulation.rooms.flush_all(),
                14 => {
                    let ms = self.simulation.random.below(1500);
                    self.simulation.shard.ahead += Duration::from_millis(ms);
                }
                _ => {}
            }
            let turns = self.simulation.random.below(4).min(1) as usize;
            self.simulation.turns(turns);
        }
        self.finish();
    }

    fn connect(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.connection.is_some() {
            return;
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let permit = self.simulation.counter.admit(None, &self.simulation.limits).unwrap();
        let mut early = Vec::new();
        for (place, namespace) in client.places.iter_mut().zip(["", "/other,"]) {
            if place.pid.is_none() {
                *place = Place::default();
            }
            let auth = json!({ "pid": place.pid, "offset": place.last_offset });
            early.extend_from_slice(&masked(&format!("40{namespace}{auth}")));
        }
        let hour = Duration::from_secs(3600);
        let socketio = NewSocketIo {
            sid: index.to_string().into(),
            opened: Instant::now(),
            ping_interval: hour,
            ping_timeout: hour,
            session: None,
        };
        self.simulation.shard.adopt(NewClient {
            socket: ClientSocket::Unix(theirs),
            wire: Wire::SocketIo(crate::wire::SocketIo::new(Namespace::main(), false)),
            head: Vec::new(),
            early,
            rooms: Vec::new(),
            positions: Vec::new(),
            permit,
            forwarded: None,
            socketio: Some(Box::new(socketio)),
        });
        let number = self.simulation.shard.parts.numbers.load(std::sync::atomic::Ordering::Relaxed);
        let key = self.key(number).unwrap();
        for (namespace, name) in NAMESPACES.iter().enumerate() {
            let order = self.rooms_of(key, namespace);
            let of_shard = self.simulation.shard.clients[key as usize].socketio_mut().unwrap();
            let given = of_shard.place(Namespace::named(name).unwrap()).unwrap().pid.clone();
            let place = &mut self.clients[index].places[namespace];
            if given.as_deref() != place.pid.as_deref() {
                // It begins anew, and has what it knew of its last session until it reads so.
                let (pid, last_offset) = (place.pid.take(), place.last_offset.take());
                *place = Place { pid, last_offset, ..Place::default() };
            }
            assert_eq!(order.len(), place.is_in.len(), "it is in the same rooms");
            for name in order {
                let begun = begun(&self.simulation.shard, key, namespace, &name);
                let place = &mut self.clients[index].places[namespace];
                let done = place.is_in.get_mut(&name).unwrap();
                (done.answer, done.is_same) = (begun, false);
                place.coming.push_back(done.clone());
            }
        }
        self.clients[index].connection = Some(Connection { stream: ours, number, bytes: Vec::new() });
    }

    fn key(&self, number: u64) -> Option<u32> {
        let mut clients = self.simulation.shard.clients.iter();
        clients.find(|(_, client)| client.number == number && !client.closing).map(|(key, _)| key as u32)
    }

    /// The rooms that the shard has a client in, in the order in which it joined them.
    fn rooms_of(&self, key: u32, namespace: usize) -> Vec<String> {
        let shard = &self.simulation.shard;
        let namespace = Namespace::named(NAMESPACES[namespace]);
        let views = shard.clients[key as usize].subscriptions.iter().map(|subscription| subscription.view);
        let of =
            views.map(|view| &shard.views[view as usize]).filter(|view| view.wire.namespace() == namespace);
        of.map(|view| shard.seats[view.seat as usize].room.name().to_owned()).collect()
    }

    /// A connected client, one of its namespaces, and a room.
    fn pick(&mut self, index: usize) -> Option<(u32, usize, &'static SimRoom)> {
        let key = self.key(self.clients[index].connection.as_ref()?.number)?;
        let namespace = self.simulation.random.below(3).min(1) as usize;
        Some((key, namespace, &ROOMS[self.simulation.any_room()]))
    }

    fn emit(&mut self, key: u32, namespace: usize, name: &str, arg: &Value) {
        let mut out = Vec::new();
        let arg = serde_json::value::to_raw_value(arg).unwrap();
        let emitted = Emitted {
            namespace: NAMESPACES[namespace].into(),
            ack: None,
            name: name.to_owned(),
            args: vec![arg],
            attachments: Vec::new(),
        };
        self.simulation.shard.emitted(key, emitted, &mut out);
        self.simulation.shard.answer(key, &out);
    }

    fn subscribe(&mut self, index: usize) {
        let Some((key, namespace, room)) = self.pick(index) else { return };
        let random = &mut self.simulation.random;
        let asked = Asked { filtered: random.one_in(3), paced: random.one_in(4) };
        let mut request = json!({ "room": room.name });
        if asked.filtered {
            request["where"] = FILTER.into();
        }
        if asked.paced {
            request["every"] = "400ms".into();
        }
        let is_in = self.clients[index].places[namespace].is_in.get(room.name).cloned();
        if is_in.is_none() && random.one_in(4) {
            request["from"] = json!({ "last": random.below(100) });
        }
        let before = begun(&self.simulation.shard, key, namespace, room.name);
        self.emit(key, namespace, "subscribe", &json!({ "rooms": [request] }));
        let answer = begun(&self.simulation.shard, key, namespace, room.name);
        let place = &mut self.clients[index].places[namespace];
        let goes_on = is_in.is_some() && before["snapshot"] != true;
        self.joins += 1;
        let is_same = is_in.as_ref().is_some_and(|before| before.asked == asked);
        let number = match is_in {
            Some(before) if goes_on || is_same => before.number,
            _ => self.joins,
        };
        let done = Done { number, answer, asked, goes_on, is_same };
        place.is_in.insert(room.name.to_owned(), done.clone());
        place.coming.push_back(done);
    }

    fn unsubscribe(&mut self, index: usize) {
        let Some((key, namespace, room)) = self.pick(index) else { return };
        self.emit(key, namespace, "unsubscribe", &json!([room.name]));
        self.clients[index].places[namespace].is_in.remove(room.name);
    }

    /// Everybody comes back and reads on.
    fn finish(&mut self) {
        self.simulation.rooms.flush_all();
        let mut quiet = 0;
        for _ in 0..20_000 {
            for index in 0..CLIENTS {
                self.connect(index);
            }
            self.simulation.turns(1);
            let published = &self.simulation.published;
            let read: usize = self.clients.iter_mut().map(|client| client.read(1 << 20, published)).sum();
            let shard = &mut self.simulation.shard;
            let levels = shard.stats.levels;
            let is_busy = read > 0 || levels.behind > 0 || levels.blocked > 0 || !shard.due.is_empty();
            shard.ahead += Duration::from_millis(20);
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet > 3 {
                break;
            }
        }
        assert!(quiet > 3, "somebody never became live: {}", self.simulation.behind());
        for place in self.clients.iter_mut().flat_map(|client| &mut client.places) {
            assert!(place.coming.is_empty());
            assert_eq!(place.rooms.len(), place.is_in.len());
            for (_, followed) in place.rooms.values_mut() {
                followed.check_end(&self.simulation.published);
            }
        }
        self.clients.clear();
        self.simulation.finish();
    }
}

/// Where the shard has a client in a room, as `subscribed` would say it.
fn begun(shard: &Shard, key: u32, namespace: usize, room: &str) -> Value {
    let wire =
        Wire::SocketIo(crate::wire::SocketIo::new(Namespace::named(NAMESPACES[namespace]).unwrap(), true));
    let Some(index) = shard.find_subscription(key, room, wire) else { return Value::Null };
    let subscription = &shard.clients[key as usize].subscriptions[index as usize];
    let seat = shard.views[subscription.view as usize].seat;
    let room_of = &shard.seats[seat as usize].room;
    let (epoch, head) = (room_of.epoch().to_string(), room_of.figures().head);
    let mut answer = json!({ "room": room, "epoch": epoch, "head": head });
    if subscription.snapshot_to > 0 {
        answer["snapshot"] = true.into();
    } else {
        let is_live = subscription.live;
        let offset = if is_live { shard.live_position(subscription) } else { subscription.position };
        answer["offset"] = offset.into();
    }
    answer
}

#[test]
fn what_clients_of_socketio_are_told_is_what_they_have_had() {
    let one = from_environment("BROADCASTD_SIM_SEED");
    let runs = from_environment("BROADCASTD_SIM_RUNS").unwrap_or(40);
    let first = one.unwrap_or_else(|| now_ms().wrapping_mul(2_654_435_761));
    for run in 0..if one.is_some() { 1 } else { runs } {
        let seed = first.wrapping_add(run * 7919);
        let result = std::panic::catch_unwind(|| Recovered::new(seed).run());
        if let Err(panic) = result {
            eprintln!("simulation failed: run it again with BROADCASTD_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
