//! The arguments of the command line.

use super::bench::BenchArgs;
use super::man::ManArgs;
use super::publish::PublishArgs;
use super::replay::ReplayArgs;
use super::status::StatusArgs;
use super::tail::TailArgs;
use super::top::TopArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Fans newline-delimited JSON events out to WebSocket clients, which resume where they were.
#[derive(Debug, Parser)]
#[command(
    name = "broadcastd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand: serve.",
    after_long_help = "\
Examples:
  broadcastd                                   serve with ./broadcast.toml, or with what is built in
  broadcastd --set limits.clients=500          the same with a key changed
  my-agent | broadcastd --stdin                take events from a pipe as well
  broadcastd tail agent:42 | jq .              print what a running daemon delivers
  broadcastd check broadcast.toml              say what a file means, and run its tests
  broadcastd init --for agents broadcast.toml  write a file to start from

The configuration is looked for in --config, $BROADCASTD_CONFIG, ./broadcast.toml, /etc/broadcastd/broadcast.toml; else
the built-in one runs.

Exit codes:
  0   all went well
  1   something could not be bound, or failed while running
  64  the command line is wrong
  65  some of what was to be published was refused
  66  no room has such a name
  69  the daemon cannot be reached
  75  what was waited for did not come in time
  78  the configuration is wrong"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of `serve`, which is what happens without a subcommand.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take events from producers and fan them out to clients (the default)
    Serve(ServeArgs),
    /// Check a configuration, say what it means, and run its tests
    Check(CheckArgs),
    /// Publish events from arguments or standard input
    Publish(PublishArgs),
    /// Print rooms' events, one a line, and go on after a drop
    Tail(TailArgs),
    /// Say how a running daemon is
    Status(StatusArgs),
    /// Publish a recording at the pace of its timestamps
    Replay(ReplayArgs),
    /// Show rooms and clients of a running daemon, live
    Top(TopArgs),
    /// Load a daemon that you name, and say how fast and how well it delivers
    Bench(BenchArgs),
    /// Show the effective value of every key, and where it comes from
    Config(ConfigArgs),
    /// Look at what usually goes wrong, and say what to do
    Doctor(DoctorArgs),
    /// Have a running daemon read its configuration anew, and say what came of it
    Reload(ReloadArgs),
    /// Write a configuration to start from
    Init(InitArgs),
    /// Write a completion script for a shell
    Completions(CompletionsArgs),
    /// Write manual pages
    #[command(hide = true)]
    Man(ManArgs),
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
On standard output, for scripts: a line `listening clients|admin|ingest ADDRESS` for each address with its real port, and
then `ready`. Everything else goes to standard error.

Example:
  my-agent | broadcastd serve --stdin --set limits.clients=500

The configuration is followed while it runs: when its file changes, on SIGHUP, and with `broadcastd reload`.

SIGTERM and SIGINT stop it: what was accepted is delivered within server.drain_timeout. A second signal ends it at once.")]
pub struct ServeArgs {
    /// The configuration
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run the built-in configuration, whatever files there are
    #[arg(long, conflicts_with = "config")]
    pub defaults: bool,
    /// Another value for a key of the configuration, as TOML; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take events from standard input as well
    #[arg(long)]
    pub stdin: bool,
    /// Say more: -v what connections do, -vv every detail
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Example:
  broadcastd check broadcast.toml && sudo cp broadcast.toml /etc/broadcastd/

Exit codes: 0 it is right and passes its tests, 64 the command line is wrong, 78 the configuration is.")]
pub struct CheckArgs {
    /// The configuration; looked for as `serve` does when left out
    pub file: Option<PathBuf>,
    /// Another value for a key of the configuration, as TOML; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `config`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Example:
  broadcastd config --set limits.clients=500 | grep limits")]
pub struct ConfigArgs {
    /// The configuration
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Another value for a key of the configuration, as TOML; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Looks at the configuration, the daemon that runs with it, descriptors, ports, sockets, kernel queues, memory, origins, proxies,
the clock and the sandbox. Run it as the daemon's user, to see what the daemon sees. Changes nothing.

Example:
  broadcastd doctor --as backend

Exit codes: 0 nothing is wrong, 1 something is, 64 the command line is wrong, 78 the configuration is.")]
pub struct DoctorArgs {
    /// The configuration
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Another value for a key of the configuration, as TOML; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Say whether this user, a producer's, may write to the ingest sockets
    #[arg(long = "as", value_name = "USER")]
    pub producer: Option<String>,
}

/// Arguments of `reload`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
The configuration is checked here first, and every problem reported; then the daemon is asked, which reads the file itself.
Nothing is changed unless all of it can be.

Example:
  broadcastd reload --dry-run

Exit codes: 0 applied or unchanged, 69 nobody answers, 78 refused.")]
pub struct ReloadArgs {
    /// Say only what would change
    #[arg(long)]
    pub dry_run: bool,
    /// The configuration, which says where the daemon's operators connect to
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the daemon's operators connect to: HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

/// Arguments of `init`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Example:
  broadcastd init --for ag-ui broadcast.toml && broadcastd --config broadcast.toml")]
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
