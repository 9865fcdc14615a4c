//! `broadcastd replay`: publishes a recording at the pace of its timestamps.

use super::find::{Door, find};
use super::progress::Progress;
use super::publish::{Lines, Publisher, Telling, finish, with_line};
use super::settings::Settings;
use super::{api, out};
use crate::error::Exit;
use clap::Args;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that are sent together at most, unless one line is longer; and what a line is at most.
const BODY_BYTES: usize = 256 << 10;
const LINE_BYTES: u64 = 257 << 20;
/// The longest wait: what is later than that never comes.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Arguments of `replay`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
replay sends events as they were recorded, with their timestamps. Between two events it waits for the time between their \
timestamps, divided by --speed. It sends events without a timestamp, or with an older one than before, at once.

Examples:
  broadcastd tail agent:42 > monday.ndjson      # record
  broadcastd replay monday.ndjson               # as it was
  broadcastd replay monday.ndjson --speed 10    # ten times as fast
  broadcastd replay monday.ndjson --speed max   # as fast as the daemon reads
  broadcastd replay - --with runId=demo < run.ndjson

Exit codes:
  0   the daemon accepted all events
  1   the recording cannot be read
  64  the command line is wrong
  65  the daemon rejected some of the events
  69  the daemon cannot be reached
  78  the configuration is wrong")]
pub struct ReplayArgs {
    /// The recording, one event a line; - is standard input
    pub file: PathBuf,
    /// How many times as fast as it was; max does not wait at all
    #[arg(long, value_name = "FACTOR|max", default_value = "1", value_parser = speed)]
    pub speed: f64,
    /// Wait at most so long between two events
    #[arg(long, value_name = "DURATION", value_parser = super::tail::positive)]
    pub max_pause: Option<Duration>,
    /// Route the events by a field that is not in them; can be given many times
    #[arg(long, value_name = "NAME=TEXT")]
    pub with: Vec<String>,
    /// Print rejected lines and the totals as JSON
    #[arg(long)]
    pub json: bool,
    /// Which configuration is meant.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for producers: HOST:PORT, unix:PATH or http://HOST:PORT/PATH
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
}

/// A factor; without end for `max`.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(f64::INFINITY),
        Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(factor),
        _ => Err("a number above 0, such as 2 or 0.5, or max".to_owned()),
    }
}

/// Publishes the recording.
pub fn run(args: &ReplayArgs) -> Exit {
    let with = match with_line(&args.with) {
        Ok(with) => with,
        Err(why) => {
            out::error(why, None);
            return Exit::Usage;
        }
    };
    let (recording, bytes) = match open(&args.file) {
        Ok(recording) => recording,
        Err(error) => return unreadable(&args.file, &error),
    };
    let endpoint = match find(Door::Producers, args.to.as_deref(), &args.settings) {
        Ok(endpoint) => endpoint,
        Err(exit) => return exit,
    };
    let telling = if args.json { Telling::Json } else { Telling::Words };
    api::block_on(async {
        let mut publisher = Publisher::new(endpoint, with, telling);
        let progress = Progress::new(bytes);
        let pace = Pace::new(args.speed, args.max_pause);
        let result = replay(args, recording, pace, &mut publisher, &progress).await;
        drop(progress);
        finish(result, publisher.totals(), telling)
    })
}

type Recording = BufReader<Box<dyn Read>>;

fn open(path: &Path) -> io::Result<(Recording, Option<u64>)> {
    let recording = |stream: Box<dyn Read>| BufReader::with_capacity(BODY_BYTES, stream);
    if path.as_os_str() == "-" {
        return Ok((recording(Box::new(io::stdin())), None));
    }
    let file = File::open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((recording(Box::new(file)), found.is_file().then_some(found.len())))
}

fn unreadable(path: &Path, error: &io::Error) -> Exit {
    out::error(format_args!("cannot read {}: {error}", path.display()), None);
    Exit::Runtime
}

async fn replay(
    args: &ReplayArgs,
    mut recording: Recording,
    mut pace: Pace,
    publisher: &mut Publisher,
    progress: &Progress,
) -> Result<(), Exit> {
    let begin = Instant::now();
    let mut due = Vec::new();
    loop {
        let start = due.len();
        let read = recording.by_ref().take(LINE_BYTES).read_until(b'\n', &mut due);
        let len = read.map_err(|error| unreadable(&args.file, &error))?;
        if len as u64 == LINE_BYTES {
            out::error("a line is longer than any daemon takes (256 MiB)", None);
            return Err(Exit::Rejected);
        }
        let at = begin + pace.at(&due[start..]);
        // What is due goes out before a wait, for its time or for more of the recording.
        if len > 0 && at <= Instant::now() && due.len() < BODY_BYTES && !recording.buffer().is_empty() {
            continue;
        }
        let next = due.split_off(if at <= Instant::now() { due.len() } else { start });
        let lines = std::mem::replace(&mut due, next);
        if !lines.is_empty() {
            progress.read(lines.len() as u64);
            publisher.publish(Lines::new(lines)).await?;
            let totals = publisher.totals();
            progress.published(totals.accepted, totals.rejected);
        }
        if len == 0 {
            return Ok(());
        }
        tokio::time::sleep_until(at).await;
    }
}

/// When each event is due, counted from the begin. Pure.
#[derive(Debug)]
struct Pace {
    speed: f64,
    max_pause: Duration,
    /// The newest timestamp, in milliseconds, and when it was due.
    newest_ms: Option<u64>,
    due: Duration,
}

impl Pace {
    fn new(speed: f64, max_pause: Option<Duration>) -> Pace {
        Pace { speed, max_pause: max_pause.unwrap_or(Duration::MAX), newest_ms: None, due: Duration::ZERO }
    }

    /// When a line is due.
    fn at(&mut self, line: &[u8]) -> Duration {
        #[derive(Deserialize)]
        struct Stamped {
            timestamp: u64,
        }
        if self.speed.is_infinite() {
            return Duration::ZERO;
        }
        let Ok(Stamped { timestamp }) = serde_json::from_slice(line) else { return self.due };
        let newest_ms = self.newest_ms.unwrap_or(timestamp);
        let ms = timestamp.saturating_sub(newest_ms) as f64 / self.speed;
        let pause = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST).min(self.max_pause);
        self.due = self.due.saturating_add(pause).min(LONGEST);
        self.newest_ms = Some(newest_ms.max(timestamp));
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(speed: f64, max_pause: Option<u64>, lines: &[&str]) -> Vec<u128> {
        let mut pace = Pace::new(speed, max_pause.map(Duration::from_millis));
        lines.iter().map(|line| pace.at(line.as_bytes()).as_millis()).collect()
    }

    #[test]
    fn timestamps_make_the_pace() {
        let lines = [
            r#"{"type":"t"}"#,
            r#"{"timestamp":5000}"#,
            r#"{"timestamp":6000}"#,
            "no json",
            r#"{"timestamp":5500}"#,
            r#"{"timestamp":6000}"#,
            r#"{"timestamp":16000}"#,
        ];
        assert_eq!(due(1.0, None, &lines), [0, 0, 1000, 1000, 1000, 1000, 11_000]);
        assert_eq!(due(2.0, None, &lines), [0, 0, 500, 500, 500, 500, 5500]);
        assert_eq!(due(1.0, Some(300), &lines), [0, 0, 300, 300, 300, 300, 600]);
        assert_eq!(due(f64::INFINITY, None, &lines), [0; 7]);
    }

    #[test]
    fn speeds_are_factors() {
        assert_eq!((speed("2"), speed("0.5"), speed("max")), (Ok(2.0), Ok(0.5), Ok(f64::INFINITY)));
        for text in ["0", "-1", "inf", "NaN", "x", ""] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
