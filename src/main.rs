//! The process: arguments, the subcommand, the exit code.

use broadcastd::cli::args::{Cli, Command};
use broadcastd::cli::{
    bench, check, completions, config, doctor, init, man, publish, reload, replay, serve, status, tail, top,
};
use broadcastd::error::Exit;
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are asked for, and go to standard output.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    let exit = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Publish(args)) => publish::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Top(args)) => top::run(&args),
        Some(Command::Man(args)) => man::run(&args),
        Some(Command::Tail(args)) => tail::run(&args),
        Some(Command::Config(args)) => config::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Reload(args)) => reload::run(&args),
        Some(Command::Init(args)) => init::run(&args),
    };
    exit.into()
}
