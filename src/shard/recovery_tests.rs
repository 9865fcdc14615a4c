//! Tests of what is remembered of clients that may come back.

use super::*;

fn remembered() -> Remembered {
    Remembered { sid: "sid".into(), namespace: Namespace::main(), rooms: Vec::new(), offered: offers(&[]) }
}

fn offers(names: &[&str]) -> Arc<[String]> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Takes what is remembered under `p` over for a client, with nothing to be offered.
fn back(recovery: &Recovery, owner: u64, now: Instant) -> Option<Remembered> {
    recovery.take_over("p", Namespace::main(), (owner, &offers(&[])), now)
}

const SECOND: Duration = Duration::from_secs(1);

fn room(name: &str) -> RememberedRoom {
    let began = Position { epoch: crate::wire::Epoch(1), offset: 0 };
    let (room, with_snapshot) = (name.into(), false);
    RememberedRoom { room, filter: None, every: None, snapshot: None, began, with_snapshot }
}

fn rooms(remembered: &Remembered) -> Vec<&str> {
    remembered.rooms.iter().map(|room| &*room.room).collect()
}

#[test]
fn who_comes_back_in_time_has_its_rooms() {
    let (recovery, now) = (Recovery::new(Some(2 * SECOND)), Instant::now());
    let (soon, later) = (now + SECOND, now + 2 * SECOND);
    recovery.begin("p", 1, remembered());
    for name in ["a", "b", "a"] {
        recovery.joined("p", 1, room(name), false);
    }
    recovery.joined("p", 2, room("foreign"), false);
    recovery.left("p", 1, "b");
    recovery.gone("p", 1, now);
    let (own, other) = (Namespace::main(), Namespace::named("/x").unwrap());
    for (pid, namespace) in [("q", own), ("p", other)] {
        assert!(recovery.take_over(pid, namespace, (2, &offers(&[])), soon).is_none());
    }
    let first = back(&recovery, 2, soon).unwrap();
    assert_eq!((&*first.sid, rooms(&first)), ("sid", vec!["a"]));
    // It has come back: its old end no longer counts, nor does what its old connection still says.
    recovery.left("p", 1, "a");
    recovery.forget("p", 1);
    let again = back(&recovery, 3, later).unwrap();
    assert_eq!(rooms(&again), ["a"]);
    recovery.gone("p", 3, later);
    assert!(back(&recovery, 4, later + 2 * SECOND).is_none());
    assert!(recovery.lock().clients.is_empty() && recovery.lock().gone.is_empty());
}

#[test]
fn who_comes_back_before_it_was_missed_has_its_rooms() {
    let (recovery, now) = (Recovery::new(Some(2 * SECOND)), Instant::now());
    recovery.begin("p", 1, remembered());
    recovery.joined("p", 1, room("a"), false);
    assert_eq!(rooms(&back(&recovery, 2, now).unwrap()), ["a"]);
    recovery.gone("p", 1, now);
    recovery.lock().forget_some(now + 2 * SECOND);
    assert!(recovery.lock().clients.contains_key("p"));
    recovery.forget("p", 2);
    assert!(recovery.lock().clients.is_empty());
}

#[test]
fn the_next_process_remembers_the_same() {
    let recovery = || Recovery::new(Some(SECOND));
    let (before, after, now) = (recovery(), recovery(), Instant::now());
    before.begin("p", 7, Remembered { offered: offers(&["b", "c"]), ..remembered() });
    let filter = Some(Arc::new(Filter::new(Condition::parse("value > 1").unwrap())));
    let every = Some(Duration::from_millis(2500));
    let (snapshot, with_snapshot) = (Some(true), true);
    before.joined("p", 7, RememberedRoom { filter, every, snapshot, with_snapshot, ..room("a") }, false);
    before.joined("p", 7, room("b"), false);
    let mut texts = before.to_texts();
    texts.push("{}".to_owned());
    after.add_texts(&texts, now);
    assert_eq!(after.to_texts(), before.to_texts());
    assert_eq!(rooms(&back(&after, 1, now).unwrap()), ["a", "b"]);
    after.add_texts(&texts, now);
    assert!(back(&after, 1, now + SECOND).is_none());
}

#[test]
fn a_room_that_goes_on_has_begun_where_it_did() {
    let (recovery, now) = (Recovery::new(Some(2 * SECOND)), Instant::now());
    recovery.begin("p", 1, remembered());
    let at = |offset| RememberedRoom {
        began: Position { offset, ..room("a").began },
        with_snapshot: offset == 3,
        ..room("a")
    };
    let began = || {
        let rooms = back(&recovery, 1, now).unwrap().rooms;
        (rooms[0].began.offset, rooms[0].with_snapshot)
    };
    // There is nothing yet that it could go on from.
    for (offset, goes_on, expected) in
        [(2, true, (2, false)), (3, false, (3, true)), (9, true, (3, true)), (9, false, (9, false))]
    {
        recovery.joined("p", 1, at(offset), goes_on);
        assert_eq!(began(), expected);
    }
}

#[test]
fn no_more_are_remembered_than_may_be() {
    let (recovery, now) = (Recovery::new(Some(2 * SECOND)), Instant::now());
    for number in 0..=MOST_GONE as u64 {
        let pid = number.to_string();
        recovery.begin(&pid, number, remembered());
        recovery.gone(&pid, number, now);
    }
    assert_eq!(recovery.lock().clients.len(), MOST_GONE);
    assert!(recovery.take_over("0", Namespace::main(), (1, &offers(&[])), now).is_none());
}

#[test]
fn what_is_remembered_of_who_is_gone_is_bounded() {
    let (recovery, now) = (Recovery::new(Some(2 * SECOND)), Instant::now());
    let list = vec!["\"0123456789\""; 256].join(",");
    let filter = Arc::new(Filter::new(Condition::parse(&format!("a in [{list}]")).unwrap()));
    let rooms = vec![RememberedRoom { filter: Some(filter), ..room("a") }; 256];
    for number in 0..40 {
        let pid = number.to_string();
        recovery.begin(&pid, number, Remembered { rooms: rooms.clone(), ..remembered() });
        recovery.joined(&pid, number, room("b"), false);
        recovery.gone(&pid, number, now);
        assert!(recovery.lock().gone_bytes <= MOST_GONE_BYTES);
    }
    let left = recovery.lock().clients.len();
    assert!((1..40).contains(&left), "{left} are left");
    assert!(recovery.take_over("39", Namespace::main(), (50, &offers(&[])), now).is_some());
    recovery.lock().forget_some(now + 2 * SECOND);
    assert_eq!(recovery.lock().gone_bytes, 0);
}

#[test]
fn how_long_is_remembered_is_said_of_those_who_are_gone_already() {
    let (recovery, now) = (Recovery::new(Some(10 * SECOND)), Instant::now());
    let gone = |since| {
        recovery.begin("p", 1, remembered());
        recovery.joined("p", 1, room("a"), false);
        recovery.gone("p", 1, since);
    };
    let is_back = |now| back(&recovery, 2, now).is_some();
    gone(now);
    recovery.keep_for(Some(3 * SECOND), now + 2 * SECOND);
    assert!(is_back(now + 2 * SECOND));
    gone(now);
    recovery.keep_for(Some(SECOND), now + 2 * SECOND);
    assert!(recovery.lock().clients.is_empty());
    // Those who went later are not remembered for longer because of those who went before a change.
    recovery.keep_for(Some(10 * SECOND), now);
    recovery.begin("q", 3, remembered());
    recovery.gone("q", 3, now);
    gone(now + SECOND);
    recovery.keep_for(Some(20 * SECOND), now + 9 * SECOND);
    assert!(is_back(now + 15 * SECOND));
    gone(now + 15 * SECOND);
    recovery.keep_for(None, now + 15 * SECOND);
    recovery.keep_for(Some(10 * SECOND), now + 15 * SECOND);
    assert!(!is_back(now + 15 * SECOND));
}

#[test]
fn who_comes_back_is_told_what_it_was_offered_before() {
    let (recovery, now) = (Recovery::new(Some(SECOND)), Instant::now());
    recovery.begin("p", 1, Remembered { offered: offers(&["a"]), ..remembered() });
    recovery.joined("p", 1, room("a"), false);
    for (owner, offered, before) in [(2, &["a", "b"][..], &["a"][..]), (3, &[], &["a", "b"]), (4, &[], &[])] {
        let back = recovery.take_over("p", Namespace::main(), (owner, &offers(offered)), now).unwrap();
        assert_eq!(*back.offered, *before);
    }
}

#[test]
fn who_was_never_in_a_room_begins_anew() {
    let (before, after, now) = (Recovery::new(Some(SECOND)), Recovery::new(Some(SECOND)), Instant::now());
    before.begin("p", 1, remembered());
    assert!(back(&before, 2, now).is_none() && before.to_texts().is_empty());
    // Whoever has left all of its rooms comes back to none.
    before.joined("p", 1, room("a"), false);
    before.left("p", 1, "a");
    assert!(back(&before, 2, now).unwrap().rooms.is_empty());
    after.add_texts(&before.to_texts(), now);
    assert!(back(&after, 1, now).is_some());
}
