//! `/api/v1/trend`: the figures of the last ten minutes, a row a second, column by column.

use super::{Answer, problem, rooms, text};
use crate::metrics::{COLUMNS, Metrics};
use crate::query;
use crate::time;
use hyper::StatusCode;
use std::fmt::{Display, Write};
use std::time::Instant;

/// Rows after the number that `after` names, or all of them.
pub(super) fn answer(metrics: &Metrics, query: &str) -> Answer {
    let mut after = 0;
    for (name, value) in query::fields(query).unwrap_or_default() {
        match (name.as_str(), value.parse()) {
            ("after", Ok(number)) => after = number,
            ("after", Err(_)) => {
                let hint = Some("`next` of the answer before");
                return problem::answer(StatusCode::BAD_REQUEST, "`after` must be a whole number", hint);
            }
            _ => return rooms::unknown(&name, "after"),
        }
    }
    let (now_ms, now) = (time::now_ms(), Instant::now());
    let trend = metrics.trend();
    let rows = trend.after(after);
    let mut out = format!("{{\"started\":{},\"next\":{}", metrics.started_at_ms(), trend.newest());
    // Counted back from now, so that rows stay a second apart where the clock was set.
    let at = |age: Instant| now_ms.saturating_sub(now.saturating_duration_since(age).as_millis() as u64);
    push(&mut out, "at", rows.clone().map(|row| Some(at(row.at()))));
    for (index, name) in COLUMNS.iter().enumerate() {
        push(&mut out, name, rows.clone().map(|row| row.value(index)));
    }
    out.push_str("}\n");
    text("application/json", out)
}

/// Adds a column: numbers, and null where there is none.
fn push<T: Display>(out: &mut String, name: &str, values: impl Iterator<Item = Option<T>>) {
    let _ = write!(out, ",\"{name}\":[");
    for (index, value) in values.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = match value {
            Some(value) => write!(out, "{comma}{value}"),
            None => write!(out, "{comma}null"),
        };
    }
    out.push(']');
}
