//! Tests of reading messages: what is taken, and what is said of what is not.

use super::*;

#[track_caller]
fn check(text: &str, expected: ClientMessage) {
    assert_eq!(parse_message(text), Ok(expected), "{text}");
}

#[track_caller]
fn check_refused(text: &str, code: ErrorCode, message: &str, hint: Option<&str>) {
    let error = parse_message(text).expect_err(text);
    assert_eq!(error.code, code, "{text}: {}", error.message);
    assert!(error.message.contains(message), "{text}: {}", error.message);
    match (hint, &error.hint) {
        (None, None) => {}
        (Some(expected), Some(hint)) if hint.contains(expected) => {}
        (_, hint) => panic!("{text}: {hint:?}"),
    }
    assert!(error.message.len() < 300, "errors are short");
}

/// One room of a `subscribe`, refused alone.
#[track_caller]
fn check_room_refused(room: &str, code: ErrorCode, message: &str, hint: &str) {
    let text = format!(r#"{{"type":"subscribe","id":9,"rooms":["good",{room}]}}"#);
    let Ok(ClientMessage::Subscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
    assert_eq!(rooms[0].as_ref().map(|room| room.room.as_str()), Ok("good"));
    let error = rooms[1].as_ref().expect_err(&text);
    assert_eq!(error.code, code, "{}", error.message);
    assert!(error.room.is_some(), "an error of one room names it");
    assert!(error.message.contains(message), "{}", error.message);
    assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{:?}", error.hint);
}

fn now(room: &str) -> SubscribeRoom {
    SubscribeRoom::to(room.to_owned())
}

#[test]
fn messages_are_read() {
    check(
        r#"{"type":"subscribe","rooms":["a","b\n"],"later":{"deep":[1]}}"#,
        ClientMessage::Subscribe { id: None, rooms: vec![Ok(now("a")), Ok(now("b\n"))] },
    );
    check(
        "\n { \"rooms\" : \"a\" , \"id\" : \"x\\u0041\" , \"type\" : \"subscribe\" } ",
        ClientMessage::Subscribe { id: Some(r#""x\u0041""#.into()), rooms: vec![Ok(now("a"))] },
    );
    check(
        r#"{"type":"subscribe","id":1.50e1,"rooms":{"room":"a","from":null,"where":null,"every":null,"snapshot":null}}"#,
        ClientMessage::Subscribe { id: Some("1.50e1".into()), rooms: vec![Ok(now("a"))] },
    );
    check(
        r#"{"type":"subscribe","rooms":[{"room":"a","from":"start"}]}"#,
        ClientMessage::Subscribe {
            id: None,
            rooms: vec![Ok(SubscribeRoom { from: From::Start, ..now("a") })],
        },
    );
    let every = Some(Duration::from_secs(2));
    check(
        r#"{"type":"subscribe","rooms":[{"room":"a","every":"2s","snapshot":true},{"room":"b","snapshot":false}]}"#,
        ClientMessage::Subscribe {
            id: None,
            rooms: vec![
                Ok(SubscribeRoom { every, snapshot: Some(true), ..now("a") }),
                Ok(SubscribeRoom { snapshot: Some(false), ..now("b") }),
            ],
        },
    );
    check(
        r#"{"type":"unsubscribe","id":null,"rooms":["a"]}"#,
        ClientMessage::Unsubscribe { id: None, rooms: vec![Ok("a".into())] },
    );
    check(r#"{"type":"ping","id":-1}"#, ClientMessage::Ping { id: Some("-1".into()) });
    check(r#"{"type":"ping"}"#, ClientMessage::Ping { id: None });
}

#[test]
fn what_is_no_message_is_refused() {
    use ErrorCode::{BadField, BadMessage, Limit, UnknownType, Unsupported};
    check_refused("", BadMessage, "expected a JSON object", Some("subscribe"));
    check_refused("hello", BadMessage, "`hello`", Some("subscribe"));
    check_refused(r#"["subscribe",1,["a"]]"#, BadMessage, "object", Some("subscribe"));
    check_refused(r#"{"type":"ping""#, BadMessage, "EOF", None);
    check_refused(r#"{"type":"ping"} x"#, BadMessage, "trailing", None);
    check_refused(r#"{"type":"ping","type":"ping"}"#, BadMessage, "duplicate", None);
    check_refused("{}", BadField, "`type` is missing", Some("subscribe, unsubscribe"));
    check_refused(r#"{"type":1}"#, BadField, "`type` must be a string", None);
    check_refused(r#"{"type":"subscibe"}"#, UnknownType, "`subscibe`", Some("did you mean `subscribe`?"));
    check_refused(r#"{"type":"Ping"}"#, UnknownType, "`Ping`", Some("did you mean `ping`?"));
    check_refused(r#"{"type":"publish"}"#, UnknownType, "`publish`", Some("clients send"));
    let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(5000));
    check_refused(&long, UnknownType, "…", Some("clients send"));
    check_refused(r#"{"type":"auth","token":"t"}"#, Unsupported, "`auth`", Some("no authentication"));
    check_refused(r#"{"type":"subscribe"}"#, BadField, "`rooms` is missing", Some("for example"));
    check_refused(r#"{"type":"subscribe","room":"a"}"#, BadField, "`rooms` is missing", Some("rooms"));
    check_refused(r#"{"type":"subscribe","rooms":[]}"#, BadField, "empty", Some("for example"));
    check_refused(r#"{"type":"subscribe","rooms":7}"#, BadField, "must be a list", Some("for example"));
    let many = format!(r#"{{"type":"subscribe","rooms":["a"{}]}}"#, r#","a""#.repeat(MAX_ROOMS));
    check_refused(&many, Limit, "1025 entries", Some("several"));
}

#[test]
fn an_id_is_a_short_string_or_number() {
    use ErrorCode::BadField;
    for id in ["true", "[]", "{}"] {
        check_refused(&format!(r#"{{"type":"ping","id":{id}}}"#), BadField, "`id` must be", None);
    }
    let id = "1".repeat(MAX_ID_BYTES);
    assert!(parse_message(&format!(r#"{{"type":"ping","id":{id}}}"#)).is_ok());
    check_refused(&format!(r#"{{"type":"ping","id":{id}0}}"#), BadField, "65 bytes", None);
    let error = parse_message(r#"{"type":"nope","id":"q7"}"#).unwrap_err();
    assert_eq!(error.id.as_deref(), Some(r#""q7""#), "an error carries its message's id");
}

#[test]
fn a_room_is_refused_alone() {
    use ErrorCode::{BadField, BadWhere};
    check_room_refused(r#""""#, BadField, "empty", "");
    check_room_refused(&format!("\"{}\"", "x".repeat(201)), BadField, "201 bytes", "");
    check_room_refused(r#"{"room":"x","form":"start"}"#, BadField, "`form`", "did you mean `from`?");
    check_room_refused(r#"{"room":"x","limit":3}"#, BadField, "`limit`", "room, from, where, every");
    check_room_refused(r#"{"room":"x","every":"1ms"}"#, BadField, "`every`", "250ms");
    check_room_refused(r#"{"room":"x","every":1}"#, BadField, "`every`", "250ms");
    check_room_refused(r#"{"room":"x","snapshot":"yes"}"#, BadField, "`snapshot`", "");
    check_room_refused(r#"{"room":"x","from":"strat"}"#, BadField, "`strat`", "did you mean `start`?");
    check_room_refused(r#"{"room":"x","where":7}"#, BadWhere, "string or an object", "severity");
    let long = format!(r#"{{"room":"x","where":"{}"}}"#, "a".repeat(MAX_WHERE_BYTES));
    check_room_refused(&long, BadWhere, "4098 bytes", "");
}

#[test]
fn an_element_that_names_no_room_is_refused_alone_by_its_place() {
    let long = format!("[{}]", r#""x","#.repeat(60) + "0");
    for element in ["null", "7", "true", "{}", r#"["a"]"#, r#"{"rooms":["b"]}"#, r#"{"room":5}"#, &long] {
        let text = format!(r#"{{"type":"subscribe","rooms":["a",{element},"c"]}}"#);
        let Ok(ClientMessage::Subscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
        assert_eq!([&rooms[0], &rooms[2]], [&Ok(now("a")), &Ok(now("c"))]);
        let error = rooms[1].as_ref().expect_err(&text);
        assert_eq!(
            (error.code, error.index, &error.room),
            (ErrorCode::BadField, Some(1), &None),
            "{error:?}"
        );
        let excerpt: String = element.chars().take(MAX_QUOTED_CHARS).collect();
        assert!(error.message.contains("rooms[1]") && error.message.contains(&excerpt), "{}", error.message);
    }
    for element in ["null", "7", r#"{"room":"a"}"#] {
        let text = format!(r#"{{"type":"unsubscribe","rooms":["a",{element},"c"]}}"#);
        let Ok(ClientMessage::Unsubscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
        assert_eq!([&rooms[0], &rooms[2]], [&Ok("a".to_owned()), &Ok("c".to_owned())]);
        assert_eq!(rooms[1].as_ref().map_err(|error| error.index), Err(Some(1)));
    }
}

#[test]
fn a_where_is_text_or_an_object() {
    for condition in [r#""severity == \"error\"""#, r#"{"severity":"error"}"#, r#"{"agentId":["a","b"]}"#] {
        let text = format!(r#"{{"type":"subscribe","rooms":{{"room":"a","where":{condition}}}}}"#);
        let Ok(ClientMessage::Subscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
        assert!(rooms[0].as_ref().is_ok_and(|room| room.condition.is_some()), "{:?}", rooms[0]);
    }
    let bad = r#"{"room":"x","where":"severity = \"error\""}"#;
    check_room_refused(bad, ErrorCode::BadWhere, "column 10", "");
    check_room_refused(r#"{"room":"x","where":""}"#, ErrorCode::BadWhere, "`where`", "");
    check_room_refused(r#"{"room":"x","where":{"a":{}}}"#, ErrorCode::BadWhere, "`where`", "");
}

#[test]
fn a_query_says_it_of_all_its_rooms() {
    let read = |every, snapshot| {
        let fields = QueryFields { condition: None, every, snapshot };
        parse_query_room("a", From::Now, fields).map(|room| (room.every, room.snapshot))
    };
    assert_eq!(read(None, None), Ok((None, None)));
    for (text, snapshot) in [("1", true), ("true", true), ("", true), ("0", false), ("false", false)] {
        assert_eq!(read(Some("500ms"), Some(text)), Ok((Some(Duration::from_millis(500)), Some(snapshot))));
    }
    assert!(read(Some("5"), None).is_err() && read(None, Some("2")).is_err());
}

#[test]
fn a_query_has_its_condition_as_text_or_as_json() {
    let read = |text| {
        let fields = QueryFields { condition: Some(text), ..QueryFields::default() };
        let room = parse_query_room("a", From::Start, fields).map_err(|error| error.code)?;
        assert_eq!((room.room.as_str(), &room.from), ("a", &From::Start));
        Ok(room.condition.map(|condition| condition.source().to_owned()))
    };
    let source = Ok(Some("severity == \"error\"".to_owned()));
    assert_eq!(read("severity == \"error\""), source);
    assert_eq!(read(" {\"severity\":\"error\"}"), source);
    assert_eq!(read("severity = 1"), Err(ErrorCode::BadWhere));
    for name in ["", &"x".repeat(MAX_ROOM_BYTES + 1)] {
        assert!(parse_query_room(name, From::Now, QueryFields::default()).is_err());
    }
    assert!(parse_query_room(&"x".repeat(MAX_ROOM_BYTES), From::Now, QueryFields::default()).is_ok());
}

#[test]
fn the_word_that_was_meant_is_guessed_by_a_third_of_its_letters() {
    let known = ["subscribe", "ping"];
    for (word, meant) in [
        ("subscribe", Some("subscribe")),
        ("SUBSCRIBE", Some("subscribe")),
        ("subxxxibe", Some("subscribe")),
        ("subxxxxbe", None),
        ("pi", Some("ping")),
        ("p", None),
        ("", None),
    ] {
        let expected = meant.map(|meant| format!("did you mean `{meant}`?"));
        assert_eq!(did_you_mean(word, &known), expected, "{word}");
    }
    let long = "x".repeat(32);
    assert!(did_you_mean(&long, &[&long]).is_some(), "as long as a word may be");
    assert!(did_you_mean(&"x".repeat(33), &[&"x".repeat(33)]).is_none());
    assert_eq!(quote(&"é".repeat(40)), format!("`{}`", "é".repeat(40)));
    assert_eq!(quote(&"é".repeat(41)), format!("`{}…`", "é".repeat(40)));
}

#[test]
fn a_condition_that_is_wrong_says_where() {
    let refused = |condition: &str| {
        let text = format!(r#"{{"type":"subscribe","rooms":[{{"room":"x","where":{condition}}}]}}"#);
        let Ok(ClientMessage::Subscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
        rooms[0].as_ref().unwrap_err().message.clone()
    };
    assert!(
        refused(r#""a == 1 && b = 2""#).ends_with(" (column 13, at `=`)"),
        "{}",
        refused(r#""a == 1 && b = 2""#)
    );
    assert!(refused(r#""a ==""#).ends_with(" (column 5)"), "{}", refused(r#""a ==""#));
    assert!(!refused(r#"{"a":{}}"#).contains("column"));
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse_message(&deep), Ok(ClientMessage::Ping { id: None }));
    let rooms = format!(r#"{{"type":"subscribe","rooms":[{}{}]}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert!(matches!(parse_message(&rooms), Ok(ClientMessage::Subscribe { rooms, .. }) if rooms[0].is_err()));
    let from = format!(
        r#"{{"type":"subscribe","rooms":[{{"room":"x","from":{}{}}}]}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    assert!(matches!(parse_message(&from), Ok(ClientMessage::Subscribe { rooms, .. }) if rooms[0].is_err()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_makes_it_panic(
        text in r#"\{("(type|id|rooms|from|room|x)":("subscribe"|"ping"|[0-9]|\["a"\]|null|\{|\}|\[|\])[,:]?){0,6}\}?"#
    ) {
        let _ = parse_message(&text);
    }
}
