//! The command line: what the arguments are, and one file for each subcommand.

mod api;
pub mod args;
pub mod check;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod init;
pub mod reload;
pub mod serve;
