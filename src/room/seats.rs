//! The shards that read a room: what each calls it, how far it has come, and whether it has been told of news.

use smallvec::SmallVec;

/// Who is to be told that the room has grown: (shard, token).
pub type Tokens = Vec<(u16, u32)>;

/// The shards that have subscriptions to a room. Most rooms have one.
#[derive(Debug, Default)]
pub(super) struct Seats(SmallVec<[Seat; 1]>);

#[derive(Debug)]
struct Seat {
    shard: u16,
    /// Whether the shard was told that the room has grown, and has not read it since.
    told: bool,
    /// What the shard calls the room.
    token: u32,
    /// Offset up to which every view of the shard has been encoded.
    passed: u64,
}

impl Seats {
    /// Whether nobody reads the room.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a shard a seat, unless it has one, at the log's head. Returns what the shard calls the room.
    pub(super) fn take(&mut self, shard: u16, token: u32, head: u64) -> u32 {
        if let Some(seat) = self.of(shard) {
            return seat.token;
        }
        self.0.push(Seat { shard, told: false, token, passed: head });
        token
    }

    /// Takes a shard's seat away.
    pub(super) fn leave(&mut self, shard: u16) {
        self.0.retain(|seat| seat.shard != shard);
    }

    /// Notes that a shard reads the room, so that it is to be told of what comes after.
    pub(super) fn reads(&mut self, shard: u16) {
        if let Some(seat) = self.of(shard) {
            seat.told = false;
        }
    }

    /// Notes how far a shard has come.
    pub(super) fn has_passed(&mut self, shard: u16, offset: u64) {
        if let Some(seat) = self.of(shard) {
            seat.passed = offset;
        }
    }

    /// The offset up to which every shard has passed; without readers, all of it.
    pub(super) fn passed(&self) -> u64 {
        self.0.iter().map(|seat| seat.passed).min().unwrap_or(u64::MAX)
    }

    /// Adds who is to be told that the room has grown, and has not been told since it read.
    pub(super) fn tell(&mut self, tokens: &mut Tokens) {
        for seat in self.0.iter_mut().filter(|seat| !seat.told) {
            seat.told = true;
            tokens.push((seat.shard, seat.token));
        }
    }

    /// Adds everybody, told or not: there is other news than growth, and a shard may have read the room already.
    pub(super) fn tell_all(&self, tokens: &mut Tokens) {
        tokens.extend(self.0.iter().map(|seat| (seat.shard, seat.token)));
    }

    fn of(&mut self, shard: u16) -> Option<&mut Seat> {
        self.0.iter_mut().find(|seat| seat.shard == shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seats: &mut Seats) -> Tokens {
        let mut tokens = Tokens::new();
        seats.tell(&mut tokens);
        tokens
    }

    #[test]
    fn a_shard_is_told_once_until_it_reads() {
        let mut seats = Seats::default();
        assert_eq!((seats.take(0, 10, 5), seats.take(1, 20, 5), seats.take(0, 30, 9)), (10, 20, 10));
        assert_eq!(told(&mut seats), [(0, 10), (1, 20)]);
        assert_eq!(told(&mut seats), []);
        seats.reads(1);
        seats.reads(7);
        assert_eq!(told(&mut seats), [(1, 20)]);
        let mut all = vec![(9, 9)];
        seats.tell_all(&mut all);
        assert_eq!(all, [(9, 9), (0, 10), (1, 20)]);
        seats.leave(0);
        seats.reads(1);
        assert_eq!(told(&mut seats), [(1, 20)]);
        assert!(!seats.is_empty());
        seats.leave(1);
        assert!(seats.is_empty() && told(&mut seats).is_empty());
    }

    #[test]
    fn what_all_shards_have_passed_is_where_the_slowest_is() {
        let mut seats = Seats::default();
        assert_eq!(seats.passed(), u64::MAX, "without readers nothing is held back");
        seats.take(0, 0, 5);
        seats.take(1, 0, 7);
        assert_eq!(seats.passed(), 5);
        seats.has_passed(0, 9);
        seats.has_passed(8, 1);
        assert_eq!(seats.passed(), 7);
        seats.leave(1);
        assert_eq!(seats.passed(), 9);
    }
}
