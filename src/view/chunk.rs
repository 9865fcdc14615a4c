//! Encoded frames in one contiguous buffer, and which offsets each of them holds.

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
    /// Where its bytes end in the chunk.
    pub end: u32,
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

    /// Where a frame's bytes begin. The index after the last frame's is the end.
    pub fn start_of(&self, frame: usize) -> usize {
        frame.checked_sub(1).map_or(0, |before| self.frames[before].end as usize)
    }

    /// Events of the frames in a range of frames.
    pub fn events_in(&self, frames: std::ops::Range<usize>) -> u64 {
        self.frames[frames].iter().map(|frame| u64::from(frame.events)).sum()
    }

    /// How far a send got that began with the frame `first` and took `sent` bytes.
    pub fn split(&self, first: usize, sent: usize) -> Split {
        let start = self.start_of(first);
        let reached = start + sent;
        // The frame that `reached` lies in, or the first that was not begun.
        let next = first + self.frames[first..].partition_point(|frame| (frame.end as usize) <= reached);
        let begun = next < self.frames.len() && reached > self.start_of(next);
        let end = next + usize::from(begun);
        Split {
            offset: (end > first).then(|| self.frames[end - 1].last),
            rest: if begun { (reached, self.frames[next].end as usize) } else { (reached, reached) },
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
        let frame = |first, last, end| Frame { first, last, end, events: (last - first + 1) as u32 };
        Chunk {
            bytes: vec![0; 30],
            frames: vec![frame(5, 5, 10), frame(6, 9, 20), frame(12, 12, 30)],
            from: 4,
        }
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
}
