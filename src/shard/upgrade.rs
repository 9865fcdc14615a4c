//! A client that was served by polling gets a socket of its own (Engine.IO's upgrade).

use super::new_client::Upgraded;
use super::shard::Shard;
use super::socket::Socket;
use mio::Token;
use std::io::Read;

/// What may lie in a socket of the daemon's own that nobody has read, at the most: some times what a shard writes ahead.
const LEFT_BYTES: u64 = 16 << 20;

impl Shard {
    /// Serves a client over its own socket from now on. What is on its way through the socket that it had goes first, both
    /// ways, so that nothing is lost, doubled or out of order.
    pub(super) fn upgrade(&mut self, upgraded: Upgraded) {
        let Upgraded { sid, socket, early, unsent, polled } = upgraded;
        let Some(client) = self.sessions.remove(&sid) else { return };
        self.read_all(client);
        let limits = self.client_limits();
        let Some(state) = self.clients.get_mut(client as usize).filter(|state| !state.closing) else {
            return;
        };
        let socket = Socket::new(socket, &limits).and_then(|mut socket| {
            socket.register(self.parts.poll.registry(), Token(client as usize))?;
            Ok(socket)
        });
        let Ok(socket) = socket else { return self.gone(client, 1006) };
        let mut first = unsent;
        // Ends with the error that says that there is no more.
        let _ = polled.take(LEFT_BYTES).read_to_end(&mut first);
        state.socket = socket;
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
        if !early.is_empty() && self.clients.contains(client as usize) {
            self.received(client, &early);
        }
    }
}
