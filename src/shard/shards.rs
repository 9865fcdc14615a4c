//! The shards, seen from outside.

use super::inbox::{Inbox, Message, Open};
use super::inspect::ClientFigures;
use super::new_client::{NewClient, Upgraded};
use super::recovery::Recovery;
use super::shard::{Parts, Shard, WAKE};
use crate::alert::Alerts;
use crate::metrics::Metrics;
use crate::room::{Bell, Rooms};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::oneshot;

/// Polls of shards that do not run yet: rooms need the bells before shards can have the rooms.
pub struct ShardPolls {
    polls: Vec<(mio::Poll, Arc<Bell>)>,
}

/// Every shard of the daemon. Cheap to share.
pub struct Shards {
    handles: Vec<Handle>,
    recovery: Arc<Recovery>,
    rooms: Arc<Rooms>,
}

struct Handle {
    inbox: Arc<Inbox>,
    population: Arc<AtomicUsize>,
}

/// The shards' threads, to be waited for.
pub struct ShardThreads {
    threads: Vec<JoinHandle<usize>>,
}

impl ShardPolls {
    /// Makes the polls of so many shards.
    pub fn new(shards: usize) -> io::Result<ShardPolls> {
        let poll = || {
            let poll = mio::Poll::new()?;
            let waker = mio::Waker::new(poll.registry(), WAKE)?;
            let bell = Bell::new(move || {
                // The only error is a counter at its end, and then the shard is awake already.
                let _ = waker.wake();
            });
            Ok((poll, Arc::new(bell)))
        };
        Ok(ShardPolls { polls: (0..shards).map(|_| poll()).collect::<io::Result<_>>()? })
    }

    /// What each shard needs, now that there are rooms.
    pub(super) fn into_parts(
        self,
        rooms: &Arc<Rooms>,
        metrics: &Arc<Metrics>,
        alerts: &Alerts,
    ) -> Vec<Parts> {
        let (numbers, shaped_views) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let keep = rooms.generation().config.socketio.recovery;
        let recovery = Arc::new(Recovery::new(keep));
        let parts = |(index, (poll, bell)): (usize, (mio::Poll, Arc<Bell>))| Parts {
            index: index as u16,
            poll,
            inbox: Arc::new(Inbox::new(Arc::clone(&bell))),
            bell,
            rooms: Arc::clone(rooms),
            metrics: Arc::clone(metrics),
            alerts: alerts.clone(),
            population: Arc::new(AtomicUsize::new(0)),
            numbers: Arc::clone(&numbers),
            shaped_views: Arc::clone(&shaped_views),
            recovery: Arc::clone(&recovery),
        };
        self.polls.into_iter().enumerate().map(parts).collect()
    }

    /// The shards' bells, in order.
    pub fn bells(&self) -> Vec<Arc<Bell>> {
        self.polls.iter().map(|(_, bell)| Arc::clone(bell)).collect()
    }
}

impl Shards {
    /// Starts a thread for each shard.
    pub fn spawn(
        polls: ShardPolls,
        rooms: &Arc<Rooms>,
        metrics: &Arc<Metrics>,
        alerts: &Alerts,
    ) -> io::Result<(Arc<Shards>, ShardThreads)> {
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        let parts = polls.into_parts(rooms, metrics, alerts);
        let recovery = parts.first().map(|parts| Arc::clone(&parts.recovery)).unwrap_or_default();
        for parts in parts {
            handles
                .push(Handle { inbox: Arc::clone(&parts.inbox), population: Arc::clone(&parts.population) });
            let thread = std::thread::Builder::new().name(format!("shard-{}", parts.index));
            let open = Open(Arc::clone(&parts.inbox));
            threads.push(thread.spawn(move || {
                let _open = open;
                Shard::new(parts).run()
            })?);
        }
        Ok((Arc::new(Shards { handles, recovery, rooms: Arc::clone(rooms) }), ShardThreads { threads }))
    }

    /// Clients of Socket.IO that may come back to the next process, for [`remember`](Self::remember) there; none without
    /// `socketio.recovery`.
    pub fn remembered(&self) -> Vec<String> {
        match self.rooms.generation().config.socketio.recovery {
            Some(_) => self.recovery.to_texts(),
            None => Vec::new(),
        }
    }

    /// Lets those come back whom the process before remembered, within `socketio.recovery` from now on.
    pub fn remember(&self, texts: &[String]) {
        self.recovery.add_texts(texts, Instant::now());
    }

    /// Hands a connection to the shard with the fewest clients, which serves it from now on, and says which it is. Never
    /// blocks.
    pub fn adopt(&self, client: NewClient) -> usize {
        let handles = self.handles.iter().enumerate();
        let fewest = handles.min_by_key(|(_, handle)| handle.population.load(Ordering::Relaxed));
        let (shard, handle) = fewest.expect("a daemon has a shard");
        // Counted at once, for those who come before the shard has taken this one over.
        handle.population.fetch_add(1, Ordering::Relaxed);
        handle.inbox.put(Message::Adopt(Box::new(client)));
        shard
    }

    /// Hands a client's own socket to the shard that has the client. Never blocks. Where the client is gone, so is the
    /// socket.
    pub fn upgrade(&self, shard: usize, upgraded: Upgraded) {
        self.handles[shard].inbox.put(Message::Upgrade(Box::new(upgraded)));
    }

    /// At most about `most` clients, of one room if there is one named, in the order of their numbers. Cancel-safe.
    pub async fn clients(&self, room: Option<&str>, most: usize) -> Vec<ClientFigures> {
        let mut list = Vec::new();
        for handle in &self.handles {
            let (reply, answer) = oneshot::channel();
            handle.inbox.put(Message::List(room.map(str::to_owned), most, reply));
            // A shard that has ended has no clients.
            list.extend(answer.await.unwrap_or_default());
        }
        list.sort_unstable_by_key(|client| client.number);
        list.truncate(most);
        list
    }

    /// Closes the client of a number. False when there is none. Cancel-safe.
    pub async fn end_client(&self, number: u64) -> bool {
        for handle in &self.handles {
            let (reply, answer) = oneshot::channel();
            handle.inbox.put(Message::End(number, reply));
            if answer.await.unwrap_or(false) {
                return true;
            }
        }
        false
    }

    /// Has every shard follow the generation that the rooms have now, for clients that are connected as well.
    pub fn reconfigure(&self) {
        self.recovery.keep_for(self.rooms.generation().config.socketio.recovery, Instant::now());
        for handle in &self.handles {
            handle.inbox.put(Message::Reconfigure);
        }
    }

    /// Has every shard deliver what there is, close its clients and end, at the latest at `deadline`.
    pub fn drain(&self, deadline: Instant) {
        for handle in &self.handles {
            handle.inbox.put(Message::Drain(deadline));
        }
    }
}

impl ShardThreads {
    /// Waits for every shard's end. Returns how many clients were left with something undelivered.
    pub fn join(self) -> usize {
        let ended = self.threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| {
                tracing::error!("a shard has panicked");
                0
            })
        });
        ended.sum()
    }
}
