//! Clients in several rooms share what is put together for them.

use super::*;
use crate::wire::SocketIo;

/// Rooms with a history that is long enough, by their places among `ROOMS`.
const PLAIN: [usize; 3] = [0, 1, 3];

impl Simulation {
    fn stream(&mut self, rooms: &[usize], from: From) {
        let rooms = rooms.iter().map(|room| ROOMS[*room].name.to_owned());
        let rooms = rooms.map(|room| SubscribeRoom { from: from.clone(), ..SubscribeRoom::to(room) });
        let rooms: Vec<SubscribeRoom> = rooms.collect();
        let names = rooms.iter().map(|room| room.room.clone()).collect();
        let mut client =
            self.adopt(Wire::Sse(Sse { transfer: Transfer::Chunked, ..Sse::default() }), rooms, Vec::new());
        client.asked = Some(StreamAsked { rooms: names, from, asked: Asked::default(), snapshot: None });
        self.clients.push(client);
    }

    fn publish_to(&mut self, rooms: &[usize]) {
        self.publisher.begin(0);
        for room in rooms {
            self.stage(*room, "a", "", 0);
        }
        self.publisher.commit();
        self.turns(6);
        self.read_all();
    }

    fn read_all(&mut self) {
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
        simulation.stream(&rooms, From::Now);
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
fn what_was_put_together_for_one_that_is_gone_is_not_kept() {
    let mut simulation = Simulation::new(1);
    let [a, b, _] = PLAIN;
    simulation.stream(&[a, b], From::Now);
    simulation.turns(3);
    // Its end is seen by the send, which ends the pass with the view.
    simulation.clients.clear();
    simulation.publisher.begin(0);
    simulation.stage(b, "a", &"x".repeat(300_000), 0);
    simulation.publisher.commit();
    simulation.shard.take_grown();
    simulation.shard.slice();
    assert_eq!((simulation.shard.views.len(), simulation.shard.composed.count()), (0, 1));
    simulation.turns(1);
    assert_eq!(simulation.shard.composed.count(), 0, "a long event's memory is given back");
    simulation.finish();
}

#[test]
fn a_client_in_other_rooms_has_its_own_positions() {
    let mut simulation = Simulation::new(1);
    let [a, b, c] = PLAIN;
    for rooms in [&[a, b][..], &[b, c], &[c, b, a]] {
        simulation.stream(rooms, From::Now);
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

#[test]
fn frames_of_two_passes_are_told_anew_for_clients_in_other_rooms() {
    let mut simulation = Simulation::new(1);
    let [a, b, c] = PLAIN;
    // More members than a turn serves, so that some have both passes due; and more sets of rooms than are kept.
    for third in [c, 2, 4, c, 2, 4, c, 2, 4, c, 2, 4] {
        simulation.stream(&[a, b, third], From::Now);
    }
    simulation.turns(5);
    for _ in 0..4 {
        simulation.publish_to(&[a, b]);
    }
    assert_eq!(simulation.shard.composed.most_runs(), 2, "some had both as one");
    simulation.finish();
}

#[test]
fn whoever_is_behind_in_a_room_is_told_so_by_what_it_has_of_another() {
    let mut simulation = Simulation::new(1);
    let [behind, live, _] = PLAIN;
    simulation.stream(&[behind, live], From::Now);
    simulation.turns(3);
    simulation.publisher.begin(0);
    (0..300).for_each(|_| simulation.stage(behind, "a", &"x".repeat(4000), 0));
    simulation.publisher.commit();
    for _ in 0..40 {
        simulation.turns(1);
        simulation.read_all();
    }
    simulation.stream(&[behind, live], From::Start);
    let mut shared = 0;
    while simulation.clients[1].rooms.get(ROOMS[behind].name).is_none_or(|room| room.position < 300) {
        simulation.publisher.begin(0);
        simulation.stage(live, "a", "", 0);
        simulation.publisher.commit();
        simulation.turns(1);
        simulation.read_all();
        shared += 1;
    }
    assert!(shared > 5, "{shared} passes while it was behind");
    simulation.finish();
}

#[test]
fn a_key_says_whether_a_position_is_told_and_in_which_namespace() {
    let mut simulation = Simulation::new(1);
    simulation.stream(&[PLAIN[0]], From::Now);
    simulation.turns(3);
    let client = simulation.shard.clients.iter().next().unwrap().0 as u32;
    for namespace in emitted::NAMESPACES {
        let wire = Wire::SocketIo(SocketIo::new(Namespace::named(namespace).unwrap(), true));
        let room = SubscribeRoom::to(ROOMS[PLAIN[0]].name.to_owned());
        simulation.shard.subscribe_room(client, wire, room).unwrap();
    }
    let key =
        |shard: &Shard, index: usize| shard.key_of(&shard.clients[client as usize].subscriptions[index]);
    let keys = [0, 1, 2].map(|index| key(&simulation.shard, index));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[2] != keys[0], "{keys:?}");
    simulation.shard.clients[client as usize].subscriptions[2].snapshot_to = 1;
    assert_ne!(key(&simulation.shard, 2), keys[2]);
    simulation.shard.clients[client as usize].subscriptions[2].snapshot_to = 0;
    assert_eq!(key(&simulation.shard, 2), keys[2]);
    for index in [2, 1] {
        simulation.shard.remove_member(client, index);
    }
    simulation.finish();
}
