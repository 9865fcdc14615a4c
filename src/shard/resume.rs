//! Resume positions from a client that names those of its last stream or session.

use super::shard::Shard;
use crate::config::Namespace;
use crate::wire::{Epoch, From, Position, SubscribeRoom};
use std::time::Instant;

/// Positions from a Socket.IO client without a remembered session: the daemon has crashed, or the client was away for
/// longer than `socketio.recovery`. Its rooms are not known, so that positions find them as it subscribes.
pub(super) struct Brought {
    positions: Vec<Position>,
    /// Rooms that are subscribed to later begin with the next event.
    pub(super) until: Instant,
    /// Rooms that the client has left since: entered again, they begin where they are entered.
    left: Vec<Box<str>>,
}

impl Brought {
    /// None without positions.
    pub(super) fn new(positions: &[Position], until: Instant) -> Option<Box<Brought>> {
        let brought = || Box::new(Brought { positions: positions.to_vec(), until, left: Vec::new() });
        (!positions.is_empty()).then(brought)
    }
}

impl Shard {
    /// Has each room begin after its own position among `positions`, which is the one of its log's epoch. Where one of
    /// them is of no room's log, a log has begun anew, and rooms without a position of their own begin as after a position
    /// of another epoch: with a gap that says so. Where all have their rooms, rooms without one are new in the stream, and
    /// begin where their `from` says.
    pub(super) fn resume(&mut self, rooms: &mut [SubscribeRoom], positions: &[Position]) {
        let epochs: Vec<Option<Epoch>> = match positions {
            [] => return,
            _ => rooms.iter().map(|room| self.epoch_of(&room.room)).collect(),
        };
        for (room, epoch) in rooms.iter_mut().zip(&epochs) {
            let is_strange = |position: Position| !epochs.contains(&Some(position.epoch));
            if let Some(position) = own_or_strange(positions, *epoch, is_strange) {
                room.from = From::After(position);
            }
        }
    }

    /// The same for a room that a client of Socket.IO subscribes to, with the positions that it has brought. The others of its rooms
    /// may come in later messages, so that a position is of a log that has begun anew if no log of this process ever had its
    /// epoch. None where the room begins with the next event.
    pub(super) fn brought_to(&mut self, client: u32, namespace: Namespace, room: &str) -> Option<Position> {
        let now = self.now;
        let brought = self.brought(client, namespace)?;
        if brought.until <= now || brought.left.iter().any(|left| **left == *room) {
            return None;
        }
        let epoch = self.epoch_of(room);
        let rooms = std::sync::Arc::clone(&self.parts.rooms);
        let positions = &self.brought(client, namespace)?.positions;
        own_or_strange(positions, epoch, |position| !rooms.knows(position.epoch))
    }

    /// A client is in the room of this epoch: what it brought of that counts no more.
    pub(super) fn use_up(&mut self, client: u32, namespace: Namespace, epoch: Epoch) {
        if let Some(brought) = self.brought(client, namespace) {
            brought.positions.retain(|position| position.epoch != epoch);
        }
    }

    /// A client has left a room. If it leaves more than it may be in, nothing that it brought counts any more.
    pub(super) fn left_brought(&mut self, client: u32, namespace: Namespace, room: &str) {
        let most = self.client_limits().rooms;
        if let Some(brought) = self.brought(client, namespace) {
            brought.left.push(room.into());
            if brought.left.len() > most {
                brought.positions.clear();
            }
        }
    }

    fn brought(&mut self, client: u32, namespace: Namespace) -> Option<&mut Brought> {
        let state = self.clients[client as usize].socketio_mut()?;
        let place = state.places.iter_mut().find(|place| place.namespace == namespace)?;
        place.brought.as_deref_mut()
    }

    /// The life of a room's log; none when there is no such room. Should the room begin anew before it is subscribed to,
    /// the subscription finds the position to be of another epoch.
    pub(super) fn epoch_of(&mut self, room: &str) -> Option<Epoch> {
        let (seat, tail) = self.sit(room)?;
        self.leave_seat_if_unused(seat);
        Some(tail.epoch)
    }
}

/// The position of a room's own log, or else one of a log that no longer exists.
fn own_or_strange(
    positions: &[Position],
    epoch: Option<Epoch>,
    is_strange: impl Fn(Position) -> bool,
) -> Option<Position> {
    let mut positions = positions.iter().copied();
    let own = positions.clone().find(|position| Some(position.epoch) == epoch);
    own.or_else(|| positions.find(|position| is_strange(*position)))
}
