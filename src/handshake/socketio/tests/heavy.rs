//! Many sessions, much at once, and the end of it all.

use super::super::session::Kind;
use super::upgrading::{connect, frame, on_its_way, probe};
use super::*;
use crate::config::ListenAddr;
use crate::handshake::NewListener;
use crate::listen::Listener;

#[tokio::test]
async fn a_thousand_sessions_that_poll_are_no_handshakes() {
    // Of handshakes there may be 16.
    let mut bench = Bench::new(|config| config.limits.clients = 1001);
    let mut sessions = Vec::new();
    for _ in 0..1000 {
        let (mut client, shard) = open(&mut bench).await;
        client.write_all(poll(shard.sid()).as_bytes()).await.unwrap();
        sessions.push((client, shard));
    }
    let poll_waits = |shard: &Shard| bench.state.sessions.get(shard.sid()).unwrap().is_taken(Kind::Poll);
    until(|| sessions.iter().all(|(_, shard)| poll_waits(shard))).await;
    assert_eq!((bench.state.under_way(), bench.state.polling_sessions()), (0, 1000));
    bench.state.under_way.room(1, |_| panic!("there is room")).await;
    for (index, (_, shard)) in sessions.iter_mut().enumerate() {
        shard.send(&[&format!("42[{index}]")]).await;
    }
    for (index, (client, _)) in sessions.iter_mut().enumerate() {
        read_answer(client).await.is(200, &format!("42[{index}]"));
    }
    // Each goes on with its connection.
    for (client, shard) in &mut sessions {
        ask(client, &post(shard.sid(), "3")).await.is(200, "ok");
        assert_eq!(shard.read(1).await, ["3"]);
    }
    assert_eq!(bench.state.under_way(), 0);
}

#[tokio::test]
async fn the_oldest_idle_connection_gives_way() {
    let mut bench = Bench::new(|config| config.server.handshakes = 1);
    let preflight = get("").replace("GET", "OPTIONS");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = bench.connect().await;
        ask(&mut client, &preflight).await.is(204, "");
        clients.push(client);
    }
    for client in &mut clients[..2] {
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }
    ask(&mut clients[2], &preflight).await.is(204, "");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_after_the_time_of_a_handshake() {
    let mut bench = bench();
    let (mut client, shard) = open(&mut bench).await;
    client.write_all(poll(shard.sid()).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(shard.sid()).unwrap().is_taken(Kind::Poll)).await;
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut shard = shard;
    shard.send(&["2"]).await;
    read_answer(&mut client).await.is(200, "2");
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(began.elapsed().as_secs(), 3610);
    bench.settle().await;
    assert!(!bench.counted("timeout"), "it had its answers");
    assert_eq!(bench.state.polling_sessions(), 1, "the session is its shard's to end");
}

#[tokio::test]
async fn payloads_are_bounded_and_lose_nothing() {
    let mut bench = bench();
    let (mut client, shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    let long = format!("4{}", "y".repeat(1_000_000));
    let packets: Vec<String> = (0..2000)
        .map(|number| format!("42[{number},\"{}\"]", "x".repeat(number % 700)))
        .chain([long])
        .collect();
    let sent = packets.clone();
    let mut shard = shard;
    let sending = tokio::spawn(async move {
        for packet in sent {
            shard.send(&[&packet]).await;
        }
        shard
    });
    let mut received: Vec<String> = Vec::new();
    while received.len() < packets.len() {
        let answered = ask(&mut client, &poll(&sid)).await;
        let parts: Vec<String> = answered.body.split('\u{1e}').map(str::to_owned).collect();
        let before_last = answered.body.len() - parts.last().unwrap().len();
        assert!(before_last <= 256 * 1024 + 1, "{before_last}");
        received.extend(parts);
    }
    assert!(received == packets);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn an_answer_that_does_not_arrive_ends_its_session() {
    let mut bench = bench();
    let (mut client, mut shard) = open(&mut bench).await;
    let sid = shard.sid().to_owned();
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    // More than the kernel holds for a client that does not read.
    let long = format!("4{}", "y".repeat(16 << 20));
    shard.send(&[&long]).await;
    read_head(&mut client).await;
    assert_eq!(bench.state.polling_sessions(), 1);
    drop(client);
    assert!(shard.is_ended().await);
    bench.settle().await;
    assert_eq!(bench.state.polling_sessions(), 0);
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_at_an_upgrade_under_load() {
    for round in 0..40_usize {
        let mut bench = bench();
        let (mut client, shard) = open(&mut bench).await;
        let sid = shard.sid().to_owned();
        let mut shard = shard;
        // A shard that sends without a pause, until its socket is full and the upgrade has come.
        let sending = tokio::spawn(async move {
            for number in 0..3000_usize {
                shard.send(&[&format!("4{number}:{}", "x".repeat((number * 7 + round) % 300))]).await;
            }
            shard
        });
        let mut received: Vec<String> = Vec::new();
        for _ in 0..round % 5 {
            let answered = ask(&mut client, &poll(&sid)).await;
            received.extend(answered.body.split('\u{1e}').map(str::to_owned));
        }
        let mut socket = connect(&mut bench, &sid).await;
        client.write_all(poll(&sid).as_bytes()).await.unwrap();
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        probe(&mut socket).await;
        let last = read_answer(&mut client).await;
        received.extend(last.body.split('\u{1e}').filter(|packet| *packet != "6").map(str::to_owned));
        socket.write_all(&frame("5")).await.unwrap();
        until(|| bench.state.polling_sessions() == 0).await;
        drop(client);
        bench.settle().await;
        let mut upgraded = bench.take_upgraded();
        let mut bytes = Vec::new();
        while !sending.is_finished() || bytes.is_empty() {
            bytes.extend(on_its_way(&mut upgraded));
            tokio::task::yield_now().await;
        }
        let shard = sending.await.unwrap();
        bytes.extend(on_its_way(&mut upgraded));
        let mut rest = &bytes[..];
        while let Some((packet, len)) = super::super::frames::read(rest) {
            let super::super::frames::Frame::Text(packet) = packet else { panic!("{packet:?}") };
            received.push(packet.to_owned());
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        let numbers: Vec<usize> =
            received.iter().map(|packet| packet[1..packet.find(':').unwrap()].parse().unwrap()).collect();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>(), "round {round}");
        drop(shard);
    }
}

#[tokio::test]
async fn sessions_go_on_while_the_front_stops_until_their_shards_have_closed_them() {
    let bench = bench();
    let listener = Listener::bind("address", &ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr: std::net::SocketAddr = listener.addr().to_string().parse().unwrap();
    let (trigger, shutdown) = crate::shutdown::pair();
    let (_removal, removed) = crate::shutdown::pair();
    let running = tokio::spawn(bench.front().run(NewListener { listener, removed }, shutdown));
    let mut client = TcpStream::connect(addr).await.unwrap();
    ask(&mut client, &get("")).await;
    let mut shard = Shard::adopt(bench.take());
    let sid = shard.sid().to_owned();
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Poll)).await;
    let mut silent = TcpStream::connect(addr).await.unwrap();
    until(|| bench.state.under_way() == 1).await;
    trigger.fire();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0, "a handshake under way is ended");
    shard.send(&["42[\"last\"]"]).await;
    read_answer(&mut client).await.is(200, "42[\"last\"]");
    ask(&mut client, &post(&sid, "3")).await.is(200, "ok");
    client.write_all(poll(&sid).as_bytes()).await.unwrap();
    until(|| bench.state.sessions.get(&sid).unwrap().is_taken(Kind::Poll)).await;
    assert!(!running.is_finished());
    drop(shard);
    read_answer(&mut client).await.is(200, "1");
    running.await.unwrap();
    assert_eq!(bench.state.polling_sessions(), 0);
}
