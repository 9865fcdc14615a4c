//! WebSocket as a client speaks it: the upgrade, masked frames out, frames in.
//!
//! No extensions, no fragments: the daemon sends neither.

use std::net::SocketAddr;

/// Opcodes (RFC 6455, section 5.2).
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Lengths that stand for a longer one after them, of two and of eight bytes.
const MEDIUM: u8 = 0x7e;
const LONG: u8 = 0x7f;

/// The key and the answer to it that RFC 6455, section 1.3, gives as an example: always the same, so that the answer
/// can be checked without computing a digest.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Masks need not be hard to guess here: nothing stands between the load and the daemon.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];

/// A frame's header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: u8,
    /// Bytes before the payload.
    pub(crate) length: usize,
    pub(crate) payload_bytes: usize,
}

impl Header {
    pub(crate) fn frame_bytes(self) -> usize {
        self.length + self.payload_bytes
    }
}

/// The request that opens a connection.
pub(crate) fn upgrade_request(addr: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Where the answer's head ends, once it has arrived; an error when it is anything but an upgrade.
pub(crate) fn upgrade_answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default().to_owned();
    if !status.starts_with("HTTP/1.1 101") {
        return Err(format!("upgrade answered with {status:?}"));
    }
    if !head.contains(ACCEPT) {
        return Err("upgrade answered with a wrong Sec-WebSocket-Accept".into());
    }
    Ok(Some(end + 4))
}

/// Appends a masked frame, as a client sends it.
pub(crate) fn push_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    push_length(out, payload.len(), 0x80);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends a frame without a mask, as a server sends it.
pub(crate) fn push_plain(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    push_length(out, payload.len(), 0);
    out.extend_from_slice(payload);
}

fn push_length(out: &mut Vec<u8>, length: usize, mask_bit: u8) {
    match length {
        0..126 => out.push(mask_bit | length as u8),
        126..65536 => {
            out.push(mask_bit | MEDIUM);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | LONG);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Reads a server's frame header; none while it has not arrived whole.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(format!("a frame begins with {first:#04x} {second:#04x}"));
    }
    let (length, payload_bytes) = match second {
        MEDIUM => match bytes.get(2..4) {
            Some(&[a, b]) => (4, usize::from(u16::from_be_bytes([a, b]))),
            _ => return Ok(None),
        },
        LONG => match bytes.get(2..10).and_then(|length| length.try_into().ok()) {
            Some(length) => (10, u64::from_be_bytes(length) as usize),
            None => return Ok(None),
        },
        short => (2, usize::from(short)),
    };
    Ok(Some(Header { opcode: first & 0x0f, length, payload_bytes }))
}

/// Takes a client's mask off. `payload` is what follows the mask.
pub(crate) fn unmask(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
