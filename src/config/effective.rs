//! Every key of a configuration with its effective value, as TOML.

use super::address::show_origin;
use super::reader::join;
use super::rooms::UNROUTED;
use super::sections::{LOG_FORMATS, LOG_LEVELS};
use super::{
    Ack, BufferConfig, Config, Expose, FieldKind, IngestAddr, IngestListenConfig, Invalid, ListenAddr,
    OverDeliveries, ProcessConfig, RoomConfig, SlowClient, UnknownEmit, Unrouted, WhenFull, show_duration,
    show_rate, show_size,
};
use crate::pattern::Path;
use std::time::Duration;

/// A key and its value.
pub type Line = (String, String);

impl Config {
    /// Every key, in the order of the reference, with its value as TOML. Defaults of rooms are shown in each room.
    pub fn effective(&self) -> Vec<Line> {
        let mut lines = self.listening();
        lines.extend(self.own());
        let limits = &self.limits;
        let client = &limits.client;
        lines.extend([
            line("limits.clients", limits.clients),
            line("limits.rooms", limits.rooms),
            line("limits.history_memory", quote(&show_size(limits.history_memory))),
            line("limits.views", limits.views),
            line("limits.keys", limits.keys),
        ]);
        lines.extend(limits.clients_per_ip.map(|most| line("limits.clients_per_ip", most)));
        lines.extend([
            line("limits.client.rooms", client.rooms),
            line("limits.client.message_size", quote(&show_size(client.message_size as u64))),
            line("limits.client.messages", show_rate(client.messages)),
            line("limits.client.subscriptions", show_rate(client.subscriptions)),
        ]);
        lines.extend(client.deliveries.map(|rate| line("limits.client.deliveries", show_rate(rate))));
        let over = match client.over_deliveries {
            OverDeliveries::Pace => "pace",
            OverDeliveries::Disconnect => "disconnect",
        };
        lines.extend([
            line("limits.client.over_deliveries", quote(over)),
            line("limits.client.unsent", quote(&show_size(client.unsent as u64))),
            line("limits.client.user_timeout", quote(&show_duration(client.user_timeout))),
        ]);
        lines.extend(self.socketio());
        lines.extend(self.rooms.iter().flat_map(room));
        for kind in &self.types {
            let path = join("types", &kind.name);
            lines.push(line(&format!("{path}.required"), fields(&kind.required)));
            lines.push(line(&format!("{path}.optional"), fields(&kind.optional)));
        }
        lines
    }

    fn own(&self) -> Vec<Line> {
        let (alerts, system) = (&self.sources.alerts, &self.sources.system);
        let level = LOG_LEVELS.iter().find(|(_, level)| *level == self.log.level);
        let format = LOG_FORMATS.iter().find(|(_, format)| *format == self.log.format);
        vec![
            line("log.level", quote(level.map_or("", |(name, _)| name))),
            line("log.format", quote(format.map_or("", |(name, _)| name))),
            line("sources.alerts.enabled", alerts.enabled),
            line("sources.alerts.clients", alerts.clients),
            line("sources.alerts.repeat", quote(&show_duration(alerts.repeat))),
            line("sources.system.every", quote(&duration_or_off(system.every))),
            line("sources.system.processes", list(system.processes.iter().map(process))),
        ]
    }

    fn socketio(&self) -> Vec<Line> {
        let socketio = &self.socketio;
        let unknown = match socketio.unknown_emit {
            UnknownEmit::Error => "error",
            UnknownEmit::Ignore => "ignore",
        };
        let namespaces = socketio.namespaces.iter().map(|namespace| quote(namespace.as_str()));
        let names = socketio.names.iter();
        let names = names.map(|(room, name)| format!("{} = {}", quote(room), quote(name)));
        vec![
            line("socketio.enabled", socketio.enabled),
            line("socketio.path", quote(&socketio.path)),
            line("socketio.namespaces", list(namespaces)),
            line("socketio.ping_interval", quote(&show_duration(socketio.ping_interval))),
            line("socketio.ping_timeout", quote(&show_duration(socketio.ping_timeout))),
            line("socketio.connect_timeout", quote(&show_duration(socketio.connect_timeout))),
            line("socketio.recovery", quote(&duration_or_off(socketio.recovery))),
            line("socketio.join", quote(&socketio.join)),
            line("socketio.leave", quote(&socketio.leave)),
            line("socketio.auto_join", list(socketio.auto_join.iter().map(|room| quote(room)))),
            line("socketio.unknown_emit", quote(unknown)),
            line("socketio.names", format!("{{ {} }}", names.collect::<Vec<_>>().join(", "))),
        ]
    }

    fn listening(&self) -> Vec<Line> {
        let server = &self.server;
        let exposed = |expose: &Expose| {
            quote(match expose {
                Expose::Page => "page",
                Expose::Health => "health",
                Expose::Status => "status",
                Expose::Test => "test",
            })
        };
        let network = |network: &super::IpNetwork| quote(&format!("{}/{}", network.addr, network.prefix));
        let mut lines = vec![
            line("server.listen", list(server.listen.iter().map(listen))),
            line(
                "server.allowed_origins",
                list(server.allowed_origins.iter().map(|origin| quote(&show_origin(origin)))),
            ),
            line("server.trusted_proxies", list(server.trusted_proxies.iter().map(network))),
            line("server.expose", list(server.expose.iter().map(exposed))),
            line("server.drain_timeout", quote(&show_duration(server.drain_timeout))),
            line("server.shards", server.shards),
            line("server.heartbeat", quote(&show_duration(server.heartbeat))),
            line("server.handshake_timeout", quote(&show_duration(server.handshake_timeout))),
            line("server.handshakes", server.handshakes),
            line("server.watch", server.watch),
            line("server.keep_on_restart", server.keep_on_restart),
        ];
        lines.extend(server.auth_none.then(|| line("server.auth", quote("none"))));
        lines.push(line("admin.listen", list(self.admin.listen.iter().map(listen))));
        lines.extend(self.admin.auth_none.then(|| line("admin.auth", quote("none"))));
        let ingest = &self.ingest;
        let unrouted = match &ingest.unrouted {
            Unrouted::Reject => quote("reject"),
            Unrouted::Count => quote("count"),
            Unrouted::Room(room) => format!("{{ room = {} }}", quote(room)),
        };
        let invalid = match &ingest.invalid {
            Invalid::Reject => quote("reject"),
            Invalid::Warn => quote("warn"),
            Invalid::Room(room) => format!("{{ room = {} }}", quote(room)),
        };
        lines.extend([
            line("ingest.listen", list(ingest.listen.iter().map(ingest_listener))),
            line("ingest.hosts", list(ingest.hosts.iter().map(|host| quote(host)))),
            line("ingest.connections", ingest.connections),
            line("ingest.idle_timeout", quote(&duration_or_off(ingest.idle_timeout))),
            line("ingest.line_timeout", quote(&show_duration(ingest.line_timeout))),
            line("ingest.max_event_size", quote(&show_size(ingest.max_event_size as u64))),
            line("ingest.backlog", quote(&show_size(ingest.backlog))),
            line("ingest.unrouted", unrouted),
            line("ingest.invalid", invalid),
            line("ingest.threads", ingest.threads),
        ]);
        lines.extend(ingest.auth_none.then(|| line("ingest.auth", quote("none"))));
        lines
    }
}

fn duration_or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_owned(), show_duration)
}

fn process(process: &ProcessConfig) -> String {
    match process {
        ProcessConfig::Name(name) => format!("{{ name = {} }}", quote(name)),
        ProcessConfig::Unit(unit) => format!("{{ unit = {} }}", quote(unit)),
        ProcessConfig::PidFile(path) => format!("{{ pid_file = {} }}", quote(&path.display().to_string())),
    }
}

fn room(room: &RoomConfig) -> Vec<Line> {
    let path = join("rooms", room.name.source());
    let types = match &*room.types {
        [] => quote(UNROUTED),
        types => list(types.iter().map(|kind| quote(&kind.to_string()))),
    };
    let mut lines = vec![line(&format!("{path}.types"), types)];
    let mut add = |key: &str, value: String| lines.push((format!("{path}.{key}"), value));
    if let Some(condition) = &room.condition {
        add("where", quote(condition.source()));
    }
    if !room.key.is_empty() {
        add("key", list(room.key.iter().map(|path| quote(&path.to_string()))));
    }
    if !room.key.is_empty() {
        let age = show_duration(room.snapshot.age);
        add(
            "snapshot",
            if room.snapshot.by_default { format!("{{ age = \"{age}\" }}") } else { "false".to_owned() },
        );
    }
    if let Some(config) = &room.buffer {
        add("buffer", buffer(config));
    }
    if let Some(urgent) = &room.urgent {
        add("urgent", quote(urgent.source()));
    }
    let history = room.history;
    let (age, bytes) = (show_duration(history.age), show_size(history.bytes));
    add("history", format!("{{ events = {}, age = \"{age}\", bytes = \"{bytes}\" }}", history.events));
    add(
        "slow_client",
        quote(match room.slow_client {
            SlowClient::Replay => "replay",
            SlowClient::Skip => "skip",
            SlowClient::Disconnect => "disconnect",
        }),
    );
    if let Some(most) = room.subscribers {
        add("subscribers", most.to_string());
    }
    lines
}

fn buffer(buffer: &BufferConfig) -> String {
    let mut parts = Vec::new();
    parts.extend(buffer.events.map(|events| format!("events = {events}")));
    parts.push(format!("flush_interval = \"{}\"", show_duration(buffer.flush_interval)));
    parts.extend(buffer.group_by.as_ref().map(|path| format!("group_by = {}", quote(&path.to_string()))));
    parts.extend(buffer.keep_newest.then(|| "keep = \"newest\"".to_owned()));
    format!("{{ {} }}", parts.join(", "))
}

fn listen(addr: &ListenAddr) -> String {
    match addr {
        ListenAddr::Tcp(addr) => quote(&addr.to_string()),
        ListenAddr::Unix(addr) => quote(&format!("unix:{}", addr.path.display())),
    }
}

fn ingest_listener(listener: &IngestListenConfig) -> String {
    let mut parts = match &listener.addr {
        IngestAddr::Tcp(addr) => vec![format!("tcp = \"{addr}\"")],
        IngestAddr::Stdin => vec!["stdin = true".to_owned()],
        IngestAddr::Unix(addr) | IngestAddr::Fifo(addr) => {
            let kind = if matches!(listener.addr, IngestAddr::Unix(_)) { "unix" } else { "fifo" };
            let mut parts = vec![format!("{kind} = {}", quote(&addr.path.display().to_string()))];
            parts.push(format!("mode = \"{:04o}\"", addr.mode));
            parts.extend(addr.group.as_ref().map(|group| format!("group = {}", quote(group))));
            parts
        }
    };
    let ack = match listener.ack {
        Ack::None => "none",
        Ack::Errors => "errors",
        Ack::All => "all",
    };
    let when_full = if listener.when_full == WhenFull::Wait { "wait" } else { "shed" };
    parts.push(format!("ack = \"{ack}\", when_full = \"{when_full}\""));
    parts.push(format!(
        "type_field = {}, add_timestamp = {}",
        quote(&listener.type_field),
        listener.add_timestamp
    ));
    format!("{{ {} }}", parts.join(", "))
}

fn fields(fields: &[(Path, FieldKind)]) -> String {
    let kind = |kind: &FieldKind| match kind {
        FieldKind::Any => quote("any"),
        FieldKind::String => quote("string"),
        FieldKind::Number => quote("number"),
        FieldKind::Percent => quote("percent"),
        FieldKind::Boolean => quote("boolean"),
        FieldKind::Object => quote("object"),
        FieldKind::Array => quote("array"),
        FieldKind::Strings => quote("strings"),
        FieldKind::OneOf(words) => list(words.iter().map(|word| quote(word))),
    };
    let fields = fields.iter().map(|(path, field)| format!("{} = {}", quote(&path.to_string()), kind(field)));
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

#[allow(clippy::needless_pass_by_value)] // Called with numbers and strings made for it.
fn line(key: &str, value: impl std::fmt::Display) -> Line {
    (key.to_owned(), format!("{value}"))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
