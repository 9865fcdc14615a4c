//! What is printed: a JSON line for each run, a table of medians at the end.

use crate::ledger::Faults;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The figures of one run, in the order in which they are shown. A figure that could not be measured is null.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) variant: String,
    figures: Vec<(&'static str, Option<f64>)>,
    faults: Faults,
}

impl Row {
    pub(crate) fn new(scenario: &str, variant: impl Into<String>) -> Row {
        Row {
            scenario: scenario.into(),
            variant: variant.into(),
            figures: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// Adds a figure.
    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<Option<f64>>) -> &mut Row {
        self.figures.push((name, value.into()));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| *known == name)?.1
    }

    /// Adds what went wrong, whose sum is a figure.
    pub(crate) fn faults(&mut self, faults: &Faults) -> &mut Row {
        self.faults = faults.clone();
        self.put("faults", faults.total() as f64)
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.faults.total() > 0
    }

    /// The run as one JSON object.
    pub(crate) fn json(&self, round: u32, congestion: &str) -> Value {
        let mut map = Map::new();
        map.insert("scenario".into(), json!(self.scenario));
        map.insert("variant".into(), json!(self.variant));
        map.insert("round".into(), json!(round));
        map.insert("congestion".into(), json!(congestion));
        for (name, value) in &self.figures {
            map.insert((*name).into(), value.map_or(Value::Null, number));
        }
        if self.has_faults() {
            let Faults { lost, doubled, reordered, wrong, notes } = &self.faults;
            let faults = json!({ "lost": lost, "doubled": doubled, "reordered": reordered, "wrong": wrong, "notes": notes });
            map.insert("what".into(), faults);
        }
        Value::Object(map)
    }
}

/// The medians of all rounds of each scenario and variant.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let same =
            |group: &&mut Vec<&Row>| group[0].variant == row.variant && group[0].scenario == row.scenario;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.figures) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let mut lines = vec![header(&names)];
    for group in &groups {
        let mut line = vec![group[0].scenario.clone(), group[0].variant.clone()];
        line.extend(names.iter().map(|name| cell(group, name)));
        lines.push(line);
    }
    align(&lines)
}

fn header(names: &[&str]) -> Vec<String> {
    ["scenario", "variant"].iter().chain(names).map(|name| (*name).to_owned()).collect()
}

fn cell(group: &[&Row], name: &str) -> String {
    let values = group.iter().filter_map(|row| row.get(name));
    if let Some(value) = median(values) {
        return show(value);
    }
    let known = group.iter().any(|row| row.figures.iter().any(|(known, _)| *known == name));
    if known { "n/a".into() } else { String::new() }
}

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// A figure to three places, a whole one without.
fn number(value: f64) -> Value {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.fract() == 0.0 { json!(rounded as i64) } else { json!(rounded) }
}

fn show(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        small if small < 10.0 && value.fract() != 0.0 => format!("{value:.3}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// Runs side by side: a table as wide as all figures is hard to read, so figures stand in rows.
fn align(runs: &[Vec<String>]) -> String {
    let widths: Vec<usize> = runs.iter().map(|run| run.iter().map(String::len).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (place, name) in runs[0].iter().enumerate() {
        let mut line = format!("{name:<width$}", width = widths[0]);
        for (run, width) in runs.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {:>width$}", run[place]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
