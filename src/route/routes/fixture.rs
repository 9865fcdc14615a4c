//! Small configurations and a reader of lines, for the tests of routes.

use super::*;
use crate::config::{
    Ack, AdminConfig, ClientLimits, HistoryConfig, IngestAddr, IngestConfig, LimitsConfig, LogConfig, Rate,
    RoomConfig, ServerConfig, SlowClient, SnapshotConfig, SocketIoConfig, SourcesConfig, WhenFull,
};
use crate::pattern::{Condition, Template};
use crate::route::RejectionCode;
use std::time::Duration;

pub(super) const NOW_MS: u64 = 1_700_000_000_000;
/// The same moment on both clocks.
pub(super) const NOW: Moment = Moment { log_ms: 5_000, wall_ms: NOW_MS };

pub(super) fn room(name: &str, types: &[&str]) -> RoomConfig {
    RoomConfig {
        name: Template::parse(name).unwrap(),
        types: types.iter().map(|types| TypePattern::parse(types).unwrap()).collect(),
        condition: None,
        key: Vec::new(),
        snapshot: SnapshotConfig::ASKED,
        buffer: None,
        urgent: None,
        history: HistoryConfig { events: 10, age: Duration::from_secs(1), bytes: 1000 },
        slow_client: SlowClient::Replay,
        subscribers: None,
        emitted_as: None,
    }
}

pub(super) fn condition(room: RoomConfig, condition: &str) -> RoomConfig {
    RoomConfig { condition: Some(Condition::parse(condition).unwrap()), ..room }
}

pub(super) fn config(rooms: Vec<RoomConfig>) -> Config {
    let rate = Rate { per_second: 1.0, burst: 1 };
    let second = Duration::from_secs(1);
    Config {
        server: ServerConfig {
            listen: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            expose: Vec::new(),
            drain_timeout: second,
            shards: 1,
            heartbeat: second,
            handshake_timeout: second,
            handshakes: 1,
            watch: false,
            keep_on_restart: false,
            auth_none: false,
        },
        admin: AdminConfig { listen: Vec::new(), auth_none: false },
        ingest: IngestConfig {
            listen: vec![listener()],
            hosts: Vec::new(),
            connections: 1,
            max_event_size: 1,
            backlog: 1,
            idle_timeout: None,
            line_timeout: second,
            unrouted: Unrouted::Reject,
            invalid: Invalid::Reject,
            threads: 1,
            auth_none: false,
        },
        log: LogConfig::default(),
        sources: SourcesConfig::default(),
        socketio: SocketIoConfig::default(),
        limits: LimitsConfig {
            clients: 1,
            rooms: 1,
            history_memory: 1,
            views: 1,
            keys: 1,
            clients_per_ip: None,
            client: ClientLimits {
                rooms: 1,
                message_size: 1,
                messages: rate,
                subscriptions: rate,
                deliveries: None,
                over_deliveries: crate::config::OverDeliveries::Pace,
                unsent: 1,
                user_timeout: second,
            },
        },
        rooms,
        types: Vec::new(),
        tests: Vec::new(),
    }
}

pub(super) fn listener() -> IngestListenConfig {
    IngestListenConfig {
        addr: IngestAddr::Stdin,
        ack: Ack::None,
        when_full: WhenFull::Wait,
        type_field: "type".to_owned(),
        add_timestamp: true,
    }
}

/// The rooms of the plan's example.
pub(super) fn agents() -> Config {
    config(vec![
        room("agent_states", &["agent_state"]),
        room("performance_metrics", &["performance_metric"]),
        room("system_alerts", &["system_alert"]),
        room("workflow_executions", &["workflow_execution"]),
        room("memory_timeline", &["memory_timeline"]),
        condition(room("critical", &["system_alert"]), r#"severity in ["error", "critical"]"#),
        room("agent:{agentId}", &["*"]),
        room("run:{runId}", &["RUN_*", "TEXT_MESSAGE_*", "RUN_X*"]),
    ])
}

pub(super) const AGENT_STATE: &str = r#"{"type":"agent_state","agentId":"42","status":"busy","resourceUsage":{"cpu":12.5,"memory":40,"activeConnections":3}}"#;

pub(super) struct Reader {
    pub(super) config: Config,
    pub(super) routes: Routes,
    pub(super) scratch: Scratch,
    pub(super) beside: Beside,
}

impl Reader {
    pub(super) fn new(config: Config) -> Reader {
        let routes = Routes::compile(&config, &config.ingest.listen[0]);
        Reader { config, routes, scratch: Scratch::default(), beside: Beside::default() }
    }

    pub(super) fn beside(config: Config, query: &str) -> Reader {
        Reader { beside: Beside::from_query(query).unwrap(), ..Reader::new(config) }
    }

    pub(super) fn read(&mut self, line: &str) -> Result<Outcome, Box<Rejection>> {
        self.routes.read(&mut self.scratch, line.as_bytes(), &self.beside, NOW, || 7)
    }

    pub(super) fn rooms(&self) -> Vec<&str> {
        let name =
            |destination: &crate::route::Destination| match &self.scratch.text[destination.name.clone()] {
                "" => self.config.rooms[destination.room].name.source(),
                name => name,
            };
        // The scratch lives as long as the reader.
        self.scratch.destinations.iter().map(name).collect()
    }

    #[track_caller]
    pub(super) fn goes_to(&mut self, line: &str, rooms: &[&str]) {
        match self.read(line) {
            Ok(Outcome::Event(_)) => assert_eq!(self.rooms(), rooms, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn refuses(
        &mut self,
        line: &str,
        code: RejectionCode,
        column: usize,
        message: &str,
    ) -> Rejection {
        let rejection = *self.read(line).expect_err("refused");
        assert_eq!((rejection.code, rejection.column), (code, column), "{line}: {rejection:?}");
        assert!(rejection.message.contains(message), "{line}: {rejection:?}");
        rejection
    }

    /// The column is where `‹` stands.
    #[track_caller]
    pub(super) fn refuses_at(&mut self, marked: &str, code: RejectionCode, message: &str) -> Rejection {
        let column = marked.find('‹').expect("a mark") + 1;
        self.refuses(&marked.replace('‹', ""), code, column, message)
    }

    #[track_caller]
    pub(super) fn json(&mut self, line: &str) -> String {
        match self.read(line) {
            Ok(Outcome::Event(event)) => String::from_utf8(event.json().to_vec()).unwrap(),
            other => panic!("{line}: {other:?}"),
        }
    }
}
