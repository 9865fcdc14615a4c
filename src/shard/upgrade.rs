//! A client that was served by polling gets a socket of its own (Engine.IO's upgrade).

use super::new_client::Upgraded;
use super::shard::Shard;
use super::socket::Socket;
use crate::wire::frame::push_close;
use mio::Token;
use std::io::{self, Read};

/// What may lie in a socket of the daemon's own that nobody has read, at the most: some times what a shard writes ahead.
const LEFT_BYTES: u64 = 16 << 20;

impl Shard {
    /// Serves a client over its own socket from now on. What is on its way through the socket that it had goes first, both
    /// ways, so that nothing is lost, doubled or out of order.
    pub(super) fn upgrade(&mut self, upgraded: Upgraded) {
        let Upgraded { sid, socket, early, unsent, polled } = upgraded;
        let client = self.sessions.remove(&sid);
        if let Some(client) = client {
            self.read_all(client);
        }
        let socket = Socket::new(socket, &self.client_limits());
        let Some((client, state)) =
            client.and_then(|client| Some((client, self.clients.get_mut(client as usize)?)))
        else {
            // Its session has ended since it asked for this.
            return say_over(socket);
        };
        let is_closing = state.closing;
        let socket = socket.and_then(|mut socket| {
            socket.register(self.parts.poll.registry(), Token(client as usize))?;
            Ok(socket)
        });
        let Ok(socket) = socket else { return self.gone(client, 1006) };
        let mut first = unsent;
        // Ends with the error that says that there is no more.
        let _ = polled.take(LEFT_BYTES).read_to_end(&mut first);
        state.socket = socket;
        let clients = &mut self.stats.levels.clients;
        clients[state.transport() as usize] -= 1;
        clients[state.wire.transport() as usize] += 1;
        self.stats.levels.pinned_bytes -= state.pinned_bytes() as i64;
        if let Some(extra) = &mut state.extra {
            first.extend_from_slice(&std::mem::take(&mut extra.unsent)[extra.unsent_start..]);
            extra.unsent_start = 0;
            if let Some(socketio) = &mut extra.socketio {
                socketio.session = None;
            }
        }
        if std::mem::take(&mut state.blocked) {
            self.stats.levels.blocked -= 1;
        }
        self.answer(client, &first);
        if self.clients.contains(client as usize) {
            self.promote(client);
        }
        // One that is being closed has been told so with the rest.
        if let Some(state) = self.clients.get(client as usize).filter(|state| is_closing && !state.blocked) {
            state.socket.finish();
        }
        if !early.is_empty() && self.clients.contains(client as usize) {
            self.received(client, &early);
        }
    }
}

/// Closes a socket whose session is over, as far as it takes a few bytes at once.
fn say_over(socket: io::Result<Socket>) {
    let Ok(socket) = socket else { return };
    let mut out = Vec::new();
    push_close(&mut out, 1000, "the session is over");
    socket.send(&out);
    socket.finish();
}
