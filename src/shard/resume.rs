//! Where the rooms of a stream begin whose client tells where its last stream was.

use super::shard::Shard;
use crate::wire::{Epoch, From, Position, SubscribeRoom};

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
        let own = |epoch| positions.iter().find(|position| Some(position.epoch) == epoch);
        let is_strange = |position: &&Position| !epochs.contains(&Some(position.epoch));
        let strange = positions.iter().find(is_strange);
        for (room, epoch) in rooms.iter_mut().zip(&epochs) {
            if let Some(position) = own(*epoch).or(strange) {
                room.from = From::After(*position);
            }
        }
    }

    /// The life of a room's log; none when there is no such room. Should the room begin anew before it is subscribed to,
    /// the subscription finds the position to be of another epoch.
    pub(super) fn epoch_of(&mut self, room: &str) -> Option<Epoch> {
        let (seat, tail) = self.sit(room)?;
        self.leave_seat_if_unused(seat);
        Some(tail.epoch)
    }
}
