//! The log: where its lines go, how they look, and a level that can be changed while the daemon runs.

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::escape::Escaped;
use std::fmt::{Debug, Write as _};
use std::io::IsTerminal;
use tracing::field::Field;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

/// The way to change the log's level.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    /// None where the level was given as an argument, which wins, or where somebody else has set up a log.
    filter: Option<reload::Handle<LevelFilter, Registry>>,
}

impl Handle {
    /// Sets the level.
    pub fn set_level(&self, level: LogLevel) {
        if let Some(filter) = &self.filter {
            // It fails only without a log.
            let _ = filter.modify(|filter| *filter = filter_of(level));
        }
    }
}

/// Sets the log up. `verbose` counts the `-v` among the arguments.
pub fn init(config: LogConfig, verbose: u8) -> Handle {
    let level = match verbose {
        0 => filter_of(config.level),
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let (filter, handle) = reload::Layer::new(level);
    // Fails only if a program that embeds this has set one up before.
    let is_ours = tracing_subscriber::registry().with(filter).with(layer(config.format)).try_init().is_ok();
    Handle { filter: (is_ours && verbose == 0).then_some(handle) }
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

fn layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>,
{
    let stderr = || fmt::layer().with_writer(std::io::stderr).with_target(false);
    let fields = || fmt::format::debug_fn(write_field);
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let human =
        || stderr().fmt_fields(fields()).with_ansi(std::io::stderr().is_terminal() && !no_colour).boxed();
    let journal = || tracing_journald::layer().map(|layer| layer.with_field_prefix(None).boxed());
    let is_for_journal = format == LogFormat::Journald || (format == LogFormat::Auto && is_of_systemd());
    match format {
        LogFormat::Json => stderr().json().flatten_event(true).boxed(),
        // Without a journal the lines must go somewhere.
        _ if is_for_journal => journal().unwrap_or_else(|_| human()),
        _ => human(),
    }
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
