//! Producers at real sockets, with a list in place of the rooms.

mod accounts;
mod http;
mod quiet;
mod stopping;
mod whole;

use super::gathered::{Gathered, listener};
use super::intake::{Gate, Intake};
use super::pipe::{self, Input};
use super::places::Places;
use super::shared::{Drained, Settings, Shared, Slot, Stop};
use super::thread;
use crate::config::{Ack, IngestAddr, ListenAddr, OriginPattern, UnixAddr, WhenFull};
use crate::listen::{BoundAddr, Listener, Pipe};
use crate::metrics::Metrics;
use crate::shutdown::{self, Trigger};
use arc_swap::ArcSwap;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{JoinHandle, JoinSet, LocalSet};

const MAX_EVENT_SIZE: usize = 200;
const CONNECTIONS: usize = 5;
/// Ends a test that hangs; no test fails for being slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a test's listener is like.
struct Setup {
    ack: Ack,
    when_full: WhenFull,
    is_unix: bool,
    patience: Duration,
    idle_timeout: Option<Duration>,
    line_timeout: Duration,
    max_event_size: usize,
}

const TCP: Setup = Setup {
    ack: Ack::Errors,
    when_full: WhenFull::Wait,
    is_unix: false,
    patience: DEADLINE,
    idle_timeout: None,
    line_timeout: Duration::from_secs(300),
    max_event_size: MAX_EVENT_SIZE,
};
const UNIX: Setup = Setup { is_unix: true, ..TCP };

/// Ingest of one listener, on the test's own thread.
struct Bench {
    list: Arc<Gathered>,
    addr: BoundAddr,
    trigger: Trigger,
    metrics: Arc<Metrics>,
    shared: Rc<Shared>,
    serving: JoinHandle<()>,
    /// Dropped with the bench, which ends accepting.
    removed: Trigger,
    _folder: tempfile::TempDir,
}

#[allow(clippy::needless_pass_by_value)] // reads better at every call
fn run(setup: Setup, test: impl AsyncFnOnce(Bench)) {
    run_for(DEADLINE * 2, setup, test);
}

/// The same for a test that lets time pass.
#[allow(clippy::needless_pass_by_value)]
fn run_for(most: Duration, setup: Setup, test: impl AsyncFnOnce(Bench)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let tested = tokio::time::timeout(most, test(Bench::start(&setup))).await;
        assert!(tested.is_ok(), "the test did not end");
    });
}

fn shared(setup: &Setup, addr: IngestAddr, list: &Arc<Gathered>) -> (Trigger, Rc<Shared>) {
    let (trigger, shutdown) = shutdown::pair();
    let metrics = Arc::new(Metrics::new());
    let settings = Settings {
        listeners: vec![listener(addr, setup.ack, setup.when_full)],
        figures: vec![metrics.listener("test")],
        connections: CONNECTIONS,
        idle_timeout: setup.idle_timeout,
        line_timeout: setup.line_timeout,
        max_event_size: setup.max_event_size,
        origins: vec![OriginPattern::Local],
        hosts: vec!["events.example.org".to_owned()],
    };
    let intake = Intake::gathering(list.clone(), metrics.clone());
    let stop = Stop::new(shutdown, setup.patience);
    let gate = Gate::Gathered(list.clone());
    (trigger, Rc::new(Shared::new(Arc::new(ArcSwap::from_pointee(settings)), intake, gate, metrics, stop)))
}

impl Bench {
    fn start(setup: &Setup) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let addr = if setup.is_unix {
            ListenAddr::Unix(UnixAddr { path: folder.path().join("in.sock"), mode: 0o600, group: None })
        } else {
            ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())
        };
        let listener = Listener::bind("ingest.listen[0]", &addr).unwrap();
        let addr = listener.addr();
        let list = Gathered::new();
        let (trigger, shared) = shared(setup, IngestAddr::Stdin, &list);
        let metrics = shared.metrics.clone();
        let (door, arrivals) = thread::door();
        let mut tasks = JoinSet::new();
        let (removed, removal) = shutdown::pair();
        let slot = Slot::new(0);
        tasks.spawn_local(thread::accept(shared.clone(), listener, slot, removal, vec![door]));
        let served = shared.clone();
        let serving = tokio::task::spawn_local(async move { thread::serve(&served, arrivals, tasks).await });
        Bench { list, addr, trigger, metrics, shared, serving, removed, _folder: folder }
    }

    /// Waits until so many producers have been accepted.
    async fn producers(&self, count: usize) {
        self.until_metric(&format!("broadcastd_producers {count}")).await;
    }

    async fn tcp(&self) -> TcpStream {
        let BoundAddr::Tcp(addr) = &self.addr else { panic!("not TCP: {}", self.addr) };
        TcpStream::connect(addr).await.unwrap()
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    fn path(&self) -> PathBuf {
        let BoundAddr::Unix(path) = &self.addr else { panic!("not a Unix socket: {}", self.addr) };
        path.clone()
    }

    /// Sends a text over TCP, ends the stream, and returns the answer.
    async fn exchange(&self, text: impl AsRef<[u8]>) -> String {
        let mut stream = self.tcp().await;
        stream.write_all(text.as_ref()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Stops, and returns how that went.
    async fn stop(self) -> Drained {
        self.trigger.fire();
        self.serving.await.unwrap();
        self.shared.drained.get()
    }

    /// Waits until the backlog holds so many bytes.
    async fn until_backlog(&self, bytes: usize) {
        let until = std::time::Instant::now() + DEADLINE;
        while self.list.totals().backlog_bytes() < bytes as u64 {
            assert!(std::time::Instant::now() < until, "backlog {}", self.list.totals().backlog_bytes());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the metrics have a line.
    async fn until_metric(&self, line: &str) {
        while !self.metrics.render().lines().any(|found| found == line) {
            tokio::task::yield_now().await;
        }
    }

    #[track_caller]
    fn has_metric(&self, line: &str) {
        let rendered = self.metrics.render();
        assert!(rendered.lines().any(|found| found == line), "no {line:?} in\n{rendered}");
    }
}

#[test]
fn lines_over_tcp_are_answered_at_the_end_of_the_stream() {
    run(TCP, async |bench| {
        let answer = bench.exchange("{\"type\":\"e1\"}\r\n\nnonsense\n{\"type\":\"e2\"}").await;
        assert_eq!(bench.list.texts(), ["{\"type\":\"e1\"}", "{\"type\":\"e2\"}"]);
        let (error, total) = answer.split_once('\n').unwrap();
        assert!(error.starts_with("{\"error\":{\"line\":3,\"column\":2,\"code\":\"bad_json\","), "{error}");
        assert!(error.ends_with("\"excerpt\":\"nonsense\"}}"), "{error}");
        assert_eq!(total, "{\"accepted\":2,\"rejected\":1,\"line\":4}\n");
        bench.has_metric("broadcastd_ingest_events_total 2");
        bench.has_metric("broadcastd_ingest_rejected_total{reason=\"bad_json\"} 1");
        assert_eq!(bench.stop().await, Drained::default());
    });
}

#[test]
fn an_idle_producer_costs_little() {
    run(TCP, async |bench| {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let permit = Places::new(bench.metrics.clone()).admit(1, &Arc::default()).unwrap();
        let serving = super::stream::serve(
            bench.shared.clone(),
            crate::listen::Stream::Unix(stream),
            Slot::new(0),
            permit,
        );
        let bytes = std::mem::size_of_val(&serving);
        assert!(bytes <= 2336, "{bytes}");
    });
}

#[test]
fn a_connection_is_handed_to_the_thread_with_the_fewest_producers() {
    run(TCP, async |bench| {
        let listener = Listener::bind("a", &ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let BoundAddr::Tcp(addr) = listener.addr() else { panic!("{}", listener.addr()) };
        let ((here, mut arrivals), (there, arrivals_there)) = (thread::door(), thread::door());
        let (_removed, removal) = shutdown::pair();
        let (served, slot) = (bench.shared.clone(), Slot::new(0));
        let accepting = thread::accept(served, listener, slot, removal, vec![here, there]);
        let accepting = tokio::task::spawn_local(accepting);
        let list = bench.list.clone();
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let (_trigger, shared) = shared(&TCP, IngestAddr::Stdin, &list);
                thread::serve(&shared, arrivals_there, JoinSet::new()).await;
            });
        });
        // The first stays here, in the channel; so the second goes there.
        let _first = TcpStream::connect(addr).await.unwrap();
        let _waiting = arrivals.recv().await.unwrap();
        let mut second = TcpStream::connect(addr).await.unwrap();
        second.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        bench.list.reaches(1).await;
        second.shutdown().await.unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "{\"accepted\":1,\"rejected\":0,\"line\":1}\n");
        bench.trigger.fire();
        accepting.await.unwrap();
        tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap();
    });
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_is_taken() {
    run(TCP, async |bench| {
        let answer = bench.exchange(format!("{}\n{{\"type\":\"e\"}}\n", "x".repeat(100_000))).await;
        assert!(answer.contains("\"line\":1,\"column\":1,\"code\":\"too_long\""), "{answer}");
        assert!(answer.ends_with("{\"accepted\":1,\"rejected\":1,\"line\":2}\n"), "{answer}");
    });
}

#[test]
fn errors_over_a_unix_socket_come_at_once() {
    run(UNIX, async |bench| {
        let mut stream = BufReader::new(bench.unix().await);
        stream.write_all(b"[]\n").await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(
            line.contains("\"code\":\"pretty_printed\"") || line.contains("\"code\":\"not_an_object\""),
            "{line}"
        );
        stream.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        stream.shutdown().await.unwrap();
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "{\"accepted\":1,\"rejected\":1,\"line\":2}\n");
        let path = bench.path();
        bench.stop().await;
        assert!(!path.exists(), "the socket's file is removed");
    });
}

#[test]
fn all_gives_totals_in_between_over_tcp_too() {
    run(Setup { ack: Ack::All, ..TCP }, async |bench| {
        let mut stream = BufReader::new(bench.tcp().await);
        for count in 1..=3 {
            stream.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, format!("{{\"accepted\":{count},\"rejected\":0,\"line\":{count}}}\n"));
        }
    });
}

#[test]
fn answers_that_are_not_read_keep_nobody_from_reading() {
    run(Setup { ack: Ack::All, ..UNIX }, async |bench| {
        let mut stream = bench.unix().await;
        let line = "nonsense that is answered with a line longer than itself\n".repeat(100);
        for _ in 0..200 {
            stream.write_all(line.as_bytes()).await.unwrap();
        }
        stream.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        bench.list.reaches(1).await;
        bench.has_metric("broadcastd_ingest_rejected_total{reason=\"bad_json\"} 20000");
    });
}

#[test]
fn of_pretty_printed_json_one_line_is_reported() {
    run(TCP, async |bench| {
        let answer = bench.exchange("{\n  \"type\": \"e\",\n  \"a\": 1\n}\n").await;
        assert_eq!(answer.matches("pretty_printed").count(), 1, "{answer}");
        assert!(answer.contains("jq -c"), "{answer}");
        assert!(answer.ends_with("{\"accepted\":0,\"rejected\":4,\"line\":4}\n"), "{answer}");
    });
}

#[test]
fn fields_beside_count_for_what_follows() {
    run(TCP, async |bench| {
        let text = "{\"type\":\"e\"}\n{\"$with\":{\"runId\":\"r1\"}}\n{\"type\":\"e\"}\n{\"$with\":{}}\n{\"type\":\"e\"}\n";
        let answer = bench.exchange(text).await;
        assert_eq!(answer, "{\"accepted\":3,\"rejected\":0,\"line\":5}\n");
        assert_eq!(bench.list.besides(), ["", "{\"runId\":\"r1\"}", ""]);
    });
}

#[test]
fn a_full_backlog_stops_the_reading_of_a_listener_that_waits() {
    run(TCP, async |bench| {
        bench.list.set_full(true);
        let mut stream = bench.tcp().await;
        stream.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.list.texts().len(), 0);
        bench.list.set_full(false);
        bench.list.reaches(1).await;
    });
}

#[test]
fn a_full_backlog_is_told_by_a_listener_that_sheds() {
    run(Setup { when_full: WhenFull::Shed, ..TCP }, async |bench| {
        bench.list.set_full(true);
        let answer = bench.exchange("{\"type\":\"e\"}\n{\"type\":\"e\"}\n").await;
        assert!(answer.contains("\"code\":\"backlog_full\""), "{answer}");
        assert!(answer.ends_with("{\"accepted\":0,\"rejected\":2,\"line\":2}\n"), "{answer}");
        bench.has_metric("broadcastd_ingest_rejected_total{reason=\"backlog_full\"} 2");
    });
}

#[test]
fn producers_over_the_limit_are_refused() {
    run(TCP, async |bench| {
        let mut kept = Vec::new();
        for count in 1..=CONNECTIONS {
            let mut stream = bench.tcp().await;
            stream.write_all(b"{\"type\":\"e\"}\n{").await.unwrap();
            bench.list.reaches(count).await;
            kept.push(stream);
        }
        let mut refused = bench.tcp().await;
        assert_eq!(refused.read(&mut [0; 10]).await.unwrap(), 0);
        bench.has_metric("broadcastd_producers_refused_total 1");
        bench.has_metric(&format!("broadcastd_producers {CONNECTIONS}"));
        // A place that is given back is taken by the next.
        let mut ended = kept.pop().unwrap();
        ended.shutdown().await.unwrap();
        ended.read_to_end(&mut Vec::new()).await.unwrap();
        while bench.metrics.render().contains(&format!("broadcastd_producers {CONNECTIONS}\n")) {
            tokio::task::yield_now().await;
        }
        assert!(bench.exchange("{\"type\":\"e\"}\n").await.starts_with("{\"accepted\":1"));
    });
}

#[test]
fn a_pipe_survives_its_writers_and_is_emptied_at_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let folder = tempfile::tempdir().unwrap();
        let addr = UnixAddr { path: folder.path().join("in.fifo"), mode: 0o600, group: None };
        let pipe = Pipe::bind("ingest.listen[0]", &addr).unwrap();
        let write = |text: &str| {
            let mut writer = std::fs::OpenOptions::new().write(true).open(&addr.path).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        };
        let list = Gathered::new();
        let (trigger, shared) = shared(&TCP, IngestAddr::Fifo(addr.clone()), &list);
        let receiver = pipe.receiver().unwrap();
        let (_removed, removal) = shutdown::pair();
        let slot = Slot::new(0);
        let reading = tokio::task::spawn_local(pipe::read_fifo(
            shared.clone(),
            receiver,
            slot,
            "pipe".to_owned(),
            removal,
        ));
        for count in 1..=3 {
            write(&format!("nonsense\n{{\"type\":\"e{count}\"}}\n"));
            list.reaches(count).await;
        }
        write("{\"type\":\"e4\"}");
        trigger.fire();
        tokio::time::timeout(DEADLINE, reading).await.expect("reading ends").unwrap();
        assert_eq!(list.texts().len(), 4);
        assert_eq!(shared.drained.get(), Drained::default());
    });
}

#[test]
fn standard_input_is_read_to_its_end_or_to_the_daemons() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for ends in [true, false] {
        LocalSet::new().block_on(&runtime, async {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let list = Gathered::new();
            let (trigger, shared) = shared(&TCP, IngestAddr::Stdin, &list);
            let input = Input::spawn(std::fs::File::from(std::os::fd::OwnedFd::from(reader))).unwrap();
            let reading = tokio::task::spawn_local(pipe::read_stdin(shared, input, Slot::new(0)));
            writer.write_all(b"{\"type\":\"e1\"}\n").unwrap();
            list.reaches(1).await;
            writer.write_all(b"{\"type\":\"e2\"}").unwrap();
            let kept = if ends {
                drop(writer);
                None
            } else {
                trigger.fire();
                Some(writer)
            };
            tokio::time::timeout(DEADLINE, reading).await.expect("reading ends").unwrap();
            assert_eq!(list.texts().len(), 2);
            drop(kept);
        });
    }
}

#[test]
fn a_pipes_unfinished_line_is_counted_when_time_is_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let folder = tempfile::tempdir().unwrap();
        let addr = UnixAddr { path: folder.path().join("in.fifo"), mode: 0o600, group: None };
        let pipe = Pipe::bind("ingest.listen[0]", &addr).unwrap();
        let list = Gathered::new();
        let setup = Setup { patience: Duration::from_millis(20), ..TCP };
        let (trigger, shared) = shared(&setup, IngestAddr::Fifo(addr.clone()), &list);
        let receiver = pipe.receiver().unwrap();
        let (_removed, removal) = shutdown::pair();
        let name = "pipe".to_owned();
        let reading =
            tokio::task::spawn_local(pipe::read_fifo(shared.clone(), receiver, Slot::new(0), name, removal));
        let mut writer = std::fs::OpenOptions::new().write(true).open(&addr.path).unwrap();
        writer.write_all(b"{\"type\":\"e\"}\n{\"ty").unwrap();
        list.reaches(1).await;
        assert_eq!(list.totals().backlog_bytes(), 4);
        // A full backlog keeps it from reading what is left, and not from stopping.
        list.set_full(true);
        writer.write_all(b"pe").unwrap();
        trigger.fire();
        tokio::time::timeout(DEADLINE, reading).await.expect("reading ends").unwrap();
        let drained = shared.drained.get();
        assert_eq!((drained.producers_cut, drained.lines_unfinished), (1, 1));
        assert!((4..=6).contains(&drained.bytes_unfinished), "{drained:?}");
        let text = shared.metrics.render();
        assert!(text.contains("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 1\n"), "{text}");
        assert_eq!(list.totals().backlog_bytes(), 0);
    });
}

#[test]
fn a_thread_gives_memory_back_once_much_is_left_behind_and_it_is_idle() {
    run(TCP, async |bench| {
        let shared = &bench.shared;
        let reads = shared.reads();
        assert!(bench.exchange("{\"type\":\"e\"}\n").await.starts_with("{\"accepted\":1"));
        assert!(shared.reads() > reads);
        shared.left_behind((1 << 20) - 64 * 1024);
        assert!(!shared.has_much_left_behind());
        // Long lines leave their memory behind, and a producer that goes leaves some.
        shared.left_behind(64 * 1024);
        assert!(shared.has_much_left_behind());
        let mut stream = bench.tcp().await;
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        bench.until_metric("broadcastd_producers 0").await;
        let until = std::time::Instant::now() + DEADLINE;
        while shared.has_much_left_behind() && std::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!shared.has_much_left_behind());
    });
}
