//! What others hand to a shard.

use super::inspect::ClientFigures;
use super::new_client::{NewClient, Upgraded};
use crate::room::Bell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// None once the shard has ended.
    messages: Mutex<Option<Vec<Message>>>,
    bell: Arc<Bell>,
}

/// A shard's hold of its inbox: when it is dropped, the shard has ended, and what is handed over is dropped as well. Otherwise
/// a session would wait for a client that nobody serves, and whoever asks for an answer.
pub(super) struct Open(pub(super) Arc<Inbox>);

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.0.lock().take();
        // Not under the lock: what is dropped may say so to others.
        drop(left);
    }
}

impl Inbox {
    pub(super) fn new(bell: Arc<Bell>) -> Inbox {
        Inbox { messages: Mutex::new(Some(Vec::new())), bell }
    }

    /// Hands something over and wakes the shard.
    pub(super) fn put(&self, message: Message) {
        let refused = match &mut *self.lock() {
            Some(messages) => {
                messages.push(message);
                None
            }
            None => Some(message),
        };
        match refused {
            None => self.bell.rouse(),
            Some(message) => drop(message),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(Vec::is_empty)
    }

    /// Takes everything.
    pub(super) fn take(&self) -> Vec<Message> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Message>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::error::TryRecvError;

    #[test]
    fn nobody_waits_for_a_shard_that_has_ended() {
        let inbox = Arc::new(Inbox::new(Arc::new(Bell::new(|| {}))));
        let open = Open(Arc::clone(&inbox));
        let ask = || {
            let (reply, answer) = oneshot::channel();
            inbox.put(Message::End(1, reply));
            answer
        };
        let mut before = ask();
        assert_eq!((inbox.is_empty(), before.try_recv()), (false, Err(TryRecvError::Empty)));
        drop(open);
        assert_eq!(before.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(ask().try_recv(), Err(TryRecvError::Closed));
        assert!(inbox.is_empty() && inbox.take().is_empty());
    }
}
