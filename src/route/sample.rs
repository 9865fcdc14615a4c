//! An event to try a daemon with: one that its configuration takes.

use super::Routes;
use super::self_test::reached;
use crate::config::{Config, IngestListenConfig, TestConfig};
use crate::pattern::{Path, TypePattern};
use serde_json::Value;

/// An event that a configuration takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The event, as a producer writes it.
    pub line: String,
    /// A room that it reaches.
    pub room: String,
}

/// Fields of events of any type.
const ANY: &str = r#""text":"it works""#;
/// Fields of the types built in.
const BUILT_IN: [(&str, &str); 5] = [
    (
        "agent_state",
        r#""agentId":"42","status":"busy","resourceUsage":{"cpu":12.5,"memory":40,"activeConnections":3}"#,
    ),
    ("system_alert", r#""severity":"info","component":"shell","message":"it works""#),
    ("performance_metric", r#""metricName":"cpu","value":12.5,"unit":"percent","category":"system""#),
    ("workflow_execution", r#""workflowId":"deploy","executionId":"1","stage":"build","status":"running""#),
    ("memory_timeline", r#""memoryId":"1","action":"created","importance":0.5,"tags":["first"]"#),
];
/// Tests and types of the configuration that are tried: enough for any that is written by hand.
const MOST_TRIED: usize = 100;

/// An event that the listener takes, if possible for the first static room. None if every one that was tried is refused.
pub fn sample(config: &Config, listener: &IngestListenConfig) -> Option<Sample> {
    let routes = Routes::compile(config, listener);
    let preferred = config.rooms.iter().map(|room| &room.name).find(|name| name.is_static());
    let mut other = None;
    for line in candidates(config, &listener.type_field) {
        let rooms = reached(config, &routes, &line, []).unwrap_or_default();
        if let Some(room) = preferred.filter(|name| rooms.iter().any(|room| room == name.source())) {
            return Some(Sample { line, room: room.source().to_owned() });
        }
        let room = rooms.into_iter().next();
        other = other.or_else(|| room.map(|room| Sample { line, room }));
    }
    other
}

fn candidates<'c>(config: &'c Config, type_field: &'c str) -> impl Iterator<Item = String> + 'c {
    let built_in = BUILT_IN.into_iter().map(|(event_type, fields)| event(type_field, event_type, fields));
    let patterns = config.rooms.iter().flat_map(|room| &room.types).take(MOST_TRIED);
    let of_rooms = patterns.map(|pattern| match pattern {
        TypePattern::Exact(name) => event(type_field, name, ANY),
        TypePattern::Prefix(prefix) => event(type_field, &format!("{prefix}hello"), ANY),
    });
    let tests = config.tests.iter().take(MOST_TRIED).filter(|test| test.with.is_empty());
    let lines = tests.map(|TestConfig { line, .. }| line.clone());
    std::iter::once(event(type_field, "hello", ANY)).chain(built_in).chain(lines).chain(of_rooms)
}

fn event(type_field: &str, event_type: &str, fields: &str) -> String {
    let path = Path::parse(type_field).unwrap_or_else(|| Path::top(type_field));
    let names: Vec<&str> = path.names().collect();
    let inner = Value::from(event_type).to_string();
    let object =
        names.into_iter().rev().fold(inner, |value, name| format!("{{{}:{value}}}", Value::from(name)));
    format!("{},{fields}}}", object.strip_suffix('}').unwrap_or(&object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Dirs, Input};

    /// The sample of a configuration.
    fn of(text: &str) -> Option<(String, String)> {
        let dirs = Dirs { runtime: "/run/broadcastd".into(), state: "/var".into() };
        let input = Input { file: None, defaults: false, set: Vec::new(), environment: &|_| None, dirs };
        let file = (!text.is_empty()).then(|| "x.toml".into());
        let config = input.load_text(file, text.to_owned()).unwrap().config;
        sample(&config, &config.ingest.listen[0]).map(|Sample { line, room }| (line, room))
    }

    #[test]
    fn sample_reaches_the_first_room_that_it_can() {
        let typed = "[types.token]\nrequired = { n = \"number\" }\n";
        let reason = "[ingest]\nlisten = [{ tcp = \"127.0.0.1:1\", type_field = \"meta.reason\" }]\n";
        for (text, line, room) in [
            ("", r#"{"type":"hello","text":"it works"}"#, "events"),
            ("[rooms.a]\ntypes = [\"*\"]\n", r#"{"type":"hello","text":"it works"}"#, "a"),
            (
                &format!("{reason}[rooms.a]\ntypes = [\"*\"]\n"),
                r#"{"meta":{"reason":"hello"},"text":"it works"}"#,
                "a",
            ),
            ("[rooms.a]\ntypes = [\"x\"]\n", r#"{"type":"x","text":"it works"}"#, "a"),
            ("[rooms.a]\ntypes = [\"RUN_*\"]\n", r#"{"type":"RUN_hello","text":"it works"}"#, "a"),
            (
                "[rooms.b]\ntypes = [\"system_alert\"]\n[rooms.a]\ntypes = [\"*\"]\n",
                r#"{"type":"system_alert","severity":"info","component":"shell","message":"it works"}"#,
                "b",
            ),
            (
                &format!(
                    "{typed}[rooms.a]\ntypes = [\"token\"]\n[[test]]\nline = '{{\"type\":\"token\",\"n\":1}}'\n"
                ),
                r#"{"type":"token","n":1}"#,
                "a",
            ),
            (
                "[rooms.\"run:{runId}\"]\ntypes = [\"*\"]\n[[test]]\nline = '{\"type\":\"t\",\"runId\":\"r1\"}'\n",
                r#"{"type":"t","runId":"r1"}"#,
                "run:r1",
            ),
        ] {
            assert_eq!(of(text), Some((line.to_owned(), room.to_owned())), "{text}");
        }
        assert_eq!(of(&format!("{typed}[rooms.a]\ntypes = [\"token\"]\n")), None);
    }

    #[test]
    fn samples_of_the_types_built_in_are_right() {
        for (event_type, _) in BUILT_IN {
            let (line, _) = of(&format!("[rooms.a]\ntypes = [\"{event_type}\"]\n")).unwrap();
            assert!(line.starts_with(&format!("{{\"type\":\"{event_type}\"")), "{line}");
        }
    }
}
