//! The way in alone: `agent_state` events to two rooms each, history on, nobody subscribed.

use super::variant;
use crate::Outcome;
use crate::measure::cpu_time;
use crate::options::{Options, Plan};
use crate::producer::total_of;
use crate::report::Row;
use crate::server::Server;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Events of a run.
const EVENTS: u64 = 200_000;

/// Agents, each with a room of its own beside the one that all share.
const AGENTS: u64 = 100;

/// Lines made once and written over and over.
const BLOCK: u64 = 1000;

pub(crate) fn run(name: &str, options: &Options, plan: &Plan, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut row = Row::new(name, variant(options, plan));
    let blocks = (options.events.unwrap_or(EVENTS) / BLOCK).max(1);
    let events = blocks * BLOCK;
    let block = block(plan.size);
    let server = Server::daemon(options, &plan.server)?;
    let mut producer = TcpStream::connect(server.ingest)?;
    producer.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (cpu, begun) = (cpu_time(server.pid)?, Instant::now());
    for _ in 0..blocks {
        producer.write_all(&block)?;
    }
    producer.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    producer.read_to_end(&mut answer)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = cpu_time(server.pid)? - cpu;
    let total = total_of(&answer).ok_or("the daemon ended the stream without its totals")?;
    if total.accepted != events || total.rejected != 0 {
        return Err(format!("of {events} events, the daemon counted {total:?}").into());
    }
    let memory = server.memory()?;
    row.put("events", events as f64)
        .put("event_bytes", block.len() as f64 / BLOCK as f64 - 1.0)
        .put("events_per_s", events as f64 / seconds)
        .put("cpu_us_per_event", cpu * 1e6 / events as f64)
        .put("server_percent", cpu / seconds * 100.0)
        .put("resident_mib", memory.resident as f64 / f64::from(1 << 20))
        .put("faults", 0.0);
    emit(row);
    server.stop()
}

fn block(size: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..BLOCK {
        let begin = text.len();
        let agent = number % AGENTS;
        let _ = write!(
            text,
            r#"{{"type":"agent_state","agentId":"agent-{agent}","status":"busy","resourceUsage":{{"cpu":{}.5,"memory":{},"activeConnections":{}}},"currentTask":""#,
            number % 90,
            40 + number % 50,
            number % 7
        );
        let blanks = (begin + size).saturating_sub(text.len() + 2);
        text.extend(std::iter::repeat_n('x', blanks));
        text.push_str("\"}\n");
    }
    text.into_bytes()
}
