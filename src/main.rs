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
    let command = match Cli::try_parse().and_then(Cli::into_command) {
        Ok(command) => command,
        Err(error) => {
            // Help and the version are asked for, and go to standard output.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return exit.into();
        }
    };
    let exit = match command {
        Command::Serve(args) => serve::run(&args.serve),
        Command::Completions(args) => completions::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Init(args) => init::run(&args),
    };
    exit.into()
}
