//! The arguments of the command line.

use super::bench::BenchArgs;
use super::man::ManArgs;
use super::publish::PublishArgs;
use super::replay::ReplayArgs;
use super::settings::Settings;
use super::status::StatusArgs;
use super::tail::TailArgs;
use super::top::TopArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Streams newline-delimited JSON events to WebSocket, SSE and Socket.IO clients, which resume where they left off.
#[derive(Debug, Parser)]
#[command(
    name = "broadcastd",
    version,
    after_help = "Without a command: serve.",
    after_long_help = "\
Examples:
  broadcastd                            # serve, with ./broadcast.toml if it is there
  broadcastd --set limits.clients=500   # the same with a key changed
  my-agent | broadcastd --stdin         # take events from a pipe as well
  broadcastd tail agent:42 | jq .       # print what a running daemon delivers
  broadcastd check broadcast.toml       # check a file, and run its tests
  broadcastd init --for agents          # write a file to start from

Without a command, broadcastd serves. --config, --defaults and --set stand before or after a command.

broadcastd takes its configuration from --config, $BROADCASTD_CONFIG, ./broadcast.toml or /etc/broadcastd/broadcast.toml, the \
first that there is. Otherwise it uses the built-in one.

Exit codes:
  0   success
  1   an address cannot be bound, or something failed while running
  64  the command line is wrong
  65  the daemon rejected some of the events
  66  no room has such a name
  69  the daemon cannot be reached
  75  a deadline passed
  78  the configuration is wrong"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of `serve`, the command where none is named; and the configuration of every command.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take events from producers and send them to clients (the default)
    Serve(Serve),
    /// Check a configuration, explain it, and run its tests
    Check(CheckArgs),
    /// Publish events from arguments or standard input
    Publish(PublishArgs),
    /// Print rooms' events, one a line; resume after a drop
    Tail(TailArgs),
    /// Show the state of a running daemon
    Status(StatusArgs),
    /// Publish a recording at the pace of its timestamps
    Replay(ReplayArgs),
    /// Show rooms and clients of a running daemon, live
    Top(TopArgs),
    /// Load a daemon that you name, and measure how it delivers
    Bench(BenchArgs),
    /// Show the effective value of every key, and its origin
    Config(ConfigArgs),
    /// Look for the usual faults, and say how to fix them
    Doctor(DoctorArgs),
    /// Make a running daemon read its configuration again
    Reload(ReloadArgs),
    /// Write a configuration to start from
    Init(InitArgs),
    /// Write a completion script for a shell
    Completions(CompletionsArgs),
    /// Write manual pages into a folder
    Man(ManArgs),
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// Take events from standard input as well
    #[arg(long)]
    pub stdin: bool,
    /// Log more: -v what connections do, -vv every detail
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `serve`, named.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Standard output is for scripts: a line `listening clients|admin|ingest ADDRESS` for each address with its real port, then \
`ready`. The log goes to standard error.

Example:
  my-agent | broadcastd serve --stdin --set limits.clients=500

The daemon applies a changed configuration while it runs: when the file changes, on SIGHUP, and with `broadcastd reload`.

SIGTERM and SIGINT stop it. It delivers accepted events within server.drain_timeout. A second signal ends it at once.")]
pub struct Serve {
    /// Arguments that also hold without the command's name.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Example:
  broadcastd check broadcast.toml && sudo cp broadcast.toml /etc/broadcastd/

Exit codes:
  0   the configuration is right and passes its tests
  64  the command line is wrong
  78  the configuration is wrong")]
pub struct CheckArgs {
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `config`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Examples:
  broadcastd config --set limits.clients=500 | grep limits
  broadcastd config --json | jq '.keys[\"limits.clients\"].value'

Exit codes:
  0   success
  64  the command line is wrong
  78  the configuration is wrong")]
pub struct ConfigArgs {
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the keys as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Looks at the configuration, the daemon that runs with it, descriptors, ports, sockets, kernel queues, memory, origins, proxies, \
the clock and the sandbox. Run it as the daemon's user, to see what the daemon sees. It changes nothing.

Example:
  broadcastd doctor --as backend

Exit codes:
  0   nothing is wrong
  1   something is wrong
  64  the command line is wrong
  78  the configuration is wrong")]
pub struct DoctorArgs {
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Say whether this user, a producer's, may write to the ingest sockets
    #[arg(long = "as", value_name = "USER")]
    pub producer: Option<String>,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `reload`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
The daemon reads its own file and checks all of it. It applies the whole file, or nothing. --config and --set only say where \
the daemon is.

Example:
  broadcastd reload --dry-run

Exit codes:
  0   applied or unchanged
  64  the command line is wrong
  69  the daemon cannot be reached
  78  refused")]
pub struct ReloadArgs {
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Print the daemon's answer as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for operators: HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

/// Arguments of `init`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Example:
  broadcastd init --for ag-ui && broadcastd")]
pub struct InitArgs {
    /// What the configuration is for
    #[arg(long = "for", value_name = "USE", value_enum, default_value_t = InitFor::Agents)]
    pub purpose: InitFor,
    /// Overwrite a file that is there
    #[arg(long)]
    pub force: bool,
    /// Where to write it; `-` is standard output
    #[arg(default_value = "broadcast.toml")]
    pub file: PathBuf,
}

/// What a configuration to start from is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InitFor {
    /// One room for everything, and one for each type
    Minimal,
    /// Agents' states, metrics, workflows, memory and alerts, as built in
    Agents,
    /// Metrics in batches, and a board of the newest
    Metrics,
    /// AG-UI runs, routed by a run id beside the events
    AgUi,
}

/// Arguments of `completions`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Example:
  broadcastd completions bash > ~/.local/share/bash-completion/completions/broadcastd")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}
