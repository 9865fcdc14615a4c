//! How far a file on standard input has been read: a bar on a terminal, nothing anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

/// The bar.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for standard input, if that is a file and standard error a terminal.
    pub(super) fn of_stdin() -> Progress {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        Progress::new(
            stdin.and_then(|file| file.metadata()).ok().filter(std::fs::Metadata::is_file).map(|it| it.len()),
        )
    }

    /// A bar for so many bytes.
    pub(super) fn new(bytes: Option<u64>) -> Progress {
        let Some(bytes) = bytes.filter(|_| io::stderr().is_terminal()) else {
            return Progress(ProgressBar::hidden());
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// So many more bytes were read.
    pub(super) fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// So many lines have been answered.
    pub(super) fn published(&self, accepted: u64, rejected: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("{accepted} accepted, {rejected} rejected"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
