//! A part of a room's history over HTTP: exact at the edges, whole or cut short visibly, in no more memory than a page.

use crate::harness::{DEADLINE, ROOMS, Server, undisturbed};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// An answer to a request for history.
pub struct Answer {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub lines: Vec<Value>,
    /// Whether it came to its end.
    whole: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    /// What the events say of their number.
    fn numbers(&self) -> Vec<u64> {
        self.lines.iter().filter_map(|line| line["n"].as_u64()).collect()
    }
}

fn ask(server: &Server, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.admin[0]).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let target = format!("/api/v1/room/events?{query}");
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    stream
}

pub fn get(server: &Server, query: &str) -> Answer {
    let mut bytes = Vec::new();
    ask(server, query).read_to_end(&mut bytes).unwrap();
    read(&bytes)
}

fn read(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the head ends");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let mut body = &bytes[end + 4..];
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.contains("transfer-encoding: chunked") {
        return Answer { status, head, lines: vec![serde_json::from_slice(body).unwrap()], whole: true };
    }
    let (mut text, mut whole) = (Vec::new(), false);
    while let Some(at) = body.windows(2).position(|two| two == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap(), 16).unwrap();
        whole = len == 0;
        let Some(chunk) = body.get(at + 2..at + 2 + len) else { break };
        text.extend_from_slice(chunk);
        body = body.get(at + 4 + len..).unwrap_or_default();
    }
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    Answer { status, head, lines: lines.map(|line| serde_json::from_slice(line).unwrap()).collect(), whole }
}

fn gap(first: u64, offset: u64, reason: &str) -> Value {
    json!({ "type": "gap", "room": "all", "first": first, "offset": offset, "missed": offset + 1 - first, "reason": reason })
}

#[test]
fn history_is_exact_at_its_edges() {
    let server = Server::start("[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 100 }\n");
    server.publish("1", 1, 150);
    let first = get(&server, "room=all");
    assert_eq!((first.status, first.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!((first.header("broadcast-first"), first.header("broadcast-head")), ("51", "150"));
    let epoch = first.header("broadcast-epoch").to_owned();
    let after = |offset: u64| format!("after:{epoch}:{offset}");
    // What is asked for, after which offset it begins, and what is missing before.
    for (from, begins, missing) in [
        ("start".to_owned(), 50, None),
        ("now".to_owned(), 150, None),
        ("last:0".to_owned(), 150, None),
        ("last:1".to_owned(), 149, None),
        ("last:64".to_owned(), 86, None),
        ("last:65".to_owned(), 85, None),
        ("last:100".to_owned(), 50, None),
        ("last:101".to_owned(), 50, None),
        ("since:-1h".to_owned(), 50, None),
        ("since:0".to_owned(), 50, None),
        ("since:2026-01-01T00:00:00Z".to_owned(), 50, None),
        ("since:9999-12-31T23:59:59%2B01:00".to_owned(), 150, None),
        ("%7B%22last%22:3%7D".to_owned(), 147, None),
        (after(150), 150, None),
        (after(149), 149, None),
        (after(50), 50, None),
        (after(49), 49, Some(gap(50, 50, "history_expired"))),
        (after(0), 0, Some(gap(1, 50, "history_expired"))),
    ] {
        let bare = get(&server, &format!("room=all&from={from}"));
        assert!(bare.whole, "{from}");
        let begins = begins.max(50);
        assert_eq!(bare.numbers(), (begins + 1..=150).collect::<Vec<_>>(), "{from}");
        let told: Vec<&Value> = bare.lines.iter().filter(|line| line.get("$gap").is_some()).collect();
        let control = missing.clone().map(|gap| json!({ "$gap": gap }));
        assert_eq!(told, control.iter().collect::<Vec<_>>(), "{from}");
        let framed = get(&server, &format!("room=all&frames=1&from={from}"));
        let mut lines = framed.lines.into_iter();
        if let Some(gap) = missing {
            assert_eq!(lines.next(), Some(gap));
        }
        for (offset, data) in (begins + 1..=150).zip(bare.lines.iter().filter(|line| line.get("n").is_some()))
        {
            let expected =
                json!({ "type": "event", "room": "all", "offset": offset, "seq": offset, "data": data });
            assert_eq!(lines.next(), Some(expected), "{from}");
        }
        assert_eq!(lines.next(), Some(json!({ "type": "position", "room": "all", "offset": 150 })), "{from}");
        assert_eq!(lines.next(), None);
    }
    // A position of another life of the log, and one that was never reached.
    for from in ["after:1:7".to_owned(), after(151)] {
        let answer = get(&server, &format!("room=all&from={from}"));
        let began_anew = &answer.lines[0]["$gap"];
        assert_eq!((&began_anew["reason"], &began_anew["epoch"]), (&json!("epoch_changed"), &json!(epoch)));
        assert_eq!((&began_anew["offset"], &began_anew["missed"]), (&json!(50), &Value::Null));
        assert_eq!(answer.numbers(), (51..=150).collect::<Vec<_>>(), "{from}");
    }
}

#[test]
fn pages_follow_one_another_and_filters_leave_out() {
    let server = Server::start("[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 5000 }\n");
    server.publish("1", 1, 3000);
    let epoch = get(&server, "room=all&limit=1").header("broadcast-epoch").to_owned();
    for (limit, condition) in [(1000, None), (29, None), (64, Some("n%20%3E%201500"))] {
        let (mut from, mut numbers, mut pages) = ("start".to_owned(), Vec::new(), 0);
        loop {
            let condition = condition.map_or_else(String::new, |condition| format!("&where={condition}"));
            let answer = get(&server, &format!("room=all&frames=1&limit={limit}&from={from}{condition}"));
            let (position, events) = answer.lines.split_last().unwrap();
            assert!(answer.whole && events.len() <= limit);
            numbers.extend(events.iter().map(|event| event["data"]["n"].as_u64().unwrap()));
            assert!(events.iter().all(|event| event["offset"] == event["data"]["n"]));
            pages += 1;
            if position["offset"] == 3000 && events.len() < limit {
                break;
            }
            from = format!("after:{epoch}:{}", position["offset"]);
        }
        let first = if condition.is_some() { 1501 } else { 1 };
        assert_eq!(numbers, (first..=3000).collect::<Vec<_>>(), "{limit} {condition:?}");
        assert!(pages >= numbers.len() / limit);
    }
    let none = get(&server, "room=all&where=has(nothing)&frames=1");
    assert_eq!(none.lines, [json!({ "type": "position", "room": "all", "offset": 3000 })]);
    let none = get(&server, "room=all&where=has(nothing)");
    assert!(none.whole && none.lines.is_empty());
    let few = get(&server, "room=all&where=%7B%22n%22%3A%5B5%2C2999%5D%7D");
    assert_eq!(few.numbers(), [5, 2999]);
    // Of the newest ten, the oldest three.
    assert_eq!(get(&server, "room=all&from=last:10&limit=3").numbers(), [2991, 2992, 2993]);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let server = Server::start(ROOMS);
    for (query, status, part) in [
        ("", 400, "`room` is missing"),
        ("room=al", 404, "did you mean"),
        ("room=agent%3Aa%2Fb", 404, "room=agent%3Aa%252Fb"),
        ("room=agent%3A7", 404, "agent:7"),
        ("room=all&from=yesterday", 400, "since"),
        ("room=all&from=since:2026-11-25", 400, "with its zone"),
        ("room=all&from=since:1700000000", 400, "not seconds"),
        ("room=all&form=start", 400, "room, from, where, limit and frames"),
        ("room=all&where=n%20%3D%201", 400, "column"),
        ("room=all&limit=0", 400, "from 1 to 10000"),
        ("room=all&limit=10001", 400, "from 1 to 10000"),
        ("room=all&frames=maybe", 400, "1 or 0"),
        ("room=%zz", 400, "percent-encoded"),
    ] {
        let answer = get(&server, query);
        let said = answer.lines[0].to_string();
        assert!(answer.status == status && said.contains(part), "{query}: {} {said}", answer.status);
    }
}

/// A daemon with some 40 MB of history, in 4,000 events.
fn laden(more: &str) -> Server {
    let rooms = "[limits]\nhistory_memory = \"1GiB\"\n\
                 [rooms.all]\ntypes = [\"*\"]\nhistory = { events = 4000, bytes = \"1GiB\" }\n";
    let server = Server::start(&format!("{more}{rooms}"));
    fill(&server, 1);
    server
}

fn fill(server: &Server, first: u64) {
    let line = |n| format!("{{\"type\":\"t\",\"n\":{n},\"fill\":\"{}\"}}\n", "x".repeat(10_000));
    for first in (first..first + 4000).step_by(500) {
        let lines: String = (first..first + 500).map(line).collect();
        assert_eq!(server.pipe(&lines).last().unwrap()["accepted"], 500);
    }
}

#[test]
fn an_answer_takes_a_page_of_memory_and_tells_what_overtook_it() {
    let server = laden("");
    let memory = || server.metric("process_resident_memory_bytes");
    let before = memory();
    let mut streams: Vec<TcpStream> = (0..8).map(|_| ask(&server, "room=all&limit=10000&frames=1")).collect();
    let mut heads = vec![[0; 1]; streams.len()];
    for (stream, head) in streams.iter_mut().zip(&mut heads) {
        stream.read_exact(head).unwrap();
    }
    let grown = memory() - before;
    assert!(grown < 20e6, "eight answers of 40 MB each take {grown} bytes");
    // Nobody reads on, and history moves away from under them.
    fill(&server, 4001);
    for (mut stream, head) in streams.into_iter().zip(heads) {
        let mut bytes = head.to_vec();
        stream.read_to_end(&mut bytes).unwrap();
        let answer = read(&bytes);
        assert!(answer.whole);
        let (position, lines) = answer.lines.split_last().unwrap();
        let mut next = 1;
        let mut gaps = 0;
        for line in lines {
            if line["type"] == "gap" {
                assert_eq!((&line["first"], &line["offset"]), (&json!(next), &json!(4000)));
                assert_eq!(line["missed"], 4001 - next);
                gaps += 1;
                next = 4001;
            } else {
                assert_eq!((&line["offset"], &line["data"]["n"]), (&json!(next), &json!(next)));
                next += 1;
            }
        }
        assert_eq!((next, gaps, &position["offset"]), (4001, 1, &json!(4000)));
    }
}

#[tokio::test]
async fn who_takes_nothing_is_left_and_who_is_slow_is_not() {
    // This one is given up as well if the machine stalls it for that second.
    undisturbed(async || slow_and_stalled(&laden("[server]\nhandshake_timeout = \"1s\"\n"))).await;
}

/// Reads one answer slowly and one not at all. An error if the slow one was cut.
fn slow_and_stalled(server: &Server) -> Result<(), String> {
    let mut stalled = ask(server, "room=all&limit=10000");
    let mut slow = ask(server, "room=all&limit=10000");
    let begun = Instant::now();
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    for turn in 1.. {
        let read = slow.read(&mut piece).map_err(|error| error.to_string())?;
        bytes.extend_from_slice(&piece[..read]);
        if read == 0 {
            break;
        }
        std::thread::sleep((turn * Duration::from_millis(3)).saturating_sub(begun.elapsed()));
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    let answer = read(&bytes);
    if !answer.whole {
        return Err(format!("a slow answer was cut after {:?}", begun.elapsed()));
    }
    assert_eq!(answer.numbers(), (1..=4000).collect::<Vec<_>>());
    server.until_metric("broadcastd_handshakes_refused_total{reason=\"timeout\"}", |count| count == 1.0);
    let mut bytes = Vec::new();
    // Cut short, or ended by a reset.
    let _ = stalled.read_to_end(&mut bytes);
    assert!(!read(&bytes).whole);
    Ok(())
}
