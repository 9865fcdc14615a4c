//! `POST /events`: events over HTTP, on the same listeners as lines.
//!
//! The body is processed chunk by chunk as it arrives, and answered with counts and the first errors. The status:
//!
//! | status | when |
//! | --- | --- |
//! | 200 | anything was accepted, or there was nothing to refuse (an empty body) |
//! | 400 | lines were refused, and none was accepted |
//! | 408 | the body did not go on for 30 s; what came before counts |
//! | 413 | as 400, and every refused event was too long |
//! | 503 | the backlog was full and the listener sheds, or the daemon is stopping; with `Retry-After` |
//!
//! A request that is refused before its body is read has an `error` in place of the counts.

mod prefixed;
mod response;

use super::access::{Refusal, check_body, check_host, check_origin, is_lines};
use super::body::{Body, Piece};
use super::producer::{Producer, too_long};
use super::shared::{Shared, Slot};
use super::values::Value;
use crate::config::WhenFull;
use crate::listen::Stream;
use crate::route::{Beside, Rejection, RejectionCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prefixed::Prefixed;
use response::Answer;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Where events are posted.
const EVENTS: &str = "/events";
/// How long a request's header may take, and how long a connection may stay open without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a body may pause.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that hyper buffers at most for a connection; a longer header is refused with 431.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection that turned out to be HTTP.
pub(super) struct Opened {
    pub(super) shared: Rc<Shared>,
    pub(super) stream: Stream,
    pub(super) listener: Slot,
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
    /// The address that was connected to; none on a Unix socket, where any `Host` is fine.
    local: Option<SocketAddr>,
    is_tcp: bool,
    /// Bytes of the request that is under way.
    under_way: Cell<Option<usize>>,
}

/// Serves requests until the connection ends, or the daemon stops: then the request under way is finished.
pub(super) async fn serve(opened: Opened) {
    let Opened { shared, stream, listener, read, name } = opened;
    let connection = Rc::new(Connection {
        local: stream.local_addr(),
        is_tcp: stream.peer().is_some(),
        shared: shared.clone(),
        listener,
        name,
        under_way: Cell::new(None),
    });
    let service = service_fn(|request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await.into_response()) }
    });
    let io = TokioIo::new(Prefixed::new(read, stream));
    let mut serving = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            // `nc -N` ends its direction before it reads the answer.
            .half_close(true)
            .serve_connection(io, service)
    );
    let mut begun = pin!(shared.stop.begun());
    let mut cut = pin!(shared.stop.cut());
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = &mut cut => {
                let bytes = connection.under_way.get();
                shared.count_cut(u64::from(bytes.is_some()), bytes.unwrap_or(0));
                return;
            }
            // First, so that a request that has come is under way when hyper hears of the stop, and not cut off.
            served = &mut serving => {
                if let Err(error) = served {
                    tracing::debug!(producer = %connection.name, %error, "producer's connection failed");
                }
                return;
            }
            () = &mut begun, if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let origin = header(&request, &ORIGIN).map(str::to_owned);
        let answer = match self.check(&request, origin.as_deref()) {
            Err(refusal) => {
                tracing::debug!(producer = %self.name, code = refusal.code, reason = %refusal.message, "request refused");
                Answer::refused(&refusal)
            }
            Ok(_) if request.method() == Method::OPTIONS => return Answer::preflight(origin),
            Ok(beside) => {
                self.under_way.set(Some(0));
                let answer = self.take_body(request, beside).await;
                self.under_way.set(None);
                answer
            }
        };
        answer.for_origin(origin)
    }

    /// Everything that can be said before the body is read. Returns the fields beside the events.
    fn check(&self, request: &Request<Incoming>, origin: Option<&str>) -> Result<Beside, Refusal> {
        let settings = self.shared.settings();
        if self.is_tcp {
            // A socket whose address cannot be had is gone.
            let local = self.local.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
            let host = request.uri().authority().map(hyper::http::uri::Authority::as_str);
            check_host(host.or_else(|| header(request, &HOST)), local, &settings.hosts)?;
        }
        let content_type = header(request, &CONTENT_TYPE);
        let is_preflight = request.method() == Method::OPTIONS;
        if let Some(origin) = origin {
            // A preflight has no body, and tells the type of the one to come elsewhere.
            let content_type = if is_preflight { Some("application/json") } else { content_type };
            check_origin(origin, content_type, &settings.origins)?;
        }
        if request.uri().path() != EVENTS {
            let message = format!("there is nothing at {}", request.uri().path());
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message).hint("POST /events"));
        }
        if is_preflight {
            return Ok(Beside::default());
        }
        if request.method() != Method::POST {
            let message = format!("events are posted, not sent with {}", request.method());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
                .hint("POST /events"));
        }
        if self.shared.stop.has_begun() {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the daemon is stopping"));
        }
        check_body(content_type, header(request, &CONTENT_ENCODING))?;
        Beside::from_query(request.uri().query().unwrap_or_default()).map_err(|rejection| {
            Refusal::new(StatusCode::BAD_REQUEST, rejection.code.as_str(), rejection.message)
        })
    }

    async fn take_body(&self, request: Request<Incoming>, beside: Beside) -> Answer {
        let is_lines = is_lines(header(&request, &CONTENT_TYPE));
        let mut events = Events {
            body: Body::new(self.shared.settings().max_event_size, is_lines),
            producer: Producer::new(self.name.clone(), beside, true),
            connection: self,
            is_shedding: false,
        };
        let received = self.receive(&mut events, request.into_body()).await;
        self.shared.metrics.ingest_answers_dropped.increment(events.producer.dropped);
        events.producer.log_rest();
        match received {
            Received::Whole => Answer::of(&mut events.producer),
            Received::TimedOut => Answer::timed_out(&mut events.producer),
        }
    }

    async fn receive(&self, events: &mut Events<'_>, mut incoming: Incoming) -> Received {
        loop {
            self.shared.gate.open(self.shared.when_full(&self.listener)).await;
            let frame = match tokio::time::timeout(BODY_TIMEOUT, incoming.frame()).await {
                Err(_) => return Received::TimedOut,
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                // Nobody is there to read the answer; hyper ends the connection.
                Ok(Some(Err(error))) => {
                    tracing::debug!(producer = %self.name, %error, "request ended early");
                    return Received::Whole;
                }
            };
            let Ok(chunk) = frame.into_data() else { continue };
            self.shared.gate.open(self.shared.when_full(&self.listener)).await;
            self.under_way.set(self.under_way.get().map(|bytes| bytes + chunk.len()));
            events.take(&chunk);
            tokio::task::yield_now().await;
        }
        events.end();
        Received::Whole
    }
}

/// How a body ended.
enum Received {
    Whole,
    TimedOut,
}

/// The events of one request.
struct Events<'c> {
    connection: &'c Connection,
    body: Body,
    producer: Producer,
    /// Whether the backlog was full once: then the rest of the request is refused, so that what was taken is its
    /// beginning, and the rest can be sent again.
    is_shedding: bool,
}

impl Events<'_> {
    fn take(&mut self, chunk: &[u8]) {
        self.read(chunk.len(), |body, sink| body.feed(chunk, sink));
    }

    fn end(&mut self) {
        self.read(0, |body, sink| body.finish(sink));
    }

    fn read(&mut self, bytes: usize, cut: impl FnOnce(&mut Body, &mut dyn FnMut(Piece<'_>))) {
        let shared = &self.connection.shared;
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
            Piece::Value(place, Value::TooLong(head)) => {
                producer.reject(&mut reading, place, head, &too_long(max));
            }
            Piece::Value(place, Value::Broken(why)) => {
                let rejection = Rejection::new(RejectionCode::BadJson, 1, format!("not JSON: {why}"));
                producer.reject(&mut reading, place, b"", &rejection);
            }
        });
        reading.commit();
    }
}

/// A header's value, where it has one that is text.
fn header<'r>(request: &'r Request<Incoming>, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}
