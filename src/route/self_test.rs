//! `[[test]]`: lines of the configuration, and the rooms that they must reach.

use super::{Beside, Outcome, Routes, Scratch};
use crate::config::{Config, TestConfig};
use crate::time::Moment;
use std::fmt::Write;

/// Runs every `[[test]]` through the routes of the first ingest listener. Returns a report for each that failed.
pub fn failed_tests(config: &Config) -> Vec<String> {
    let Some(listener) = config.ingest.listen.first() else { return Vec::new() };
    let routes = Routes::compile(config, listener);
    config.tests.iter().filter_map(|test| run_test(config, &routes, test).err()).collect()
}

fn run_test(config: &Config, routes: &Routes, test: &TestConfig) -> Result<(), String> {
    let with = test.with.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let beside = Beside::new(with.collect());
    let mut scratch = Scratch::default();
    let got = match routes.read(&mut scratch, test.line.as_bytes(), &beside, Moment::default(), || 0) {
        Ok(Outcome::Event(_)) => Ok(()),
        Ok(Outcome::Unrouted) => Err("no room took it".to_owned()),
        Ok(Outcome::NameTooLong) => Err("its rooms' names are too long".to_owned()),
        Err(rejection) => {
            Err(format!("it was refused at column {}: {}", rejection.column, rejection.message))
        }
    };
    let mut rooms: Vec<&str> = Vec::new();
    if got.is_ok() {
        rooms.extend(scratch.destinations.iter().map(|destination| {
            let static_name = config.rooms[destination.room].name.source();
            if destination.name.is_empty() { static_name } else { &scratch.text[destination.name.clone()] }
        }));
    }
    let mut expected: Vec<&str> = test.rooms.iter().map(String::as_str).collect();
    rooms.sort_unstable();
    expected.sort_unstable();
    if rooms == expected {
        return Ok(());
    }
    let mut report = format!(
        "test at line {} failed\n  line      {}\n  expected  {}",
        test.at,
        test.line,
        expected.join(", ")
    );
    let _ = match got {
        Ok(()) => write!(report, "\n  got       {}", rooms.join(", ")),
        Err(reason) => write!(report, "\n  got       nothing: {reason}"),
    };
    Err(report)
}
