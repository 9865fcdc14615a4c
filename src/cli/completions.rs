//! `broadcastd completions`: a completion script for a shell.

use super::args::{Cli, CompletionsArgs};
use super::out;
use crate::error::Exit;
use clap::CommandFactory;

/// Writes the script to standard output.
pub fn run(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "broadcastd", &mut script);
    out::print(&String::from_utf8_lossy(&script), Exit::Ok)
}
