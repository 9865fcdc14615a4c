//! A client's life in a shard: taken over, read, answered, closed.

use super::client::{Client, UNSENT_BYTES};
use super::drain::retry_after_ms;
use super::inspect::ENDED_BY_OPERATOR;
use super::new_client::NewClient;
use super::shard::Shard;
use super::socket::{Sent, Socket};
use crate::alert::{Alert, Severity};
use crate::wire::{
    ClientMessage, ErrorCode, Incoming, MessageError, Wire, frame, parse_message, push_closing, push_error,
    push_pong, push_welcome,
};
use mio::Token;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reads of one client in one turn, so that one who floods does not keep the others waiting.
const READS: usize = 4;
/// Messages in a row that are nonsense before a client is closed with 1008.
const MISTAKES: u8 = 16;
/// What clients are answered on: nobody else can ask.
const WS: Wire = Wire::WebSocket;
/// How long a client that was sent a close frame may take to answer it.
const CLOSING: Duration = Duration::from_secs(5);

impl Shard {
    /// Takes a connection over, greets it, and subscribes it to the rooms that its request named.
    pub(super) fn adopt(&mut self, new: NewClient) {
        let limits = self.client_limits();
        let NewClient { socket, wire, head, early, mut rooms, positions, permit, forwarded, socketio } = new;
        let key = self.clients.vacant_key();
        let socket = Socket::new(socket, &limits).and_then(|mut socket| {
            socket.register(self.parts.poll.registry(), Token(key))?;
            Ok(socket)
        });
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%error, "a connection was lost before it was served");
                return;
            }
        };
        let number = self.parts.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        self.clients.insert(Client::new(
            (socket, wire),
            permit,
            number,
            forwarded,
            &limits,
            self.elapsed_ms(),
        ));
        self.count_clients();
        let (client, is_socketio) = (key as u32, socketio.is_some());
        if let Some(socketio) = socketio {
            self.adopt_socketio(client, *socketio);
        }
        self.stats.levels.clients[self.clients[key].transport() as usize] += 1;
        self.parts.metrics.clients_opened.increment(1);
        // A client that reads its welcome is counted.
        self.stats.publish(&self.parts.metrics);
        self.tell_of_client("client_connected", number, None);
        let (begin, mut out) = (head.len(), head);
        if !is_socketio {
            out.reserve(256);
            wire.push_retry(&mut out, retry_after_ms(number));
            push_welcome(wire, &mut out, &format!("{number:x}"), self.heartbeat.as_millis() as u64);
        }
        if !rooms.is_empty() {
            self.resume(&mut rooms, &positions);
            self.subscribe(client, None, rooms.into_iter().map(Ok).collect(), &mut out);
        }
        wire.transfer().enclose(&mut out, begin);
        self.write(client, &out);
        if !early.is_empty() && self.clients.contains(key) {
            self.received(client, &early);
        }
        self.end_if_alone(client);
        self.end_if_late(client);
    }

    /// Closes a client that is in no room and cannot subscribe to one.
    pub(super) fn end_if_alone(&mut self, client: u32) {
        let is_alone = |state: &Client| !state.wire.is_two_way() && state.subscriptions.is_empty();
        if self.clients.get(client as usize).is_some_and(is_alone) {
            self.close(client, 1000, "no room is left", None);
        }
    }

    /// Reads what has arrived. Whether there was anything.
    pub(super) fn readable(&mut self, client: u32) -> bool {
        let mut any = false;
        let mut buffer = std::mem::take(&mut self.read_buffer);
        for turn in 0.. {
            let Some(state) = self.clients.get_mut(client as usize) else { break };
            if state.pinned_bytes() > UNSENT_BYTES && !state.closing {
                // It does not read our answers: its messages wait in the kernel until it does.
                state.unread = true;
                break;
            }
            if turn == READS {
                self.unread.push(client);
                break;
            }
            match state.socket.read(&mut buffer) {
                Ok(0) => self.gone(client, 1006),
                Ok(len) => {
                    state.silent_beats = 0;
                    any = true;
                    self.received(client, &buffer[..len]);
                    // At an edge, a short read says that there is no more (epoll(7)); a hang-up is an edge of its own.
                    if len < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.gone(client, 1006),
            }
        }
        self.read_buffer = buffer;
        any
    }

    /// Reads everything that has arrived, however much it is.
    pub(super) fn read_all(&mut self, client: u32) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        while let Some(state) = self.clients.get_mut(client as usize) {
            match state.socket.read(&mut buffer) {
                Ok(len) if len > 0 => self.received(client, &buffer[..len]),
                _ => break,
            }
        }
        self.read_buffer = buffer;
    }

    pub(super) fn received(&mut self, client: u32, bytes: &[u8]) {
        let state = &mut self.clients[client as usize];
        if !state.wire.is_two_way() {
            // It has asked all it may.
            return;
        }
        let mut partial = state.take_partial();
        let number = state.number;
        let most = self.client_limits().message_size;
        let mut reader = self.reader.take().expect("the reader is put back after every use");
        let mut out = Vec::new();
        let result = reader.feed(&mut partial, bytes, most, |incoming| {
            self.incoming(client, incoming, &mut out);
            self.clients.get(client as usize).is_some_and(|state| state.number == number && !state.closing)
        });
        self.reader = Some(reader);
        let Some(state) = self.clients.get_mut(client as usize).filter(|state| state.number == number) else {
            return;
        };
        state.keep_partial(partial);
        self.answer(client, &out);
        if let (Err(error), true) = (result, self.clients.contains(client as usize)) {
            self.close(client, error.code, error.reason, None);
        }
    }

    fn incoming(&mut self, client: u32, incoming: Incoming<'_>, out: &mut Vec<u8>) {
        if self.clients[client as usize].closing {
            if matches!(incoming, Incoming::Close(..)) {
                self.gone(client, 1000);
            }
            return;
        }
        match incoming {
            Incoming::Text(text) if self.is_socketio(client) => self.socketio_text(client, text, out),
            Incoming::Binary(data) if self.is_socketio(client) => self.socketio_binary(client, data, out),
            Incoming::Text(text) => self.text(client, text, out),
            Incoming::Binary(_) => {
                let message = "only text messages are understood".to_owned();
                let hint = Some("send JSON in a text frame".to_owned());
                self.mistake(client, &MessageError::new(ErrorCode::Binary, message, hint), out);
                self.end_blunderer(client, out);
            }
            Incoming::Ping(payload) if self.may_send(client) => {
                frame::push_control(out, frame::PONG, payload);
            }
            Incoming::Ping(_) => self.stats.rate_limited += 1,
            Incoming::Pong(_) => {}
            Incoming::Close(code, _) => {
                self.answer(client, out);
                out.clear();
                if self.clients.contains(client as usize) {
                    self.end(client, code, None);
                }
            }
        }
    }

    fn is_socketio(&self, client: u32) -> bool {
        matches!(self.clients[client as usize].wire, Wire::SocketIo(_))
    }

    fn text(&mut self, client: u32, text: &str, out: &mut Vec<u8>) {
        match parse_message(text) {
            Ok(ClientMessage::Subscribe { id, mut rooms }) => {
                match self.charge(client, &mut rooms, |room| &room.room) {
                    Ok(()) => {
                        self.judge(client, &rooms);
                        self.subscribe(client, id.as_deref(), rooms, out);
                    }
                    Err(error) => push_error(WS, out, &MessageError { id, ..error }),
                }
            }
            Ok(ClientMessage::Unsubscribe { id, mut rooms }) => {
                match self.charge(client, &mut rooms, String::as_str) {
                    Ok(()) => {
                        self.judge(client, &rooms);
                        self.unsubscribe(client, id.as_deref(), &rooms, out);
                    }
                    Err(error) => push_error(WS, out, &MessageError { id, ..error }),
                }
            }
            Ok(ClientMessage::Ping { id }) => match self.charge_message(client) {
                Ok(()) => {
                    self.clients[client as usize].mistakes = 0;
                    push_pong(WS, out, id.as_deref());
                }
                Err(error) => push_error(WS, out, &MessageError { id, ..error }),
            },
            Err(error) => self.mistake(client, &error, out),
        }
        self.end_blunderer(client, out);
    }

    /// Closes a client that sends nothing but what cannot be carried out.
    pub(super) fn end_blunderer(&mut self, client: u32, out: &mut Vec<u8>) {
        if self.clients.get(client as usize).is_some_and(|state| state.mistakes >= MISTAKES) {
            self.answer(client, out);
            out.clear();
            if self.clients.contains(client as usize) {
                self.close(client, 1008, "too many messages in a row that could not be carried out", None);
            }
        }
    }

    /// Counts a message none of whose elements names a room as one that cannot be carried out.
    fn judge<T>(&mut self, client: u32, rooms: &[Result<T, MessageError>]) {
        let is_nonsense =
            |room: &Result<T, MessageError>| matches!(room, Err(error) if error.index.is_some());
        if rooms.iter().all(is_nonsense) {
            self.blunder(client);
        } else {
            self.clients[client as usize].mistakes = 0;
        }
    }

    /// Counts a message that could not be carried out.
    pub(super) fn blunder(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        state.mistakes = state.mistakes.saturating_add(1);
    }

    pub(super) fn may_send(&mut self, client: u32) -> bool {
        let (rate, now_ms) = (self.client_limits().messages, self.elapsed_ms());
        self.clients[client as usize].messages.take(1, rate, now_ms)
    }

    /// Takes what a message costs, or says when there is enough again.
    pub(super) fn charge_message(&mut self, client: u32) -> Result<(), MessageError> {
        if self.may_send(client) {
            return Ok(());
        }
        self.stats.rate_limited += 1;
        let (rate, now_ms) = (self.client_limits().messages, self.elapsed_ms());
        let wait_ms = self.clients[client as usize].messages.wait_ms(1, rate, now_ms);
        Err(too_fast("limits.client.messages", wait_ms))
    }

    /// Takes what changes of subscriptions cost, one of `limits.client.subscriptions` for each room. What is over it is refused
    /// by itself and told when to come again. That costs a message where it is several rooms: with none left, the whole
    /// message is refused.
    pub(super) fn charge<T>(
        &mut self,
        client: u32,
        rooms: &mut [Result<T, MessageError>],
        name: impl Fn(&T) -> &str,
    ) -> Result<(), MessageError> {
        if rooms.is_empty() {
            return self.charge_message(client);
        }
        let (rate, now_ms) = (self.client_limits().subscriptions, self.elapsed_ms());
        let granted = self.clients[client as usize].changes.take_some(rooms.len() as u32, rate, now_ms);
        let over = &mut rooms[granted as usize..];
        if over.len() > 1 {
            self.charge_message(client)?;
        }
        self.stats.rate_limited += u64::from(!over.is_empty());
        for (count, room) in (1..).zip(over) {
            // More than the burst is never granted at once, however long the client waits.
            let count = rate.burst.min(count);
            let wait_ms = self.clients[client as usize].changes.wait_ms(count, rate, now_ms);
            if let Ok(asked) = room {
                let error = too_fast("limits.client.subscriptions", wait_ms);
                *room = Err(MessageError { room: Some(name(asked).to_owned()), ..error });
            }
        }
        Ok(())
    }

    /// Answers a message that could not be carried out; only that it comes too fast, where it does.
    fn mistake(&mut self, client: u32, error: &MessageError, out: &mut Vec<u8>) {
        match self.charge_message(client) {
            Ok(()) => push_error(WS, out, error),
            Err(too_fast) => push_error(WS, out, &MessageError { id: error.id.clone(), ..too_fast }),
        }
        self.blunder(client);
    }

    /// Sends messages that are this client's alone, before anything else that comes after.
    pub(super) fn answer(&mut self, client: u32, messages: &[u8]) {
        let transfer = self.clients.get(client as usize).map(|state| state.wire.transfer());
        match transfer.map(|transfer| (transfer, transfer.overhead(messages.len()))) {
            None => {}
            Some((_, 0)) => self.write(client, messages),
            Some((transfer, overhead)) => {
                let mut enclosed = Vec::with_capacity(messages.len() + overhead);
                enclosed.extend_from_slice(messages);
                transfer.enclose(&mut enclosed, 0);
                self.write(client, &enclosed);
            }
        }
    }

    /// As [`answer`](Self::answer), of bytes as they go out.
    fn write(&mut self, client: u32, bytes: &[u8]) {
        let Some(state) = self.clients.get(client as usize) else { return };
        if bytes.is_empty() {
            return;
        }
        let sent = if state.blocked {
            0
        } else {
            self.stats.sends += 1;
            match state.socket.send(bytes) {
                Sent::Bytes(sent) => sent,
                Sent::Gone => return self.gone(client, 1006),
            }
        };
        if sent < bytes.len() {
            self.cut(client, &bytes[sent..]);
        } else {
            self.promote(client);
        }
    }

    /// A socket may take something again.
    pub(super) fn drained(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        if !state.blocked {
            return;
        }
        if let Some(extra) = &mut state.extra {
            let unsent = &extra.unsent[extra.unsent_start..];
            let Sent::Bytes(sent) = state.socket.send(unsent) else { return self.gone(client, 1006) };
            self.stats.levels.pinned_bytes -= sent as i64;
            extra.unsent_start += sent;
            let all = sent == unsent.len();
            if all {
                extra.unsent = Vec::new();
                extra.unsent_start = 0;
            }
            if sent > 0 {
                state.progressed(self.now.duration_since(self.started).as_millis() as u64);
            }
            if !all {
                return;
            }
        }
        state.blocked = false;
        self.stats.levels.blocked -= 1;
        if state.closing {
            state.socket.finish();
            return;
        }
        if std::mem::take(&mut state.unread) {
            self.unread.push(client);
        }
        self.promote(client);
    }

    /// Closes a client: tells it why, in a message and in the close frame, and waits a little for its answer.
    pub(super) fn close(&mut self, client: u32, code: u16, reason: &str, retry_after_ms: Option<u64>) {
        if self.clients[client as usize].closing {
            return;
        }
        let mut out = Vec::new();
        if self.is_socketio(client) {
            let stays_away = matches!(code, 1008 | ENDED_BY_OPERATOR);
            self.push_closing_socketio(client, (code, reason, retry_after_ms), stays_away, &mut out);
        } else {
            push_closing(self.clients[client as usize].wire, &mut out, code, reason, retry_after_ms);
        }
        self.answer(client, &out);
        if self.clients.contains(client as usize) {
            self.end(client, code, Some(reason));
        }
    }

    /// Sends a close frame, or what ends an answer, unless the connection is closing already.
    pub(super) fn end(&mut self, client: u32, code: u16, reason: Option<&str>) {
        let state = &mut self.clients[client as usize];
        if state.closing {
            return;
        }
        self.leave_rooms(client);
        let mut out = Vec::new();
        // 1005 stands for a close frame without a code, and is not sent (RFC 6455 §7.4.1).
        let wire = self.clients[client as usize].wire;
        if !wire.is_two_way() {
            // The end of the answer is all there is to say.
            out.extend_from_slice(wire.transfer().last());
        } else if code == 1005 {
            frame::push_control(&mut out, frame::CLOSE, b"");
        } else {
            frame::push_close(&mut out, code, reason.unwrap_or_default());
        }
        self.write(client, &out);
        let Some(state) = self.clients.get_mut(client as usize) else { return };
        state.closing = true;
        self.parts.metrics.closed(code);
        if !state.blocked {
            state.socket.finish();
        }
        let number = state.number;
        self.closing.push_back((self.now + CLOSING, client, number));
    }

    /// Forgets a client whose connection is gone. `code` is counted unless it was closed before.
    pub(super) fn gone(&mut self, client: u32, code: u16) {
        self.leave_socketio(client);
        self.leave_rooms(client);
        let state = self.clients.remove(client as usize);
        if !state.closing {
            self.parts.metrics.closed(code);
        }
        let (number, close_code) = (state.number, (!state.closing).then_some(code));
        self.stats.levels.pinned_bytes -= state.pinned_bytes() as i64;
        self.stats.levels.blocked -= i64::from(state.blocked);
        self.stats.levels.clients[state.transport() as usize] -= 1;
        // Its place is free before anybody can read that it is gone.
        drop(state);
        self.count_clients();
        self.stats.publish(&self.parts.metrics);
        self.tell_of_client("client_gone", number, close_code);
    }

    /// Tells of a client that came or went, if that is wanted.
    fn tell_of_client(&self, event: &'static str, number: u64, close_code: Option<u16>) {
        if !self.tells_clients {
            return;
        }
        let what = if event == "client_connected" { "has connected" } else { "is gone" };
        let mut details =
            json!({ "client": format!("{number:x}"), "clients": self.parts.metrics.clients_now() });
        if let Some(close_code) = close_code {
            details["close_code"] = close_code.into();
        }
        let message = format!("client {number:x} {what}");
        self.parts.alerts.client(Alert { code: event, severity: Severity::Info, message, details });
    }

    fn leave_rooms(&mut self, client: u32) {
        while !self.clients[client as usize].subscriptions.is_empty() {
            let last = self.clients[client as usize].subscriptions.len() as u32 - 1;
            self.remove_member(client, last);
        }
    }

    /// Forgets clients that did not answer a close frame in time.
    pub(super) fn end_closing(&mut self) {
        while let Some((until, client, number)) = self.closing.front().copied() {
            let still = self.clients.get(client as usize).is_some_and(|state| state.number == number);
            if still && self.now < until {
                return;
            }
            self.closing.pop_front();
            if still {
                self.gone(client, 1006);
            }
        }
    }
}

fn too_fast(limit: &str, wait_ms: u64) -> MessageError {
    let message = format!("too fast: {limit} is reached, and this was not carried out");
    let hint = Some(format!("send it again after {wait_ms} ms"));
    MessageError { retry_after_ms: Some(wait_ms), ..MessageError::new(ErrorCode::RateLimited, message, hint) }
}
