//! What becomes of clients when their shard stops.

use super::*;
use crate::shard::drain::Drain;
use std::time::Instant;

#[test]
fn who_arrives_when_everybody_was_closed_is_closed_as_well() {
    let mut simulation = Simulation::new(1);
    simulation.connect();
    simulation.shard.drain = Some(Drain::new(Instant::now() + Duration::from_secs(60)));
    simulation.turns(3);
    let closing = |simulation: &Simulation| {
        simulation.shard.clients.iter().map(|(_, client)| client.closing).collect::<Vec<_>>()
    };
    assert_eq!(closing(&simulation), [true]);
    simulation.connect();
    assert_eq!(closing(&simulation), [true, true]);
}
