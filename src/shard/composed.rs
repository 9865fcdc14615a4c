//! Compositions: what passes have for a client in several rooms, put together so that each frame tells where the client is
//! in its other rooms.
//!
//! A composition follows from which passes are due to the client and where it is in each of its rooms, and from nothing
//! else; both are its key. So it is sent as it is to every other client with the same key. Keys and pieces are in the order
//! of views, so that it does not matter in which order a client has named its rooms. Nothing has to be forgotten when rooms
//! or clients come, move and go: a pass has a number that no other ever has, an epoch is one log's alone, and what a key
//! does not say is not in the bytes.
//!
//! Clients in different sets of rooms seldom share a whole key, but often the passes: then the frames stay, and only the
//! positions in them are written over.

use super::catch_up::CATCH_UP_BYTES;
use super::client::Subscription;
use super::gathered::{At, Told, push_others};
use super::shard::Shard;
use super::view::Pass;
use crate::config::Namespace;
use crate::view::Chunk;
use crate::wire::Wire;
use smallvec::SmallVec;
use std::ops::Range;

/// Compositions that a shard keeps: members of a pass in so many different sets of rooms come by turns. In tests few, so
/// that positions are written over in simulations of few clients.
const KEPT: usize = if cfg!(test) { 2 } else { 4 };
/// A composition keeps so much memory while nothing is sent.
const RESTING_BYTES: usize = 2 * CATCH_UP_BYTES;

/// A client's subscription, as a composition looks at it.
pub(super) struct Part {
    view: u32,
    /// Its place in the client.
    pub(super) subscription: u32,
    of: Key,
}

/// What of a subscription a composition follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The number of the pass that is due to it, which says where it is as well; else the epoch and the offset where it is.
    at: (u64, u64),
    is_due: bool,
    told: Told,
    namespace: Option<Namespace>,
}

/// A client's subscriptions in the order of their views.
pub(super) type Parts = SmallVec<[Part; 4]>;

/// The compositions that were made last. None is of any use when its passes have ended.
#[derive(Default)]
pub(super) struct Compositions {
    kept: Vec<Composition>,
    /// Which of them is the next to make room.
    next: usize,
    /// Positions as text, kept for its memory.
    text: Vec<u8>,
}

/// Passes put together, as many as fit into a send.
#[derive(Default)]
pub(super) struct Composition {
    of: Vec<Key>,
    pub(super) bytes: Vec<u8>,
    runs: Vec<Run>,
    frames: Vec<Composed>,
}

/// The frames of one pass.
struct Run {
    /// The part that they are due to.
    place: usize,
    /// Its frames among those of the composition.
    frames: Range<usize>,
    /// Where its bytes end.
    end: usize,
    /// How long the other rooms' positions are in each of its frames; none if one of them tells no positions.
    told_bytes: Option<usize>,
}

/// A frame of a composition.
#[derive(Clone, Copy)]
struct Composed {
    /// Where the other rooms' positions begin.
    told_at: u32,
    /// Its end, with everything enclosed with it.
    end: u32,
}

/// Where a short send has cut a composition.
pub(super) struct Cut {
    /// The part whose frames were cut, or not begun.
    pub(super) place: usize,
    /// How many of its frames were begun.
    pub(super) begun: usize,
    /// The rest of the frame that was cut; empty if none was.
    pub(super) rest: Range<usize>,
}

impl Compositions {
    /// The composition for a client whose subscriptions are these.
    fn find(&self, parts: &[Part]) -> Option<usize> {
        let is_for = |composition: &Composition| {
            composition.of.len() == parts.len()
                && composition.of.iter().zip(parts).all(|(key, part)| *key == part.of)
        };
        self.kept.iter().position(is_for)
    }

    /// The one that makes room for another.
    fn make_room(&mut self) -> usize {
        if self.kept.len() < KEPT {
            self.kept.push(Composition::default());
            return self.kept.len() - 1;
        }
        let oldest = self.next;
        self.next = (oldest + 1) % KEPT;
        oldest
    }

    /// No pass is under way: nothing kept is of use. Gives memory back that a long event took.
    pub(super) fn rest(&mut self) {
        self.kept.retain(|composition| composition.bytes.capacity() <= RESTING_BYTES);
    }

    /// The kept ones.
    pub(super) fn get(&self, index: usize) -> &Composition {
        &self.kept[index]
    }
}

impl Composition {
    /// Whether it has the frames of the passes that are due to these parts, in the same order.
    fn has_frames_of(&self, parts: &[Part]) -> bool {
        let ours = self.of.iter().filter(|key| key.is_due).map(|key| key.at);
        ours.eq(parts.iter().filter(|part| part.of.is_due).map(|part| part.of.at))
    }

    /// Begins anew for these parts.
    fn begin(&mut self, parts: &[Part]) {
        self.note(parts);
        self.bytes.clear();
        self.runs.clear();
        self.frames.clear();
    }

    fn note(&mut self, parts: &[Part]) {
        self.of.clear();
        self.of.extend(parts.iter().map(|part| part.of));
    }

    /// Adds a pass's frames, which are due to the part at a place, with these positions in each.
    fn push(&mut self, wire: Wire, place: usize, pass: &Pass, chunk: &Chunk, text: &[u8]) {
        let first = self.frames.len();
        let (mut tells, transfer) = (true, wire.transfer());
        for enclosed in chunk.frames[pass.frame..].chunk_by(|one, next| one.whole == next.whole) {
            let begin = self.frames.len();
            let own: usize = enclosed.iter().map(|frame| chunk.bytes_of(frame).len()).sum();
            transfer.push_head(&mut self.bytes, own + enclosed.len() * text.len());
            for frame in enclosed {
                let told_at = wire.push_with_others(&mut self.bytes, chunk.bytes_of(frame), text);
                tells &= told_at.is_some();
                self.frames.push(Composed { told_at: told_at.unwrap_or(0) as u32, end: 0 });
            }
            transfer.push_tail(&mut self.bytes);
            let end = self.bytes.len() as u32;
            self.frames[begin..].iter_mut().for_each(|frame| frame.end = end);
        }
        let (frames, end) = (first..self.frames.len(), self.bytes.len());
        self.runs.push(Run { place, frames, end, told_bytes: tells.then_some(text.len()) });
    }

    /// Puts these positions into a run's frames, in place of those that are there. False where they are of another length.
    fn tell(&mut self, run: usize, place: usize, text: &[u8]) -> bool {
        let run = &mut self.runs[run];
        if run.told_bytes != Some(text.len()) {
            return false;
        }
        run.place = place;
        for frame in &self.frames[run.frames.clone()] {
            let at = frame.told_at as usize;
            self.bytes[at..at + text.len()].copy_from_slice(text);
        }
        true
    }

    /// The places of the parts whose passes it has as a whole within so many bytes.
    pub(super) fn served(&self, sent: usize) -> impl Iterator<Item = usize> + '_ {
        self.runs.iter().take_while(move |run| run.end <= sent).map(|run| run.place)
    }

    /// Where a send of so many bytes, not all, has cut it.
    pub(super) fn cut(&self, sent: usize) -> Option<Cut> {
        let run = self.runs.iter().find(|run| run.end > sent)?;
        let frames = &self.frames[run.frames.clone()];
        let whole = frames.partition_point(|frame| frame.end as usize <= sent);
        let before = (run.frames.start + whole).checked_sub(1);
        let start = before.map_or(0, |before| self.frames[before].end as usize);
        let end = if sent > start { frames[whole].end as usize } else { sent };
        let begun = frames.partition_point(|frame| frame.end as usize <= end);
        Some(Cut { place: run.place, begun, rest: sent..end })
    }
}

impl Shard {
    /// A client's subscriptions, as a composition looks at them.
    pub(super) fn parts_of(&self, client: u32) -> Parts {
        let mut parts = Parts::new();
        for (subscription, index) in self.clients[client as usize].subscriptions.iter().zip(0..) {
            parts.push(Part { view: subscription.view, subscription: index, of: self.key_of(subscription) });
        }
        parts.sort_unstable_by_key(|part| part.view);
        parts
    }

    pub(super) fn key_of(&self, subscription: &Subscription) -> Key {
        let view = &self.views[subscription.view as usize];
        let (told, namespace) = (subscription.told(), view.wire.namespace());
        if let Some(pass) = view.pass().filter(|pass| pass.is_due_to(subscription)) {
            return Key { at: (pass.number, 0), is_due: true, told, namespace };
        }
        let At { position, .. } = self.at(subscription);
        Key { at: (position.epoch.0, position.offset), is_due: false, told, namespace }
    }

    /// The kept composition of what passes have for a client; it is made if there is none yet. What is much is not put
    /// together: it would be more than a socket takes.
    pub(super) fn compose(&self, client: u32, parts: &[Part], composed: &mut Compositions) -> usize {
        if let Some(index) = composed.find(parts) {
            return index;
        }
        let oldest = composed.make_room();
        let alike = self.alike(client, parts, oldest, composed);
        let Compositions { kept, text, .. } = composed;
        if let Some(alike) = alike
            && self.retell(client, parts, &mut kept[alike], text)
        {
            return alike;
        }
        let index = alike.unwrap_or(oldest);
        self.compose_anew(client, parts, &mut kept[index], text);
        index
    }

    /// A composition with the frames for a client, in which its positions are likely to fit. While the oldest one has other
    /// frames nothing is lost with it, and those that have these are kept for clients that are elsewhere.
    fn alike(
        &self,
        client: u32,
        parts: &[Part],
        oldest: usize,
        composed: &mut Compositions,
    ) -> Option<usize> {
        let Compositions { kept, text, .. } = composed;
        let first = parts.iter().position(|part| part.of.is_due)?;
        if !kept[oldest].has_frames_of(parts) {
            return None;
        }
        text.clear();
        push_others(&self.positions(client, parts), first, text);
        let fits = |index: &usize| {
            let run = kept[*index].runs.first();
            run.is_some_and(|run| run.told_bytes == Some(text.len())) && kept[*index].has_frames_of(parts)
        };
        (oldest..kept.len()).chain(0..oldest).find(fits)
    }

    /// Where a client is in its rooms, in the order of these parts.
    fn positions(&self, client: u32, parts: &[Part]) -> SmallVec<[At; 4]> {
        let subscriptions = &self.clients[client as usize].subscriptions;
        parts.iter().map(|part| self.at(&subscriptions[part.subscription as usize])).collect()
    }

    fn compose_anew(&self, client: u32, parts: &[Part], composition: &mut Composition, text: &mut Vec<u8>) {
        let state = &self.clients[client as usize];
        composition.begin(parts);
        let mut positions = self.positions(client, parts);
        for (place, part) in parts.iter().enumerate() {
            if composition.bytes.len() >= CATCH_UP_BYTES {
                return;
            }
            let subscription = &state.subscriptions[part.subscription as usize];
            let Some((pass, chunk)) = self.due(subscription) else { continue };
            text.clear();
            push_others(&positions, place, text);
            composition.push(state.wire, place, pass, chunk, text);
            positions[place].position.offset = chunk.frames.last().map_or(pass.from, |frame| frame.last);
        }
    }

    /// Makes of a composition with the same frames the one for this client. False where that takes more than writing its
    /// positions over those that are there; the composition is no use then.
    fn retell(&self, client: u32, parts: &[Part], composition: &mut Composition, text: &mut Vec<u8>) -> bool {
        let state = &self.clients[client as usize];
        composition.note(parts);
        let mut positions = self.positions(client, parts);
        let due = parts.iter().enumerate().filter(|(_, part)| part.of.is_due);
        for (run, (place, part)) in due.enumerate().take(composition.runs.len()) {
            text.clear();
            push_others(&positions, place, text);
            if !composition.tell(run, place, text) {
                return false;
            }
            let due = self.due(&state.subscriptions[part.subscription as usize]);
            let last = due.and_then(|(_, chunk)| chunk.frames.last());
            positions[place].position.offset = last.map_or(0, |frame| frame.last);
        }
        true
    }
}

#[cfg(test)]
impl Compositions {
    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.kept.len()
    }

    /// The most passes that are put together in one of them.
    pub(super) fn most_runs(&self) -> usize {
        self.kept.iter().map(|composition| composition.runs.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SocketIo, Sse, Transfer};

    fn at(epoch: u64, offset: u64) -> Key {
        Key { at: (epoch, offset), is_due: false, told: Told::Yes, namespace: None }
    }

    fn due(pass: u64) -> Key {
        Key { is_due: true, ..at(pass, 0) }
    }

    fn part(view: u32, of: Key) -> Part {
        Part { view, subscription: 7 - view, of }
    }

    /// A wire, and a chunk of its frames with a pass over all but the first of them.
    fn written(wire: Wire, frames: &[&str]) -> (Pass, Chunk) {
        let mut chunk = Chunk::default();
        for (frame, last) in frames.iter().zip(1..) {
            match wire {
                Wire::SocketIo(_) => {
                    chunk.bytes.extend([0x81, frame.len() as u8]);
                    chunk.bytes.extend(frame.as_bytes());
                }
                _ => chunk.bytes.extend(frame.as_bytes()),
            }
            chunk.push_frame(last, last, 1);
        }
        chunk.enclose(wire.transfer(), 1);
        let (start, end) = (chunk.frames[0].end as usize, chunk.bytes.len());
        let (number, events) = (1, frames.len() as u64 - 1);
        let pass =
            Pass { number, frame: 1, start, end, from: 1, next: 0, events, delivered: 0, due_ms: None };
        (pass, chunk)
    }

    #[test]
    fn a_composition_is_for_whoever_has_the_same_passes_due_and_is_at_the_same_places() {
        let [main, other] = ["/", "/other"].map(|name| Namespace::named(name).unwrap());
        let position = at(2, 9);
        let parts = |pass, second| [part(1, due(pass)), part(5, second)];
        let mut composed = Compositions::default();
        let index = composed.make_room();
        composed.kept[index].begin(&parts(3, position));
        assert_eq!(composed.find(&parts(3, position)), Some(index));
        let in_namespace = |namespace| Key { namespace: Some(namespace), ..position };
        let elsewhere = [
            parts(4, position),
            parts(3, at(2, 8)),
            parts(3, at(3, 9)),
            parts(3, Key { told: Told::NotYet, ..position }),
            parts(3, Key { is_due: true, ..position }),
            parts(3, in_namespace(main)),
        ];
        for (index, parts) in elsewhere.iter().enumerate() {
            assert_eq!(composed.find(parts), None, "{index}");
        }
        assert_eq!(composed.find(&parts(3, position)[..1]), None, "it is in fewer rooms");
        composed.kept[index].begin(&parts(3, in_namespace(main)));
        assert_eq!(composed.find(&parts(3, in_namespace(other))), None);
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for_and_the_oldest_goes_first() {
        let mut composed = Compositions::default();
        let parts = |number: usize| [part(0, due(number as u64))];
        for number in 1..=2 * KEPT {
            let index = composed.make_room();
            composed.kept[index].begin(&parts(number));
            let found = (1..=number).filter(|number| composed.find(&parts(*number)).is_some());
            let expected = (number.saturating_sub(KEPT) + 1)..=number;
            assert!(found.eq(expected), "after {number}");
        }
        composed.kept[0].bytes.reserve(RESTING_BYTES + 1);
        composed.rest();
        assert_eq!(composed.count(), KEPT - 1, "a long event's memory is given back");
    }

    #[test]
    fn positions_are_written_over_those_of_the_same_length() {
        let socketio = Wire::SocketIo(SocketIo::new(Namespace::main(), true));
        let packets = [r#"42["x",1,"a:1"]"#, r#"42["x",22,"a:2"]"#, r#"42["x",{},"a:13"]"#];
        let blocks = ["id: a:1\ndata: x\n\n", "id: a:2\ndata: yy\n\n", "id: a:13\ndata: z\n\n"];
        let chunked = Wire::Sse(Sse { transfer: Transfer::Chunked, ..Sse::default() });
        for (wire, frames) in [(socketio, packets), (Wire::Sse(Sse::default()), blocks), (chunked, blocks)] {
            let (pass, chunk) = written(wire, &frames);
            let composed = |texts: [&str; 2]| {
                let mut composition = Composition::default();
                composition.push(wire, 0, &pass, &chunk, texts[0].as_bytes());
                composition.push(wire, 2, &pass, &chunk, texts[1].as_bytes());
                composition
            };
            let long = "b:1,".repeat(40);
            let mut composition = composed(["b:1,c:22,", &long]);
            assert!(composition.tell(0, 1, b"b:7,d:88,"));
            let other = long.replace('1', "2");
            assert!(composition.tell(1, 3, other.as_bytes()));
            assert_eq!(composition.bytes, composed(["b:7,d:88,", &other]).bytes);
            assert_eq!(
                composition.served(usize::MAX).collect::<Vec<_>>(),
                [1, 3],
                "as the next client has them"
            );
            assert!(!composition.tell(0, 1, b"b:7,d:888,"));
        }
        // What tells no position is not to be written into.
        let (pass, chunk) = written(socketio, &[r#"42["x",1]"#, r#"42["x",2]"#]);
        let mut composition = Composition::default();
        composition.push(socketio, 0, &pass, &chunk, b"b:1,");
        assert_eq!(composition.bytes, &chunk.bytes[pass.start..]);
        assert!(!composition.tell(0, 0, b"b:2,"));
    }

    #[test]
    fn a_short_send_ends_within_a_frame_or_between_two() {
        let wire = Wire::Sse(Sse::default());
        let (pass, chunk) = written(wire, &["id: a:1\n\n", "id: a:2\n\n", "id: a:3\n\n"]);
        let mut composition = Composition::default();
        composition.push(wire, 2, &pass, &chunk, b"");
        composition.push(wire, 5, &pass, &chunk, b"b:1,");
        // Two frames of 9 bytes, and two of 13.
        assert_eq!(composition.bytes.len(), 44);
        let at = |sent| {
            let cut = composition.cut(sent).map(|cut| (cut.place, cut.begun, cut.rest));
            (composition.served(sent).collect::<Vec<_>>(), cut)
        };
        for (sent, served, place, begun, rest) in [
            (0, vec![], 2, 0, 0..0),
            (1, vec![], 2, 1, 1..9),
            (9, vec![], 2, 1, 9..9),
            (10, vec![], 2, 2, 10..18),
            (18, vec![2], 5, 0, 18..18),
            (19, vec![2], 5, 1, 19..31),
            (31, vec![2], 5, 1, 31..31),
            (43, vec![2], 5, 2, 43..44),
        ] {
            assert_eq!(at(sent), (served, Some((place, begun, rest))), "{sent}");
        }
        assert_eq!(at(44), (vec![2, 5], None));
    }

    #[test]
    fn frames_that_a_pass_encloses_together_are_enclosed_together() {
        let wire = Wire::Sse(Sse { transfer: Transfer::Chunked, ..Sse::default() });
        let (pass, chunk) = written(wire, &["id: a:1\n\n", "id: a:2\n\n", "id: a:3\n\n"]);
        let mut composition = Composition::default();
        composition.push(wire, 2, &pass, &chunk, b"b:1,");
        composition.push(wire, 5, &pass, &chunk, b"");
        let expected = "1a\r\nid: b:1,a:2\n\nid: b:1,a:3\n\n\r\n12\r\nid: a:2\n\nid: a:3\n\n\r\n";
        assert_eq!(String::from_utf8_lossy(&composition.bytes), expected);
        let at = |sent| composition.cut(sent).map(|cut| (cut.place, cut.begun, cut.rest));
        for (sent, place, begun, rest) in [
            (0, 2, 0, 0..0),
            (1, 2, 2, 1..32),
            (30, 2, 2, 30..32),
            (32, 5, 0, 32..32),
            (33, 5, 2, 33..56),
            (55, 5, 2, 55..56),
        ] {
            assert_eq!(at(sent), Some((place, begun, rest)), "{sent}");
        }
        assert_eq!(at(56), None);
        assert_eq!(composition.served(32).collect::<Vec<_>>(), [2]);
    }
}
