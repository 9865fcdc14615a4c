//! Tests of requests for streams: what is read of each, and what is refused.

use super::*;
use crate::config::OriginPattern;
use crate::metrics::HandshakeRefusal;
use crate::wire::Epoch;
use hyper::{Request, Version};
use std::net::IpAddr;

const BARE: Wire = Wire::Sse(Sse { bare: true, naming: Naming::None, transfer: Transfer::Chunked });
const SSE: Wire = Wire::Sse(Sse { bare: false, naming: Naming::None, transfer: Transfer::Chunked });

/// A good request with changes: a header with an empty value is left out, another name is added.
fn parts(query: &str, changes: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(format!("/sse{query}"));
    if !changes.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:9999");
    }
    for (name, value) in changes.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn names(name: &str) -> Result<(), Option<String>> {
    match name {
        "gone" => Err(Some("gown".to_owned())),
        "nowhere" => Err(None),
        _ => Ok(()),
    }
}

/// Asks at 127.0.0.1, or over a Unix socket.
fn ask(parts: &Parts, unix: bool) -> Result<Asked, Refusal> {
    let exact = |scheme: &str, host: &str| OriginPattern::Exact {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: None,
        any_port: false,
    };
    let known = Known {
        policy: Policy {
            local: (!unix).then(|| IpAddr::from([127, 0, 0, 1])),
            origins: &[OriginPattern::Local, exact("https", "app.example")],
            hosts: &["events.example".to_owned()],
        },
        rooms: &names,
        most_rooms: 4,
    };
    check_stream(parts, &known)
}

#[track_caller]
fn taken(query: &str, changes: &[(&str, &str)]) -> Asked {
    match ask(&parts(query, changes), false) {
        Ok(asked) => asked,
        Err(refusal) => panic!("{query} {changes:?}: {}", refusal.text),
    }
}

#[track_caller]
fn check_refused(query: &str, changes: &[(&str, &str)], status: u16, text: &str) -> Refusal {
    let refusal = ask(&parts(query, changes), false).expect_err(query);
    assert_eq!(refusal.status.as_u16(), status, "{query} {changes:?}: {}", refusal.text);
    assert!(refusal.text.contains(text), "{query} {changes:?}: {}", refusal.text);
    refusal
}

fn position(epoch: u64, offset: u64) -> Position {
    Position { epoch: Epoch(epoch), offset }
}

#[test]
fn rooms_are_each_taken_once_in_order() {
    for (query, rooms) in [
        ("?room=a", &["a"][..]),
        ("?room=a&room=agent%3A42&room=a", &["a", "agent:42"]),
        ("?room=&room=b+c", &["b c"]),
        ("?room=a&room=b&room=c&room=d", &["a", "b", "c", "d"]),
    ] {
        let asked = taken(query, &[]);
        let named: Vec<&str> = asked.rooms.iter().map(|room| room.room.as_str()).collect();
        assert_eq!(named, rooms, "{query}");
        assert!(asked.rooms.iter().all(|room| room.from == From::Now && room.condition.is_none()));
        assert!(asked.positions.is_empty());
    }
    let asked = taken("?room=a&room=b&from=last:10&where=n%20%3E%203", &[]);
    for room in &asked.rooms {
        assert_eq!(room.from, From::Last(10), "it holds for all rooms");
        assert_eq!(room.condition.as_ref().map(crate::pattern::Condition::source), Some("n > 3"));
    }
    let object = taken("?room=a&where=%7B%22agentId%22%3A%2242%22%7D", &[]);
    assert!(object.rooms[0].condition.is_some());
}

#[test]
fn a_query_and_accept_choose_the_wire() {
    let transfer = Transfer::Chunked;
    let named = |naming| Wire::Sse(Sse { bare: false, naming, transfer });
    for (more, accept, wire) in [
        ("", "", SSE),
        ("", "*/*", SSE),
        ("", "text/event-stream", SSE),
        ("&raw=1", "", BARE),
        ("&raw", "", BARE),
        ("&raw=0", "", SSE),
        ("&event=none", "", SSE),
        ("&event=type", "", named(Naming::Type)),
        ("&event=room", "", named(Naming::Room)),
        ("&raw=1&event=room", "", Wire::Sse(Sse { bare: true, naming: Naming::Room, transfer })),
        ("", "application/x-ndjson", Wire::Lines { bare: false, transfer }),
        ("&raw=1", "text/html, application/x-ndjson;q=0.9", Wire::Lines { bare: true, transfer }),
        ("", "application/jsonl", Wire::Lines { bare: false, transfer }),
        ("", "text/event-stream, application/x-ndjson", SSE),
    ] {
        let asked = taken(&format!("?room=a{more}"), &[("accept", accept)]);
        assert_eq!(asked.wire, wire, "{more} {accept}");
        let head = String::from_utf8(asked.head).unwrap();
        let kind = if matches!(wire, Wire::Sse(_)) { "text/event-stream" } else { "application/x-ndjson" };
        assert!(head.contains(&format!("\r\ncontent-type: {kind}\r\n")), "{head}");
    }
}

#[test]
fn the_head_keeps_proxies_from_keeping_anything_back() {
    let asked = taken("?room=a", &[]);
    assert_eq!(
        String::from_utf8(asked.head).unwrap(),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
         x-accel-buffering: no\r\nx-content-type-options: nosniff\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let head = String::from_utf8(taken("?room=a", &[("origin", "https://app.example")]).head).unwrap();
    assert!(
        head.ends_with(
            "\r\naccess-control-allow-origin: https://app.example\r\naccess-control-allow-credentials: true\r\n\
             vary: origin\r\n\r\n"
        ),
        "{head}"
    );
}

#[test]
fn where_the_last_stream_was_is_read_from_the_header_first() {
    for (more, header, positions) in [
        ("", "", vec![]),
        ("", "beef:7", vec![position(0xbeef, 7)]),
        ("", "a:1,b:2", vec![position(0xa, 1), position(0xb, 2)]),
        ("&last_event_id=a:1", "", vec![position(0xa, 1)]),
        ("&last_event_id=a:1", "b:2", vec![position(0xb, 2)]),
        ("&last_event_id=", "", vec![]),
        ("&lastEventId=a:1", "", vec![position(0xa, 1)]),
        ("&lastEventID=a:1", "", vec![position(0xa, 1)]),
        // A library adds its own to the address that it was made with.
        ("&last_event_id=a:1&lastEventId=a:9", "", vec![position(0xa, 9)]),
        ("&last_event_id=a:1&lastEventId=", "", vec![position(0xa, 1)]),
        ("&lastEventId=a:1", "b:2", vec![position(0xb, 2)]),
    ] {
        let asked = taken(&format!("?room=a&room=b{more}"), &[("last-event-id", header)]);
        assert_eq!(asked.positions, positions, "{more} {header}");
    }
    for id in ["x", "7", "a:1,", ",a:1", "a:1;b:2", "a:-1", &vec!["a:1"; MOST_ROOMS + 1].join(",")] {
        check_refused("?room=a", &[("last-event-id", id)], 400, "EPOCH:OFFSET");
    }
    check_refused("?room=a", &[("last-event-id", "a:1"), ("last-event-id", "a:1")], 400, "EPOCH:OFFSET");
    check_refused("?room=a", &[("last-event-id", "\u{e9}")], 400, "EPOCH:OFFSET");
    check_refused("?room=a&last_event_id=x", &[], 400, "EPOCH:OFFSET");
}

#[test]
fn a_stream_that_goes_on_outlives_one_of_its_rooms() {
    check_refused("?room=a&room=gone", &[], 404, "\"gone\"; did you mean \"gown\"?");
    check_refused("?room=nowhere", &[], 404, "no room has the name \"nowhere\"");
    let asked = taken("?room=a&room=gone", &[("last-event-id", "a:1")]);
    assert_eq!(asked.rooms.len(), 2, "it is told that one is gone");
    check_refused("?room=gone", &[("last-event-id", "a:1")], 404, "gone");
}

#[test]
fn each_mistake_has_its_answer() {
    for (query, status, text) in [
        ("", 400, "which rooms?"),
        ("?room=", 400, "which rooms?"),
        ("?room=%zz", 400, "percent-encoded"),
        ("?room=a&form=start", 400, "no field \"form\" in a query; did you mean \"from\"?"),
        ("?rooms=a", 400, "did you mean \"room\"?"),
        ("?room%5B%5D=a", 400, "did you mean \"room\"?"),
        ("?room=a&last=10", 400, "did you mean \"from\"?"),
        ("?room=a&lastEvent=a:1", 400, "did you mean \"last_event_id\"?"),
        ("?room=a&from=Now", 400, "did you mean `now`?"),
        ("?room=a&from=last:x", 400, "`from.last`"),
        ("?room=a&from=now&from=start", 400, "from is given twice"),
        ("?room=a&where=n%20%3D%3D", 400, "`where`"),
        ("?room=a&raw=yes", 400, "raw is 1 or 0"),
        ("?room=a&event=message", 400, "event is none, type or room"),
        ("?room=a&room=b&room=c&room=d&room=e", 400, "4 rooms at most"),
        (&format!("?room={}", "x".repeat(201)), 400, "201 bytes"),
    ] {
        let refusal = check_refused(query, &[], status, text);
        assert_eq!(refusal.reason, HandshakeRefusal::BadRequest);
    }
    for method in [Method::POST, Method::HEAD, Method::PUT] {
        let mut wrong = parts("?room=a", &[]);
        wrong.method = method;
        let refusal = ask(&wrong, false).unwrap_err();
        assert_eq!(refusal.status.as_u16(), 405);
        assert_eq!(refusal.header, Some((header::ALLOW, "GET, OPTIONS")));
    }
    let mut old = parts("?room=a", &[]);
    old.version = Version::HTTP_10;
    let asked = ask(&old, false).expect("proxies that speak HTTP/1.0 get their stream");
    assert_eq!(asked.wire, Wire::Sse(Sse::default()), "to the end of the connection");
    assert!(!String::from_utf8(asked.head).unwrap().contains("chunked"));
}

#[test]
fn fields_that_are_not_ours_mean_nothing() {
    let plain = taken("?room=a", &[]);
    for more in
        ["_=1700000000000", "t=1", "access_token=x.y.z", "token=", "ts=1&ts=2", "v", "utm_source=mail"]
    {
        assert_eq!(taken(&format!("?{more}&room=a"), &[]), plain, "{more}");
    }
}

#[test]
fn a_page_is_known_by_its_origin_or_by_the_name_that_it_used() {
    for host in
        ["localhost:9999", "127.0.0.1:9999", "[::1]", "events.example:80", "app.example", "app.example:443"]
    {
        taken("?room=a", &[("host", host)]);
    }
    for hosts in [&[("host", "rebound.example:9999")][..], &[("host", "localhost.rebound.example")]] {
        let refusal = check_refused("?room=a", hosts, 403, "ingest.hosts");
        assert_eq!(refusal.reason, HandshakeRefusal::BadRequest);
    }
    for hosts in [&[("host", "")][..], &[("host", "localhost"), ("host", "localhost")]] {
        check_refused("?room=a", hosts, 400, "exactly one Host");
    }
    assert!(
        ask(&parts("?room=a", &[("host", "rebound.example")]), true).is_ok(),
        "a mode guards a Unix socket"
    );
    for origin in ["http://localhost:3000", "https://app.example"] {
        taken("?room=a", &[("origin", origin), ("host", "any.example")]);
    }
    for origin in ["https://evil.example", "null", "https://localhost.evil.example"] {
        let refusal = check_refused("?room=a", &[("origin", origin)], 403, "log");
        assert_eq!(refusal.reason, HandshakeRefusal::Origin);
        assert!(ask(&parts("?room=a", &[("origin", origin)]), true).is_err(), "{origin}");
    }
    let two = [("origin", "http://localhost"), ("origin", "http://localhost")];
    let refusal = check_refused("?room=a", &two, 403, "one Origin");
    assert_eq!(refusal.reason, HandshakeRefusal::Origin);
}
