//! A daemon for the tests of `top`.

use super::model::{Model, RoomSample, Sample};
use serde_json::{from_value, json};
use std::time::Duration;

fn room(name: &str, head: u64, own: u64, delivered: u64, subscribers: u64) -> RoomSample {
    from_value(
        json!({ "room": name, "head": head, "own": own, "delivered": delivered, "subscribers": subscribers,
        "buffered": 0, "gaps": 0, "history": { "bytes": head * 100 } }),
    )
    .unwrap()
}

/// Two seconds of a daemon with three rooms and two clients, which publishes events of its own to one room.
pub(super) fn model() -> Model {
    let mut model = Model::new();
    let sample = |at, accepted, own, rooms| {
        Sample {
        status: json!({ "status": "healthy", "version": "1.2.3", "uptimeSeconds": 61, "connectedClients": 2,
            "transports": { "websocket": 1, "sse": 0, "polling": 1 },
            "events": { "accepted": accepted, "own": own, "delivered": accepted * 2, "rejected": 0 },
            "activeRooms": 3, "bufferStatus": { "backlogBytes": 0, "backlogLimit": 67_108_864 } }),
        rooms,
        clients: vec![
            from_value(json!({ "id": "1", "transport": "websocket", "address": "127.0.0.1", "age_seconds": 61, "subscriptions": 2,
                "lag_events": 0, "unsent_bytes": 0, "blocked": false }))
            .unwrap(),
            from_value(json!({ "id": "2", "transport": "polling", "address": null, "age_seconds": 5, "subscriptions": 1,
                "lag_events": 1200, "unsent_bytes": 4096, "blocked": true }))
            .unwrap(),
        ],
        at: Duration::from_secs(at),
    }
    };
    model.take(sample(1, 1000, 8, vec![room("agent:42", 10, 8, 10, 1), room("all", 1000, 0, 2000, 2)]));
    let rooms =
        vec![room("agent:42", 18, 15, 14, 1), room("all", 3000, 0, 6000, 2), room("quiet", 0, 0, 0, 0)];
    model.take(sample(3, 3000, 15, rooms));
    model
}
