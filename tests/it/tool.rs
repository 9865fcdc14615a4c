//! A subcommand that runs beside the daemon: what it prints, line by line, and how it ends.

use crate::harness::{DEADLINE, Server, binary, collect_lines};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// What a tool printed, and its exit code.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A tool that runs. Killed when dropped, by its own process id.
pub struct Tool {
    child: Child,
    out: Option<Receiver<String>>,
    err: Receiver<String>,
}

impl Tool {
    /// The command, in the daemon's folder and without a configuration of the environment's.
    pub fn command(server: &Server, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(server.dir()).env("XDG_RUNTIME_DIR", server.dir());
        command.env_remove("BROADCASTD_CONFIG").env_remove("RUNTIME_DIRECTORY").env_remove("NO_COLOR");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it.
    pub fn start(server: &Server, arguments: &[&str]) -> Tool {
        Tool::spawn(Tool::command(server, arguments))
    }

    pub fn spawn(mut command: Command) -> Tool {
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().map(collect_lines);
        let err = collect_lines(child.stderr.take().unwrap());
        Tool { child, out, err }
    }

    /// Runs it to its end.
    pub fn run(server: &Server, arguments: &[&str]) -> Ended {
        Tool::start(server, arguments).end()
    }

    /// Runs it to its end with something on standard input.
    pub fn feed(server: &Server, arguments: &[&str], input: &str) -> Ended {
        let mut command = Tool::command(server, arguments);
        command.stdin(Stdio::piped());
        let mut tool = Tool::spawn(command);
        tool.stdin().write_all(input.as_bytes()).unwrap();
        tool.end()
    }

    /// Its standard input; it ends when this is dropped.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("the command has a standard input")
    }

    /// The next line of its standard output.
    pub fn line(&mut self) -> String {
        let out = self.out.as_ref().expect("nobody has taken its output");
        out.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("no line ({error}): {}", self.said()))
    }

    /// Waits for a line of its standard error that contains a text.
    pub fn note(&mut self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.err.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("{text:?} was not said ({error})"),
            }
        }
    }

    fn said(&self) -> String {
        self.err.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Waits for its end; lines that were taken already are not told again.
    pub fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        let code = status.code().unwrap_or_else(|| panic!("{status}"));
        let join = |lines: &Receiver<String>| lines.iter().collect::<Vec<_>>().join("\n");
        Ended { code, out: self.out.as_ref().map_or_else(String::new, join), err: join(&self.err) }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
