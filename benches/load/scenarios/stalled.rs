//! Some clients never read, or read in bursts: what the others notice, and what the daemon keeps for them.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::client::Rhythm;
use crate::fleet::Fleet;
use crate::meter::measure;
use crate::options::{Options, Plan};
use crate::producer::Pace;
use crate::report::Row;
use crate::server::Server;
use std::time::Duration;

/// Receive buffers of clients that do not read: small, so that they fill soon.
const STALLED_RECEIVE_BUFFER: usize = 8192;

/// Bytes for each client that surely fill its socket: `limits.client.unsent`, what the kernel sends beyond it, and the
/// receive buffer.
const FILL_BYTES: usize = 256 * 1024;

/// Bursts: two reads' worth of time, then silence that is long against every latency.
const AWAKE: Duration = Duration::from_millis(50);
const ASLEEP: Duration = Duration::from_millis(750);

/// Names of ratios, and of which figure.
const RATIOS_TO_ALONE: [(&str, &str); 3] = [
    ("p99_ratio_to_alone", "p99_ms"),
    ("cpu_ratio_to_alone", "cpu_us_per_delivery"),
    ("instructions_ratio_to_alone", "instructions_per_delivery"),
];

pub(crate) fn run(
    name: &str,
    options: &Options,
    plan: &Plan,
    bursts: bool,
    emit: &mut dyn FnMut(Row),
) -> Outcome<()> {
    for stalled in options.stalled.clone().unwrap_or_else(|| vec![1, 100, 900]) {
        let stalled = stalled.min(plan.clients);
        // The same readers without anybody else: what a pass costs by itself is shared by as many.
        let mut alone =
            Row::new(name, format!("{}-{}-alone", variant(options, plan), plan.clients - stalled));
        one(options, &Plan { clients: plan.clients - stalled, ..plan.clone() }, 0, bursts, &mut alone)?;
        let mut row = Row::new(name, format!("{}-{stalled}", variant(options, plan)));
        one(options, plan, stalled, bursts, &mut row)?;
        for (ratio, figure) in RATIOS_TO_ALONE {
            let figures = row.get(figure).zip(alone.get(figure));
            row.put(ratio, figures.map(|(beside, alone)| beside / alone));
        }
        emit(alone);
        emit(row);
    }
    Ok(())
}

fn one(options: &Options, plan: &Plan, stalled: usize, bursts: bool, row: &mut Row) -> Outcome<()> {
    let rhythm = if bursts { Rhythm::Bursts { awake: AWAKE, asleep: ASLEEP } } else { Rhythm::Never };
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, STALLED_RECEIVE_BUFFER)?;
    fleet.connect(stalled, CONNECTS)?;
    fleet.receive_buffer = plan.receive_buffer;
    fleet.connect(plan.clients - stalled, CONNECTS)?;
    for index in 0..stalled {
        fleet.set_rhythm(index, rhythm, false);
    }
    // Full speed until the sockets of those who do not read are full. All variants go through it, for the same history.
    fleet.publish(Pace::UnderWay { under_way: 64, at_once: 8 });
    let enough = (FILL_BYTES / plan.size) as u64 * plan.rooms as u64;
    while fleet.ledger.published < enough {
        fleet.run_for(Duration::from_millis(20))?;
    }
    fleet.settle()?;
    measure(&server, &mut fleet, plan, row)?;
    let scrape = server.scrape();
    let blocked = scrape.sum("broadcastd_clients_blocked");
    let pinned = scrape.sum("broadcastd_pinned_bytes");
    let each =
        pinned.zip(blocked).filter(|(_, blocked)| *blocked > 0.0).map(|(pinned, blocked)| pinned / blocked);
    row.put("blocked", blocked).put("pinned_bytes_each", each);
    // Then they read again: what they missed must be there, or be declared.
    let gaps = fleet.ledger.tally.gaps;
    for index in 0..stalled {
        fleet.set_rhythm(index, Rhythm::Always, true);
    }
    let took = fleet.settle()?;
    row.put("gaps_after", (fleet.ledger.tally.gaps - gaps) as f64)
        .put("recovered_ms", took.as_secs_f64() * 1e3)
        .faults(&fleet.ledger.faults);
    drop(fleet);
    server.stop()
}
