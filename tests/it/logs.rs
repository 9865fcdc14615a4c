//! The log: how it looks, how much it says, and its level while the daemon runs.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, collect_lines, http, undisturbed};
use crate::systemd::Stopped;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_line_is_an_object_where_json_is_wanted() {
    let server = Server::start(&format!("[log]\nformat = \"json\"\n{ROOMS}"));
    server.pipe("bad\n");
    let line: Value = serde_json::from_str(&server.logged("line refused")).unwrap();
    assert_eq!(
        (&line["level"], &line["line"], &line["code"]),
        (&"WARN".into(), &1.into(), &"bad_json".into())
    );
    assert!(line["timestamp"].is_string() && line["producer"].is_string(), "{line}");
}

#[test]
fn control_characters_of_producers_never_reach_the_log() {
    let server = Server::start(ROOMS);
    let hostile = "\x1b]0;title\x07 \u{9b}31m \r2026 ERROR forged \u{202e}txt.exe";
    server.pipe(&format!("{{\"type\":\"{hostile}\"}}\n{hostile}\n"));
    let (first, second) = (server.logged("line refused"), server.logged("line refused"));
    for line in [first, second] {
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(line.contains("\\u{1b}]0;title\\u{7} \\u{9b}31m \\r2026"), "{line}");
        assert!(!line.contains("path= ") && !line.contains("=\"\""), "no field without a value: {line}");
    }
}

#[test]
fn a_listener_reload_is_one_short_line() {
    let with = |list: &str| format!("[ingest]\nlisten = [{list}]\n{ROOMS}");
    let server = Server::start(&with("\"127.0.0.1:0\""));
    server.reconfigure(&with("\"127.0.0.1:0\", { unix = \"in.sock\" }"));
    let path = server.dir().join("broadcastd/in.sock");
    let line = server.logged("configuration reloaded");
    assert!(line.contains(&format!("ingest.listen +unix:{}", path.display())), "{line}");
    assert!(!line.contains("type_field") && !line.contains("tcp:"), "{line}");
}

#[tokio::test]
async fn the_level_follows_the_configuration() {
    let server = Server::start(ROOMS);
    let connect = || Producer::connect(&server.clients[0]).write("GET / HT");
    server.reconfigure(&format!("[log]\nlevel = \"debug\"\n{ROOMS}"));
    server.logged("configuration reloaded");
    connect();
    server.logged("DEBUG");
    server.reconfigure(&format!("[log]\nlevel = \"error\"\n{ROOMS}"));
    server.pipe("bad\n");
    server.reconfigure(ROOMS);
    server.pipe("bad\n");
    assert!(server.logged("WARN").contains("line refused"));
    assert_eq!(server.metric("broadcastd_ingest_rejected_total"), 2.0);
    std::fs::write(server.config(), format!("[log]\nformat = \"json\"\n{ROOMS}")).unwrap();
    assert!(server.reload("").1["report"].as_str().unwrap().contains("`log.format` cannot be changed"));
}

#[tokio::test]
async fn a_slow_client_is_named_once_and_a_good_day_is_a_few_lines() {
    let server = Server::start(&format!("[server]\nheartbeat = \"2s\"\n{ROOMS}"));
    let mut slow = Client::connect(&server).await;
    slow.subscribe("all").await;
    let mut other = Client::connect(&server).await;
    other.subscribe("agent:1").await;
    server.publish("1", 1, 1000);
    other.events(1000).await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    let named = server.logged("client reads too slowly");
    assert!(named.contains("address=\"127.0.0.1\"") && named.contains("client="), "{named}");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    drop((slow, other));
    server.logged("stopped: ");
    let server = Server::start(ROOMS);
    for _ in 0..50 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        server.publish("1", 1, 10);
    }
    let log = server.log();
    assert!(log.lines().count() <= 5, "{log}");
}

/// Requests of which the log says a line each at `debug`: more than its queue and a pipe hold.
const FLOOD: usize = 6_000;
const DEBUG: &str = "[log]\nlevel = \"debug\"\n";

/// Tries everything that logs, with a log that nobody reads: events arrive, pages are refused, reloads and stopping work.
async fn a_day_without_a_reader(server: &Server) {
    let mut client = Client::connect(server).await;
    client.subscribe("agent:1").await;
    let mut producer = Producer::connect(&server.ingest[0]);
    for _ in 0..FLOOD / 100 {
        producer.write(&"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100));
        producer.read_until(|text| text.matches("HTTP/1.1 404").count() == 100);
    }
    drop(producer);
    assert_eq!(server.pipe("bad\n").last().unwrap()["rejected"], 1);
    server.publish("1", 1, 10);
    client.events(10).await;
    let page = "GET /ws HTTP/1.1\r\nHost: localhost\r\nOrigin: http://elsewhere.example\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(http(&server.clients[0], page.as_bytes()).0, 403);
    Client::connect(server).await;
    assert_eq!(server.reload("").0, 200);
    assert!(server.metric("broadcastd_log_dropped_total") > 0.0);
}

#[tokio::test]
async fn a_standard_error_that_nobody_reads_holds_nothing_up() {
    let (mut command, dir) = Server::command(&format!("{DEBUG}{ROOMS}"), &[]);
    let (unread, stderr) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stderr(stderr);
    let mut server = Server::spawn((command, dir));
    a_day_without_a_reader(&server).await;
    // It is read again: what was lost is reported once, and no line is cut.
    let lines = collect_lines(unread);
    let until = Instant::now() + DEADLINE;
    let said = loop {
        let line = lines.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap();
        if line.contains("the log lost lines") {
            break line;
        }
        assert!(line.starts_with("20") && !line.contains('\0'), "{line}");
    };
    let lost: f64 = said.rsplit_once("lines=").unwrap().1.trim().parse().unwrap();
    assert_eq!(lost, server.metric("broadcastd_log_dropped_total"));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(lines.iter().last().unwrap().contains("stopped: "), "the last lines are written");
}

#[tokio::test]
async fn stopping_waits_for_no_reader_of_the_log() {
    let (mut command, dir) = Server::command(&format!("{DEBUG}{ROOMS}"), &[]);
    let (_unread, stderr) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stderr(stderr);
    let mut server = Server::spawn((command, dir));
    a_day_without_a_reader(&server).await;
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_journal_that_does_not_read_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let unread = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    let place = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
    let journal = folder.path().to_str().unwrap();
    let arguments = ["--mount", "--propagation", "private", "sh", "-c", place, journal];
    let config = format!("{DEBUG}format = \"journald\"\n{ROOMS}");
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        writeln!(std::io::stderr(), "a journal that does not read: skipped: no mount namespace here")
            .unwrap();
        return;
    }
    let mut server = Server::spawn(Server::command_within("unshare", &arguments, &config));
    a_day_without_a_reader(&server).await;
    let mut entry = [0; 4096];
    let read = unread.recv(&mut entry).unwrap();
    assert!(
        String::from_utf8_lossy(&entry[..read]).is_empty(),
        "the first entry only asks whether a journal listens"
    );
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
}

#[tokio::test]
async fn last_lines_are_written_by_a_thread_that_had_to_wait() {
    undisturbed(async || last_lines()).await;
}

/// An error if the log's thread was held for longer than the daemon waits for it.
fn last_lines() -> Result<(), String> {
    let mut server = Server::start(ROOMS);
    let log = Stopped::new(&server, "log");
    let begun = Instant::now();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    // As a busy machine may hold a thread.
    std::thread::sleep(Duration::from_millis(400));
    drop(log);
    if begun.elapsed() > Duration::from_millis(800) {
        return Err(format!("the thread was held for {:?}", begun.elapsed()));
    }
    assert!(server.wait().success());
    server.logged("stopped: everything that was accepted is delivered");
    Ok(())
}

/// A journal of systemd's own, alone in a mount namespace with a `/run` of its own. Killed when dropped, by its process id.
struct Journal(Child);

impl Journal {
    const DAEMON: &str = "/lib/systemd/systemd-journald";

    /// None where it cannot run: that takes root, namespaces and systemd's files.
    fn start() -> Option<Journal> {
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/log /run/systemd/journal && exec {}",
            Journal::DAEMON
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut journal = Journal(command.spawn().ok()?);
        let socket = PathBuf::from(format!("/proc/{}/root/run/systemd/journal/socket", journal.0.id()));
        let until = Instant::now() + DEADLINE;
        while !socket.exists() || !journal.is_itself() {
            if journal.0.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < until, "{} makes no socket", Journal::DAEMON);
            std::thread::yield_now();
        }
        Some(journal)
    }

    /// Whether it has a `/run` of its own yet: before that the path leads to the machine's.
    fn is_itself(&self) -> bool {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", self.0.id()));
        comm.is_ok_and(|comm| comm.trim() == "systemd-journal")
    }

    /// A command in its namespace.
    fn beside(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.0.id())).args(["--mount", "--"]).arg(program);
        command
    }

    /// The first entry with a message.
    fn entry(&self, message: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let mut command = self.beside("journalctl".as_ref());
            command.args(["--no-pager", "--output=json", "SYSLOG_IDENTIFIER=broadcastd"]);
            let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
            let entries = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            if let Some(entry) = entries.into_iter().find(|entry| entry["MESSAGE"] == message) {
                return entry;
            }
            assert!(Instant::now() < until, "{message:?} is not in the journal:\n{said}");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_journal_has_every_field() {
    let Some(journal) = Journal::start() else {
        // Not through println!, which a test that passes shows to nobody.
        writeln!(std::io::stderr(), "a real journal: skipped: {} cannot run here", Journal::DAEMON).unwrap();
        return;
    };
    let (plain, dir) = Server::command(&format!("[log]\nformat = \"journald\"\n{ROOMS}"), &[]);
    let mut command = journal.beside(plain.get_program());
    command.args(plain.get_args()).env("XDG_RUNTIME_DIR", dir.path()).env_remove("RUNTIME_DIRECTORY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = Server::spawn((command, dir));
    server.pipe("bad\n");
    let entry = journal.entry("line refused");
    for (field, value) in [("CODE", "bad_json"), ("LINE", "1"), ("EXCERPT", "bad"), ("PRIORITY", "4")] {
        assert_eq!(entry[field], value, "{field} of {entry}");
    }
    assert_eq!(entry["_PID"], json!(server.pid().to_string()));
    assert!(entry["PRODUCER"].as_str().unwrap().starts_with("127.0.0.1:"), "{entry}");
    std::fs::write(server.config(), "[limits]\nclients = 0\n").unwrap();
    assert_eq!(server.reload("").0, 422);
    let entry = journal.entry("configuration refused: the one in force stays");
    assert_eq!((&entry["PRIORITY"], &entry["CAUSE"]), (&json!("3"), &json!("api")), "{entry}");
    assert!(entry["PROBLEMS"].as_str().unwrap().contains("limits.clients"), "{entry}");
    assert_eq!(server.log(), "", "and nothing goes to standard error");
}
