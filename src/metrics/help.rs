//! What each series means, for `# HELP`.

/// Series of the recorder, with a sentence each.
pub(super) const HELP: [(&str, &str); 43] = [
    ("broadcastd_build_info", "Always 1; its labels are the version and what it was built for."),
    ("broadcastd_ingest_events_total", "Events accepted."),
    ("broadcastd_ingest_bytes_total", "Bytes read from producers."),
    ("broadcastd_ingest_invalid_total", "Events taken although a field is not what its type says (invalid)."),
    ("broadcastd_ingest_unrouted_total", "Valid events that no room took (unrouted = \"count\")."),
    ("broadcastd_ingest_names_too_long_total", "Room names left out because they were over 200 bytes."),
    (
        "broadcastd_ingest_answers_dropped_total",
        "Error lines that were not sent to a producer, which had too many pending.",
    ),
    ("broadcastd_producers", "Producers connected."),
    ("broadcastd_producers_refused_total", "Producers refused at ingest.connections."),
    (
        "broadcastd_producers_closed_total",
        "Producers that the daemon closed, by reason: idle (ingest.idle_timeout), gave_way (to a new one at ingest.connections).",
    ),
    ("broadcastd_accept_errors_total", "Accept calls that failed."),
    ("broadcastd_room_events_total", "Events that rooms took, counted once per room."),
    (
        "broadcastd_room_refused_total",
        "Events kept out of a room that did not exist yet by limits.rooms, counted once per room.",
    ),
    ("broadcastd_room_replaced_total", "Events replaced in a buffer by a newer one of the same key."),
    ("broadcastd_rooms", "Rooms that hold events."),
    ("broadcastd_interests", "Rooms that are only subscribed to."),
    ("broadcastd_history_bytes", "Bytes of history."),
    ("broadcastd_backlog_bytes", "Bytes kept because a shard has not passed them, and of unfinished lines."),
    (
        "broadcastd_clients",
        "Clients connected, by transport: websocket, sse, lines, socketio (over WebSocket), polling (Socket.IO).",
    ),
    ("broadcastd_clients_limit", "limits.clients in force: lowered to what descriptors allow."),
    ("broadcastd_clients_opened_total", "Clients that have connected."),
    ("broadcastd_clients_blocked", "Clients whose socket is full."),
    ("broadcastd_subscriptions_catching_up", "Subscriptions behind their view's cursor."),
    ("broadcastd_pinned_bytes", "Bytes kept for blocked clients: the rests of cut frames, and answers."),
    ("broadcastd_chunk_bytes", "Bytes of encoded chunks that views keep."),
    (
        "broadcastd_clients_rate_limited_total",
        "Messages of clients refused by a rate, and times a client had to wait for limits.client.deliveries or was closed for it.",
    ),
    (
        "broadcastd_socketio_ignored_emits_total",
        "Events that Socket.IO clients emitted and nobody knows (socketio.unknown_emit = \"ignore\").",
    ),
    ("broadcastd_sends_total", "Sends that the kernel took, whole or in part."),
    ("broadcastd_short_sends_total", "Sends that the kernel did not take whole."),
    ("broadcastd_passes_total", "Passes finished."),
    (
        "broadcastd_holds_total",
        "Passes put off because a client that goes on reading still needed the oldest chunk.",
    ),
    ("broadcastd_ingest_rejected_total", "Lines refused, by reason: the codes of docs/producers.md."),
    ("broadcastd_gaps_total", "Gaps told to clients, by reason."),
    ("broadcastd_gap_events_total", "Events in those gaps, as far as known, by reason."),
    ("broadcastd_clients_closed_total", "Clients gone, by close code; 1006: without one."),
    (
        "broadcastd_handshakes_refused_total",
        "Handshakes refused, by reason: bad_request, origin, clients, clients_per_ip, handshakes, timeout.",
    ),
    ("broadcastd_config_reloads_total", "Reloads, by outcome: applied, unchanged, refused."),
    ("broadcastd_config_last_reload_successful", "1; 0 while the newest configuration is refused."),
    (
        "broadcastd_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read, in seconds since 1970.",
    ),
    (
        "broadcastd_config_hash",
        "A number for what the configuration in force means: the same number, the same meaning.",
    ),
    (
        "broadcastd_own_events_total",
        "Events that the daemon published itself: alerts, metrics of the machine.",
    ),
    ("broadcastd_own_unrouted_total", "Events of its own that no room took."),
    ("broadcastd_alerts_suppressed_total", "Alerts that were not published because they came too fast."),
];
