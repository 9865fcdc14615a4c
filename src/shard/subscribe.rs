//! Subscribing and unsubscribing: seats in rooms, views, positions to begin at.

use super::every::Every;
use super::pass::write_room_json;
use super::shard::Shard;
use super::view::{Seat, Shape, View};
use crate::event::Filter;
use crate::pattern::Condition;
use crate::room::{self, Tail};
use crate::wire::{
    Answer, Epoch, ErrorCode, From, Gap, GapReason, MessageError, Position, SubscribeRoom, Wire, push_gap,
    push_subscribed, push_unsubscribed, without_id,
};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a client is told of one room it subscribed to.
pub(super) struct Subscribed {
    name: String,
    epoch: Epoch,
    head: u64,
    start: Start,
}

/// Where a subscription begins.
struct Start {
    /// In the log; in the compacted log where it begins with a snapshot.
    position: u64,
    /// The offset that the snapshot leads to which it begins with.
    snapshot: Option<u64>,
    /// What the log has not for it is made good by a snapshot.
    heals: bool,
    resumed: bool,
    /// The log began anew since the client's position: from which offset it can have events.
    began_anew: Option<u64>,
}

impl Subscribed {
    /// The room's name.
    pub(super) fn into_name(self) -> String {
        self.name
    }

    /// Where the subscription begins, and whether a snapshot leads there.
    pub(super) fn began(&self) -> (Position, bool) {
        let Start { position, snapshot, .. } = self.start;
        (Position { epoch: self.epoch, offset: snapshot.unwrap_or(position) }, snapshot.is_some())
    }
}

/// What makes a view of a room another one.
struct Way {
    wire: Wire,
    condition: Option<Condition>,
    every: Option<Duration>,
}

impl Shard {
    /// Subscribes a client to rooms and answers, each room for itself.
    pub(super) fn subscribe(
        &mut self,
        client: u32,
        id: Option<&str>,
        rooms: Vec<Result<SubscribeRoom, MessageError>>,
        out: &mut Vec<u8>,
    ) {
        let wire = self.clients[client as usize].wire;
        let results: Vec<Result<Subscribed, MessageError>> =
            rooms.into_iter().map(|room| self.subscribe_room(client, wire, room?)).collect();
        let names: Vec<Vec<u8>> = results
            .iter()
            .map(|result| {
                let name = match result {
                    Ok(subscribed) => Some(&subscribed.name),
                    Err(error) => error.room.as_ref(),
                };
                name_json(name)
            })
            .collect();
        let answers: Vec<Answer<'_>> = results
            .iter()
            .zip(&names)
            .map(|(result, room_json)| match result {
                Ok(subscribed) => Answer::Subscribed {
                    room_json,
                    epoch: subscribed.epoch,
                    head: subscribed.head,
                    offset: subscribed.start.snapshot.is_none().then_some(subscribed.start.position),
                    resumed: subscribed.start.resumed,
                },
                Err(error) => Answer::Refused { room_json, error },
            })
            .collect();
        let mut last = out.len();
        push_subscribed(wire, out, id, &answers);
        for subscribed in results.iter().flatten().filter(|subscribed| subscribed.start.began_anew.is_some())
        {
            last = out.len();
            self.push_began_anew(wire, subscribed, out);
        }
        // Not before the gaps: a client that is cut between the two must be told them when it comes back.
        self.tell_positions(client, out, last);
    }

    /// Appends a `gap` for one whose position was of another life of the log.
    pub(super) fn push_began_anew(&mut self, wire: Wire, subscribed: &Subscribed, out: &mut Vec<u8>) {
        let Subscribed { name, epoch, start, .. } = subscribed;
        let Some(first) = start.began_anew else { return };
        let (epoch, offset, reason) = (*epoch, first - 1, GapReason::EpochChanged);
        self.parts.metrics.gap(reason, 0);
        write_room_json(&mut self.room_json, name);
        let (room_json, snapshot) = (&self.room_json, start.snapshot.is_some());
        let mut gap = Vec::new();
        push_gap(wire, &mut gap, Gap { room_json, epoch, first: 1, offset, missed: None, reason, snapshot });
        // Where all positions are told, they are told after this.
        out.extend_from_slice(without_id(&gap));
    }

    /// Unsubscribes a client from rooms and answers, each room for itself; from those it is not in as well, without a word.
    pub(super) fn unsubscribe(
        &mut self,
        client: u32,
        id: Option<&str>,
        rooms: &[Result<String, MessageError>],
        out: &mut Vec<u8>,
    ) {
        let wire = self.clients[client as usize].wire;
        let (mut left, mut refused) = (Vec::new(), Vec::new());
        for room in rooms {
            match room {
                Ok(room) => {
                    if let Some(subscription) = self.find_subscription(client, room, wire) {
                        self.remove_member(client, subscription);
                    }
                    left.push(name_json(Some(room)));
                }
                Err(error) => refused.push((name_json(error.room.as_ref()), error)),
            }
        }
        let left: Vec<&[u8]> = left.iter().map(Vec::as_slice).collect();
        let refused: Vec<(&[u8], &MessageError)> =
            refused.iter().map(|(name, error)| (name.as_slice(), *error)).collect();
        push_unsubscribed(wire, out, id, &left, &refused, None);
    }

    /// Subscribes a client to a room, which it is written to as `wire` says.
    pub(super) fn subscribe_room(
        &mut self,
        client: u32,
        wire: Wire,
        request: SubscribeRoom,
    ) -> Result<Subscribed, MessageError> {
        let SubscribeRoom { room: name, from, condition, every, snapshot } = request;
        let refuse = |code, message: String, hint| MessageError::of_room(name.clone(), code, message, hint);
        let existing = self.find_subscription(client, &name, wire);
        let most = self.client_limits().rooms;
        if existing.is_none() && self.clients[client as usize].subscriptions.len() >= most {
            let hint = Some("unsubscribe from a room first, or raise limits.client.rooms".to_owned());
            return Err(refuse(ErrorCode::Limit, format!("a client can be in {most} rooms at once"), hint));
        }
        let (seat, tail) = self.sit(&name).ok_or_else(|| self.no_room(&name))?;
        let policy = self.seats[seat as usize].room.policy();
        let limit = policy.subscribers;
        if snapshot == Some(true) && policy.key.is_empty() {
            self.leave_seat_if_unused(seat);
            let hint = Some("give the room a `key` in broadcast.toml".to_owned());
            let message = "`snapshot` is the newest event of every key, and the room has no key".to_owned();
            return Err(refuse(ErrorCode::BadField, message, hint));
        }
        if existing.is_none()
            && let Some(most) =
                limit.filter(|most| self.seats[seat as usize].room.subscribers() as usize >= *most)
        {
            self.leave_seat_if_unused(seat);
            return Err(refuse(
                ErrorCode::Limit,
                format!("the room has {most} subscriptions, its limit"),
                None,
            ));
        }
        let way = Way { wire, condition, every };
        let Some(view) = self.find_view(seat, &way).or_else(|| self.make_view(seat, way, tail)) else {
            self.leave_seat_if_unused(seat);
            let message =
                "the daemon has as many views with a filter or a pace as limits.views allows".to_owned();
            let hint = Some("use a condition and a pace that others use, or none".to_owned());
            return Err(refuse(ErrorCode::Limit, message, hint));
        };
        let heals = !policy.key.is_empty() && snapshot.unwrap_or(policy.snapshot.by_default);
        let start = self.start_of(seat, tail, &from, heals, snapshot == Some(true));
        // The new place is taken before the old one is left, so that a view shared by both is not torn down between.
        let index = self.add_member(client, view, start.position);
        let subscription = &mut self.clients[client as usize].subscriptions[index as usize];
        subscription.heals = start.heals;
        if let Some(snapshot) = start.snapshot {
            subscription.snapshot_to = snapshot + 1;
            // It needs nothing of what passes are held for.
            subscription.laggard = true;
        }
        self.await_head(client, index, tail.head);
        if let Some(existing) = existing {
            self.remove_member(client, existing);
        }
        Ok(Subscribed { name, epoch: tail.epoch, head: tail.head, start })
    }

    /// Which of a client's subscriptions is to a room, in the stream that `wire` stands for: a client of Socket.IO has one for
    /// each namespace.
    pub(super) fn find_subscription(&self, client: u32, room: &str, wire: Wire) -> Option<u32> {
        let subscriptions = &self.clients[client as usize].subscriptions;
        let is_it = |view: u32| {
            let view = &self.views[view as usize];
            view.wire.namespace() == wire.namespace() && self.seats[view.seat as usize].room.name() == room
        };
        subscriptions.iter().position(|subscription| is_it(subscription.view)).map(|index| index as u32)
    }

    fn no_room(&self, name: &str) -> MessageError {
        let generation = self.parts.rooms.generation();
        let nearest = generation.nearest(name).map(|nearest| format!("did you mean \"{nearest}\"?"));
        let hint = nearest.or_else(|| Some("rooms are declared in broadcast.toml".to_owned()));
        let message = "no room has this name".to_owned();
        MessageError::of_room(name.to_owned(), ErrorCode::UnknownRoom, message, hint)
    }

    /// The shard's seat in a room, and the room's tail.
    pub(super) fn sit(&mut self, name: &str) -> Option<(u32, Tail)> {
        let vacant = self.seats.vacant_key() as u32;
        let (room, seat, tail) = self.parts.rooms.register(name, self.parts.index, vacant)?;
        if seat == vacant {
            self.seats.insert(Seat { room, views: SmallVec::new() });
        }
        Some((seat, tail))
    }

    fn find_view(&self, seat: u32, way: &Way) -> Option<u32> {
        let source = way.condition.as_ref().map(Condition::source);
        let same = |view: &&u32| {
            let view = &self.views[**view as usize];
            view.wire == way.wire
                && view.filter().map(Filter::source) == source
                && view.every().map(Every::every) == way.every
        };
        self.seats[seat as usize].views.iter().find(same).copied()
    }

    /// Makes a view whose cursor is the room's head. None when it has a filter or a pace and `limits.views` is reached.
    fn make_view(&mut self, seat: u32, way: Way, tail: Tail) -> Option<u32> {
        let Way { wire, condition, every } = way;
        let is_shaped = condition.is_some() || every.is_some();
        if is_shaped {
            let most = self.parts.rooms.generation().limits.views;
            if self.parts.shaped_views.fetch_add(1, Ordering::Relaxed) >= most {
                self.parts.shaped_views.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
        }
        let filter = condition.map(|condition| Arc::new(Filter::new(condition)));
        let every = every.map(|every| Every::new(every, tail.head));
        let view = self.views.insert(View {
            seat,
            wire,
            live: 0,
            members: SmallVec::new(),
            cursor: tail.head,
            shape: is_shaped.then(|| Box::new(Shape { filter, every, skipped: 0, told: 0, awaited: 0 })),
            active: None,
            awaited: false,
            ready: false,
            grown: false,
        }) as u32;
        self.seats[seat as usize].views.push(view);
        Some(view)
    }

    /// The position that `from` names in a log. With a snapshot, what lies before it is given as the newest event of every
    /// key: to those who begin now if `heals`, to others who begin somewhere if `asked`; and to those who come from another
    /// life of the log.
    fn start_of(&self, seat: u32, tail: Tail, from: &From, heals: bool, asked: bool) -> Start {
        let room::Start { position, resumed, began_anew } = self.seats[seat as usize].room.start(tail, from);
        let begins = match from {
            From::Now => heals,
            From::After(_) => heals && began_anew.is_some(),
            _ => asked,
        };
        Start {
            position: if begins { 0 } else { position },
            snapshot: begins.then_some(position),
            heals,
            resumed,
            began_anew,
        }
    }

    /// Gives a view up that has no members, and its seat if that has no views.
    pub(super) fn leave_view(&mut self, view: u32) {
        let state = &mut self.views[view as usize];
        if !state.members.is_empty() {
            self.settle(view);
            return;
        }
        if state.pass().is_some() {
            self.passing -= 1;
        }
        if let Some(active) = &mut state.active {
            active.pass = None;
        }
        self.settle(view);
        self.forget_due(view);
        let state = self.views.remove(view as usize);
        self.pages.forget(view);
        if state.shape.is_some() {
            self.parts.shaped_views.fetch_sub(1, Ordering::Relaxed);
        }
        self.seats[state.seat as usize].views.retain(|other| *other != view);
        if self.seats[state.seat as usize].views.is_empty() {
            self.leave_seat_if_unused(state.seat);
        } else {
            // The one that is gone may have been the last to pass.
            self.note_seat_passed(state.seat);
            if state.grown {
                // It was told for all that the room has grown, and has not looked: the room waits for somebody who does.
                for view in self.seats[state.seat as usize].views.clone() {
                    self.views[view as usize].grown = true;
                    self.make_ready(view);
                }
            }
        }
    }

    pub(super) fn leave_seat_if_unused(&mut self, seat: u32) {
        if self.seats[seat as usize].views.is_empty() {
            let Seat { room, .. } = self.seats.remove(seat as usize);
            self.parts.rooms.unregister(&room, self.parts.index);
        }
    }
}

/// A room's name as JSON; null of what names no room.
fn name_json(name: Option<&String>) -> Vec<u8> {
    serde_json::to_vec(&name).expect("writing a string to memory does not fail")
}
