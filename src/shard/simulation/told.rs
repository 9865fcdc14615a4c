//! Whoever has caught up is told so, whether anything passes the filter or not.

use super::*;

/// The place of a room among `ROOMS`, whose history keeps everything.
const LONG: usize = 0;

impl Simulation {
    /// A new client that subscribes with the filter. Returns its place.
    fn filtered(&mut self, from: From, every: Option<Duration>) -> usize {
        self.connect();
        let index = self.clients.len() - 1;
        self.filter(index, from, every);
        index
    }

    fn filter(&mut self, index: usize, from: From, every: Option<Duration>) {
        let number = self.clients[index].number;
        let (key, _) = self.shard.clients.iter().find(|(_, client)| client.number == number).unwrap();
        let room = SubscribeRoom {
            from,
            condition: Some(Condition::parse(FILTER).unwrap()),
            every,
            ..SubscribeRoom::to(ROOMS[LONG].name.to_owned())
        };
        let id = if every.is_some() { "3" } else { "1" };
        let mut out = Vec::new();
        self.shard.subscribe(key as u32, Some(id), vec![Ok(room)], &mut out);
        self.shard.answer(key as u32, &out);
    }

    fn publish_many(&mut self, count: usize, kind: &str) {
        self.publisher.begin(0);
        (0..count).for_each(|_| self.stage(LONG, kind, "", 0));
        self.publisher.commit();
    }

    /// Where a client was told that it is.
    fn position(&mut self, client: usize) -> u64 {
        self.clients[client].read(1 << 20, &self.published);
        self.clients[client].rooms[ROOMS[LONG].name].position
    }
}

#[test]
fn whoever_arrives_without_an_event_is_told_so() {
    let mut simulation = Simulation::new(1);
    simulation.publish_many(5_000, "b");
    let late = simulation.filtered(From::Start, None);
    simulation.turns(10);
    assert_eq!(simulation.position(late), 5_000);
    // Who is live is told with the heartbeat.
    simulation.publish_many(5, "b");
    simulation.turns(10);
    assert_eq!(simulation.position(late), 5_000);
    simulation.publish_many(1, "a");
    simulation.turns(10);
    assert_eq!(simulation.position(late), 5_006);
    simulation.finish();
}

#[test]
fn a_head_that_a_view_had_not_come_to_is_told_once_it_has() {
    for every in [None, Some(Duration::from_millis(400))] {
        let mut simulation = Simulation::new(1);
        let live = simulation.filtered(From::Now, every);
        simulation.publish_many(3, "b");
        simulation.turns(3);
        simulation.publish_many(4, "b");
        // The view is still at 3, or where it last sent.
        let late = simulation.filtered(From::Start, every);
        simulation.turns(3);
        simulation.shard.ahead += Duration::from_millis(500);
        simulation.turns(3);
        assert_eq!(simulation.position(late), 7, "every {every:?}");
        assert_eq!(simulation.position(live), 0, "every {every:?}: nothing was told to who is live");
        simulation.finish();
    }
}

#[test]
fn whoever_falls_behind_where_nothing_passes_is_told_on_the_way_back() {
    let mut simulation = Simulation::new(1);
    let client = simulation.filtered(From::Now, None);
    simulation.publish_many(9, "b");
    simulation.turns(3);
    assert_eq!(simulation.position(client), 0);
    let key = simulation.shard.clients.iter().next().unwrap().0 as u32;
    simulation.shard.block(key);
    simulation.shard.drained(key);
    simulation.turns(3);
    assert_eq!(simulation.position(client), 9);
    simulation.finish();
}

#[test]
fn a_view_that_was_told_and_goes_before_it_has_looked_leaves_that_to_another() {
    let mut simulation = Simulation::new(1);
    let pace = Some(Duration::from_millis(400));
    let client = simulation.filtered(From::Now, None);
    simulation.publish_many(1, "a");
    // The shard knows, and the view has not had its turn when the client takes another in its place.
    simulation.shard.take_grown();
    simulation.filter(client, From::Now, pace);
    simulation.publish_many(1, "a");
    simulation.turns(3);
    assert_eq!(simulation.position(client), 2);
    simulation.finish();
}

#[test]
fn whose_socket_is_full_when_its_time_comes_waits_until_it_has_drained() {
    let mut simulation = Simulation::new(1);
    let client = simulation.filtered(From::Now, None);
    // The socket says once that it takes something.
    simulation.turns(3);
    let key = simulation.shard.clients.iter().next().unwrap().0 as u32;
    // It has had as much as it may, and an answer that it did not read has filled its socket meanwhile.
    simulation.shard.block(key);
    simulation.shard.promote(key);
    simulation.publish_many(1, "a");
    simulation.turns(3);
    assert_eq!(simulation.position(client), 0, "nothing overtakes what is kept for it");
    simulation.shard.drained(key);
    simulation.turns(3);
    assert_eq!(simulation.position(client), 1);
    simulation.finish();
}
