//! `POST /events`: events over HTTP, on the same listeners as lines.
//!
//! The body is processed chunk by chunk as it arrives, and answered with counts and the first errors. The status:
//!
//! | status | when |
//! | --- | --- |
//! | 200 | anything was accepted, or there was nothing to refuse (an empty body) |
//! | 400 | lines were refused, and none was accepted; or the body broke off |
//! | 408 | the daemon closed a quiet producer; what came before counts |
//! | 413 | as 400, and every refused event was too long |
//! | 503 | the backlog was full and the listener sheds; with `Retry-After` |
//!
//! A body that was not read to its end has an `error` beside the counts, and ends its connection.
//! A request that is refused before its body is read has an `error` in place of the counts.

mod broken;
mod prefixed;
mod response;

use super::LINGER;
use super::access::{Refusal, check_body, check_length, check_page_type, is_lines};
use super::body::{Body, Piece};
use super::places::Place;
use super::producer::{Cut, Producer, too_long};
use super::shared::{Shared, Slot};
use super::unfinished::{Allowed, Unfinished};
use super::values::Value;
use crate::config::WhenFull;
use crate::listen::Stream;
use crate::metrics::ProducerEnd;
use crate::request_policy::{Access, Policy, page_of};
use crate::route::{Beside, Rejection, RejectionCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prefixed::Prefixed;
use response::Answer;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Where events are posted.
const EVENTS: &str = "/events";
/// How long a request's header may take, and how long a connection may stay open without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection between two requests stays open once the daemon stops. A request may be under way on it, and would
/// be lost with it.
const LAST_REQUEST: Duration = Duration::from_millis(250);
/// Bytes that hyper buffers at most for a connection; a longer header is refused with 431.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection that turned out to be HTTP.
pub(super) struct Opened {
    pub(super) shared: Rc<Shared>,
    pub(super) stream: Stream,
    pub(super) listener: Slot,
    pub(super) place: Arc<Place>,
    /// What has been read from it.
    pub(super) read: Vec<u8>,
    /// Whom the log names.
    pub(super) name: String,
}

/// What the requests of one connection share.
struct Connection {
    shared: Rc<Shared>,
    listener: Slot,
    name: String,
    /// The address that was connected to; none on a Unix socket.
    local: Option<IpAddr>,
    place: Arc<Place>,
    /// Bytes of the request that is under way.
    under_way: Cell<Option<usize>>,
    /// Set once an answer has gone out before its body had ended.
    is_early: Cell<bool>,
    /// Tells the request under way that its place was given away.
    given_away: Notify,
}

/// Serves requests until the connection ends, or the daemon stops: then the request under way is finished, and one that comes
/// within [`LAST_REQUEST`] is the last.
pub(super) async fn serve(opened: Opened) {
    let Opened { shared, stream, listener, place, read, name } = opened;
    let connection = Rc::new(Connection {
        local: stream.local_ip(),
        shared: shared.clone(),
        listener,
        name,
        place: place.clone(),
        under_way: Cell::new(None),
        is_early: Cell::new(false),
        given_away: Notify::new(),
    });
    let service = service_fn(|request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await.into_response()) }
    });
    let io = TokioIo::new(Prefixed::new(read, stream));
    let mut serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        // `nc -N` ends its direction before it reads the answer.
        .half_close(true)
        .serve_connection(io, service);
    let mut over = pin!(async {
        shared.stop.begun().await;
        tokio::time::sleep(LAST_REQUEST).await;
    });
    let mut cut = pin!(shared.stop.cut());
    let mut given_away = pin!(place.given_away());
    let (mut stopping, mut leaving) = (false, false);
    place.rest(true);
    let served = loop {
        tokio::select! {
            biased;
            () = &mut cut => {
                let bytes = connection.under_way.get();
                shared.count_cut(u64::from(bytes.is_some()), bytes.unwrap_or(0));
                return;
            }
            // First, so that a request that has come is under way when hyper hears of the end, and not cut off.
            served = &mut serving => break served,
            () = &mut over, if !stopping => stopping = true,
            () = &mut given_away, if !leaving => {
                leaving = true;
                connection.given_away.notify_one();
            }
        }
        Pin::new(&mut serving).graceful_shutdown();
    };
    if let Err(error) = &served {
        tracing::debug!(producer = %connection.name, %error, "producer's connection failed");
    }
    if served.is_err() || connection.is_early.get() {
        let stream = serving.into_parts().io.into_inner().into_stream();
        tokio::select! {
            () = &mut cut => {}
            () = stream.linger(LINGER) => {}
        }
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.place.rest(false);
        let (parts, body) = request.into_parts();
        let page = page_of(&parts.headers).unwrap_or_default().map(str::to_owned);
        let has_body = !body.is_end_stream();
        let answer = match self.check(&parts) {
            Err(refusal) => {
                tracing::debug!(producer = %self.name, code = refusal.code, reason = %refusal.message, "request refused");
                self.is_early.set(has_body || refusal.status == StatusCode::LENGTH_REQUIRED);
                Answer::refused(&refusal)
            }
            Ok(_) if parts.method == Method::OPTIONS => Answer::preflight(page.is_some()),
            Ok(beside) => {
                self.under_way.set(Some(0));
                let is_lines = is_lines(header(&parts, &CONTENT_TYPE));
                // Its head is not needed for as long as its body may take.
                drop(parts);
                let answer = self.take_body(body, is_lines, beside).await;
                self.under_way.set(None);
                answer
            }
        };
        self.place.rest(true);
        let answer = if self.shared.stop.has_begun() { answer.last() } else { answer };
        answer.for_origin(page)
    }

    /// Everything that can be said before the body is read. Returns the fields beside the events.
    fn check(&self, parts: &Parts) -> Result<Beside, Refusal> {
        let settings = self.shared.settings();
        let policy = Policy { local: self.local, origins: &settings.origins, hosts: &settings.hosts };
        let page = policy.check(Access::Own, parts)?;
        let content_type = header(parts, &CONTENT_TYPE);
        let is_preflight = parts.method == Method::OPTIONS;
        // A preflight has no body, and tells the type of the one to come elsewhere.
        if page.is_some() && !is_preflight {
            check_page_type(content_type)?;
        }
        if parts.uri.path() != EVENTS {
            let message = format!("{} is not served at this listener, which takes events", parts.uri.path());
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message).hint("POST /events"));
        }
        if is_preflight {
            return Ok(Beside::default());
        }
        if parts.method != Method::POST {
            let message = format!("events are posted, not sent with {}", parts.method);
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
                .hint("POST /events"));
        }
        let headers = &parts.headers;
        check_length(headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING))?;
        check_body(content_type, header(parts, &CONTENT_ENCODING))?;
        Beside::from_query(parts.uri.query().unwrap_or_default()).map_err(|rejection| {
            Refusal::new(StatusCode::BAD_REQUEST, rejection.code.as_str(), rejection.message)
        })
    }

    async fn take_body(&self, body: Incoming, is_lines: bool, beside: Beside) -> Answer {
        let mut events = Events {
            body: Body::new(self.shared.settings().max_event_size, is_lines),
            producer: Producer::new(self.name.clone(), beside, true),
            unfinished: Unfinished::new(self.shared.clone()),
            connection: self,
            is_shedding: false,
        };
        let received = self.receive(&mut events, body).await;
        self.is_early.set(received.is_err());
        let answer = match received {
            Ok(()) => {
                events.end();
                Answer::of(&mut events.producer)
            }
            Err((why, refusal)) => {
                tracing::debug!(producer = %self.name, code = refusal.code, reason = %refusal.message, "body not read to its end");
                events.abandon(why);
                Answer::unfinished(&mut events.producer, &refusal)
            }
        };
        self.shared.metrics.ingest_answers_dropped.increment(events.producer.dropped);
        events.producer.log_rest();
        answer
    }

    /// Takes a body to its end, or says why that cannot be.
    async fn receive(&self, events: &mut Events<'_>, mut incoming: Incoming) -> Result<(), (Cut, Refusal)> {
        loop {
            self.shared.gate.open(self.shared.when_full(&self.listener)).await;
            self.place.rest(events.unfinished.bytes() == 0);
            let frame = tokio::select! {
                biased;
                frame = incoming.frame() => frame,
                () = self.given_away.notified() => return Err((Cut::Closed, broken::gave_way())),
                patience = events.unfinished.late() => {
                    if events.unfinished.bytes() == 0 {
                        self.shared.metrics.producer_closed(ProducerEnd::Idle);
                        return Err((Cut::Closed, broken::idle()));
                    }
                    events.abandon(Cut::Slow(patience));
                    continue;
                }
            };
            self.place.rest(false);
            let chunk = match frame {
                None => return Ok(()),
                Some(Err(error)) => return Err((Cut::Ended, broken::broken(&error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => chunk,
                    Err(_) => continue,
                },
            };
            let allowed = events.unfinished.may_go_on(self.shared.when_full(&self.listener)).await;
            if allowed == Allowed::Shed {
                events.shed();
            }
            self.under_way.set(self.under_way.get().map(|bytes| bytes + chunk.len()));
            events.take(&chunk);
            tokio::task::yield_now().await;
        }
    }
}

/// The events of one request. If it is dropped within an event, the event is refused.
struct Events<'c> {
    connection: &'c Connection,
    body: Body,
    producer: Producer,
    unfinished: Unfinished,
    /// Whether the backlog was full once: then the rest of the request is refused, so that what was taken is its
    /// beginning, and the rest can be sent again.
    is_shedding: bool,
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        self.abandon(Cut::Closed);
    }
}

impl Events<'_> {
    fn take(&mut self, chunk: &[u8]) {
        self.read(chunk.len(), |body, sink| body.feed(chunk, sink));
    }

    fn end(&mut self) {
        self.read(0, |body, sink| body.finish(sink));
    }

    /// Refuses the event that is unfinished, if one is, and skips the rest of it.
    fn abandon(&mut self, why: Cut) {
        if self.unfinished.bytes() > 0 {
            self.read(0, |body, sink| body.abandon(why, sink));
        }
    }

    fn shed(&mut self) {
        self.abandon(Cut::NoRoom);
        self.is_shedding = true;
    }

    fn read(&mut self, bytes: usize, cut: impl FnOnce(&mut Body, &mut dyn FnMut(Piece<'_>))) {
        let shared = &self.connection.shared;
        shared.count_read();
        let when_full = shared.when_full(&self.connection.listener);
        self.is_shedding |= when_full == WhenFull::Shed && shared.gate.is_full();
        let settings = shared.settings();
        let max = settings.max_event_size;
        let mut intake = shared.intake.borrow_mut();
        let slot = self.connection.listener.index();
        let mut reading = intake.begin((slot, &*settings.figures[slot]), when_full, bytes);
        reading.shed_all(self.is_shedding);
        let producer = &mut self.producer;
        cut(&mut self.body, &mut |piece| match piece {
            Piece::Line(number, line) => producer.take_line(&mut reading, number, line, max),
            Piece::Value(place, Value::Whole(value)) => producer.take_value(&mut reading, place, value),
            Piece::Value(place, Value::Cut(value, why)) => {
                producer.reject_cut(&mut reading, place, value, why);
            }
            Piece::Value(place, Value::TooLong(head)) => {
                producer.reject(&mut reading, place, head, &too_long(max));
            }
            Piece::Value(place, Value::Broken(why)) => {
                let rejection = Rejection::new(RejectionCode::BadJson, 1, format!("not JSON: {why}"));
                producer.reject(&mut reading, place, b"", &rejection);
            }
        });
        reading.commit();
        drop(intake);
        self.unfinished.note(self.body.kept());
    }
}

/// A header's value, where it has one that is text.
fn header<'r>(parts: &'r Parts, name: &HeaderName) -> Option<&'r str> {
    parts.headers.get(name)?.to_str().ok()
}
