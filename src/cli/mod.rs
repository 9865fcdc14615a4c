//! The command line: what the arguments are, and one file for each subcommand.

pub mod args;
pub mod check;
pub mod completions;
pub mod config;
pub mod init;
pub mod reload;
pub mod serve;
