//! `broadcastd bench`: producers and clients of its own against a running daemon, and what came of it.

mod args;
mod client;
mod event;
mod producer;
mod report;
mod room;
mod tally;

pub use args::BenchArgs;
pub(super) use report::grouped;

use super::find::{Door, Endpoint, find};
use super::publish::{Lines, Publisher, Telling};
use super::serve::origin;
use super::socket::{End, Refusal};
use super::{api, out};
use crate::error::Exit;
use client::{Client, Had, Published, Shared, Unready};
use event::{Mark, Plan};
use hdrhistogram::Histogram;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use producer::{Producer, Written};
use report::Report;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Handshakes under way at once: fewer than a daemon has by default (`server.handshakes`).
const HANDSHAKES: usize = 64;
/// The longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Runs, and prints the figures.
pub fn run(args: &BenchArgs) -> Exit {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let plan = match Plan::new(args, now.as_millis() as u64) {
        Ok(plan) => plan,
        Err(why) => {
            out::error(why, None);
            return Exit::Usage;
        }
    };
    let is_named = args.settings.are_named();
    if !is_named && (args.url.is_none() || args.to.is_none()) {
        let hint = "name a daemon: --config FILE, or --url ADDRESS and --to ADDRESS";
        out::error("bench publishes for real, and only to a daemon that you name", Some(hint));
        return Exit::Usage;
    }
    // A file that is wrong by now says nothing about the daemon that runs.
    if is_named
        && let Ok(loaded) = origin(&args.settings).load()
        && let Err(unfit) = room::check(args, &plan, &loaded)
    {
        return unfit.report();
    }
    let clients = find(Door::Clients, args.url.as_deref(), &args.settings);
    let producers = find(Door::Producers, args.to.as_deref(), &args.settings);
    let (clients, producers) = match (clients, producers) {
        (Ok(clients), Ok(producers)) => (clients, producers),
        (Err(exit), _) | (_, Err(exit)) => return exit,
    };
    // Each connection is a descriptor; if this does not help, the connections say so.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    api::block_on(async {
        match bench(args, &plan, &clients, &producers).await {
            Ok(report) => {
                if report.had.received == 0 && report.published > 0 {
                    let room = args.room.source();
                    out::say(format_args!("note: no event reached {room}: {}", room::NEEDS));
                }
                let good = if report.is_good() { Exit::Ok } else { Exit::Runtime };
                let exit = if report.rejected > 0 { Exit::Rejected } else { good };
                if args.json { out::json(&report.json(), exit) } else { out::print(&report.text(), exit) }
            }
            Err(exit) => exit,
        }
    })
}

async fn bench<'a>(
    args: &'a BenchArgs,
    plan: &Plan,
    url: &Endpoint,
    to: &Endpoint,
) -> Result<Report<'a>, Exit> {
    try_one(plan, to).await?;
    let begin = Instant::now();
    let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).map_err(|error| failed(&error))?;
    let shared = Arc::new(Shared { run: plan.run, begin, latency: Mutex::new(latency) });
    let ready = connect(args, plan, url, &shared).await?;
    let (tell, published) = watch::channel(None);
    let mut listening = JoinSet::new();
    for client in ready {
        listening.spawn(client.listen(published.clone()));
    }
    let started = Instant::now();
    let written = write(args, plan, to, begin).await?;
    let seconds = started.elapsed().as_secs_f64();
    let rejected = written.iter().map(|written| written.rejected).sum();
    if let Some(refusal) = written.iter().find_map(|written| written.refusal.as_deref()) {
        out::say(format_args!("note: {to} refuses: {refusal}"));
    }
    let all: u64 = written.iter().flat_map(|written| &written.rooms).sum();
    // The other end is gone only if nobody listens any more.
    let _ = tell.send(Some(Published::new(written.into_iter().map(|written| written.rooms).collect())));
    let mut had = Had::default();
    while let Some(one) = listening.join_next().await {
        let one = one.map_err(|error| failed(&error))?;
        had.received += one.received;
        had.lost += one.lost;
        had.doubled += one.doubled;
        had.reordered += one.reordered;
        had.gaps += one.gaps;
        had.dropped += one.dropped;
    }
    let latency = shared.latency.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Report { args, seconds, published: all - rejected, rejected, had, latency })
}

fn failed(error: &dyn std::error::Error) -> Exit {
    out::error(error, None);
    Exit::Runtime
}

/// Publishes one event that is not counted, so that what the daemon refuses is known before anything begins.
async fn try_one(plan: &Plan, to: &Endpoint) -> Result<(), Exit> {
    let mut line = Vec::new();
    plan.push(&mut line, 0, Mark { run: 0, p: 0, n: 0, at: 0 });
    let mut publisher = Publisher::new(to.clone(), None, Telling::Words);
    publisher.publish(Lines::new(line)).await?;
    if publisher.totals().rejected == 0 {
        return Ok(());
    }
    out::say(format_args!("  hint: {}", room::NEEDS));
    Err(Exit::Rejected)
}

/// Connects and subscribes every client.
async fn connect(
    args: &BenchArgs,
    plan: &Plan,
    url: &Endpoint,
    shared: &Arc<Shared>,
) -> Result<Vec<Client>, Exit> {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut connecting = JoinSet::new();
    for index in 0..args.clients {
        let room = index % plan.rooms.len();
        let (name, producers) = (plan.rooms[room].clone(), args.producers);
        let (url, shared, handshakes) = (url.clone(), Arc::clone(shared), Arc::clone(&handshakes));
        connecting.spawn(async move {
            let _permit = handshakes.acquire().await;
            Client::ready(&url, &name, room, producers, shared).await.map_err(|why| (name, why))
        });
    }
    let mut ready = Vec::with_capacity(args.clients);
    while let Some(client) = connecting.join_next().await {
        match client.map_err(|error| failed(&error))? {
            Ok(client) => ready.push(client),
            Err((name, why)) => return Err(unready(url, &name, why)),
        }
    }
    Ok(ready)
}

fn unready(url: &Endpoint, name: &str, why: Unready) -> Exit {
    match why {
        Unready::Refused(Refusal::Unreachable(error)) => return api::unreachable(url, &error, "--url"),
        Unready::Refused(Refusal::Refused { message, .. }) => {
            out::error(format_args!("{url} lets not everybody in: {message}"), None);
        }
        Unready::Ended(End::Closed { code, reason }) => {
            out::error(format_args!("{url} has closed a connection: {code} {reason}"), None);
        }
        Unready::Ended(End::Lost(why)) => {
            out::error(format_args!("a connection to {url} is lost: {why}"), None);
        }
        Unready::Room(code, said) => {
            let hint = "--room names a room, or a template, that the configuration has";
            out::error(format_args!("{name}: {said}"), Some(hint));
            return if code == "unknown_room" { Exit::NoRoom } else { Exit::Runtime };
        }
    }
    Exit::Unreachable
}

/// Has every producer write, each on a thread of its own, so that the clients read meanwhile.
async fn write(args: &BenchArgs, plan: &Plan, to: &Endpoint, begin: Instant) -> Result<Vec<Written>, Exit> {
    let mut producers = JoinSet::new();
    for index in 0..args.producers {
        let producer = Producer {
            plan: plan.clone(),
            index,
            endpoint: to.clone(),
            rate: args.rate / args.producers as f64,
            duration: args.duration,
            begin,
        };
        producers.spawn_blocking(move || (index, producer.run()));
    }
    let mut written = Vec::with_capacity(args.producers);
    while let Some(one) = producers.join_next().await {
        let (index, one) = one.map_err(|error| failed(&error))?;
        written.push((index, one.map_err(|error| unwritten(to, &error))?));
    }
    written.sort_unstable_by_key(|(index, _)| *index);
    Ok(written.into_iter().map(|(_, written)| written).collect())
}

fn unwritten(to: &Endpoint, error: &io::Error) -> Exit {
    out::error(format_args!("cannot write to the daemon at {to}: {error}"), None);
    Exit::Unreachable
}
