//! `/api/v1/clients`: who is connected, and ending one.

use super::{Answer, json_answer, problem, rooms};
use crate::query;
use crate::shard::{ClientFigures, Shards};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// Clients of one answer, if no other number is asked for, and at most: a shard puts them together between two turns.
const CLIENTS: usize = 100;
const MOST_CLIENTS: usize = 10_000;

/// Clients in the order in which they came, of one room if there is one named.
pub(super) async fn list(shards: &Shards, query: &str) -> Answer {
    let (mut room, mut limit) = (None, CLIENTS);
    for (name, value) in query::fields(query).unwrap_or_default() {
        match name.as_str() {
            "room" => room = Some(value),
            "limit" => match value.parse() {
                Ok(number) if (1..=MOST_CLIENTS).contains(&number) => limit = number,
                _ => return rooms::bad_limit(MOST_CLIENTS),
            },
            _ => return rooms::unknown(&name, "room and limit"),
        }
    }
    let list = shards.clients(room.as_deref(), limit).await;
    json_answer(StatusCode::OK, &json!({ "clients": list.iter().map(show).collect::<Vec<_>>() }))
}

/// Ends the client that a path names.
pub(super) async fn end(shards: &Shards, path: &str) -> Answer {
    let ended = match id_of(path) {
        Some(number) => shards.end_client(number).await,
        None => false,
    };
    if ended {
        let mut answer = Response::new(Full::new(Bytes::new()).into());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        return answer;
    }
    let hint = Some("GET /api/v1/clients lists those that are connected");
    problem::answer(StatusCode::NOT_FOUND, "there is no client of this id", hint)
}

/// The client's number in `/api/v1/clients/{id}`.
pub(super) fn id_of(path: &str) -> Option<u64> {
    u64::from_str_radix(path.strip_prefix("/api/v1/clients/")?, 16).ok()
}

fn show(client: &ClientFigures) -> Value {
    json!({
        "id": format!("{:x}", client.number),
        "transport": client.transport.as_str(),
        "address": client.address.map(|address| address.to_string()),
        "age_seconds": client.age.as_secs(),
        "rooms": client.rooms,
        "subscriptions": client.subscriptions,
        "lag_events": client.behind_events,
        "unsent_bytes": client.unsent_bytes,
        "blocked": client.blocked,
    })
}
