//! One send to a client in several rooms for all their passes that are under way.
//!
//! Where frames are the same for everybody they go out as they lie in the views' chunks. On a wire whose frames tell the
//! positions of all of a client's rooms they are put together for the client.

use super::client::Subscription;
use super::composed::{Composition, Cut};
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
    /// was not put together the other passes have in their turns.
    pub(super) fn send_composed(&mut self, client: u32, view: u32) {
        let mut composed = std::mem::take(&mut self.composed);
        let parts = self.parts_of(client);
        let index = self.compose(client, &parts, &mut composed);
        let composition = composed.get(index);
        self.stats.sends += 1;
        match self.clients[client as usize].socket.send(&composition.bytes) {
            Sent::Gone => self.gone(client, 1006),
            Sent::Bytes(sent) => {
                for place in composition.served(sent) {
                    self.note_served(client, parts[place].subscription, view);
                }
                if sent < composition.bytes.len()
                    && let Some(cut) = composition.cut(sent)
                {
                    self.cut_composed(client, parts[cut.place].subscription, &cut, composition);
                }
            }
        }
        self.composed = composed;
    }

    /// A client's socket was full in the midst of a composition, or before one of its passes.
    fn cut_composed(&mut self, client: u32, subscription: u32, cut: &Cut, composition: &Composition) {
        let state = &self.clients[client as usize].subscriptions[subscription as usize];
        let (pass, chunk) = self.due(state).expect("what was cut is not served");
        let frames = pass.frame..pass.frame + cut.begun;
        let position = if cut.begun > 0 { chunk.frames[frames.end - 1].last } else { pass.from };
        let events = chunk.events_in(frames);
        let rest = &composition.bytes[cut.rest.clone()];
        self.clients[client as usize].keep_unsent(rest);
        self.stats.levels.pinned_bytes += rest.len() as i64;
        self.stop_short(client, subscription, position, events);
    }

    /// The pass that has something for a subscription, and its chunk.
    pub(super) fn due(&self, subscription: &Subscription) -> Option<(&Pass, &Chunk)> {
        let active = self.views[subscription.view as usize].active.as_ref()?;
        let pass = active.pass.as_ref()?;
        pass.is_due_to(subscription).then(|| (pass, active.kept.last().expect("a pass has a chunk")))
    }
}
