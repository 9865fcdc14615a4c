//! Why a body was not read to its end.

use crate::ingest::access::Refusal;
use hyper::StatusCode;
use std::error::Error;
use std::io::{self, ErrorKind};

/// A body that is not what HTTP says, or whose connection failed.
pub(super) fn broken(error: &hyper::Error) -> Refusal {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let bad_request = |code, message: String| Refusal::new(StatusCode::BAD_REQUEST, code, message);
    match io {
        Some(io) if io.kind() == ErrorKind::UnexpectedEof => bad_request(
            "incomplete_body",
            "the connection ended before the Content-Length, or the last chunk, of the body".to_owned(),
        )
        .hint("what was accepted stays accepted; send the rest again"),
        Some(io) if matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData) => bad_request(
            "bad_chunk",
            format!("the chunked body is malformed: {io}"),
        )
        .hint(
            "each chunk is its size in hexadecimal, a line end, the bytes, a line end; the last has size 0",
        ),
        _ => bad_request("connection_failed", format!("the connection failed within the body: {error}")),
    }
}

/// `ingest.idle_timeout` has passed.
pub(super) fn idle() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "idle", "the body did not go on within ingest.idle_timeout")
        .hint("post the rest in another request")
}

/// A new producer got its place.
pub(super) fn gave_way() -> Refusal {
    let message = "ingest.connections is reached, and this producer was quiet longest";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "gave_way", message)
        .hint("post the rest in another request, or raise ingest.connections")
}
