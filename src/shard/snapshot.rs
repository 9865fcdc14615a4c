//! Beginning with a snapshot: the newest event of every key up to some offset, and then the log.
//!
//! Who begins so is a reader of the room's compacted log (the log in which only the newest event of each key is left) from
//! its position on, as others who are behind are readers of the log; the position and where the snapshot leads to are all
//! that is kept. Pages follow one another until the position is there; then the log goes on.
//!
//! *Nothing is lost in between.* At position p the reader has the newest event of every key whose newest one is at p or
//! before. An event that comes meanwhile has a higher offset than everything that there is, so that its key moves ahead
//! of the reader, whether it was behind or ahead: it is read later, here or in the log. So whenever the log has everything
//! after p, the reader may go on there; and while it has not, it goes on here.
//!
//! It has not, where history is short and the reader slow. Then the snapshot leads to what the view itself has taken from
//! the room by now: after that the log has everything, since backlog is kept for the view.

use super::catch_up::Reader;
use super::gathered::Gathered;
use super::shard::Shard;
use crate::view::Place;

impl Shard {
    /// Adds a page of the snapshot that a reader is in. False when a filter let nothing pass: others have their turn.
    pub(super) fn gather_snapshot(&mut self, reader: &mut Reader, gathered: &mut Gathered) -> bool {
        let taken = self.views[reader.view as usize].passed();
        let mut upto = (reader.snapshot_to - 1).min(taken);
        if upto < taken && !self.log_goes_on_after(reader.view, upto) {
            upto = taken;
        }
        let page = self.keys_page(reader.view, reader.position, upto);
        let frames = page.chunk.frames.len();
        reader.snapshot_to = if page.is_last() { 0 } else { upto + 1 };
        reader.position = page.to;
        for (index, frame) in page.chunk.frames.iter().enumerate() {
            let bytes = page.chunk.bytes_of(frame);
            let ends = page.is_last() && index + 1 == frames;
            if ends {
                gathered.frame(reader.index, bytes);
            } else {
                gathered.bytes.extend_from_slice(bytes);
            }
            gathered.mark(reader.index, page.to, frame.events, None);
            gathered.mark_snapshot(if ends { 0 } else { upto + 1 });
        }
        if frames == 0 {
            gathered.mark(reader.index, page.to, 0, None);
            gathered.mark_snapshot(reader.snapshot_to);
        }
        frames > 0
    }

    /// Whether everything after an offset can be had, from the view's kept chunks or from the log.
    fn log_goes_on_after(&self, view: u32, offset: u64) -> bool {
        let state = &self.views[view as usize];
        let is_kept = state.active.as_ref().is_some_and(|active| active.kept.place(offset) != Place::Older);
        is_kept || self.seats[state.seat as usize].room.log_first() <= offset + 1
    }
}
