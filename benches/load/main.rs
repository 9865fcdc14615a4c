//! The load program: starts a broadcastd, loads it with clients and events, checks every delivery, and prints what it
//! cost. `cargo bench --bench load -- --help` lists the scenarios; docs/performance.md has the figures and their
//! commands.
//!
//! The daemon runs on core 0, the load on core 1. Sending over loopback includes the kernel's work up to the client's
//! socket buffer, so CPU time per delivery holds all of it; the floor (a bare loop of blocking sends) holds it as well.

mod client;
mod fleet;
mod floor;
mod frame;
mod isolate;
mod ledger;
mod meanwhile;
mod measure;
mod meter;
mod options;
mod producer;
mod report;
mod scan;
mod scenarios;
mod server;
mod socketio;
mod sse;

use clap::{CommandFactory, Parser};
use options::Options;
use report::Row;
use std::error::Error;
use std::process::ExitCode;

/// What may fail ends the run, and says why.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut options = Options::parse();
    if let Some(joined) = options.floor_joined {
        return exit(floor::run(joined, options.floor_frame));
    }
    let Some(scenario) = options.scenario else {
        // `cargo bench` without arguments comes here: nothing is measured by accident.
        return exit(Options::command().print_long_help().map_err(Into::into));
    };
    options.most_clients = match isolate::raise_descriptor_limit() {
        Ok(clients) => clients,
        Err(error) => return exit(Err(error)),
    };
    let congestion = if options.no_isolate { isolate::congestion() } else { isolate::isolate() };
    let mut rows: Vec<Row> = Vec::new();
    let mut result = isolate::pin(&[options.load_core]);
    for round in 1..=options.rounds {
        result = result.and_then(|()| {
            scenarios::run(scenario, &options, &mut |row| {
                println!("{}", row.json(round, &congestion));
                rows.push(row);
            })
        });
    }
    if !rows.is_empty() {
        print!("\n{}", report::table(&rows));
    }
    let code = exit(result);
    let failed = rows.iter().any(Row::has_faults);
    if failed {
        eprintln!("load: something was lost, doubled, reordered or wrong");
    }
    if failed { ExitCode::FAILURE } else { code }
}

fn exit(result: Outcome<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
