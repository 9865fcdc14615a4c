//! What operators ask of a shard: who is connected, and to end a client.

use super::shard::Shard;
use crate::wire::Transport;
use std::net::IpAddr;
use std::time::Duration;

/// A client at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFigures {
    /// The number that its `welcome` told.
    pub number: u64,
    /// How it is connected.
    pub transport: Transport,
    /// Its address, behind a trusted proxy the one that the proxy told; none over a Unix socket.
    pub address: Option<IpAddr>,
    /// How long it is connected.
    pub age: Duration,
    /// Rooms it is subscribed to, the first 64 by name.
    pub rooms: Vec<String>,
    /// How many those are in all.
    pub subscriptions: usize,
    /// Events that its subscriptions lack, all together.
    pub behind_events: u64,
    /// Bytes kept for it, since its socket is full.
    pub unsent_bytes: usize,
    /// Whether its socket is full.
    pub blocked: bool,
}

/// Rooms of a client that are named.
const NAMED_ROOMS: usize = 64;

/// What an operator ended a client with.
pub(super) const ENDED_BY_OPERATOR: u16 = 4000;

impl Shard {
    /// The first `most` clients, of one room if there is one named.
    pub(super) fn list_clients(&self, room: Option<&str>, most: usize) -> Vec<ClientFigures> {
        let elapsed_ms = self.elapsed_ms();
        let mut list = Vec::new();
        for (_, client) in self.clients.iter().filter(|(_, client)| !client.closing) {
            if list.len() == most {
                break;
            }
            let mut names = Vec::with_capacity(client.subscriptions.len());
            let mut behind_events = 0;
            for subscription in &client.subscriptions {
                let view = &self.views[subscription.view as usize];
                names.push(self.seats[view.seat as usize].room.name());
                behind_events += subscription.lacks(view.cursor);
            }
            if room.is_some_and(|room| !names.contains(&room)) {
                continue;
            }
            if names.len() > NAMED_ROOMS {
                names.select_nth_unstable(NAMED_ROOMS);
                names.truncate(NAMED_ROOMS);
            }
            names.sort_unstable();
            let forwarded = client.extra.as_ref().and_then(|extra| extra.forwarded);
            list.push(ClientFigures {
                number: client.number,
                transport: client.transport(),
                address: forwarded.or_else(|| client.socket.peer()),
                age: Duration::from_millis(elapsed_ms.saturating_sub(u64::from(client.since_s) * 1000)),
                rooms: names.into_iter().map(str::to_owned).collect(),
                subscriptions: client.subscriptions.len(),
                behind_events,
                unsent_bytes: client.pinned_bytes(),
                blocked: client.blocked,
            });
        }
        list
    }

    /// Closes a client. False when it is not here.
    pub(super) fn end_client(&mut self, number: u64) -> bool {
        let is_it = |client: &super::client::Client| client.number == number && !client.closing;
        let found = self.clients.iter().find(|(_, client)| is_it(client)).map(|(key, _)| key as u32);
        if let Some(client) = found {
            self.close(client, ENDED_BY_OPERATOR, "closed by an operator", None);
        }
        found.is_some()
    }
}
