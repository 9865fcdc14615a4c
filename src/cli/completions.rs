//! `broadcastd completions`: a completion script for a shell.

use super::args::{Cli, CompletionsArgs};
use crate::error::Exit;
use clap::CommandFactory;

/// Writes the script to standard output.
pub fn run(args: &CompletionsArgs) -> Exit {
    clap_complete::generate(args.shell, &mut Cli::command(), "broadcastd", &mut std::io::stdout());
    Exit::Ok
}
