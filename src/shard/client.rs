//! A client and its subscriptions, as a shard keeps them.

use super::gathered::Told;
use super::heartbeat::UNHEARD;
use super::socket::Socket;
use super::socketio::SocketIoClient;
use crate::config::ClientLimits;
use crate::limits::{Bucket, ClientPermit};
use crate::wire::{Partial, Transport, Wire};
use smallvec::SmallVec;
use std::net::IpAddr;

/// A connection. Ten thousand idle ones must cost little, so that what only some need is in [`Extra`].
pub(super) struct Client {
    pub(super) socket: Socket,
    pub(super) subscriptions: SmallVec<[Subscription; 1]>,
    pub(super) extra: Option<Box<Extra>>,
    /// How it is written to.
    pub(super) wire: Wire,
    /// Given back when the client is dropped.
    _permit: ClientPermit,
    /// The number that `welcome` told, unique in the daemon's life.
    pub(super) number: u64,
    /// What it may still send.
    pub(super) messages: Bucket,
    /// How many rooms it may still subscribe or unsubscribe.
    pub(super) changes: Bucket,
    /// When the socket last took something while the client was behind, in the shard's milliseconds, which wrap here
    /// after 49 days.
    progress_ms: u32,
    /// When it came, in the shard's seconds.
    pub(super) since_s: u32,
    /// Which subscription is served first when the client next catches up.
    pub(super) turn: u16,
    /// Heartbeats since the client last said anything, and [`UNHEARD`] more while it never has.
    pub(super) silent_beats: u8,
    /// Messages in a row that were nonsense.
    pub(super) mistakes: u8,
    /// The socket is full: nothing is sent until it drains.
    pub(super) blocked: bool,
    /// Whether the client is in the shard's queue of those who catch up.
    pub(super) queued: bool,
    /// A close frame was sent, or is in `unsent`: what arrives is thrown away.
    pub(super) closing: bool,
    /// It has had as much as it may for now: nothing is sent until its time comes.
    pub(super) paced: bool,
    /// The log has named it as one that reads too slowly.
    pub(super) named_slow: bool,
    /// Something may have arrived that was not read, since the client does not read our answers.
    pub(super) unread: bool,
}

/// What only a client has that sent something incomplete or much, or whose socket is full.
#[derive(Default)]
pub(super) struct Extra {
    /// A frame or message that has not arrived whole.
    pub(super) partial: Option<Box<Partial>>,
    /// What must be sent before anything else: the rest of a cut frame, answers. Bounded by one frame and
    /// [`UNSENT_BYTES`].
    pub(super) unsent: Vec<u8>,
    /// Events that it may still be sent, where that is limited.
    pub(super) deliveries: Option<Bucket>,
    /// How much of `unsent` was sent.
    pub(super) unsent_start: usize,
    /// Bytes that its system had acknowledged when a heartbeat asked it, and those of the heartbeats since.
    pub(super) acknowledged: u64,
    /// The client's address behind a trusted proxy.
    pub(super) forwarded: Option<IpAddr>,
    /// What only a client of Socket.IO has.
    pub(super) socketio: Option<Box<SocketIoClient>>,
}

/// Bytes of answers that are kept for a client whose socket is full. Above it the client's messages are not read.
pub(super) const UNSENT_BYTES: usize = 64 << 10;

/// A client's place in a view.
pub(super) struct Subscription {
    /// The view.
    pub(super) view: u32,
    /// Its place among the view's members.
    pub(super) member: u32,
    /// Offset of the last event that was sent. While live it is the view's cursor, and what is here is what it was when
    /// it became live or was last told.
    pub(super) position: u64,
    /// While it begins with a snapshot, one more than the offset that the snapshot leads to; 0 otherwise. Its position is
    /// one in the room's compacted log then.
    pub(super) snapshot_to: u64,
    /// What its room's log no longer has for it is made good by a snapshot.
    pub(super) heals: bool,
    /// Its position is beyond what the client was told, since a filter let nothing pass on the way there. Never while live.
    pub(super) untold: bool,
    /// The client was told a head of the room that the view had not come to: it is told when the view has.
    pub(super) awaits: bool,
    /// At the view's cursor.
    pub(super) live: bool,
    /// Served out of turn in the view's pass: the pass leaves it out once.
    pub(super) served: bool,
    /// Its position is beyond the view's cursor: it has nothing to catch up with, and waits for the view.
    pub(super) waiting: bool,
    /// It fell behind because its socket was full, and has not been live since.
    pub(super) slow: bool,
    /// No pass is held for it until it has been live again.
    pub(super) laggard: bool,
}

impl Subscription {
    /// Whether its position is told.
    pub(super) fn told(&self) -> Told {
        if self.snapshot_to > 0 { Told::NotYet } else { Told::Yes }
    }

    /// Events that it lacks, of a view whose cursor is there. Of one that begins with a snapshot nobody knows.
    pub(super) fn lacks(&self, cursor: u64) -> u64 {
        if self.live || self.snapshot_to > 0 { 0 } else { cursor.saturating_sub(self.position) }
    }
}

impl Client {
    /// `now_ms` is in the shard's milliseconds.
    pub(super) fn new(
        (socket, wire): (Socket, Wire),
        permit: ClientPermit,
        number: u64,
        forwarded: Option<IpAddr>,
        limits: &ClientLimits,
        now_ms: u64,
    ) -> Client {
        Client {
            socket,
            wire,
            subscriptions: SmallVec::new(),
            extra: forwarded.map(|address| Box::new(Extra { forwarded: Some(address), ..Extra::default() })),
            _permit: permit,
            number,
            messages: Bucket::new(limits.messages, now_ms),
            changes: Bucket::new(limits.subscriptions, now_ms),
            progress_ms: now_ms as u32,
            since_s: (now_ms / 1000) as u32,
            turn: 0,
            silent_beats: UNHEARD,
            mistakes: 0,
            blocked: false,
            queued: false,
            closing: false,
            unread: false,
            named_slow: false,
            paced: false,
        }
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// What it has as a client of Socket.IO.
    pub(super) fn socketio_mut(&mut self) -> Option<&mut SocketIoClient> {
        self.extra.as_mut().and_then(|extra| extra.socketio.as_deref_mut())
    }

    /// Its socket took something while it was behind.
    pub(super) fn progressed(&mut self, now_ms: u64) {
        self.progress_ms = now_ms as u32;
    }

    /// Milliseconds since its socket last took something while it was behind, 49 days at the most.
    pub(super) fn stalled_ms(&self, now_ms: u64) -> u64 {
        u64::from((now_ms as u32).wrapping_sub(self.progress_ms))
    }

    /// Notes what its system has acknowledged, for a heartbeat of so many bytes.
    pub(super) fn note_acknowledged(&mut self, heartbeat: usize) {
        if let Some(bytes) = self.socket.acknowledged() {
            self.extra().acknowledged = bytes + heartbeat as u64;
        }
    }

    /// True if its system has acknowledged more than the heartbeat since.
    pub(super) fn has_acknowledged(&self) -> bool {
        let noted = self.extra.as_ref().map(|extra| extra.acknowledged);
        noted.is_some_and(|noted| self.socket.acknowledged().is_some_and(|bytes| bytes > noted))
    }

    fn is_polling(&self) -> bool {
        let socketio = self.extra.as_ref().and_then(|extra| extra.socketio.as_deref());
        socketio.is_some_and(|socketio| socketio.session.is_some())
    }

    /// Transport that operators see.
    pub(super) fn transport(&self) -> Transport {
        if self.is_polling() { Transport::Polling } else { self.wire.transport() }
    }

    /// True if it is served by polling, and its polls have taken all that it was sent, its last heartbeat included.
    pub(super) fn polls_all(&self) -> bool {
        self.is_polling() && self.pinned_bytes() == 0 && self.socket.is_all_read()
    }

    /// Bytes that are kept for it.
    pub(super) fn pinned_bytes(&self) -> usize {
        self.extra.as_ref().map_or(0, |extra| extra.unsent.len() - extra.unsent_start)
    }

    /// Whether each frame that it is sent must tell where it is in its other rooms.
    pub(super) fn tells_other_rooms(&self) -> bool {
        self.subscriptions.len() > 1 && self.wire.tells_all_positions()
    }

    /// Whether something was not delivered to it.
    pub(super) fn is_unfinished(&self) -> bool {
        let behind = self.subscriptions.iter().any(|subscription| !subscription.live);
        behind || self.pinned_bytes() > 0
    }

    /// Takes what had arrived incomplete.
    pub(super) fn take_partial(&mut self) -> Option<Box<Partial>> {
        self.extra.as_mut().and_then(|extra| extra.partial.take())
    }

    /// Keeps what has arrived incomplete.
    pub(super) fn keep_partial(&mut self, partial: Option<Box<Partial>>) {
        if partial.is_some() {
            self.extra().partial = partial;
        }
    }

    /// Adds to what must be sent first.
    pub(super) fn keep_unsent(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.extra().unsent.extend_from_slice(bytes);
        }
    }
}
