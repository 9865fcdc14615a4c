//! One send to a client in several rooms for all their passes that are under way.
//!
//! Where frames are the same for everybody they go out as they lie in the views' chunks. On a wire whose frames tell the
//! positions of all of a client's rooms they are put together for the client.

use super::catch_up::CATCH_UP_BYTES;
use super::client::Subscription;
use super::shard::Shard;
use super::socket::Sent;
use super::view::Pass;
use crate::view::Chunk;
use smallvec::SmallVec;
use std::io::IoSlice;

/// Pieces of one joined send; a client in more rooms that grew at once gets the others in their own passes.
const JOINED: usize = 64;

impl Shard {
    /// Sends to a client in several rooms what all their passes have for it, as one.
    pub(super) fn send_joined(&mut self, client: u32, view: u32) {
        let state = &self.clients[client as usize];
        let mut pieces: SmallVec<[IoSlice<'_>; 8]> = SmallVec::new();
        let mut owners: SmallVec<[(u32, usize); 8]> = SmallVec::new();
        for (index, subscription) in state.subscriptions.iter().enumerate() {
            let Some((pass, chunk)) = self.due(subscription) else { continue };
            if pieces.len() < JOINED {
                pieces.push(IoSlice::new(&chunk.bytes[pass.start..pass.end]));
                owners.push((index as u32, pass.end - pass.start));
            }
        }
        let total: usize = owners.iter().map(|(_, len)| len).sum();
        let sent = state.socket.send_pieces(&pieces);
        drop(pieces);
        self.stats.sends += 1;
        let Sent::Bytes(mut sent) = sent else { return self.gone(client, 1006) };
        let short = sent < total;
        for (subscription, len) in owners {
            if sent < len {
                break;
            }
            sent -= len;
            self.note_served(client, subscription, view);
        }
        if short {
            self.fall_behind_at(client, sent);
        }
    }

    /// A subscription has had what its view's pass sends: by the pass in its turn, if that is `view`, or before it.
    fn note_served(&mut self, client: u32, subscription: u32, view: u32) {
        let subscription = &mut self.clients[client as usize].subscriptions[subscription as usize];
        let in_turn = subscription.view == view;
        let pass = self.views[subscription.view as usize].pass_mut().expect("it was sent in a pass");
        let events = pass.events;
        self.stats.deliveries += events;
        pass.delivered += events;
        if in_turn {
            pass.next += 1;
        } else {
            subscription.served = true;
        }
        self.spend_deliveries(client, events);
    }

    /// The first subscription whose pass has not come to it took `sent` bytes of that pass.
    fn fall_behind_at(&mut self, client: u32, sent: usize) {
        let subscriptions = &self.clients[client as usize].subscriptions;
        let cut = subscriptions.iter().position(|subscription| self.due(subscription).is_some());
        if let Some(cut) = cut {
            self.fall_behind(client, cut as u32, sent);
        }
    }

    /// Sends to a client what the passes of its rooms have for it, each frame with the positions of its other rooms. What
    /// is much is not put together: it would be more than a socket takes. The other passes have the rest in their turns.
    pub(super) fn send_composed(&mut self, client: u32, view: u32) {
        let mut gathered = self.begin_gathering(client);
        let state = &self.clients[client as usize];
        let mut due: SmallVec<[u32; 8]> = SmallVec::new();
        for (index, subscription) in state.subscriptions.iter().enumerate() {
            if gathered.bytes.len() >= CATCH_UP_BYTES {
                break;
            }
            if let Some((pass, chunk)) = self.due(subscription) {
                gathered.frames(index as u32, chunk, pass.frame..chunk.frames.len(), usize::MAX);
                due.push(index as u32);
            }
        }
        let sent = state.socket.send(&gathered.bytes);
        self.stats.sends += 1;
        let Sent::Bytes(sent) = sent else {
            self.gathered = gathered;
            return self.gone(client, 1006);
        };
        let taken = gathered.taken(sent);
        let mut marks = gathered.marks.as_slice();
        let mut begun = taken.marks;
        for index in due {
            let own = marks.iter().take_while(|mark| mark.subscription == index).count();
            let (of_room, later) = marks.split_at(own);
            if of_room.last().is_none_or(|last| last.end <= sent) {
                self.note_served(client, index, view);
                (marks, begun) = (later, begun - own);
                continue;
            }
            let had = &of_room[..begun];
            let from = self.clients[client as usize].subscriptions[index as usize].view;
            let from = self.views[from as usize].pass().map_or(0, |pass| pass.from);
            let position = had.last().map_or(from, |mark| mark.position);
            let events = had.iter().map(|mark| u64::from(mark.events)).sum();
            let rest = &gathered.bytes[taken.rest.clone()];
            self.clients[client as usize].keep_unsent(rest);
            self.stats.levels.pinned_bytes += rest.len() as i64;
            self.stop_short(client, index, position, events);
            break;
        }
        self.gathered = gathered;
    }

    /// The pass that has something for a subscription, and its chunk.
    fn due(&self, subscription: &Subscription) -> Option<(&Pass, &Chunk)> {
        let active = self.views[subscription.view as usize].active.as_ref()?;
        let pass = active.pass.as_ref()?;
        let is_due = subscription.live
            && !subscription.served
            && subscription.member >= pass.next
            && pass.end > pass.start;
        is_due.then(|| (pass, active.kept.last().expect("a pass has a chunk")))
    }
}
