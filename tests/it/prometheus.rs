//! What operators see: the exposition as Prometheus' own tools read it, and what the series say.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, repository, undisturbed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn metrics(server: &Server) -> String {
    let (status, text) = Server::get(&server.admin[0], "/metrics");
    assert_eq!(status, 200);
    text
}

/// Runs promtool with an input; it must be content.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(repository("examples/prometheus"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    // In JSON: a backslash and a quote.
    server.publish(r#"a\\b\"c"#, 1, 3);
    client.events(3).await;
    server.until_metric("broadcastd_event_age_seconds_count", |count| count >= 1.0);
    let text = metrics(&server);
    assert!(text.contains("room=\"agent:a\\\\b\\\"c\""), "{text}");
    promtool(&["check", "metrics"], &text);
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "alerts.test.yml"], "");
}

#[tokio::test]
async fn rules_and_board_name_series_that_there_are() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    server.publish("a", 1, 1);
    client.events(1).await;
    server.until_metric("broadcastd_event_age_seconds_count", |count| count >= 1.0);
    let text = metrics(&server);
    let documented = std::fs::read_to_string(repository("docs/metrics.md")).unwrap();
    let mut named = 0;
    for file in ["alerts.yml", "grafana.json"] {
        let file = std::fs::read_to_string(repository("examples/prometheus").join(file)).unwrap();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in file
            .split(|c| !is_word(c))
            .filter(|word| word.starts_with("broadcastd_") || word.starts_with("process_"))
        {
            named += 1;
            assert!(text.contains(&format!("\n{word}{{")) || text.contains(&format!("\n{word} ")), "{word}");
            assert!(documented.contains(word.trim_end_matches("_bucket")), "{word} is not documented");
        }
    }
    assert!(named > 30, "{named}");
    let grafana = std::fs::read_to_string(repository("examples/prometheus/grafana.json")).unwrap();
    let board: Value = serde_json::from_str(&grafana).unwrap();
    assert!(board["panels"].as_array().unwrap().len() >= 10);
}

#[tokio::test]
async fn rooms_tell_what_went_through_them() {
    let config = "[rooms.all]\ntypes = [\"*\"]\n[rooms.batches]\ntypes = [\"*\"]\nbuffer = { events = 5, flush_interval = \"10m\" }\n\
                  [rooms.short]\ntypes = [\"*\"]\nhistory = { events = 2 }\n";
    let server = Server::start(config);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        clients.push(client);
    }
    clients[0].subscribe("batches").await;
    clients[1].subscribe(json!({ "room": "short", "where": "n > 7" })).await;
    server.publish("a", 1, 10);
    for client in &mut clients[1..] {
        client.events(10).await;
    }
    clients[0].events(20).await;
    let of = |series: &str, room: &str| server.metric(&format!("{series}{{room=\"{room}\"}}"));
    server.until_metric("broadcastd_room_delivered_total{room=\"all\"}", |delivered| delivered == 30.0);
    assert_eq!(of("broadcastd_room_published_total", "all"), 10.0);
    assert_eq!(of("broadcastd_room_subscribers", "all"), 3.0);
    assert_eq!(of("broadcastd_room_history_events", "all"), 10.0);
    assert_eq!(of("broadcastd_room_history_events", "short"), 2.0);
    assert_eq!(of("broadcastd_room_batches_total", "batches"), 2.0);
    server.until_metric("broadcastd_room_skipped_total{room=\"short\"}", |skipped| skipped == 7.0);
    clients[2].subscribe(json!({ "room": "short", "from": { "after": "1:1" } })).await;
    drop(clients);
    server.until_metric("broadcastd_room_subscribers", |subscribers| subscribers == 0.0);
    assert!(server.metric("broadcastd_shard_busy_seconds_total") > 0.0);
    assert!(server.metric("broadcastd_listener_events_total") == 10.0);
    assert!(server.metric("process_open_fds") > 10.0 && server.metric("process_resident_memory_bytes") > 1e6);
}

#[test]
fn the_build_is_a_series() {
    let text = metrics(&Server::start(ROOMS));
    let series = format!("broadcastd_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION"));
    let line = text.lines().find(|line| line.starts_with(&series)).unwrap_or_else(|| panic!("{text}"));
    assert!(line.ends_with("} 1"), "{line}");
}

#[test]
fn rooms_of_hostile_names_are_a_thousand_series_at_most() {
    let server = Server::start("[limits]\nrooms = 5000\n[rooms.\"x:{x}\"]\ntypes = [\"*\"]\n");
    let lines: String =
        (0..4000).map(|n| format!("{{\"type\":\"t\",\"x\":\"{n}\\\"}} 1\\n{{\"}}\n")).collect();
    assert_eq!(server.pipe(&lines).last().unwrap()["accepted"], 4000);
    let text = metrics(&server);
    let published = text.lines().filter(|line| line.starts_with("broadcastd_room_published_total{")).count();
    assert_eq!(published, 1001);
    assert!(text.contains("broadcastd_room_published_total{room=\"_other\"} 3000"));
    assert_eq!(server.metric("broadcastd_room_published_total"), 4000.0);
    promtool(&["check", "metrics"], &text);
}

#[tokio::test]
async fn a_real_prometheus_scrapes_it() {
    let server = Server::start(ROOMS);
    server.publish("a", 1, 5);
    let folder = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string(repository("examples/prometheus/prometheus.yml")).unwrap();
    let config = shipped.replace("127.0.0.1:9997", &server.admin[0]).replace("15s", "1s");
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    std::fs::copy(repository("examples/prometheus/alerts.yml"), folder.path().join("alerts.yml")).unwrap();
    let mut child = Command::new("prometheus")
        .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let addr = lines.find_map(|line| {
        let addr = line.split("msg=\"Listening on\" address=").nth(1)?;
        Some(addr.split_whitespace().next()?.to_owned())
    });
    let addr = addr.expect("it says where it listens");
    // What it goes on to say must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    let until = Instant::now() + DEADLINE;
    let value = loop {
        let (_, text) = Server::get(&addr, "/api/v1/query?query=broadcastd_ingest_events_total");
        let found: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(value) = found["data"]["result"][0]["value"][1].as_str() {
            break value.to_owned();
        }
        assert!(Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(value, "5");
}

#[test]
fn ten_thousand_rooms_are_rendered_in_slices() {
    let server = Server::start("[rooms.\"x:{x}\"]\ntypes = [\"*\"]\n");
    let lines: String = (0..10_000).map(|n| format!("{{\"type\":\"t\",\"x\":\"{n}\"}}\n")).collect();
    assert_eq!(server.pipe(&lines).last().unwrap()["accepted"], 10_000);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let is_admin = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == "admin")
    };
    let admin = tasks.find(is_admin).unwrap();
    // How often it gave its core up by itself: to wait for a request is once or twice.
    let rests = || -> u64 {
        let status = std::fs::read_to_string(admin.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = rests();
    let text = metrics(&server);
    assert!(text.contains("broadcastd_room_published_total{room=\"_other\"} 9000"));
    let rested = rests() - before;
    assert!(rested >= 10, "milliseconds of work in {rested} pieces");
    let (status, _) = Server::get(&server.clients[0], "/api/v1/websocket/status");
    assert_eq!(status, 200);
}

/// One scrape's samples by series, and the families that only rise.
struct Scrape {
    samples: BTreeMap<String, f64>,
    rising: Vec<String>,
}

impl Scrape {
    fn of(server: &Server) -> Scrape {
        let text = metrics(server);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let rising = types.filter(|(_, is)| *is != "gauge").map(|(name, _)| name.to_owned()).collect();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok().filter(|value: &f64| value.is_finite())?))
        });
        Scrape { samples: samples.collect(), rising }
    }

    /// How much a series has risen since an earlier scrape, over all its labels.
    fn rise(&self, before: &Scrape, name: &str) -> f64 {
        let of = |scrape: &Scrape| -> f64 {
            let named = scrape.samples.iter().filter(|(series, _)| series.split('{').next() == Some(name));
            named.map(|(_, value)| value).sum()
        };
        of(self) - of(before)
    }

    /// An hour in which every minute is as the time since an earlier scrape: input of `promtool test rules`.
    fn hour_as_since(&self, before: &Scrape, elapsed: Duration) -> Vec<Value> {
        let target = "instance=\"a\",job=\"broadcastd\"";
        let labelled = |series: &str| match series.split_once('{') {
            Some((name, labels)) => format!("{name}{{{target},{labels}"),
            None => format!("{series}{{{target}}}"),
        };
        let samples = self.samples.iter().map(|(series, value)| {
            let family = series.split('{').next().unwrap();
            let rises = self.rising.iter().any(|name| {
                let part = family.strip_prefix(name.as_str());
                part.is_some_and(|part| ["", "_bucket", "_sum", "_count"].contains(&part))
            });
            let rise = value - before.samples.get(series).unwrap_or(&0.0);
            let a_minute = if rises { rise * 60.0 / elapsed.as_secs_f64() } else { 0.0 };
            json!({ "series": labelled(series), "values": format!("{value}+{a_minute}x60") })
        });
        samples.chain([json!({ "series": labelled("up"), "values": "1x60" })]).collect()
    }
}

/// Output of `promtool test rules` if no shipped alert may fire in such an hour.
fn alerts_that_fire(input_series: &[Value]) -> String {
    let rules = repository("examples/prometheus/alerts.yml");
    let text = std::fs::read_to_string(&rules).unwrap();
    let alerts: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    let alerts: Vec<Value> = alerts
        .iter()
        .map(|name| json!({ "alertname": name, "eval_time": "40m", "exp_alerts": [] }))
        .collect();
    let hour = json!({ "interval": "1m", "input_series": input_series, "alert_rule_test": alerts });
    let test = json!({ "rule_files": [rules], "evaluation_interval": "1m", "tests": [hour] });
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let file = folder.path().join("hour.test.yml");
    std::fs::write(&file, test.to_string()).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { String::new() } else { said.into_owned() }
}

#[tokio::test]
async fn no_shipped_alert_fires_under_load_with_the_shipped_configuration() {
    /// The shipped buffers are flushed every second, and every two.
    const ROUND: Duration = Duration::from_millis(2500);
    const STEP: Duration = Duration::from_millis(50);
    let shipped = std::fs::read_to_string(repository("broadcast.toml")).unwrap();
    let on_port_0 = ["server", "admin", "ingest"].map(|name| format!("{name}.listen=[\"127.0.0.1:0\"]"));
    let [server, admin, ingest] = &on_port_0;
    let server = Server::start_with(&shipped, &["--set", server, "--set", admin, "--set", ingest]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&server).await;
        for room in ["performance_metrics", "metrics_board", "agent_states", "agent:1"] {
            assert!(client.subscribe(room).await["error"].is_null(), "{room}");
        }
        clients.push(client);
    }
    let mut producer = Producer::connect(&server.ingest[0]);
    // A machine that stalls for half a second makes events old. So one round of some must be without alerts.
    undisturbed(async || {
        let (before, begun) = (Scrape::of(&server), Instant::now());
        let mut steps = tokio::time::interval(STEP);
        while begun.elapsed() < ROUND {
            steps.tick().await;
            for agent in 1..=2 {
                producer.write(&format!(
                    "{{\"type\":\"agent_state\",\"agentId\":\"{agent}\",\"status\":\"busy\",\
                     \"resourceUsage\":{{\"cpu\":1,\"memory\":2,\"activeConnections\":3}}}}\n\
                     {{\"type\":\"performance_metric\",\"agentId\":\"{agent}\",\"metricName\":\"cpu\",\"value\":7,\
                     \"unit\":\"percent\",\"category\":\"agent\"}}\n"
                ));
            }
        }
        let after = Scrape::of(&server);
        let passes = after.rise(&before, "broadcastd_event_age_seconds_count");
        let batches = after.rise(&before, "broadcastd_room_batches_total");
        assert!(passes > 0.0 && batches >= 2.0, "{passes} passes, {batches} batches of the shipped buffers");
        let said = alerts_that_fire(&after.hour_as_since(&before, begun.elapsed()));
        if said.is_empty() { Ok(()) } else { Err(said) }
    })
    .await;
    let (_, health) = Server::get(&server.admin[0], "/api/v1/websocket/status");
    assert!(health.contains("\"status\":\"healthy\""), "{health}");
}
