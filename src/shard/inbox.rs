//! What others hand to a shard.

use super::inspect::ClientFigures;
use super::new_client::{NewClient, Upgraded};
use crate::room::Bell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Something for a shard to do.
pub(super) enum Message {
    /// Serve this client. Their number is bounded by `limits.clients`.
    Adopt(Box<NewClient>),
    /// Serve a client over another socket.
    Upgrade(Box<Upgraded>),
    /// Say who is connected: at most so many, of one room maybe.
    List(Option<String>, usize, oneshot::Sender<Vec<ClientFigures>>),
    /// Close the client of this number, and say whether it was here.
    End(u64, oneshot::Sender<bool>),
    /// Follow the generation that is in force now.
    Reconfigure,
    /// Deliver what there is, then close every client and end, at the latest at this time.
    Drain(Instant),
}

/// A shard's inbox.
pub(super) struct Inbox {
    messages: Mutex<Vec<Message>>,
    bell: Arc<Bell>,
}

impl Inbox {
    pub(super) fn new(bell: Arc<Bell>) -> Inbox {
        Inbox { messages: Mutex::new(Vec::new()), bell }
    }

    /// Hands something over and wakes the shard.
    pub(super) fn put(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.bell.rouse();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes everything.
    pub(super) fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
