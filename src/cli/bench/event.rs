//! The events of a benchmark: which room they go to, who wrote them, which they are, when they were due. Pure.

use super::args::BenchArgs;
use crate::cli::publish::event;
use crate::pattern::Segment;
use serde::Deserialize;
use serde_json::Value;
use std::io::Write;

/// What a benchmark writes into its events.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which run.
    pub run: u64,
    /// Which producer.
    pub p: usize,
    /// Which of this producer's events to this room.
    pub n: u64,
    /// When it was due, in nanoseconds since the run's begin.
    pub at: u64,
}

/// Rooms, and what their events have in common.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Which run.
    pub run: u64,
    /// The rooms' names.
    pub rooms: Vec<String>,
    /// Each room's events up to the mark.
    heads: Vec<String>,
    size: usize,
}

impl Plan {
    /// Plans a run. The error says what is wrong with the arguments.
    pub(super) fn new(args: &BenchArgs, run: u64) -> Result<Plan, String> {
        if args.room.is_static() && args.rooms > 1 {
            let room = args.room.source();
            return Err(format!(
                "--room {room} is one room: --rooms needs a template, such as agent:{{agentId}}"
            ));
        }
        let mut plan = Plan { run, rooms: Vec::new(), heads: Vec::new(), size: args.size };
        for index in 0..args.rooms {
            let value = format!("bench-{run:x}-{index}");
            let mut fields = args.fields.clone();
            let mut name = String::new();
            for segment in args.room.segments() {
                match segment {
                    Segment::Literal(text) => name.push_str(text),
                    Segment::Field(path) => {
                        let field = format!("{path}={value}");
                        if !fields.contains(&field) {
                            fields.push(field);
                        }
                        name.push_str(&value);
                    }
                }
            }
            let event = event(&args.kind, &fields)?;
            if let Some(own) = ["bench", "pad"].iter().find(|own| event.get(**own).is_some()) {
                return Err(format!("{own} is the benchmark's own field"));
            }
            plan.heads.push(head(&event));
            plan.rooms.push(name);
        }
        Ok(plan)
    }

    /// Appends an event's line.
    pub(super) fn push(&self, out: &mut Vec<u8>, room: usize, mark: Mark) {
        let start = out.len();
        let Mark { run, p, n, at } = mark;
        let head = &self.heads[room];
        // Writing to memory does not fail.
        let _ = write!(out, r#"{head},"bench":{{"run":{run},"p":{p},"n":{n},"at":{at}}},"pad":""#);
        let len = out.len() - start + "\"}".len();
        out.resize(out.len() + self.size.saturating_sub(len), b'x');
        out.extend_from_slice(b"\"}\n");
    }
}

/// An object's text without its end.
fn head(event: &Value) -> String {
    let mut text = event.to_string();
    text.pop();
    text
}

/// The mark of an event, if it has one.
pub(super) fn mark_of(event: &str) -> Option<Mark> {
    #[derive(Deserialize)]
    struct Marked {
        bench: Mark,
    }
    serde_json::from_str::<Marked>(event).ok().map(|marked| marked.bench)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        let arguments = ["broadcastd", "bench", "--config", "x"].iter().chain(arguments);
        let Some(Command::Bench(args)) = Cli::parse_from(arguments).command else { panic!("it is bench") };
        Plan::new(&args, 0xab)
    }

    #[test]
    fn events_go_to_their_room_and_have_their_size() {
        let plan = plan(&["--rooms", "2", "--size", "200B", "--room", "a:{x.y}:{z}", "q:=1"]).unwrap();
        assert_eq!(plan.rooms, ["a:bench-ab-0:bench-ab-0", "a:bench-ab-1:bench-ab-1"]);
        let mut line = Vec::new();
        let mark = Mark { run: plan.run, p: 3, n: 17, at: 5 };
        plan.push(&mut line, 1, mark);
        assert_eq!((line.len(), line.last()), (201, Some(&b'\n')));
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (&event["x"]["y"], &event["z"], &event["q"]),
            (&"bench-ab-1".into(), &"bench-ab-1".into(), &1.into())
        );
        assert_eq!(event["type"], "bench");
        assert_eq!(mark_of(std::str::from_utf8(&line).unwrap()), Some(mark));
        assert_eq!(mark_of("{}"), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(plan(&["--room", "all", "--rooms", "2"]).unwrap_err().contains("is one room"));
        assert!(plan(&["pad=1"]).unwrap_err().contains("own field"));
        assert!(plan(&["agentId=7"]).unwrap_err().contains("agentId is there already"));
        assert_eq!(plan(&["--room", "agent:7", "agentId=7"]).unwrap().rooms, ["agent:7"]);
    }
}
