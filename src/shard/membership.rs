//! Members of a view: who is live, who is behind, and the moves between.
//!
//! A view's members are one list, the live ones first. A pass goes through the live ones by index, so that a move while
//! a pass is under way must keep the part that was served apart from the part that was not.

use super::client::Subscription;
use super::shard::Shard;
use super::view::Member;

impl Shard {
    /// Adds a client's new subscription to a view, behind and not yet queued. Returns its place in the client.
    pub(super) fn add_member(&mut self, client: u32, view: u32, position: u64) -> u32 {
        let subscriptions = &mut self.clients[client as usize].subscriptions;
        let members = &mut self.views[view as usize].members;
        let subscription = subscriptions.len() as u32;
        subscriptions.push(Subscription {
            view,
            member: members.len() as u32,
            position,
            snapshot_to: 0,
            heals: false,
            untold: false,
            awaits: false,
            live: false,
            served: false,
            waiting: false,
            slow: false,
            laggard: false,
        });
        members.push(Member { client, subscription });
        self.stats.levels.behind += 1;
        self.seats[self.views[view as usize].seat as usize].room.joined();
        subscription
    }

    /// Takes a client's subscription out of its view. The client's last subscription takes its place.
    pub(super) fn remove_member(&mut self, client: u32, subscription: u32) {
        let state = &self.clients[client as usize].subscriptions[subscription as usize];
        if state.live {
            let cursor = self.views[state.view as usize].cursor;
            self.leave_live(client, subscription, cursor);
        }
        let state = &self.clients[client as usize].subscriptions[subscription as usize];
        let (view, member) = (state.view, state.member);
        self.stats.levels.behind -= 1;
        let state = &mut self.views[view as usize];
        state.members.swap_remove(member as usize);
        self.renumber(view, member);
        let subscriptions = &mut self.clients[client as usize].subscriptions;
        subscriptions.swap_remove(subscription as usize);
        if let Some(moved) = subscriptions.get(subscription as usize) {
            let members = &mut self.views[moved.view as usize].members;
            members[moved.member as usize].subscription = subscription;
        }
        self.seats[self.views[view as usize].seat as usize].room.left();
        self.leave_view(view);
    }

    /// Makes a subscription live whose position is the view's cursor. In the middle of a pass it has had what the pass
    /// sends, and is left out of it.
    pub(super) fn make_live(&mut self, client: u32, subscription: u32) {
        let state = &mut self.clients[client as usize].subscriptions[subscription as usize];
        let view_index = state.view;
        let view = &mut self.views[view_index as usize];
        debug_assert_eq!(state.position, view.cursor, "only at the cursor is a subscription live");
        debug_assert!(!state.untold, "who is live was told so");
        debug_assert!(!self.clients[client as usize].blocked, "passes go to the socket at once");
        let state = &mut self.clients[client as usize].subscriptions[subscription as usize];
        state.live = true;
        state.slow = false;
        state.laggard = false;
        state.served = view.pass().is_some();
        let (member, first_behind) = (state.member, view.live);
        view.live += 1;
        self.stats.levels.behind -= 1;
        self.swap_members(view_index, member, first_behind);
        self.settle(view_index);
    }

    /// Puts a live subscription behind, at a position.
    pub(super) fn leave_live(&mut self, client: u32, subscription: u32, position: u64) {
        let state = &mut self.clients[client as usize].subscriptions[subscription as usize];
        state.live = false;
        state.served = false;
        let view = state.view;
        // Events told where it was before; what came of them since then without one, nobody did.
        let told = self.views[view as usize].shape.as_ref().map(|shape| shape.told.max(state.position));
        state.untold = told.is_some_and(|told| told < position);
        state.position = position;
        self.stats.levels.behind += 1;
        let mut member = state.member;
        // Served members stay in front of the pass: the last of them takes the leaver's place, and the leaver the
        // boundary's, which moves down over it.
        if let Some(pass) = self.views[view as usize].pass_mut()
            && member < pass.next
        {
            pass.next -= 1;
            let boundary = pass.next;
            self.swap_members(view, member, boundary);
            member = boundary;
        }
        self.views[view as usize].live -= 1;
        let last_live = self.views[view as usize].live;
        self.swap_members(view, member, last_live);
    }

    /// Puts all of a client's live subscriptions behind, since its socket is full: each at the last event it had.
    pub(super) fn leave_all_live(&mut self, client: u32) {
        for subscription in 0..self.clients[client as usize].subscriptions.len() as u32 {
            let state = &self.clients[client as usize].subscriptions[subscription as usize];
            if state.live {
                let position = self.live_position(state);
                self.leave_live(client, subscription, position);
                self.clients[client as usize].subscriptions[subscription as usize].slow = true;
            }
        }
    }

    /// What a live subscription has had: everything up to the cursor, but for a pass that has not come to it.
    pub(super) fn live_position(&self, subscription: &Subscription) -> u64 {
        let view = &self.views[subscription.view as usize];
        match view.pass() {
            Some(pass) if subscription.member >= pass.next && !subscription.served => pass.from,
            _ => view.cursor,
        }
    }

    fn swap_members(&mut self, view: u32, a: u32, b: u32) {
        if a != b {
            self.views[view as usize].members.swap(a as usize, b as usize);
            self.renumber(view, a);
            self.renumber(view, b);
        }
    }

    /// Tells the client at a place among a view's members that it is there.
    fn renumber(&mut self, view: u32, member: u32) {
        if let Some(moved) = self.views[view as usize].members.get(member as usize) {
            let client = &mut self.clients[moved.client as usize];
            client.subscriptions[moved.subscription as usize].member = member;
        }
    }
}
