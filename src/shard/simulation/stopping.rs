//! What becomes of clients when their shard stops.

use super::*;
use crate::shard::drain::Drain;
use std::time::Instant;

/// A shard with clients in a room, which begins to drain with a minute's time.
fn draining(clients: usize, room: &str, publish: impl Fn(&mut Simulation)) -> Simulation {
    let mut simulation = Simulation::new(1);
    for _ in 0..clients {
        simulation.connect();
    }
    let keys: Vec<u32> = simulation.shard.clients.iter().map(|(key, _)| key as u32).collect();
    for key in keys {
        let mut out = Vec::new();
        let request = SubscribeRoom::to(room.to_owned());
        simulation.shard.subscribe(key, Some("0"), vec![Ok(request)], &mut out);
        simulation.shard.answer(key, &out);
    }
    publish(&mut simulation);
    simulation.turns(4);
    simulation.shard.drain =
        Some(Drain::new(simulation.shard.now + Duration::from_secs(60), simulation.shard.now));
    simulation
}

/// Publishes more than a socket takes.
fn publish_much(simulation: &mut Simulation, room: usize, count: usize) {
    simulation.publisher.begin(0);
    for _ in 0..count {
        simulation.stage(room, "a", &"x".repeat(5000), 0);
    }
    simulation.publisher.commit();
}

/// Lets time pass.
fn pass(simulation: &mut Simulation, ms: u64) {
    simulation.shard.ahead += Duration::from_millis(ms);
    simulation.turns(3);
}

#[test]
fn who_arrives_when_everybody_was_closed_is_closed_as_well() {
    let mut simulation = Simulation::new(1);
    simulation.connect();
    let now = simulation.shard.now;
    simulation.shard.drain = Some(Drain::new(Instant::now() + Duration::from_secs(60), now));
    simulation.turns(3);
    let closing = |simulation: &Simulation| {
        simulation.shard.clients.iter().map(|(_, client)| client.closing).collect::<Vec<_>>()
    };
    assert_eq!(closing(&simulation), [true]);
    simulation.connect();
    assert_eq!(closing(&simulation), [true, true]);
}

#[test]
fn a_drain_goes_on_while_a_client_makes_progress_and_ends_within_a_second_after() {
    let mut simulation = draining(2, "long", |simulation| publish_much(simulation, 0, 100));
    for _ in 0..10 {
        assert!(simulation.clients[0].read(5000, &simulation.published) > 0);
        simulation.turns(2);
        pass(&mut simulation, 500);
        assert!(!simulation.shard.stopped, "a client reads");
    }
    assert_eq!(simulation.shard.clients.len(), 2, "nobody is left behind meanwhile");
    pass(&mut simulation, 500);
    assert!(!simulation.shard.stopped, "it may read on");
    pass(&mut simulation, 300);
    assert!(simulation.shard.stopped);
    assert_eq!(simulation.shard.unfinished(), 2);
}

#[test]
fn clients_that_do_not_answer_their_close_frames_end_a_drain_and_count_as_served() {
    let mut simulation = draining(2, "long", |_| {});
    pass(&mut simulation, 0);
    assert!(simulation.shard.clients.iter().all(|(_, client)| client.closing));
    pass(&mut simulation, 60);
    pass(&mut simulation, 600);
    assert!(!simulation.shard.stopped);
    pass(&mut simulation, 200);
    assert!(simulation.shard.stopped);
    assert_eq!(simulation.shard.unfinished(), 0);
}

#[test]
fn a_stalled_client_is_left_behind_and_its_room_is_served_to_the_end() {
    // The room keeps nothing, so that a pass is held for the client that stalls.
    let mut simulation = draining(2, "none", |simulation| publish_much(simulation, 2, 600));
    let mut reader = simulation.clients.pop();
    let mut waited_ms = 0;
    while !simulation.shard.stopped {
        if let Some(client) = &mut reader {
            while client.read(1 << 20, &simulation.published) > 0 {
                simulation.turns(1);
            }
            client
                .rooms
                .values_mut()
                .filter(|_| client.closed)
                .for_each(|room| room.check_end(&simulation.published));
        }
        // Its end is its answer.
        reader = reader.filter(|client| !client.closed);
        pass(&mut simulation, 50);
        waited_ms += 50;
        assert!(waited_ms < 3000, "{}", simulation.behind());
    }
    assert!(reader.is_none(), "it was told");
    assert_eq!(simulation.shard.unfinished(), 1);
}
