//! Each client is asked once in a heartbeat, however many there are.

use super::super::new_client::{ClientSocket, NewClient};
use super::super::shards::ShardPolls;
use super::*;
use crate::alert::Alerts;
use crate::config::Config;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::room::Rooms;
use mio::Events;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

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
    shard.adopt(NewClient {
        socket: ClientSocket::Unix(theirs),
        wire: Wire::WebSocket,
        head: Vec::new(),
        early: Vec::new(),
        rooms: Vec::new(),
        positions: Vec::new(),
        permit: counter.admit(None, &config.limits).unwrap(),
        forwarded: None,
        socketio: None,
    });
    ours
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
