//! What clients of Socket.IO may emit, in the words of the service that broadcastd replaces: `subscribe`, `unsubscribe` and
//! `ping`. docs/socketio.md is the reference.

use super::recovery::RememberedRoom;
use super::shard::Shard;
use crate::config::{Namespace, OwnEvent, UnknownEmit};
use crate::event::Filter;
use crate::pattern::Condition;
use crate::socketio::{self, Emitted};
use crate::time::now_ms;
use crate::wire::{
    ErrorCode, From, MessageError, Position, SocketIo, SubscribeRoom, Wire, frame::push_text, parse_join,
    parse_leave,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Appends an event of the service with one argument, and the positions that it leads to where these are told: the client keeps
/// the last string that an event ended with, and says it when it comes back.
pub(super) fn push_emit(
    out: &mut Vec<u8>,
    namespace: Namespace,
    event: OwnEvent,
    argument: &Value,
    positions: Option<&str>,
) {
    let array = match positions {
        Some(positions) => json!([event.as_str(), argument, positions]),
        None => json!([event.as_str(), argument]),
    };
    push_text(out, 0, |out| {
        socketio::push_event(out, namespace.as_str(), None, 0, |out| {
            out.extend_from_slice(array.to_string().as_bytes());
        });
    });
}

impl Shard {
    /// Carries out an event that a client has emitted.
    pub(super) fn emitted(&mut self, client: u32, emitted: Emitted, out: &mut Vec<u8>) {
        let generation = self.parts.rooms.generation();
        let config = &generation.config.socketio;
        let place = self.clients[client as usize].socketio_mut().and_then(|state| {
            let place = state.places.iter().find(|place| place.namespace.as_str() == &*emitted.namespace);
            place.map(super::socketio::Connected::wire)
        });
        let Some(wire) = place else { return };
        let Emitted { ack, name, args, .. } = emitted;
        let answer = if name == config.join {
            self.asked_to_join(client, wire, &args, out)
        } else if name == config.leave {
            self.asked_to_leave(client, wire, &args, out)
        } else if let Err(error) = self.charge_message(client) {
            push_told(out, wire, OwnEvent::Error, &error)
        } else if name == "ping" {
            self.clients[client as usize].mistakes = 0;
            let answer = json!({ "timestamp": now_ms() });
            push_emit(out, wire.namespace(), OwnEvent::Pong, &answer, None);
            answer
        } else if config.unknown_emit == UnknownEmit::Ignore {
            self.stats.ignored_emits += 1;
            return;
        } else {
            let shown: String = name.chars().take(40).collect();
            let message =
                format!("nothing is done about {shown:?}: events flow from the daemon to its clients");
            let hint = format!(
                "emit {:?} or {:?}, or post events to the ingest listener",
                config.join, config.leave
            );
            self.blunder(client);
            let error = MessageError::new(ErrorCode::UnknownType, message, Some(hint));
            push_told(out, wire, OwnEvent::Error, &error)
        };
        push_answer(out, wire, ack, &answer);
        self.end_blunderer(client, out);
    }

    fn asked_to_join(
        &mut self,
        client: u32,
        wire: SocketIo,
        args: &[Box<RawValue>],
        out: &mut Vec<u8>,
    ) -> Value {
        match parse_join(args) {
            Ok(mut join) => match self.charge(client, &mut join.rooms, |room| &room.room) {
                Ok(()) => self.join(client, wire, join.narrowed(), out),
                Err(error) => push_told(out, wire, OwnEvent::SubscriptionError, &error),
            },
            Err(error) => self.complain(client, wire, OwnEvent::SubscriptionError, &error, out),
        }
    }

    fn asked_to_leave(
        &mut self,
        client: u32,
        wire: SocketIo,
        args: &[Box<RawValue>],
        out: &mut Vec<u8>,
    ) -> Value {
        match parse_leave(args) {
            Ok(mut rooms) => match self.charge(client, &mut rooms, String::as_str) {
                Ok(()) => self.leave(client, wire, rooms, out),
                Err(error) => push_told(out, wire, OwnEvent::Error, &error),
            },
            Err(error) => self.complain(client, wire, OwnEvent::Error, &error, out),
        }
    }

    /// Subscribes a client to rooms and tells it so, each room for itself. Returns what an acknowledgement says.
    pub(super) fn join(
        &mut self,
        client: u32,
        wire: SocketIo,
        rooms: Vec<Result<SubscribeRoom, MessageError>>,
        out: &mut Vec<u8>,
    ) -> Value {
        let (mut names, mut errors, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        for room in rooms {
            match room.and_then(|room| self.join_room(client, wire, room, &mut gaps)) {
                Ok(name) => names.push(name),
                Err(error) => {
                    self.forget_refused(client, wire, &error);
                    errors.push(error);
                }
            }
        }
        if names.is_empty() && errors.is_empty() {
            return Value::Null;
        }
        let answer = json!({ "subscriptions": names, "timestamp": now_ms() });
        let is_in_one = !names.is_empty();
        if is_in_one {
            let positions = self.positions_in(client, wire);
            push_emit(out, wire.namespace(), OwnEvent::SubscriptionConfirmed, &answer, positions.as_deref());
        }
        let answer =
            self.acknowledge(client, wire, (answer, is_in_one), OwnEvent::SubscriptionError, &errors, out);
        out.extend_from_slice(&gaps);
        answer
    }

    /// Unsubscribes a client from rooms and tells it so, each room for itself. Returns what an acknowledgement says.
    fn leave(
        &mut self,
        client: u32,
        wire: SocketIo,
        rooms: Vec<Result<String, MessageError>>,
        out: &mut Vec<u8>,
    ) -> Value {
        let (mut names, mut errors) = (Vec::new(), Vec::new());
        for room in rooms {
            match room {
                Ok(room) => {
                    self.leave_named(client, wire, &room);
                    names.push(room);
                }
                Err(error) => errors.push(error),
            }
        }
        let answer = json!({ "unsubscribed": names, "timestamp": now_ms() });
        let has_left = !names.is_empty() || errors.is_empty();
        if has_left {
            let positions = self.positions_in(client, wire);
            push_emit(
                out,
                wire.namespace(),
                OwnEvent::UnsubscriptionConfirmed,
                &answer,
                positions.as_deref(),
            );
        }
        self.acknowledge(client, wire, (answer, has_left), OwnEvent::Error, &errors, out)
    }

    /// Tells a client of what was refused beside what was carried out, if anything was. Returns what an acknowledgement says.
    /// A client that is merely too fast makes no mistake.
    fn acknowledge(
        &mut self,
        client: u32,
        wire: SocketIo,
        (mut answer, is_carried_out): (Value, bool),
        event: OwnEvent,
        errors: &[MessageError],
        out: &mut Vec<u8>,
    ) -> Value {
        if is_carried_out {
            self.clients[client as usize].mistakes = 0;
        } else if errors.iter().any(|error| error.code != ErrorCode::RateLimited) {
            self.blunder(client);
        }
        let mut told: Vec<Value> = errors.iter().map(|error| push_told(out, wire, event, error)).collect();
        match told.len() {
            0 => answer,
            _ if !is_carried_out => told.swap_remove(0),
            _ => {
                answer["errors"] = told.into();
                answer
            }
        }
    }

    /// A client that has come back and is told that it is not in a room does not find itself there the next time. One that is
    /// in the room stays there, whatever else it asked for.
    fn forget_refused(&mut self, client: u32, wire: SocketIo, error: &MessageError) {
        if let Some(room) = &error.room
            && self.find_subscription(client, room, Wire::SocketIo(wire)).is_none()
        {
            self.forget_room(client, wire.namespace(), room);
        }
    }

    /// A room that the client is in already is joined again without effect, as in a server of Socket.IO; with another filter
    /// or pace it goes on where it was, unless it asks for a snapshot.
    fn join_room(
        &mut self,
        client: u32,
        wire: SocketIo,
        mut request: SubscribeRoom,
        gaps: &mut Vec<u8>,
    ) -> Result<String, MessageError> {
        let way = Wire::SocketIo(wire);
        let mut goes_on = false;
        let existing = self.find_subscription(client, &request.room, way);
        if let Some(index) = existing.filter(|_| request.from == From::Now) {
            let subscription = &self.clients[client as usize].subscriptions[index as usize];
            let view = &self.views[subscription.view as usize];
            let is_same = view.filter().map(Filter::source)
                == request.condition.as_ref().map(Condition::source)
                && view.every().map(super::every::Every::every) == request.every;
            if is_same && request.snapshot.is_none() {
                return Ok(request.room);
            }
            // Whoever asks for a snapshot begins anew with it, as in the native protocol.
            if subscription.snapshot_to == 0 && request.snapshot != Some(true) {
                let offset =
                    if subscription.live { self.live_position(subscription) } else { subscription.position };
                let epoch = self.seats[view.seat as usize].room.epoch();
                request.from = From::After(Position { epoch, offset });
                goes_on = true;
            }
        } else if request.from == From::Now
            && request.snapshot != Some(true)
            && let Some(position) = self.brought_to(client, wire.namespace(), &request.room)
        {
            request.from = From::After(position);
        }
        let (every, snapshot) = (request.every, request.snapshot);
        let subscribed = self.subscribe_room(client, way, request)?;
        // Not told as a position of its own: the client's is what it has with its last event, of all rooms together.
        self.push_began_anew(way.without_positions(), &subscribed, gaps);
        let (began, with_snapshot) = subscribed.began();
        self.use_up(client, wire.namespace(), began.epoch);
        let state = self.clients[client as usize].socketio_mut();
        let pid = state.and_then(|state| state.place(wire.namespace())).and_then(|place| place.pid.clone());
        let name = subscribed.into_name();
        if let Some(pid) = pid {
            let number = self.clients[client as usize].number;
            let room = name.as_str().into();
            let filter = self.find_subscription(client, &name, way).and_then(|index| {
                let subscription = &self.clients[client as usize].subscriptions[index as usize];
                self.views[subscription.view as usize].shape.as_ref()?.filter.clone()
            });
            let room = RememberedRoom { room, filter, every, snapshot, began, with_snapshot };
            self.parts.recovery.joined(&pid, number, room, goes_on);
        }
        Ok(name)
    }

    fn leave_named(&mut self, client: u32, wire: SocketIo, room: &str) {
        if let Some(index) = self.find_subscription(client, room, Wire::SocketIo(wire)) {
            self.remove_member(client, index);
            self.forget_room(client, wire.namespace(), room);
            self.left_brought(client, wire.namespace(), room);
        }
    }

    /// A client that comes back does not come back to this room.
    pub(super) fn forget_room(&mut self, client: u32, namespace: Namespace, room: &str) {
        let state = &mut self.clients[client as usize];
        let number = state.number;
        let place = state.socketio_mut().and_then(|state| state.place(namespace));
        if let Some(pid) = place.and_then(|place| place.pid.as_ref()) {
            self.parts.recovery.left(pid, number, room);
        }
    }

    /// Tells a client that a room is gone.
    pub(super) fn push_room_closed(
        &mut self,
        client: u32,
        namespace: Namespace,
        room_json: &[u8],
        out: &mut Vec<u8>,
    ) {
        let room: Value = serde_json::from_slice(room_json).unwrap_or_default();
        self.forget_room(client, namespace, room.as_str().unwrap_or_default());
        let told = json!({ "unsubscribed": [room], "timestamp": now_ms(), "reason": "room_closed" });
        push_emit(out, namespace, OwnEvent::UnsubscriptionConfirmed, &told, None);
    }

    /// Answers what could not be carried out; only that it comes too fast, where it does.
    fn complain(
        &mut self,
        client: u32,
        wire: SocketIo,
        event: OwnEvent,
        error: &MessageError,
        out: &mut Vec<u8>,
    ) -> Value {
        self.blunder(client);
        match self.charge_message(client) {
            Ok(()) => push_told(out, wire, event, error),
            Err(too_fast) => push_told(out, wire, event, &too_fast),
        }
    }
}

/// Appends an error as clients have it, and returns it.
fn push_told(out: &mut Vec<u8>, wire: SocketIo, event: OwnEvent, error: &MessageError) -> Value {
    let told = told(error);
    push_emit(out, wire.namespace(), event, &told, None);
    told
}

fn push_answer(out: &mut Vec<u8>, wire: SocketIo, ack: Option<u64>, answer: &Value) {
    let Some(ack) = ack else { return };
    push_text(out, 0, |out| {
        socketio::push_ack(out, wire.namespace().as_str(), ack, 0, |out| {
            out.extend_from_slice(json!([answer]).to_string().as_bytes());
        });
    });
}

/// An error as clients have it.
fn told(error: &MessageError) -> Value {
    let mut told = json!({
        "error": error.message,
        "code": error.code.as_str(),
        "timestamp": now_ms(),
    });
    if let Some(room) = &error.room {
        told["room"] = room.as_str().into();
    }
    if let Some(index) = error.index {
        told["index"] = index.into();
    }
    if let Some(hint) = &error.hint {
        told["hint"] = hint.as_str().into();
    }
    if let Some(retry_after_ms) = error.retry_after_ms {
        told["retry_after"] = retry_after_ms.into();
    }
    told
}
