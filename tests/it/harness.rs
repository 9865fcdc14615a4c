//! What every test stands on: the real binary on port 0, producers, and an independent WebSocket client.
//!
//! Nothing sleeps to synchronise: readiness is a line the daemon prints, progress a message received. Every wait has a
//! deadline and says what it saw. No test depends on how fast it runs: a busy machine may stop any process for seconds.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

/// Ends a test that hangs. Far above what anything takes on a busy machine, so that no test fails for being slow.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Tries again what a machine that stalls can spoil. A fault of the daemon spoils every attempt.
pub async fn undisturbed<T>(mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                assert!(Instant::now() < until, "{error}");
                eprintln!("the machine may have stalled, once more: {error}");
            }
        }
    }
}

/// The binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_broadcastd")
}

/// Rooms of most tests.
pub const ROOMS: &str = r#"
[rooms.all]
types = ["*"]
[rooms."agent:{agentId}"]
types = ["*"]
"#;

/// A running daemon. Killed when dropped, by its own process id.
pub struct Server {
    child: Child,
    dir: TempDir,
    lines: Receiver<String>,
    /// `HOST:PORT` or `unix:PATH`, in the configuration's order.
    pub clients: Vec<String>,
    pub admin: Vec<String>,
    pub ingest: Vec<String>,
}

impl Server {
    /// Starts the daemon with a configuration. Listeners that it does not name are on port 0: write
    /// `[server]`, `[admin]` and `[ingest]` without `listen` unless the test is about listening.
    pub fn start(config: &str) -> Server {
        Server::start_with(config, &[])
    }

    /// The same with further arguments.
    pub fn start_with(config: &str, arguments: &[&str]) -> Server {
        let mut command = Server::command(config, arguments);
        command.0.stdin(Stdio::null());
        Server::spawn(command)
    }

    /// The command that `start_with` runs, with a temporary directory for its configuration and sockets.
    pub fn command(config: &str, arguments: &[&str]) -> (Command, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let command = Server::command_in(dir.path(), config, arguments);
        (command, dir)
    }

    /// The same in a folder that is there.
    pub fn command_in(dir: &Path, config: &str, arguments: &[&str]) -> Command {
        let path = dir.join("broadcast.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(binary());
        command.arg("--config").arg(&path);
        in_folder(&mut command, dir);
        let table: toml::Table = config.parse().unwrap();
        for section in ["server", "admin", "ingest"] {
            let listens = table.get(section).and_then(|section| section.get("listen")).is_some();
            if !listens {
                command.arg("--set").arg(format!("{section}.listen=[\"127.0.0.1:0\"]"));
            }
        }
        // A file that a test writes is taken up when the test asks for it; tests about watching name the key.
        if !config.contains("watch") {
            command.args(["--set", "server.watch=false"]);
        }
        // A test that is late is no client that is gone. Tests about these times name their keys.
        for (section, key, time) in [
            ("server", "heartbeat", "1h"),
            ("server", "handshake_timeout", "10m"),
            ("server", "drain_timeout", "2m"),
            ("limits.client", "user_timeout", "1h"),
        ] {
            if !config.contains(key) {
                command.args(["--set", &format!("{section}.{key}={time}")]);
            }
        }
        // Tests count what is in their rooms; those about what the daemon says of itself name [sources].
        if table.get("sources").is_none() {
            command.args(["--set", "sources.alerts.enabled=false", "--set", "sources.system.every=off"]);
        }
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The command as arguments of another program, which runs it in a place of its own or under limits.
    pub fn command_within(program: &str, arguments: &[&str], config: &str) -> (Command, TempDir) {
        let (plain, dir) = Server::command(config, &[]);
        let mut command = Command::new(program);
        command.args(arguments).arg(plain.get_program()).args(plain.get_args());
        in_folder(&mut command, dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command, dir)
    }

    /// Stops it and starts it anew with its file and folder; what it has on port 0 is elsewhere then.
    pub fn restart(mut self) -> Server {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(self.wait().success(), "{}", self.log());
        self.start_again()
    }

    /// Starts it anew after it has ended, with its file and folder.
    pub fn start_again(mut self) -> Server {
        self.wait();
        let folder = tempfile::tempdir().unwrap();
        let dir = std::mem::replace(&mut self.dir, folder);
        let config = std::fs::read_to_string(dir.path().join("broadcast.toml")).unwrap();
        let mut command = Server::command_in(dir.path(), &config, &[]);
        command.stdin(Stdio::null());
        Server::spawn((command, dir))
    }

    /// Runs a command made by [`command`](Self::command) until the daemon is ready.
    pub fn spawn((mut command, dir): (Command, TempDir)) -> Server {
        let mut child = command.spawn().unwrap();
        // A test that gave it another standard error has the log itself.
        let lines = child.stderr.take().map_or_else(|| sync_channel(1).1, collect_lines);
        let mut server =
            Server { child, dir, lines, clients: Vec::new(), admin: Vec::new(), ingest: Vec::new() };
        let mut stdout = BufReader::new(server.child.stdout.take().unwrap());
        let mut line = String::new();
        loop {
            line.clear();
            let len = stdout.read_line(&mut line).unwrap();
            assert!(len > 0, "the daemon ended before it was ready:\n{}", server.log());
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["ready"] => return server,
                ["listening", "clients", addr] => server.clients.push((*addr).to_owned()),
                ["listening", "admin", addr] => server.admin.push((*addr).to_owned()),
                ["listening", "ingest", addr] => server.ingest.push((*addr).to_owned()),
                _ => panic!("unexpected on standard output: {line}"),
            }
        }
    }

    /// The daemon's process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The daemon's temporary directory; its runtime directory is `broadcastd` in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A way to write to its standard input, if the command gave it one.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("the command has a standard input")
    }

    /// What the daemon has logged so far and was not taken yet.
    pub fn log(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Its configuration's file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("broadcast.toml")
    }

    /// Asks for a reload over the API; with `?dry_run=true`, maybe.
    pub fn reload(&self, query: &str) -> (u16, Value) {
        let addr = &self.admin[0];
        let request = format!(
            "POST /api/v1/config/reload{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (status, text) = http(addr, request.as_bytes());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Puts another file in the place of its configuration, whole at any time.
    pub fn replace_config(&self, config: &str) {
        let beside = self.dir.path().join("new.toml");
        std::fs::write(&beside, config).unwrap();
        std::fs::rename(beside, self.config()).unwrap();
    }

    /// Puts another configuration in force.
    pub fn reconfigure(&self, config: &str) -> Value {
        std::fs::write(self.config(), config).unwrap();
        let (status, answer) = self.reload("");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits for a line of the log that contains a text.
    pub fn logged(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{text:?} was not logged ({error}); logged was:\n{}", seen.join("\n")),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the daemon's end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the daemon did not end:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// A GET request's status and body.
    pub fn get(addr: &str, path: &str) -> (u16, String) {
        let host = if addr.starts_with("unix:") { "localhost" } else { addr };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        http(addr, request.as_bytes())
    }

    /// The value of a metric, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = Server::get(&self.admin[0], "/metrics");
        assert_eq!(status, 200, "{}", self.log());
        let of = |line: &&str| line.starts_with(name) && line[name.len()..].starts_with([' ', '{']);
        text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric is what it should be.
    pub fn until_metric(&self, name: &str, done: impl Fn(f64) -> bool) -> f64 {
        let until = Instant::now() + DEADLINE;
        loop {
            let value = self.metric(name);
            if done(value) {
                return value;
            }
            assert!(Instant::now() < until, "{name} is {value}");
        }
    }

    /// Posts a body to `/events` of the first ingest listener. Returns the status and the answer.
    pub fn post(&self, body: &str) -> (u16, Value) {
        self.post_to("/events", body)
    }

    /// Posts a body to a path of the first ingest listener.
    pub fn post_to(&self, path: &str, body: &str) -> (u16, Value) {
        let addr = &self.ingest[0];
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, text) = http(addr, request.as_bytes());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Writes lines to the first ingest listener as `nc -N` does, and returns what it answers.
    pub fn pipe(&self, lines: &str) -> Vec<Value> {
        let mut producer = Producer::connect(&self.ingest[0]);
        producer.write(lines);
        producer.finish()
    }

    /// Publishes events of type `t` for an agent, numbered from `first`.
    pub fn publish(&self, agent: &str, first: u64, count: u64) {
        let line = |n| format!("{{\"type\":\"t\",\"agentId\":\"{agent}\",\"n\":{n}}}\n");
        let lines: String = (first..first + count).map(line).collect();
        let answers = self.pipe(&lines);
        assert_eq!(answers.last().unwrap()["accepted"], count, "{answers:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream's lines on a thread, so that a full pipe never stops the daemon.
pub fn collect_lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = sync_channel(100_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if tx.try_send(line).is_err() {
                return;
            }
        }
    });
    rx
}

/// Sends a whole request and reads the answer to its end.
pub fn http(addr: &str, request: &[u8]) -> (u16, String) {
    let mut producer = Producer::connect(addr);
    producer.write_bytes(request);
    let answer = producer.read_to_end();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, body.to_owned())
}

/// A raw connection, TCP or Unix.
pub enum Producer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Producer {
    pub fn connect(addr: &str) -> Producer {
        match addr.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Producer::Unix(stream)
            }
            None => {
                let stream = TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Producer::Tcp(stream)
            }
        }
    }

    pub fn write(&mut self, text: &str) {
        self.write_bytes(text.as_bytes());
    }

    pub fn write_bytes(&mut self, bytes: &[u8]) {
        match self {
            Producer::Tcp(stream) => stream.write_all(bytes).unwrap(),
            Producer::Unix(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    /// Ends the stream and returns the answers, one JSON value a line.
    pub fn finish(mut self) -> Vec<Value> {
        match &self {
            Producer::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Producer::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
        self.read_to_end().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The socket, for a process to write to.
    pub fn into_descriptor(self) -> std::os::fd::OwnedFd {
        match self {
            Producer::Tcp(stream) => stream.into(),
            Producer::Unix(stream) => stream.into(),
        }
    }

    /// Reads what comes until it is what was waited for; the whole of it.
    pub fn read_until(&mut self, done: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        let mut buffer = vec![0; 64 << 10];
        while !done(&text) {
            let len = match self {
                Producer::Tcp(stream) => stream.read(&mut buffer),
                Producer::Unix(stream) => stream.read(&mut buffer),
            };
            let len = len.unwrap_or_else(|error| panic!("{error} after {text}"));
            assert!(len > 0, "the stream ended after {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        text
    }

    pub fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        match self {
            Producer::Tcp(stream) => stream.read_to_string(&mut text).unwrap(),
            Producer::Unix(stream) => stream.read_to_string(&mut text).unwrap(),
        };
        text
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// A WebSocket client that is not ours (tokio-tungstenite).
pub struct Client {
    pub socket: Socket,
    /// Messages that were received while another was waited for.
    passed: VecDeque<Value>,
}

impl Client {
    /// Connects and takes the welcome.
    pub async fn connect(server: &Server) -> Client {
        Client::connect_to(&format!("ws://{}/ws", server.clients[0])).await
    }

    /// Connects to a URL and takes the welcome.
    pub async fn connect_to(url: &str) -> Client {
        let mut client = Client::handshake(url.into_client_request().unwrap()).await.unwrap();
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        client
    }

    /// Makes a handshake with a request of the test's own.
    pub async fn handshake(
        request: tungstenite::handshake::client::Request,
    ) -> Result<Client, tungstenite::Error> {
        let connect = tokio_tungstenite::connect_async(request);
        let (socket, _) =
            tokio::time::timeout(DEADLINE, connect).await.expect("the handshake takes too long")?;
        Ok(Client { socket, passed: VecDeque::new() })
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Subscribes and returns the answer for the one room.
    pub async fn subscribe(&mut self, room: impl Into<Value>) -> Value {
        self.send(json!({ "type": "subscribe", "rooms": [room.into()] })).await;
        self.wait_for("subscribed").await["rooms"][0].clone()
    }

    /// The next message that is no `position`: a filtered room may send one at any time.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = self.next_of_any_type().await;
            if message["type"] != "position" {
                return message;
            }
        }
    }

    /// The next message, for tests about positions. Pings are answered by the library.
    pub async fn next_of_any_type(&mut self) -> Value {
        if let Some(message) = self.passed.pop_front() {
            return message;
        }
        match self.next_frame().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("a text message was expected: {other:?}"),
        }
    }

    /// The next frame that is no ping or pong.
    pub async fn next_frame(&mut self) -> Message {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.socket.next()).await;
            match next.expect("nothing was received in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(frame)) => return frame,
                other => panic!("the connection ended: {other:?}"),
            }
        }
    }

    /// The next message of a type. Others are kept for [`next`](Self::next).
    pub async fn wait_for(&mut self, kind: &str) -> Value {
        let mut passed = VecDeque::new();
        loop {
            let message = self.next_of_any_type().await;
            if message["type"] == kind {
                passed.append(&mut self.passed);
                self.passed = passed;
                return message;
            }
            passed.push_back(message);
        }
    }

    /// The next events, one by one, whether they came alone or in batches: (offset, data).
    pub async fn events(&mut self, count: usize) -> Vec<(u64, Value)> {
        let events = self.events_of_rooms(count).await;
        events.into_iter().map(|(_, offset, data)| (offset, data)).collect()
    }

    /// The same with their rooms: (room, offset, data).
    pub async fn events_of_rooms(&mut self, count: usize) -> Vec<(String, u64, Value)> {
        let mut events = Vec::new();
        while events.len() < count {
            let message = self.next().await;
            let room = message["room"].as_str().unwrap_or_default();
            match message["type"].as_str() {
                Some("event") => {
                    events.push((
                        room.to_owned(),
                        message["offset"].as_u64().unwrap(),
                        message["data"].clone(),
                    ));
                }
                Some("batch") => {
                    let data = message["data"].as_array().unwrap();
                    let last = message["offset"].as_u64().unwrap();
                    for (index, event) in data.iter().enumerate() {
                        let consecutive = last + 1 + index as u64 - data.len() as u64;
                        let offset =
                            message.get("offsets").map_or(consecutive, |list| list[index].as_u64().unwrap());
                        events.push((room.to_owned(), offset, event.clone()));
                    }
                }
                _ => panic!("an event was expected after {} of {count}: {message}", events.len()),
            }
        }
        events
    }

    /// Reads to the close frame; its code and reason. Messages before it are thrown away.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.socket.next()).await;
            match next.expect("the connection was not closed in time") {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None))) => return (1005, String::new()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (1006, String::new()),
            }
        }
    }
}

/// Has a daemon keep everything in a folder.
pub fn in_folder(command: &mut Command, folder: &Path) {
    command.current_dir(folder).env("XDG_RUNTIME_DIR", folder).env("XDG_STATE_HOME", folder.join("state"));
    command.env_remove("RUNTIME_DIRECTORY").env_remove("STATE_DIRECTORY");
}

/// A path of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
