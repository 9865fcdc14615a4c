//! Under systemd: units that it understands and likes, and the daemon's word to it, heard by playing systemd.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, binary, in_folder, repository};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn unit(name: &str) -> String {
    std::fs::read_to_string(repository("systemd").join(name)).unwrap()
}

/// The service with drop-ins, as systemd puts them together.
fn service(drop_ins: &[&str]) -> String {
    let mut text = unit("broadcastd.service").replace("/usr/bin/broadcastd", binary());
    for name in drop_ins {
        let drop_in = unit(&format!("drop-ins/{name}"));
        let section = drop_in.split("[Service]").nth(1).unwrap();
        text = text.replace("[Install]", &format!("{section}\n[Install]"));
    }
    text
}

#[test]
fn systemd_understands_every_unit() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for name in [
        "broadcastd.service",
        "broadcastd-clients.socket",
        "broadcastd-admin.socket",
        "broadcastd-ingest.socket",
    ] {
        let text = if name == "broadcastd.service" { service(&[]) } else { unit(name) };
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    let drop_ins = folder.path().join("broadcastd.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    for name in ["sockets.conf", "system-metrics.conf", "reachable.conf"] {
        let text = unit(&format!("drop-ins/{name}")).replace("/usr/bin/broadcastd", binary());
        std::fs::write(drop_ins.join(name), text).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&files)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output()
        .unwrap();
    // It says nothing of what it likes, and exits 0 whatever it does not know.
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "");
    assert!(output.status.success());
}

#[test]
fn the_service_is_exposed_to_little() {
    let folder = tempfile::tempdir().unwrap();
    let score = |name: &str, drop_ins: &[&str]| -> f64 {
        let file = folder.path().join(format!("{name}.service"));
        std::fs::write(&file, service(drop_ins)).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", "--threshold=100"]).arg(&file);
        let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("Overall exposure level")).expect("a score");
        line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let (alone, sockets) = (score("alone", &[]), score("sockets", &["sockets.conf"]));
    assert!(alone <= 1.0, "{alone}");
    assert!(sockets <= 0.4, "{sockets}");
    let metrics = score("metrics", &["system-metrics.conf"]);
    assert!(metrics <= 1.3, "{metrics}");
    let documented = std::fs::read_to_string(repository("docs/operations.md")).unwrap();
    for (name, score) in [("alone", alone), ("sockets", sockets), ("metrics", metrics)] {
        assert!(
            documented.contains(&format!("| {score:.1} |")),
            "{name}: {score} is not in docs/operations.md"
        );
    }
}

/// A daemon that is told to talk to systemd, and what systemd hears.
fn notified(environment: &[(&str, &str)]) -> (Server, UnixDatagram) {
    let (mut command, dir) = Server::command(ROOMS, &[]);
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    command.env("NOTIFY_SOCKET", &path).envs(environment.iter().copied()).stdin(Stdio::null());
    (Server::spawn((command, dir)), socket)
}

/// Hears on until a text comes; what was heard on the way.
fn hear(socket: &UnixDatagram, text: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let len = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{error}: {text} was not among {heard:?}"));
        heard.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        if heard.last().unwrap().contains(text) {
            return heard;
        }
    }
}

#[test]
fn readiness_reloads_and_the_end_are_told() {
    let (mut server, systemd) = notified(&[]);
    let heard = hear(&systemd, "READY=1");
    assert!(heard.last().unwrap().contains("STATUS=serving"));
    // Told by another thread, before or after.
    if !heard.iter().any(|told| told.contains("STATUS=serving 0 clients in ")) {
        hear(&systemd, "STATUS=serving 0 clients in ");
    }
    server.signal(Signal::SIGHUP);
    let told = hear(&systemd, "RELOADING=1");
    assert!(told.last().unwrap().contains("MONOTONIC_USEC="), "{told:?}");
    hear(&systemd, "READY=1");
    std::fs::write(server.config(), "nonsense").unwrap();
    server.signal(Signal::SIGHUP);
    hear(&systemd, "RELOADING=1");
    hear(
        &systemd,
        &format!("STATUS=serving; the newest configuration is refused: {}:1:", server.config().display()),
    );
    server.signal(Signal::SIGTERM);
    hear(&systemd, "STOPPING=1");
    assert!(server.wait().success());
}

#[test]
fn readiness_reaches_an_abstract_notify_socket() {
    let (mut command, dir) = Server::command(ROOMS, &[]);
    let name = format!("broadcastd-test-{}", dir.path().file_name().unwrap().to_str().unwrap());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    command.env("NOTIFY_SOCKET", format!("@{name}")).stdin(Stdio::null());
    let _server = Server::spawn((command, dir));
    let heard = hear(&socket, "READY=1");
    assert!(heard.last().unwrap().contains("STATUS=serving"), "{heard:?}");
}

#[test]
fn the_watchdog_hears_of_threads_that_turn() {
    let (_server, systemd) = notified(&[("WATCHDOG_USEC", "4000000")]);
    for _ in 0..2 {
        hear(&systemd, "WATCHDOG=1");
    }
}

/// A thread of the daemon, stopped as a debugger stops it; the others go on. It goes on when this is dropped.
pub struct Stopped(Pid);

impl Stopped {
    pub fn new(server: &Server, name: &str) -> Stopped {
        // A thread gives itself its name.
        let until = Instant::now() + DEADLINE;
        let thread = loop {
            match Stopped::find(server, name) {
                Some(thread) => break thread,
                None => assert!(Instant::now() < until, "there is no {name}"),
            }
        };
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        let status = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(status, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)), "{status:?}");
        Stopped(thread)
    }

    fn find(server: &Server, name: &str) -> Option<Pid> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let mut tasks = tasks.map(|task| task.unwrap().path());
        let is_it = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.find(is_it)?;
        Some(Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap()))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that was ended meanwhile is waited for, or its process would never be gone.
        if ptrace::detach(self.0, None).is_err() {
            let _ = waitpid(self.0, Some(WaitPidFlag::__WALL));
        }
    }
}

#[test]
fn the_watchdog_hears_nothing_while_one_thread_is_stuck() {
    let (server, systemd) = notified(&[("WATCHDOG_USEC", "2000000")]);
    for _ in 0..2 {
        hear(&systemd, "WATCHDOG=1");
    }
    let stuck = Stopped::new(&server, "shard-0");
    // What was said before nobody has heard yet.
    systemd.set_nonblocking(true).unwrap();
    while systemd.recv(&mut [0; 4096]).is_ok() {}
    systemd.set_nonblocking(false).unwrap();
    // For five seconds it might only be slow: with a beat each second, some more are said. Then nothing is.
    systemd.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let (mut beats, mut buffer) = (0, [0; 4096]);
    while let Ok(len) = systemd.recv(&mut buffer) {
        beats += usize::from(buffer[..len].starts_with(b"WATCHDOG=1"));
        assert!(beats <= 9, "it is told to be well for as long as it is asked");
    }
    let until = Instant::now() + DEADLINE;
    loop {
        let (status, body) = Server::get(&server.admin[0], "/api/v1/health");
        assert!(body.contains("thread shard-0 has not turned for "), "operators are told: {body}");
        if status == 503 {
            break;
        }
        assert!(Instant::now() < until, "it stays ready: {body}");
    }
    systemd.set_read_timeout(Some(DEADLINE)).unwrap();
    drop(stuck);
    hear(&systemd, "WATCHDOG=1");
}

#[test]
fn every_thread_that_hangs_is_named() {
    let stopped = ["shard-0", "ingest-0", "front", "clock", "reload"].map(|name| {
        let server = Server::start(ROOMS);
        let thread = Stopped::new(&server, name);
        (name, thread, server)
    });
    let until = Instant::now() + DEADLINE;
    for (name, _, server) in &stopped {
        let reason = format!("thread {name} has not turned for ");
        loop {
            let (status, health) = Server::get(&server.admin[0], "/api/v1/health");
            if health.contains(&reason) {
                assert!(status == 503 || health.contains("\"degraded\""), "{health}");
                break;
            }
            assert!(Instant::now() < until, "{name}: {health}");
        }
    }
}

/// Starts the daemon with sockets as systemd passes them: from descriptor 3 on, with their names.
fn activated(config: &str, sockets: &[(&str, &dyn AsFd)]) -> Server {
    let (plain, dir) = Server::command(config, &[]);
    let mut script = String::new();
    let mut names = Vec::new();
    for (index, (name, socket)) in sockets.iter().enumerate() {
        let descriptor = socket.as_fd().as_raw_fd();
        // Inherited, which nothing is by default.
        nix::fcntl::fcntl(socket.as_fd(), nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
            .unwrap();
        script += &format!("exec {}<&{descriptor}; ", 100 + index);
        names.push(*name);
    }
    for index in 0..sockets.len() {
        script += &format!("exec {}<&{}; exec {}<&-; ", 3 + index, 100 + index, 100 + index);
    }
    script += &format!(
        "export LISTEN_FDS={} LISTEN_FDNAMES={} LISTEN_PID=$$; exec \"$0\" \"$@\"",
        sockets.len(),
        names.join(":")
    );
    let mut command = Command::new("bash");
    // The configuration alone names listeners here.
    let arguments: Vec<_> = plain.get_args().map(std::ffi::OsStr::to_owned).collect();
    let own = arguments.iter().take(2);
    command.args(["-c", &script]).arg(plain.get_program()).args(own);
    command.args(["--set", "sources.alerts.enabled=false", "--set", "sources.system.every=off"]);
    in_folder(&mut command, dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Server::spawn((command, dir))
}

#[tokio::test]
async fn sockets_of_systemd_are_used_and_outlive_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (clients, admin, ingest) = (bind(), bind(), bind());
    let unix = UnixListener::bind(folder.path().join("in.sock")).unwrap();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:1\"]\n[ingest]\nlisten = [{{ tcp = \"{}\", type_field = \"kind\" }}, {{ fifo = \"in.fifo\" }}]\n{ROOMS}",
        ingest.local_addr().unwrap()
    );
    let sockets: [(&str, &dyn AsFd); 4] =
        [("clients", &clients), ("admin", &admin), ("ingest", &ingest), ("ingest", &unix)];
    let mut server = activated(&config, &sockets);
    assert_eq!(server.clients, [clients.local_addr().unwrap().to_string()]);
    assert_eq!(server.ingest.len(), 3, "two of systemd's, and the pipe: {:?}", server.ingest);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("{\"kind\":\"t\",\"n\":1}\n");
    assert_eq!(producer.finish().last().unwrap()["accepted"], 1, "the configuration's keys hold");
    let mut producer = Producer::connect(&server.ingest[1]);
    producer.write("{\"type\":\"t\",\"n\":2}\n");
    assert_eq!(producer.finish().last().unwrap()["accepted"], 1);
    assert_eq!(client.events(2).await.len(), 2);

    // A listener cannot be changed by a reload; everything else can.
    std::fs::write(server.config(), config.replace("127.0.0.1:1\"", "127.0.0.1:2\"")).unwrap();
    let (status, answer) = server.reload("");
    assert_eq!(status, 422);
    let report = answer["report"].as_str().unwrap();
    assert!(
        report.contains("`server.listen` cannot be changed while its sockets come from systemd"),
        "{report}"
    );
    server.reconfigure(&format!("{config}[limits]\nclients = 7\n"));

    // A restart: who connects while nobody is there waits, and is served.
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(folder.path().join("in.sock").exists(), "systemd's file is systemd's");
    let mut waiting = Producer::connect(&ingest.local_addr().unwrap().to_string());
    waiting.write("{\"kind\":\"t\",\"n\":3}\n");
    let server = activated(&config, &sockets);
    assert_eq!(waiting.finish().last().unwrap()["accepted"], 1);
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "all", "from": "start" })).await;
    assert_eq!(client.events(1).await[0].1["n"], 3);
}

/// Posts an event again and again until it is told to end, on one connection or each on its own. A connection that an answer
/// closes is followed by another. Returns how many were accepted.
fn post_on(addr: &str, is_kept: bool, ends: &AtomicBool) -> u64 {
    let (mut accepted, mut open) = (0, None);
    let header = if is_kept { "" } else { "Connection: close\r\n" };
    let body = r#"{"type":"t"}"#;
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    while !ends.load(Ordering::Relaxed) {
        let mut producer = open.take().unwrap_or_else(|| Producer::connect(addr));
        producer.write(&request);
        let answer = producer.read_until(|text| text.contains("\"accepted\":1"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        accepted += 1;
        open = (!answer.contains("connection: close")).then_some(producer);
    }
    accepted
}

#[test]
fn restarts_with_sockets_of_systemd_refuse_and_cut_no_request() {
    let ingest = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = ingest.local_addr().unwrap().to_string();
    let config = format!("[ingest]\nlisten = [\"{addr}\"]\n{ROOMS}");
    let sockets: [(&str, &dyn AsFd); 1] = [("ingest", &ingest)];
    let mut server = activated(&config, &sockets);
    let ends = Arc::new(AtomicBool::new(false));
    let producers = [true, false, true, false].map(|is_kept| {
        let (addr, ends) = (addr.clone(), ends.clone());
        std::thread::spawn(move || post_on(&addr, is_kept, &ends))
    });
    for _ in 0..4 {
        server.until_metric("broadcastd_ingest_events_total", |events| events > 50.0);
        server.signal(Signal::SIGTERM);
        assert!(server.wait().success());
        server = activated(&config, &sockets);
    }
    ends.store(true, Ordering::Relaxed);
    let accepted: u64 = producers.map(|producer| producer.join().unwrap()).into_iter().sum();
    assert!(accepted > 200, "{accepted}");
}

#[test]
fn a_socket_of_an_unknown_name_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::fcntl::fcntl(listener.as_fd(), nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let script = format!(
        "exec 3<&{}; export LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID=$$; exec \"$0\"",
        listener.as_raw_fd()
    );
    let output = Command::new("bash").args(["-c", &script, binary()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("\"web\"") && text.contains("clients, admin or ingest"), "{text}");
}
