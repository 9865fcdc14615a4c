//! Environment variables in configurations, with the real binary: those of the service that broadcastd
//! replaces, with every configuration that is shipped and with none.

use crate::harness::{Client, Server, binary, in_folder, repository};
use crate::raw::{Raw, request};
use std::process::{Command, Output};

/// The environment of that service.
const OLD: [(&str, &str); 5] = [
    ("BUFFER_SIZE", "20"),
    ("BUFFER_FLUSH_INTERVAL", "500"),
    ("FRONTEND_URL", "https://app.example"),
    ("PRODUCTION_URL", "https://www.example:8443"),
    ("NODE_ENV", "production"),
];

/// `broadcastd config` with a shipped file, or with none.
fn config(file: Option<&str>, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("config");
    if let Some(file) = file {
        command.arg("--config").arg(repository(file));
    }
    in_folder(&mut command, folder.path());
    for (name, _) in OLD {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

/// The line of a key.
#[track_caller]
fn shown(output: &Output, key: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("no {key}: {text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

const FILES: [Option<&str>; 3] = [None, Some("broadcast.toml"), Some("systemd/broadcast.toml")];

#[test]
fn old_environment_means_the_same_with_every_shipped_configuration() {
    for file in FILES {
        let given = config(file, &OLD);
        let buffer = shown(&given, "rooms.performance_metrics.buffer");
        assert!(
            buffer.contains(r#"{ events = 20, flush_interval = "500ms", group_by = "category" }"#),
            "{buffer}"
        );
        assert!(buffer.ends_with(", ${BUFFER_SIZE}, ${BUFFER_FLUSH_INTERVAL}"), "{buffer}");
        let origins = shown(&given, "server.allowed_origins");
        let both = r#"["local", "https://app.example", "https://www.example:8443"]"#;
        assert!(origins.contains(both), "{file:?}: {origins}");
        assert!(origins.ends_with(", ${FRONTEND_URL}, ${PRODUCTION_URL}"), "{origins}");
        let absent = config(file, &[("BUFFER_SIZE", ""), ("FRONTEND_URL", "")]);
        let buffer = shown(&absent, "rooms.performance_metrics.buffer");
        assert!(
            buffer.contains(r#"events = 50, flush_interval = "1s""#) && !buffer.contains('$'),
            "{buffer}"
        );
        assert!(shown(&absent, "server.allowed_origins").contains(r#" = ["local"] "#));
    }
    let with_unit = config(None, &[("BUFFER_FLUSH_INTERVAL", "2s")]);
    assert!(shown(&with_unit, "rooms.performance_metrics.buffer").contains(r#"flush_interval = "2s""#));
}

#[test]
fn a_file_keeps_what_is_built_in_for_keys_it_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let mut command = Command::new(binary());
        std::fs::write(folder.path().join("broadcast.toml"), text).unwrap();
        in_folder(&mut command, folder.path());
        command.arg("config").envs(OLD).output().unwrap()
    };
    let others = load("[server]\nheartbeat = \"5s\"\n[room_defaults]\nhistory = { events = 7 }\n");
    assert!(shown(&others, "rooms.performance_metrics.buffer").contains("events = 20"));
    assert!(shown(&others, "rooms.performance_metrics.history").contains("events = 7"));
    assert!(shown(&others, "server.allowed_origins").contains("https://app.example"));
    let own = load("[server]\nallowed_origins = [\"*\"]\n[rooms.mine]\ntypes = [\"*\"]\n");
    let text = String::from_utf8_lossy(&own.stdout);
    assert!(
        text.contains("allowed_origins = [\"*\"] ") && !text.contains("rooms.performance_metrics"),
        "{text}"
    );
}

#[tokio::test]
async fn milliseconds_from_the_environment_flush_a_batch() {
    let text = std::fs::read_to_string(repository("broadcast.toml")).unwrap();
    let free = ["server", "admin", "ingest"].map(|section| format!("{section}.listen=[\"127.0.0.1:0\"]"));
    let mut sets = vec!["--set", "sources.system.every=off"];
    sets.extend(free.iter().flat_map(|set| ["--set", set]));
    let (mut command, folder) = Server::command(&text, &sets);
    command.envs(OLD).stdin(std::process::Stdio::null());
    let server = Server::spawn((command, folder));
    let mut client = Client::connect(&server).await;
    client.subscribe("performance_metrics").await;
    let metric = "{\"type\":\"performance_metric\",\"metricName\":\"cpu\",\"value\":1,\"unit\":\"percent\",\"category\":\"system\"}\n";
    // By number, and then by time.
    for count in [20, 3] {
        server.post(&metric.repeat(count));
        let batch = client.wait_for("batch").await;
        assert_eq!(batch["data"].as_array().map(Vec::len), Some(count), "{batch}");
    }
}

#[test]
fn a_wrong_variable_is_refused_by_name_with_what_is_right() {
    for (name, value, right) in [
        ("BUFFER_FLUSH_INTERVAL", "soon", "a number of milliseconds, such as \"250\""),
        ("BUFFER_FLUSH_INTERVAL", "0.5", "a number of milliseconds, such as \"250\""),
        ("BUFFER_FLUSH_INTERVAL", "5 seconds", "\"5s\""),
        ("BUFFER_FLUSH_INTERVAL", "0", "must be from 1ms to 1d"),
        ("BUFFER_FLUSH_INTERVAL", "86400001", "must be from 1ms to 1d"),
        ("BUFFER_SIZE", "0", "a whole number from 1 to 100000"),
        ("BUFFER_SIZE", "many", "a whole number from 1 to 100000"),
        ("FRONTEND_URL", "https://a.example/app", "write \"https://a.example\": an origin has no path"),
        (
            "PRODUCTION_URL",
            "https://a.example,https://b.example:8443/x",
            "write \"https://b.example:8443\": an origin",
        ),
        ("FRONTEND_URL", "a.example", "write \"https://a.example\""),
        ("FRONTEND_URL", "file://", "write \"*\", or serve the page over HTTP"),
    ] {
        for file in FILES {
            let output = config(file, &[(name, value)]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{name}={value}: {said}");
            assert!(said.contains(right), "{name}={value} {file:?}: {said}");
            assert!(said.contains(&format!("from ${{{name}}}")), "{name}={value} {file:?}: {said}");
            assert!(said.contains("1 problem in"), "{said}");
        }
    }
}

#[test]
fn one_variable_lists_several_origins() {
    for (value, expected) in [
        ("https://a.example,https://b.example", r#""https://a.example", "https://b.example""#),
        (
            " https://a.example , https://B.example:8443/ ,",
            r#""https://a.example", "https://b.example:8443""#,
        ),
        ("https://a.example https://b.example", r#""https://a.example", "https://b.example""#),
        ("https://a.example/", r#""https://a.example""#),
        (",", ""),
    ] {
        let output = config(None, &[("FRONTEND_URL", value)]);
        let origins = shown(&output, "server.allowed_origins");
        let expected = if expected.is_empty() { String::new() } else { format!(", {expected}") };
        assert!(origins.contains(&format!(r#"["local"{expected}]"#)), "{value}: {origins}");
    }
    let (mut command, folder) = Server::command("[log]\n", &[]);
    command.env("FRONTEND_URL", "https://a.example, https://b.example").stdin(std::process::Stdio::null());
    let server = Server::spawn((command, folder));
    for (origin, status) in [
        ("https://a.example", 101),
        ("https://b.example", 101),
        ("http://localhost:3000", 101),
        ("https://c.example", 403),
        ("https://a.example,https://b.example", 403),
    ] {
        let mut raw = Raw::connect(&server.clients[0]);
        raw.send(request("/ws", &[("Origin", origin)]).as_bytes());
        assert_eq!(raw.answer().status, status, "{origin}");
    }
}
