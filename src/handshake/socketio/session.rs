//! A session that is served by polling: this side of the socket that its shard has as the client's.
//!
//! What the shard sends waits in the socket until a request asks for it, and what requests bring is written into it. So a
//! client that polls too seldom is a blocked client like any other, and nothing is queued here but a frame's beginning.

use super::frames::{self, Frame};
use super::repeat::Mark;
use super::sessions::Sessions;
use crate::shard::{ClientSocket, Upgraded};
use crate::socketio::Payload;
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// Most of a payload, which may have one packet more than fits: what one answer holds in memory.
const PAYLOAD_BYTES: usize = 256 * 1024;
/// Read at once.
const READ_BYTES: usize = 64 * 1024;

/// The packet that ends a session.
pub(super) const CLOSE: &str = "1";
/// The packet that says nothing.
pub(super) const NOOP: &str = "6";

/// One session.
pub(super) struct Session {
    id: Box<str>,
    /// Which shard has its client; set before anybody can know the id.
    shard: OnceLock<usize>,
    socket: UnixStream,
    sessions: Weak<Sessions>,
    /// Held for a few statements and a read or write that does not wait.
    state: Mutex<State>,
    /// The state is not what it was.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What a request is answered that finds it over; none while it is not.
    ended: Option<&'static str>,
    /// No request finds it any more.
    is_forgotten: bool,
    /// The shard has closed it, and all that came before has been given away: the next poll is told.
    is_closed: bool,
    /// Requests that have the session now.
    polls: bool,
    posts: bool,
    probes: bool,
    /// The probe was answered: requests must end, so that the client can go over to its socket.
    is_probed: bool,
    /// What was read of the shard's bytes and not given away: less than a frame, but for a moment.
    read: Vec<u8>,
    /// The last request that was answered with something, and the last that brought something, where they are marked.
    answered: Option<Mark>,
    brought: Option<Mark>,
}

/// What a request does with a session. There is one of each kind at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Takes what there is (GET).
    Poll,
    /// Brings something (POST).
    Post,
    /// Speaks over a WebSocket.
    Probe,
}

/// Why a request does not get a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is over.
    Over,
    /// A request of this kind has it.
    Overlap,
    /// The request was answered before, and comes again: the answer is lost, and the session with it.
    Repeated,
}

/// A request's hold of a session. Dropped before [`done`](Self::done), which a request that is cut off does, a poll or
/// a post ends the session, since nobody knows what of it has arrived.
pub(in crate::handshake) struct Turn {
    session: Arc<Session>,
    kind: Kind,
    mark: Option<Mark>,
    is_done: bool,
}

impl Session {
    /// A session whose client's socket is the other end of `socket`.
    pub(super) fn new(id: Box<str>, socket: UnixStream, sessions: &Arc<Sessions>) -> Arc<Session> {
        let (sessions, state) = (Arc::downgrade(sessions), Mutex::default());
        Arc::new(Session { id, shard: OnceLock::new(), socket, sessions, state, changed: Notify::new() })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn set_shard(&self, shard: usize) {
        // Said once.
        let _ = self.shard.set(shard);
    }

    /// Begins a request. With two that poll or post at once the session is over: nobody could say in which order they are.
    pub(super) fn begin(self: &Arc<Self>, kind: Kind, mark: Option<Mark>) -> Result<Turn, Taken> {
        let mut state = self.state();
        if state.ended.is_some() || state.is_forgotten {
            return Err(Taken::Over);
        }
        if std::mem::replace(state.taken(kind), true) {
            drop(state);
            if kind != Kind::Probe {
                self.end(CLOSE);
            }
            return Err(Taken::Overlap);
        }
        let turn = Turn { session: Arc::clone(self), kind, mark, is_done: false };
        let is_repeated = kind == Kind::Poll && mark.is_some() && state.answered == mark;
        drop(state);
        // Whoever waits for one looks again.
        self.changed.notify_waiters();
        // A turn that is dropped ends the session.
        if is_repeated { Err(Taken::Repeated) } else { Ok(turn) }
    }

    #[cfg(test)]
    pub(super) fn is_taken(&self, kind: Kind) -> bool {
        *self.state().taken(kind)
    }

    #[cfg(test)]
    pub(super) fn has_read(&self, bytes: usize) -> bool {
        self.state().read.len() == bytes
    }

    /// Ends it. A request that waits for something is answered with `last`.
    pub(super) fn end(&self, last: &'static str) {
        let mut state = self.state();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(last);
        drop(state);
        // Its shard sees the end behind whatever was written. An error means that the shard was first.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        self.forget();
    }

    /// It was taken out of the table. Whoever waits looks again: what its shard has sent can still be read.
    pub(super) fn forgotten(&self) {
        self.state().is_forgotten = true;
        self.changed.notify_waiters();
    }

    fn forget(&self) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.remove(&self.id);
        }
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn taken(&mut self, kind: Kind) -> &mut bool {
        match kind {
            Kind::Poll => &mut self.polls,
            Kind::Post => &mut self.posts,
            Kind::Probe => &mut self.probes,
        }
    }
}

impl Turn {
    /// The request is answered.
    pub(super) fn done(mut self) {
        self.is_done = true;
        if self.kind == Kind::Poll {
            self.session.state().answered = self.mark;
        }
    }

    /// Whether a post of this body is the one that came last, once more.
    pub(super) fn is_repeated(&self, body: &str) -> bool {
        let mark = self.mark.map(|mark| mark.with(body));
        mark.is_some() && self.session.state().brought == mark
    }

    /// A post of this body was written.
    pub(super) fn brought(&self, body: &str) {
        self.session.state().brought = self.mark.map(|mark| mark.with(body));
    }

    /// Whether no request finds the session any more.
    pub(super) fn is_over(&self) -> bool {
        self.session.state().is_forgotten
    }

    pub(super) fn end_session(&self, last: &'static str) {
        self.session.end(last);
    }

    /// A poll: waits for the first packet, and takes whatever else is there, up to a bound. Cancel-safe, but for what a
    /// cancelled request means to the session.
    pub(super) async fn take(&self) -> Vec<u8> {
        let session = &*self.session;
        loop {
            let changed = session.changed.notified();
            if let Some(payload) = session.gather() {
                return payload.into_bytes();
            }
            tokio::select! {
                () = changed => {}
                // An error is seen by whoever reads next.
                _ = session.socket.readable() => {}
            }
        }
    }

    /// A post: writes frames as the socket takes them. On an error the session is over, or has been left in the middle of a
    /// frame and must be ended.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let session = &*self.session;
            let changed = session.changed.notified();
            if session.state().ended.is_some() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match session.socket.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::select! {
                    () = changed => {}
                    writable = session.socket.writable() => writable?,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns when a request polls, or the session is over. Cancel-safe.
    pub(super) async fn polled(&self) {
        loop {
            let changed = self.session.changed.notified();
            if self.session.is_polled_or_over() {
                return;
            }
            changed.await;
        }
    }

    /// A probe: from now on requests end at once.
    pub(super) fn set_probed(&self) {
        self.session.state().is_probed = true;
        self.session.changed.notify_waiters();
    }

    /// Returns when the session is over. Cancel-safe.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.session.changed.notified();
            if self.session.state().is_forgotten {
                return;
            }
            changed.await;
        }
    }

    /// A probe that has led to its end: the session polls no more, and what is on its way to the client goes over with
    /// it. Waits for a post to be written, as what that brings comes before what comes on the socket. None when the
    /// session is over.
    pub(super) async fn upgrade(
        self,
        socket: impl FnOnce() -> io::Result<ClientSocket>,
        early: Vec<u8>,
    ) -> Option<(usize, Upgraded)> {
        loop {
            let changed = self.session.changed.notified();
            if self.session.leave()? {
                break;
            }
            changed.await;
        }
        self.session.forget();
        let upgraded = socket().and_then(|socket| self.session.hand_over(socket, early));
        if let Err(error) = &upgraded {
            tracing::debug!(%error, "a session is lost with its upgrade");
            let _ = SockRef::from(&self.session.socket).shutdown(Shutdown::Both);
        }
        Some((*self.session.shard.get()?, upgraded.ok()?))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.session.state();
        *state.taken(self.kind) = false;
        if self.kind == Kind::Probe {
            state.is_probed = false;
        }
        drop(state);
        if self.kind != Kind::Probe && !self.is_done {
            self.session.end(CLOSE);
        }
        self.session.changed.notify_waiters();
    }
}

impl Session {
    fn is_polled_or_over(&self) -> bool {
        let state = self.state();
        state.polls || state.ended.is_some() || state.is_forgotten
    }

    /// Polls no more, unless a request still brings something: false. None when it is over already.
    fn leave(&self) -> Option<bool> {
        let mut state = self.state();
        if state.ended.is_some() || state.is_forgotten || state.is_closed {
            return None;
        }
        if !state.posts {
            state.ended = Some(NOOP);
        }
        Some(!state.posts)
    }

    /// This side of the socket goes to the shard, with what was read of it.
    fn hand_over(&self, socket: ClientSocket, early: Vec<u8>) -> io::Result<Upgraded> {
        // Requests that have just been answered may still hold the session; none of them reads or writes any more.
        let polled = self.socket.as_fd().try_clone_to_owned()?.into();
        let (sid, unsent) = (self.id.clone(), std::mem::take(&mut self.state().read));
        Ok(Upgraded { sid, socket, early, unsent, polled })
    }

    /// What there is for a request that polls; none if there is nothing yet.
    fn gather(&self) -> Option<Payload> {
        let mut state = self.state();
        let mut payload = Payload::default();
        if let Some(last) = state.ended {
            payload.push_text(last);
            return Some(payload);
        }
        if state.is_closed {
            drop(state);
            payload.push_text(CLOSE);
            self.end(CLOSE);
            return Some(payload);
        }
        if state.is_probed {
            payload.push_text(NOOP);
            return Some(payload);
        }
        let is_over = loop {
            if state.give(&mut payload) {
                break true;
            }
            if payload.len() >= PAYLOAD_BYTES {
                break false;
            }
            state.read.reserve(READ_BYTES);
            match self.socket.try_read_buf(&mut state.read) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        if state.read.is_empty() {
            state.read = Vec::new();
        }
        if is_over && !payload.is_empty() {
            // Not in one payload: socket.io-client takes messages up after the payload, and not at all if it closes.
            state.is_closed = true;
        } else if is_over {
            drop(state);
            payload.push_text(CLOSE);
            self.end(CLOSE);
        }
        (!payload.is_empty()).then_some(payload)
    }
}

impl State {
    /// Moves whole frames into a payload until it is full. Returns whether one of them ends the session.
    fn give(&mut self, payload: &mut Payload) -> bool {
        let mut given = 0;
        let mut is_over = false;
        while !is_over && payload.len() < PAYLOAD_BYTES {
            let Some((frame, len)) = frames::read(&self.read[given..]) else { break };
            given += len;
            match frame {
                Frame::Text(packet) => payload.push_text(packet),
                Frame::Binary(message) => payload.push_binary(message),
                Frame::Control => {}
                Frame::Close => is_over = true,
            }
        }
        self.read.drain(..given);
        is_over
    }
}
