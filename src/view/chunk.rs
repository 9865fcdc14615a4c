//! Encoded frames in one contiguous buffer, and which offsets each of them holds.

use crate::wire::Transfer;
use smallvec::SmallVec;
use std::ops::Range;

/// Bytes of frames that are enclosed together, unless one frame is longer. Bounds the rest of a short send that is kept for
/// its client. Such lengths have three digits.
const ENCLOSED_BYTES: usize = 0xfff;

/// Frames of one view, in order.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The frames' bytes.
    pub bytes: Vec<u8>,
    /// Every frame, in order.
    pub frames: Vec<Frame>,
    /// Offset of the last event before it: the chunk holds everything after that passes the view's filter.
    pub from: u64,
}

/// One frame of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Offset of its first event.
    pub first: u64,
    /// Offset of its last event.
    pub last: u64,
    /// Begin and end of its own bytes in the chunk, without their framing.
    pub start: u32,
    /// As `start`.
    pub end: u32,
    /// End of what must go out once a send has begun it: of its own bytes, or of the frames enclosed with it.
    pub whole: u32,
    /// How many events it holds.
    pub events: u32,
}

/// How far a send that took only part of a chunk's bytes got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Offset of the last event whose frame has begun to go out; what is left of that frame must be sent before
    /// anything else. None: not one byte of any frame went out.
    pub offset: Option<u64>,
    /// The bytes of the cut frame that are left, as a range of the chunk's bytes; empty if none was cut.
    pub rest: (usize, usize),
    /// Events of the frames that went out, the cut one among them.
    pub events: u64,
}

impl Chunk {
    /// Index of the first frame with an event after `offset`.
    pub fn frame_after(&self, offset: u64) -> usize {
        self.frames.partition_point(|frame| frame.last <= offset)
    }

    /// Begin of a send whose first frame this is. The index after the last frame's is the end.
    pub fn start_of(&self, frame: usize) -> usize {
        frame.checked_sub(1).map_or(0, |before| self.frames[before].whole as usize)
    }

    /// A frame's own bytes.
    pub fn bytes_of(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.start as usize..frame.end as usize]
    }

    /// Makes a frame of the bytes that were appended since the last one. It holds events from the offset `first` to `last`.
    pub fn push_frame(&mut self, first: u64, last: u64, events: usize) {
        let (start, end) = (self.start_of(self.frames.len()) as u32, self.bytes.len() as u32);
        self.frames.push(Frame { first, last, start, end, whole: end, events: events as u32 });
    }

    /// Encloses the frames from one on, several at a time: a short send ends between them, and not within.
    pub fn enclose(&mut self, transfer: Transfer, first: usize) {
        if transfer == Transfer::Plain {
            return;
        }
        let groups = self.groups(first);
        let overhead = |chunk: &Chunk, group: &Range<usize>| transfer.overhead(chunk.span(group).len());
        let mut shift: usize = groups.iter().map(|group| overhead(self, group)).sum();
        self.bytes.resize(self.bytes.len() + shift, 0);
        // From the last one on, so that none is overwritten.
        for group in groups.into_iter().rev() {
            let from = self.span(&group);
            let taken = overhead(self, &group);
            shift -= taken;
            let to = from.start + shift;
            let moved = transfer.enclose_at(&mut self.bytes, from.clone(), to).start - from.start;
            for frame in &mut self.frames[group] {
                frame.start += moved as u32;
                frame.end += moved as u32;
                frame.whole = (to + from.len() + taken) as u32;
            }
        }
    }

    /// Frames from one on, as many together as are enclosed as one.
    fn groups(&self, first: usize) -> SmallVec<[Range<usize>; 16]> {
        let mut groups: SmallVec<[Range<usize>; 16]> = SmallVec::new();
        for index in first..self.frames.len() {
            match groups.last_mut() {
                Some(group) if self.span(&(group.start..index + 1)).len() <= ENCLOSED_BYTES => {
                    group.end = index + 1;
                }
                _ => groups.push(index..index + 1),
            }
        }
        groups
    }

    /// The bytes of frames, the last of which are not enclosed yet.
    fn span(&self, frames: &Range<usize>) -> Range<usize> {
        self.frames[frames.start].start as usize..self.frames[frames.end - 1].end as usize
    }

    /// Events of the frames in a range of frames.
    pub fn events_in(&self, frames: std::ops::Range<usize>) -> u64 {
        self.frames[frames].iter().map(|frame| u64::from(frame.events)).sum()
    }

    /// How far a send got that began with the frame `first` and took `sent` bytes.
    pub fn split(&self, first: usize, sent: usize) -> Split {
        let reached = self.start_of(first) + sent;
        // The frame that `reached` lies in, or the first that was not begun.
        let next = first + self.frames[first..].partition_point(|frame| (frame.whole as usize) <= reached);
        let begun = self.frames.get(next).filter(|_| reached > self.start_of(next));
        let whole = begun.map_or(reached, |frame| frame.whole as usize);
        let end = next + self.frames[next..].partition_point(|frame| (frame.whole as usize) <= whole);
        Split {
            offset: (end > first).then(|| self.frames[end - 1].last),
            rest: (reached, whole),
            events: self.events_in(first..end),
        }
    }

    /// Empties the chunk and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Chunk {
        let mut chunk = Chunk { from: 4, ..Chunk::default() };
        for (first, last) in [(5, 5), (6, 9), (12, 12)] {
            chunk.bytes.extend([b'x'; 10]);
            chunk.push_frame(first, last, (last - first + 1) as usize);
        }
        chunk
    }

    #[test]
    fn frames_are_found_by_offset() {
        for (offset, index) in [(0, 0), (4, 0), (5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (99, 3)] {
            assert_eq!(chunk().frame_after(offset), index, "after {offset}");
        }
    }

    #[track_caller]
    fn check(first: usize, sent: usize, offset: Option<u64>, rest: (usize, usize), events: u64) {
        assert_eq!(
            chunk().split(first, sent),
            Split { offset, rest, events },
            "{sent} bytes from frame {first}"
        );
    }

    #[test]
    fn a_short_send_is_cut_at_frames() {
        check(0, 0, None, (0, 0), 0);
        check(0, 1, Some(5), (1, 10), 1);
        check(0, 10, Some(5), (10, 10), 1);
        check(0, 11, Some(9), (11, 20), 5);
        check(0, 29, Some(12), (29, 30), 6);
        check(0, 30, Some(12), (30, 30), 6);
        check(1, 0, None, (10, 10), 0);
        check(1, 10, Some(9), (20, 20), 4);
        check(2, 3, Some(12), (23, 30), 1);
    }

    /// A chunk of frames so long, all but the first `plain` of which are enclosed.
    fn enclosed(lengths: &[usize], plain: usize) -> Chunk {
        let mut chunk = Chunk::default();
        for (length, offset) in lengths.iter().zip(1..) {
            chunk.bytes.extend(std::iter::repeat_n(b'a' + offset as u8 - 1, *length));
            chunk.push_frame(offset, offset, 1);
        }
        chunk.enclose(Transfer::Chunked, plain);
        chunk
    }

    #[test]
    fn frames_are_enclosed_several_at_a_time() {
        let chunk = enclosed(&[3, 2, 1], 0);
        assert_eq!(String::from_utf8_lossy(&chunk.bytes), "6\r\naaabbc\r\n");
        let own = |chunk: &Chunk| -> Vec<String> {
            let own = chunk.frames.iter().map(|frame| chunk.bytes_of(frame));
            own.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
        };
        assert_eq!(own(&chunk), ["aaa", "bb", "c"]);
        assert!(chunk.frames.iter().all(|frame| frame.whole as usize == chunk.bytes.len()));
        // Frames enclosed before stay as they are.
        let mut chunk = enclosed(&[3, 2], 1);
        chunk.bytes.extend(b"cccc");
        chunk.push_frame(3, 3, 1);
        chunk.enclose(Transfer::Chunked, 2);
        assert_eq!(String::from_utf8_lossy(&chunk.bytes), "aaa2\r\nbb\r\n4\r\ncccc\r\n");
        assert_eq!(own(&chunk), ["aaa", "bb", "cccc"]);
        let mut plain = enclosed(&[3], 1);
        plain.enclose(Transfer::Plain, 0);
        assert_eq!(plain.bytes, b"aaa");
    }

    #[test]
    fn long_frames_are_enclosed_apart() {
        let chunk = enclosed(&[4000, 95, 1, 5000, 4095, 4096, 7], 0);
        let ends: Vec<u32> = chunk.frames.iter().map(|frame| frame.whole).collect();
        assert_eq!(ends, [4102, 4102, 4108, 9116, 13_218, 17_322, 17_334]);
        let mut rest = chunk.bytes.as_slice();
        for length in [4095, 1, 5000, 4095, 4096, 7] {
            rest = rest.strip_prefix(format!("{length:x}\r\n").as_bytes()).unwrap();
            rest = rest[length..].strip_prefix(b"\r\n").unwrap();
        }
        assert!(rest.is_empty());
        for (frame, length) in chunk.frames.iter().zip([4000, 95, 1, 5000, 4095, 4096, 7]) {
            let own = chunk.bytes_of(frame);
            assert!(own.len() == length && own.iter().all(|byte| *byte == b'a' + frame.first as u8 - 1));
        }
    }

    #[test]
    fn a_short_send_is_cut_at_what_is_enclosed() {
        // "aaa", and "3\r\nbbc\r\n" behind it.
        let chunk = enclosed(&[3, 2, 1], 1);
        assert_eq!(chunk.bytes.len(), 11);
        for (first, sent, offset, rest, events) in [
            (0, 2, Some(1), (2, 3), 1),
            (0, 3, Some(1), (3, 3), 1),
            (0, 4, Some(3), (4, 11), 3),
            (1, 0, None, (3, 3), 0),
            (1, 1, Some(3), (4, 11), 2),
            (1, 5, Some(3), (8, 11), 2),
            (1, 7, Some(3), (10, 11), 2),
            (1, 8, Some(3), (11, 11), 2),
        ] {
            assert_eq!(chunk.split(first, sent), Split { offset, rest, events }, "{sent} bytes from {first}");
        }
    }
}
