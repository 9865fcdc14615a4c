//! Sessions that poll.

use super::super::session::Kind;
use super::*;
use crate::config::Namespace;
use crate::wire::frame::push_close;
use crate::wire::{SocketIo, Wire};

#[tokio::test]
async fn a_session_is_opened_and_handed_to_a_shard() {
    let mut bench = bench();
    let mut client = bench.connect().await;
    let answered = ask(&mut client, &get("&t=abc")).await;
    let shard = Shard::adopt(bench.take());
    answered.is(
        200,
        &format!(
            "0{{\"sid\":\"{}\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\
             \"maxPayload\":100000}}",
            shard.sid()
        ),
    );
    for line in [
        "content-type: text/plain; charset=utf-8\r\n",
        "cache-control: no-store\r\n",
        "keep-alive: timeout=10\r\n",
    ] {
        assert!(answered.head.contains(line), "{line:?} in {answered:?}");
    }
    assert!(!answered.head.contains("connection: close"), "{answered:?}");
    let unconnected = SocketIo::new(Namespace::main(), false);
    assert_eq!(shard.client.wire, Wire::SocketIo(unconnected));
    assert_eq!(shard.client.forwarded, "127.0.0.1".parse().ok(), "its socket has no address");
    assert_eq!(
        (bench.clients.connected(), bench.state.polling_sessions(), bench.state.under_way()),
        (1, 1, 0)
    );
    drop(shard);
    assert_eq!((bench.clients.connected(), bench.state.polling_sessions()), (0, 0));
}

#[tokio::test]
async fn requests_carry_packets_both_ways_on_one_connection() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    ask(&mut client, &post(&sid, "40\u{1e}3\u{1e}bAQID")).await.is(200, "ok");
    assert_eq!(shard.read(3).await, ["40", "3", "Binary([1, 2, 3])"]);
    shard.send(&["40{\"sid\":\"x\"}", "2"]).await;
    shard.socket.write_all(&[0x89, 0, 0x82, 4, 1, 2, 3, 4]).await.unwrap();
    ask(&mut client, &poll(&sid)).await.is(200, "40{\"sid\":\"x\"}\u{1e}2\u{1e}bAQIDBA==");
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    let mut other = bench.connect().await;
    ask(&mut other, &post(&sid, "41")).await.is(200, "ok");
    assert_eq!(shard.read(1).await, ["41"], "a request that waits keeps none from being brought");
    shard.send(&["42[\"late\"]"]).await;
    read_answer(&mut client).await.is(200, "42[\"late\"]");
    // A path without the slash at its end, and what is no session's, are served on the same connection.
    ask(&mut other, &get("").replace("/socket.io/", "/socket.io")).await;
    ask(&mut other, "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is(200, "page of /page");
}

#[tokio::test]
async fn a_payload_that_is_malformed_ends_its_session() {
    for body in ["abc", "", "4a\u{1e}", "4a\u{1e}b*", "0{}", "\u{1e}", "7"] {
        let mut bench = bench();
        let (mut client, mut shard) = open(&mut bench).await;
        ask(&mut client, &post(shard.sid(), body)).await.is_error(400, 3);
        assert!(shard.is_ended().await, "{body:?}");
        assert_eq!(bench.state.polling_sessions(), 0);
        let mut other = bench.connect().await;
        ask(&mut other, &poll(shard.sid())).await.is_error(400, 1);
    }
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let mut request = post(shard.sid(), "4ab").into_bytes();
    let last = request.len() - 1;
    request[last] = 0xff;
    client.write_all(&request).await.unwrap();
    read_answer(&mut client).await.is_error(400, 3);
    assert!(shard.is_ended().await);
}

#[tokio::test]
async fn a_payload_that_is_too_long_is_refused_and_changes_nothing() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let long = format!("4{}", "x".repeat(100_000));
    ask(&mut client, &post(&sid, &long)).await.is_error(413, 3);
    let mut other = bench.connect().await;
    let head = post(&sid, "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    ask(&mut other, &format!("{head}{:x}\r\n{long}\r\n0\r\n\r\n", long.len())).await.is_error(413, 3);
    let mut third = bench.connect().await;
    ask(&mut third, &post(&sid, &long[1..])).await.is_error(400, 3);
    assert!(shard.is_ended().await, "x is no type");
    let (mut client, mut shard) = open(&mut bench).await;
    ask(&mut client, &post(shard.sid(), &long[..100_000])).await.is(200, "ok");
    assert_eq!(shard.read(1).await[0].len(), 100_000);
}

#[tokio::test]
async fn two_requests_of_a_kind_at_once_end_their_session() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    client.write_all(poll(shard.sid()).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(shard.sid()).unwrap().is_taken(Kind::Poll)).await;
    let mut other = bench.connect().await;
    ask(&mut other, &poll(shard.sid())).await.is_error(400, 3);
    read_answer(&mut client).await.is(200, "1");
    assert!(shard.is_ended().await);

    let (mut client, mut shard) = open(&mut bench).await;
    let half = post(shard.sid(), "4ab");
    client.write_all(&half.as_bytes()[..half.len() - 1]).await.unwrap();
    until(|| bench.state.sessions.get(shard.sid()).unwrap().is_taken(Kind::Post)).await;
    let mut other = bench.connect().await;
    ask(&mut other, &post(shard.sid(), "4")).await.is_error(400, 3);
    assert!(shard.is_ended().await);
    assert_eq!(bench.state.polling_sessions(), 0);
}

#[tokio::test]
async fn a_request_that_is_cut_off_ends_its_session() {
    for request in [poll("SID"), { post("SID", "4ab").trim_end_matches('b').to_owned() }] {
        let mut bench = bench();
        let (mut client, mut shard) = open(&mut bench).await;
        client.write_all(request.replace("SID", shard.sid()).as_bytes()).await.unwrap();
        let kind = if request.starts_with("GET") { Kind::Poll } else { Kind::Post };
        until(|| bench.state.sessions.get(shard.sid()).unwrap().is_taken(kind)).await;
        drop(client);
        assert!(shard.is_ended().await, "{request}");
        bench.settle().await;
        assert_eq!(bench.state.polling_sessions(), 0);
    }
}

#[tokio::test]
async fn a_client_that_closes_has_its_poll_answered() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    client.write_all(poll(shard.sid()).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(shard.sid()).unwrap().is_taken(Kind::Poll)).await;
    let mut other = bench.connect().await;
    ask(&mut other, &post(shard.sid(), "4a\u{1e}1\u{1e}4b")).await.is(200, "ok");
    read_answer(&mut client).await.is(200, "6");
    assert_eq!(shard.read(2).await, ["4a", "1"], "what comes after the end means nothing");
    assert!(shard.is_ended().await);
    ask(&mut client, &poll(shard.sid())).await.is_error(400, 1);
}

#[tokio::test]
async fn a_client_that_closes_has_its_poll_answered_though_that_arrives_later() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let mut other = bench.connect().await;
    client.write_all(post(shard.sid(), "1").as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(shard.sid()).unwrap().is_taken(Kind::Post)).await;
    ask(&mut other, &poll(shard.sid())).await.is(200, "6");
    read_answer(&mut client).await.is(200, "ok");
    assert_eq!(shard.read(1).await, ["1"]);
    ask(&mut other, &poll(shard.sid())).await.is_error(400, 1);

    // One that does not poll is waited for no longer than a moment.
    let (mut client, mut shard) = open(&mut bench).await;
    ask(&mut client, &post(shard.sid(), "1")).await.is(200, "ok");
    assert!(shard.is_ended().await);
    ask(&mut client, &poll(shard.sid())).await.is_error(400, 1);
}

#[tokio::test]
async fn what_a_shard_sent_before_it_closed_is_delivered_first() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    shard.send(&["42[1]", "42[2]"]).await;
    let mut close = Vec::new();
    push_close(&mut close, 1001, "stopping");
    shard.socket.write_all(&close).await.unwrap();
    shard.socket.shutdown().await.unwrap();
    ask(&mut client, &poll(&sid)).await.is(200, "42[1]\u{1e}42[2]");
    ask(&mut client, &poll(&sid)).await.is(200, "1");
    assert!(shard.is_ended().await, "the shard need not wait for it");
    ask(&mut client, &poll(&sid)).await.is_error(400, 1);

    let (mut client, shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Poll)).await;
    drop(shard);
    read_answer(&mut client).await.is(200, "1");
}

#[tokio::test]
async fn a_front_that_stops_ends_sessions_that_nobody_can_ask_for_any_more() {
    let mut bench = bench();
    let (alone, mut left) = open(&mut bench).await;
    drop(alone);
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Poll)).await;
    let stopping = async {
        bench.stop().await;
        assert!(left.is_ended().await, "its shard need not wait");
    };
    let fetching = async {
        shard.send(&["42[1]"]).await;
        read_answer(&mut client).await.is(200, "42[1]");
        drop(client);
        assert!(shard.is_ended().await);
    };
    tokio::join!(stopping, fetching);
}

#[tokio::test]
async fn a_session_that_its_shard_let_go_of_is_unknown_at_once() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    shard.send(&["2"]).await;
    shard.client.socketio = None;
    ask(&mut client, &poll(&sid)).await.is_error(400, 1);
    let mut other = bench.connect().await;
    ask(&mut other, &post(&sid, "3")).await.is_error(400, 1);
    assert!(!bench.counted("bad_request"), "it is how sessions end");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_takes_nothing_is_waited_for_in_vain() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let body = format!("4{}", "x".repeat(99_999));
    let request = post(shard.sid(), &body);
    loop {
        client.write_all(request.as_bytes()).await.unwrap();
        let answered = read_answer(&mut client).await;
        if answered.head.starts_with("http/1.1 200 ") {
            continue;
        }
        answered.is_error(400, 3);
        break;
    }
    assert_eq!(bench.state.polling_sessions(), 0);
    assert!(shard.is_ended().await);
}

#[tokio::test]
async fn limits_hold_for_sessions() {
    let mut bench = Bench::new(|config| config.limits.clients = 0);
    let answer = bench.ask(&get("")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5\r\n"), "{answer}");
    assert!(bench.counted("clients"));
    assert_eq!(bench.state.polling_sessions(), 0);
    let mut bench = Bench::new(|config| {
        config.limits.clients_per_ip = Some(1);
    });
    let (_client, _shard) = open(&mut bench).await;
    let mut other = bench.connect().await;
    let answered = ask(&mut other, &get("")).await;
    assert!(answered.head.starts_with("http/1.1 429 "), "{answered:?}");
    assert!(bench.counted("clients_per_ip"));
}

#[tokio::test]
async fn a_poll_that_comes_again_has_lost_its_answer_and_a_post_that_does_was_taken() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let marked = |mut request: String, t: &str| {
        request.insert_str(request.find(" HTTP").unwrap(), &format!("&t={t}"));
        request
    };
    for _ in 0..2 {
        ask(&mut client, &marked(post(&sid, "42[\"a\"]"), "1")).await.is(200, "ok");
    }
    ask(&mut client, &marked(post(&sid, "42[\"b\"]"), "1")).await.is(200, "ok");
    ask(&mut client, &marked(post(&sid, "42[\"b\"]"), "2")).await.is(200, "ok");
    assert_eq!(shard.read(3).await, ["42[\"a\"]", "42[\"b\"]", "42[\"b\"]"]);
    for t in ["1", "2"] {
        shard.send(&["42[\"c\"]"]).await;
        ask(&mut client, &marked(poll(&sid), t)).await.is(200, "42[\"c\"]");
    }
    // Without a mark a request is always another one.
    for _ in 0..2 {
        shard.send(&["42[\"d\"]"]).await;
        ask(&mut client, &poll(&sid)).await.is(200, "42[\"d\"]");
    }
    shard.send(&["42[\"e\"]"]).await;
    ask(&mut client, &marked(poll(&sid), "3")).await.is(200, "42[\"e\"]");
    let mut other = bench.connect().await;
    ask(&mut other, &marked(poll(&sid), "3")).await.is_error(400, 1);
    assert!(shard.is_ended().await);
    assert_eq!(bench.state.polling_sessions(), 0);
}
