//! A view in a shard: who reads it, how far it is encoded, and the pass that is under way.

use super::client::Subscription;
use super::every::Every;
use crate::event::Filter;
use crate::view::Kept;
use crate::wire::Wire;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;

/// A room in a shard.
pub(super) struct Seat {
    pub(super) room: Arc<crate::room::Room>,
    /// Its views.
    pub(super) views: SmallVec<[u32; 2]>,
}

/// What of a room is encoded once for all who read it so.
pub(super) struct View {
    pub(super) seat: u32,
    /// How its members are written to.
    pub(super) wire: Wire,
    /// How many members, from the first, are live.
    pub(super) live: u32,
    pub(super) members: SmallVec<[Member; 1]>,
    /// Offset of the last event that was encoded.
    pub(super) cursor: u64,
    /// What only some views have.
    pub(super) shape: Option<Box<Shape>>,
    /// While something is sent, and while somebody is behind.
    pub(super) active: Option<Box<Active>>,
    /// Whether there may be members whose position is beyond the cursor.
    pub(super) awaited: bool,
    /// Whether the view is in the shard's queue.
    pub(super) ready: bool,
    /// Whether the room has more than the cursor's last look took.
    pub(super) grown: bool,
}

/// A view's filter and pace, and what they left out.
pub(super) struct Shape {
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) every: Option<Every>,
    /// Events left out since the last frame.
    pub(super) skipped: u64,
    /// Offset that the last frame told while the view was live; 0 before there was one.
    pub(super) told: u64,
    /// The furthest offset that members await to be told of; 0: none does.
    pub(super) awaited: u64,
}

/// A client's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The client.
    pub(super) client: u32,
    /// Its place among the client's subscriptions.
    pub(super) subscription: u32,
}

/// What a view has while something is sent, or somebody is behind.
#[derive(Default)]
pub(super) struct Active {
    pub(super) kept: Kept,
    pub(super) pass: Option<Pass>,
    pub(super) hold: Option<Hold>,
}

/// A pass over a view's live members. It sends the frames from `frame` to the end of the last kept chunk.
pub(super) struct Pass {
    /// Its number, which no other pass of the shard ever has: from 1 on.
    pub(super) number: u64,
    /// The first frame that it sends, by its index in the last kept chunk.
    pub(super) frame: usize,
    /// Where its bytes begin and end in the chunk.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The view's cursor before the pass.
    pub(super) from: u64,
    /// The next member to be sent to.
    pub(super) next: u32,
    /// Events in its frames.
    pub(super) events: u64,
    /// Events sent so far, once for each client.
    pub(super) delivered: u64,
    /// Since when its oldest event was to be sent, in log time: accepted, or flushed. None in a view with a pace.
    pub(super) due_ms: Option<u64>,
}

/// The oldest chunk must go, and a client that goes on reading still needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) since: Instant,
    /// When half the members had passed the chunk.
    pub(super) half_at: Option<Instant>,
}

impl Pass {
    /// Whether it has something for a subscription that it has not come to.
    pub(super) fn is_due_to(&self, subscription: &Subscription) -> bool {
        subscription.live && !subscription.served && subscription.member >= self.next && self.end > self.start
    }
}

impl View {
    /// Whether nobody is behind.
    pub(super) fn all_live(&self) -> bool {
        self.live as usize == self.members.len()
    }

    /// Its filter.
    pub(super) fn filter(&self) -> Option<&Filter> {
        self.shape.as_ref().and_then(|shape| shape.filter.as_deref())
    }

    /// Its pace.
    pub(super) fn every(&self) -> Option<&Every> {
        self.shape.as_ref().and_then(|shape| shape.every.as_ref())
    }

    /// Its pace.
    pub(super) fn every_mut(&mut self) -> Option<&mut Every> {
        self.shape.as_mut().and_then(|shape| shape.every.as_mut())
    }

    /// Offset up to which it has taken everything from the room.
    pub(super) fn passed(&self) -> u64 {
        self.every().map_or(self.cursor, Every::absorbed)
    }

    /// The pass under way.
    pub(super) fn pass(&self) -> Option<&Pass> {
        self.active.as_ref().and_then(|active| active.pass.as_ref())
    }

    /// The pass under way.
    pub(super) fn pass_mut(&mut self) -> Option<&mut Pass> {
        self.active.as_mut().and_then(|active| active.pass.as_mut())
    }
}
