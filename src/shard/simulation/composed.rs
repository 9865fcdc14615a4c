//! Clients in several rooms share what is put together for them.

use super::*;

/// Rooms with a history that is long enough, by their places among `ROOMS`.
const PLAIN: [usize; 3] = [0, 1, 3];

impl Simulation {
    fn stream(&mut self, rooms: &[usize]) {
        let rooms = rooms.iter().map(|room| SubscribeRoom::to(ROOMS[*room].name.to_owned()));
        let rooms: Vec<SubscribeRoom> = rooms.collect();
        let names = rooms.iter().map(|room| room.room.clone()).collect();
        let mut client = self.adopt(Wire::Sse(Sse { bare: false, naming: Naming::None }), rooms, Vec::new());
        let from = From::Now;
        client.asked = Some(StreamAsked { rooms: names, from, asked: Asked::default(), snapshot: None });
        self.clients.push(client);
    }

    fn publish_to(&mut self, rooms: &[usize]) {
        self.publisher.begin(0);
        rooms.iter().for_each(|room| self.stage(*room, "a", "", 0));
        self.publisher.commit();
        self.turns(6);
        for client in &mut self.clients {
            client.read(1 << 20, &self.published);
        }
    }
}

#[test]
fn clients_in_the_same_rooms_share_a_composition_whatever_their_order() {
    let mut simulation = Simulation::new(1);
    let [a, b, c] = PLAIN;
    for rooms in [[a, b, c], [b, c, a], [c, b, a]] {
        simulation.stream(&rooms);
    }
    simulation.turns(3);
    simulation.publish_to(&[b]);
    assert_eq!(simulation.shard.composed.count(), 1);
    simulation.publish_to(&[b]);
    assert_eq!(simulation.shard.composed.count(), 2, "another pass has another composition");
    let ids: Vec<&str> = simulation.clients.iter().map(|client| client.last_id().unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    simulation.finish();
}

#[test]
fn a_client_in_other_rooms_has_its_own_positions() {
    let mut simulation = Simulation::new(1);
    let [a, b, c] = PLAIN;
    for rooms in [&[a, b][..], &[b, c], &[c, b, a]] {
        simulation.stream(rooms);
    }
    simulation.turns(3);
    // More sets than are kept, with each again and again.
    for _ in 0..12 {
        simulation.publish_to(&[b]);
        simulation.publish_to(&[a, c]);
    }
    for (client, rooms) in [2, 2, 3].into_iter().enumerate() {
        let id = simulation.clients[client].last_id().unwrap();
        assert_eq!(id.split(',').count(), rooms, "{id}");
    }
    simulation.finish();
}
