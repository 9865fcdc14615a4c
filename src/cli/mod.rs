//! The command line: what the arguments are, and one file for each subcommand.

mod api;
mod find;
mod out;
mod progress;
mod retry;
mod settings;
mod signals;
mod socket;

pub mod args;
pub mod bench;
pub mod check;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod init;
pub mod man;
pub mod publish;
pub mod reload;
pub mod replay;
pub mod serve;
pub mod status;
pub mod tail;
pub mod top;
