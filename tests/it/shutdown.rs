//! Stopping: what was accepted arrives, everybody is told, and what did not fit is counted.

use crate::event_stream::EventStream;
use crate::harness::{Client, Producer, ROOMS, Server, undisturbed};
use crate::raw::Raw;
use crate::socketio_client::open_polling;
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::Write;
use std::time::{Duration, Instant};

/// The log lines that `stopped` stands in.
fn stopped(server: &Server) -> String {
    server.logged("stopped: ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_that_was_accepted() {
    // A client that the machine stalls for a second makes no progress, and is left behind.
    undisturbed(stop_under_load).await;
}

async fn stop_under_load() -> Result<(), String> {
    let mut server = Server::start(ROOMS);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        clients.push(tokio::spawn(read_to_the_end(client, 0)));
    }
    let mut first = Client::connect(&server).await;
    first.subscribe("all").await;
    // The producer writes for as long as it is listened to, and ends its stream when the daemon ends its own.
    let addr = server.ingest[0].clone();
    let producer = tokio::task::spawn_blocking(move || {
        let mut producer = Producer::connect(&addr);
        let Producer::Tcp(stream) = &producer else { panic!("a TCP address was expected: {addr}") };
        let mut reader = stream.try_clone().unwrap();
        reader.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut written = 0_u64;
        let ended =
            |reader: &mut std::net::TcpStream| matches!(std::io::Read::read(reader, &mut [0; 1]), Ok(0));
        while !ended(&mut reader) {
            let line = |n: u64| format!("{{\"type\":\"t\",\"agentId\":\"a\",\"n\":{n}}}\n");
            producer.write(&(written..written + 5).map(line).collect::<String>());
            written += 5;
        }
        written
    });
    let had = first.events(200).await.last().unwrap().0;
    server.signal(Signal::SIGTERM);
    let written = producer.await.unwrap();
    clients.push(tokio::spawn(read_to_the_end(first, had)));
    let mut ends = Vec::new();
    for client in clients {
        ends.push(client.await.map_err(|error| error.to_string())?);
    }
    let line = stopped(&server);
    if !line.contains("everything that was accepted is delivered") {
        return Err(line);
    }
    assert_eq!(ends, vec![written; 21]);
    assert!(server.wait().success());
    Ok(())
}

/// Reads events without a hole until the daemon says that it stops; the offset of the last.
async fn read_to_the_end(mut client: Client, mut last: u64) -> u64 {
    loop {
        let message = client.next().await;
        if message["type"] == "closing" {
            assert_eq!((&message["code"], client.closed().await.0), (&json!(1001), 1001));
            return last;
        }
        let offset = message["offset"].as_u64().unwrap();
        let count = message["data"].as_array().map_or(1, |data| data.len() as u64);
        assert!(["event", "batch"].contains(&message["type"].as_str().unwrap()), "{message}");
        assert_eq!(offset, last + count, "{message}");
        last = offset;
    }
}

#[tokio::test]
async fn every_client_is_told_another_moment_to_come_back() {
    let server = Server::start(ROOMS);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::connect(&server).await);
    }
    server.signal(Signal::SIGINT);
    let mut moments = Vec::new();
    for client in &mut clients {
        let closing = client.wait_for("closing").await;
        moments.push(closing["retry_after"].as_u64().unwrap());
        assert_eq!(client.closed().await.0, 1001);
    }
    moments.sort_unstable();
    moments.dedup();
    assert_eq!(moments.len(), 10, "{moments:?}");
    assert!(moments[0] >= 500 && moments[9] <= 5500, "{moments:?}");
}

#[tokio::test]
async fn buffers_are_flushed_before_the_end() {
    let server =
        Server::start("[rooms.all]\ntypes = [\"*\"]\nbuffer = { events = 1000, flush_interval = \"10m\" }\n");
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    server.publish("a", 1, 7);
    server.signal(Signal::SIGTERM);
    let batch = client.next().await;
    assert_eq!((&batch["type"], &batch["offset"]), (&json!("batch"), &json!(7)), "{batch}");
    assert_eq!(batch["data"].as_array().unwrap().len(), 7);
    assert_eq!(client.closed().await.0, 1001);
}

#[test]
fn a_producer_that_goes_on_is_cut_and_counted() {
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"400ms\"\n{ROOMS}"));
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("{\"type\":\"t\",\"n\":1}\n{\"type\":\"t\",\"n\"");
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    let line = stopped(&server);
    assert!(line.contains("producers_cut=1") && line.contains("bytes_unfinished=15"), "{line}");
    assert!(begun.elapsed() >= Duration::from_millis(200), "half of the time is the producer's");
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left_behind_and_counted() {
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"600ms\"\n{ROOMS}"));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    // More than the kernel takes for it.
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    server.pipe(&line.repeat(10_000));
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    server.signal(Signal::SIGTERM);
    let line = stopped(&server);
    assert!(line.contains("clients_unfinished=1"), "{line}");
    assert!(server.wait().success());
    drop(client);
}

/// Far above the second that it takes, and below what a client's answer is waited for.
const SOON: Duration = Duration::from_secs(4);

#[tokio::test]
async fn clients_that_do_not_answer_their_end_do_not_delay_stopping() {
    undisturbed(async || stop_without_answers()).await;
}

fn stop_without_answers() -> Result<(), String> {
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"10m\"\n{ROOMS}"));
    let _socket = Raw::client(&server);
    let _stream = EventStream::open(&server.clients[0], "/sse?room=all", &[]);
    open_polling(&server);
    server.until_metric("broadcastd_clients", |clients| clients == 3.0);
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    assert!(stopped(&server).contains("everything that was accepted is delivered"));
    assert!(server.wait().success());
    soon(begun)
}

/// An error if more time has passed than a stop takes that waits for nobody.
fn soon(begun: Instant) -> Result<(), String> {
    let took = begun.elapsed();
    if took < SOON { Ok(()) } else { Err(format!("the daemon stopped after {took:?}")) }
}

#[tokio::test]
async fn a_client_that_stopped_reading_does_not_delay_stopping_and_is_counted() {
    undisturbed(stop_with_one_that_does_not_read).await;
}

async fn stop_with_one_that_does_not_read() -> Result<(), String> {
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"10m\"\n{ROOMS}"));
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let mut quick = Client::connect(&server).await;
    quick.subscribe("agent:1").await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(20_000));
    server.pipe(&line.repeat(500));
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    server.publish("1", 1, 3);
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(quick.events(3).await.len(), 3);
    assert_eq!(quick.closed().await.0, 1001, "others are served and told");
    let line = stopped(&server);
    assert!(line.contains("clients_unfinished=1"), "{line}");
    assert!(server.wait().success());
    drop(client);
    soon(begun)
}

#[tokio::test]
async fn a_slow_reader_has_the_drain_timeout_while_it_makes_progress() {
    // One that the machine stalls for a second makes none.
    undisturbed(async || stop_with_a_slow_reader()).await;
}

fn stop_with_a_slow_reader() -> Result<(), String> {
    const EVENTS: u64 = 3000;
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"10m\"\n{ROOMS}"));
    let mut stream = std::net::TcpStream::connect(&server.clients[0]).unwrap();
    // A small window, so that the daemon has what is not read.
    socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).unwrap();
    stream
        .write_all(b"GET /sse?room=all HTTP/1.0\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")
        .unwrap();
    server.until_metric("broadcastd_clients", |clients| clients == 1.0);
    let fill = "x".repeat(1000);
    let line = |n: u64| format!("{{\"type\":\"t\",\"n\":{n},\"fill\":\"{fill}\"}}\n");
    server.pipe(&(1..=EVENTS).map(line).collect::<String>());
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked == 1.0);
    server.signal(Signal::SIGTERM);
    let (mut read, mut buffer, mut next) = (Vec::new(), vec![0; 64 << 10], Instant::now());
    loop {
        let len = std::io::Read::read(&mut stream, &mut buffer).map_err(|error| error.to_string())?;
        if len == 0 {
            break;
        }
        read.extend_from_slice(&buffer[..len]);
        // Its pace: with 64 KiB in 50 ms the whole takes more than two seconds.
        next += Duration::from_millis(50) * len as u32 / (64 << 10);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let read = String::from_utf8(read).unwrap();
    let line = stopped(&server);
    if !line.contains("everything that was accepted is delivered") {
        return Err(line);
    }
    let last = read.lines().rev().find(|line| line.contains("\"type\":\"event\"")).unwrap();
    assert!(last.contains(&format!("\"offset\":{EVENTS}")), "{last}");
    assert!(read.lines().last().unwrap().contains("closing"), "and it is told");
    assert!(server.wait().success());
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&format!("[server]\ndrain_timeout = \"10m\"\n{ROOMS}"));
    // Keeps the drain waiting.
    let _producer = Producer::connect(&server.ingest[0]);
    server.until_metric("broadcastd_producers", |producers| producers == 1.0);
    server.signal(Signal::SIGTERM);
    server.logged("a second signal ends at once");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(1));
    server.logged("ending at once");
}

#[test]
fn nobody_new_is_accepted_while_stopping() {
    let server = Server::start(&format!("[server]\ndrain_timeout = \"10m\"\n{ROOMS}"));
    let mut open = Producer::connect(&server.ingest[0]);
    server.until_metric("broadcastd_producers", |producers| producers == 1.0);
    server.signal(Signal::SIGTERM);
    // The daemon ends its direction when it stops: listeners are closed by then, or about to be.
    assert_eq!(open.read_to_end(), "");
    let until = Instant::now() + crate::harness::DEADLINE;
    for addr in [&server.ingest[0], &server.clients[0]] {
        while std::net::TcpStream::connect(addr).is_ok() {
            assert!(Instant::now() < until, "{addr} still accepts");
        }
    }
    // What is on its way is read on.
    open.write("{\"type\":\"t\",\"n\":1}\n");
    drop(open);
    assert!(stopped(&server).contains("everything"));
}

#[test]
fn sockets_are_removed() {
    let config = format!(
        "[server]\nlisten = [\"unix:clients.sock\"]\n[ingest]\nlisten = [{{ unix = \"in.sock\" }}, {{ fifo = \"in.fifo\" }}]\n{ROOMS}"
    );
    let mut server = Server::start(&config);
    let (clients, ingest) = (&server.clients[0]["unix:".len()..], &server.ingest[0]["unix:".len()..]);
    let paths = [clients.to_owned(), ingest.to_owned()];
    assert!(paths.iter().all(|path| std::path::Path::new(path).exists()), "{paths:?}");
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(paths.iter().all(|path| !std::path::Path::new(path).exists()), "{paths:?}");
}

#[test]
fn standard_input_is_read_to_its_end() {
    let (mut command, dir) =
        Server::command("[server]\ndrain_timeout = \"10s\"\n[rooms.all]\ntypes = [\"*\"]\n", &["--stdin"]);
    command.stdin(std::process::Stdio::piped());
    let mut server = Server::spawn((command, dir));
    let mut stdin = server.stdin();
    stdin.write_all(&b"{\"type\":\"t\"}\n".repeat(1000)).unwrap();
    drop(stdin);
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1000.0);
    server.signal(Signal::SIGTERM);
    assert!(stopped(&server).contains("everything"));
    assert!(server.wait().success());
}
