//! Socket.IO at the daemon's own sockets, every byte the test's own: hostile packets, connections that are lost, reloads and
//! readers that stop. What the library makes of it is tested with the library (tests/socketio).

use crate::harness::{ROOMS, Server, http};
use crate::raw::frame;
use crate::socketio_client::{Back, Io, Packet, open_polling, poll, probe};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Rates that tests do not reach.
const GENEROUS: &str = "[limits.client]\nmessages = { rate = \"1000/s\", burst = 10000 }\n\
                        subscriptions = { rate = \"1000/s\", burst = 10000 }\n";

#[test]
fn each_namespace_comes_back_to_where_it_was() {
    let server = Server::start(&format!("[socketio]\nnamespaces = [\"/\", \"/b\"]\n{ROOMS}"));
    let (mut io, main, _) = Io::connect(&server, "/", &Back::default());
    let (pid, _) = io.enter("/b", &Back::default());
    io.subscribe("/", &json!(["all", "agent:1"]));
    io.subscribe("/b", &json!(["agent:1"]));
    server.publish("1", 1, 3);
    // In two rooms of one namespace, and in one of them in the other.
    let (mut offsets, mut seen) = ([String::new(), String::new()], [0; 2]);
    for _ in 0..9 {
        let (_, namespace, args) = io.packet();
        let index = usize::from(namespace == "/b");
        seen[index] += 1;
        args[2].as_str().unwrap().clone_into(&mut offsets[index]);
    }
    assert_eq!(seen, [6, 3]);
    assert_eq!(offsets.each_ref().map(|offset| offset.split(',').count()), [2, 1], "{offsets:?}");
    drop(io);
    server.publish("1", 4, 2);
    let [of_main, of_b] = offsets;
    let (mut io, _, recovered) = Io::connect(&server, "/b", &Back { pid, offset: Some(of_b) });
    assert!(recovered && io.packet().2[0] == "subscription_confirmed");
    assert_eq!(io.numbers("/b", 2).0, [4, 5]);
    let (mut io, _, recovered) = Io::connect(&server, "/", &Back { offset: Some(of_main), ..main });
    assert!(recovered && io.packet().2[0] == "subscription_confirmed");
    let (mut numbers, _) = io.numbers("/", 4);
    numbers.sort_unstable();
    assert_eq!(numbers, [4, 4, 5, 5]);
}

#[test]
fn a_name_of_the_librarys_or_the_daemons_own_is_never_a_producers() {
    // A room with a buffer is emitted under its own name.
    let rooms = "[rooms.gap]\ntypes = [\"*\"]\nbuffer = { events = 1, flush_interval = \"10s\" }\n";
    let server = Server::start(&format!("{ROOMS}{rooms}"));
    let (mut io, _, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!("all"));
    let library = ["connect", "disconnect", "connect_error", "newListener", "\\u0063onnect"];
    let own = ["gap", "closing", "error", "position", "pong", "subscription_confirmed", "subscription_error"];
    let escaped = ["unsubscription_confirmed", "connection_established", "g\\u0061p"];
    let free = ["connected", "gaps", "snapshot"];
    for kind in [&library[..], &own, &escaped, &free].concat() {
        server.post(&format!("{{\"type\":\"{kind}\",\"n\":1}}\n"));
        let (_, _, args) = io.packet();
        let expected = if free.contains(&kind) { kind } else { "event" };
        assert_eq!((&args[0], &args[1]["n"]), (&expected.into(), &1.into()), "{kind}");
        assert_eq!(args[1]["type"], serde_json::from_str::<Value>(&format!("\"{kind}\"")).unwrap());
    }
    io.send("42[\"unsubscribe\",\"all\"]");
    assert_eq!(io.packet().2[0], "unsubscription_confirmed");
    io.subscribe("/", &json!("gap"));
    server.publish("1", 2, 1);
    let (_, _, args) = io.packet();
    assert_eq!((&args[0], &args[1][0]["n"]), (&"event".into(), &2.into()), "{args}");
}

#[test]
fn packets_that_are_none_end_their_sender_alone() {
    let server = Server::start(&format!("{GENEROUS}{ROOMS}"));
    let (mut bystander, _, _) = Io::connect(&server, "/", &Back::default());
    bystander.subscribe("/", &json!("all"));
    let deep = format!("42[\"subscribe\",{}{}]", "[".repeat(20_000), "]".repeat(20_000));
    for hostile in [
        "",
        "x",
        "0",
        "2probe",
        "4",
        "49",
        "42",
        "42{}",
        "42[]",
        "42[7]",
        "42[\"a\"",
        "41x",
        "40[]",
        "44",
        "42/other,[\"subscribe\",\"all\"]",
        "42123456789012345678901[\"ping\"]",
        "43[]",
        "45[\"a\"]",
        "450-[\"a\"]",
        "4511-[\"a\"]",
        "4599999999999999999999-[\"a\"]",
        "42[\"\\ud800\"]",
        &deep,
    ] {
        let (mut io, _, _) = Io::connect(&server, "/", &Back::default());
        io.send(hostile);
        let (_, _, closing) = io.packet();
        assert_eq!((&closing[0], &closing[1]["code"]), (&"closing".into(), &1008.into()), "{hostile:.40}");
        assert_eq!((&*io.packet().0, io.packet().2), ("41", 1008.into()), "{hostile:.40}");
    }
    // Bytes that nothing announced, and text where bytes are due.
    for (first, payload) in [(0x82, "bytes"), (0x81, "42[\"ping\"]")] {
        let (mut io, _, _) = Io::connect(&server, "/", &Back::default());
        if first == 0x81 {
            io.send("451-[\"subscribe\",{\"_placeholder\":true,\"num\":0}]");
        }
        io.0.send(&frame(first, payload.as_bytes()));
        assert_eq!(io.packet().2[1]["code"], 1008);
    }
    server.publish("1", 1, 1);
    assert_eq!(bystander.numbers("/", 1).0, [1]);
}

#[test]
fn what_can_be_answered_is_answered() {
    let server = Server::start(&format!("[limits]\nclients = 10\n{GENEROUS}rooms = 2\n{ROOMS}"));
    let (mut io, _, _) = Io::connect(&server, "/", &Back::default());
    // The namespace that it is in, and a thousand that there are not.
    io.send("40");
    for n in 0..1000 {
        io.send(&format!("40/n{n},"));
    }
    for n in 0..1000 {
        let (kind, namespace, error) = io.packet();
        assert_eq!((kind, namespace), ("44".to_owned(), format!("/n{n}")));
        assert_eq!(error["message"], "Invalid namespace");
    }
    // An event with bytes, the largest number of an acknowledgement, and a room too many.
    io.send("451-18446744073709551615[\"subscribe\",[\"nothing\",\"all\",\"agent:1\",\"agent:2\"],{\"_placeholder\":true,\"num\":0}]");
    io.0.send(&frame(0x82, &[0; 100]));
    let answers: Vec<Packet> = (0..4).map(|_| io.packet()).collect();
    assert_eq!(answers[0].2[1]["subscriptions"], json!(["all", "agent:1"]));
    let codes = [1, 2].map(|index: usize| answers[index].2[1]["code"].clone());
    assert_eq!(codes, ["unknown_room", "limit"]);
    assert_eq!(answers[3].0, "43");
    // Room names and filters beyond any size, many rooms with long filters.
    let filters: Vec<String> = (0..250).map(|n| format!("filter-{n}")).collect();
    let rooms: Vec<String> = (0..1000).map(|n| format!("r{n}")).collect();
    io.send(&format!("42{}", json!(["subscribe", { "rooms": rooms, "agentFilters": filters }])));
    for _ in 0..1000 {
        assert_eq!(io.packet().2[1]["code"], "limit");
    }
    server.publish("1", 1, 1);
    assert_eq!(io.numbers("/", 2).0, [1, 1]);
}

#[test]
fn strings_and_secrets_that_were_never_told_are_no_way_in() {
    let server = Server::start(&format!("[server]\nshards = 2\n{GENEROUS}{ROOMS}"));
    let (mut io, back, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!(["all"]));
    server.publish("1", 1, 5);
    let (_, string) = io.numbers("/", 5);
    for pid in [json!("guessed"), json!(7), json!({}), json!(""), json!(["a"])] {
        let (_, _, recovered) = Io::connect(&server, "/", &Back { pid, offset: Some(string.clone()) });
        assert!(!recovered);
    }
    // With the right secret and a string that says nothing of the room, it begins where it had begun.
    let (epoch, _) = string.split_once(':').unwrap();
    let long = format!("{string},{}", "f:1,".repeat(10_000));
    for offset in ["", "garbage", ",,,:", "ffff:3", &long, &format!("{epoch}:x"), &format!("{epoch}:-1")] {
        let offset = Some(offset.to_owned());
        let (mut io, _, recovered) = Io::connect(&server, "/", &Back { offset, ..back.clone() });
        assert!(recovered && io.packet().2[0] == "subscription_confirmed");
        assert_eq!(io.numbers("/", 5).0, [1, 2, 3, 4, 5]);
    }
    // Beyond the head there is nothing to give, and what comes is not passed over.
    let beyond = Some(format!("{epoch}:18446744073709551615"));
    let (mut io, _, recovered) = Io::connect(&server, "/", &Back { offset: beyond, ..back.clone() });
    assert!(recovered && io.packet().2[0] == "subscription_confirmed");
    server.publish("1", 6, 1);
    let (_, _, args) = io.packet();
    let is_told = args[0] == "gap" || args[1]["n"] == 6;
    assert!(is_told, "{args}");
}

#[test]
fn a_restart_is_no_different_and_a_crash_begins_anew() {
    let mut server = Server::start(&format!("[server]\nshards = 2\n{ROOMS}"));
    let (mut io, mut back, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!(["all", { "room": "agent:1", "where": "n > 2" }]));
    server.publish("1", 1, 3);
    back.offset = Some(io.numbers("/", 4).1);
    server = server.restart();
    server.publish("1", 4, 1);
    let (mut io, mut back, recovered) = Io::connect(&server, "/", &back);
    assert!(recovered && io.packet().2[0] == "subscription_confirmed");
    let (numbers, string) = io.numbers("/", 2);
    assert_eq!((numbers, string.split(',').count()), (vec![4, 4], 2));
    back.offset = Some(string);
    server.signal(Signal::SIGKILL);
    server = server.start_again();
    let (mut io, _, recovered) = Io::connect(&server, "/", &back);
    assert!(!recovered);
    // Its positions are of logs that are no more: it is told so, and has what the new log has.
    server.publish("1", 8, 1);
    io.subscribe("/", &json!("all"));
    let (_, _, gap) = io.packet();
    assert_eq!(
        (&gap[0], &gap[1]["room"], &gap[1]["reason"]),
        (&"gap".into(), &"all".into(), &"epoch_changed".into())
    );
    server.publish("1", 9, 1);
    assert_eq!(io.numbers("/", 2).0, [8, 9]);
}

#[test]
fn a_reload_takes_a_room_a_name_and_recovery_from_under_clients() {
    let config = |recovery: &str, names: &str, room: &str| {
        format!(
            "[socketio]\nrecovery = {recovery}\nnames = {{ {names} }}\n[rooms.all]\ntypes = [\"*\"]\n{room}"
        )
    };
    let other = "[rooms.other]\ntypes = [\"*\"]\n";
    let server = Server::start(&config("\"60s\"", "all = \"t\"", other));
    let (mut io, mut back, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!(["all", "other"]));
    server.publish("1", 1, 1);
    assert_eq!(io.numbers("/", 2).1.split(',').count(), 2);
    server.reconfigure(&config("\"60s\"", "all = \"t\"", ""));
    let (_, _, closed) = io.packet();
    assert_eq!(
        (&closed[0], &closed[1]["reason"]),
        (&"unsubscription_confirmed".into(), &"room_closed".into())
    );
    server.publish("1", 2, 1);
    let (numbers, string) = io.numbers("/", 1);
    assert_eq!((numbers, string.split(',').count()), (vec![2], 1));
    server.reconfigure(&config("\"60s\"", "all = \"renamed\"", other));
    server.publish("1", 3, 1);
    let (_, _, args) = io.packet();
    assert_eq!(args[0], "renamed");
    back.offset = Some(args[2].as_str().unwrap().to_owned());
    drop(io);
    // It was taken out of the room, and is not in the new one of that name.
    let (mut io, back, recovered) = Io::connect(&server, "/", &back);
    assert!(recovered);
    assert_eq!(io.packet().2[1]["subscriptions"], json!(["all"]));
    server.reconfigure(&config("\"off\"", "", other));
    let (_, now, recovered) = Io::connect(&server, "/", &back);
    assert!(!recovered && now.pid.is_null());
    // Who is connected goes on as it was.
    server.publish("1", 4, 1);
    let (_, _, args) = io.packet();
    assert_eq!((&args[0], args.as_array().unwrap().len()), (&"t".into(), 3));
}

#[test]
fn a_room_that_was_refused_to_who_came_back_stays_refused() {
    let all = "[rooms.all]\ntypes = [\"*\"]\n";
    let both = format!("{all}[rooms.other]\ntypes = [\"*\"]\n");
    let server = Server::start(&both);
    let (mut io, back, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!(["all", "other"]));
    drop(io);
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
    server.reconfigure(all);
    let (mut io, _, recovered) = Io::connect(&server, "/", &back);
    let answers = [io.packet().2, io.packet().2];
    assert!(recovered);
    assert_eq!(answers[0][1]["subscriptions"], json!(["all"]));
    assert_eq!((&answers[1][0], &answers[1][1]["room"]), (&"subscription_error".into(), &"other".into()));
    drop(io);
    server.reconfigure(&both);
    let (mut io, _, recovered) = Io::connect(&server, "/", &back);
    assert!(recovered);
    assert_eq!(io.packet().2[1]["subscriptions"], json!(["all"]));
    io.send("42[\"ping\"]");
    assert_eq!(io.packet().2[0], "pong");
}

#[test]
fn a_session_that_does_not_poll_is_blocked_and_carried_on_over_websocket() {
    let server =
        Server::start(&format!("{GENEROUS}[rooms.all]\ntypes = [\"*\"]\nhistory = {{ events = 500 }}\n"));
    let sid = &open_polling(&server);
    assert_eq!(poll(&server, sid, Some("40\u{1e}42[\"subscribe\",\"all\"]")), "ok");
    let mut first = String::new();
    while !first.contains("subscription_confirmed") {
        first += &poll(&server, sid, None);
    }
    let pad = "x".repeat(2000);
    let line = |n| format!("{{\"type\":\"t\",\"n\":{n},\"pad\":\"{pad}\"}}\n");
    let total: u64 = 5_000;
    for first in (1..=total).step_by(500) {
        server.post(&(first..first + 500).map(line).collect::<String>());
    }
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked > 0.0);
    let mut at = 0;
    let mut gaps = 0;
    let mut take = |args: &Value| {
        if args[0] == "gap" {
            assert_eq!(args[1]["first"], at + 1);
            (at, gaps) = (args[1]["offset"].as_u64().unwrap(), gaps + 1);
        } else {
            assert_eq!(args[1]["n"], at + 1);
            at += 1;
        }
        let string = args[2].as_str().unwrap();
        assert_eq!(string.split_once(':').unwrap().1, at.to_string());
        (at, gaps)
    };
    // Without the ping that is due on a slow machine.
    for packet in poll(&server, sid, None).split('\u{1e}').filter(|packet| *packet != "2") {
        take(&serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap());
    }
    let mut io = probe(&server, sid);
    // What comes right behind the upgrade is heard.
    io.0.send(&[frame(0x81, b"5"), frame(0x81, b"42[\"ping\"]")].concat());
    let (mut pongs, mut told) = (0, (0, 0));
    while told.0 < total || pongs == 0 {
        let (_, _, args) = io.packet();
        if args[0] == "pong" {
            pongs += 1;
        } else {
            told = take(&args);
        }
    }
    assert_eq!(pongs, 1);
}

#[test]
fn a_reader_that_stopped_has_everything_or_is_told() {
    let rooms = "[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 500 }\n[rooms.\"agent:{agentId}\"]\ntypes = [\"*\"]\n";
    let server = Server::start(&format!("{GENEROUS}{rooms}"));
    let (mut io, mut back, _) = Io::connect(&server, "/", &Back::default());
    io.subscribe("/", &json!(["all", "agent:1"]));
    let pad = "x".repeat(2000);
    let line = |n| format!("{{\"type\":\"t\",\"agentId\":\"2\",\"n\":{n},\"pad\":\"{pad}\"}}\n");
    let total = 10_000;
    for first in (1..=total).step_by(500) {
        server.post(&(first..first + 500).map(line).collect::<String>());
    }
    server.until_metric("broadcastd_clients_blocked", |blocked| blocked > 0.0);
    let (mut at, mut gaps) = (0, 0);
    while at < total {
        let (_, _, args) = io.packet();
        let next = at + 1;
        if args[0] == "gap" {
            assert_eq!(args[1]["first"], next);
            (at, gaps) = (args[1]["offset"].as_u64().unwrap(), gaps + 1);
        } else {
            assert_eq!(args[1]["n"], next);
            at = next;
        }
        let string = args[2].as_str().unwrap();
        let told: Vec<u64> =
            string.split(',').map(|at| at.split_once(':').unwrap().1.parse().unwrap()).collect();
        assert_eq!(told.iter().sum::<u64>(), at, "{string}: of the other room it has had nothing");
        back.offset = Some(string.to_owned());
        // Lost in the middle of it, it goes on there.
        if gaps == 0 && at == 200 {
            let recovered;
            (io, back, recovered) = Io::connect(&server, "/", &back);
            assert!(recovered && io.packet().2[0] == "subscription_confirmed");
        }
    }
}

#[test]
fn clients_that_poll_count_by_their_own_address() {
    let server = Server::start(&format!(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nclients_per_ip = 2\n{ROOMS}"
    ));
    let open = |address: &str| {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\
             Connection: close\r\n\r\n"
        );
        http(&server.clients[0], request.as_bytes()).0
    };
    let statuses = ["203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.2"].map(open);
    assert_eq!(statuses, [200, 200, 429, 200]);
}
