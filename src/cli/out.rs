//! Standard output and standard error as a tool in a pipe has them: whole lines, colours for terminals alone, a quiet end
//! when nobody reads any more.

use crate::error::Exit;
use crate::escape;
use serde_json::Value;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

/// Bytes that are gathered before they are written, while more is to come.
const GATHERED: usize = 64 << 10;

/// Standard output, line by line. What is not flushed is lost: [`flush`](Self::flush) before waiting.
pub(super) struct Out {
    lines: Vec<u8>,
    /// True if lines, which are JSON, go to a terminal.
    is_shown: bool,
}

impl Out {
    /// Standard output. On a terminal, lines of JSON are written so that it only shows them, unless they are wanted `raw`.
    pub(super) fn new(raw: bool) -> Out {
        Out { lines: Vec::new(), is_shown: !raw && io::stdout().is_terminal() }
    }

    /// Adds a line, and writes what has gathered if it is much.
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.lines.extend_from_slice(&if self.is_shown { escape::json(line) } else { line.into() });
        self.lines.push(b'\n');
        if self.lines.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// Writes what has gathered. Blocks while the reader does not read.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let result = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        self.lines.clear();
        result
    }
}

/// How a tool ends that cannot write: quietly if its reader has gone, as `head` does when it has enough.
pub(super) fn unwritten(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Ok;
    }
    say(format_args!("error: cannot write to standard output: {error}"));
    Exit::Runtime
}

/// Prints a text, and returns `exit`, or how a tool ends that cannot write.
pub(super) fn print(text: &str, exit: Exit) -> Exit {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => exit,
        Err(error) => unwritten(&error),
    }
}

/// Prints one JSON object, and returns `exit`, or how a tool ends that cannot write.
pub(super) fn json(value: &Value, exit: Exit) -> Exit {
    print(&format!("{value}\n"), exit)
}

/// Writes a text to standard error; whether anybody reads it is not this program's business.
pub(super) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", escape::text(text));
}

/// Writes an error, and what would be right.
pub(super) fn error(what: impl fmt::Display, hint: Option<&str>) {
    say(format_args!("error: {what}"));
    if let Some(hint) = hint {
        say(format_args!("  hint: {hint}"));
    }
}

/// Whether a stream gets colours: a terminal that can, and nobody has said `NO_COLOR`.
pub(super) fn has_colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// What a tool says beside its output, on standard error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notices {
    quiet: bool,
    colour: bool,
}

impl Notices {
    /// Notices; none if `quiet`.
    pub(super) fn new(quiet: bool) -> Notices {
        Notices { quiet, colour: has_colour(&io::stderr()) }
    }

    /// Says something.
    pub(super) fn say(self, text: fmt::Arguments<'_>) {
        match (self.quiet, self.colour) {
            (true, _) => {}
            (false, true) => {
                let _ = writeln!(io::stderr().lock(), "\x1b[33mnote:\x1b[0m {}", escape::text(text));
            }
            (false, false) => say(format_args!("note: {text}")),
        }
    }
}

/// Ends when standard output is a pipe whose reader has gone, even while there is nothing to write. Never ends for a file or
/// a terminal.
pub(super) async fn closed() {
    let watch = || -> io::Result<Sender> {
        // Nothing is written through this descriptor, so it may stay a blocking one.
        Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)
    };
    if let Ok(pipe) = watch() {
        let _ = pipe.ready(Interest::ERROR).await;
    } else {
        // A file: the kernel does not poll it.
        std::future::pending::<()>().await;
    }
}
