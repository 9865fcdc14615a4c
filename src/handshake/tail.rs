//! The end of what a client sends, kept back while a request is answered that must not be given up for it.
//!
//! hyper gives a request up once the client has closed its side, before or after the answer is begun. For a request that waits
//! that is right: nobody is there any more. But who sends a request and closes its side at once, as `nc -N` does, is
//! allowed to and waits for the answer (RFC 9112, section 9.6, speaks of half-closed connections). Before a request's head is
//! whole there is nothing to answer, and an end is one.

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
    /// An end is one.
    #[default]
    Told,
    /// A request is here: an end is kept back.
    Kept,
    /// It has come and is kept back from this reader.
    Waiting(Waker),
}

impl Tail {
    /// A request has come: until [`tell`](Self::tell) an end is kept back.
    pub(super) fn keep(&self) {
        let mut state = self.state();
        if let State::Told = *state {
            *state = State::Kept;
        }
    }

    /// From now on the end is told when it comes, or if it has come.
    pub(super) fn tell(&self) {
        if let State::Waiting(waker) = std::mem::take(&mut *self.state()) {
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
        if is_end && !matches!(*state, State::Told) {
            *state = State::Waiting(cx.waker().clone());
            return Poll::Pending;
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
    async fn an_end_is_kept_back_while_a_request_is_answered_until_it_may_be_told() {
        let (mut client, stream) = duplex(64);
        let tail = Arc::new(Tail::default());
        let mut tailed = Tailed::new(stream, Arc::clone(&tail));
        client.write_all(b"GET").await.unwrap();
        drop(client);
        let mut bytes = [0; 8];
        assert_eq!(tailed.read(&mut bytes).await.unwrap(), 3);
        tail.keep();
        let reading = tokio::spawn(async move { tailed.read(&mut [0; 8]).await.unwrap() });
        while !matches!(*tail.state(), State::Waiting(_)) {
            tokio::task::yield_now().await;
        }
        assert!(!reading.is_finished());
        tail.tell();
        assert_eq!(reading.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn without_a_request_an_end_is_one() {
        let (mut client, stream) = duplex(64);
        client.write_all(b"GET").await.unwrap();
        drop(client);
        let mut tailed = Tailed::new(stream, Arc::default());
        let mut bytes = Vec::new();
        assert_eq!(tailed.read_to_end(&mut bytes).await.unwrap(), 3);
    }
}
