//! `broadcastd man`: manual pages, one for each subcommand.

use super::args::Cli;
use super::out;
use crate::error::Exit;
use clap::{Args, CommandFactory};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Arguments of `man`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Example:
  broadcastd man /usr/local/share/man/man1 && man broadcastd-tail")]
pub struct ManArgs {
    /// The folder to write broadcastd.1, broadcastd-tail.1 and the others to
    pub folder: PathBuf,
}

/// Writes the pages.
pub fn run(args: &ManArgs) -> Exit {
    match write(&args.folder) {
        Ok(count) => out::print(&format!("{count} pages in {}\n", args.folder.display()), Exit::Ok),
        Err(error) => {
            out::error(format_args!("cannot write to {}: {error}", args.folder.display()), None);
            Exit::Runtime
        }
    }
}

fn write(folder: &Path) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    // Without the generated `help` subcommand, which has no page.
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let mut count = 1;
    page(&cli, "broadcastd", folder)?;
    for command in cli.get_subcommands() {
        let name = format!("broadcastd-{}", command.get_name());
        page(&command.clone().display_name(name.clone()), &name, folder)?;
        count += 1;
    }
    Ok(count)
}

fn page(command: &clap::Command, name: &str, folder: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    fs::write(folder.join(format!("{name}.1")), text)
}
