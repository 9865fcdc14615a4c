//! Everything at once, for its correctness alone: several rooms a client, filters, joins, leaves, reconnects, bursts.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::client::{Asked, Phase, Rhythm, Subscription, room_text};
use crate::fleet::Fleet;
use crate::ledger::KINDS;
use crate::meter::{Meter, pace};
use crate::options::{Options, Plan};
use crate::report::Row;
use crate::server::Server;
use std::time::{Duration, Instant};

/// Rooms of a client at most.
const ROOMS: u64 = 12;

/// How often clients change their minds, and how many at a time.
const STEP: Duration = Duration::from_millis(5);
const CHANGES: usize = 8;

/// How long answers may be on their way at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a random choice comes from (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut random = Random(options.seed);
    let mut row = Row::new(name, variant(options, plan));
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    connect(&mut fleet, plan, &mut random)?;
    let meter = Meter::begin(&server, &mut fleet)?;
    fleet.publish(pace(plan));
    let end = Instant::now() + Duration::from_secs_f64(plan.seconds);
    let (mut changes, mut reconnects) = (0, 0);
    while Instant::now() < end {
        fleet.run_for(STEP)?;
        for _ in 0..CHANGES {
            changes += u64::from(change(&mut fleet, &mut random));
        }
        let index = random.below(fleet.clients.len() as u64) as usize;
        if random.below(4) == 0 && fleet.clients[index].phase == Phase::Ready {
            fleet.reopen(index)?;
            reconnects += 1;
        }
    }
    for index in 0..fleet.clients.len() {
        fleet.set_rhythm(index, Rhythm::Always, true);
    }
    let deadline = Instant::now() + PATIENCE;
    while fleet.clients.iter().flat_map(|client| &client.subscriptions).any(|own| own.asked != Asked::Nothing)
    {
        fleet.run_for(STEP)?;
        fleet.check_waiting(deadline, "waiting for answers")?;
    }
    fleet.settle()?;
    meter.end(&server, &mut fleet, &mut row)?;
    row.put("seed", options.seed as f64)
        .put("changes", changes as f64)
        .put("reconnects", f64::from(reconnects))
        .faults(&fleet.ledger.faults);
    emit(row);
    drop(fleet);
    server.stop()
}

fn connect(fleet: &mut Fleet, plan: &Plan, random: &mut Random) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while fleet.ready() < plan.clients {
        while fleet.clients.len() < plan.clients && fleet.clients.len() - fleet.ready() < CONNECTS {
            let index = fleet.open(subscriptions(plan, random), false)?;
            if random.below(5) == 0 {
                let rhythm =
                    Rhythm::Bursts { awake: Duration::from_millis(20), asleep: Duration::from_millis(300) };
                fleet.set_rhythm(index, rhythm, true);
            }
        }
        fleet.turn(deadline)?;
        fleet.check_waiting(deadline, "connecting")?;
    }
    Ok(())
}

fn subscriptions(plan: &Plan, random: &mut Random) -> Vec<Subscription> {
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for _ in 0..=random.below(ROOMS) {
        let room = random.below(plan.rooms as u64) as u32;
        if subscriptions.iter().all(|own| own.room != room) {
            let mut subscription = Subscription::new(room);
            subscription.kind = (random.below(4) == 0).then(|| random.below(KINDS) as u8);
            subscriptions.push(subscription);
        }
    }
    subscriptions
}

/// One client leaves a room, joins it again, or subscribes to it anew from another place. False when it is still
/// waiting for the answer to its last change.
fn change(fleet: &mut Fleet, random: &mut Random) -> bool {
    let index = random.below(fleet.clients.len() as u64) as usize;
    let client = &mut fleet.clients[index];
    let place = random.below(client.subscriptions.len() as u64) as usize;
    let own = &mut client.subscriptions[place];
    if own.asked != Asked::Nothing {
        return false;
    }
    let text = if own.joined && random.below(2) == 0 {
        own.asked = Asked::Leave;
        format!(r#"{{"type":"unsubscribe","rooms":["load:r{}"]}}"#, own.room)
    } else {
        own.asked = match random.below(4) {
            0 => Asked::Offset(0),
            1 => Asked::Now,
            // What the newest few of a filtered view are is not for this check.
            2 if own.kind.is_none() => Asked::Last(random.below(6)),
            _ => Asked::Offset(own.position),
        };
        format!(r#"{{"type":"subscribe","rooms":[{}]}}"#, room_text(own))
    };
    let result = client.send(&text);
    fleet.book(index, result);
    true
}
