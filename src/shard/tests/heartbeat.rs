//! Each client is asked once in a heartbeat, however many there are.

use super::super::new_client::{ClientSocket, NewClient, NewSocketIo};
use super::super::shards::ShardPolls;
use super::*;
use crate::alert::Alerts;
use crate::config::Config;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::room::Rooms;
use mio::Events;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Three of them are looked at in the first step.
const CLIENTS: usize = 2 * BEATS + 1;

fn shard_of(config: &Arc<Config>) -> Shard {
    let (metrics, polls) = (Arc::new(Metrics::new()), ShardPolls::new(1).unwrap());
    let rooms = Rooms::new(config, polls.bells(), Arc::clone(&metrics)).unwrap();
    let alerts = Alerts::new(metrics::Counter::noop()).0;
    Shard::new(polls.into_parts(&rooms, &metrics, &alerts).remove(0))
}

fn connect(shard: &mut Shard, counter: &Arc<ClientCounter>, config: &Config) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    adopt(shard, (counter, config), ClientSocket::Unix(theirs), None);
    ours
}

fn connect_tcp(shard: &mut Shard, counter: &Arc<ClientCounter>, config: &Config) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_nonblocking(true).unwrap();
    adopt(shard, (counter, config), ClientSocket::Tcp(theirs), None);
    ours
}

fn adopt(
    shard: &mut Shard,
    (counter, config): (&Arc<ClientCounter>, &Config),
    socket: ClientSocket,
    socketio: Option<NewSocketIo>,
) {
    let wire = match socketio {
        None => Wire::WebSocket,
        Some(_) => {
            Wire::SocketIo(crate::wire::SocketIo::new(crate::config::Namespace::named("/").unwrap(), false))
        }
    };
    shard.adopt(NewClient {
        socket,
        wire,
        head: Vec::new(),
        early: Vec::new(),
        rooms: Vec::new(),
        positions: Vec::new(),
        permit: counter.admit(None, &config.limits).unwrap(),
        forwarded: None,
        socketio: socketio.map(Box::new),
    });
}

/// Pings that have arrived, after a `welcome` maybe.
fn pings(mut stream: &UnixStream) -> usize {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer) {
        Ok(len) => buffer[..len].windows(2).filter(|bytes| *bytes == [0x89, 0]).count(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_step_of_many_clients_is_gone_through_in_turns_and_nobody_is_left_out() {
    let config = Arc::new(Config::default());
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect(&mut shard, &counter, &config)).collect();
    let asked = || clients.iter().map(pings).collect::<Vec<_>>();
    assert_eq!(asked(), [0; CLIENTS]);
    let next = shard.ask_some(0, 2);
    assert_eq!(next, Some(2 * BEATS));
    let (mut expected, last) = ([0; CLIENTS], 2 * BEATS);
    (expected[0], expected[BEATS]) = (1, 1);
    assert_eq!(asked(), expected);
    assert_eq!(shard.ask_some(last, 2), None);
    let mut expected = [0; CLIENTS];
    expected[last] = 1;
    assert_eq!(asked(), expected);
    // A whole heartbeat, step by step.
    let mut events = Events::with_capacity(16);
    for _ in 0..BEATS {
        shard.ahead += shard.heartbeat / BEATS as u32 + Duration::from_millis(1);
        shard.turn(&mut events, Duration::ZERO);
        assert_eq!(shard.asking, None, "three clients are few");
    }
    assert_eq!(asked(), [1; CLIENTS]);
}

/// A masked pong without a payload, as a client sends it.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// The one client's heartbeat, a whole one later. Whether the client is still there.
fn beat(shard: &mut Shard) -> bool {
    shard.now += shard.heartbeat;
    if shard.clients.contains(0) {
        shard.ask(0, &mut Vec::new());
    }
    shard.clients.contains(0)
}

/// Sends an event and reads it; returns when the system has told that it is acknowledged.
fn deliver(shard: &mut Shard, client: &mut TcpStream) {
    let before = shard.clients[0].socket.acknowledged().unwrap();
    shard.answer(0, &[b'e'; 1000]);
    client.read_exact(&mut [0; 1000]).unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while shard.clients[0].socket.acknowledged().unwrap() < before + 1000 {
        assert!(Instant::now() < until, "nothing is acknowledged");
    }
}

#[test]
fn a_client_that_takes_events_is_not_silent_however_late_its_pongs_are() {
    let config = Arc::new(Config::default());
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let mut client = connect_tcp(&mut shard, &counter, &config);
    for beats in 0..20 {
        assert!(beat(&mut shard), "after {beats} heartbeats");
        deliver(&mut shard, &mut client);
    }
    // Pings alone are acknowledged by a system whose client may be gone.
    let left = (0..20).take_while(|_| beat(&mut shard)).count();
    assert!(left <= 12, "{left} heartbeats without an event");
}

#[test]
fn pongs_may_be_two_heartbeats_late_once_a_client_has_spoken() {
    let config = Arc::new(Config::default());
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let mut client = connect(&mut shard, &counter, &config);
    client.write_all(&PONG).unwrap();
    shard.readable(0);
    for _ in 0..4 {
        assert!((0..4).all(|_| beat(&mut shard)), "three pings wait for a pong");
        client.write_all(&PONG).unwrap();
        shard.readable(0);
    }
    assert_eq!((0..10).take_while(|_| beat(&mut shard)).count(), 5, "and then it is gone");
}

#[test]
fn a_client_that_never_spoke_has_two_heartbeats() {
    let config = Arc::new(Config::default());
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let _client = connect(&mut shard, &counter, &config);
    assert_eq!((0..10).take_while(|_| beat(&mut shard)).count(), 2);
}

#[test]
fn pongs_that_a_late_shard_has_not_read_count_before_a_client_is_given_up() {
    let config = Arc::new(Config::default());
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let mut client = connect(&mut shard, &counter, &config);
    for beats in 0..20 {
        // The shard does not poll in between.
        assert!(beat(&mut shard), "after {beats} heartbeats");
        client.write_all(&PONG).unwrap();
    }
    drop(client);
    assert!((0..10).any(|_| !beat(&mut shard)), "an end is found as well");
}

#[test]
fn a_full_socket_that_has_drained_is_not_given_up_by_a_late_shard() {
    let config = Arc::new(Config::default());
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let mut client = connect(&mut shard, &counter, &config);
    let fill = |shard: &mut Shard| {
        while !shard.clients[0].blocked {
            shard.answer(0, &[b'e'; 4096]);
        }
    };
    for _ in 0..4 {
        fill(&mut shard);
        assert!((0..2).all(|_| beat(&mut shard)));
        // It reads, and the shard has not heard that its socket is ready.
        while client.read(&mut [0; 4096]).is_ok() {}
        assert!(beat(&mut shard));
    }
    fill(&mut shard);
    assert_eq!((0..10).take_while(|_| beat(&mut shard)).count(), 2, "one that takes nothing is gone");
}

/// A client of Socket.IO that was asked a moment ago, and whose time to answer is over.
fn asked_over(socket: ClientSocket, session: Option<Box<dyn Send>>) -> Shard {
    let mut config = Config::default();
    config.socketio.connect_timeout = Duration::from_secs(3600);
    let config = Arc::new(config);
    let (mut shard, counter) = (shard_of(&config), ClientCounter::new());
    let new = NewSocketIo {
        sid: "sid".into(),
        opened: shard.now,
        ping_interval: config.socketio.ping_interval,
        ping_timeout: config.socketio.ping_timeout,
        session,
    };
    adopt(&mut shard, (&counter, &config), socket, Some(new));
    shard.now += config.socketio.ping_interval;
    shard.beat_socketio();
    shard.now += config.socketio.ping_timeout;
    shard
}

fn unix_pair() -> (UnixStream, ClientSocket) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, ClientSocket::Unix(theirs))
}

#[test]
fn a_socketio_client_is_given_up_only_after_what_it_sent_is_read() {
    for (sent, stays) in [(true, true), (false, false)] {
        let (mut client, socket) = unix_pair();
        let mut shard = asked_over(socket, None);
        if sent {
            client.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'3']).unwrap();
        }
        shard.beat_socketio();
        assert_eq!(shard.clients.contains(0), stays, "a pong waits: {sent}");
    }
}

#[test]
fn a_socketio_client_that_takes_events_is_not_silent() {
    for (takes, stays) in [(true, true), (false, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut shard = asked_over(ClientSocket::Tcp(theirs), None);
        // The ping.
        client.read_exact(&mut [0; 3]).unwrap();
        if takes {
            deliver(&mut shard, &mut client);
        }
        shard.beat_socketio();
        assert_eq!(shard.clients.contains(0), stays, "it takes events: {takes}");
    }
}

#[test]
fn a_session_whose_polls_take_everything_is_not_silent() {
    for (polls, stays) in [(true, true), (false, false)] {
        let (mut front, socket) = unix_pair();
        let mut shard = asked_over(socket, Some(Box::new(())));
        if polls {
            assert_eq!(front.read(&mut [0; 1024]).unwrap(), 3);
        }
        shard.beat_socketio();
        assert_eq!(shard.clients.contains(0), stays, "it polls: {polls}");
    }
}
