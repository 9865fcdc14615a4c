//! What filters cost: 1,000 clients of one room without a filter, all with the same one, and with one of ten, each of which
//! lets a tenth of the events pass. Filtered variants publish ten times as many, so that deliveries are as many.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::client::Subscription;
use crate::fleet::Fleet;
use crate::ledger::KINDS;
use crate::meter::measure;
use crate::options::{Options, Plan};
use crate::report::Row;
use crate::server::Server;
use std::time::{Duration, Instant};

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Different filters of each variant.
const FILTERS: [u64; 3] = [0, 1, KINDS];

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut unfiltered: Option<Row> = None;
    for filters in FILTERS {
        let mut row = Row::new(name, format!("{}-{filters}-filters", variant(options, plan)));
        let mut plan = plan.clone();
        if filters > 0 {
            plan.rate *= KINDS as f64;
        }
        one(options, &plan, filters, &mut row)?;
        let Some(all) = &unfiltered else {
            unfiltered = Some(row.clone());
            emit(row);
            continue;
        };
        for (ratio, of) in [
            ("cpu_ratio_to_unfiltered", "cpu_us_per_delivery"),
            ("instructions_ratio_to_unfiltered", "instructions_per_delivery"),
        ] {
            row.put(ratio, row.get(of).zip(all.get(of)).map(|(ours, all)| ours / all));
        }
        emit(row);
    }
    Ok(())
}

fn one(options: &Options, plan: &Plan, filters: u64, row: &mut Row) -> Outcome<()> {
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    fleet.transport = plan.transport;
    connect(&mut fleet, plan.clients, filters)?;
    let before = server.scrape();
    measure(&server, &mut fleet, plan, row)?;
    let encodings = server.scrape().grown(&before, "broadcastd_shard_pass_events_total");
    let events = fleet.ledger.published as f64;
    let deliveries = fleet.ledger.tally.deliveries as f64 / events;
    let each = |of: &str, row: &Row| row.get(of).map(|each| each * deliveries);
    let (cpu, instructions) = (each("cpu_us_per_delivery", row), each("instructions_per_delivery", row));
    row.put("events", events)
        .put("deliveries_per_event", deliveries)
        .put("encodings_per_event", encodings.map(|encodings| encodings / events))
        .put("cpu_us_per_event", cpu)
        .put("instructions_per_event", instructions)
        .faults(&fleet.ledger.faults);
    drop(fleet);
    server.stop()
}

fn connect(fleet: &mut Fleet, clients: usize, filters: u64) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while fleet.ready() < clients {
        while fleet.clients.len() < clients && fleet.clients.len() - fleet.ready() < CONNECTS {
            let mut subscription = Subscription::new(0);
            subscription.kind = (fleet.clients.len() as u64).checked_rem(filters).map(|kind| kind as u8);
            fleet.open(vec![subscription], false)?;
        }
        fleet.turn(deadline)?;
        fleet.check_waiting(deadline, "connecting")?;
    }
    Ok(())
}
