//! The sessions of a front that are served by polling, by their ids.

use super::session::Session;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes of chance in a session's id, which is all that a request shows for belonging to it: 20 characters of base64.
const ID_BYTES: usize = 15;

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
}

/// An id for a new session. An error is the system's, which has no chance to give.
pub(super) fn new_id() -> Result<Box<str>, getrandom::Error> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
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

    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.table().get(id).cloned()
    }

    /// Adds a session, for as long as the guard lives.
    pub(super) fn add(self: &Arc<Self>, session: Arc<Session>) -> Guard {
        let guard = Guard { sessions: Arc::clone(self), id: session.id().into() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_fit_into_a_query_and_json() {
        let ids = [(); 100].map(|()| new_id().unwrap());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(ids.iter().all(|id| id.len() == 20 && id.chars().all(is_plain)));
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 100);
    }
}
