//! The arguments of `publish`.

use crate::cli::settings::Settings;
use crate::cli::tail::positive;
use clap::Args;
use std::time::Duration;

/// Arguments of `publish`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Without arguments, publish sends the lines of standard input as they arrive (NDJSON: one event a line). With --type, it builds an \
event from fields: NAME=TEXT is a string, NAME:=JSON anything else, and dots make objects. It is silent on success. Rejected lines \
go to standard error with their place, code and text.

Examples:
  my-agent | broadcastd publish
  broadcastd publish '{\"type\":\"step\",\"agentId\":\"42\"}'
  broadcastd publish --type step agentId=42 status=busy details.code:=7
  broadcastd publish --with runId=r1 < run.ndjson

In a hook that must neither fail nor hang:
  broadcastd publish --deadline 1s --best-effort --type deployed version=1.2

Exit codes:
  0   the daemon accepted all events; --best-effort always ends with 0 or 64
  64  the command line is wrong
  65  the daemon rejected some of the events
  69  the daemon cannot be reached
  75  --deadline passed
  78  the configuration is wrong")]
pub struct PublishArgs {
    /// Events as JSON; with --type, fields of one: NAME=TEXT or NAME:=JSON
    #[arg(value_name = "EVENT|FIELD")]
    pub items: Vec<String>,
    /// Publish one event of this type
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub kind: Option<String>,
    /// Route the events by a field that is not in them; can be given many times
    #[arg(long, value_name = "NAME=TEXT")]
    pub with: Vec<String>,
    /// End after this time, even if events are left
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub deadline: Option<Duration>,
    /// Exit with 0 even if publishing fails
    #[arg(long)]
    pub best_effort: bool,
    /// Print rejected lines and the totals as JSON
    #[arg(long)]
    pub json: bool,
    /// Do not report rejected lines
    #[arg(long, short)]
    pub quiet: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for producers: HOST:PORT, unix:PATH or http://HOST:PORT/PATH
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
}
