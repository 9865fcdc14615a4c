//! An answer's body: whole, or made piece by piece while it is sent.

use super::history::History;
use super::snapshot::Snapshot;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A piece of a body that is whole already.
const PIECE_BYTES: usize = 16 * 1024;

/// An answer's body.
pub enum Body {
    /// Whole.
    Whole(Full<Bytes>),
    /// A part of a room's history. The next page is read when the one before is with the kernel, but for hyper's buffer.
    History(Box<History>),
    /// The newest events of a room's keys, likewise.
    Snapshot(Box<Snapshot>),
    /// Whole, and sent in pieces.
    Pieces(Box<Pieces>),
}

/// A body whose reader has time for each piece of it, and which tells whether it was sent.
pub struct Pieces {
    rest: Bytes,
    patience: Patience,
    sent: Option<Box<dyn FnOnce() + Send>>,
}

impl Pieces {
    fn next(&mut self) -> Option<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.patience.renew();
        if self.rest.is_empty()
            && let Some(sent) = self.sent.take()
        {
            sent();
        }
        (!piece.is_empty()).then_some(piece)
    }
}

/// How long whoever asked is waited for: until a moment, which moves on while an answer is taken piece by piece, or without
/// end while it is this side that has nothing to say.
#[derive(Clone)]
pub struct Patience {
    shared: Arc<Shared>,
    step: Duration,
}

struct Shared {
    /// None: without end.
    until: Mutex<Option<Instant>>,
    /// It has an end again.
    renewed: Notify,
}

impl Patience {
    /// Waits for `step`, and for as long again after each piece.
    pub fn new(step: Duration) -> Patience {
        let until = Mutex::new(Some(Instant::now() + step));
        Patience { shared: Arc::new(Shared { until, renewed: Notify::new() }), step }
    }

    /// A piece was taken, or an answer is there.
    pub fn renew(&self) {
        let before = self.until().replace(Instant::now() + self.step);
        if before.is_none() {
            self.shared.renewed.notify_waiters();
        }
    }

    /// It does not end before it is renewed.
    pub fn suspend(&self) {
        *self.until() = None;
    }

    /// How long each wait is.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// Returns when it is over. Cancel-safe.
    pub async fn over(&self) {
        loop {
            // Known to the one who renews before it is looked whether there is an end.
            let renewed = self.shared.renewed.notified();
            let until = *self.until();
            match until {
                Some(until) if until <= Instant::now() => return,
                Some(until) => tokio::time::sleep_until(until).await,
                None => renewed.await,
            }
        }
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.shared.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    /// A body that is whole and sent in pieces. Calls `sent` when the last piece has been taken, to be written; drops
    /// it uncalled when the connection ends before.
    pub fn in_pieces(whole: Bytes, patience: Patience, sent: impl FnOnce() + Send + 'static) -> Body {
        Body::Pieces(Box::new(Pieces { rest: whole, patience, sent: Some(Box::new(sent)) }))
    }
}

impl From<Full<Bytes>> for Body {
    fn from(whole: Full<Bytes>) -> Body {
        Body::Whole(whole)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(whole) => Pin::new(whole).poll_frame(context),
            Body::Pieces(pieces) => Poll::Ready(pieces.next().map(|piece| Ok(Frame::data(piece)))),
            Body::Snapshot(snapshot) => Poll::Ready(snapshot.next_page().map(|page| Ok(Frame::data(page)))),
            Body::History(history) => match history.next_page() {
                None => Poll::Ready(None),
                // Nothing passed the filter; others on the thread have their turn before more is looked at.
                Some(page) if page.is_empty() => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(page) => Poll::Ready(Some(Ok(Frame::data(page)))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(whole) => whole.is_end_stream(),
            Body::Pieces(pieces) => pieces.rest.is_empty(),
            Body::History(_) | Body::Snapshot(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(whole) => whole.size_hint(),
            Body::Pieces(pieces) => SizeHint::with_exact(pieces.rest.len() as u64),
            Body::History(_) | Body::Snapshot(_) => SizeHint::default(),
        }
    }
}
