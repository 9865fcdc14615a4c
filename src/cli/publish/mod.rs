//! `broadcastd publish`: events from arguments or standard input, each of them answered for.

mod args;
mod event;
mod input;
mod lines;
mod publisher;
mod sender;

pub use args::PublishArgs;
pub(in crate::cli) use event::{event, pair};
pub(in crate::cli) use input::read;
pub(in crate::cli) use lines::{Gathering, Lines};
pub(in crate::cli) use publisher::{Publisher, Telling, Totals};

use super::find::{Door, find};
use super::progress::Progress;
use super::{api, out};
use crate::error::Exit;
use serde_json::{Map, Value, json};
use std::io::{self, IsTerminal};

/// Longest line that is gathered: no daemon takes a longer one.
const LINE_BYTES: usize = 257 << 20;

/// Publishes, and says what was refused.
pub fn run(args: &PublishArgs) -> Exit {
    let exit = match prepare(args) {
        Ok((events, with)) => publish(args, events, with),
        Err(why) => {
            out::error(why, None);
            return Exit::Usage;
        }
    };
    if args.best_effort && exit != Exit::Usage { Exit::Ok } else { exit }
}

/// Events of the arguments, if there are any, and the `$with` line.
fn prepare(args: &PublishArgs) -> Result<(Option<Lines>, Option<String>), String> {
    let mut text = String::new();
    match &args.kind {
        Some(kind) => text = format!("{}\n", event(kind, &args.items)?),
        None => {
            for item in &args.items {
                // An argument is one event, however it is laid out; outside strings JSON has no other line ends.
                text.push_str(&item.replace(['\r', '\n'], " "));
                text.push('\n');
            }
        }
    }
    Ok(((!text.is_empty()).then(|| Lines::new(text.into_bytes())), with_line(&args.with)?))
}

/// The control line that gives fields beside the events.
pub(in crate::cli) fn with_line(fields: &[String]) -> Result<Option<String>, String> {
    let mut object = Map::new();
    for field in fields {
        let (name, text) = pair(field).map_err(|why| format!("--with {why}"))?;
        object.insert(name.to_owned(), Value::from(text));
    }
    Ok((!object.is_empty()).then(|| json!({ "$with": object }).to_string()))
}

fn publish(args: &PublishArgs, events: Option<Lines>, with: Option<String>) -> Exit {
    let endpoint = match find(Door::Producers, args.to.as_deref(), &args.settings) {
        Ok(endpoint) => endpoint,
        Err(exit) => return exit,
    };
    let telling = match (args.quiet, args.json) {
        (_, true) => Telling::Json,
        (true, false) => Telling::Quiet,
        (false, false) => Telling::Words,
    };
    api::block_on(async {
        let mut publisher = Publisher::new(endpoint, with, telling);
        let work = async {
            match events {
                Some(events) => publisher.publish(events).await,
                None => from_stdin(&mut publisher).await,
            }
        };
        let result = match args.deadline {
            Some(deadline) => tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| {
                out::say(format_args!("note: --deadline has passed"));
                Err(Exit::Deadline)
            }),
            None => work.await,
        };
        finish(result, publisher.totals(), telling)
    })
}

/// Publishes what comes on standard input, as it comes.
async fn from_stdin(publisher: &mut Publisher) -> Result<(), Exit> {
    if io::stdin().is_terminal() {
        out::say(format_args!("note: reading events from the terminal, one a line; Ctrl-D ends"));
    }
    let progress = Progress::of_stdin();
    let mut pieces = read(io::stdin());
    let mut gathering = Gathering::default();
    let mut is_open = true;
    while is_open {
        let mut next = pieces.recv().await;
        // What has come already goes out together.
        while let Some(piece) = next.take() {
            let piece = piece.map_err(|error| {
                out::error(format_args!("cannot read standard input: {error}"), None);
                Exit::Runtime
            })?;
            progress.read(piece.len() as u64);
            gathering.push(&piece);
            if !gathering.is_full() {
                next = pieces.try_recv().ok();
            }
        }
        is_open = !(pieces.is_closed() && pieces.is_empty());
        if gathering.len() > LINE_BYTES {
            out::error("a line is longer than any daemon takes (256 MiB)", None);
            return Err(Exit::Rejected);
        }
        if let Some(lines) = gathering.take(!is_open) {
            publisher.publish(lines).await?;
            let totals = publisher.totals();
            progress.published(totals.accepted, totals.rejected);
        }
    }
    Ok(())
}

/// The totals, and how it ends.
pub(in crate::cli) fn finish(result: Result<(), Exit>, totals: Totals, telling: Telling) -> Exit {
    let exit = match result {
        Ok(()) if totals.rejected > 0 => Exit::Rejected,
        Ok(()) => Exit::Ok,
        Err(exit) => exit,
    };
    match telling {
        Telling::Json => {
            let summary =
                json!({ "accepted": totals.accepted, "rejected": totals.rejected, "line": totals.line });
            return out::json(&summary, exit);
        }
        Telling::Words if exit != Exit::Ok => {
            out::say(format_args!("{} accepted, {} rejected", totals.accepted, totals.rejected));
        }
        _ => {}
    }
    exit
}
