//! Many come back at once for what they missed: what those who are live notice, and how long it takes.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::client::{Asked, Phase, Subscription, room_text};
use crate::fleet::Fleet;
use crate::meter::{Meter, pace};
use crate::options::{Options, Plan, Transport};
use crate::report::Row;
use crate::server::Server;
use std::time::{Duration, Instant};

/// Events of the room that is resumed in: some are older than what was missed.
const OLDER: u64 = 400;

/// Handshakes under way at once, at most: more are not begun until some are through.
const HANDSHAKES: usize = 512;

/// Within this time all come back.
const STORM: Duration = Duration::from_secs(1);

/// How long the load looks at sockets before it lets others come back.
const STEP: Duration = Duration::from_millis(1);

/// How long it may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// How somebody comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// On a socket that is open.
    Open,
    /// On a new connection.
    Anew(Transport),
}

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut alone = Row::new(name, format!("{}-alone", variant(options, plan)));
    one(options, plan, None, &mut alone)?;
    for (word, way) in [
        ("open", Way::Open),
        ("handshakes", Way::Anew(Transport::Websocket)),
        ("handshakes-sse", Way::Anew(Transport::Sse)),
    ] {
        let mut row = Row::new(name, format!("{}-{word}", variant(options, plan)));
        one(options, plan, Some(way), &mut row)?;
        let p99 = row.get("p99_ms").zip(alone.get("p99_ms"));
        row.put("p99_ratio_to_alone", p99.map(|(row, alone)| row / alone));
        emit(row);
    }
    emit(alone);
    Ok(())
}

fn one(options: &Options, plan: &Plan, way: Option<Way>, row: &mut Row) -> Outcome<()> {
    let head = OLDER + options.missed;
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    // A room beside those that are published to, so that the ones who have come back are sent nothing more.
    let room = plan.rooms as u32;
    fleet.producer.fill(server.ingest, room, head)?;
    fleet.ledger.quiet_head = head;
    fleet.connect(plan.clients, CONNECTS)?;
    let probe = fleet.open(vec![Subscription::new(room)], false)?;
    fleet.until_ready(PATIENCE)?;
    fleet.clients[probe].counted = false;
    let epoch = fleet.clients[probe].subscriptions[0].epoch.clone();
    let first = fleet.clients.len();
    if way == Some(Way::Open) {
        fleet.connect_idle(options.resuming, CONNECTS)?;
    }
    fleet.publish(pace(plan));
    fleet.run_for(Duration::from_secs_f64(plan.warm_up))?;
    let meter = Meter::begin(&server, &mut fleet)?;
    let begun = Instant::now();
    if let Some(way) = way {
        let after = head - options.missed;
        storm(&mut fleet, way, first, options.resuming, &Returning { room, after, epoch })?;
    }
    let took = begun.elapsed();
    // In the same way as in a storm, without sleeping: a load that sleeps is later by what waking takes.
    while begun.elapsed() < STORM {
        fleet.turn(Instant::now() + STEP)?;
    }
    meter.end(&server, &mut fleet, row)?;
    if way.is_some() {
        let milliseconds = |value: Option<u64>| value.map(|micros| micros as f64 / 1e3);
        row.put("resumed", fleet.ledger.resumed.count() as f64)
            .put("resumed_all_ms", took.as_secs_f64() * 1e3)
            .put("resume_p50_ms", milliseconds(fleet.ledger.resumed.quantile(0.5)))
            .put("resume_p99_ms", milliseconds(fleet.ledger.resumed.quantile(0.99)));
    }
    fleet.settle()?;
    row.faults(&fleet.ledger.faults);
    drop(fleet);
    server.stop()
}

/// Where everybody was.
struct Returning {
    room: u32,
    after: u64,
    epoch: Box<str>,
}

impl Returning {
    fn subscription(&self, since: u64) -> Subscription {
        let mut subscription = Subscription::new(self.room);
        subscription.position = self.after;
        subscription.asked = Asked::Offset(self.after);
        subscription.epoch = self.epoch.clone();
        subscription.since = since;
        subscription
    }
}

/// Has so many come back, evenly over the time, and waits until all have what they missed.
fn storm(fleet: &mut Fleet, way: Way, first: usize, count: usize, returning: &Returning) -> Outcome<()> {
    let (begun, deadline) = (Instant::now(), Instant::now() + PATIENCE);
    let mut come = 0;
    while fleet.ledger.resumed.count() < count as u64 {
        let due = (begun.elapsed().as_secs_f64() / STORM.as_secs_f64() * count as f64) as usize;
        while come < due.min(count) {
            // Since when it was due: a load that is late is no excuse.
            let since = fleet.ledger.micros(begun + STORM.mul_f64(come as f64 / count as f64));
            let subscription = returning.subscription(since);
            match way {
                Way::Open => {
                    let client = &mut fleet.clients[first + come];
                    let text = format!(r#"{{"type":"subscribe","rooms":[{}]}}"#, room_text(&subscription));
                    client.subscriptions.push(subscription);
                    let sent = client.send(&text);
                    fleet.book(first + come, sent);
                }
                Way::Anew(transport) => {
                    let begun = fleet.clients.len() - first;
                    if begun >= HANDSHAKES + fleet.ledger.resumed.count() as usize {
                        break;
                    }
                    fleet.transport = transport;
                    let index = fleet.open(vec![subscription], false)?;
                    fleet.clients[index].counted = false;
                }
            }
            come += 1;
        }
        fleet.turn(Instant::now() + STEP)?;
        if Instant::now() >= deadline {
            let ready = fleet.count(Phase::Ready);
            return Err(format!("{ready} of {} are there", fleet.clients.len()).into());
        }
    }
    Ok(())
}
