//! An answer's body: whole, or made piece by piece while it is sent.

use super::history::History;
use super::snapshot::Snapshot;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// An answer's body.
pub enum Body {
    /// Whole.
    Whole(Full<Bytes>),
    /// A part of a room's history. The next page is read when the one before is with the kernel, but for hyper's buffer.
    History(Box<History>),
    /// The newest events of a room's keys, likewise.
    Snapshot(Box<Snapshot>),
}

/// How long whoever asked is waited for: until a moment, which moves on while an answer is taken piece by piece.
#[derive(Clone)]
pub struct Patience {
    until: Arc<Mutex<Instant>>,
    step: Duration,
}

impl Patience {
    /// Waits for `step`, and for as long again after each piece.
    pub fn new(step: Duration) -> Patience {
        Patience { until: Arc::new(Mutex::new(Instant::now() + step)), step }
    }

    /// A piece was taken.
    pub fn renew(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.step;
    }

    /// Returns when it is over. Cancel-safe.
    pub async fn over(&self) {
        loop {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
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
            Body::History(_) | Body::Snapshot(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(whole) => whole.size_hint(),
            Body::History(_) | Body::Snapshot(_) => SizeHint::default(),
        }
    }
}
