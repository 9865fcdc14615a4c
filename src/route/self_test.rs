//! `[[test]]`: lines of the configuration, and the rooms that they must reach.

use super::{Beside, Destination, Outcome, Routes, Scratch};
use crate::config::{Code, Config, Loaded, Problem, Problems, TestConfig};
use crate::time::Moment;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Runs every `[[test]]` through the routes of the first ingest listener. The error has a problem for each that failed.
pub fn run_tests(loaded: &Loaded) -> Result<(), Problems> {
    let config = &loaded.config;
    let Some(listener) = config.ingest.listen.first() else { return Ok(()) };
    let routes = Routes::compile(config, listener);
    let failed: Vec<Problem> =
        config.tests.iter().filter_map(|test| run_test(config, &routes, test)).collect();
    if failed.is_empty() { Ok(()) } else { Err(loaded.problems(failed)) }
}

/// The rooms that a line reaches, with fields beside it; or why none does.
pub(super) fn reached(
    config: &Config,
    routes: &Routes,
    line: &str,
    with: impl IntoIterator<Item = (String, Value)>,
) -> Result<Vec<String>, String> {
    let beside = Beside::new(with.into_iter().collect());
    let mut scratch = Scratch::default();
    match routes.read(&mut scratch, line.as_bytes(), &beside, Moment::default(), || 0) {
        Ok(Outcome::Event(_)) => {}
        Ok(Outcome::Unrouted) => return Err("no room took it".to_owned()),
        Ok(Outcome::NameTooLong) => return Err("its rooms' names are too long".to_owned()),
        Err(rejection) => {
            return Err(format!("it was refused at column {}: {}", rejection.column, rejection.message));
        }
    }
    let name = |destination: &Destination| {
        let static_name = config.rooms[destination.room].name.source();
        if destination.name.is_empty() { static_name } else { &scratch.text[destination.name.clone()] }
            .to_owned()
    };
    Ok(scratch.destinations.iter().map(name).collect())
}

fn run_test(config: &Config, routes: &Routes, test: &TestConfig) -> Option<Problem> {
    let with = test.with.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let reached = reached(config, routes, &test.line, with);
    let mut rooms: Vec<&str> = reached.iter().flatten().map(String::as_str).collect();
    let mut expected: Vec<&str> = test.rooms.iter().map(String::as_str).collect();
    rooms.sort_unstable();
    expected.sort_unstable();
    if rooms == expected {
        return None;
    }
    let message = match &reached {
        Ok(_) => "this test's line reaches other rooms than the test says".to_owned(),
        Err(reason) => format!("this test's line reaches no room: {reason}"),
    };
    let label = format!("expected {}, got {}", show(&expected), show(&rooms));
    let hint = format!("change the rooms' types and conditions, or the test: rooms = {rooms:?}");
    let mut problem = Problem::new(Code::FailedTest, 0, test.span.clone(), message, label, Some(hint));
    problem.detail = Some(diff(&test.line, &expected, &rooms));
    Some(problem)
}

fn show(rooms: &[&str]) -> String {
    if rooms.is_empty() { "no room".to_owned() } else { rooms.join(", ") }
}

/// The line and its rooms: `-` before those that are expected and not reached, `+` before those that are reached and not
/// expected. Both lists are sorted.
fn diff(line: &str, expected: &[&str], got: &[&str]) -> String {
    let mut text = line.to_owned();
    let all: BTreeSet<&str> = expected.iter().chain(got).copied().collect();
    for room in all {
        let mark = match (expected.contains(&room), got.contains(&room)) {
            (true, false) => "- ",
            (false, _) => "+ ",
            (true, true) => "  ",
        };
        // Writing to memory does not fail.
        let _ = write!(text, "\n{mark}{room}");
    }
    text
}
