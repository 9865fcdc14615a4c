//! A signal that the daemon is stopping, as a value that every part can hold.

use tokio::sync::watch;

/// The end that tells.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// The end that is told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
pub fn pair() -> (Trigger, Shutdown) {
    let (tx, rx) = watch::channel(false);
    (Trigger(tx), Shutdown(rx))
}

impl Trigger {
    /// Tells every holder of the other end.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }

    /// True while somebody holds the other end.
    pub fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

impl Shutdown {
    /// Whether stopping has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when stopping begins, or when the other end is gone. Cancel-safe.
    pub async fn begun(&mut self) {
        // An error means that the trigger was dropped, which is an end as well.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}
