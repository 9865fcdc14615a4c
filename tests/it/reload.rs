//! Another configuration while everything runs: how it gets there, what it changes, and that nobody notices.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, binary, in_folder};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const APPLIED: &str = "broadcastd_config_reloads_total{outcome=\"applied\"}";
const REFUSED: &str = "broadcastd_config_reloads_total{outcome=\"refused\"}";

/// A daemon that takes a changed file up by itself.
fn watching() -> Server {
    Server::start(&format!("[server]\nwatch = true\n{ROOMS}"))
}

/// A configuration with one more room, named after a number.
fn numbered(number: usize) -> String {
    format!("{ROOMS}[rooms.number_{number}]\ntypes = [\"only_here\"]\n")
}

/// The key `limits.clients` that is in force.
fn in_force(server: &Server, key: &str) -> String {
    let (status, text) = Server::get(&server.admin[0], "/api/v1/config");
    assert_eq!(status, 200);
    let value: Value = serde_json::from_str(&text).unwrap();
    value["keys"][key].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_file_that_is_written_in_place_is_taken_up() {
    let server = watching();
    std::fs::write(server.config(), format!("{ROOMS}[limits]\nclients = 77\n")).unwrap();
    server.until_metric(APPLIED, |count| count == 1.0);
    assert_eq!(in_force(&server, "limits.clients"), "77");
    let line = server.logged("configuration reloaded");
    assert!(line.contains("limits.clients 100000→77") && line.contains("cause=\"file\""), "{line}");
    assert!(server.metric("broadcastd_config_last_reload_success_timestamp_seconds") > 1.7e9);
}

#[test]
fn a_file_that_is_put_in_its_place_is_taken_up_again_and_again() {
    let server = watching();
    for number in 1..=3 {
        let beside = server.dir().join("new.toml");
        std::fs::write(&beside, format!("{ROOMS}[limits]\nclients = {number}00\n")).unwrap();
        std::fs::rename(&beside, server.config()).unwrap();
        server.until_metric(APPLIED, |count| count == f64::from(number));
        assert_eq!(in_force(&server, "limits.clients"), format!("{number}00"));
    }
}

#[test]
fn a_link_that_is_swapped_beside_it_is_seen() {
    // As Kubernetes mounts a ConfigMap: broadcast.toml -> ..data/broadcast.toml, ..data -> ..2024.
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, clients: u32| {
        let version = folder.path().join(name);
        std::fs::create_dir(&version).unwrap();
        std::fs::write(version.join("broadcast.toml"), format!("{ROOMS}[limits]\nclients = {clients}\n"))
            .unwrap();
    };
    let swap = |name: &str| {
        let new = folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(name, &new).unwrap();
        std::fs::rename(&new, folder.path().join("..data")).unwrap();
    };
    version("..1", 11);
    swap("..1");
    std::os::unix::fs::symlink("..data/broadcast.toml", folder.path().join("broadcast.toml")).unwrap();
    let (mut command, dir) = Server::command(&format!("[server]\nwatch = true\n{ROOMS}"), &[]);
    // The last --config wins nothing: clap refuses two, so that the variable names the file.
    command = {
        let arguments: Vec<_> = command.get_args().skip(2).map(std::ffi::OsStr::to_owned).collect();
        let mut other = Command::new(binary());
        other.args(arguments).env("BROADCASTD_CONFIG", folder.path().join("broadcast.toml"));
        in_folder(&mut other, dir.path());
        other.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        other
    };
    let server = Server::spawn((command, dir));
    assert_eq!(in_force(&server, "limits.clients"), "11");
    for (round, name) in ["..2", "..3"].into_iter().enumerate() {
        version(name, 12 + round as u32);
        swap(name);
        server.until_metric(APPLIED, |count| count == round as f64 + 1.0);
        assert_eq!(in_force(&server, "limits.clients"), (12 + round).to_string());
        std::fs::remove_dir_all(folder.path().join(format!("..{}", round + 1))).unwrap();
    }
}

#[test]
fn a_wrong_file_changes_nothing_and_the_next_right_one_is_taken_up() {
    let server = watching();
    let wrong = format!("{ROOMS}[limits]\nclients = \"many\"\n[server]\nheartbeet = \"1s\"\n");
    std::fs::write(server.config(), &wrong).unwrap();
    server.until_metric(REFUSED, |count| count == 1.0);
    let line = server.logged("configuration refused");
    assert!(line.contains("limits.clients") && line.contains("heartbeet"), "every problem: {line}");
    assert_eq!(server.metric("broadcastd_config_last_reload_successful"), 0.0);
    assert_eq!(in_force(&server, "limits.clients"), "100000");
    let (status, answer) = server.reload("");
    assert_eq!((status, &answer["outcome"]), (422, &json!("refused")), "{answer}");
    assert_eq!(answer["problems"].as_array().unwrap().len(), 2);
    assert!(answer["problems"][0]["place"].as_str().unwrap().ends_with("broadcast.toml:7:11"), "{answer}");
    assert!(answer["report"].as_str().unwrap().contains("did you mean `heartbeat`?"), "{answer}");
    std::fs::write(server.config(), format!("{ROOMS}[limits]\nclients = 5\n")).unwrap();
    server.until_metric(APPLIED, |count| count == 1.0);
    assert_eq!(server.metric("broadcastd_config_last_reload_successful"), 1.0);
    assert_eq!(in_force(&server, "limits.clients"), "5");
}

#[test]
fn a_half_written_file_is_never_in_force() {
    let server = watching();
    // Answered by the thread that watches, which therefore does.
    assert_eq!(server.reload("").1["outcome"], "unchanged");
    let mut whole = String::new();
    for number in 0..50 {
        whole += &format!("[rooms.room_{number}]\ntypes = [\"*\"]\n");
    }
    // A writer that empties the file, writes half, and rests with the file open: half is a valid file as well.
    let half = whole.find("[rooms.room_25]").unwrap();
    let mut file = std::fs::File::create(server.config()).unwrap();
    std::io::Write::write_all(&mut file, &whole.as_bytes()[..half]).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    std::io::Write::write_all(&mut file, &whole.as_bytes()[half..]).unwrap();
    drop(file);
    server.until_metric(APPLIED, |count| count == 1.0);
    let (_, text) = Server::get(&server.admin[0], "/page.json");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["rooms"].as_array().unwrap().len(), 50);
    // Emptied, it is somebody's file about to be written, and not the built-in configuration.
    std::fs::write(server.config(), "").unwrap();
    std::fs::write(server.config(), whole.replace("room_49", "room_fifty")).unwrap();
    server.until_metric(APPLIED, |count| count == 2.0);
    assert_eq!(server.metric(REFUSED), 0.0);
}

#[test]
fn of_a_hundred_files_in_ten_seconds_the_last_is_in_force_soon_and_each_was_whole() {
    let server = watching();
    let begun = Instant::now();
    for number in 1..=100 {
        let text = numbered(number);
        if number % 2 == 0 {
            std::fs::write(server.config(), text).unwrap();
        } else {
            let beside = server.dir().join("next");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, server.config()).unwrap();
        }
        let next = begun + Duration::from_millis(100) * number as u32;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let written = Instant::now();
    let rooms = || {
        let (_, text) = Server::get(&server.admin[0], "/page.json");
        serde_json::from_str::<Value>(&text).unwrap()["rooms"].clone()
    };
    while rooms() != json!(["all", "agent:{agentId}", "number_100"]) {
        assert!(written.elapsed() < DEADLINE, "{}", rooms());
    }
    // 600 ms where the machine has time; what is asserted is that nobody waited for a slow timer.
    assert!(written.elapsed() < Duration::from_secs(5), "{:?}", written.elapsed());
    assert_eq!(server.metric(REFUSED), 0.0, "every one that was looked at was whole");
    assert!(server.metric(APPLIED) >= 10.0);
}

#[test]
fn a_signal_a_command_and_a_dry_run_ask_for_the_same() {
    let server = Server::start(&format!("[server]\nwatch = false\n{ROOMS}"));
    let other = format!("[server]\nwatch = false\n{}", numbered(1));
    std::fs::write(server.config(), &other).unwrap();
    let (status, answer) = server.reload("?dry_run=true");
    assert_eq!((status, &answer["outcome"]), (200, &json!("would_apply")));
    assert_eq!((&answer["rooms_added"], &answer["summary"]), (&json!(["number_1"]), &json!("rooms +1")));
    assert_eq!(server.metric(APPLIED), 0.0);
    server.signal(Signal::SIGHUP);
    server.until_metric(APPLIED, |count| count == 1.0);
    assert!(server.logged("configuration reloaded").contains("rooms +1"));
    assert_eq!(server.reload("").1["outcome"], "unchanged");

    let reload = |arguments: &[&str]| {
        let output = Command::new(binary())
            .args(["reload", "--admin", &server.admin[0], "--config"])
            .arg(server.config())
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    std::fs::write(server.config(), other.replace("number_1", "number_2")).unwrap();
    let (code, text) = reload(&["--dry-run"]);
    assert!(code == Some(0) && text.contains("would apply: rooms +1 −1"), "{code:?} {text}");
    let (code, text) = reload(&[]);
    assert!(code == Some(0) && text.contains("applied: rooms +1 −1"), "{code:?} {text}");
    let (code, text) = reload(&[]);
    assert!(code == Some(0) && text.contains("unchanged"), "{code:?} {text}");
    std::fs::write(server.config(), "[limits]\nclients = 0\n").unwrap();
    let (code, text) = reload(&[]);
    assert!(code == Some(78) && text.contains("limits.clients"), "{code:?} {text}");
    let gone = Command::new(binary()).args(["reload", "--admin", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(gone.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("127.0.0.1:1"));
}

#[test]
fn what_takes_a_restart_and_what_fails_its_tests_is_refused_as_a_whole() {
    let server = Server::start(ROOMS);
    let refused = |text: &str| {
        std::fs::write(server.config(), text).unwrap();
        let (status, answer) = server.reload("");
        assert_eq!(status, 422, "{answer}");
        answer["report"].as_str().unwrap().to_owned()
    };
    let report = refused(&format!("[server]\nshards = 7\n[limits]\nclients = 5\n{ROOMS}"));
    assert!(report.contains("`server.shards` cannot be changed while the daemon runs"), "{report}");
    assert!(report.contains("→ 7"), "{report}");
    let test = "[[test]]\nline = '{\"type\":\"t\"}'\nrooms = [\"nowhere\"]\n";
    let report = refused(&format!("[limits]\nclients = 5\n{ROOMS}{test}"));
    assert!(report.contains("failed") && report.contains("nowhere"), "{report}");
    assert_eq!(in_force(&server, "limits.clients"), "100000");
}

#[tokio::test]
async fn rooms_come_go_and_change_under_their_readers() {
    let rooms = |history: u32, more: &str| {
        format!("[rooms.stays]\ntypes = [\"t\"]\nhistory = {{ events = {history} }}\n{more}")
    };
    let goes = "[rooms.goes]\ntypes = [\"t\"]\n[rooms.\"agent:{agentId}\"]\ntypes = [\"t\"]\n";
    let server = Server::start(&rooms(100, goes));
    let mut client = Client::connect(&server).await;
    for room in ["stays", "goes", "agent:1"] {
        client.subscribe(room).await;
    }
    server.publish("1", 1, 20);
    for _ in 0..3 {
        client.events(20).await;
    }
    let answer = server.reconfigure(&rooms(5, "[rooms.comes]\ntypes = [\"t\"]\n"));
    assert_eq!(answer["summary"], "rooms +1 −2 · rooms.stays.history.events 100→5");
    let mut closed: Vec<String> = Vec::new();
    while closed.len() < 2 {
        let message = client.wait_for("unsubscribed").await;
        assert_eq!(message["reason"], "room_closed");
        closed.extend(
            message["rooms"].as_array().unwrap().iter().map(|room| room.as_str().unwrap().to_owned()),
        );
    }
    closed.sort_unstable();
    assert_eq!(closed, ["agent:1", "goes"]);
    let refused = client.subscribe("goes").await;
    assert_eq!(refused["error"]["code"], "unknown_room");
    client.subscribe("comes").await;
    server.publish("1", 21, 1);
    let mut got = vec![client.next().await["room"].clone(), client.next().await["room"].clone()];
    got.sort_unstable_by_key(ToString::to_string);
    assert_eq!(got, ["comes", "stays"]);
    // History was trimmed at once.
    let mut late = Client::connect(&server).await;
    late.subscribe(json!({ "room": "stays", "from": "start" })).await;
    assert_eq!(late.events(5).await[0].0, 17);
    // A room of the same name is another life of the log.
    server.reconfigure(&rooms(5, goes));
    let again = client.subscribe(json!({ "room": "goes", "from": "start" })).await;
    assert_eq!(again["head"], 0);
    assert_eq!(server.metric("broadcastd_gaps_total"), 0.0);
}

#[tokio::test]
async fn what_was_published_to_a_room_that_goes_arrives_first() {
    let before = "[rooms.goes]\ntypes = [\"t\"]\nbuffer = { events = 1000, flush_interval = \"10m\" }\n[rooms.stays]\ntypes = [\"u\"]\n";
    let server = Server::start(before);
    let mut client = Client::connect(&server).await;
    client.subscribe("goes").await;
    let filtered = client.subscribe(json!({ "room": "stays", "where": "n > 5" })).await;
    assert_eq!(filtered["head"], 0);
    server.publish("1", 1, 7);
    server.reconfigure("[rooms.stays]\ntypes = [\"u\"]\n");
    let batch = client.next().await;
    assert_eq!(
        (&batch["type"], &batch["offset"]),
        (&json!("batch"), &json!(7)),
        "what the buffer held: {batch}"
    );
    assert_eq!(
        client.next().await,
        json!({ "type": "unsubscribed", "rooms": ["goes"], "reason": "room_closed" })
    );
}

#[tokio::test]
async fn who_reads_nothing_is_told_of_a_room_that_goes_when_it_reads() {
    let server = Server::start(
        "[rooms.goes]\ntypes = [\"*\"]\nhistory = { events = 5 }\n[rooms.stays]\ntypes = [\"*\"]\n",
    );
    let mut client = Client::connect(&server).await;
    client.subscribe("goes").await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    server.reconfigure("[rooms.stays]\ntypes = [\"*\"]\n");
    // Waited for, for a while: a shard has a client that is behind, until it has not.
    server.until_metric("broadcastd_subscriptions_catching_up", |behind| behind == 0.0);
    let mut offset = 0;
    loop {
        let message = client.next().await;
        match message["type"].as_str().unwrap() {
            "event" | "batch" => offset = message["offset"].as_u64().unwrap(),
            "gap" => {
                assert_eq!(message["first"], offset + 1, "{message}");
                offset = message["offset"].as_u64().unwrap();
            }
            "unsubscribed" => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!(offset, 10_000, "everything came, or was told");
}

#[tokio::test]
async fn limits_reach_those_who_are_connected() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    server.reconfigure(&format!(
        "{ROOMS}[limits]\nclients = 1\n[limits.client]\nrooms = 1\nmessage_size = \"200B\"\nmessages = {{ rate = \"1/m\", burst = 3 }}\n"
    ));
    let (status, _) = Server::get(&server.clients[0], "/api/v1/health");
    assert_eq!(status, 200);
    let url = format!("ws://{}/ws", server.clients[0]);
    let refused = tokio_tungstenite::connect_async(&url).await.unwrap_err();
    assert!(matches!(refused, tokio_tungstenite::tungstenite::Error::Http(answer) if answer.status() == 503));
    let error = client.subscribe("agent:1").await;
    assert_eq!(error["error"]["code"], "limit", "{error}");
    client.send(json!({ "type": "ping", "id": 1 })).await;
    client.send(json!({ "type": "ping", "id": 2 })).await;
    client.send(json!({ "type": "ping", "id": 3 })).await;
    assert_eq!(client.wait_for("error").await["code"], "rate_limited");
    client.send(json!({ "type": "ping", "id": "x".repeat(300) })).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn producers_and_pages_follow_as_well() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&format!("{{\"type\":\"t\",\"f\":\"{}\"}}\n", "x".repeat(500)));
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
    let page = |origin: &str| {
        let request = crate::raw::request("/ws", &[("Origin", origin)]);
        let mut raw = crate::raw::Raw::connect(&server.clients[0]);
        raw.send(request.as_bytes());
        raw.answer().status
    };
    assert_eq!(page("https://app.example.org"), 403);
    server.reconfigure(
        "[server]\nallowed_origins = [\"https://app.example.org\"]\nexpose = []\nheartbeat = \"1s\"\n\
         [ingest]\nmax_event_size = \"100B\"\nunrouted = \"count\"\n[rooms.only]\ntypes = [\"u\"]\n",
    );
    assert_eq!(page("https://app.example.org"), 101);
    assert_eq!(Server::get(&server.clients[0], "/").0, 404);
    producer.write(&format!("{{\"type\":\"t\",\"f\":\"{}\"}}\n{{\"type\":\"t\"}}\n", "x".repeat(500)));
    let answers = producer.finish();
    assert_eq!(answers[0]["error"]["code"], "too_long", "{answers:?}");
    assert_eq!(answers.last().unwrap(), &json!({ "accepted": 2, "rejected": 1, "line": 3 }));
    assert_eq!(server.metric("broadcastd_ingest_unrouted_total"), 1.0);
    let mut client = Client::connect_to(&format!("ws://{}/ws", server.admin[0])).await;
    client.send(json!({ "type": "ping" })).await;
    assert_eq!(client.wait_for("pong").await["type"], "pong");
}

/// Four ports in a row that nobody has, below those that the system gives to connections.
fn free_ports() -> [u16; 4] {
    let is_free = |port: &u16| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok();
    let first = (10_000 + (std::process::id() % 10_000) as u16..30_000)
        .find(|port| (*port..port + 4).all(|port| is_free(&port)))
        .expect("some port is free");
    [first, first + 1, first + 2, first + 3]
}

fn connects(addr: impl std::net::ToSocketAddrs) -> bool {
    std::net::TcpStream::connect(addr).is_ok()
}

#[tokio::test]
async fn listeners_come_go_and_move_and_connections_stay() {
    let [clients, ingest, moved, clients_moved] = free_ports();
    let config = |server: &str, ingest: &str| {
        format!(
            "[server]\nlisten = [{server}]\nauth = \"none\"\n[ingest]\nlisten = [{ingest}]\nauth = \"none\"\n{ROOMS}"
        )
    };
    let at = |port: u16| format!("\"127.0.0.1:{port}\"");
    let server =
        Server::start(&config(&at(clients), &format!("{{ tcp = {}, type_field = \"kind\" }}", at(ingest))));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("{\"kind\":\"t\",\"n\":1}\n");
    assert_eq!(client.events(1).await[0].1["n"], 1);

    // Another place each, a Unix socket and a pipe beside.
    let more = format!("{}, {{ unix = \"in.sock\", mode = \"0600\" }}, {{ fifo = \"in.fifo\" }}", at(moved));
    server.reconfigure(&config(&at(clients_moved), &more));
    let until = Instant::now() + DEADLINE;
    while connects(("127.0.0.1", clients)) || connects(("127.0.0.1", ingest)) {
        assert!(Instant::now() < until, "the old ports are closed");
    }
    assert!(connects(("127.0.0.1", clients_moved)) && connects(("127.0.0.1", moved)));
    producer.write("{\"kind\":\"t\",\"n\":2}\n");
    assert_eq!(client.events(1).await[0].1["n"], 2, "who came through the old ones stays, with their keys");
    let socket = server.dir().join("broadcastd/in.sock");
    let mut through = Producer::connect(&format!("unix:{}", socket.display()));
    through.write("{\"type\":\"t\",\"n\":3}\n");
    assert_eq!(client.events(1).await[0].1["n"], 3);
    let mut pipe =
        std::fs::OpenOptions::new().write(true).open(server.dir().join("broadcastd/in.fifo")).unwrap();
    std::io::Write::write_all(&mut pipe, b"{\"type\":\"t\",\"n\":4}\n").unwrap();
    assert_eq!(client.events(1).await[0].1["n"], 4);

    // The same port on every address, other rights for the socket, the pipe gone.
    let more = format!("\"0.0.0.0:{moved}\", {{ unix = \"in.sock\", mode = \"0666\" }}");
    server.reconfigure(&config(&format!("\"0.0.0.0:{clients_moved}\""), &more));
    assert!(connects(("127.0.0.2", moved)) && connects(("127.0.0.2", clients_moved)));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    through.write("{\"type\":\"t\",\"n\":5}\n");
    assert_eq!(client.events(1).await[0].1["n"], 5);
    let mut again = Client::connect_to(&format!("ws://127.0.0.1:{clients_moved}/ws")).await;
    again.subscribe("all").await;

    // What cannot be bound changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = config(&at(clients_moved), &at(taken.local_addr().unwrap().port()));
    std::fs::write(server.config(), refused).unwrap();
    let (status, answer) = server.reload("");
    assert_eq!(status, 422);
    assert!(answer["report"].as_str().unwrap().contains("the port is taken by"), "{answer}");
    assert!(connects(("127.0.0.2", moved)), "as it was");
    producer.write("{\"kind\":\"t\",\"n\":6}\n");
    assert_eq!(client.events(1).await[0].1["n"], 6);
    assert_eq!(producer.finish().last().unwrap()["accepted"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_notice_nothing_of_a_hundred_reloads() {
    let server = Server::start(ROOMS);
    let mut clients = Vec::new();
    for index in 0..1000 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        if index % 10 == 0 {
            client.subscribe("agent:a").await;
        }
        clients.push(client);
    }
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let producer = std::thread::spawn({
        let (stop, written, addr) = (Arc::clone(&stop), Arc::clone(&written), server.ingest[0].clone());
        move || {
            let mut producer = Producer::connect(&addr);
            while !stop.load(Ordering::Relaxed) {
                let n = written.fetch_add(1, Ordering::Relaxed);
                producer.write(&format!("{{\"type\":\"t\",\"agentId\":\"a\",\"n\":{n}}}\n"));
                std::thread::sleep(Duration::from_millis(2));
            }
            let written = written.load(Ordering::Relaxed);
            assert_eq!(producer.finish(), [json!({ "accepted": written, "rejected": 0, "line": written })]);
            written
        }
    });
    for number in 0..100 {
        let mut text = numbered(number);
        text +=
            &format!("[limits]\nviews = {}\n[limits.client]\nunsent = \"{}KiB\"\n", 10 + number, 64 + number);
        text += &format!("[ingest]\nmax_event_size = \"{}KiB\"\n", 64 + number);
        text = text
            .replace("[rooms.all]\n", &format!("[rooms.all]\nhistory = {{ events = {} }}\n", 500 + number));
        server.reconfigure(&text);
        // Events come between every two reloads.
        let next = written.load(Ordering::Relaxed) + 3;
        while written.load(Ordering::Relaxed) < next {
            std::thread::yield_now();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let written = producer.join().unwrap();
    assert!(written >= 300);
    for (index, client) in clients.iter_mut().enumerate() {
        let mut next = [0_u64; 2];
        let wanted = if index % 10 == 0 { [written, written] } else { [written, 0] };
        while next != wanted {
            let message = client.next().await;
            assert!(["event", "batch"].contains(&message["type"].as_str().unwrap()), "{message}");
            let room = usize::from(message["room"] == "agent:a");
            let single = [message["data"].clone()];
            for event in message["data"].as_array().map_or(&single[..], Vec::as_slice) {
                assert_eq!(event["n"], next[room], "client {index}");
                next[room] += 1;
            }
            assert_eq!(message["offset"], next[room]);
        }
    }
    assert_eq!(server.metric(APPLIED), 100.0);
    for nothing in
        ["broadcastd_gaps_total", "broadcastd_clients_closed_total", "broadcastd_ingest_rejected_total"]
    {
        assert_eq!(server.metric(nothing), 0.0, "{nothing}");
    }
    assert_eq!(server.metric("broadcastd_clients_opened_total"), 1000.0);
    assert!(Path::new(&server.config()).exists());
}
