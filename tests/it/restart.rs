//! Rooms over a restart: an upgrade costs clients a reconnect, and nothing else; a crash begins anew.

use crate::harness::{Client, DEADLINE, ROOMS, Server, http};
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

/// Restarts under load, one after the other.
const RESTARTS: usize = 50;

const LOADED: &str = r#"
[limits.client]
messages = "100000/s"
subscriptions = "100000/s"
[room_defaults]
history = { events = 1000000, age = "1h", bytes = "1GiB" }
[rooms.all]
types = ["*"]
[rooms.batches]
types = ["*"]
buffer = { events = 40, flush_interval = "15ms" }
[rooms."agent:{agentId}"]
types = ["*"]
"#;

/// Where the daemon listens now: for clients and for producers.
type Where = (String, String);

/// Posts batches to wherever the daemon is, again and again those that nobody answered, until it is told to end. Returns
/// how many events were accepted: numbered from 0, without holes.
fn produce(addrs: &watch::Receiver<Where>, ends: &AtomicBool, accepted: &watch::Sender<u64>) -> u64 {
    let mut next = 0;
    while !ends.load(Ordering::Relaxed) {
        let ingest = addrs.borrow().1.clone();
        let line = |n: u64| format!("{{\"type\":\"t\",\"agentId\":\"{}\",\"n\":{n}}}\n", n % 3);
        let body: String = (next..next + 20).map(line).collect();
        match post(&ingest, &body) {
            Some(count) => {
                assert_eq!(count, 20);
                next += 20;
                accepted.send_replace(next);
            }
            // Nobody is there between two processes, whom trying at once would only hinder.
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    next
}

/// How many events of a body were accepted; none when nothing was answered.
fn post(addr: &str, body: &str) -> Option<u64> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "POST /events HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // It came when stopping had begun: nothing of it was looked at.
    if head.starts_with("HTTP/1.1 503") {
        assert!(body.contains("stopping"), "{answer}");
        return None;
    }
    let answer: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(answer["rejected"], 0, "{answer}");
    answer["accepted"].as_u64()
}

/// A client that follows rooms over restarts and takes note of all that it is told.
#[derive(Default)]
struct Follower {
    /// Its rooms, each with a condition if it has one.
    rooms: Vec<(String, Option<String>)>,
    /// room -> (epoch, offset).
    positions: HashMap<String, (String, u64)>,
    /// room -> the events' numbers, in order.
    had: HashMap<String, Vec<u64>>,
    connections: usize,
}

impl Follower {
    fn new(rooms: &[(&str, Option<&str>)]) -> Follower {
        let rooms = rooms.iter().map(|(name, condition)| ((*name).to_owned(), condition.map(str::to_owned)));
        Follower { rooms: rooms.collect(), ..Follower::default() }
    }

    /// Comes back again and again, until it has all events below `last` when that is known.
    async fn follow(
        mut self,
        mut addrs: watch::Receiver<Where>,
        mut last: watch::Receiver<Option<u64>>,
    ) -> Follower {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < 10 * DEADLINE, "{:?}", self.positions);
            let url = format!("ws://{}/ws", addrs.borrow_and_update().0);
            // Nobody is there between two processes.
            let Ok((mut socket, _)) = tokio_tungstenite::connect_async(&url).await else {
                let _ = tokio::time::timeout(Duration::from_millis(5), addrs.changed()).await;
                continue;
            };
            self.connections += 1;
            use futures_util::SinkExt;
            if socket.send(Message::text(self.subscribe().to_string())).await.is_err() {
                continue;
            }
            loop {
                if let Some(last) = *last.borrow_and_update()
                    && self.is_done(last)
                {
                    return self;
                }
                tokio::select! {
                    next = socket.next() => match next {
                        Some(Ok(Message::Text(text))) => self.message(&serde_json::from_str(&text).unwrap()),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                        Some(Ok(_)) => {}
                    },
                    Ok(()) = last.changed() => {}
                }
            }
        }
    }

    fn subscribe(&self) -> Value {
        let room = |(name, condition): &(String, Option<String>)| {
            let from = match self.positions.get(name) {
                Some((epoch, offset)) => json!({ "after": format!("{epoch}:{offset}") }),
                None => json!("start"),
            };
            json!({ "room": name, "from": from, "where": condition })
        };
        json!({ "type": "subscribe", "rooms": self.rooms.iter().map(room).collect::<Vec<_>>() })
    }

    fn message(&mut self, message: &Value) {
        let offset = message["offset"].as_u64();
        match message["type"].as_str().unwrap() {
            "welcome" | "closing" => {}
            "subscribed" => {
                for room in message["rooms"].as_array().unwrap() {
                    let name = room["room"].as_str().unwrap().to_owned();
                    let position =
                        (room["epoch"].as_str().unwrap().to_owned(), room["offset"].as_u64().unwrap());
                    if let Some(before) = self.positions.insert(name, position.clone()) {
                        assert_eq!((&before, &room["resumed"]), (&position, &json!(true)), "{room}");
                    }
                }
            }
            "event" => self.event(message, offset.unwrap(), &message["data"].clone()),
            "batch" => {
                let data = message["data"].as_array().unwrap();
                for (index, event) in data.iter().enumerate() {
                    let consecutive = offset.unwrap() + 1 + index as u64 - data.len() as u64;
                    let at = message.get("offsets").map_or(consecutive, |list| list[index].as_u64().unwrap());
                    self.event(message, at, event);
                }
                self.position(message).1 = offset.unwrap();
            }
            "position" => self.position(message).1 = offset.unwrap(),
            _ => panic!("{message}"),
        }
    }

    fn event(&mut self, message: &Value, offset: u64, event: &Value) {
        let name = message["room"].as_str().unwrap();
        let filtered = self.rooms.iter().any(|(room, condition)| room == name && condition.is_some());
        let position = self.position(message);
        assert!(
            if filtered { offset > position.1 } else { offset == position.1 + 1 },
            "{offset} after {position:?}"
        );
        position.1 = offset;
        self.had.entry(name.to_owned()).or_default().push(event["n"].as_u64().unwrap());
    }

    fn position(&mut self, message: &Value) -> &mut (String, u64) {
        self.positions.get_mut(message["room"].as_str().unwrap()).unwrap()
    }

    /// The numbers below `last` that belong into a room.
    fn expected(&self, index: usize, last: u64) -> Vec<u64> {
        let (name, condition) = &self.rooms[index];
        let agent = name.strip_prefix("agent:");
        let belongs = |n: &u64| match agent {
            Some("nobody") => false,
            Some(agent) => (n % 3).to_string() == agent,
            None => condition.is_none() || n % 3 == 1,
        };
        (0..last).filter(belongs).collect()
    }

    fn is_done(&self, last: u64) -> bool {
        let has = |index: usize| self.had.get(&self.rooms[index].0).map_or(0, Vec::len);
        (0..self.rooms.len()).all(|index| has(index) >= self.expected(index, last).len())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_restarts_under_load_lose_nothing_and_double_nothing() {
    let mut server = Server::start(LOADED);
    let addrs = |server: &Server| (server.clients[0].clone(), server.ingest[0].clone());
    let (moved, at) = watch::channel(addrs(&server));
    let (last, known) = watch::channel(None);
    let ends = Arc::new(AtomicBool::new(false));
    let (accepting, mut flowing) = watch::channel(0);
    let producers = (at.clone(), Arc::clone(&ends), accepting);
    let producer = std::thread::spawn(move || produce(&producers.0, &producers.1, &producers.2));
    let everything = [("all", None), ("batches", None), ("agent:1", None), ("agent:nobody", None)];
    let mut followers: Vec<_> = (0..6).map(|_| Follower::new(&everything)).collect();
    followers.push(Follower::new(&[("all", Some("agentId == '1'")), ("agent:2", None)]));
    let following: Vec<_> = followers
        .into_iter()
        .map(|follower| tokio::spawn(follower.follow(at.clone(), known.clone())))
        .collect();
    let mut told = Vec::new();
    for _ in 0..RESTARTS {
        let before = *flowing.borrow_and_update();
        let flows = flowing.wait_for(|accepted| *accepted >= before + 200);
        drop(tokio::time::timeout(DEADLINE, flows).await.expect("events flow").unwrap());
        server.signal(Signal::SIGTERM);
        told.push(server.logged("rooms are kept for the next start"));
        assert!(server.wait().success());
        server = server.start_again();
        moved.send_replace(addrs(&server));
    }
    ends.store(true, Ordering::Relaxed);
    let accepted = producer.join().unwrap();
    last.send_replace(Some(accepted));
    for following in following {
        let follower = following.await.unwrap();
        for (index, (name, _)) in follower.rooms.iter().enumerate() {
            let had = follower.had.get(name).cloned().unwrap_or_default();
            assert!(had == follower.expected(index, accepted), "{name}: {} of {accepted}", had.len());
        }
        assert!(follower.connections > RESTARTS / 10, "it came back {} times", follower.connections);
    }
    assert!(accepted > 20 * RESTARTS as u64, "{accepted}");
    server.logged("rooms go on where they were");
    println!("{accepted} events over {RESTARTS} restarts; the last was {}", told.last().unwrap());
}

/// What is in the state directory.
fn state(server: &Server) -> Vec<PathBuf> {
    let folder = server.dir().join("state/broadcastd");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort_unstable();
    files
}

/// The file that rooms are kept in, if it is there.
fn kept(server: &Server) -> Option<PathBuf> {
    let mut files = state(server);
    files.retain(|file| file.extension().is_none());
    files.pop()
}

/// Stops a daemon, and leaves its folder.
fn stop(server: &mut Server) {
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
}

async fn position(server: &Server, room: &str) -> (String, u64) {
    let mut client = Client::connect(server).await;
    let answer = client.subscribe(room).await;
    (answer["epoch"].as_str().unwrap().to_owned(), answer["head"].as_u64().unwrap())
}

#[tokio::test]
async fn the_file_is_this_users_alone_and_there_between_two_processes_only() {
    let mut server = Server::start(ROOMS);
    server.publish("1", 1, 5);
    let (epoch, _) = position(&server, "all").await;
    assert_eq!(kept(&server), None);
    stop(&mut server);
    let file = kept(&server).expect("rooms are kept");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(state(&server).len(), 2, "it and its lock: {:?}", state(&server));
    let server = server.start_again();
    assert_eq!(position(&server, "all").await, (epoch, 5));
    assert_eq!(kept(&server), None, "it is gone before anybody is served");
}

#[tokio::test]
async fn after_a_crash_nothing_is_revived() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 5);
    let (epoch, _) = position(&server, "all").await;
    let server = server.restart();
    assert_eq!(position(&server, "all").await, (epoch.clone(), 5));
    server.publish("1", 6, 5);
    server.signal(Signal::SIGKILL);
    let mut server = server.start_again();
    let (other, head) = position(&server, "all").await;
    assert!(other != epoch && head == 0);
    // A second signal is as good as a crash: nobody knows what was finished.
    let _producer = crate::harness::Producer::connect(&server.ingest[0]);
    server.until_metric("broadcastd_producers", |producers| producers == 1.0);
    server.signal(Signal::SIGTERM);
    server.logged("a second signal ends at once");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(1));
    assert_eq!(kept(&server), None);
}

#[tokio::test]
async fn a_killed_daemon_never_resumes_positions_of_an_earlier_log() {
    let mut server = Server::start(ROOMS);
    let mut earlier: Vec<String> = Vec::new();
    for _ in 0..4 {
        server.publish("1", 1, 5);
        let (epoch, head) = position(&server, "all").await;
        assert_eq!(head, 5);
        let minutes = |ms: u128| ms / 60_000;
        let of_epoch = minutes(u128::from(u64::from_str_radix(&epoch, 16).unwrap() >> 20));
        let now = minutes(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
        assert!(of_epoch.abs_diff(now) > 1, "{epoch} comes from the clock, which may show a time again");
        let mut client = Client::connect(&server).await;
        for before in &earlier {
            let after = format!("{before}:3");
            let answer = client.subscribe(json!({ "room": "all", "from": { "after": after } })).await;
            assert_eq!((answer.get("resumed"), &answer["offset"]), (None, &json!(0)), "{answer}");
            assert_eq!(client.wait_for("gap").await["reason"], "epoch_changed");
        }
        earlier.push(epoch);
        server.signal(Signal::SIGKILL);
        server = server.start_again();
    }
}

#[tokio::test]
async fn what_is_of_no_use_is_refused_and_said_once() {
    let damage = |file: &std::path::Path| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    };
    let open =
        |file: &std::path::Path| std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
    let other = |file: &std::path::Path| std::fs::write(file, "something else").unwrap();
    let linked = |file: &std::path::Path| {
        let elsewhere = file.with_extension("elsewhere");
        std::fs::rename(file, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, file).unwrap();
    };
    let given = |file: &std::path::Path| std::os::unix::fs::chown(file, Some(12_345), None).unwrap();
    type Spoil<'a> = &'a dyn Fn(&std::path::Path);
    let mut cases: Vec<(Spoil<'_>, &str)> = vec![
        (&damage, "it is damaged"),
        (&open, "mode 0644"),
        (&other, "no file of broadcastd's"),
        (&linked, "symbolic link"),
    ];
    if nix::unistd::geteuid().is_root() {
        cases.push((&given, "user 12345"));
    }
    let mut server = Server::start(ROOMS);
    for (spoil, why) in cases {
        server.publish("1", 1, 3);
        let (epoch, _) = position(&server, "all").await;
        stop(&mut server);
        let file = kept(&server).unwrap();
        spoil(&file);
        server = server.start_again();
        let line = server.logged("rooms begin anew");
        assert!(line.contains(why), "{line}");
        assert!(std::fs::symlink_metadata(&file).is_err(), "{why}: it is gone");
        let (other, head) = position(&server, "all").await;
        assert!(other != epoch && head == 0, "{why}");
    }
}

#[tokio::test]
async fn a_changed_configuration_is_followed_over_a_restart() {
    let server = Server::start(&format!("{ROOMS}[rooms.gone]\ntypes = [\"*\"]\n"));
    server.publish("1", 1, 10);
    let (all, _) = position(&server, "all").await;
    let (gone, _) = position(&server, "gone").await;
    let fewer = "[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 4 }\n";
    std::fs::write(server.config(), fewer).unwrap();
    let server = server.restart();
    let mut client = Client::connect(&server).await;
    let answer = client.subscribe(json!({ "room": "all", "from": { "after": format!("{all}:3") } })).await;
    assert_eq!((&answer["epoch"], &answer["head"]), (&json!(all), &json!(10)));
    let gap = client.next().await;
    assert_eq!(
        (&gap["first"], &gap["offset"], &gap["reason"]),
        (&json!(4), &json!(6), &json!("history_expired"))
    );
    assert_eq!(client.events(4).await[0].0, 7);
    std::fs::write(server.config(), format!("{ROOMS}[rooms.gone]\ntypes = [\"*\"]\n")).unwrap();
    let server = server.restart();
    assert_ne!(position(&server, "gone").await.0, gone, "what was gone comes back as another log");
    assert_eq!(position(&server, "all").await, (all.clone(), 10));
    std::fs::write(server.config(), format!("[server]\nkeep_on_restart = false\n{ROOMS}")).unwrap();
    let mut server = server.restart();
    assert_ne!(position(&server, "all").await.0, all);
    assert_eq!(kept(&server), None, "what was there was taken away");
    stop(&mut server);
    assert_eq!(kept(&server), None);
    // As a reload has it, which needs no restart.
    let server = server.start_again();
    server.publish("1", 1, 1);
    let (epoch, _) = position(&server, "all").await;
    server.reconfigure(ROOMS);
    let server = server.restart();
    assert_eq!(position(&server, "all").await, (epoch, 1));
}

#[tokio::test]
async fn two_daemons_of_one_configuration_do_not_share_rooms() {
    let mut server = Server::start(ROOMS);
    server.publish("1", 1, 5);
    let before = position(&server, "all").await;
    let mut command = Server::command_in(server.dir(), ROOMS, &[]);
    command.stdin(std::process::Stdio::null());
    let mut second = Server::spawn((command, tempfile::tempdir().unwrap()));
    let line = second.logged("rooms will not be kept over a restart");
    assert!(line.contains("another daemon with this configuration"), "{line}");
    second.publish("1", 1, 2);
    second.signal(Signal::SIGTERM);
    second.logged("rooms are not kept for the next start");
    assert!(second.wait().success());
    assert_eq!(kept(&server), None);
    stop(&mut server);
    let server = server.start_again();
    assert_eq!(position(&server, "all").await, before);
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_nobody_the_rooms() {
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"600ms\"\n{ROOMS}"));
    let mut stalled = Client::connect(&server).await;
    stalled.subscribe("all").await;
    // More than the kernel takes for it.
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    let before = position(&server, "all").await;
    stop(&mut server);
    server.logged("rooms are kept for the next start");
    let server = server.start_again();
    assert_eq!(position(&server, "all").await, before);
}

#[test]
fn a_folder_that_cannot_be_used_costs_nothing_but_the_rooms() {
    let (mut command, dir) = Server::command(ROOMS, &[]);
    std::fs::write(dir.path().join("file"), "").unwrap();
    command.env("XDG_STATE_HOME", dir.path().join("file")).stdin(std::process::Stdio::null());
    let mut server = Server::spawn((command, dir));
    server.logged("rooms will not be kept over a restart");
    server.publish("1", 1, 1);
    let (status, _) = http(
        &server.admin[0],
        b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(status, 200);
    stop(&mut server);
}
