//! What is put together for one client, and where each piece of it leads the client's subscriptions.
//!
//! A short send may end anywhere, and must leave every subscription at the last event it had.

use super::client::{Client, Subscription};
use super::shard::Shard;
use crate::config::Namespace;
use crate::view::Chunk;
use crate::wire::{GapReason, ID, Position, Wire};
use std::ops::Range;

/// Frames for one client, one after the other.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) bytes: Vec<u8>,
    pub(super) marks: Vec<Mark>,
    /// Where the client is in each of its rooms once it has had `bytes`; empty unless every frame must tell that.
    positions: Vec<At>,
    /// The positions but that of one room, as its frames have them: a run of frames leaves the others where they are.
    others: Others,
    /// How the client is written to.
    wire: Wire,
}

/// Where a client is in one of its rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) position: Position,
    pub(super) told: Told,
    /// Of Socket.IO, in which namespace: each keeps its own positions, and the client may be in the same room in two of them.
    pub(super) namespace: Option<Namespace>,
}

/// Whether a position is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Yes,
    /// A snapshot leads to it: who comes back before its end has it anew.
    NotYet,
}

/// Positions as text, each with a comma after it.
#[derive(Default)]
struct Others {
    /// The subscription that is left out.
    but: u32,
    text: Vec<u8>,
    /// Whether the text is known to be what it should be.
    is_current: bool,
}

/// Appends the positions but that of one room that are told in the namespace of that one, each with a comma after it.
pub(super) fn push_others(positions: &[At], but: usize, out: &mut Vec<u8>) {
    let own = positions.get(but).and_then(|at| at.namespace);
    for (index, at) in positions.iter().enumerate() {
        if index != but && at.told == Told::Yes && at.namespace == own {
            at.position.push(out);
            out.push(b',');
        }
    }
}

/// Up to where bytes belong to a subscription, and where they lead it.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) subscription: u32,
    /// Where its bytes end.
    pub(super) end: usize,
    /// Offset that they lead to.
    pub(super) position: u64,
    /// Events in them.
    pub(super) events: u32,
    pub(super) gap: Option<(GapReason, u64)>,
    /// What the subscription's `snapshot_to` is then, where that is another thing.
    pub(super) snapshot_to: Option<u64>,
    /// Whether they tell the client its position, events or not.
    tells: bool,
}

impl Mark {
    /// Whether the client knows its position by the mark's bytes.
    pub(super) fn is_told(&self) -> bool {
        self.tells || self.events > 0 || self.gap.is_some() || self.snapshot_to == Some(0)
    }
}

/// How much of what was gathered a send took.
pub(super) struct Taken {
    /// Marks that were begun.
    pub(super) marks: usize,
    /// The rest of the frame that was cut; empty if none was.
    pub(super) rest: Range<usize>,
}

impl Gathered {
    /// Adds frames of a chunk, as many as fit into `most` bytes, and one at least. Returns the offset they lead to.
    pub(super) fn frames(
        &mut self,
        subscription: u32,
        chunk: &Chunk,
        frames: Range<usize>,
        most: usize,
    ) -> u64 {
        let mut position = 0;
        for (index, frame) in chunk.frames[frames].iter().enumerate() {
            let bytes = chunk.bytes_of(frame);
            if index > 0 && self.bytes.len() + bytes.len() > most {
                break;
            }
            self.frame(subscription, bytes);
            position = frame.last;
            self.mark(subscription, position, frame.events, None);
        }
        position
    }

    /// Adds a frame that leads somewhere; [`mark`](Self::mark) says where.
    pub(super) fn frame(&mut self, subscription: u32, frame: &[u8]) {
        if self.positions.is_empty() {
            return self.bytes.extend_from_slice(frame);
        }
        if !self.others.is_current || self.others.but != subscription {
            self.others.text.clear();
            push_others(&self.positions, subscription as usize, &mut self.others.text);
            (self.others.but, self.others.is_current) = (subscription, true);
        }
        self.wire.push_with_others(&mut self.bytes, frame, &self.others.text);
    }

    /// Ends a piece that is sent as a whole and leads a subscription to an offset.
    pub(super) fn mark(
        &mut self,
        subscription: u32,
        position: u64,
        events: u32,
        gap: Option<(GapReason, u64)>,
    ) {
        if let Some(of_room) = self.positions.get_mut(subscription as usize) {
            of_room.position.offset = position;
            self.others.is_current &= self.others.but == subscription;
        }
        let start = self.marks.last().map_or(0, |mark| mark.end);
        self.wire.transfer().enclose(&mut self.bytes, start);
        let end = self.bytes.len();
        self.marks.push(Mark { subscription, end, position, events, gap, snapshot_to: None, tells: false });
    }

    /// What was added since the last mark tells that a subscription is at an offset.
    pub(super) fn mark_told(&mut self, subscription: u32, position: u64) {
        self.mark(subscription, position, 0, None);
        if let Some(mark) = self.marks.last_mut() {
            mark.tells = true;
        }
    }

    /// Adds an `id` that tells all positions as they are after what was added. False where no frame tells them all.
    pub(super) fn push_positions(&mut self) -> bool {
        push_ids(self.positions.iter().copied(), &mut self.bytes);
        !self.positions.is_empty()
    }

    /// What was marked last leads a subscription into a snapshot, further on in it, or out of it (0).
    pub(super) fn mark_snapshot(&mut self, snapshot_to: u64) {
        let Some(mark) = self.marks.last_mut() else { return };
        mark.snapshot_to = Some(snapshot_to);
        if let Some(at) = self.positions.get_mut(mark.subscription as usize) {
            at.told = if snapshot_to > 0 { Told::NotYet } else { Told::Yes };
        }
    }

    /// Which marks a send of so many bytes has begun, and what is left of the last of them.
    pub(super) fn taken(&self, sent: usize) -> Taken {
        let (mut marks, mut start) = (0, 0);
        while let Some(mark) = self.marks.get(marks).filter(|mark| mark.end <= sent || start < sent) {
            start = mark.end;
            marks += 1;
        }
        Taken { marks, rest: sent..start.max(sent) }
    }
}

impl Shard {
    /// The shard's `Gathered`, empty, for this client. To be put back.
    pub(super) fn begin_gathering(&mut self, client: u32) -> Gathered {
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.bytes.clear();
        gathered.marks.clear();
        gathered.positions.clear();
        gathered.others.is_current = false;
        let state = &self.clients[client as usize];
        gathered.wire = state.wire;
        if state.tells_other_rooms() {
            gathered.positions.extend(self.positions_of(state));
        }
        gathered
    }

    /// Where a client is in each of its rooms, in the order of its subscriptions.
    pub(super) fn positions_of<'a>(&'a self, client: &'a Client) -> impl Iterator<Item = At> + 'a {
        client.subscriptions.iter().map(|subscription| self.at(subscription))
    }

    /// Where a subscription is.
    pub(super) fn at(&self, subscription: &Subscription) -> At {
        let offset = if subscription.live { self.live_position(subscription) } else { subscription.position };
        let view = &self.views[subscription.view as usize];
        let epoch = self.seats[view.seat as usize].room.epoch();
        let (told, namespace) = (subscription.told(), view.wire.namespace());
        At { position: Position { epoch, offset }, told, namespace }
    }

    /// Appends a block of an `id` alone that tells where a client is in all of its rooms, if its wire has that.
    pub(super) fn push_all_positions(&self, client: u32, out: &mut Vec<u8>) {
        let state = &self.clients[client as usize];
        // A client of Socket.IO has positions with events alone.
        if state.wire.has_ids() {
            push_ids(self.positions_of(state), out);
        }
    }

    /// Has the block that begins at `block` in `out` tell where a client is in all of its rooms, if its wire has that.
    ///
    /// Some clients remember no `id` that comes without data (`eventsource` 3, `event-source-polyfill`).
    pub(super) fn tell_positions(&self, client: u32, out: &mut Vec<u8>, block: usize) {
        let state = &self.clients[client as usize];
        if !state.wire.has_ids() {
            return;
        }
        let mut line = Vec::new();
        push_told(self.positions_of(state), ID, &mut line);
        if !line.is_empty() {
            line.push(b'\n');
            out.splice(block..block, line);
        }
    }
}

/// Appends a block of an `id` alone: all positions that are told. Nothing where there is none.
fn push_ids(positions: impl Iterator<Item = At>, out: &mut Vec<u8>) {
    let start = out.len();
    push_told(positions, ID, out);
    if out.len() > start {
        out.extend_from_slice(b"\n\n");
    }
}

/// Appends all positions that are told, with commas between them and `before` in front of the first.
pub(super) fn push_told(positions: impl Iterator<Item = At>, before: &[u8], out: &mut Vec<u8>) {
    let mut between = before;
    for At { position, .. } in positions.filter(|at| at.told == Told::Yes) {
        out.extend_from_slice(between);
        between = b",";
        position.push(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Frame;
    use crate::wire::{Epoch, Sse};

    fn chunk() -> Chunk {
        let bytes = b"id: a:1\nx\n\nid: a:4\nyy\n\n".to_vec();
        let frame = |last, start, end| Frame { first: last, last, start, end, whole: end, events: 1 };
        Chunk { bytes, frames: vec![frame(1, 0, 11), frame(4, 11, 23)], from: 0 }
    }

    fn at(position: Position) -> At {
        At { position, told: Told::Yes, namespace: None }
    }

    #[test]
    fn a_namespace_knows_nothing_of_positions_in_another() {
        let [main, other] = ["/", "/other"].map(|name| Namespace::named(name).unwrap());
        let in_room = |epoch, namespace| {
            let position = Position { epoch: Epoch(epoch), offset: 7 };
            At { namespace: Some(namespace), ..at(position) }
        };
        let text = |positions: &[At], but| {
            let mut text = Vec::new();
            push_others(positions, but, &mut text);
            String::from_utf8(text).unwrap()
        };
        // The same room in both, and another.
        let positions = [in_room(1, main), in_room(1, other), in_room(2, main)];
        assert_eq!([0, 1, 2].map(|but| text(&positions, but)), ["2:7,", "", "1:7,"]);
    }

    #[test]
    fn frames_of_a_client_in_several_rooms_tell_where_it_is_in_the_others() {
        let position = |epoch, offset| Position { epoch: Epoch(epoch), offset };
        let mut positions =
            vec![position(1, 7), position(0xa, 0), position(2, 9)].into_iter().map(at).collect::<Vec<_>>();
        positions.push(At { told: Told::NotYet, ..at(position(3, 9)) });
        let wire = Wire::Sse(Sse::default());
        let mut gathered = Gathered { positions, wire, ..Gathered::default() };
        assert_eq!(gathered.frames(1, &chunk(), 0..2, 1000), 4);
        gathered.frame(0, b"id: 1:8\nz\n\n");
        gathered.mark(0, 8, 1, None);
        assert_eq!(
            String::from_utf8_lossy(&gathered.bytes),
            "id: 1:7,2:9,a:1\nx\n\nid: 1:7,2:9,a:4\nyy\n\nid: a:4,2:9,1:8\nz\n\n"
        );
    }

    #[test]
    fn what_a_send_took_ends_within_a_mark_or_between_two() {
        let mut gathered = Gathered::default();
        gathered.frames(0, &chunk(), 0..2, 1000);
        for (sent, marks, rest) in
            [(0, 0, 0..0), (1, 1, 1..11), (11, 1, 11..11), (12, 2, 12..23), (23, 2, 23..23)]
        {
            let taken = gathered.taken(sent);
            assert_eq!((taken.marks, taken.rest), (marks, rest), "{sent}");
        }
        let mut first_only = Gathered::default();
        assert_eq!(first_only.frames(0, &chunk(), 0..2, 11), 1);
    }
}
