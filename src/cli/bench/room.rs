//! The look at a configuration before a benchmark: it takes the events into their room, or something is missing.

use super::args::BenchArgs;
use super::event::{Mark, Plan};
use crate::cli::out;
use crate::config::{Config, FieldKind, Loaded, RoomConfig};
use crate::error::Exit;
use crate::route::{Beside, Outcome, Routes, Scratch};
use crate::time::Moment;

/// What a room needs, where no configuration is at hand to look it up.
pub(super) const NEEDS: &str = "name a --type that the room takes and the type's fields (NAME=TEXT); with --config FILE bench says which";

/// Types that are built in, with fields that pass their checks.
const BUILT_IN: [(&str, &str); 5] = [
    (
        "agent_state",
        r#"agentId=bench status=busy resourceUsage:='{"cpu":1,"memory":1,"activeConnections":1}'"#,
    ),
    ("performance_metric", "metricName=bench value:=1 unit=ms category=system"),
    ("workflow_execution", "workflowId=bench executionId=bench stage=run status=running"),
    ("memory_timeline", "memoryId=bench action=created importance:=1 tags:='[]'"),
    ("system_alert", "severity=info component=bench message=bench"),
];

/// Why a run would measure nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub exit: Exit,
    pub why: String,
    pub hint: String,
}

impl Unfit {
    pub(super) fn report(&self) -> Exit {
        out::error(&self.why, Some(&self.hint));
        self.exit
    }
}

/// Sends the first event through the routes of the configuration. The error says what its room needs.
pub(super) fn check(args: &BenchArgs, plan: &Plan, loaded: &Loaded) -> Result<(), Unfit> {
    let config = &loaded.config;
    let (Some(listener), Some(wanted)) = (config.ingest.listen.first(), plan.rooms.first()) else {
        return Ok(());
    };
    let room = room_of(args, wanted, config)?;
    let mut line = Vec::new();
    plan.push(&mut line, 0, Mark { run: 0, p: 0, n: 0, at: 0 });
    let (routes, mut scratch) = (Routes::compile(config, listener), Scratch::default());
    let read = routes.read(&mut scratch, line.trim_ascii_end(), &Beside::default(), Moment::default(), || 0);
    let has_reached = matches!(read, Ok(Outcome::Event(_)))
        && scratch.destinations.iter().any(|destination| {
            let name = &scratch.text[destination.name.clone()];
            let name = if name.is_empty() { config.rooms[destination.room].name.source() } else { name };
            name == wanted
        });
    if has_reached {
        return Ok(());
    }
    let (name, kind) = (room.name.source(), &args.kind);
    let unfit = |why: String, hint: String| Err(Unfit { exit: Exit::Rejected, why, hint });
    if !room.types.iter().any(|pattern| pattern.matches(kind)) {
        let types: Vec<String> = room.types.iter().map(ToString::to_string).collect();
        let why = format!("the room {name} takes {}, and the events have the type {kind}", types.join(", "));
        return unfit(why, example(args, room, config));
    }
    match (read, &room.condition) {
        (Err(rejection), _) => unfit(
            format!("events of type {kind} are rejected: {}", rejection.message),
            example(args, room, config),
        ),
        (Ok(_), Some(condition)) => {
            let why = format!("the room {name} only takes events where {}", condition.source());
            unfit(why, "give the events such fields: NAME=TEXT or NAME:=JSON".to_owned())
        }
        (Ok(_), None) => {
            let why = format!("the room {wanted} comes from {name}, whose fields the events do not have");
            unfit(why, format!("--room '{name}' makes rooms of its own; or give the fields as NAME=TEXT"))
        }
    }
}

/// The room that is meant, or the template that makes it.
fn room_of<'c>(args: &BenchArgs, wanted: &str, config: &'c Config) -> Result<&'c RoomConfig, Unfit> {
    let source = args.room.source();
    let rooms = || config.rooms.iter();
    let found = rooms()
        .find(|room| room.name.source() == source)
        .or_else(|| rooms().find(|room| !room.name.is_static() && room.name.could_make(wanted)));
    found.ok_or_else(|| {
        let names: Vec<&str> = rooms().map(|room| room.name.source()).take(20).collect();
        Unfit {
            exit: Exit::NoRoom,
            why: format!("{source}: no room has this name"),
            hint: format!("--room names one of {}", names.join(", ")),
        }
    })
}

/// A command that the room takes.
fn example(args: &BenchArgs, room: &RoomConfig, config: &Config) -> String {
    let is_taken = room.types.iter().any(|pattern| pattern.matches(&args.kind));
    let first = room.types.first().map_or_else(|| "bench".to_owned(), ToString::to_string);
    let kind = if is_taken { args.kind.clone() } else { first.replace('*', "bench") };
    let built_in = BUILT_IN.iter().find(|(name, _)| *name == kind).map(|(_, fields)| (*fields).to_owned());
    let declared = || {
        let fields = &config.types.iter().find(|it| it.name == kind)?.required;
        let fields: Vec<String> = fields.iter().map(|(path, kind)| field(&path.to_string(), kind)).collect();
        Some(fields.join(" "))
    };
    let fields = built_in.or_else(declared).unwrap_or_default();
    format!("for example: broadcastd bench --room '{}' --type {kind} {fields}", args.room.source())
        .trim_end()
        .to_owned()
}

/// An argument that gives a field a value of its kind.
fn field(path: &str, kind: &FieldKind) -> String {
    match kind {
        FieldKind::Any | FieldKind::String => format!("{path}=bench"),
        FieldKind::Number | FieldKind::Percent => format!("{path}:=1"),
        FieldKind::Boolean => format!("{path}:=true"),
        FieldKind::Object => format!("{path}:='{{}}'"),
        FieldKind::Array | FieldKind::Strings => format!("{path}:='[]'"),
        FieldKind::OneOf(words) => format!("{path}={}", words.first().map_or("bench", String::as_str)),
    }
}
