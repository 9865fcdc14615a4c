//! Clients of Socket.IO that come back: what they say of where they were, and what they find.

use crate::harness::{ROOMS, Server};
use crate::socketio_client::{Back, Io};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A client that keeps the last string that an event ended with, as the library does, whatever session that is of.
struct Keeping {
    io: Io,
    back: Back,
}

impl Keeping {
    fn connect(server: &Server, mut back: Back) -> (Keeping, bool) {
        let mut io = Io::open(server);
        io.send(&format!("40{}", json!({ "pid": back.pid, "offset": back.offset })));
        let (kind, _, connected) = io.packet();
        assert_eq!(kind, "40", "{connected}");
        back.pid = connected["pid"].clone();
        let mut client = Keeping { io, back };
        let established = client.event("connection_established");
        (client, established["recovered"] == true)
    }

    /// The next event, which has this name.
    fn event(&mut self, name: &str) -> Value {
        let (_, _, args) = self.io.packet();
        assert_eq!(args[0], name, "{args}");
        if let Some(string) = args.as_array().unwrap().last().and_then(Value::as_str) {
            self.back.offset = Some(string.to_owned());
        }
        args[1].clone()
    }

    fn emit(&mut self, name: &str, argument: &Value) {
        self.io.send(&format!("42{}", json!([name, argument])));
    }

    /// Loses the connection, and comes back with what it had read.
    fn again(self, server: &Server) -> (Keeping, bool) {
        let Keeping { io, back } = self;
        drop(io);
        Keeping::connect(server, back)
    }

    fn numbers(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.event("t")["n"].as_u64().unwrap()).collect()
    }
}

#[test]
fn a_new_session_does_not_begin_where_the_last_one_ended() {
    let server = Server::start(ROOMS);
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.emit("subscribe", &json!("all"));
    client.event("subscription_confirmed");
    server.publish("1", 1, 3);
    assert_eq!(client.numbers(3), [1, 2, 3]);
    // A secret that nobody knows any more is a client that was not recovered.
    client.back.pid = "forgotten".into();
    let (mut client, recovered) = client.again(&server);
    assert!(!recovered);
    assert_eq!(client.back.offset.as_deref(), Some(""), "it is in no room");
    // Lost before any event of a room has come, but for that it is there.
    client.emit("subscribe", &json!({ "rooms": [{ "room": "all", "from": "start" }] }));
    client.event("subscription_confirmed");
    let (mut client, recovered) = client.again(&server);
    assert!(recovered);
    client.event("subscription_confirmed");
    server.publish("1", 4, 1);
    assert_eq!(client.numbers(4), [1, 2, 3, 4]);
}

#[test]
fn a_room_that_is_entered_again_begins_where_it_is_told_to() {
    let server = Server::start(ROOMS);
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.emit("subscribe", &json!(["all", "agent:1"]));
    client.event("subscription_confirmed");
    server.publish("2", 1, 3);
    assert_eq!(client.numbers(3), [1, 2, 3]);
    client.emit("unsubscribe", &json!(["all"]));
    client.event("unsubscription_confirmed");
    assert_eq!(client.back.offset.as_ref().unwrap().split(',').count(), 1, "it is in one room");
    // The connection is lost before it is told that it is in the room again.
    client.emit("subscribe", &json!({ "rooms": [{ "room": "all", "from": { "last": 2 } }] }));
    server.until_metric("broadcastd_room_subscribers{room=\"all\"}", |subscribers| subscribers == 1.0);
    let (mut client, recovered) = client.again(&server);
    assert!(recovered);
    client.event("subscription_confirmed");
    assert_eq!(client.numbers(2), [2, 3]);
}

const KEYED: &str = "[rooms.states]\ntypes = [\"*\"]\nkey = \"agentId\"\n[rooms.all]\ntypes = [\"*\"]\n";

#[test]
fn a_snapshot_that_is_asked_for_in_a_room_already_joined_is_given() {
    let server = Server::start(KEYED);
    server.publish("1", 1, 2);
    server.publish("2", 3, 1);
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.emit("subscribe", &json!("states"));
    client.event("subscription_confirmed");
    let asked = json!({ "rooms": [{ "room": "states", "snapshot": true }] });
    client.emit("subscribe", &asked);
    client.event("subscription_confirmed");
    // Lost before its end, it is given anew.
    let (mut client, recovered) = client.again(&server);
    assert!(recovered);
    client.event("subscription_confirmed");
    assert_eq!(client.numbers(2), [2, 3]);
    assert_eq!(client.event("position")["offset"], 3);
    // In a room without a key there is none, and the client stays where it is.
    client.emit("subscribe", &json!("all"));
    client.event("subscription_confirmed");
    client.emit("subscribe", &json!({ "rooms": [{ "room": "all", "snapshot": true }] }));
    let error = client.event("subscription_error");
    assert_eq!((&error["code"], &error["room"]), (&"bad_field".into(), &"all".into()), "{error}");
    server.publish("3", 4, 1);
    assert_eq!(client.numbers(2), [4, 4]);
}

#[test]
fn who_comes_back_is_in_the_rooms_that_all_are_to_be_in_since() {
    let config = |auto_join: &str| format!("[socketio]\nauto_join = [{auto_join}]\n{ROOMS}");
    let mut server = Server::start(&config("\"all\", \"agent:1\""));
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.event("subscription_confirmed");
    client.emit("unsubscribe", &json!(["all"]));
    client.event("unsubscription_confirmed");
    server.publish("2", 1, 1);
    let joined = |client: &mut Keeping| client.event("subscription_confirmed")["subscriptions"].clone();
    // It is in what is new, from now on, and not in what it has left.
    server.reconfigure(&config("\"all\", \"agent:1\", \"agent:2\""));
    let (mut client, recovered) = client.again(&server);
    assert!(recovered);
    assert_eq!(joined(&mut client), json!(["agent:1", "agent:2"]));
    server.publish("2", 2, 1);
    assert_eq!(client.numbers(1), [2]);
    client.emit("unsubscribe", &json!(["agent:2"]));
    client.event("unsubscription_confirmed");
    let Keeping { io, back } = client;
    drop(io);
    // After a restart with another file likewise.
    std::fs::write(server.config(), config("\"agent:2\", \"agent:3\"")).unwrap();
    server = server.restart();
    let (mut client, recovered) = Keeping::connect(&server, back);
    assert!(recovered);
    assert_eq!(joined(&mut client), json!(["agent:1", "agent:3"]));
}

#[test]
fn how_long_clients_are_remembered_follows_a_reload_for_those_who_are_gone_already() {
    let config = |recovery: &str| format!("[socketio]\nrecovery = \"{recovery}\"\n{ROOMS}");
    let server = Server::start(&config("1h"));
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.emit("subscribe", &json!("all"));
    client.event("subscription_confirmed");
    let Keeping { io, back } = client;
    drop(io);
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
    server.reconfigure(&config("30m"));
    let (client, recovered) = Keeping::connect(&server, back);
    assert!(recovered);
    let Keeping { io, back } = client;
    drop(io);
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
    server.reconfigure(&config("off"));
    server.reconfigure(&config("1h"));
    assert!(!Keeping::connect(&server, back).1, "it was forgotten when nobody was remembered");
}

#[test]
fn who_was_in_no_room_when_its_connection_was_lost_is_not_recovered() {
    let server = Server::start(ROOMS);
    let (client, _) = Keeping::connect(&server, Back::default());
    // What it emitted is lost with its connection: it must know that it is to emit it again.
    let (mut client, recovered) = client.again(&server);
    assert!(!recovered);
    client.emit("subscribe", &json!("all"));
    client.event("subscription_confirmed");
    client.emit("unsubscribe", &json!("all"));
    client.event("unsubscription_confirmed");
    assert!(client.again(&server).1, "it has left all rooms");
}

#[test]
fn what_the_first_namespace_tells_does_not_change_with_one_that_is_entered_after_a_reload() {
    let config = |recovery: &str| {
        format!("[socketio]\nnamespaces = [\"/\", \"/b\"]\nrecovery = \"{recovery}\"\n{ROOMS}")
    };
    let server = Server::start(&config("1h"));
    let (mut io, mut back, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!(["all", "agent:1"]));
    server.reconfigure(&config("off"));
    io.enter("/b", &Back::default());
    server.publish("1", 1, 1);
    let (numbers, last) = io.numbers("/", 2);
    assert_eq!((numbers, last.split(',').count()), (vec![1, 1], 2), "{last}");
    // So it has nothing twice, should it come back after all.
    server.reconfigure(&config("1h"));
    drop(io);
    back.offset = Some(last);
    let (mut io, _, recovered) = Io::connect(&server, "/", &back);
    assert!(recovered);
    assert_eq!(io.packet().2[0], "subscription_confirmed");
    server.publish("1", 2, 1);
    assert_eq!(io.numbers("/", 2).0, [2, 2]);
}

#[test]
fn positions_of_a_crashed_daemon_count_for_rooms_that_are_joined_by_themselves_or_with_a_snapshot() {
    let auto = format!("[socketio]\nauto_join = [\"all\"]\n{KEYED}");
    let mut server = Server::start(&auto);
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.event("subscription_confirmed");
    client.emit("subscribe", &json!("states"));
    client.event("subscription_confirmed");
    server.publish("1", 1, 1);
    assert_eq!(client.numbers(2), [1, 1]);
    let Keeping { io, back } = client;
    drop(io);
    server.signal(Signal::SIGKILL);
    server = server.start_again();
    server.publish("1", 2, 1);
    let (mut client, recovered) = Keeping::connect(&server, back.clone());
    assert!(!recovered);
    client.event("subscription_confirmed");
    assert_eq!(client.event("gap")["reason"], "epoch_changed");
    assert_eq!(client.numbers(1), [2]);
    // A snapshot that is asked for is the whole state: nothing is missing.
    client.emit("subscribe", &json!({ "rooms": [{ "room": "states", "snapshot": true }] }));
    client.event("subscription_confirmed");
    assert_eq!(client.numbers(1), [2]);
    assert_eq!(client.event("position")["offset"], 1);
    // An explicit `from` counts; and a room that the client has left begins where it is entered again.
    let (mut client, _) = Keeping::connect(&server, back);
    client.event("subscription_confirmed");
    client.event("gap");
    client.numbers(1);
    client.emit("subscribe", &json!({ "rooms": [{ "room": "states", "from": { "last": 0 } }] }));
    client.event("subscription_confirmed");
    client.emit("unsubscribe", &json!(["all", "states"]));
    client.event("unsubscription_confirmed");
    server.publish("1", 3, 1);
    client.emit("subscribe", &json!(["all", "states"]));
    client.event("subscription_confirmed");
    server.publish("1", 4, 1);
    assert_eq!(client.numbers(2), [4, 4]);
}

#[test]
fn after_an_orderly_restart_positions_of_a_forgotten_session_are_no_loss_in_other_rooms() {
    let mut server = Server::start(ROOMS);
    let (mut client, _) = Keeping::connect(&server, Back::default());
    client.emit("subscribe", &json!("all"));
    client.event("subscription_confirmed");
    server.publish("1", 1, 1);
    assert_eq!(client.numbers(1), [1]);
    let Keeping { io, mut back } = client;
    drop(io);
    server = server.restart();
    server.publish("2", 2, 1);
    back.pid = "forgotten".into();
    let (mut client, recovered) = Keeping::connect(&server, back);
    assert!(!recovered);
    client.emit("subscribe", &json!("agent:2"));
    client.event("subscription_confirmed");
    client.emit("subscribe", &json!("all"));
    client.event("subscription_confirmed");
    assert_eq!(client.numbers(1), [2], "it resumes in the room that it was in, and begins now in the other");
}
