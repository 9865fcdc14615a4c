//! A producer's connection: lines, or HTTP, which its first bytes tell.
//!
//! A read is processed whole, and nothing of it is kept but the part of a line at its end, so that an idle producer
//! costs its socket and its account.

use super::LINGER;
use super::answers::Answers;
use super::http;
use super::lines::{Line, Splitter};
use super::opening::{self, Kind};
use super::places::{Permit, Place};
use super::producer::{Cut, Producer};
use super::shared::{READ_BYTES, Shared, Slot};
use super::unfinished::{self, Kept, Unfinished};
use crate::config::Ack;
use crate::listen::{Foreign, Stream};
use crate::metrics::ProducerEnd;
use crate::route::{Beside, Rejection, RejectionCode};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::Instant;

/// How long a producer may take to read its last answers. It has ended its own direction, so nothing else is lost.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How long a connection is left alone from its beginning on, also if the daemon stops meanwhile. Who connects to say a few
/// lines or to make a request has its answer by then, which takes a direction that has not been ended.
const FIRST_WORDS: Duration = Duration::from_millis(250);

/// How long a producer that the daemon closes is read on: what it had sent by then counts.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What ingest listeners speak.
const SPOKEN: &str = "plain HTTP/1.1 and NDJSON";

/// Serves a connection to its end.
pub(super) async fn serve(shared: Rc<Shared>, stream: Stream, listener: Slot, permit: Permit) {
    // Apart, so that a producer of lines does not pay for the state of a request.
    match Raw::new(shared, stream, listener, permit.place()).run().await {
        Some(Rest::Http(http)) => Box::pin(http::serve(http)).await,
        Some(Rest::Refused(shared, stream)) => Box::pin(linger(shared, stream)).await,
        None => {}
    }
    drop(permit);
}

/// What is left of a connection that brings no lines.
enum Rest {
    Http(http::Opened),
    /// It has had its answer.
    Refused(Rc<Shared>, Stream),
}

async fn linger(shared: Rc<Shared>, stream: Stream) {
    tokio::select! {
        () = shared.stop.cut() => {}
        () = stream.linger(LINGER) => {}
    }
}

/// A stream of lines, or one that is not known yet.
struct Raw {
    shared: Rc<Shared>,
    stream: Stream,
    listener: Slot,
    /// What has arrived while it is not known whether it is HTTP.
    opening: Option<Vec<u8>>,
    splitter: Splitter,
    producer: Producer,
    answers: Answers,
    /// True if our direction has been ended, because the daemon stops or closes the producer.
    half_closed: bool,
    /// Until when the producer is read on, if the daemon closes it.
    closing: Option<Instant>,
    unfinished: Unfinished,
    place: Arc<Place>,
}

/// What a read showed.
enum Next {
    More,
    End,
    /// It is HTTP; what has been read.
    Http(Vec<u8>),
    /// It speaks another protocol; how many bytes have been read.
    Foreign(Foreign, usize),
    Failed(io::Error),
}

impl Raw {
    fn new(shared: Rc<Shared>, stream: Stream, listener: Slot, place: Arc<Place>) -> Raw {
        let name = match stream.peer() {
            Some(peer) => peer.to_string(),
            None => "unix".to_owned(),
        };
        let ack = shared.settings().listeners[listener.index()].ack;
        Raw {
            opening: Some(Vec::new()),
            splitter: Splitter::new(shared.settings().max_event_size),
            answers: Answers::new(ack, stream.peer().is_some()),
            producer: Producer::new(name, Beside::default(), ack != Ack::None),
            half_closed: false,
            closing: None,
            unfinished: Unfinished::new(shared.clone()),
            place,
            shared,
            stream,
            listener,
        }
    }

    /// Reads to the end. Returns the connection if it brings no lines.
    async fn run(mut self) -> Option<Rest> {
        let shared = self.shared.clone();
        let first_words = Instant::now() + FIRST_WORDS;
        let mut stopping = pin!(async {
            shared.stop.begun().await;
            // Boxed: it is not there before the daemon stops.
            Box::pin(tokio::time::sleep_until(first_words)).await;
        });
        let mut cut = pin!(shared.stop.cut());
        let place = self.place.clone();
        let mut given_away = pin!(place.given_away());
        loop {
            self.place.rest(self.unfinished.bytes() == 0 && !self.answers.is_due());
            let interest = if self.answers.is_due() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            tokio::select! {
                biased;
                () = &mut cut => return self.cut_off(),
                () = &mut stopping, if !self.half_closed => {
                    self.half_close();
                    continue;
                }
                () = &mut given_away, if self.closing.is_none() => {
                    self.close_gently();
                    continue;
                }
                ready = self.stream.ready(interest) => if let Err(error) = ready {
                    return self.failed(&error);
                },
                () = at(self.closing) => return self.closed(),
                patience = self.unfinished.late(), if self.closing.is_none() => {
                    self.late(patience);
                    continue;
                }
            }
            self.write_answers();
            let next = tokio::select! {
                biased;
                () = &mut cut => return self.cut_off(),
                next = self.unfinished.may_go_on(shared.when_full(&self.listener)) => next,
            };
            // From here to the commit nothing waits: what is read is published.
            match self.read(next) {
                Next::More => tokio::task::yield_now().await,
                Next::End => break,
                // Its request could not be answered any more.
                Next::Http(_) if self.closing.is_some() => return self.closed(),
                Next::Http(_) if self.half_closed => return self.cut_off(),
                Next::Http(read) => return Some(Rest::Http(self.into_http(read))),
                Next::Foreign(foreign, bytes) => {
                    self.refuse(foreign, bytes);
                    return Some(Rest::Refused(self.shared, self.stream));
                }
                Next::Failed(error) => return self.failed(&error),
            }
        }
        self.end();
        tokio::select! {
            () = &mut cut => {}
            _ = tokio::time::timeout(LAST_ANSWERS, self.last_answers()) => {}
        }
        self.close();
        None
    }

    fn into_http(self, read: Vec<u8>) -> http::Opened {
        let Raw { shared, stream, listener, producer, place, .. } = self;
        http::Opened { shared, stream, listener, place, read, name: producer.name().to_owned() }
    }

    fn read(&mut self, next: unfinished::Allowed) -> Next {
        let most = match next {
            unfinished::Allowed::Read(most) => most,
            unfinished::Allowed::Shed => {
                self.abandon(Cut::NoRoom);
                READ_BYTES
            }
        };
        let shared = self.shared.clone();
        let mut buffer = shared.buffer.borrow_mut();
        let read = match self.stream.try_read(&mut buffer[..most]) {
            Ok(0) => return Next::End,
            Ok(count) => &buffer[..count],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.unfinished.note_nothing();
                return Next::More;
            }
            Err(error) => return Next::Failed(error),
        };
        let Some(mut seen) = self.opening.take() else {
            self.take(read);
            return Next::More;
        };
        // Nearly always one read tells, and is not copied.
        let read = if seen.is_empty() {
            read
        } else {
            seen.extend_from_slice(read);
            &seen
        };
        match opening::kind(read) {
            Some(Kind::Http) => return Next::Http(read.to_vec()),
            Some(Kind::Foreign(foreign)) => return Next::Foreign(foreign, read.len()),
            Some(Kind::Lines) => self.take(read),
            None => {
                let seen = read.to_vec();
                self.unfinished.note(Kept::opening(&seen));
                self.opening = Some(seen);
            }
        }
        Next::More
    }

    /// Answers a connection that speaks another protocol, and notes it among the refused lines.
    fn refuse(&mut self, foreign: Foreign, bytes: usize) {
        let rejection = Rejection::new(RejectionCode::WrongProtocol, 1, foreign.message(SPOKEN));
        let rejection = rejection.hint(foreign.hint());
        self.shared.reject(&self.listener, &mut self.producer, bytes, &rejection);
        // Nothing was written before, so that it fits. It fails where the client is gone.
        let _ = self.stream.try_write(foreign.answer(SPOKEN).as_bytes());
    }

    /// Processes one read.
    fn take(&mut self, read: &[u8]) {
        self.process(read.len(), |splitter, sink| splitter.feed(read, sink));
    }

    /// The producer has ended its stream, maybe within a line.
    fn end(&mut self) {
        if let Some(seen) = self.opening.take() {
            self.take(&seen);
        }
        self.process(0, |splitter, sink| splitter.finish(sink));
        self.answers.end(self.producer.totals);
    }

    fn process(&mut self, bytes: usize, cut: impl FnOnce(&mut Splitter, &mut dyn FnMut(u64, Line<'_>))) {
        self.shared.process(&self.listener, (&mut self.splitter, &mut self.producer), bytes, cut);
        self.unfinished.note(self.splitter.kept());
        self.tell();
    }

    /// Refuses the line that is unfinished, if one is, and skips the rest of it.
    fn abandon(&mut self, why: Cut) {
        if let Some(seen) = self.opening.take() {
            self.take(&seen);
        }
        if self.unfinished.bytes() > 0 {
            self.process(0, |splitter, sink| splitter.abandon(why, sink));
        }
    }

    /// Nothing has come for too long.
    fn late(&mut self, patience: Duration) {
        if self.unfinished.bytes() > 0 {
            self.abandon(Cut::Slow(patience));
        } else {
            self.shared.metrics.producer_closed(ProducerEnd::Idle);
            self.close_gently();
        }
    }

    /// Tells the producer its totals and ends our direction. What it has sent by then is read. It is quiet, so the totals
    /// destroy nothing that is under way.
    fn close_gently(&mut self) {
        tracing::debug!(producer = %self.producer.name(), accepted = self.producer.totals.accepted, "producer closed");
        self.closing = Some(Instant::now() + LAST_LINES);
        if self.opening.is_none() {
            self.answers.end(self.producer.totals);
            self.write_answers();
        }
        self.end_writing();
    }

    /// A producer that was closed has not ended its stream in time.
    fn closed<T>(&mut self) -> Option<T> {
        self.abandon(Cut::Closed);
        self.close();
        None
    }

    /// Hands the errors of a read on.
    fn tell(&mut self) {
        self.answers.push(&mut self.producer.errors, self.producer.totals);
        self.count_dropped();
    }

    fn count_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.producer.dropped) + self.answers.take_dropped();
        if dropped > 0 {
            self.shared.metrics.ingest_answers_dropped.increment(dropped);
        }
    }

    fn write_answers(&mut self) {
        let stream = &self.stream;
        self.answers.write(|bytes| stream.try_write(bytes));
    }

    async fn last_answers(&mut self) {
        loop {
            self.write_answers();
            if !self.answers.is_due() || self.stream.ready(Interest::WRITABLE).await.is_err() {
                return;
            }
        }
    }

    /// Tells the producer that the daemon stops, by ending our direction; it is read on to its end. On TCP answers that
    /// were kept for the end are given up: sent now they could destroy what the producer is still sending.
    fn half_close(&mut self) {
        if self.opening.is_none() && self.answers.is_early() {
            self.answers.end(self.producer.totals);
            self.write_answers();
        }
        self.end_writing();
    }

    fn end_writing(&mut self) {
        self.half_closed = true;
        self.answers.close();
        self.count_dropped();
        // It fails where the producer is gone already, which the next read tells.
        let _ = self.stream.end_writing();
    }

    /// Time is up.
    fn cut_off<T>(&mut self) -> Option<T> {
        let bytes = self.unfinished.bytes();
        self.shared.count_cut(u64::from(bytes > 0), bytes);
        tracing::warn!(
            producer = %self.producer.name(),
            accepted = self.producer.totals.accepted,
            line = self.splitter.line(),
            unfinished_bytes = bytes,
            "producer cut off"
        );
        self.abandon(Cut::Closed);
        self.close();
        None
    }

    fn failed<T>(&mut self, error: &io::Error) -> Option<T> {
        tracing::debug!(producer = %self.producer.name(), %error, "producer's connection failed");
        // A line that may have become a request is none.
        self.opening = None;
        self.abandon(Cut::Closed);
        self.close();
        None
    }

    fn close(&mut self) {
        self.answers.close();
        self.count_dropped();
        self.producer.log_rest();
    }
}

/// Returns at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => Box::pin(tokio::time::sleep_until(time)).await,
        None => std::future::pending().await,
    }
}
