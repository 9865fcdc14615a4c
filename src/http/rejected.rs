//! `/api/v1/rejected`: the lines that were refused last.

use super::{Answer, json_answer};
use crate::rejected::{RejectedLine, RejectedLines};
use hyper::StatusCode;
use serde_json::{Value, json};

/// The newest first.
pub(super) fn list(lines: &RejectedLines) -> Answer {
    let (list, total) = lines.list();
    let shown: Vec<Value> = list.iter().map(show).collect();
    json_answer(StatusCode::OK, &json!({ "total": total, "rejected": shown }))
}

fn show(entry: &RejectedLine) -> Value {
    let rejection = &entry.rejection;
    json!({
        "listener": entry.listener,
        "producer": entry.producer,
        "first": entry.first_ms,
        "last": entry.last_ms,
        "count": entry.count,
        "line": entry.line,
        "column": entry.column,
        "code": rejection.code.as_str(),
        "path": rejection.path,
        "message": rejection.message,
        "hint": rejection.hint,
        "excerpt": entry.excerpt,
        "mark": entry.mark,
    })
}
