//! `broadcastd status`: how a running daemon is, in a few lines.

use super::bench::grouped;
use super::find::{Door, find};
use super::settings::Settings;
use super::{api, out};
use crate::error::Exit;
use crate::escape;
use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rooms that are named.
const ROOMS: usize = 5;

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  broadcastd status                                     # at a glance
  broadcastd status --json | jq .status.bufferStatus    # for scripts
  broadcastd status >/dev/null || alert                 # healthy, or not

Exit codes:
  0   healthy
  1   degraded or unhealthy
  64  the command line is wrong
  69  the daemon cannot be reached
  78  the configuration is wrong")]
pub struct StatusArgs {
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The answers of /api/v1/health and /api/v1/websocket/status, as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration that the command looks at.
    #[command(flatten)]
    pub settings: Settings,
    /// The daemon's address for operators: HOST:PORT, unix:PATH or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

/// Asks, and prints the answers.
pub fn run(args: &StatusArgs) -> Exit {
    let endpoint = match find(Door::Operators, args.admin.as_deref(), &args.settings) {
        Ok(endpoint) => endpoint,
        Err(exit) => return exit,
    };
    let ask = |target| api::ask_blocking(&endpoint, Method::GET, target, PATIENCE);
    let answers = ask("/api/v1/health").and_then(|health| Ok((health, ask("/api/v1/websocket/status")?)));
    let ((_, health), (code, status)) = match answers {
        Ok(answers) => answers,
        Err(error) => return api::unreachable(&endpoint, &error, "--admin"),
    };
    if code != StatusCode::OK {
        let detail = status["detail"].as_str().unwrap_or("it is no daemon's, or does not tell");
        out::error(format_args!("{endpoint} has no status: {code}: {detail}"), None);
        return Exit::Unreachable;
    }
    let exit = if status["status"] == "healthy" { Exit::Ok } else { Exit::Runtime };
    if args.json {
        return out::json(&json!({ "health": health, "status": status }), exit);
    }
    out::print(&show(&status, out::has_colour(&std::io::stdout())), exit)
}

/// The status, for people.
fn show(status: &Value, colour: bool) -> String {
    let word = status["status"].as_str().unwrap_or("unknown");
    let word = match (colour, word) {
        (false, word) => word.to_owned(),
        (true, "healthy") => format!("\x1b[32m{word}\x1b[0m"),
        (true, "degraded") => format!("\x1b[33m{word}\x1b[0m"),
        (true, word) => format!("\x1b[31m{word}\x1b[0m"),
    };
    let mut text = String::new();
    let version = status["version"].as_str().unwrap_or("?");
    let up = in_words(status["uptimeSeconds"].as_u64().unwrap_or(0));
    let _ = writeln!(text, "{word}: broadcastd {version}, up {up}");
    for reason in status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(text, "  {}", escape::text(reason));
    }
    let buffers = &status["bufferStatus"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let bytes = |name: &str| size(number(&buffers[name]));
    let _ = writeln!(text, "clients  {}", clients(status));
    text.push_str(&lowered(&status["clientLimit"], &status["configuredClientLimit"]));
    if let Some(events) = events(&status["events"]) {
        let _ = writeln!(text, "events   {events}");
    }
    let rooms = status["rooms"].as_array().map_or(&[][..], Vec::as_slice);
    let named: Vec<String> = rooms.iter().take(ROOMS).filter_map(room).collect();
    let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    let interests = match number(&status["interests"]) {
        0 => String::new(),
        interests => format!(", {interests} only subscribed to"),
    };
    let _ = writeln!(text, "rooms    {}{interests}{named}", number(&status["activeRooms"]));
    let _ = writeln!(text, "backlog  {} of {}", bytes("backlogBytes"), bytes("backlogLimit"));
    let _ = writeln!(text, "history  {} of {}", bytes("historyBytes"), bytes("historyLimit"));
    let _ = writeln!(text, "buffers  {} events", number(&buffers["bufferedEvents"]));
    text
}

/// A line where fewer clients may connect than the configuration allows.
fn lowered(limit: &Value, configured: &Value) -> String {
    match (limit.as_u64(), configured.as_u64()) {
        (Some(limit), Some(configured)) if limit < configured => {
            format!("limit    {limit} clients: descriptors allow no more (limits.clients is {configured})\n")
        }
        _ => String::new(),
    }
}

/// Clients, and how many of them use each transport.
pub(super) fn clients(status: &Value) -> String {
    let clients = status["connectedClients"].as_u64().unwrap_or(0);
    let transports = status["transports"].as_object().into_iter().flatten();
    let mut used: Vec<(u64, &str)> = transports
        .filter_map(|(name, count)| Some((count.as_u64().filter(|count| *count > 0)?, &**name)))
        .collect();
    used.sort_by_key(|(count, _)| Reverse(*count));
    let used: Vec<String> =
        used.iter().map(|(count, name)| format!("{count} {}", escape::text(name))).collect();
    if used.is_empty() { clients.to_string() } else { format!("{clients} ({})", used.join(", ")) }
}

/// Events since the start. None of a daemon that does not tell them.
fn events(events: &Value) -> Option<String> {
    let count = |name: &str| events[name].as_u64().map(grouped);
    let [accepted, delivered, rejected, own] = ["accepted", "delivered", "rejected", "own"].map(count);
    Some(format!(
        "{} in, {} sent, {} rejected; {} of the daemon's own",
        accepted?, delivered?, rejected?, own?
    ))
}

fn room(room: &Value) -> Option<String> {
    let subscribers = room["subscribers"].as_u64().filter(|subscribers| *subscribers > 0)?;
    Some(format!("{} ({subscribers})", escape::text(room["name"].as_str()?)))
}

/// A size, for people.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A time in its two largest units.
pub(super) fn in_words(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60)];
    match units.iter().position(|(_, unit)| seconds >= *unit) {
        None => format!("{seconds} s"),
        Some(index) => {
            let (name, unit) = units[index];
            let (next, smaller) = units.get(index + 1).copied().unwrap_or(("s", 1));
            format!("{} {name} {} {next}", seconds / unit, seconds % unit / smaller)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_in_words() {
        for (seconds, words) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (180_000, "2 d 2 h")]
        {
            assert_eq!(in_words(seconds), words);
        }
        for (bytes, words) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")] {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn a_status_in_a_few_lines() {
        let status = json!({
            "status": "degraded", "reasons": ["the backlog is full"], "connectedClients": 7, "activeRooms": 3, "interests": 2,
            "transports": { "websocket": 4, "sse": 0, "polling": 3 },
            "events": { "accepted": 12_345, "own": 8, "delivered": 99, "rejected": 1 },
            "bufferStatus": { "bufferedEvents": 2, "backlogBytes": 5, "backlogLimit": 1024, "historyBytes": 0, "historyLimit": 2048 },
            "rooms": [{ "name": "all", "subscribers": 6 }, { "name": "b", "subscribers": 0 }],
            "uptimeSeconds": 90, "version": "1.2.3"
        });
        assert_eq!(
            show(&status, false),
            "degraded: broadcastd 1.2.3, up 1 min 30 s\n  the backlog is full\nclients  7 (4 websocket, 3 polling)\n\
             events   12,345 in, 99 sent, 1 rejected; 8 of the daemon's own\nrooms    3, 2 only subscribed to: all (6)\n\
             backlog  5 B of 1.0 KiB\nhistory  0 B of 2.0 KiB\nbuffers  2 events\n"
        );
        assert!(show(&status, true).starts_with("\x1b[33mdegraded\x1b[0m: "));
    }
}
