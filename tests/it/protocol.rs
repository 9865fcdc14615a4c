//! `broadcastd.v1` at the socket: every message, field and code of docs/protocol.md.

use crate::harness::{Client, ROOMS, Server};
use crate::raw::{Raw, frame};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Rooms of most tests, and so many messages as a table needs.
fn generous() -> String {
    let rate = "{ rate = \"1000/s\", burst = 10000 }";
    format!("[limits.client]\nmessages = {rate}\nsubscriptions = {rate}\n{ROOMS}")
}

/// Sends a text and takes the next message.
async fn answer(client: &mut Client, text: &str) -> Value {
    client.send_text(text).await;
    client.next().await
}

#[test]
fn the_welcome_names_the_protocol_the_client_and_the_heartbeat() {
    let server = Server::start(&format!("[server]\nheartbeat = \"7s\"\n{ROOMS}"));
    let mut names = Vec::new();
    for _ in 0..3 {
        let mut welcome = Raw::client(&server).message();
        names.push(welcome["client"].take().as_str().unwrap().to_owned());
        let expected =
            json!({ "type": "welcome", "protocol": "broadcastd.v1", "client": null, "heartbeat": 7000 });
        assert_eq!(welcome, expected);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "each connection has a name of its own");
}

#[tokio::test]
async fn each_room_of_a_subscribe_stands_for_itself() {
    let server = Server::start(ROOMS);
    server.publish("7", 1, 3);
    let mut client = Client::connect(&server).await;
    let text = r#"{"type":"subscribe","id":"one","rooms":["all",{"room":"agent:7","from":{"last":2}},"nothing",
        {"room":"al"},{"room":"all","form":"start"},"agent:never"]}"#;
    let mut subscribed = answer(&mut client, text).await;
    let epochs: Vec<Value> = [0, 1, 5].map(|index: usize| subscribed["rooms"][index]["epoch"].take()).into();
    assert!(epochs.iter().all(|epoch| epoch.as_str().is_some_and(|epoch| !epoch.is_empty())), "{epochs:?}");
    let unknown = |room: &str, hint: &str| {
        let error = json!({ "code": "unknown_room", "message": "no room has this name", "hint": hint });
        json!({ "room": room, "error": error })
    };
    let rooms = subscribed["rooms"].as_array().unwrap();
    assert_eq!(rooms[0], json!({ "room": "all", "epoch": null, "head": 3, "offset": 3 }));
    assert_eq!(rooms[1], json!({ "room": "agent:7", "epoch": null, "head": 3, "offset": 1 }));
    assert_eq!(rooms[2], unknown("nothing", "rooms are declared in broadcast.toml"));
    assert_eq!(rooms[3], unknown("al", "did you mean \"all\"?"));
    assert_eq!((&rooms[4]["room"], &rooms[4]["error"]["code"]), (&json!("all"), &json!("bad_field")));
    assert_eq!(rooms[4]["error"]["hint"], "did you mean `from`?", "a misspelt `from` is not \"now\"");
    assert_eq!(rooms[5], json!({ "room": "agent:never", "epoch": null, "head": 0, "offset": 0 }));
    assert_eq!(
        (&subscribed["type"], &subscribed["id"], rooms.len()),
        (&json!("subscribed"), &json!("one"), 6)
    );
    // The two newest, in the one room that asked for them.
    let replayed = client.next().await;
    assert_eq!((&replayed["room"], &replayed["replay"]), (&json!("agent:7"), &json!(true)));
    assert_eq!((&replayed["type"], &replayed["offset"]), (&json!("batch"), &json!(3)));
    // One room need not be in a list, and no id comes back where none was given.
    for rooms in [r#""all""#, r#"{"room":"all","where":null,"from":null,"snapshot":false}"#] {
        let subscribed =
            answer(&mut client, &format!(r#"{{"type":"subscribe","more":1,"rooms":{rooms}}}"#)).await;
        assert!(subscribed.get("id").is_none(), "{subscribed}");
        assert_eq!(subscribed["rooms"][0]["room"], "all", "{subscribed}");
    }
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_written() {
    let server = Server::start(&generous());
    let mut client = Client::connect(&server).await;
    let longest = format!("\"{}\"", "x".repeat(62));
    for id in ["1", "-1.50e+07", "123456789012345678901234567890", r#""\u00e9 \/""#, &longest] {
        for (kind, start) in [
            ("\"ping\"", r#"{"type":"pong","#),
            ("\"nonsense\"", r#"{"type":"error","#),
            (r#""subscribe","rooms":"all""#, r#"{"type":"subscribed","#),
            (r#""unsubscribe","rooms":"all""#, r#"{"type":"unsubscribed","#),
        ] {
            client.send_text(&format!(r#"{{"id": {id},"type":{kind}}}"#)).await;
            let Message::Text(text) = client.next_frame().await else { panic!("text was expected") };
            assert!(text.starts_with(&format!(r#"{start}"id":{id}"#)), "{text}");
        }
    }
    assert_eq!(answer(&mut client, r#"{"type":"ping","id":null}"#).await, json!({ "type": "pong" }));
}

#[tokio::test]
async fn a_message_that_cannot_be_carried_out_says_why() {
    let server = Server::start(&generous());
    let mut client = Client::connect(&server).await;
    let many = format!(r#"{{"type":"subscribe","id":4,"rooms":[{}"all"]}}"#, r#""all","#.repeat(1024));
    let long_id = format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(63));
    let deep = "[".repeat(10_000);
    for (text, id, code, message, hint) in [
        ("", None, "bad_message", "JSON object", "subscribe"),
        ("hello", None, "bad_message", "JSON object", "subscribe"),
        ("[]", None, "bad_message", "JSON object", "subscribe"),
        (r#"{"type":"ping""#, None, "bad_message", "EOF", ""),
        (r#"{"type":"ping"} {}"#, None, "bad_message", "trailing", ""),
        (&deep, None, "bad_message", "JSON object", ""),
        (r#"{"type":"subscibe","id":1}"#, Some(1), "unknown_type", "`subscibe`", "did you mean `subscribe`?"),
        (r#"{"type":"welcome"}"#, None, "unknown_type", "`welcome`", "clients send"),
        (r#"{"id":2}"#, Some(2), "bad_field", "`type` is missing", "add \"type\""),
        (r#"{"type":7,"id":3}"#, Some(3), "bad_field", "`type` must be a string", ""),
        (r#"{"type":"ping","id":{}}"#, None, "bad_field", "`id`", ""),
        (r#"{"type":"ping","id":true}"#, None, "bad_field", "`id`", ""),
        (&long_id, None, "bad_field", "65 bytes", ""),
        (r#"{"type":"subscribe","id":4}"#, Some(4), "bad_field", "`rooms` is missing", "for example"),
        (r#"{"type":"subscribe","rooms":[]}"#, None, "bad_field", "`rooms` is empty", "for example"),
        (r#"{"type":"subscribe","rooms":7}"#, None, "bad_field", "must be a list", "for example"),
        (r#"{"type":"unsubscribe","id":5}"#, Some(5), "bad_field", "`rooms` is missing", "unsubscribe"),
        (&many, Some(4), "limit", "1025 entries, and may have 1024", "several messages"),
        (r#"{"type":"auth","id":6,"token":"x"}"#, Some(6), "unsupported", "`auth`", "subscribe at once"),
    ] {
        let error = answer(&mut client, text).await;
        let shown: String = text.chars().take(80).collect();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{shown}: {error}");
        assert_eq!(error.get("id"), id.map(Value::from).as_ref(), "{shown}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{shown}: {error}");
        assert!(error["hint"].as_str().unwrap_or("").contains(hint), "{shown}: {error}");
        // The next message is read as if nothing had been.
        assert_eq!(
            answer(&mut client, r#"{"type":"ping","id":9}"#).await,
            json!({ "type": "pong", "id": 9 })
        );
    }
}

#[tokio::test]
async fn an_element_that_names_no_room_is_answered_by_its_place_and_the_others_are_carried_out() {
    let server = Server::start(&generous());
    let mut client = Client::connect(&server).await;
    let text = r#"{"type":"subscribe","id":1,"rooms":["all",null,5,{"rooms":["b"]},"agent:1"]}"#;
    let subscribed = answer(&mut client, text).await;
    let rooms = subscribed["rooms"].as_array().unwrap();
    assert_eq!((&rooms[0]["offset"], &rooms[4]["offset"]), (&json!(0), &json!(0)), "{subscribed}");
    for (index, excerpt) in [(1, "`null`"), (2, "`5`"), (3, r#"`{"rooms":["b"]}`"#)] {
        let refused = &rooms[index];
        assert_eq!((&refused["room"], &refused["index"]), (&Value::Null, &json!(index)), "{refused}");
        assert_eq!(refused["error"]["code"], "bad_field", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(excerpt), "{refused}");
    }
    server.publish("1", 1, 1);
    assert_eq!(client.events(2).await.len(), 2, "it is in both rooms");
    let left = answer(&mut client, r#"{"type":"unsubscribe","id":2,"rooms":[{},"all"]}"#).await;
    assert_eq!((&left["rooms"], &left["refused"][0]["index"]), (&json!(["all"]), &json!(0)), "{left}");
    assert_eq!(left["refused"][0]["error"]["code"], "bad_field", "{left}");
    // One that is no list is an element as well, and a client that sends nothing else is closed.
    for _ in 0..16 {
        client.send_text(r#"{"type":"subscribe","rooms":{"room":7}}"#).await;
    }
    assert_eq!(client.next().await["rooms"][0]["index"], 0);
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn a_value_that_is_not_encoded_is_refused_with_the_name_that_its_room_has() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    for (name, meant) in [("agent:a/b", "agent:a%2Fb"), ("agent:urn:x", "agent:urn%3Ax")] {
        let refused = client.subscribe(name).await;
        assert_eq!(refused["error"]["hint"], format!("did you mean \"{meant}\"?"), "{refused}");
        assert_eq!(client.subscribe(meant).await["head"], 0);
    }
    // In an address the name is encoded once more.
    let (status, text) = Server::get(&server.clients[0], "/sse?room=agent:a/b");
    assert_eq!(status, 404);
    let hint = r#"did you mean "agent:a%2Fb"? Write room=agent%3Aa%252Fb in the address"#;
    assert!(text.contains(hint), "{text}");
    let (status, text) = Server::get(&server.admin[0], "/api/v1/room?room=agent:a/b");
    assert!(status == 404 && text.contains("room=agent%3Aa%252Fb"), "{text}");
}

#[tokio::test]
async fn a_room_that_is_refused_says_why() {
    let server = Server::start(&generous());
    let mut client = Client::connect(&server).await;
    let long = "x".repeat(201);
    let long_where = json!({ "room": "all", "where": format!("n == \"{}\"", "x".repeat(4096)) });
    for (room, code, message, hint) in [
        (json!("nothing"), "unknown_room", "no room", "broadcast.toml"),
        (json!(long), "bad_field", "201 bytes long, and may be 200", ""),
        (json!(""), "bad_field", "empty", ""),
        (json!({ "room": "all", "form": 1 }), "bad_field", "`form`", "did you mean `from`?"),
        (json!({ "room": "all", "other": 1 }), "bad_field", "`other`", "room, from, where, every"),
        (json!({ "room": "all", "every": "1ms" }), "bad_field", "`every`", "from \"250ms\" to \"60s\""),
        (json!({ "room": "all", "every": 2 }), "bad_field", "`every`", "from \"250ms\" to \"60s\""),
        (json!({ "room": "all", "every": "2 seconds" }), "bad_field", "`every`", "did you mean `2s`?"),
        (json!({ "room": "all", "snapshot": "yes" }), "bad_field", "`snapshot`", ""),
        (json!({ "room": "all", "snapshot": true }), "bad_field", "the room has no key", "`key`"),
        (json!({ "room": "all", "from": "yesterday" }), "bad_field", "`yesterday`", "\"now\", \"start\""),
        (json!({ "room": "all", "from": "strat" }), "bad_field", "`strat`", "did you mean `start`?"),
        (json!({ "room": "all", "from": "1a:2" }), "bad_field", "`1a:2`", r#"{"after":"1a:2"}"#),
        (json!({ "room": "all", "from": 7 }), "bad_field", "`7`", "start"),
        (json!({ "room": "all", "from": {} }), "bad_field", "exactly one field", "start"),
        (json!({ "room": "all", "from": { "after": 7 } }), "bad_field", "no position", "epoch"),
        (json!({ "room": "all", "from": { "last": -1 } }), "bad_field", "`from.last`", "last"),
        (json!({ "room": "all", "from": { "since": 1_700_000_000 } }), "bad_field", "since", "not seconds"),
        (json!({ "room": "all", "from": { "since": "2026-01-01" } }), "bad_field", "since", "with its zone"),
        (json!({ "room": "all", "from": { "until": 1 } }), "bad_field", "`until`", "since"),
        (json!({ "room": "all", "where": "severity = 1" }), "bad_where", "(column 10", ""),
        (json!({ "room": "all", "where": "a == 1 && (b" }), "bad_where", "column 13", ""),
        (json!({ "room": "all", "where": "n == 1 n" }), "bad_where", "column 8", ""),
        (json!({ "room": "all", "where": "" }), "bad_where", "column 1", ""),
        (json!({ "room": "all", "where": 7 }), "bad_where", "`where` must be", "for example"),
        (json!({ "room": "all", "where": { "a": {} } }), "bad_where", "", ""),
        (long_where, "bad_where", "and may be 4096", ""),
    ] {
        let name = room.get("room").unwrap_or(&room).clone();
        let refused = client.subscribe(room.clone()).await;
        let error = &refused["error"];
        assert_eq!((&refused["room"], &error["code"]), (&name, &json!(code)), "{room}: {refused}");
        assert!(error["message"].as_str().unwrap().contains(message), "{room}: {refused}");
        assert!(error["hint"].as_str().unwrap_or("").contains(hint), "{room}: {refused}");
        assert_eq!(refused.as_object().unwrap().len(), 2, "{refused}");
    }
    let longest = format!("agent:{}", "x".repeat(194));
    assert_eq!(client.subscribe(longest).await["head"], 0, "200 bytes are no more than may be");
    server.publish("1", 1, 1);
    assert_eq!(answer(&mut client, r#"{"type":"ping"}"#).await["type"], "pong", "nothing was subscribed to");
}

#[tokio::test]
async fn unsubscribing_is_answered_whether_the_client_was_there_or_not() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    client.subscribe("agent:1").await;
    let text = r#"{"type":"unsubscribe","id":2,"rooms":["agent:1","agent:2","nothing \" such"]}"#;
    let expected =
        json!({ "type": "unsubscribed", "id": 2, "rooms": ["agent:1", "agent:2", "nothing \" such"] });
    assert_eq!(answer(&mut client, text).await, expected);
    server.publish("1", 1, 1);
    let event = client.next().await;
    assert_eq!((&event["room"], &event["data"]["n"]), (&json!("all"), &json!(1)));
    let expected = json!({ "type": "unsubscribed", "rooms": ["all"] });
    assert_eq!(answer(&mut client, r#"{"type":"unsubscribe","rooms":"all"}"#).await, expected);
    server.publish("1", 2, 1);
    assert_eq!(answer(&mut client, r#"{"type":"ping"}"#).await, json!({ "type": "pong" }));
    assert_eq!(client.subscribe("all").await["head"], 2, "one can come back");
}

#[tokio::test]
async fn an_event_is_what_its_producer_wrote_under_one_number_in_all_rooms() {
    let server = Server::start(ROOMS);
    let mut client =
        Client::connect_to(&format!("ws://{}/ws?room=all&room=agent:1", server.clients[0])).await;
    let subscribed = client.next().await;
    assert!(subscribed.get("id").is_none());
    assert_eq!(subscribed["rooms"].as_array().unwrap().len(), 2);
    let written =
        r#"{"agentId":"1","timestamp":5,  "type":"t","x":1.50,"y":"\u00e9\/","z":12345678901234567890}"#;
    server.pipe(&format!("{written}\n"));
    let mut texts = Vec::new();
    for _ in 0..2 {
        let Message::Text(text) = client.next_frame().await else { panic!("text was expected") };
        texts.push(text.to_string());
    }
    texts.sort();
    for (text, room) in texts.iter().zip(["agent:1", "all"]) {
        assert_eq!(
            *text,
            format!(r#"{{"type":"event","room":"{room}","offset":1,"seq":1,"data":{written}}}"#)
        );
    }
    server.publish("2", 1, 1);
    server.publish("1", 2, 1);
    let (first, second, third) = (client.next().await, client.next().await, client.next().await);
    assert_eq!((&first["seq"], &first["room"]), (&json!(2), &json!("all")));
    assert_eq!((&second["seq"], &third["seq"]), (&json!(3), &json!(3)));
    assert_ne!(second["room"], third["room"]);
}

#[tokio::test]
async fn rooms_in_the_address_are_subscribed_to_at_once() {
    let server = Server::start(ROOMS);
    server.publish("a b", 1, 1);
    let query = "token=x&room=agent%3Aa+b&room=nothing&room=agent:%C3%A9";
    let mut client = Client::connect_to(&format!("ws://{}/ws?{query}", server.clients[0])).await;
    let subscribed = client.next().await;
    let rooms = subscribed["rooms"].as_array().unwrap();
    assert_eq!((&rooms[0]["room"], &rooms[0]["offset"]), (&json!("agent:a b"), &json!(1)));
    assert_eq!((&rooms[1]["room"], &rooms[1]["error"]["code"]), (&json!("nothing"), &json!("unknown_room")));
    assert_eq!((&rooms[2]["room"], &rooms[2]["head"]), (&json!("agent:\u{e9}"), &json!(0)));
    server.publish("a b", 2, 1);
    let event = client.next().await;
    assert_eq!((&event["room"], &event["data"]["n"]), (&json!("agent:a b"), &json!(2)), "from now on");
}

#[tokio::test]
async fn subscribing_again_replaces_the_subscription() {
    let server = Server::start(ROOMS);
    server.publish("1", 1, 4);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    client.subscribe(json!({ "room": "all", "from": { "last": 2 }, "where": "n != 5" })).await;
    let replayed: Vec<u64> = client.events(2).await.into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(replayed, [3, 4]);
    server.publish("1", 5, 2);
    let event = client.next().await;
    assert_eq!((&event["data"]["n"], &event["skipped"]), (&json!(6), &json!(1)), "once, by the new `where`");
    // One that is refused leaves the subscription as it was; twice in one message, the last one counts.
    client.subscribe(json!({ "room": "all", "where": "n ==" })).await;
    server.publish("1", 5, 1);
    server.publish("1", 7, 1);
    assert_eq!(client.next().await["data"]["n"], 7);
    client.send(json!({ "type": "subscribe", "rooms": [{ "room": "all", "where": "n == 8" }, "all"] })).await;
    assert_eq!(client.next().await["rooms"].as_array().unwrap().len(), 2);
    server.publish("1", 9, 1);
    assert_eq!(client.next().await["data"]["n"], 9);
    assert_eq!(answer(&mut client, r#"{"type":"ping"}"#).await["type"], "pong", "each event came once");
}

#[tokio::test]
async fn limits_of_a_client_are_told_and_hold() {
    let limits = "[limits]\nviews = 1\n[limits.client]\nrooms = 2\n";
    let server = Server::start(&format!("{limits}{ROOMS}"));
    let mut client = Client::connect(&server).await;
    client.send(json!({ "type": "subscribe", "rooms": ["agent:1", "agent:2", "agent:3", "agent:1"] })).await;
    let subscribed = client.next().await;
    let codes: Vec<&Value> =
        subscribed["rooms"].as_array().unwrap().iter().map(|room| &room["error"]["code"]).collect();
    assert_eq!(codes, [&Value::Null, &Value::Null, &json!("limit"), &Value::Null]);
    let hint = subscribed["rooms"][2]["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("limits.client.rooms"), "{hint}");
    client.send(json!({ "type": "unsubscribe", "rooms": "agent:1" })).await;
    client.next().await;
    assert_eq!(client.subscribe("agent:3").await["head"], 0);
    // Filtered views are bounded over all clients, and given back.
    let mut other = Client::connect(&server).await;
    assert_eq!(client.subscribe(json!({ "room": "agent:3", "where": "n == 1" })).await["head"], 0);
    let refused = other.subscribe(json!({ "room": "agent:3", "where": "n == 2" })).await;
    assert_eq!(refused["error"]["code"], "limit");
    assert!(refused["error"]["message"].as_str().unwrap().contains("limits.views"), "{refused}");
    assert_eq!(other.subscribe("agent:3").await["head"], 0);
    client.subscribe("agent:3").await;
    let again = other.subscribe(json!({ "room": "agent:3", "where": "n == 2" })).await;
    assert_eq!(again["head"], 0, "{again}");
}

#[tokio::test]
async fn what_is_too_fast_is_refused_room_by_room_and_says_when_to_come_again() {
    let rates = "messages = { rate = \"1/m\", burst = 4 }\nsubscriptions = { rate = \"1/m\", burst = 3 }";
    let server = Server::start(&format!("[limits.client]\n{rates}\n{ROOMS}"));
    let mut client = Client::connect(&server).await;
    client.send(json!({ "type": "subscribe", "rooms": ["agent:1", "agent:2"] })).await;
    client.next().await;
    client.send(json!({ "type": "subscribe", "id": 7, "rooms": ["agent:3", "all", null] })).await;
    let subscribed = client.next().await;
    let rooms = subscribed["rooms"].as_array().unwrap();
    assert_eq!((&subscribed["id"], &rooms[0]["head"]), (&json!(7), &json!(0)), "one room may still be");
    let error = &rooms[1]["error"];
    assert_eq!((&rooms[1]["room"], &error["code"]), (&json!("all"), &json!("rate_limited")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("limits.client.subscriptions"), "{error}");
    let retry_after = error["retry_after"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&retry_after), "{error}");
    assert_eq!(rooms[2]["error"]["code"], "bad_field", "{subscribed}");
    client.send(json!({ "type": "unsubscribe", "id": 8, "rooms": ["agent:3"] })).await;
    let refused = &client.next().await["refused"][0];
    assert_eq!((&refused["room"], &refused["error"]["code"]), (&json!("agent:3"), &json!("rate_limited")));
    server.publish("3", 1, 1);
    assert_eq!(client.next().await["room"], "agent:3", "it is there still, and all is not");
    assert_eq!(answer(&mut client, r#"{"type":"ping"}"#).await["type"], "pong");
    // The fourth message is the last, and a WebSocket ping is one as well.
    let mut raw = Raw::client(&server);
    raw.message();
    for id in 1..=3 {
        raw.send(&frame(0x81, format!("{{\"type\":\"ping\",\"id\":{id}}}").as_bytes()));
        assert_eq!(raw.message(), json!({ "type": "pong", "id": id }));
    }
    raw.send(&frame(0x89, b"four"));
    assert_eq!(raw.frame(), Some((0x8a, b"four".to_vec())));
    raw.send(&[frame(0x89, b"five"), frame(0x81, br#"{"type":"ping","id":"six"}"#)].concat());
    let error = raw.message();
    assert_eq!((&error["code"], &error["id"]), (&json!("rate_limited"), &json!("six")), "no pong came");
    assert!(error["message"].as_str().unwrap().contains("limits.client.messages"), "{error}");
    assert!(error["retry_after"].as_u64().is_some_and(|ms| (50_000..=60_000).contains(&ms)), "{error}");
    server.until_metric("broadcastd_clients_rate_limited_total", |count| count == 4.0);
}

#[tokio::test]
async fn subscriptions_do_not_draw_on_messages_and_nonsense_does() {
    let rates = "messages = { rate = \"1/m\", burst = 4 }\nsubscriptions = { rate = \"1/m\", burst = 100 }";
    let server = Server::start(&format!("[limits.client]\n{rates}\n{ROOMS}"));
    let mut client = Client::connect(&server).await;
    for n in 0..50 {
        assert_eq!(client.subscribe(format!("agent:{n}")).await["head"], 0);
    }
    for text in ["nonsense", r#"{"type":"subscribe","rooms":[]}"#, r#"{"type":"subscribe"}"#] {
        assert_ne!(answer(&mut client, text).await["code"], "rate_limited", "{text}");
    }
    assert_eq!(answer(&mut client, r#"{"type":"ping"}"#).await["type"], "pong");
    for text in ["nonsense", r#"{"type":"subscribe","rooms":[]}"#, r#"{"type":"ping"}"#] {
        assert_eq!(answer(&mut client, text).await["code"], "rate_limited", "{text}");
    }
    // Several rooms that are too much cost a message, and are refused together where there is none left.
    let many: Vec<String> = (0..60).map(|n| format!("agent:{n}")).collect();
    client.send(json!({ "type": "subscribe", "id": 9, "rooms": many })).await;
    let error = client.next().await;
    assert_eq!(
        (&error["type"], &error["code"], &error["id"]),
        (&json!("error"), &json!("rate_limited"), &json!(9))
    );
    assert!(error["retry_after"].as_u64().is_some(), "{error}");
}

#[tokio::test]
async fn frames_that_are_no_single_text_have_their_answers() {
    let server = Server::start("[limits.client]\nmessage_size = \"1KiB\"\n[rooms.all]\ntypes = [\"*\"]\n");
    let mut client = Client::connect(&server).await;
    client.socket.send(Message::Binary(Bytes::from_static(b"{\"type\":\"ping\"}"))).await.unwrap();
    let error = client.next().await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("binary")));
    assert!(error["hint"].as_str().unwrap().contains("text"), "{error}");
    let mut raw = Raw::client(&server);
    raw.message();
    let parts: [(u8, &[u8]); 4] =
        [(0x01, br#"{"type":"#), (0x89, b"between"), (0x00, b"\"pi"), (0x80, b"ng\"}")];
    raw.send(&parts.map(|(first, payload)| frame(first, payload)).concat());
    assert_eq!(raw.frame(), Some((0x8a, b"between".to_vec())), "a ping between fragments");
    assert_eq!(raw.message(), json!({ "type": "pong" }));
    raw.send(&frame(0x8a, b"nobody asked"));
    let padded = |len: usize| format!("{:len$}", r#"{"type":"ping"}"#);
    raw.send(&frame(0x81, padded(1024).as_bytes()));
    assert_eq!(raw.message(), json!({ "type": "pong" }), "a message may be as long as the limit");
    // Known from the header alone: the message itself is never sent.
    raw.send(&frame(0x81, padded(1025).as_bytes())[..8]);
    let closing = raw.message();
    assert_eq!((&closing["type"], &closing["code"]), (&json!("closing"), &json!(1009)));
    let (first, payload) = raw.frame().unwrap();
    assert_eq!((first, &payload[..2]), (0x88, &1009_u16.to_be_bytes()[..]));
}

#[test]
fn a_message_says_why_before_the_daemon_closes() {
    let server = Server::start(ROOMS);
    for (bytes, code, reason) in [
        (vec![0x81, 2, b'{', b'}'], 1002, "mask"),
        (frame(0x83, b"{}"), 1002, ""),
        (frame(0x81, &[0xc3]), 1007, "UTF-8"),
        ([frame(0x01, &[0xc3]), frame(0x80, &[0x28])].concat(), 1007, "UTF-8"),
        (frame(0x81, &vec![b' '; 65_537]), 1009, "too big"),
        (frame(0x81, b"nonsense").repeat(16), 1008, "messages in a row"),
    ] {
        let mut raw = Raw::client(&server);
        assert_eq!(raw.message()["type"], "welcome");
        raw.send(&bytes);
        let mut messages = vec![raw.message()];
        while messages.last().unwrap()["type"] != "closing" {
            messages.push(raw.message());
        }
        let closing = messages.pop().unwrap();
        assert_eq!(messages.len(), if code == 1008 { 16 } else { 0 }, "{messages:?}");
        assert!(messages.iter().all(|message| message["code"] == "bad_message"), "{messages:?}");
        assert_eq!(closing["code"], code, "{closing}");
        assert!(closing["reason"].as_str().unwrap().contains(reason), "{closing}");
        assert!(closing.get("retry_after").is_none(), "it is the client's doing: {closing}");
        let (first, payload) = raw.frame().unwrap();
        assert_eq!((first, &payload[..2]), (0x88, &u16::to_be_bytes(code)[..]));
        assert_eq!(raw.frame(), None);
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_own_code() {
    let server = Server::start(ROOMS);
    for code in [1000, 1001, 1008, 3000, 4999] {
        let mut client = Client::connect(&server).await;
        client.subscribe("all").await;
        let close = CloseFrame { code: CloseCode::from(code), reason: "enough".into() };
        client.socket.close(Some(close)).await.unwrap();
        assert_eq!(client.closed().await.0, code);
    }
    let mut raw = Raw::client(&server);
    raw.message();
    raw.send(&frame(0x88, b""));
    assert_eq!(raw.frame(), Some((0x88, Vec::new())), "no code is answered with none");
    assert_eq!(raw.frame(), None);
    drop(raw);
    server.until_metric("broadcastd_clients", |clients| clients == 0.0);
}

#[tokio::test]
async fn a_daemon_that_stops_says_when_to_come_back() {
    let server = Server::start(ROOMS);
    let mut clients = [Client::connect(&server).await, Client::connect(&server).await];
    server.signal(nix::sys::signal::Signal::SIGTERM);
    for client in &mut clients {
        let closing = client.next().await;
        let milliseconds = closing["retry_after"].as_u64().unwrap();
        assert!((1..60_000).contains(&milliseconds), "{closing}");
        assert_eq!((&closing["type"], &closing["code"]), (&json!("closing"), &json!(1001)));
        assert_eq!(client.closed().await, (1001, closing["reason"].as_str().unwrap().to_owned()));
    }
}
