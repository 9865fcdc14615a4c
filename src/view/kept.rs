//! The last encoded chunks of a view, for clients a little behind.

use super::chunk::Chunk;
use std::collections::VecDeque;

/// A chunk's bytes at most, unless one event alone is longer: what one send moves at its best.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of buffers kept for reuse; a pass needs one buffer, and few are under way at once.
const POOLED_BYTES: usize = 4 << 20;

/// A view's kept chunks, oldest first.
#[derive(Debug, Default)]
pub struct Kept {
    chunks: VecDeque<Chunk>,
}

/// Where a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a frame of a chunk, by their indexes.
    Frame(usize, usize),
    /// Every kept frame is at or before the position.
    End,
    /// Before the oldest kept frame, or inside of one: what comes next is not kept as a frame of its own.
    Older,
}

impl Kept {
    /// The chunks, oldest first.
    pub fn chunks(&self) -> &VecDeque<Chunk> {
        &self.chunks
    }

    /// A chunk by its index.
    pub fn chunk(&self, index: usize) -> &Chunk {
        &self.chunks[index]
    }

    /// The chunk that is being filled.
    pub fn last(&self) -> Option<&Chunk> {
        self.chunks.back()
    }

    /// The chunk that is being filled.
    pub fn last_mut(&mut self) -> Option<&mut Chunk> {
        self.chunks.back_mut()
    }

    /// Begins another chunk, which goes on after the offset `from`.
    pub fn push(&mut self, mut chunk: Chunk, from: u64) {
        chunk.from = from;
        self.chunks.push_back(chunk);
    }

    /// Lets the oldest chunk go.
    pub fn drop_oldest(&mut self, pool: &mut Pool) {
        if let Some(chunk) = self.chunks.pop_front() {
            pool.give(chunk);
        }
    }

    /// Lets every chunk go.
    pub fn clear(&mut self, pool: &mut Pool) {
        while !self.chunks.is_empty() {
            self.drop_oldest(pool);
        }
    }

    /// The first offset, at or after `offset`, after which a frame begins.
    pub fn next_start(&self, offset: u64) -> Option<u64> {
        let oldest = self.chunks.front()?;
        if offset < oldest.from {
            return Some(oldest.from);
        }
        let chunk =
            self.chunks.iter().find(|chunk| chunk.frames.last().is_some_and(|frame| frame.last > offset))?;
        let frame = chunk.frames[chunk.frame_after(offset)];
        Some(if frame.first <= offset { frame.last } else { offset })
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Where a reader who has had everything up to `offset`, and not everything up to the view's cursor, goes on.
    pub fn place(&self, offset: u64) -> Place {
        if self.chunks.front().is_none_or(|chunk| offset < chunk.from) {
            return Place::Older;
        }
        // One after the other: they are few, and one in which a filter let nothing pass has no frames to compare.
        let ahead = |chunk: &Chunk| chunk.frames.last().is_some_and(|frame| frame.last > offset);
        let Some(chunk) = self.chunks.iter().position(ahead) else { return Place::End };
        let found = &self.chunks[chunk];
        let frame = found.frame_after(offset);
        if found.frames[frame].first <= offset { Place::Older } else { Place::Frame(chunk, frame) }
    }
}

/// Buffers of chunks that were let go, so that a pass at rest allocates nothing and its bytes are warm in the cache.
#[derive(Debug, Default)]
pub struct Pool {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Pool {
    /// An empty chunk.
    pub fn take(&mut self) -> Chunk {
        let chunk = self.chunks.pop().unwrap_or_default();
        self.bytes -= chunk.bytes.capacity();
        chunk
    }

    /// Takes a chunk back; one that had to grow for a long event is freed.
    pub fn give(&mut self, mut chunk: Chunk) {
        let bytes = chunk.bytes.capacity();
        if bytes <= 2 * CHUNK_BYTES && self.bytes + bytes <= POOLED_BYTES {
            self.bytes += bytes;
            chunk.clear();
            self.chunks.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::Frame;
    use super::*;

    #[test]
    fn readers_find_their_place() {
        let mut kept = Kept::default();
        let frame = |first, last, end| Frame { first, last, start: end - 10, end, whole: end, events: 1 };
        kept.push(Chunk { bytes: vec![0; 20], frames: vec![frame(5, 5, 10), frame(6, 9, 20)], from: 0 }, 3);
        kept.push(Chunk { bytes: vec![0; 10], frames: vec![frame(12, 12, 10)], from: 0 }, 9);
        #[track_caller]
        fn check(kept: &Kept, offset: u64, expected: Place) {
            assert_eq!(kept.place(offset), expected, "after {offset}");
        }
        check(&kept, 2, Place::Older);
        check(&kept, 3, Place::Frame(0, 0));
        check(&kept, 5, Place::Frame(0, 1));
        check(&kept, 7, Place::Older);
        check(&kept, 9, Place::Frame(1, 0));
        check(&kept, 11, Place::Frame(1, 0));
        check(&kept, 12, Place::End);
        check(&kept, 40, Place::End);
        kept.push(Chunk::default(), 12);
        check(&kept, 7, Place::Older);
        check(&kept, 9, Place::Frame(1, 0));
        check(&kept, 12, Place::End);
        for (offset, start) in
            [(0, Some(3)), (3, Some(3)), (5, Some(5)), (7, Some(9)), (9, Some(9)), (12, None)]
        {
            assert_eq!(kept.next_start(offset), start, "after {offset}");
        }
    }
}
