//! The command line: what the arguments are, and one file for each subcommand.

pub mod args;
pub mod completions;
pub mod serve;
