//! The arguments of `bench`.

use crate::cli::settings::Settings;
use crate::cli::tail::positive;
use crate::config::{parse_rate, parse_size};
use crate::pattern::Template;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use std::time::Duration;

/// The longest run, the highest rate, and the longest event.
const LONGEST: Duration = Duration::from_secs(3600);
const MOST_PER_SECOND: f64 = 1_000_000.0;
const LARGEST: u64 = 1 << 20;

/// Arguments of `bench`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
bench publishes for real, to a daemon that you name. Its events go to every room that takes their type, and to all who are in it.

What the room needs:
  its name    a room or a template of the configuration (--room)
  its type    one that the room takes (--type); bench checks this first
  its fields  those that the type checks and the condition asks for, as for publish

bench fills in the fields of a template, such as agent:{agentId}. Their values begin with bench-, so the rooms are its own. \
Client N is in room N modulo --rooms.

Latency counts from the moment an event was due to the moment a client of bench has read it. It includes the time of bench itself, so \
run it on another core than the daemon. With --rate max, latency counts from the write.

Examples:
  broadcastd bench --config broadcast.toml
  broadcastd bench -c broadcast.toml --room system_alerts --type system_alert \\
    severity=info component=bench message=x
  broadcastd bench --url 127.0.0.1:9999 --to 127.0.0.1:9998 --clients 500
  broadcastd bench -c broadcast.toml --rate max --json | jq .latency_us.p99

Exit codes:
  0   nothing was lost, doubled or out of order
  1   something was
  64  the command line is wrong
  65  the room or the daemon does not take the events
  66  no room has such a name
  69  the daemon cannot be reached
  78  the configuration is wrong")]
pub struct BenchArgs {
    /// Further fields of the events: NAME=TEXT or NAME:=JSON
    #[arg(value_name = "FIELD")]
    pub fields: Vec<String>,
    /// A room, or a template of rooms
    #[arg(long, value_name = "ROOM", default_value = "agent:{agentId}", value_parser = template)]
    pub room: Template,
    /// The type of the events
    #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "bench")]
    pub kind: String,
    /// Rooms that the template makes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub rooms: usize,
    /// Connections that write
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub producers: usize,
    /// Connections that read
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub clients: usize,
    /// Events of all producers together, such as 1000/s; max is as fast as the daemon reads
    #[arg(long, value_name = "RATE|max", default_value = "1000/s", value_parser = rate)]
    pub rate: f64,
    /// Bytes of an event, unless its fields take more
    #[arg(long, value_name = "SIZE", default_value = "256B", value_parser = size)]
    pub size: usize,
    /// How long producers write
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Print the figures as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for clients: HOST:PORT, unix:PATH or ws://HOST:PORT/PATH
    #[arg(long, value_name = "ADDRESS")]
    pub url: Option<String>,
    /// The daemon's address for producers: HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
}

fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.message)
}

/// Events a second; without end for `max`.
fn rate(text: &str) -> Result<f64, String> {
    match parse_rate(text) {
        _ if text == "max" => Ok(f64::INFINITY),
        Ok(rate) if rate <= MOST_PER_SECOND => Ok(rate),
        Err(Some(meant)) => Err(format!("did you mean {meant}?")),
        _ => Err(format!("a number per s, m or h, at most {MOST_PER_SECOND}/s, or max")),
    }
}

fn size(text: &str) -> Result<usize, String> {
    match parse_size(text) {
        Ok(bytes) if (1..=LARGEST).contains(&bytes) => Ok(bytes as usize),
        Err(Some(meant)) => Err(format!("did you mean {meant}?")),
        _ => Err("a whole number and a unit, from 1B to 1MiB".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    positive(text).and_then(|time| if time <= LONGEST { Ok(time) } else { Err("at most 1h".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert_eq!((rate("50/s"), rate("max")), (Ok(50.0), Ok(f64::INFINITY)));
        assert_eq!(rate("50"), Err("did you mean 50/s?".to_owned()));
        assert!(rate("2000000/s").is_err() && size("2MiB").is_err() && size("0B").is_err());
        assert!(duration("2h").is_err() && duration("1h").is_ok() && duration("0s").is_err());
    }
}
