//! Everybody reads a little slower, or a little faster, than events come; then all stop for 2 s and go on.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::client::Rhythm;
use crate::fleet::Fleet;
use crate::meter::{Meter, pace};
use crate::options::{Options, Plan};
use crate::producer::Pace;
use crate::report::Row;
use crate::server::Server;
use std::time::{Duration, Instant};

/// How long all clients stop.
const STOP: Duration = Duration::from_secs(2);

/// How long going on may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes for each client beyond which its socket is full whatever the metrics say.
const FILL_BYTES: f64 = 600_000.0;

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    fleet.connect(plan.clients, CONNECTS)?;
    let base = variant(options, plan);
    let window = Duration::from_secs_f64(plan.seconds);

    fleet.publish(pace(plan));
    fleet.run_for(Duration::from_secs_f64(plan.warm_up))?;
    let mut live = Row::new(name, format!("{base}-live"));
    phase(&server, &mut fleet, plan, window, &mut live)?;
    let bytes_per_s = live.get("frame_bytes").unwrap_or(0.0) * plan.rate * plan.at_once as f64;
    live.put("offered_bytes_per_s", bytes_per_s);
    let (live_cpu, live_instructions) =
        (live.get("cpu_us_per_delivery"), live.get("instructions_per_delivery"));
    emit(live);

    for percent in &options.percent {
        let mut row = Row::new(name, format!("{base}-{percent}%"));
        fill(&server, &mut fleet, plan, bytes_per_s)?;
        set_all(&mut fleet, Rhythm::Rate(bytes_per_s * f64::from(*percent) / 100.0));
        fleet.publish(pace(plan));
        // The first second belongs to the change.
        fleet.run_for(Duration::from_secs(1))?;
        phase(&server, &mut fleet, plan, window, &mut row)?;
        let ratio = |now: Option<f64>, live: Option<f64>| now.zip(live).map(|(now, live)| now / live);
        row.put("cpu_ratio_to_live", ratio(row.get("cpu_us_per_delivery"), live_cpu));
        row.put("instructions_ratio_to_live", ratio(row.get("instructions_per_delivery"), live_instructions));
        row.put("behind_events", fleet.behind(false) as f64);
        set_all(&mut fleet, Rhythm::Always);
        fleet.settle()?;
        row.faults(&fleet.ledger.faults);
        emit(row);
    }
    let mut row = Row::new(name, format!("{base}-stop"));
    stop_and_go_on(&mut fleet, plan, &mut row)?;
    fleet.settle()?;
    row.put("gaps", fleet.ledger.tally.gaps as f64).faults(&fleet.ledger.faults);
    emit(row);
    drop(fleet);
    server.stop()
}

/// Measures while events come at the plan's pace.
fn phase(server: &Server, fleet: &mut Fleet, plan: &Plan, window: Duration, row: &mut Row) -> Outcome<()> {
    fleet.publish(pace(plan));
    let meter = Meter::begin(server, fleet)?;
    fleet.run_for(window)?;
    meter.end(server, fleet, row)
}

/// Nobody reads until half of the clients are blocked: where a slow client is after a while, without the while.
fn fill(server: &Server, fleet: &mut Fleet, plan: &Plan, bytes_per_s: f64) -> Outcome<()> {
    set_all(fleet, Rhythm::Never);
    let half = plan.clients as f64 / 2.0;
    let rate = plan.rate * 4.0;
    fleet.publish(Pace::Every { interval: Duration::from_secs_f64(1.0 / rate), at_once: plan.at_once });
    let mut filled = 0.0;
    while filled < FILL_BYTES
        && server.scrape().sum("broadcastd_clients_blocked").is_none_or(|now| now < half)
    {
        fleet.run_for(Duration::from_millis(100))?;
        filled += bytes_per_s * 4.0 * 0.1;
    }
    Ok(())
}

fn stop_and_go_on(fleet: &mut Fleet, plan: &Plan, row: &mut Row) -> Outcome<()> {
    set_all(fleet, Rhythm::Never);
    fleet.publish(pace(plan));
    fleet.run_for(STOP)?;
    let behind = fleet.behind(false);
    let begun = Instant::now();
    set_all(fleet, Rhythm::Always);
    while fleet.behind(true) > 0 && begun.elapsed() < PATIENCE {
        let step = Instant::now() + Duration::from_millis(1);
        while Instant::now() < step {
            fleet.turn(step)?;
        }
    }
    row.put("behind_events", behind as f64).put("all_live_ms", begun.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn set_all(fleet: &mut Fleet, rhythm: Rhythm) {
    for index in 0..fleet.clients.len() {
        fleet.set_rhythm(index, rhythm, true);
    }
}
