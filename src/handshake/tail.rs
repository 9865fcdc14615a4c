//! The end of what a client sends, kept back until it is known what was asked.
//!
//! hyper gives a request up once the client has closed its side, before or after the answer is begun. For a request that waits
//! that is right: nobody is there any more. But who sends a request and closes its side at once, as `nc -N` does, is
//! allowed to and waits for the answer (RFC 9112, section 9.6, speaks of half-closed connections).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known of a connection's end. Shared by the connection and by who answers its requests.
#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Nothing has come: an end is one.
    #[default]
    Silent,
    /// Something has come: an end is kept back.
    Kept,
    /// It has come and is kept back from this reader.
    Waiting(Waker),
    /// An end is one.
    Told,
}

impl Tail {
    /// From now on the end is told when it comes, or if it has come.
    pub(super) fn tell(&self) {
        if let State::Waiting(waker) = std::mem::replace(&mut *self.state(), State::Told) {
            waker.wake();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose end is told when its [`Tail`] says so.
#[derive(Debug)]
pub(super) struct Tailed<S> {
    stream: S,
    tail: Arc<Tail>,
}

impl<S> Tailed<S> {
    pub(super) fn new(stream: S, tail: Arc<Tail>) -> Tailed<S> {
        Tailed { stream, tail }
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tailed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        let mut state = self.tail.state();
        match (&*state, is_end) {
            (State::Silent, false) => *state = State::Kept,
            (State::Kept | State::Waiting(_), true) => {
                *state = State::Waiting(cx.waker().clone());
                return Poll::Pending;
            }
            _ => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tailed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn an_end_is_kept_back_once_something_has_come_until_it_may_be_told() {
        let (mut client, stream) = duplex(64);
        let tail = Arc::new(Tail::default());
        let mut tailed = Tailed::new(stream, Arc::clone(&tail));
        client.write_all(b"GET").await.unwrap();
        drop(client);
        let mut bytes = [0; 8];
        assert_eq!(tailed.read(&mut bytes).await.unwrap(), 3);
        let reading = tokio::spawn(async move { tailed.read(&mut [0; 8]).await.unwrap() });
        while !matches!(*tail.state(), State::Waiting(_)) {
            tokio::task::yield_now().await;
        }
        assert!(!reading.is_finished());
        tail.tell();
        assert_eq!(reading.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_says_nothing_has_an_end_at_once() {
        let (client, stream) = duplex(64);
        drop(client);
        assert_eq!(Tailed::new(stream, Arc::default()).read(&mut [0; 8]).await.unwrap(), 0);
    }
}
