//! A file's worth of events at once into a room that keeps little: are there gaps, and how much memory does it take?

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::fleet::Fleet;
use crate::measure::Memory;
use crate::meter::Meter;
use crate::options::{Options, Plan};
use crate::producer::Pace;
use crate::report::Row;
use crate::server::Server;

/// Events of a flood.
const EVENTS: u64 = 100_000;

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let kinds =
        options.when_full.clone().map_or_else(|| vec!["wait".into(), "shed".to_owned()], |one| vec![one]);
    for when_full in kinds {
        let mut plan = plan.clone();
        plan.server.when_full.clone_from(&when_full);
        let mut row = Row::new(name, format!("{}-{when_full}", variant(options, &plan)));
        one(options, &plan, &mut row)?;
        emit(row);
    }
    Ok(())
}

fn one(options: &Options, plan: &Plan, row: &mut Row) -> Outcome<()> {
    let events = options.events.unwrap_or(EVENTS);
    let shed = plan.server.when_full == "shed";
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    fleet.connect(plan.clients, CONNECTS)?;
    // Which events are shed is not known, only how many.
    fleet.ledger.exact = !shed;
    Memory::forget_peak(server.pid);
    let before = server.memory()?;
    let meter = Meter::begin(&server, &mut fleet)?;
    fleet.publish(Pace::AtFullSpeed(events));
    let total = fleet.finish()?;
    if plan.rooms == 1 {
        fleet.ledger.published = total.accepted;
    }
    fleet.settle()?;
    meter.end(&server, &mut fleet, row)?;
    let peak = server.memory()?.peak;
    let rejected_expected = shed || total.rejected == 0;
    if total.accepted + total.rejected != events || !rejected_expected {
        fleet.ledger.faults.wrong(|| format!("of {events} events, the daemon counted {total:?}"));
    }
    let tally = fleet.ledger.tally;
    if plan.rooms == 1 && tally.deliveries + tally.missed != total.accepted * plan.clients as u64 {
        fleet.ledger.faults.wrong(|| format!("{tally:?} of {total:?} for {} clients", plan.clients));
    }
    row.put("accepted", total.accepted as f64)
        .put("shed", total.rejected as f64)
        .put("missed", tally.missed as f64)
        .put("peak_growth_mib", (peak as f64 - before.resident as f64) / f64::from(1 << 20))
        .faults(&fleet.ledger.faults);
    drop(fleet);
    server.stop()
}
