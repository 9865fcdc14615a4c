//! The configuration over HTTP: what is in force, and reloading it.

use super::{Answer, State, json_answer as answer, problem};
use crate::reload::{Diff, Fault, Handle, Outcome, Recent, Refusal, Reload, show_hash};
use hyper::StatusCode;
use serde_json::{Value, json};

/// The effective value of every key, the hash of the configuration as it was read, and where the daemon listens.
pub(super) fn effective(state: &State) -> Answer {
    let lines = state.rooms.generation().config.effective().into_iter();
    let keys: serde_json::Map<String, Value> = lines.map(|(key, value)| (key, value.into())).collect();
    let hash = show_hash(state.metrics.configuration());
    answer(StatusCode::OK, &json!({ "hash": hash, "keys": keys, "addresses": **state.addresses.load() }))
}

/// Reloads, or says with `?dry_run=true` what a reload would do.
pub(super) async fn reload(handle: &Handle, query: &str) -> Answer {
    let dry_run = match query {
        "" | "dry_run=false" => false,
        "dry_run" | "dry_run=true" => true,
        _ => {
            let hint = Some("the one parameter is dry_run=true");
            return problem::answer(StatusCode::BAD_REQUEST, "the query is not understood", hint);
        }
    };
    match handle.reload(dry_run).await {
        None => problem::answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is stopping, or busy reloading",
            None,
        ),
        Some(Outcome::Unchanged) => answer(StatusCode::OK, &json!({ "outcome": "unchanged", "changes": [] })),
        Some(Outcome::Applied(diff)) => answer(StatusCode::OK, &of_diff("applied", &diff)),
        Some(Outcome::WouldApply(diff)) => answer(StatusCode::OK, &of_diff("would_apply", &diff)),
        Some(Outcome::Refused(refusal)) => refused(&refusal),
    }
}

/// The reloads that came last, the newest first.
pub(super) fn recent(recent: &Recent) -> Answer {
    let show = |reload: &Reload| {
        let mut shown = match &reload.outcome {
            Outcome::Applied(diff) => of_diff("applied", diff),
            Outcome::Refused(refusal) => {
                json!({ "outcome": "refused", "report": refusal.report, "problems": problems(refusal) })
            }
            Outcome::Unchanged | Outcome::WouldApply(_) => json!({ "outcome": "unchanged" }),
        };
        shown["at"] = reload.at_ms.into();
        shown["cause"] = reload.cause.as_str().into();
        shown["took_ms"] = (reload.took.as_millis() as u64).into();
        shown
    };
    let shown: Vec<Value> = recent.list().iter().map(show).collect();
    answer(StatusCode::OK, &json!({ "reloads": shown }))
}

fn of_diff(outcome: &str, diff: &Diff) -> Value {
    let changes: Vec<Value> = diff
        .changes
        .iter()
        .map(|change| json!({ "key": change.key, "old": change.old, "new": change.new }))
        .collect();
    json!({
        "outcome": outcome,
        "summary": diff.summary(),
        "rooms_added": diff.rooms_added,
        "rooms_removed": diff.rooms_removed,
        "changes": changes,
    })
}

fn refused(refusal: &Refusal) -> Answer {
    let count = refusal.problems.len();
    let s = if count == 1 { "" } else { "s" };
    let detail = format!("the configuration has {count} problem{s}; the one in force stays");
    let more = json!({ "outcome": "refused", "report": refusal.report, "problems": problems(refusal) });
    problem::with(StatusCode::UNPROCESSABLE_ENTITY, &detail, more)
}

fn problems(refusal: &Refusal) -> Vec<Value> {
    let show = |fault: &Fault| {
        let code = fault.code.as_str();
        json!({ "code": code, "message": fault.message, "place": fault.place, "hint": fault.hint })
    };
    refusal.problems.iter().map(show).collect()
}
