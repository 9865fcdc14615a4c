//! Everybody reads: one room or many, paced or as fast as it goes, with the floor beside the daemon.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::fleet::Fleet;
use crate::meanwhile::{Doing, Meanwhile};
use crate::meter::measure;
use crate::options::{Options, Plan};
use crate::report::Row;
use crate::server::Server;

/// Bytes that an event's envelope and its `timestamp` add, where no daemon has shown it: only for trying the floor.
const ENVELOPE: usize = 96;

/// A producer that was no later than this in 99 of 100 cases was punctual.
const PUNCTUAL_MS: f64 = 1.0;

/// Names of ratios, and of which figure.
const RATIOS_TO_FLOOR: [(&str, &str); 2] = [
    ("cpu_ratio_to_floor", "cpu_us_per_delivery"),
    ("instructions_ratio_to_floor", "instructions_per_delivery"),
];
const RATIOS_TO_FIRST: [(&str, &str); 2] = [
    ("cpu_ratio_to_first", "cpu_us_per_delivery"),
    ("instructions_ratio_to_first", "instructions_per_delivery"),
];

/// Runs one variant; `first` is what the first one cost, to compare with.
pub(crate) fn run(
    name: &str,
    options: &Options,
    plan: &Plan,
    first: &mut Option<Row>,
    emit: &mut dyn FnMut(Row),
) -> Outcome<()> {
    if options.floor_only {
        emit(floor(name, options, plan, 1, plan.size + ENVELOPE)?);
        return Ok(());
    }
    let mut row = Row::new(name, variant(options, plan));
    let server = Server::daemon(options, &plan.server)?;
    one(server, plan, None, &mut row)?;
    if options.meanwhile.is_some() {
        let mut beside = Row::new(name, format!("{}-meanwhile", variant(options, plan)));
        one(Server::daemon(options, &plan.server)?, plan, options.meanwhile, &mut beside)?;
        for (ratio, of) in [("p99_ratio_to_alone", "p99_ms"), ("cpu_ratio_to_alone", "cpu_us_per_delivery")] {
            beside.put(ratio, beside.get(of).zip(row.get(of)).map(|(beside, alone)| beside / alone));
        }
        emit(beside);
    }
    match first {
        Some(first) => put_ratios(&mut row, first, &RATIOS_TO_FIRST),
        None => *first = Some(row.clone()),
    }
    // The fair floor joins as many events in a send, and sends frames as long, as the daemon did.
    let joined = row.get("deliveries_per_send").unwrap_or(1.0).round().max(1.0) as usize;
    let frame_bytes = row.get("frame_bytes").unwrap_or(0.0).round() as usize;
    if !plan.floor || frame_bytes == 0 {
        emit(row);
        return Ok(());
    }
    let floor = floor(name, options, plan, joined, frame_bytes)?;
    put_ratios(&mut row, &floor, &RATIOS_TO_FLOOR);
    // Latency counts from when an event was due: where the producer itself was late, that is what was measured.
    let late = |row: &Row| row.get("publish_lag_p99_ms").is_none_or(|lag| lag >= PUNCTUAL_MS);
    let p99 = row.get("p99_ms").zip(floor.get("p99_ms")).map(|(ours, floor)| ours / floor);
    let p99 = p99.filter(|_| !late(&row) && !late(&floor));
    row.put("p99_ratio_to_floor", p99);
    emit(row);
    emit(floor);
    Ok(())
}

fn floor(name: &str, options: &Options, plan: &Plan, joined: usize, frame_bytes: usize) -> Outcome<Row> {
    let mut plan = plan.clone();
    if plan.under_way > 0 && plan.rooms == 1 {
        // Whole sends' worth at once: the floor must not wait for events that wait for it.
        plan.at_once = joined;
        plan.under_way = plan.under_way.max(2 * joined);
    }
    let variant = match variant(options, &plan).as_str() {
        "daemon" => "floor".into(),
        other => format!("floor-{other}"),
    };
    let mut row = Row::new(name, variant);
    row.put("joined", joined as f64);
    one(Server::floor(options, joined, frame_bytes)?, &plan, None, &mut row)?;
    Ok(row)
}

fn put_ratios(row: &mut Row, to: &Row, ratios: &[(&'static str, &'static str)]) {
    for (name, of) in ratios {
        let ratio = row.get(of).zip(to.get(of)).map(|(ours, theirs)| ours / theirs);
        row.put(name, ratio);
    }
}

fn one(server: Server, plan: &Plan, meanwhile: Option<Meanwhile>, row: &mut Row) -> Outcome<()> {
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    (fleet.transport, fleet.rooms_each) = (plan.transport, plan.rooms_each);
    fleet.connect(plan.clients, CONNECTS)?;
    let doing = server.meanwhile(meanwhile);
    measure(&server, &mut fleet, plan, row)?;
    if let Some(done) = doing.map(Doing::end) {
        row.put("meanwhile_times", done.times as f64)
            .put("meanwhile_longest_ms", done.longest_ms)
            .put("meanwhile_failed", done.failed as f64);
    }
    row.faults(&fleet.ledger.faults);
    drop(fleet);
    server.stop()
}
