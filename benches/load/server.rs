//! The process under load: broadcastd with a configuration of the load's, or the floor.

use crate::meanwhile::{Doing, Meanwhile};
use crate::measure::{Counter, Memory};
use crate::options::{Options, ServerPlan};
use crate::{Outcome, isolate};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use std::{fs, thread};
use tempfile::TempDir;

/// How long it may take to start, and to stop.
const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(5);

/// A running process, its core, and where it listens. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) pid: Pid,
    /// What counts its instructions.
    pub(crate) counter: Counter,
    pub(crate) clients: SocketAddr,
    pub(crate) ingest: SocketAddr,
    admin: Option<SocketAddr>,
    /// Holds the configuration and the log; removed with the server.
    dir: TempDir,
}

/// The daemon's counters and gauges, as scraped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape(String);

impl Server {
    /// Starts broadcastd on its cores.
    pub(crate) fn daemon(options: &Options, plan: &ServerPlan) -> Outcome<Server> {
        let dir = TempDir::new()?;
        let config = dir.path().join("broadcast.toml");
        fs::write(&config, config_text(plan))?;
        let mut command = Command::new(&options.daemon);
        command
            .args(["serve", "--config"])
            .arg(&config)
            .current_dir(dir.path())
            .env("XDG_STATE_HOME", dir.path());
        Server::start(command, dir, options)
    }

    /// Starts the floor: `joined` frames of `frame_bytes` in one send to each client.
    pub(crate) fn floor(options: &Options, joined: usize, frame_bytes: usize) -> Outcome<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--floor-joined", &joined.to_string(), "--floor-frame", &frame_bytes.to_string()]);
        Server::start(command, TempDir::new()?, options)
    }

    fn start(mut command: Command, dir: TempDir, options: &Options) -> Outcome<Server> {
        let log = fs::File::create(dir.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        isolate::pin(&options.daemon_cores)?;
        let child = command.spawn();
        isolate::pin(&[options.load_core])?;
        let mut child = child.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        let counter = options.counter;
        let mut server = Server { child, pid, counter, clients: none, ingest: none, admin: None, dir };
        let lines = lines(stdout);
        server.read_addresses(&lines).map_err(|error| format!("{error}\n{}", server.log()))?;
        Ok(server)
    }

    fn read_addresses(&mut self, lines: &Receiver<String>) -> Outcome<()> {
        let deadline = Instant::now() + START;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).map_err(|_| "the server did not become ready")?;
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["listening", "clients", addr, ..] => self.clients = addr.parse()?,
                ["listening", "ingest", addr, ..] => self.ingest = addr.parse()?,
                ["listening", "admin", addr, ..] => self.admin = Some(addr.parse()?),
                ["ready", ..] => break,
                _ => {}
            }
        }
        if self.clients.port() == 0 || self.ingest.port() == 0 {
            return Err("the server is ready, and did not say where it listens".into());
        }
        Ok(())
    }

    /// Has something done to it over and over.
    pub(crate) fn meanwhile(&self, what: Option<Meanwhile>) -> Option<Doing> {
        let config = self.dir.path().join("broadcast.toml");
        let text = fs::read_to_string(&config).ok()?;
        Some(what?.begin(self.admin?, config, text))
    }

    pub(crate) fn memory(&self) -> Outcome<Memory> {
        Memory::of(self.pid)
    }

    /// What it wrote to its standard error, the end of it.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Reads `/metrics`; empty where there is none.
    pub(crate) fn scrape(&self) -> Scrape {
        self.admin.and_then(|addr| get_metrics(addr).ok()).unwrap_or_default()
    }

    /// Asks it to stop and waits for its end; an error when it fails or has to be killed.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        kill(self.pid, Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let expected = status.success() || self.admin.is_none();
                return if expected { Ok(()) } else { Err(format!("asked to stop, got {status}").into()) };
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("not stopped {STOP:?} after SIGTERM\n{}", self.log()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait()
            && !status.success()
            && self.admin.is_some()
        {
            eprintln!("load: the daemon ended with {status}\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scrape {
    /// The sum of a name's series; none where there is none.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// How much a counter grew since an earlier scrape.
    pub(crate) fn grown(&self, earlier: &Scrape, name: &str) -> Option<f64> {
        Some(self.sum(name)? - earlier.sum(name).unwrap_or(0.0))
    }
}

fn get_metrics(addr: SocketAddr) -> Outcome<Scrape> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(
        format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let ok = text.starts_with("HTTP/1.1 200");
    if ok { Ok(Scrape(text)) } else { Err("no metrics".into()) }
}

/// The lines of a pipe, read to its end so that its writer never waits.
fn lines(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = tx.try_send(line);
        }
    });
    rx
}

fn config_text(plan: &ServerPlan) -> String {
    let ServerPlan { shards, heartbeat, handshakes, history, backlog, when_full } = plan;
    let mut text = String::new();
    // Limits that are not under test are out of the way. Rooms are subscribed before they hold anything.
    let _ = write!(
        text,
        r#"
[server]
listen = ["127.0.0.1:0"]
shards = {shards}
heartbeat = "{heartbeat}"
handshakes = {handshakes}
watch = false
drain_timeout = "2s"

[admin]
listen = ["127.0.0.1:0"]

[ingest]
listen = [{{ tcp = "127.0.0.1:0", when_full = "{when_full}" }}]
backlog = "{backlog}"

[limits]
clients = 100000
rooms = 100000

[limits.client]
user_timeout = "120s"
messages = {{ rate = "10000/s", burst = 10000 }}
subscriptions = {{ rate = "10000/s", burst = 10000 }}

[sources.alerts]
enabled = false

[sources.system]
every = "off"

[room_defaults]
history = {{ events = {history}, age = "10m", bytes = "256MiB" }}

[rooms."load:{{room}}"]
types = ["load"]

[rooms.paced]
types = ["paced"]
key = "id"

[rooms.agent_states]
types = ["agent_state"]

[rooms."agent:{{agentId}}"]
types = ["agent_state"]
"#
    );
    text
}
