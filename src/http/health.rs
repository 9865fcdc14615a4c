//! How the daemon is: the judgement that `/api/v1/health` and `/api/v1/websocket/status` share, and health's answer.

use super::{Answer, For, State, json_answer};
use crate::liveness::STUCK;
use crate::sources::Load;
use hyper::StatusCode;
use serde_json::{Value, json};

/// A judgement at one moment.
pub(super) struct Health {
    /// `healthy`, `degraded` or `unhealthy`.
    pub(super) status: &'static str,
    /// Why it is not healthy.
    pub(super) reasons: Vec<String>,
    /// True if the daemon does its work: a degraded one does.
    is_ready: bool,
}

/// Judges the daemon. Cheap: it looks at no room. Operators also learn what is wrong with the configuration: its path and
/// its texts are not for strangers.
pub(super) fn judge(state: &State, for_whom: For) -> Health {
    let mut reasons = Vec::new();
    let mut is_ready = true;
    if state.shutdown.has_begun() {
        reasons.push("stopping".to_owned());
        is_ready = false;
    } else if let Some(thread) = state.metrics.liveness.stillest() {
        reasons.push(format!("thread {} has not turned for {} s", thread.name, thread.elapsed.as_secs()));
        is_ready = thread.elapsed < STUCK;
    }
    let load = Load::at(&state.metrics, &state.rooms, &state.rooms.generation().config);
    reasons.extend(load.full_backlog());
    reasons.extend(load.slow_clients());
    if let Some(refusal) = state.reload.recent().refusal() {
        let problem = match for_whom {
            For::Operators => format!(": {}", refusal.brief()),
            For::Clients => String::new(),
        };
        reasons.push(format!("the newest configuration is refused{problem}"));
    }
    let status = match (is_ready, reasons.is_empty()) {
        (false, _) => "unhealthy",
        (true, false) => "degraded",
        (true, true) => "healthy",
    };
    Health { status, reasons, is_ready }
}

/// The broadcast service in a few figures, which both answers have.
pub(super) fn service(state: &State, health: &Health) -> Value {
    let generation = state.rooms.generation();
    let totals = state.rooms.totals();
    let (active, interests) = (totals.rooms(), state.rooms.interests());
    json!({
        "status": health.status,
        "reasons": health.reasons,
        "connectedClients": state.clients.connected(),
        "clientLimit": state.clients.limit(),
        "configuredClientLimit": generation.limits.clients,
        "activeRooms": active,
        "interests": interests,
        "listedRooms": active + interests,
        "bufferStatus": {
            "backlogBytes": totals.backlog_bytes(),
            "backlogLimit": generation.config.ingest.backlog,
            "historyBytes": totals.history_bytes(),
            "historyLimit": generation.limits.history_memory,
        },
    })
}

/// 200 while the daemon does its work, degraded or not; 503 with the reasons while it does not.
pub(super) fn answer(state: &State, for_whom: For) -> Answer {
    let health = judge(state, for_whom);
    let code = if health.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(
        code,
        &json!({
            "status": health.status,
            "live": true,
            "ready": health.is_ready,
            "reasons": health.reasons,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": state.started.elapsed().as_secs(),
            "broadcast": service(state, &health),
        }),
    )
}
