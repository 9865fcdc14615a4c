//! `broadcastd init`: a configuration to start from.

use super::args::{InitArgs, InitFor};
use super::out;
use crate::error::Exit;
use std::fs::OpenOptions;
use std::io::{self, Write};

impl InitFor {
    /// The configuration's text.
    pub fn text(self) -> &'static str {
        match self {
            InitFor::Minimal => include_str!("init/minimal.toml"),
            InitFor::Agents => include_str!("init/agents.toml"),
            InitFor::Metrics => include_str!("init/metrics.toml"),
            InitFor::AgUi => include_str!("init/ag-ui.toml"),
        }
    }
}

/// Writes the file, unless there is one already.
pub fn run(args: &InitArgs) -> Exit {
    let text = args.purpose.text();
    if args.file.as_os_str() == "-" {
        return out::print(text, Exit::Ok);
    }
    let file = args.file.display();
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).create(true).create_new(!args.force);
    match options.open(&args.file).and_then(|mut out| out.write_all(text.as_bytes())) {
        Ok(()) => {
            out::print(&format!("{file} is written; run it with: broadcastd --config {file}\n"), Exit::Ok)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            eprintln!("error: {file} is there already\n  hint: --force overwrites it");
            Exit::Runtime
        }
        Err(error) => {
            eprintln!("error: cannot write {file}: {error}");
            Exit::Runtime
        }
    }
}
