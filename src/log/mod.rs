//! The log: where its lines go, how they look, and a level that can be changed while the daemon runs.
//!
//! No thread ever waits for the log: a thread of the log's own writes the lines, and lines that find its queue full are dropped
//! and counted.

mod journal;
mod output;

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::escape::Escaped;
use std::fmt::{Debug, Write as _};
use std::io::IsTerminal;
use tracing::field::Field;
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

pub use output::Log;
use output::{Dropped, Output};

/// The way to change the log's level, and to see what it lost.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    /// None where the level was given as an argument, which wins, or where somebody else has set up a log.
    filter: Option<reload::Handle<LevelFilter, Registry>>,
    dropped: Dropped,
}

impl Handle {
    /// Sets the level.
    pub fn set_level(&self, level: LogLevel) {
        if let Some(filter) = &self.filter {
            // It fails only without a log.
            let _ = filter.modify(|filter| *filter = filter_of(level));
        }
    }

    /// Lines that were dropped so far, because nobody read the log or it could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.total()
    }
}

/// Sets the log up. `verbose` counts the `-v` among the arguments. What it returns writes the last lines when it is dropped.
pub fn init(config: LogConfig, verbose: u8) -> Log {
    let level = match verbose {
        0 => filter_of(config.level),
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let (filter, handle) = reload::Layer::new(level);
    let (output, to_journal) = open(config.format);
    let (log, lines) = Log::start(output);
    let layer = if to_journal { journal::layer(lines) } else { layer(config.format, lines) };
    // Fails only if a program that embeds this has set one up before.
    let is_ours = tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok();
    if is_ours {
        // The standard hook waits for whoever reads standard error.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    log.with_filter((is_ours && verbose == 0).then_some(handle))
}

/// Where lines go; and whether that is the journal, which takes entries of fields. Without a journal they must go somewhere.
fn open(format: LogFormat) -> (Output, bool) {
    let is_for_journal = format == LogFormat::Journald || (format == LogFormat::Auto && is_of_systemd());
    match is_for_journal.then(journal::Socket::open) {
        Some(Ok(socket)) => (Output::Journal(socket), true),
        Some(Err(_)) | None => (Output::Stderr, false),
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn layer<S>(format: LogFormat, lines: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>,
{
    let layer = fmt::layer().with_writer(lines).with_target(false);
    if format == LogFormat::Json {
        return layer.json().flatten_event(true).boxed();
    }
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let has_colour = std::io::stderr().is_terminal() && !no_colour;
    layer.fmt_fields(fmt::format::debug_fn(write_field)).with_ansi(has_colour).boxed()
}

/// Writes a field of a line for people, if it has a value. Values may be a producer's: no line end or control character of theirs
/// gets into the log.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let mut text = String::new();
    write!(Escaped { inner: &mut text, lines: false }, "{value:?}")?;
    match field.name() {
        "message" => out.write_str(&text),
        _ if text.is_empty() || text == "\"\"" => Ok(()),
        name => write!(out, " {name}={text}"),
    }
}

/// Whether standard error is the journal's (`JOURNAL_STREAM`, systemd.exec(5)).
fn is_of_systemd() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(std::io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
