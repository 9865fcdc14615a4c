//! Ingest as the daemon has it: threads, rooms, and listeners that come and go.

use super::super::{Control, Ingest, Running, Wiring, gathered};
use super::*;
use crate::config::{Config, IngestListenConfig};
use crate::room::{Bell, Generation, Rooms};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

/// A daemon's ingest, and what it publishes to.
struct Whole {
    rooms: Arc<Rooms>,
    metrics: Arc<Metrics>,
    running: Running,
    control: Control,
    trigger: Trigger,
}

fn tcp() -> IngestListenConfig {
    listener(IngestAddr::Tcp("127.0.0.1:0".parse().unwrap()), Ack::Errors, WhenFull::Wait)
}

fn unix(folder: &tempfile::TempDir, name: &str, mode: u32) -> IngestListenConfig {
    let addr = UnixAddr { path: folder.path().join(name), mode, group: None };
    listener(IngestAddr::Unix(addr), Ack::Errors, WhenFull::Wait)
}

fn fifo(folder: &tempfile::TempDir) -> IngestListenConfig {
    let addr = UnixAddr { path: folder.path().join("fifo"), mode: 0o600, group: None };
    listener(IngestAddr::Fifo(addr), Ack::None, WhenFull::Wait)
}

fn config(listen: Vec<IngestListenConfig>) -> Arc<Config> {
    let mut config = gathered::config();
    config.ingest.listen = listen;
    config.ingest.threads = 2;
    config.ingest.backlog = 1 << 20;
    Arc::new(config)
}

impl Whole {
    fn start(config: &Arc<Config>) -> Whole {
        let metrics = Arc::new(Metrics::new());
        let bells = vec![Arc::new(Bell::new(|| {}))];
        let rooms = Rooms::new(config, bells, metrics.clone()).unwrap();
        let (trigger, shutdown) = shutdown::pair();
        let ingest = Ingest::bind(config, Vec::new()).unwrap();
        let addrs = ingest.addrs();
        let wiring = Wiring {
            rooms: rooms.clone(),
            metrics: metrics.clone(),
            rejected: Arc::default(),
            shutdown,
            patience: DEADLINE,
        };
        let (running, control) = ingest.spawn(&wiring).unwrap();
        let told: Vec<String> = control.addrs().iter().map(ToString::to_string).collect();
        let bound: Vec<String> = addrs.into_iter().flatten().map(|addr| addr.to_string()).collect();
        assert_eq!(told, bound);
        Whole { rooms, metrics, running, control, trigger }
    }

    fn reload(&mut self, config: &Arc<Config>) {
        let planned = self.control.plan(config).unwrap();
        self.rooms.reconfigure(Generation::new(config.clone(), &planned.slots));
        self.control.apply(config, planned);
    }

    /// A connection to the listener at this place that is TCP.
    fn connect(&self, index: usize) -> std::net::TcpStream {
        let BoundAddr::Tcp(addr) = &self.control.addrs()[index] else { panic!("it is TCP") };
        std::net::TcpStream::connect(addr).unwrap()
    }

    /// Events of the one room.
    fn events(&self) -> u64 {
        self.rooms.get("all").unwrap().figures().head
    }

    fn stop(self) -> Drained {
        self.trigger.fire();
        self.running.join()
    }
}

/// Waits until something is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}

/// Sends one event and ends; returns the answer.
fn exchange(mut stream: impl Read + Write, end: impl FnOnce()) -> String {
    stream.write_all(b"{\"type\":\"e\"}\n").unwrap();
    end();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn exchange_tcp(stream: &std::net::TcpStream) -> String {
    exchange(stream, || stream.shutdown(Shutdown::Write).unwrap())
}

fn exchange_unix(path: &std::path::Path) -> String {
    let stream = UnixStream::connect(path).unwrap();
    exchange(&stream, || stream.shutdown(Shutdown::Write).unwrap())
}

#[test]
fn events_of_every_listener_reach_the_rooms_and_are_counted_by_listener() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Whole::start(&config(vec![tcp(), unix(&folder, "in.sock", 0o600), fifo(&folder)]));
    assert!(whole.running.stdin_ended.is_none());
    let one = "{\"accepted\":1,\"rejected\":0,\"line\":1}\n";
    assert_eq!(exchange_tcp(&whole.connect(0)), one);
    assert_eq!(exchange_unix(&folder.path().join("in.sock")), one);
    let mut pipe = std::fs::OpenOptions::new().write(true).open(folder.path().join("fifo")).unwrap();
    pipe.write_all(b"{\"type\":\"e\"}\nnonsense\n").unwrap();
    until(|| whole.events() == 3);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = || whole.metrics.render();
    until(|| text().contains("broadcastd_ingest_rejected_total{reason=\"bad_json\"} 1\n"));
    for line in [
        "broadcastd_listener_events_total{listener=\"tcp:127.0.0.1:0\"} 1".to_owned(),
        format!("broadcastd_listener_events_total{{listener=\"unix:{}\"}} 1", at("in.sock")),
        format!("broadcastd_listener_bytes_total{{listener=\"unix:{}\"}} 13", at("in.sock")),
        format!("broadcastd_listener_rejected_total{{listener=\"fifo:{}\"}} 1", at("fifo")),
        "broadcastd_ingest_bytes_total 48".to_owned(),
        "broadcastd_ingest_events_total 3".to_owned(),
    ] {
        assert!(text().contains(&format!("{line}\n")), "no {line} in\n{}", text());
    }
    drop(pipe);
    assert_eq!(whole.stop(), Drained::default());
    assert!(!folder.path().join("in.sock").exists());
}

#[test]
fn a_producer_outlives_its_listener() {
    let mut all = (*config(vec![tcp()])).clone();
    all.ingest.threads = 1;
    let all = Arc::new(all);
    let mut whole = Whole::start(&all);
    let mut stream = whole.connect(0);
    stream.write_all(b"{\"type\":\"e\"}\n{\"ty").unwrap();
    until(|| whole.events() == 1);
    whole.reload(&config(Vec::new()));
    stream.write_all(b"pe\":\"e\"}\n").unwrap();
    until(|| whole.events() == 2);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(whole.stop(), Drained::default());
}

#[test]
fn listeners_come_and_go_while_producers_stay_connected() {
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| folder.path().join(name);
    let mut whole = Whole::start(&config(vec![tcp(), unix(&folder, "goes", 0o600)]));
    let kept = whole.connect(0);
    let mut of_gone = UnixStream::connect(socket("goes")).unwrap();
    until(|| whole.metrics.render().contains("broadcastd_producers 2\n"));
    let addr = whole.control.addrs()[0].to_string();
    // The kept listener follows its other keys; the order changes.
    let quiet = IngestListenConfig { ack: Ack::None, ..tcp() };
    whole.reload(&config(vec![unix(&folder, "comes", 0o600), quiet]));
    let addrs: Vec<String> = whole.control.addrs().iter().map(ToString::to_string).collect();
    assert_eq!(addrs.len(), 2);
    assert!(addrs.contains(&addr), "{addr} in {addrs:?}");
    until(|| !socket("goes").exists());
    let one = "{\"accepted\":1,\"rejected\":0,\"line\":1}\n";
    assert_eq!(exchange_unix(&socket("comes")), one);
    assert_eq!(exchange_tcp(&kept), one, "it connected when answers were given");
    let index = addrs.iter().position(|found| *found == addr).unwrap();
    assert_eq!(exchange_tcp(&whole.connect(index)), "", "the listener answers nothing now");
    of_gone.write_all(b"{\"type\":\"e\"}\n").unwrap();
    of_gone.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    of_gone.read_to_string(&mut answer).unwrap();
    assert_eq!((answer.as_str(), whole.events()), (one, 4));
    assert_eq!(whole.stop(), Drained::default());
}

#[test]
fn a_slot_is_given_to_another_listener_once_nobody_reads_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = Whole::start(&config(vec![tcp(), unix(&folder, "a", 0o600)]));
    let held = UnixStream::connect(folder.path().join("a")).unwrap();
    until(|| whole.metrics.render().contains("broadcastd_producers 1\n"));
    whole.reload(&config(vec![tcp()]));
    let next = config(vec![tcp(), unix(&folder, "b", 0o600)]);
    let planned = whole.control.plan(&next).unwrap();
    assert_eq!(planned.slots.len(), 3, "a producer still holds the second");
    drop(planned);
    drop(held);
    until(|| whole.control.plan(&next).unwrap().slots.len() == 2);
    whole.reload(&next);
    assert_eq!(exchange_unix(&folder.path().join("b")), "{\"accepted\":1,\"rejected\":0,\"line\":1}\n");
    let two =
        config(vec![tcp(), unix(&folder, "b", 0o600), unix(&folder, "c", 0o600), unix(&folder, "d", 0o600)]);
    assert_eq!(whole.control.plan(&two).unwrap().slots.len(), 4, "each has its own");
    assert_eq!(whole.stop(), Drained::default());
}

#[test]
fn a_kept_socket_gets_the_rights_that_the_configuration_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let mut whole = Whole::start(&config(vec![unix(&folder, "in.sock", 0o600)]));
    assert_eq!(mode(), 0o600);
    whole.reload(&config(vec![unix(&folder, "in.sock", 0o660)]));
    assert_eq!(mode(), 0o660);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    whole.reload(&config(vec![unix(&folder, "in.sock", 0o660)]));
    assert_eq!(mode(), 0o640, "the same rights are not given again");
    assert_eq!(exchange_unix(&path), "{\"accepted\":1,\"rejected\":0,\"line\":1}\n");
    assert_eq!(whole.stop(), Drained::default());
}

#[test]
fn every_bind_error_is_reported_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = || {
        let taken = IngestAddr::Tcp(taken.local_addr().unwrap());
        [listener(taken, Ack::None, WhenFull::Wait), unix(&folder, "no/such/folder", 0o600)]
    };
    let [first, second] = wrong();
    let errors = Ingest::bind(&config(vec![first, tcp(), second]), Vec::new()).err().unwrap();
    let keys = |errors: &[crate::listen::BindError]| {
        let text = |error: &crate::listen::BindError| error.to_string();
        errors.iter().map(text).collect::<Vec<_>>()
    };
    let said = keys(&errors);
    assert!(said.len() == 2 && said[0].contains("listen[0]") && said[1].contains("listen[2]"), "{said:?}");
    let whole = Whole::start(&config(vec![tcp(), unix(&folder, "in.sock", 0o600)]));
    let [first, second] = wrong();
    let errors = whole.control.plan(&config(vec![first, second, tcp()])).unwrap_err();
    let said = keys(&errors);
    assert!(said.len() == 2 && said[0].contains("listen[0]") && said[1].contains("listen[1]"), "{said:?}");
    let one = "{\"accepted\":1,\"rejected\":0,\"line\":1}\n";
    assert_eq!(exchange_unix(&folder.path().join("in.sock")), one);
    assert_eq!(whole.control.addrs().len(), 2);
    assert_eq!(whole.stop(), Drained::default());
}
