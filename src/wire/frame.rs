//! WebSocket frames that the daemon sends (RFC 6455 §5.2): final, unmasked, without extensions.

/// A text frame's opcode.
pub const TEXT: u8 = 0x1;
/// A close frame's opcode.
pub const CLOSE: u8 = 0x8;
/// A ping's opcode.
pub const PING: u8 = 0x9;
/// A pong's opcode.
pub const PONG: u8 = 0xA;

/// Appends a text frame whose payload `write` appends.
pub fn push_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Most frames are between 126 and 65,535 bytes long; others have their payload moved by a few bytes.
    const LIKELY_HEADER: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0x80 | TEXT, 126, 0, 0]);
    write(out);
    let len = out.len() - start - LIKELY_HEADER;
    match len {
        126..=0xffff => out[start + 2..start + 4].copy_from_slice(&(len as u16).to_be_bytes()),
        0..=125 => {
            out.copy_within(start + LIKELY_HEADER.., start + 2);
            out.truncate(start + 2 + len);
            out[start + 1] = len as u8;
        }
        _ => {
            out.extend_from_slice(&[0; 6]);
            out.copy_within(start + LIKELY_HEADER..start + LIKELY_HEADER + len, start + 10);
            out[start + 1] = 127;
            out[start + 2..start + 10].copy_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a control frame (ping, pong). The payload is cut at 125 bytes, the most a control frame can hold.
pub fn push_control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let payload = &payload[..payload.len().min(125)];
    out.extend_from_slice(&[0x80 | opcode, payload.len() as u8]);
    out.extend_from_slice(payload);
}

/// Appends a close frame. The reason is cut at a character's end so that it fits.
pub fn push_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&[0x80 | CLOSE, 2 + end as u8]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

/// A frame header, read back: whole length of the frame with it. None while the header is not whole.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    Some(match second & 0x7f {
        126 => 4 + u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize,
        127 => 10 + u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        short => 2 + short as usize,
    })
}
