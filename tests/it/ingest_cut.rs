//! Producers that break off: bodies that end early or are malformed, connections that fail, lines that never end; and quiet
//! producers, which are none of these.

use crate::harness::{Producer, ROOMS, Server};
use serde_json::{Value, json};
use std::net::Shutdown;

const EVENT: &str = "{\"type\":\"t\"}";
const LENGTH: &str = "Content-Length: 100";
const CHUNKED: &str = "Transfer-Encoding: chunked";

fn post(header: &str, body: &str) -> String {
    format!("POST /events HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n{body}")
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Sends text, ends the direction, and returns all that is answered.
fn half_closed(addr: &str, text: &str) -> String {
    let mut producer = Producer::connect(addr);
    producer.write(text);
    match &producer {
        Producer::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        Producer::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
    }
    producer.read_to_end()
}

/// The status, the head in small letters, and the body of an answer.
fn parts(answer: &str) -> (u16, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_body_that_breaks_off_is_answered_with_400_and_its_cut_line() {
    let server = Server::start(ROOMS);
    let half = "{\"type\":\"t\",\"n\"";
    let lines = format!("{EVENT}\n{half}");
    let pretty = "{\n \"type\": \"t\"\n}\n{\n \"type\":";
    // The bytes sent, the code of the whole, the accepted events, and the place of the cut line.
    let cases = [
        (post(LENGTH, &lines), "incomplete_body", 1, Some((2, 16))),
        (post(LENGTH, &format!("{EVENT}\n")), "incomplete_body", 1, None),
        (post(LENGTH, ""), "incomplete_body", 0, None),
        // Nobody knows whether an event is whole before its line ends.
        (post(LENGTH, EVENT), "incomplete_body", 0, Some((1, 13))),
        (post(LENGTH, &format!("[{EVENT}, {half}")), "incomplete_body", 1, Some((1, 31))),
        (post(LENGTH, &format!("[{EVENT},")), "incomplete_body", 1, None),
        (post(LENGTH, pretty), "incomplete_body", 1, Some((5, 9))),
        (post(CHUNKED, &chunk(&lines)), "incomplete_body", 1, Some((2, 16))),
        (post(CHUNKED, &format!("40\r\n{lines}")), "incomplete_body", 1, Some((2, 16))),
        (post(CHUNKED, &format!("{}0\r\n", chunk(&lines))), "incomplete_body", 1, Some((2, 16))),
        (
            post(CHUNKED, &format!("{}zz\r\n{EVENT}\n\r\n0\r\n\r\n", chunk(&lines))),
            "bad_chunk",
            1,
            Some((2, 16)),
        ),
        (post(CHUNKED, "zz\r\n"), "bad_chunk", 0, None),
        (post(CHUNKED, &format!("1\r\n{lines}")), "bad_chunk", 0, Some((1, 2))),
    ];
    let mut cut = 0.0;
    for (request, code, accepted, place) in &cases {
        let (status, head, answer) = parts(&half_closed(&server.ingest[0], request));
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{request}\n{answer}");
        assert!(head.contains("\r\nconnection: close"), "{request}\n{head}");
        let rejected = u64::from(place.is_some());
        assert_eq!(
            (&answer["accepted"], &answer["rejected"]),
            (&json!(accepted), &json!(rejected)),
            "{request}\n{answer}"
        );
        if let Some((line, column)) = place {
            let error = &answer["errors"][0];
            assert_eq!(error["code"], "cut_off", "{request}\n{answer}");
            assert_eq!(
                (&error["line"], &error["column"]),
                (&json!(line), &json!(column)),
                "{request}\n{answer}"
            );
            cut += 1.0;
        }
    }
    assert_eq!(server.metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}"), cut);
    let (_, listed) = Server::get(&server.admin[0], "/api/v1/rejected");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["rejected"][0]["code"], &listed["rejected"][0]["count"]),
        (&json!("cut_off"), &json!(cut as u64))
    );
    // A body of no bytes is whole.
    assert_eq!(parts(&half_closed(&server.ingest[0], &post("Content-Length: 0", ""))).0, 200);
}

#[test]
fn a_client_that_sends_on_after_a_malformed_chunk_still_gets_its_answer() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&post(CHUNKED, &format!("{}zz\r\n", chunk(&format!("{EVENT}\n")))));
    // More than the kernel takes unread would be reset with the connection.
    producer.write(&"x".repeat(200_000));
    let (status, _, answer) = parts(&producer.read_until(|text| text.ends_with("}\n")));
    assert_eq!((status, &answer["accepted"]), (400, &json!(1)), "{answer}");
    assert_eq!(producer.read_to_end(), "", "and the end of the connection");
}

#[test]
fn a_post_that_does_not_tell_its_length_is_refused_with_411() {
    let server = Server::start(ROOMS);
    for version in ["1.0", "1.1"] {
        let request = format!("POST /events HTTP/{version}\r\nHost: localhost\r\n\r\n{EVENT}\n");
        let (status, head, answer) = parts(&half_closed(&server.ingest[0], &request));
        assert_eq!((status, &answer["error"]["code"]), (411, &json!("length_required")), "{answer}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
    }
    assert_eq!(server.metric("broadcastd_ingest_events_total"), 0.0);
}

#[test]
fn a_connection_that_is_reset_within_a_line_counts_the_line() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&format!("{EVENT}\n{{\"ty"));
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
    let Producer::Tcp(stream) = producer else { panic!("a TCP connection was expected") };
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    server.until_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}", |lines| lines == 1.0);
    assert!(server.logged("line refused").contains("line=2"));
}

#[test]
fn a_line_that_makes_no_progress_is_refused_and_its_producer_kept() {
    let server = Server::start(&format!("[ingest]\nline_timeout = \"100ms\"\n{ROOMS}"));
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&format!("{EVENT}\n{{\"ty"));
    server.until_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}", |lines| lines == 1.0);
    producer.write(&format!("pe\":\"t\"}}\n{EVENT}\n"));
    let answers = producer.finish();
    assert_eq!(answers[0]["error"]["line"], 2, "{answers:?}");
    assert!(answers[0]["error"]["hint"].as_str().unwrap().contains("ingest.line_timeout"), "{answers:?}");
    assert_eq!(answers[1], json!({ "accepted": 2, "rejected": 1, "line": 3 }));
    // The same within a body, of lines and of values.
    for (body, rest, accepted) in [("{\"ty", "pe\":\"t\"}\n", 2), ("[{\"ty", "pe\":\"t\"},", 2)] {
        let refused = server.metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}");
        let mut producer = Producer::connect(&server.ingest[0]);
        producer.write(&post(CHUNKED, &chunk(body)));
        server.until_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}", |lines| {
            lines == refused + 1.0
        });
        let close = if body.starts_with('[') { "]" } else { "" };
        let comma = if body.starts_with('[') { "," } else { "\n" };
        producer.write(&format!("{}0\r\n\r\n", chunk(&format!("{rest}{EVENT}{comma}{EVENT}{close}"))));
        let (status, _, answer) = parts(&producer.read_until(|text| text.ends_with("}\n")));
        assert_eq!((status, &answer["accepted"]), (200, &json!(accepted)), "{answer}");
        assert_eq!(answer["rejected"], 1, "{answer}");
    }
}

#[test]
fn a_dripping_line_is_refused_although_bytes_keep_coming() {
    let server = Server::start(&format!("[ingest]\nline_timeout = \"100ms\"\n{ROOMS}"));
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("{");
    // Each byte is read before the next is sent.
    let mut bytes = server.until_metric("broadcastd_ingest_bytes_total", |bytes| bytes >= 1.0);
    while server.metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}") == 0.0 {
        producer.write("x");
        bytes = server.until_metric("broadcastd_ingest_bytes_total", |now| now > bytes);
    }
    producer.write(&format!("\n{EVENT}\n"));
    assert_eq!(producer.finish().last().unwrap()["accepted"], 1);
}

#[test]
fn an_idle_timeout_closes_quiet_producers_in_order() {
    let config = format!(
        "[ingest]\nlisten = [\"127.0.0.1:0\", {{ unix = \"in.sock\" }}]\nidle_timeout = \"2s\"\n{ROOMS}"
    );
    let server = Server::start(&config);
    let mut producers = Vec::new();
    for addr in &server.ingest {
        for text in [format!("{EVENT}\nnonsense\n"), post(CHUNKED, &chunk(&format!("{EVENT}\n")))] {
            let mut producer = Producer::connect(addr);
            producer.write(&text);
            producers.push(producer);
        }
    }
    for pair in producers.chunks_mut(2) {
        let answer = pair[0].read_to_end();
        assert!(answer.contains("\"code\":\"bad_json\""), "{answer}");
        assert!(answer.ends_with("{\"accepted\":1,\"rejected\":1,\"line\":2}\n"), "{answer}");
        let (status, head, answer) = parts(&pair[1].read_to_end());
        assert_eq!((status, &answer["accepted"]), (408, &json!(1)), "{answer}");
        assert_eq!(answer["error"]["code"], "idle", "{answer}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
    }
    assert_eq!(server.metric("broadcastd_producers_closed_total{reason=\"idle\"}"), 4.0);
}
