//! `POST /events`, again and again over one connection.

use crate::cli::api::connect;
use crate::cli::find::Endpoint;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::task::JoinSet;

/// Bytes of an answer: 20 errors with their excerpts are some 20 KiB.
const ANSWER_BYTES: usize = 1 << 20;

/// Posts lines.
pub(in crate::cli) struct Sender {
    endpoint: Endpoint,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// hyper's part of the connection.
    tasks: JoinSet<()>,
}

/// What became of the lines of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Answer {
    pub accepted: u64,
    pub rejected: u64,
    /// The first of those that were refused.
    pub errors: Vec<LineError>,
    /// The daemon has no room for more now: when to come again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// A line that was refused, as producers are told.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(in crate::cli) struct LineError {
    #[serde(default)]
    pub line: u64,
    #[serde(default)]
    pub column: u64,
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::cli) enum Failure {
    /// Nothing was sent.
    Unreachable(io::Error),
    /// It was sent, at least in part, and nobody knows what was accepted.
    Lost(String),
    /// The whole request was refused before its lines were read; some come again later.
    Refused(LineError, Option<Duration>),
}

impl Sender {
    pub(in crate::cli) fn new(endpoint: Endpoint) -> Sender {
        Sender { endpoint, connection: None, tasks: JoinSet::new() }
    }

    /// Where it posts to.
    pub(in crate::cli) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Posts lines and waits for the answer. Connects if there is no connection, or the one there was has ended.
    pub(in crate::cli) async fn post(&mut self, lines: Vec<u8>) -> Result<Answer, Failure> {
        let request = Request::post(self.endpoint.path_or("/events"))
            .header(HOST, &self.endpoint.host)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(Full::new(Bytes::from(lines)))
            .map_err(|error| Failure::Unreachable(io::Error::other(error)))?;
        let mut connection = self.ready().await.map_err(Failure::Unreachable)?;
        let lost = |error: hyper::Error| Failure::Lost(error.to_string());
        let response = connection.send_request(request).await.map_err(lost)?;
        let answer = read(response).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn ready(&mut self) -> io::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let stream = connect(&self.endpoint).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.tasks.abort_all();
        self.tasks.spawn(async move {
            // Its errors come out of the requests.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer, Failure> {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after =
        (status == StatusCode::SERVICE_UNAVAILABLE).then(|| Duration::from_secs(seconds.unwrap_or(1)));
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| Failure::Lost(error.to_string()))?.to_bytes();
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Body {
        // First, since an answer with counts may have an error beside them.
        Answer {
            accepted: u64,
            rejected: u64,
            #[serde(default)]
            errors: Vec<LineError>,
        },
        Refused {
            error: LineError,
        },
        // Of the daemon's other listeners (RFC 9457).
        Problem {
            detail: String,
            hint: Option<String>,
        },
    }
    let refused = |message: String, hint: Option<String>| {
        let code = status.as_str().to_owned();
        let error = LineError { line: 0, column: 0, code, path: None, message, hint, excerpt: None };
        Failure::Refused(error, retry_after)
    };
    match serde_json::from_slice(&body) {
        Ok(Body::Answer { accepted, rejected, errors }) => {
            Ok(Answer { accepted, rejected, errors, retry_after })
        }
        Ok(Body::Refused { error }) => Err(Failure::Refused(error, retry_after)),
        Ok(Body::Problem { detail, hint }) => Err(refused(detail, hint)),
        Err(_) => {
            let hint = "is it the daemon's ingest listener? --to ADDRESS names another";
            Err(refused("the answer is none of a daemon's".to_owned(), Some(hint.to_owned())))
        }
    }
}
