//! The arguments of `publish`.

use crate::cli::tail::positive;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `publish`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Without arguments, lines of standard input are published as they come (NDJSON: one event a line). With --type, an event is put
together: NAME=TEXT is a string, NAME:=JSON anything else, and dots make objects. Silent when all went well; lines that are refused
are told on standard error with their place, code and text.

Examples:
  my-agent | broadcastd publish
  broadcastd publish '{\"type\":\"system_alert\",\"severity\":\"error\",\"component\":\"db\",\"message\":\"down\"}'
  broadcastd publish --type system_alert severity=error component=db message='it is down' details.code:=7
  broadcastd publish --with runId=r1 < run.ndjson
  broadcastd publish --deadline 1s --best-effort --type deployed version=1.2    in a hook: never fails, never hangs

Exit codes: 0 all was accepted; 64 a wrong argument; 65 some was refused; 69 the daemon cannot be reached; 75 --deadline passed; 78 the
configuration is wrong. With --best-effort always 0, but for a wrong argument.")]
pub struct PublishArgs {
    /// Events as JSON; with --type, fields of one: NAME=TEXT or NAME:=JSON
    #[arg(value_name = "EVENT|FIELD")]
    pub items: Vec<String>,
    /// Publish one event of this type
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub kind: Option<String>,
    /// A field beside the events, which routes them and is not in them; can be given many times
    #[arg(long, value_name = "NAME=TEXT")]
    pub with: Vec<String>,
    /// End after this time, whether all is published or not
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub deadline: Option<Duration>,
    /// Exit with 0 whatever comes of it
    #[arg(long)]
    pub best_effort: bool,
    /// What was refused, and the totals, as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Say nothing of what was refused
    #[arg(long, short)]
    pub quiet: bool,
    /// The configuration, which says where producers write to
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where producers write to: HOST:PORT, unix:PATH or http://HOST:PORT/PATH
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
}
