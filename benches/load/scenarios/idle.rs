//! Many clients and nothing published: what each costs in memory, after pings, and after a storm of handshakes.

use super::{CONNECTS, variant};
use crate::Outcome;
use crate::client::{Phase, Subscription};
use crate::fleet::Fleet;
use crate::measure::{Memory, cpu_time};
use crate::options::{Options, Plan};
use crate::report::Row;
use crate::server::Server;
use std::time::{Duration, Instant};

/// Clients that are there before memory is read for the first time: what the first ones cost is not theirs.
const FIRST: usize = 100;

/// Pings that every client has had when memory is read.
const PINGS: u64 = 2;

/// How long pings, and half-open handshakes, may take to come about.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn idle(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut row = Row::new(name, variant(options, plan));
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    fleet.connect(FIRST.min(plan.clients), CONNECTS)?;
    wait_for_pings(&mut fleet, PINGS)?;
    let first = server.memory()?;
    let cpu = cpu_time(server.pid)?;
    fleet.connect(plan.clients.saturating_sub(FIRST), CONNECTS)?;
    let connecting = cpu_time(server.pid)? - cpu;
    wait_for_pings(&mut fleet, PINGS)?;
    let all = server.memory()?;
    let (cpu, begun) = (cpu_time(server.pid)?, Instant::now());
    fleet.run_for(Duration::from_secs_f64(plan.seconds))?;
    let idle = (cpu_time(server.pid)? - cpu) / begun.elapsed().as_secs_f64();
    row.put("clients", fleet.ready() as f64);
    put_memory(&mut row, first, all, plan.clients.saturating_sub(FIRST));
    row.put("cpu_us_per_connect", connecting * 1e6 / plan.clients.saturating_sub(FIRST).max(1) as f64)
        .put("server_percent", idle * 100.0)
        .put("pings", fleet.ledger.tally.pings as f64)
        .faults(&fleet.ledger.faults);
    emit(row);
    drop(fleet);
    server.stop()
}

pub(crate) fn storm(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut row = Row::new(name, variant(options, plan));
    let server = Server::daemon(options, &plan.server)?;
    let mut fleet = Fleet::new(&server, plan.rooms, plan.size, plan.receive_buffer)?;
    fleet.connect(FIRST, CONNECTS)?;
    fleet.run_for(Duration::from_millis(500))?;
    let first = server.memory()?;
    let begun = Instant::now();
    for index in 0..plan.clients {
        fleet.open(vec![Subscription::new((index % plan.rooms) as u32)], true)?;
    }
    while fleet.count(Phase::HalfOpen) < plan.clients {
        fleet.turn(Instant::now() + Duration::from_millis(50))?;
        fleet.check_waiting(begun + PATIENCE, "opening half of each handshake")?;
    }
    let half_open = server.memory()?;
    for index in FIRST..fleet.clients.len() {
        let result = fleet.clients[index].go_on();
        fleet.book(index, result);
    }
    while fleet.ready() < FIRST + plan.clients {
        fleet.turn(Instant::now() + Duration::from_millis(50))?;
        fleet.check_waiting(begun + PATIENCE, "finishing the handshakes")?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    // Long enough for an allocator that returns memory lazily.
    fleet.run_for(Duration::from_secs_f64(plan.seconds))?;
    let after = server.memory()?;
    row.put("clients", fleet.ready() as f64).put("storm_s", seconds);
    put_memory(&mut row, first, after, plan.clients);
    row.put("half_open_bytes_each", per(half_open.resident, first.resident, plan.clients))
        .put("peak_bytes_each", per(after.peak, first.resident, plan.clients))
        .faults(&fleet.ledger.faults);
    emit(row);
    drop(fleet);
    server.stop()
}

fn wait_for_pings(fleet: &mut Fleet, pings: u64) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    let wanted: Vec<u64> = fleet.clients.iter().map(|client| client.pings + pings).collect();
    while fleet.clients.iter().zip(&wanted).any(|(client, wanted)| client.pings < *wanted) {
        let step = Instant::now() + Duration::from_millis(50);
        while Instant::now() < step {
            fleet.turn(step)?;
        }
        fleet.check_waiting(deadline, "waiting for pings (--heartbeat)")?;
    }
    Ok(())
}

fn put_memory(row: &mut Row, before: Memory, after: Memory, clients: usize) {
    let proportional = per(after.proportional, before.proportional, clients);
    row.put("bytes_each", per(after.resident, before.resident, clients))
        .put("proportional_bytes_each", Some(proportional).filter(|_| after.proportional > 0))
        .put("resident_mib", after.resident as f64 / f64::from(1 << 20));
}

fn per(after: u64, before: u64, clients: usize) -> f64 {
    (after as f64 - before as f64) / clients.max(1) as f64
}
