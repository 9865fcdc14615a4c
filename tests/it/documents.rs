//! The commands of the documentation run as they are printed, but for the ports.
//!
//! What a document prints for a shell stands in a fenced block, whose first line says how it is run:
//!
//! - `sh` runs and ends well, before the next one begins;
//! - `sh stays` goes on until it is ended: it prints something when events come, and is ended then;
//! - `sh not run: REASON`.
//!
//! The README.md of an example may have `sh daemon` as well; those are run by tests/examples.

use crate::harness::{Server, binary, repository};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The rooms are those that are built in; a pipe and a socket are where the documentation has them.
const CONFIG: &str =
    "[ingest]\nlisten = [\"127.0.0.1:0\", { unix = \"ingest.sock\" }, { fifo = \"events.fifo\" }]\n";

/// What an agent of the documentation says: a whole run, among others.
const AGENT: &str = r#"#!/bin/sh
echo '{"type":"step","agentId":"42","status":"busy"}'
echo '{"type":"RUN_STARTED","agentId":"42","runId":"r1","threadId":"t1"}'
echo '{"type":"RUN_FINISHED","agentId":"42","runId":"r1","threadId":"t1"}'
"#;
const STATE: &str = r#"{"type":"agent_state","agentId":"42","status":"busy","resourceUsage":{"cpu":1,"memory":2,"activeConnections":3}}"#;

/// A fenced block: what its first line says, and the line that it begins at.
struct Block {
    info: String,
    line: usize,
    text: String,
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The fenced blocks of a document, and the lines that are indented by four and in none.
fn blocks(text: &str) -> (Vec<Block>, Vec<(usize, &str)>) {
    let (mut blocks, mut indented, mut open) = (Vec::new(), Vec::new(), None::<Block>);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        match (open.take(), line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { info: info.to_owned(), line: number, text: String::new() });
            }
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => indented.extend(line.strip_prefix("    ").map(|code| (number, code))),
        }
    }
    assert!(open.is_none(), "a block does not end");
    (blocks, indented)
}

/// Every document for people: at the root, in docs/, of the client, of the examples.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![repository("README.md"), repository("client/README.md")];
    let entries = |folder| std::fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    found.extend(entries("docs").filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    found.extend(entries("examples").map(|path| path.join("README.md")).filter(|path| path.exists()));
    found.sort();
    found
}

fn is_example(path: &Path) -> bool {
    path.starts_with(repository("examples"))
}

#[test]
fn every_command_is_run_or_says_why_not() {
    const COMMANDS: [&str; 22] = [
        "./tests/run",
        "apt-get",
        "broadcastd",
        "cargo",
        "curl",
        "echo",
        "install",
        "journalctl",
        "kill",
        "my-agent",
        "nc",
        "nginx",
        "node",
        "npm",
        "printf",
        "promtool",
        "python3",
        "rg",
        "seq",
        "sudo",
        "systemctl",
        "usermod",
    ];
    let (mut seen, mut problems) = (0, Vec::new());
    for path in documents() {
        let text = read(&path);
        let name = path.strip_prefix(repository(".")).unwrap_or(&path).display();
        let (blocks, indented) = blocks(&text);
        for Block { info, line, .. } in blocks {
            let language = info.split_whitespace().next().unwrap_or("");
            if !["sh", "bash", "shell", "console", "zsh"].contains(&language) {
                continue;
            }
            seen += 1;
            let reason = info.strip_prefix("sh not run: ");
            let is_right = info == "sh"
                || info == "sh stays"
                || info == "sh daemon" && is_example(&path)
                || reason.is_some_and(|reason| reason.len() > 10);
            if !is_right {
                problems.push(format!("{name}:{line}: ```{info}: sh, sh stays, or sh not run: REASON"));
            }
        }
        for (line, code) in indented {
            let word = code.split_whitespace().next().unwrap_or("");
            if COMMANDS.contains(&word) && !code.starts_with(' ') {
                problems.push(format!("{name}:{line}: a command stands in a ```sh block: {code}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 40, "{seen} blocks were found");
}

/// A daemon, and a folder for what is run.
struct Reader {
    server: Server,
    folder: PathBuf,
}

impl Reader {
    fn new() -> Reader {
        let server = Server::start(CONFIG);
        let folder = server.dir().join("reader");
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        symlink(binary(), folder.join("bin/broadcastd")).unwrap();
        std::fs::write(folder.join("bin/my-agent"), AGENT).unwrap();
        std::fs::set_permissions(folder.join("bin/my-agent"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(folder.join("event.json"), STATE).unwrap();
        std::fs::write(folder.join("events.ndjson"), format!("{STATE}\n{STATE}\n")).unwrap();
        let listen = format!(
            "[server]\nlisten = [{:?}]\n[admin]\nlisten = [{:?}]\n[ingest]\nlisten = [{:?}]\n",
            server.clients[0], server.admin[0], server.ingest[0]
        );
        std::fs::write(folder.join("tools.toml"), listen).unwrap();
        Reader { server, folder }
    }

    fn command(&self, text: &str) -> Command {
        let mut text =
            text.replace("/run/broadcastd/", &format!("{}/broadcastd/", self.server.dir().display()));
        let addrs = [&self.server.clients[0], &self.server.ingest[0], &self.server.admin[0]];
        for (port, addr) in ["9999", "9998", "9997"].iter().zip(addrs) {
            let (_, free) = addr.rsplit_once(':').unwrap();
            for between in [":", " "] {
                text =
                    text.replace(&format!("127.0.0.1{between}{port}"), &format!("127.0.0.1{between}{free}"));
            }
        }
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &text]).current_dir(&self.folder);
        command.env("PATH", &path).env("BROADCASTD_CONFIG", self.folder.join("tools.toml"));
        command.env("XDG_RUNTIME_DIR", self.server.dir()).stdin(Stdio::null());
        command
    }

    /// Runs a block to its end.
    fn run(&self, block: &Block) {
        let output = self.command(&block.text).output().unwrap();
        assert!(
            output.status.success(),
            "{}\n{}\n{}{}",
            block.text,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs a block until it prints something, while events come.
    fn stay(&self, block: &Block) {
        let mut command = self.command(&block.text);
        let mut child =
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (heard, line) = std::sync::mpsc::sync_channel(1);
        let reading = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            heard.send(line).unwrap();
        });
        // Many, since a filter at the end of a pipe gathers what it writes.
        let events = format!("{STATE}\n").repeat(1000);
        let until = std::time::Instant::now() + crate::harness::DEADLINE;
        let printed = loop {
            self.server.post(&events);
            match line.recv_timeout(std::time::Duration::from_millis(100)) {
                Ok(line) => break line,
                Err(_) if std::time::Instant::now() < until => {}
                Err(_) => break String::new(),
            }
        };
        let group = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        reading.join().unwrap();
        assert!(!printed.is_empty(), "{} printed nothing", block.text);
    }

    /// Runs a document's blocks in their order; how many there were.
    fn run_document(&self, document: &str) -> usize {
        let text = read(&repository(document));
        let mut count = 0;
        for block in blocks(&text).0 {
            match block.info.as_str() {
                "sh" => self.run(&block),
                "sh stays" => self.stay(&block),
                _ => continue,
            }
            count += 1;
        }
        count
    }
}

#[test]
fn the_examples_of_the_commands_run() {
    let reader = Reader::new();
    assert!(reader.run_document("docs/commands.md") >= 12);
    let read = |name: &str| std::fs::read_to_string(reader.folder.join(name)).unwrap();
    assert_eq!(read("recording.ndjson").lines().count(), 20);
    assert!(read("bench.json").contains("\"lost\":0"), "{}", read("bench.json"));
    assert!(read("status.json").contains("\"status\":\"healthy\""));
    assert!(reader.folder.join("man1/broadcastd-tail.1").exists());
}

#[test]
fn the_commands_of_every_other_document_run() {
    let mut count = 0;
    for path in documents() {
        if path.ends_with("commands.md") || is_example(&path) {
            continue;
        }
        // Each in a folder of its own: a document begins with nothing.
        if read(&path).contains("\n```sh") {
            count += Reader::new().run_document(path.strip_prefix(repository("")).unwrap().to_str().unwrap());
        }
    }
    assert!(count >= 9, "{count} blocks were found");
}
