//! What a client may be sent, said naively: the events of each room, and one client's view of one subscription.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// An event of a room.
#[derive(Clone, Copy)]
pub(super) struct Made {
    /// Its number in the event itself.
    pub(super) n: u64,
    /// Whether the filter lets it pass.
    pub(super) passes: bool,
    /// Its key; 0: none.
    pub(super) key: u8,
}

/// What each room was given, in order: the event at offset N is at index N - 1.
#[derive(Default)]
pub(super) struct Published(pub(super) HashMap<String, Vec<Made>>);

impl Published {
    pub(super) fn head(&self, room: &str) -> u64 {
        self.0[room].len() as u64
    }

    fn at(&self, room: &str, offset: u64) -> Made {
        self.0[room][offset as usize - 1]
    }

    /// The offset of the event with a number.
    pub(super) fn offset_of(&self, room: &str, n: u64) -> u64 {
        let found = self.0[room].binary_search_by_key(&n, |made| made.n);
        found.unwrap_or_else(|_| panic!("{room} has no event {n}")) as u64 + 1
    }

    /// The newest event of every key up to an offset.
    fn newest(&self, room: &str, upto: u64) -> BTreeMap<u8, u64> {
        let numbered = (1..=upto).zip(&self.0[room]);
        numbered.filter(|(_, made)| made.key > 0).map(|(offset, made)| (made.key, offset)).collect()
    }
}

/// How a client has asked for a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) filtered: bool,
    pub(super) paced: bool,
}

/// A client's own view of a subscription.
#[derive(Clone)]
pub(super) struct Followed {
    room: String,
    pub(super) epoch: String,
    pub(super) position: u64,
    /// The room's head that it was told: it must be told that it has come there.
    head: u64,
    pub(super) asked: Asked,
    /// In a snapshot: the offset after which it gives keys, and that of the last event it gave.
    pub(super) snapshot: Option<(u64, u64)>,
    /// The newest event that it has of every key.
    newest: BTreeMap<u8, u64>,
    /// Whether that is the newest there is of every key, up to the position.
    is_complete: bool,
}

impl Followed {
    /// A subscription as `subscribed` says it begins; `left` is what the client had when it left, if it goes on from there.
    pub(super) fn begin(answer: &Value, asked: Asked, left: Option<&Followed>) -> Followed {
        let is_snapshot = answer["snapshot"] == true;
        assert_ne!(is_snapshot, answer.get("offset").is_some(), "{answer}");
        let position = answer["offset"].as_u64().unwrap_or(0);
        let goes_on = left.filter(|left| !is_snapshot && left.position == position);
        let is_complete = match goes_on {
            Some(left) => left.is_complete && (asked.filtered || !left.asked.filtered),
            None => position == 0 && !is_snapshot,
        };
        Followed {
            room: answer["room"].as_str().unwrap().to_owned(),
            epoch: answer["epoch"].as_str().unwrap().to_owned(),
            position,
            head: answer["head"].as_u64().unwrap(),
            asked,
            snapshot: is_snapshot.then_some((0, 0)),
            newest: goes_on.map(|left| left.newest.clone()).unwrap_or_default(),
            is_complete,
        }
    }

    /// It goes on where it was, asked for otherwise maybe.
    pub(super) fn go_on(&mut self, offset: u64, asked: Asked, published: &Published) {
        self.pass_over(offset, published);
        self.is_complete &= asked.filtered || !self.asked.filtered;
        self.asked = asked;
    }

    /// An event with an offset.
    pub(super) fn event(&mut self, offset: u64, event: &Value, published: &Published) {
        let room = &self.room;
        let made = published.at(room, offset);
        assert_eq!(event["n"].as_u64().unwrap(), made.n, "{room} offset {offset}");
        assert!(self.snapshot.is_none(), "{room} offset {offset} within a snapshot");
        assert!(!self.asked.filtered || made.passes, "{room} offset {offset} does not pass");
        assert!(offset > self.position, "{room} offset {offset} after {}", self.position);
        self.pass_over(offset - 1, published);
        self.position = offset;
        if made.key > 0 {
            self.newest.insert(made.key, offset);
        }
    }

    /// The position is told to be at an offset: what lies before it was left out because that was asked for.
    pub(super) fn pass_over(&mut self, offset: u64, published: &Published) {
        let room = &self.room;
        for between in self.position + 1..=offset {
            let made = published.at(room, between);
            let passes = |made: &Made| !self.asked.filtered || made.passes;
            let later = &published.0[room][between as usize..];
            let newer = || later.iter().rev().any(|other| other.key == made.key && passes(other));
            let is_replaced = self.asked.paced && made.key > 0 && newer();
            assert!(
                !passes(&made) || is_replaced,
                "{room}: {between} was left out before {offset}: {:?}",
                self.asked
            );
        }
        self.position = self.position.max(offset);
    }

    /// A page of a snapshot.
    pub(super) fn page(&mut self, page: &Value, published: &Published) {
        let room = &self.room;
        let (from, mut last) = self.snapshot.unwrap_or_else(|| panic!("no snapshot was begun: {page}"));
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 64);
        for event in data {
            let offset = published.offset_of(room, event["n"].as_u64().unwrap());
            assert!(offset > last && offset > from, "{room}: {offset} after {last}");
            last = offset;
            let made = published.at(room, offset);
            assert!(made.key > 0 && (!self.asked.filtered || made.passes), "{room} offset {offset}");
            self.newest.insert(made.key, offset);
        }
        self.snapshot = Some((from, last));
        let Some(offset) = page.get("offset") else {
            assert!(page["more"] == true && !data.is_empty(), "{page}");
            return;
        };
        let offset = offset.as_u64().unwrap();
        assert!(page.get("more").is_none() && offset >= last && offset <= published.head(room), "{page}");
        let now = published.newest(room, published.head(room));
        for (key, newest) in published.newest(room, offset) {
            let has = self.newest.get(&key) == Some(&newest);
            // A newer one that came meanwhile follows in the log.
            let comes = now[&key] > offset;
            let passes = !self.asked.filtered || published.at(room, newest).passes;
            assert!(has || comes || !passes || newest <= from, "{room}: key {key} is at {newest}: {page}");
        }
        self.is_complete |= from == 0;
        (self.snapshot, self.position) = (None, offset);
    }

    /// A gap.
    pub(super) fn gap(&mut self, gap: &Value, published: &Published) {
        let first = gap["first"].as_u64().unwrap();
        let heals = gap["snapshot"] == true;
        let (told, other) = if heals { ("last", "offset") } else { ("offset", "last") };
        assert!(gap.get(other).is_none(), "{gap}");
        let last = gap[told].as_u64().unwrap();
        assert!(self.snapshot.is_none(), "{gap} within a snapshot");
        if gap["reason"] == "epoch_changed" {
            self.epoch = gap["epoch"].as_str().unwrap().to_owned();
        } else {
            assert!(first > self.position && last >= first, "{gap} after {}", self.position);
            self.pass_over(first - 1, published);
            let is_counted = self.asked == Asked::default();
            assert_eq!(
                gap["missed"],
                if is_counted { (last - first + 1).into() } else { Value::Null },
                "{gap}"
            );
        }
        if heals {
            self.snapshot = Some((first - 1, first - 1));
        } else {
            self.position = last;
            self.is_complete = false;
        }
    }

    /// Everything was sent: nothing may be missing.
    pub(super) fn check_end(&mut self, published: &Published) {
        let (room, head) = (self.room.clone(), published.head(&self.room));
        assert!(self.snapshot.is_none(), "{room}: a snapshot did not end");
        assert!(self.position >= self.head, "{room}: told of {} and no more of {}", self.position, self.head);
        let missing = (self.position + 1..=head)
            .filter(|offset| !self.asked.filtered || published.at(&room, *offset).passes)
            .collect::<Vec<_>>();
        assert!(missing.is_empty(), "{room}: {missing:?} never came");
        for (key, newest) in published.newest(&room, head).into_iter().filter(|_| self.is_complete) {
            let passes = !self.asked.filtered || published.at(&room, newest).passes;
            assert!(
                !passes || self.newest.get(&key) == Some(&newest),
                "{room}: the newest of {key} is {newest}, {:?}",
                self.newest
            );
        }
    }
}
