//! Clients of Socket.IO: their packets, heartbeats and namespaces. What they may ask for is in [`super::service`].
//!
//! They are clients like others: their subscriptions are members of views, and what they are sent is encoded once for all.
//! One that is served by polling has a socket of the daemon's own, whose other end the handshake side pumps into answers;
//! nothing here knows of it but that the socket may be changed for the client's own ([`super::upgrade`]).

use super::new_client::NewSocketIo;
use super::recovery::{Remembered, RememberedRoom};
use super::resume::Brought;
use super::service::push_emit;
use super::shard::Shard;
use crate::config::{Namespace, OwnEvent, RoomConfig};
use crate::socketio::{self, Beat, Fault, Happened, Heartbeat, Received, Sockets};
use crate::time::now_ms;
use crate::wire::{Epoch, From, MessageError, Position, SocketIo, SubscribeRoom, Wire, frame::push_text};
use serde::Deserialize;
use serde_json::json;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rooms that a client is told of when it has connected. A configuration with more has names enough elsewhere.
const ROOMS_TOLD: usize = 1000;
/// Bytes of a room in the string that a client comes back with, at the most: an epoch, an offset and what is between them.
const POSITION_BYTES: usize = 40;

/// Heartbeats of clients that are gone that are not worth looking for.
const BEATS_KEPT: usize = 1024;

/// What only a client of Socket.IO has.
pub(super) struct SocketIoClient {
    /// The id of its Engine.IO session.
    pub(super) sid: Box<str>,
    /// Of one that is served by polling: dropped when the client is gone, or has a socket of its own.
    pub(super) session: Option<Box<dyn Send>>,
    heartbeat: Heartbeat,
    /// Until when it must have connected to a namespace, in the shard's milliseconds; none once it has.
    connect_by_ms: Option<u64>,
    sockets: Sockets,
    /// The namespaces that it is connected to.
    pub(super) places: SmallVec<[Connected; 1]>,
}

/// A client in a namespace.
pub(super) struct Connected {
    pub(super) namespace: Namespace,
    sid: Box<str>,
    /// The secret with which it may come back.
    pub(super) pid: Option<Box<str>>,
    /// Positions that it brought, if its session is not remembered.
    pub(super) brought: Option<Box<Brought>>,
}

/// When to look at which client: (the shard's milliseconds, the client, its number). Each client is in it once.
#[derive(Default)]
pub(super) struct Beats(BinaryHeap<Reverse<(u64, u32, u64)>>);

/// What a client says that comes back.
#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    pid: serde_json::Value,
    #[serde(default)]
    offset: serde_json::Value,
}

impl SocketIoClient {
    /// When something may be due, whatever it says until then.
    fn look_ms(&self, now_ms: u64) -> u64 {
        self.heartbeat.look_ms(now_ms).min(self.connect_by_ms.unwrap_or(u64::MAX))
    }

    /// Forgets what it has brought, once that counts no more.
    fn forget_brought(&mut self, now: Instant) {
        for place in &mut self.places {
            place.brought.take_if(|brought| brought.until <= now);
        }
    }

    /// Its place in a namespace.
    pub(super) fn place(&self, namespace: Namespace) -> Option<&Connected> {
        self.places.iter().find(|place| place.namespace == namespace)
    }
}

impl Connected {
    /// How it is written to there.
    pub(super) fn wire(&self) -> SocketIo {
        SocketIo::new(self.namespace, self.pid.is_some())
    }
}

impl Shard {
    /// Notes what only a client of Socket.IO has.
    pub(super) fn adopt_socketio(&mut self, client: u32, new: NewSocketIo) {
        let NewSocketIo { sid, opened, ping_interval, ping_timeout, session } = new;
        let opened_ms = opened.saturating_duration_since(self.started).as_millis() as u64;
        let connect_timeout = self.parts.rooms.generation().config.socketio.connect_timeout;
        let most = self.client_limits().message_size;
        if session.is_some() {
            self.sessions.insert(sid.clone(), client);
        }
        let state = SocketIoClient {
            sid,
            session,
            heartbeat: Heartbeat::new(ping_interval, ping_timeout, opened_ms),
            connect_by_ms: Some(opened_ms + connect_timeout.as_millis() as u64),
            sockets: Sockets::new(most),
            places: SmallVec::new(),
        };
        let number = self.clients[client as usize].number;
        self.forget_beats();
        self.beats.0.push(Reverse((state.look_ms(opened_ms), client, number)));
        self.clients[client as usize].extra().socketio = Some(Box::new(state));
    }

    /// Forgets what was due of clients that are gone, once it is most of it: they may come and go faster than it is due.
    fn forget_beats(&mut self) {
        if self.beats.0.len() > 2 * self.clients.len() + BEATS_KEPT {
            let clients = &self.clients;
            self.beats.0.retain(|Reverse((_, client, number))| {
                clients.get(*client as usize).is_some_and(|state| state.number == *number)
            });
        }
    }

    /// How long the shard may sleep before something is due.
    pub(super) fn until_socketio(&self) -> Duration {
        let due = self.beats.0.peek().map(|Reverse((due_ms, _, _))| *due_ms);
        due.map_or(Duration::MAX, |due| Duration::from_millis(due.saturating_sub(self.elapsed_now_ms())))
    }

    /// Asks those who are to be asked, and gives up who has not answered, or has connected to nothing.
    pub(super) fn beat_socketio(&mut self) {
        let now_ms = self.elapsed_ms();
        while let Some(Reverse((due_ms, client, number))) = self.beats.0.peek().copied() {
            if due_ms > now_ms {
                return;
            }
            self.beats.0.pop();
            let Some(state) = self.clients.get_mut(client as usize).filter(|state| state.number == number)
            else {
                continue;
            };
            let (is_closing, is_moving) = (state.closing, state.blocked && state.stalled_ms(now_ms) < 1000);
            let Some(socketio) = state.socketio_mut().filter(|_| !is_closing) else { continue };
            if is_moving {
                // It reads, and has not come to the question yet.
                socketio.heartbeat.pong(now_ms);
            }
            socketio.forget_brought(self.now);
            let beat = socketio.heartbeat.tick(now_ms);
            let is_late = socketio.connect_by_ms.is_some_and(|until_ms| until_ms <= now_ms);
            let look_ms = socketio.look_ms(now_ms);
            if beat == Beat::Dead {
                let is_there = self.shows_life(client);
                let Some(state) = self.clients.get_mut(client as usize) else { continue };
                if !is_there {
                    self.gone(client, 1006);
                    continue;
                }
                if let Some(socketio) = state.socketio_mut() {
                    socketio.heartbeat.pong(now_ms);
                    self.beats.0.push(Reverse((socketio.look_ms(now_ms), client, number)));
                }
                continue;
            }
            if is_late {
                self.close(client, 1008, "no namespace was connected to", None);
                continue;
            }
            self.beats.0.push(Reverse((look_ms, client, number)));
            if beat == Beat::Ping {
                let mut out = Vec::new();
                push_text(&mut out, 0, |out| out.push(b'2'));
                self.answer(client, &out);
                if let Some(state) = self.clients.get_mut(client as usize) {
                    state.note_acknowledged(out.len());
                }
            }
        }
    }

    /// Carries out a text message.
    pub(super) fn socketio_text(&mut self, client: u32, text: &str, out: &mut Vec<u8>) {
        let now_ms = self.elapsed_ms();
        let Some(state) = self.clients[client as usize].socketio_mut() else { return };
        match socketio::parse_text(text) {
            Ok(Received::Message(message)) => {
                let happened = state.sockets.text(message);
                self.happened(client, happened, out);
            }
            Ok(Received::Pong) => state.heartbeat.pong(now_ms),
            Ok(Received::Upgrade | Received::Noop) => {}
            Ok(Received::Ping(_)) => self.faulty(client, "only the server asks with a ping", out),
            Ok(Received::Close) => {
                self.answer(client, out);
                out.clear();
                if self.clients.contains(client as usize) {
                    self.end(client, 1000, None);
                }
            }
            Err(fault) => self.faulty(client, &fault.to_string(), out),
        }
    }

    /// Carries out a binary message: a piece of an event.
    pub(super) fn socketio_binary(&mut self, client: u32, data: &[u8], out: &mut Vec<u8>) {
        let Some(state) = self.clients[client as usize].socketio_mut() else { return };
        let happened = state.sockets.binary(data);
        self.happened(client, happened, out);
    }

    fn happened(&mut self, client: u32, happened: Result<Happened, Fault>, out: &mut Vec<u8>) {
        match happened {
            Ok(Happened::Connect { namespace, auth }) => {
                self.connect(client, &namespace, auth.as_deref(), out);
            }
            Ok(Happened::Disconnect { namespace }) => self.disconnect(client, &namespace),
            Ok(Happened::Event(emitted)) => self.emitted(client, emitted, out),
            // Nothing that is sent asks for one.
            Ok(Happened::Ack { .. } | Happened::Nothing) => {}
            Err(fault) => self.faulty(client, &fault.to_string(), out),
        }
    }

    /// Closes a client whose packets make no sense. `reason` goes into the close frame, where there is one.
    fn faulty(&mut self, client: u32, reason: &str, out: &mut Vec<u8>) {
        self.answer(client, out);
        out.clear();
        if self.clients.contains(client as usize) {
            self.close(client, 1008, reason, None);
        }
    }

    /// Connects a client to a namespace: as one that comes back, if it knows the secret of one.
    fn connect(&mut self, client: u32, name: &str, auth: Option<&str>, out: &mut Vec<u8>) {
        if !self.may_send(client) {
            self.stats.rate_limited += 1;
            return push_text(out, 0, |out| socketio::push_connect_error(out, name, "too fast"));
        }
        let generation = self.parts.rooms.generation();
        let config = &generation.config.socketio;
        let Some(namespace) = config.namespaces.iter().copied().find(|known| known.as_str() == name) else {
            return push_text(out, 0, |out| socketio::push_connect_error(out, name, "Invalid namespace"));
        };
        // Whether positions are told is settled with the first namespace: they are told in all of them, or in none, whatever a
        // reload has changed since.
        let state = &mut self.clients[client as usize];
        let is_first = state.socketio_mut().is_some_and(|state| state.places.is_empty());
        let may_return = if is_first { config.recovery.is_some() } else { state.wire.tells_all_positions() };
        state.wire = Wire::SocketIo(SocketIo::new(namespace, may_return));
        let auth: Auth = auth.and_then(|auth| serde_json::from_str(auth).ok()).unwrap_or_default();
        let number = self.clients[client as usize].number;
        let back = config.recovery.filter(|_| may_return).and(auth.pid.as_str()).and_then(|pid| {
            let owner = (number, &config.auto_join);
            let back = self.parts.recovery.take_over(pid, namespace, owner, self.now)?;
            Some((Box::<str>::from(pid), back))
        });
        let is_back = back.is_some();
        let anew = || {
            let sid = socketio::random_id()?;
            Ok::<_, getrandom::Error>((
                socketio::random_id()?,
                Remembered { sid, namespace, rooms: Vec::new(), offered: Arc::clone(&config.auto_join) },
            ))
        };
        let (pid, remembered) = match back.map_or_else(anew, Ok) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "no id can be made for a Socket.IO client");
                return push_text(out, 0, |out| socketio::push_connect_error(out, name, "no id can be made"));
            }
        };
        if !is_back && may_return {
            self.parts.recovery.begin(&pid, number, remembered.clone());
        }
        let pid = may_return.then_some(pid);
        let Remembered { sid, rooms: of_before, offered, .. } = remembered;
        let positions = self.read_positions(auth.offset.as_str().unwrap_or_default(), of_before.len());
        let counts_for = config.recovery.filter(|_| pid.is_some() && !is_back);
        let brought = counts_for.and_then(|keep| Brought::new(&positions, self.now + keep));
        let Some(state) = self.clients[client as usize].socketio_mut() else { return };
        state.connect_by_ms = None;
        state.sockets.connected(name);
        let place = Connected { namespace, sid, pid, brought };
        push_text(out, 0, |out| socketio::push_connect(out, name, &place.sid, place.pid.as_deref()));
        push_established(out, &place, &generation.rooms, is_back);
        let wire = place.wire();
        state.places.push(place);
        // One that has come back may have left rooms that it was offered before.
        let is_new = |room: &&String| {
            !is_back || !(offered.contains(room) || of_before.iter().any(|before| *before.room == ***room))
        };
        let rooms_new = config.auto_join.iter().filter(is_new);
        let rooms_new = rooms_new.map(|room| Ok(SubscribeRoom::to(room.clone()))).collect::<Vec<_>>();
        let mut requests = self.going_on(of_before, &positions);
        requests.extend(rooms_new);
        self.join(client, wire, requests, out);
    }

    /// The positions in the string of a client that was in so many rooms, as far as is known. None in one that is longer than any
    /// that it was told.
    fn read_positions(&self, offset: &str, rooms: usize) -> Vec<Position> {
        let most = POSITION_BYTES * rooms.max(self.client_limits().rooms);
        let offset = if offset.len() > most { "" } else { offset };
        offset.split(',').filter_map(|text| text.parse().ok()).collect()
    }

    /// The rooms that one was in who has come back, each after the last event that it had there.
    fn going_on(
        &mut self,
        rooms: Vec<RememberedRoom>,
        positions: &[Position],
    ) -> Vec<Result<SubscribeRoom, MessageError>> {
        let mut requests = Vec::with_capacity(rooms.len());
        for RememberedRoom { room, filter, every, snapshot, began, with_snapshot } in rooms {
            let condition = filter.map(|filter| filter.condition().clone());
            let epoch = self.epoch_of(&room);
            let from = start_of(positions, began, with_snapshot, epoch);
            requests.push(Ok(SubscribeRoom { room: room.into(), from, condition, every, snapshot }));
        }
        requests
    }

    fn disconnect(&mut self, client: u32, name: &str) {
        let number = self.clients[client as usize].number;
        let Some(state) = self.clients[client as usize].socketio_mut() else { return };
        state.sockets.disconnected(name);
        let Some(index) = state.places.iter().position(|place| place.namespace.as_str() == name) else {
            return;
        };
        let Connected { namespace, pid, .. } = state.places.remove(index);
        if let Some(pid) = pid {
            self.parts.recovery.forget(&pid, number);
        }
        let of_namespace = |shard: &Shard, view: u32| match shard.views[view as usize].wire {
            Wire::SocketIo(wire) => wire.namespace() == namespace,
            _ => false,
        };
        for index in (0..self.clients[client as usize].subscriptions.len()).rev() {
            if of_namespace(self, self.clients[client as usize].subscriptions[index].view) {
                self.remove_member(client, index as u32);
            }
        }
    }

    /// A client's connection is gone: whether it may come back is for it to say.
    pub(super) fn leave_socketio(&mut self, client: u32) {
        let Some(state) = self.clients.get_mut(client as usize) else { return };
        let number = state.number;
        let Some(socketio) = state.socketio_mut() else { return };
        for pid in socketio.places.iter_mut().filter_map(|place| place.pid.take()) {
            self.parts.recovery.gone(&pid, number, self.now);
        }
        self.sessions.remove(&socketio.sid);
    }

    /// Tells a client in each of its namespaces that it is closed, and why. One that must not come back by itself is
    /// disconnected there, as the library at its end understands it.
    pub(super) fn push_closing_socketio(
        &mut self,
        client: u32,
        (code, reason, retry_after_ms): (u16, &str, Option<u64>),
        stays_away: bool,
        out: &mut Vec<u8>,
    ) {
        let number = self.clients[client as usize].number;
        let Some(state) = self.clients[client as usize].socketio_mut() else { return };
        for place in &mut state.places {
            let wire = Wire::SocketIo(place.wire().without_positions());
            crate::wire::push_closing(wire, out, code, reason, retry_after_ms);
            if stays_away {
                push_text(out, 0, |out| socketio::push_disconnect(out, place.namespace.as_str()));
                if let Some(pid) = place.pid.take() {
                    self.parts.recovery.forget(&pid, number);
                }
            }
        }
    }
}

/// Where a room begins of one that comes back: after the last event that it had, if it says so; where it began, if it has
/// had none since; and if the log has begun anew since, after what it was, which is told as a gap.
fn start_of(positions: &[Position], began: Position, with_snapshot: bool, epoch: Option<Epoch>) -> From {
    let own = positions.iter().find(|position| Some(position.epoch) == epoch);
    match own {
        // It may have had events before it began: it was in the room, and left it in between.
        Some(own) if own.epoch != began.epoch || own.offset >= began.offset => From::After(*own),
        _ if with_snapshot && Some(began.epoch) == epoch => From::Now,
        _ => From::After(began),
    }
}

/// Tells a client that it is connected. One that begins anew has a string of its last session, and says that until it has
/// another one: it is told that it is in no room yet. One that has come back needs what it has until its rooms are told.
fn push_established(out: &mut Vec<u8>, place: &Connected, rooms: &[Arc<RoomConfig>], is_back: bool) {
    let names: Vec<&str> = rooms.iter().take(ROOMS_TOLD).map(|room| room.name.source()).collect();
    let mut told = json!({ "socketId": &*place.sid, "timestamp": now_ms(), "availableRooms": names });
    if place.pid.is_some() {
        told["recovered"] = is_back.into();
    }
    let nowhere = (place.pid.is_some() && !is_back).then_some("");
    push_emit(out, place.namespace, OwnEvent::ConnectionEstablished, &told, nowhere);
}
