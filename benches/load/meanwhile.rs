//! What operators do while the load is measured: reload the configuration, scrape the metrics.

use clap::ValueEnum;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Something that is done over and over.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// Put another configuration in force ten times a second: a room more or less, another history, other limits.
    Reload,
    /// Scrape the metrics once a second.
    Scrape,
}

/// It being done, until this is dropped or ended.
pub(crate) struct Doing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Done>>,
}

/// How often it was done, and how long it took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) times: u64,
    pub(crate) longest_ms: f64,
    /// Times that the daemon did not do it.
    pub(crate) failed: u64,
}

impl Meanwhile {
    /// Begins. `config` is the daemon's file, with what is in it.
    pub(crate) fn begin(self, admin: SocketAddr, config: PathBuf, text: String) -> Doing {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut done = Done::default();
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let ok = match self {
                    Meanwhile::Reload => {
                        let more = format!(
                            "\n[rooms.extra_{}]\ntypes = [\"extra\"]\nhistory = {{ events = {} }}\n[log]\nlevel = \"{}\"\n",
                            done.times % 2,
                            100 + done.times,
                            if done.times % 2 == 0 { "info" } else { "warn" }
                        );
                        std::fs::write(&config, text.clone() + &more).is_ok()
                            && ask(admin, "POST /api/v1/config/reload")
                                .is_some_and(|ms| ms.contains("\"applied\""))
                    }
                    Meanwhile::Scrape => ask(admin, "GET /metrics").is_some(),
                };
                done.times += 1;
                done.failed += u64::from(!ok);
                done.longest_ms = done.longest_ms.max(begun.elapsed().as_secs_f64() * 1e3);
                let every = if self == Meanwhile::Reload { 100 } else { 1000 };
                std::thread::sleep(Duration::from_millis(every).saturating_sub(begun.elapsed()));
            }
            done
        });
        Doing { stop, thread: Some(thread) }
    }
}

impl Doing {
    /// Ends it.
    pub(crate) fn end(mut self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The answer to a request, if it is 200.
fn ask(addr: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head =
        format!("{request} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}
