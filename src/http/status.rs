//! `/api/v1/websocket/status`: how it goes, in the words of the service that broadcastd takes the place of.

use super::busiest::{Seen, busiest};
use super::slices::Slices;
use super::{Answer, For, State, health, json_answer};
use crate::room::{Room, RoomFigures};
use crate::wire::Transport;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Rooms told of, those with the most subscribers first.
const ROOMS: usize = 100;

/// How long an answer is told again.
const FRESH: Duration = Duration::from_secs(1);

/// Looks anew for operators. Clients get what was seen within the last second, without rooms of templates: their names hold
/// what events are about.
pub(super) async fn answer(state: &State, for_whom: For) -> Answer {
    if for_whom == For::Operators {
        return json_answer(StatusCode::OK, &look(state, for_whom).await);
    }
    // Held while looking, so that however many ask, one looks.
    let mut told = state.status.lock().await;
    let fresh = told.take().filter(|(at, _)| at.elapsed() < FRESH);
    let (at, value) = match fresh {
        Some(fresh) => fresh,
        None => (Instant::now(), look(state, for_whom).await),
    };
    let answer = json_answer(StatusCode::OK, &value);
    *told = Some((at, value));
    answer
}

async fn look(state: &State, for_whom: For) -> Value {
    let mut status = health::service(state, &health::judge(state, for_whom));
    let mut buffered = 0;
    let count = |room: &Room, figures: &RoomFigures| {
        buffered += figures.buffered;
        for_whom == For::Operators || room.policy().name.is_static()
    };
    let rooms = busiest(&state.rooms, ROOMS, &mut Slices::new(), count).await;
    let clients_over = |transport: &Transport| {
        (transport.as_str().to_owned(), state.metrics.clients_over(*transport).into())
    };
    let transports: serde_json::Map<String, Value> = Transport::ALL.iter().map(clients_over).collect();
    let room = |seen: &Seen| -> Value {
        json!({
            "name": seen.name(),
            "active": seen.is_active(),
            "subscribers": seen.figures.subscribers,
            "published": seen.figures.head,
            "own": seen.figures.own,
            "buffered": seen.figures.buffered,
        })
    };
    status["bufferStatus"]["bufferedEvents"] = buffered.into();
    let totals = state.metrics.totals();
    status["producers"] = state.metrics.producers.now().into();
    status["events"] = json!({
        "accepted": totals.accepted,
        "own": totals.own,
        "delivered": totals.delivered,
        "rejected": totals.rejected,
    });
    status["transports"] = transports.into();
    status["rooms"] = rooms.iter().map(room).collect();
    status["uptimeSeconds"] = state.started.elapsed().as_secs().into();
    status["version"] = env!("CARGO_PKG_VERSION").into();
    status
}
