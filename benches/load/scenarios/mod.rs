//! What is run, one file for each kind of load.

mod fanout;
mod filters;
mod flood;
mod idle;
mod ingest;
mod mixed;
mod paced;
mod resume;
mod slow;
mod stalled;

use crate::Outcome;
use crate::options::{Options, Plan, Scenario, Transport};
use crate::report::Row;
use clap::ValueEnum;

/// Handshakes under way at once where a storm is not what is measured.
const CONNECTS: usize = 64;

/// Runs all variants of a scenario once.
pub(crate) fn run(scenario: Scenario, options: &Options, emit: &mut dyn FnMut(Row)) -> Outcome<()> {
    let mut first = None;
    for rooms in options.rooms(scenario) {
        let variants =
            options.shards.iter().flat_map(|shards| options.transport.iter().map(move |it| (*shards, *it)));
        for (shards, transport) in variants {
            let plan = options.plan(scenario, rooms, shards, transport);
            let name = name(scenario);
            match scenario {
                Scenario::FanoutPaced
                | Scenario::FanoutMax
                | Scenario::RoomsPaced
                | Scenario::RoomsMax
                | Scenario::Burst
                | Scenario::LargePaced => fanout::run(&name, options, &plan, &mut first, emit)?,
                Scenario::Idle => idle::idle(&name, options, &plan, emit)?,
                Scenario::Storm => idle::storm(&name, options, &plan, emit)?,
                Scenario::Stalled => stalled::run(&name, options, &plan, false, emit)?,
                Scenario::Bursty => stalled::run(&name, options, &plan, true, emit)?,
                Scenario::Slow => slow::run(&name, options, &plan, emit)?,
                Scenario::Flood => flood::run(&name, options, &plan, emit)?,
                Scenario::Mixed => mixed::run(&name, options, &plan, emit)?,
                Scenario::Resume => resume::run(&name, options, &plan, emit)?,
                Scenario::Ingest => ingest::run(&name, options, &plan, emit)?,
                Scenario::Paced => paced::run(&name, options, &plan, emit)?,
                Scenario::Filters => filters::run(&name, options, &plan, emit)?,
            }
        }
    }
    Ok(())
}

fn name(scenario: Scenario) -> String {
    scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Says in a variant's name what distinguishes it.
fn variant(options: &Options, plan: &Plan) -> String {
    let mut words = Vec::new();
    if options.rooms.as_ref().map_or(plan.rooms > 1, |rooms| rooms.len() > 1) {
        words.push(format!("{}-rooms", plan.rooms));
    }
    if options.shards.len() > 1 {
        words.push(format!("{}-shards", plan.server.shards));
    }
    if options.transport.len() > 1 || plan.transport != Transport::Websocket {
        words.push(match plan.transport {
            Transport::Websocket => "websocket".into(),
            Transport::Sse => "sse".into(),
            Transport::SocketIo => "socketio".into(),
        });
    }
    if words.is_empty() { "daemon".into() } else { words.join("-") }
}
