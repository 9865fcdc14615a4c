//! WebSocket frames that the daemon sends (RFC 6455 §5.2): final, unmasked, without extensions.

/// A text frame's opcode.
pub const TEXT: u8 = 0x1;
/// A close frame's opcode.
pub const CLOSE: u8 = 0x8;
/// A ping's opcode.
pub const PING: u8 = 0x9;
/// A pong's opcode.
pub const PONG: u8 = 0xA;

pub(super) const LONGEST_HEADER: usize = 10;

/// Appends a text frame whose payload `write` appends; it is known to have `least` bytes at least, which may be 0. A header
/// that turns out to be of another length than expected has the payload moved by a few bytes.
pub fn push_text(out: &mut Vec<u8>, least: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    // Most frames are between 126 and 65,535 bytes long.
    let likely = header_bytes(least.max(126));
    out.extend_from_slice(&[0; LONGEST_HEADER][..likely]);
    write(out);
    let len = out.len() - start - likely;
    let header = header_bytes(len);
    if header > likely {
        out.extend_from_slice(&[0; LONGEST_HEADER][..header - likely]);
    }
    if header != likely {
        out.copy_within(start + likely..start + likely + len, start + header);
        out.truncate(start + header + len);
    }
    out[start] = 0x80 | TEXT;
    match header {
        2 => out[start + 1] = len as u8,
        4 => {
            out[start + 1] = 126;
            out[start + 2..start + 4].copy_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out[start + 1] = 127;
            out[start + 2..start + 10].copy_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends the header of a text frame whose payload has so many bytes.
pub(super) fn push_text_header(out: &mut Vec<u8>, payload: usize) {
    out.push(0x80 | TEXT);
    match header_bytes(payload) {
        2 => out.push(payload as u8),
        4 => {
            let [high, low] = (payload as u16).to_be_bytes();
            out.extend_from_slice(&[126, high, low]);
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Bytes of the header of an unmasked frame with so long a payload.
fn header_bytes(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => LONGEST_HEADER,
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

#[cfg(test)]
mod tests {
    use super::*;
    use fastwebsockets::{Frame, OpCode, Payload};

    #[track_caller]
    fn check_text(len: usize) {
        let payload = vec![b'x'; len];
        let mut buffer = Vec::new();
        let theirs = Frame::text(Payload::Borrowed(&payload)).write(&mut buffer);
        for least in [0, len / 2, len.saturating_sub(1), len, len + 1, 70_000] {
            let mut ours = b"before".to_vec();
            push_text(&mut ours, least, |out| out.extend_from_slice(&payload));
            assert!(ours.strip_prefix(b"before") == Some(theirs), "{len} bytes, {least} expected");
        }
        assert_eq!(frame_len(theirs), Some(theirs.len()));
    }

    #[test]
    fn text_frames_are_those_of_fastwebsockets_in_every_length_class() {
        for len in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 70_000] {
            check_text(len);
        }
    }

    #[test]
    fn control_frames_are_those_of_fastwebsockets() {
        for (opcode, theirs) in [(PING, OpCode::Ping), (PONG, OpCode::Pong)] {
            for len in [0, 1, 125] {
                let payload = vec![b'p'; len];
                let (mut ours, mut buffer) = (Vec::new(), Vec::new());
                push_control(&mut ours, opcode, &payload);
                let mut frame = Frame::new(true, theirs, None, Payload::Borrowed(&payload));
                assert_eq!(ours, frame.write(&mut buffer));
            }
        }
        let (mut ours, mut buffer) = (Vec::new(), Vec::new());
        push_close(&mut ours, 1001, "stopping");
        assert_eq!(ours, Frame::close(1001, b"stopping").write(&mut buffer));
    }

    #[test]
    fn control_payloads_are_cut_to_what_a_control_frame_can_hold() {
        let mut out = Vec::new();
        push_control(&mut out, PING, &[b'p'; 200]);
        assert_eq!((out.len(), out[1]), (127, 125));
        out.clear();
        push_close(&mut out, 1008, &"\u{e9}".repeat(100));
        assert_eq!((out.len(), out[1]), (2 + 2 + 122, 124), "61 characters of two bytes");
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }

    #[test]
    fn a_length_is_known_as_soon_as_its_bytes_are_there() {
        for (len, header) in [(5, 2), (126, 4), (65_536, 10)] {
            let mut frame = Vec::new();
            push_text(&mut frame, 0, |out| out.resize(out.len() + len, b'x'));
            assert!((0..header).all(|end| frame_len(&frame[..end]).is_none()));
            assert_eq!(frame_len(&frame[..header]), Some(frame.len()));
        }
    }
}
