//! Server-Sent Events as a client has them: the request, the answer's head, blocks.

use crate::client::{Asked, Subscription};
use std::net::SocketAddr;

/// One block of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    /// Its bytes, with the empty line at its end.
    pub(crate) length: usize,
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) data: Option<&'a [u8]>,
}

/// The request for a stream of all these rooms, which goes on where `last_id` says or, without one, where the
/// subscriptions say.
pub(crate) fn request(addr: SocketAddr, subscriptions: &[Subscription], last_id: &[u8]) -> String {
    let rooms: Vec<String> = subscriptions.iter().map(|own| format!("room=load:r{}", own.room)).collect();
    let asked = subscriptions.iter().filter_map(|own| match own.asked {
        Asked::Offset(offset) => Some(format!("{}:{offset}", own.epoch)),
        _ => None,
    });
    let id = if last_id.is_empty() {
        asked.collect::<Vec<_>>().join(",")
    } else {
        String::from_utf8_lossy(last_id).into_owned()
    };
    let id = if id.is_empty() { id } else { format!("Last-Event-ID: {id}\r\n") };
    format!("GET /sse?{} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\n{id}\r\n", rooms.join("&"))
}

/// Where the answer's head ends, once it has arrived; an error when it is anything but a stream.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let is_stream = head.contains("text/event-stream") && head.contains("transfer-encoding: chunked");
    if !head.starts_with("HTTP/1.1 200") || !is_stream {
        return Err(format!("a stream was asked for, the answer is {head:?}"));
    }
    Ok(Some(end + 4))
}

/// The data of the chunk that `bytes` begin with, and the chunk's whole length; none while it has not arrived whole.
pub(crate) fn chunk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end]).ok().and_then(|line| line.strip_suffix('\r'));
    let length = line.and_then(|line| usize::from_str_radix(line, 16).ok());
    let Some(length) = length else { return Err(format!("no chunk: {:?}", &bytes[..end])) };
    if length == 0 {
        return Err("the stream has ended".into());
    }
    let data = end + 1..end + 1 + length;
    match bytes.get(data.end..data.end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((&bytes[data.clone()], data.end + 2))),
        Some(other) => Err(format!("{other:?} behind a chunk")),
    }
}

/// The block that `bytes` begin with; none while it has not arrived whole.
pub(crate) fn block(bytes: &[u8]) -> Option<Block<'_>> {
    let mut block = Block::default();
    loop {
        let rest = &bytes[block.length..];
        let line = &rest[..memchr::memchr(b'\n', rest)?];
        block.length += line.len() + 1;
        if line.is_empty() {
            return Some(block);
        }
        if let Some(data) = line.strip_prefix(b"data: ") {
            block.data = Some(data);
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            block.id = Some(id);
        }
    }
}
