//! The arguments of `tail`.

use crate::cli::settings::Settings;
use crate::config::parse_duration;
use crate::pattern::Condition;
use crate::wire::parse_date_time;
use clap::Args;
use std::num::NonZeroU64;
use std::time::Duration;

/// Rooms of one connection: the daemon takes as many names in one message.
const ROOMS: usize = 1024;

/// What `--since` takes.
const SINCE: &str = "give -5m (ms, s, m, h or d), a date and time with its zone such as 2026-11-25T10:00:00Z, or milliseconds since 1970";

/// Arguments of `tail`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
tail prints events to standard output, one a line, as their producers wrote them. Notices go to standard error: missing events, \
and why a connection was lost. After a drop, tail reconnects and resumes exactly where it left off.

Examples:
  broadcastd tail agent:42 | jq .status              # events from now on
  broadcastd tail -n 100 --no-follow system_alerts   # the newest 100, no more
  broadcastd tail --since -5m --where 'severity == \"error\"' system_alerts
  broadcastd tail --since 2026-11-25T10:00:00Z system_alerts
  broadcastd tail run:r1 --until 'type == \"RUN_FINISHED\"' --timeout 10m
  broadcastd tail --frames agent_states workflow_executions | jq -r .room

Times for --since:
  -5m                         five minutes ago (ms, s, m, h, d)
  2026-11-25T10:00:00Z        a date and time with its zone (RFC 3339)
  2026-11-25T11:00:00+01:00   the same moment in another zone
  1795600800000               the same moment in milliseconds since 1970

Exit codes:
  0   ended as asked, or the reader has gone
  64  the command line is wrong
  66  no room has such a name
  69  the daemon cannot be reached
  75  --timeout passed before --count, --until or --no-follow was fulfilled
  78  the configuration is wrong")]
pub struct TailArgs {
    /// Rooms to read
    #[arg(value_name = "ROOM", required = true, num_args = 1..=ROOMS)]
    pub rooms: Vec<String>,
    /// Begin with the newest N events of each room
    #[arg(long, short = 'n', value_name = "N", conflicts_with_all = ["since", "start"])]
    pub last: Option<u32>,
    /// Begin with what was accepted since then: -5m, 2026-11-25T10:00:00Z, or milliseconds since 1970
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = since)]
    pub since: Option<Since>,
    /// Begin with all that the rooms' histories have
    #[arg(long, conflicts_with = "since")]
    pub start: bool,
    /// Print only events that the condition holds for; the daemon evaluates it
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    pub condition: Option<Condition>,
    /// At most one message per room and interval
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub every: Option<Duration>,
    /// End after N events
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// End after the first event that the condition holds for; evaluated here, over the event's own fields
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub until: Option<Condition>,
    /// End after this time
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub timeout: Option<Duration>,
    /// End with the newest event there is; without -n, --since and --start: of all that history has
    #[arg(long)]
    pub no_follow: bool,
    /// Print whole messages of the protocol, one a line
    #[arg(long)]
    pub frames: bool,
    /// Print every byte on a terminal as well, control characters included
    #[arg(long)]
    pub raw: bool,
    /// Print no notices
    #[arg(long, short)]
    pub quiet: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for clients: HOST:PORT, unix:PATH or ws://HOST:PORT/PATH
    #[arg(long, value_name = "ADDRESS")]
    pub url: Option<String>,
}

/// Where `--since` begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago, as the protocol writes it.
    Ago(String),
    /// Milliseconds since 1970.
    Ms(u64),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(ms) = text.parse() {
        return Ok(Since::Ms(ms));
    }
    if let Some(ms) = parse_date_time(text) {
        return Ok(Since::Ms(ms));
    }
    let ago = text.strip_prefix('-').unwrap_or(text);
    match parse_duration(ago) {
        Ok(_) => Ok(Since::Ago(format!("-{ago}"))),
        Err(meant) => Err(meant.map_or_else(|| SINCE.to_owned(), |meant| format!("did you mean -{meant}?"))),
    }
}

/// Reads a duration that is not 0.
pub(in crate::cli) fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be above 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(Some(meant)) => Err(format!("did you mean {meant}?")),
        Err(None) => Err("a duration is a whole number and a unit (ms, s, m, h, d), such as 5s".to_owned()),
    }
}

/// Reads a condition.
fn condition(text: &str) -> Result<Condition, String> {
    Condition::parse(text).map_err(|error| {
        let column = text.get(..error.start).map_or(1, |before| before.chars().count() + 1);
        let hint = error.hint.map_or_else(String::new, |hint| format!("; {hint}"));
        format!("column {column}: {}{hint}", error.message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(since("-5m"), Ok(Since::Ago("-5m".to_owned())));
        assert_eq!(since("5m"), Ok(Since::Ago("-5m".to_owned())));
        assert_eq!(since("1700000000000"), Ok(Since::Ms(1_700_000_000_000)));
        assert_eq!(since("-5 minutes"), Err("did you mean -5m?".to_owned()));
        for date in ["2026-11-25T10:00:00Z", "2026-11-25 11:00:00.000+01:00"] {
            assert_eq!(since(date), Ok(Since::Ms(1_795_600_800_000)), "{date}");
        }
        assert!(since("2026-11-25T10:00:00").unwrap_err().contains("with its zone"));
        assert!(since("yesterday").unwrap_err().contains("-5m"));
        assert!(positive("0s").is_err() && positive("2s") == Ok(Duration::from_secs(2)));
        assert!(condition("a = 1").unwrap_err().starts_with("column 3"), "{:?}", condition("a = 1"));
    }
}
