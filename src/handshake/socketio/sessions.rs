//! The sessions of a front that are served by polling, by their ids.

use super::session::{CLOSE, Session};
use crate::limits::Beside;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Every session that polls. Each is a client of a shard, and so has its place among `limits.clients`; the shard's
/// [`Guard`] takes it out when the client is gone.
#[derive(Default)]
pub(in crate::handshake) struct Sessions {
    table: Mutex<HashMap<Box<str>, Arc<Session>>>,
    emptied: Notify,
}

/// Takes a session out of its table when dropped.
pub(super) struct Guard {
    sessions: Arc<Sessions>,
    id: Box<str>,
    /// Given back with it.
    _beside: Beside,
}

impl Sessions {
    /// Returns when there is none. Cancel-safe.
    pub(in crate::handshake) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.table().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many there are.
    pub(in crate::handshake) fn len(&self) -> usize {
        self.table().len()
    }

    /// Ends every session: nobody can come any more.
    pub(in crate::handshake) fn end(&self) {
        let sessions: Vec<Arc<Session>> = self.table().values().cloned().collect();
        for session in sessions {
            session.end(CLOSE);
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.table().get(id).cloned()
    }

    /// Adds a session, with the descriptors that it takes, for as long as the guard lives.
    pub(super) fn add(self: &Arc<Self>, session: Arc<Session>, beside: Beside) -> Guard {
        let guard = Guard { sessions: Arc::clone(self), id: session.id().into(), _beside: beside };
        self.table().insert(guard.id.clone(), session);
        guard
    }

    pub(super) fn remove(&self, id: &str) {
        let mut table = self.table();
        let Some(session) = table.remove(id) else { return };
        let is_empty = table.is_empty();
        drop(table);
        session.forgotten();
        if is_empty {
            self.emptied.notify_waiters();
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.sessions.remove(&self.id);
    }
}
