//! `/api/v1/health`: whether the daemon lives, and whether it can do its work.

use super::{Answer, State, json_answer};
use hyper::StatusCode;
use serde_json::json;
use std::time::Duration;

/// A shard that has not turned for so long is stuck: it turns once a second at least.
const STUCK: Duration = Duration::from_secs(5);

/// Why the daemon cannot do its work; empty when it can.
pub(super) fn reasons(state: &State) -> Vec<String> {
    let mut reasons = Vec::new();
    if state.shutdown.has_begun() {
        reasons.push("stopping".to_owned());
    } else {
        let still = state.metrics.longest_still();
        if still > STUCK {
            reasons.push(format!("a shard has not turned for {} s", still.as_secs()));
        }
    }
    reasons
}

/// 200 while the daemon does its work, 503 with the reasons while it does not.
pub(super) fn answer(state: &State) -> Answer {
    let reasons = reasons(state);
    let (code, status) = match (reasons.is_empty(), state.shutdown.has_begun()) {
        (true, _) => (StatusCode::OK, "ok"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    json_answer(
        code,
        &json!({
            "status": status,
            "live": true,
            "ready": reasons.is_empty(),
            "reasons": reasons,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": state.started.elapsed().as_secs(),
            "clients": state.clients.connected(),
        }),
    )
}
