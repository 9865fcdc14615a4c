//! Many producers at once: their places, and the memory of their unfinished lines.

use crate::harness::{DEADLINE, Producer, ROOMS, Server};
use serde_json::json;
use std::time::Instant;

const EVENT: &str = "{\"type\":\"t\"}\n";

/// True if a producer that connects is taken, which its first answer tells.
fn is_taken(addr: &str) -> bool {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // One that is refused may be reset before or after this.
    let _ = stream.write_all(EVENT.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer == "{\"accepted\":1,\"rejected\":0,\"line\":1}\n"
}

/// The most memory that a daemon has had, and what it has, in KiB.
fn memory(server: &Server, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn quiet_producers_give_way_to_new_ones_and_never_shut_another_listener_out() {
    let config =
        format!("[ingest]\nlisten = [\"127.0.0.1:0\", {{ unix = \"in.sock\" }}]\nconnections = 3\n{ROOMS}");
    let server = Server::start(&config);
    // One has sent lines, one has sent nothing, one keeps a request open.
    let mut quiet: Vec<Producer> = (0..3).map(|_| Producer::connect(&server.ingest[0])).collect();
    quiet[0].write(EVENT);
    quiet[2].write(&format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{EVENT}\r\n",
        EVENT.len()
    ));
    server.until_metric("broadcastd_ingest_events_total", |events| events == 2.0);
    server.until_metric("broadcastd_producers", |producers| producers == 3.0);
    let mut unix = Producer::connect(&server.ingest[1]);
    unix.write(EVENT);
    assert_eq!(unix.finish().last().unwrap()["accepted"], 1, "another listener has places of its own");
    // Each new one gets the place of the one that is quiet longest, and keeps it within a line.
    let mut new = Vec::new();
    let until = Instant::now() + DEADLINE;
    while new.len() < 3 {
        assert!(Instant::now() < until, "only {} gave way", new.len());
        let gone = server.metric("broadcastd_producers_closed_total{reason=\"gave_way\"}");
        let refused = server.metric("broadcastd_producers_refused_total");
        let mut producer = Producer::connect(&server.ingest[0]);
        producer.write("{");
        let settled = || {
            let now = server.metric("broadcastd_producers_closed_total{reason=\"gave_way\"}");
            let is_refused = server.metric("broadcastd_producers_refused_total") > refused;
            (now > gone || is_refused).then_some(now > gone)
        };
        loop {
            if let Some(is_taken) = settled() {
                new.extend(is_taken.then_some(producer));
                break;
            }
            assert!(Instant::now() < until, "a producer was neither taken nor refused");
        }
    }
    assert!(!is_taken(&server.ingest[0]), "those within a line do not give way");
    assert_eq!(quiet[0].read_to_end(), "{\"accepted\":1,\"rejected\":0,\"line\":1}\n");
    assert_eq!(quiet[1].read_to_end(), "");
    let answer = quiet[2].read_to_end();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"accepted\":1"), "{answer}");
    assert!(answer.contains("\"code\":\"gave_way\""), "{answer}");
    for mut producer in new {
        producer.write("\"type\":\"t\"}\n");
        assert_eq!(producer.finish(), [json!({ "accepted": 1, "rejected": 0, "line": 1 })]);
    }
}

#[test]
fn unfinished_lines_stay_within_the_backlog_and_all_of_them_can_end() {
    let config = "[ingest]\nbacklog = \"4MiB\"\nconnections = 200\n[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 1 }\n";
    let server = Server::start(config);
    server.pipe(EVENT);
    let before = memory(&server, "VmRSS:");
    let fill = "x".repeat(700 * 1024);
    let producers = 60;
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let mut producer = Producer::connect(&server.ingest[0]);
            let half = format!("{{\"type\":\"t\",\"fill\":\"{fill}");
            std::thread::spawn(move || {
                producer.write(&half);
                producer
            })
        })
        .collect();
    // Their share is taken, and a producer of short lines is served all the same.
    server.until_metric("broadcastd_backlog_bytes", |bytes| bytes >= f64::from(2 << 20));
    assert_eq!(server.pipe(&EVENT.repeat(1000)).last().unwrap()["accepted"], 1000);
    let open: Vec<Producer> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let peak = memory(&server, "VmHWM:").saturating_sub(before);
    assert!(peak < 12 << 10, "{producers} halves of 700 KiB took {peak} KiB");
    let backlog = server.metric("broadcastd_backlog_bytes");
    assert!(backlog < f64::from(4 << 20), "{backlog}");
    // Now all lines end at once. On a slow machine some may have stalled in the way of others.
    let ends: Vec<_> = open
        .into_iter()
        .map(|mut producer| {
            std::thread::spawn(move || {
                producer.write("\"}\n");
                producer.finish().last().unwrap().clone()
            })
        })
        .collect();
    let totals: Vec<_> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    assert!(totals.iter().all(|total| total["line"] == 1), "{totals:?}");
    let accepted = totals.iter().filter(|total| total["accepted"] == 1).count() as f64;
    let cut = server.metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}");
    assert_eq!(accepted + cut, f64::from(producers), "every line was taken or told");
    assert!(accepted > 0.0);
    server.until_metric("broadcastd_producers", |producers| producers == 0.0);
    server.until_metric("broadcastd_backlog_bytes", |bytes| bytes == 0.0);
    let until = Instant::now() + DEADLINE;
    while memory(&server, "VmRSS:") > before + (6 << 10) {
        assert!(Instant::now() < until, "{} KiB before, {} KiB after", before, memory(&server, "VmRSS:"));
        std::thread::yield_now();
    }
}
