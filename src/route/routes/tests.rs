//! Lines against small configurations.

use super::fixture::*;
use super::*;
use crate::config::{BufferConfig, FieldKind, RoomConfig, TypeConfig};
use crate::pattern::Condition;
use crate::route::RejectionCode;
use serde_json::json;
use std::time::Duration;

#[test]
fn events_reach_their_rooms() {
    let mut reader = Reader::new(agents());
    reader.goes_to(AGENT_STATE, &["agent_states", "agent:42"]);
    let alert = |severity: &str| {
        format!(r#"{{"component":"db","message":"a\nb","severity":"{severity}","type":"system_alert"}}"#)
    };
    reader.goes_to(&alert("error"), &["system_alerts", "critical"]);
    reader.goes_to(&alert("info"), &["system_alerts"]);
    reader.goes_to(r#"{"type":"anything","agentId":7}"#, &["agent:7"]);
    reader.goes_to(r#"{"type":"anything","agentId":"a/b:c\n%*"}"#, &["agent:a%2Fb%3Ac%0A%25%2A"]);
    reader.goes_to(r#"{"type":"RUN_STARTED","runId":"r","agentId":"a"}"#, &["agent:a", "run:r"]);
    reader.goes_to(r#"{"type":"RUN_X1","runId":"r"}"#, &["run:r"]);
    for nowhere in [
        r#"{"type":"x"}"#,
        r#"{"type":"x","agentId":null}"#,
        r#"{"type":"x","agentId":""}"#,
        r#"{"type":"x","agentId":{}}"#,
        r#"{"type":"x","agentId":1.5}"#,
        r#"{"type":"RUN","runId":"r"}"#,
    ] {
        reader.refuses(nowhere, RejectionCode::Unrouted, 9, "no room takes this event");
    }
}

#[test]
fn nested_fields_and_several_of_them_make_names() {
    let mut reader = Reader::new(config(vec![room("s:{session.id}/{user.id}", &["*"])]));
    reader.goes_to(r#"{"type":"x","user":{"id":5},"session":{"id":"a"}}"#, &["s:a/5"]);
    reader.refuses(r#"{"type":"x","user":5,"session":{"id":"a"}}"#, RejectionCode::Unrouted, 9, "");
}

#[test]
fn an_event_knows_where_its_type_is() {
    let config = config(vec![room("all", &["*"])]);
    for (add_timestamp, type_field) in [(true, "type"), (false, "type"), (true, "a.kind")] {
        let listener =
            IngestListenConfig { add_timestamp, type_field: type_field.into(), ..Default::default() };
        let routes = Routes::compile(&config, &listener);
        let mut scratch = Scratch::default();
        for token in [r#""x""#, r#""\u0078y \" z""#, "\"caf\u{e9}\""] {
            let member = if type_field == "type" {
                format!(r#""type" : {token}"#)
            } else {
                format!(r#""a":{{"b":"type","kind": {token}}}"#)
            };
            for line in [format!("{{{member}}}"), format!(r#"  {{ "b": [1, "type"],{member} , "c": 2}} "#)] {
                let read = routes.read(&mut scratch, line.as_bytes(), &Beside::default(), NOW, || 1);
                let Ok(Outcome::Event(event)) = read else { panic!("{line}") };
                assert_eq!(event.type_json(), Some(token.as_bytes()), "{line}");
            }
        }
    }
}

#[test]
fn fields_beside_the_event_route_it() {
    let mut reader = Reader::beside(agents(), "runId=r1&agentId=9&type=no");
    reader.goes_to(r#"{"type":"RUN_STARTED"}"#, &["agent:9", "run:r1"]);
    reader.goes_to(r#"{"type":"RUN_STARTED","agentId":"own"}"#, &["agent:own", "run:r1"]);
    reader.goes_to(r#"{"type":"RUN_STARTED","agentId":null}"#, &["run:r1"]);
    reader.refuses("{}", RejectionCode::BadType, 1, "needs `type`");
    // They are not the event's: a check does not see them.
    reader.refuses(r#"{"type":"agent_state"}"#, RejectionCode::MissingField, 1, "needs `agentId`");
    let Ok(Outcome::Event(event)) = reader.read(r#"{"type":"RUN_A"}"#) else { panic!() };
    assert_eq!(event.beside(), br#"{"agentId":"9","runId":"r1","type":"no"}"#);
}

#[test]
fn a_room_has_an_event_once() {
    let mut reader = Reader::new(config(vec![
        room("{a}", &["*"]),
        room("{b}", &["*"]),
        condition(room("x", &["t", "t*", "*"]), "ok"),
    ]));
    reader.goes_to(r#"{"type":"t","a":"1","b":"1"}"#, &["1"]);
    reader.goes_to(r#"{"type":"t","a":"1","b":"2"}"#, &["1", "2"]);
    reader.goes_to(r#"{"type":"tt","a":"1","ok":true}"#, &["1", "x"]);
    // The static room's own rule decides, not a template that makes its name.
    reader.goes_to(r#"{"type":"t","a":"x","b":"2"}"#, &["2"]);
    reader.goes_to(r#"{"type":"t","a":"x","ok":true}"#, &["x"]);
}

#[test]
fn a_static_room_beside_a_template_decides_itself_wherever_it_is_in_the_order() {
    let names = ["a", "b", "b:", "b:x", "b:y:z", "ba", "c"];
    for template in ["b:{v}", "b{v}", "{v}"] {
        let statics = names.iter().map(|name| room(name, &["other"]));
        let mut reader = Reader::new(config(statics.chain([room(template, &["t"])]).collect()));
        let made = |value: &str| template.replace("{v}", value);
        for value in ["x", "free", "a", "c", "w"] {
            let name = made(value);
            let line = format!(r#"{{"type":"t","v":"{value}"}}"#);
            if names.contains(&name.as_str()) {
                reader.refuses(&line, RejectionCode::Unrouted, 9, "no room");
            } else {
                reader.goes_to(&line, &[&name]);
            }
        }
    }
}

#[test]
fn long_names_are_counted() {
    let mut reader = Reader::new(agents());
    let long = "x".repeat(195);
    let line = format!(r#"{{"type":"RUN_A","agentId":"{long}"}}"#);
    assert!(matches!(reader.read(&line), Ok(Outcome::NameTooLong)));
    assert_eq!(reader.scratch.names_too_long, 1);
    reader.goes_to(&format!(r#"{{"type":"RUN_A","agentId":"{long}","runId":"r"}}"#), &["run:r"]);
    let longest = &long[1..];
    let room = format!("agent:{longest}");
    assert_eq!(room.len(), crate::pattern::MAX_NAME_BYTES);
    reader.goes_to(&format!(r#"{{"type":"RUN_A","agentId":"{longest}"}}"#), &[&room]);
    reader.goes_to(&format!(r#"{{"type":"RUN_A","agentId":"{long}","runId":"r"}}"#), &["run:r"]);
    assert_eq!(reader.scratch.names_too_long, 1);
    reader.goes_to(r#"{"type":"RUN_A","runId":"r"}"#, &["run:r"]);
    assert_eq!(reader.scratch.names_too_long, 0);
}

#[test]
fn keys_groups_and_urgency() {
    let buffer = BufferConfig {
        events: None,
        flush_interval: Duration::from_secs(1),
        group_by: Path::parse("category"),
        keep_newest: true,
    };
    let key = vec![Path::parse("agentId").unwrap(), Path::parse("metricName").unwrap()];
    let urgent = Some(Condition::parse("value > 95").unwrap());
    let mut reader =
        Reader::new(config(vec![RoomConfig { buffer: Some(buffer), key, urgent, ..room("board", &["m"]) }]));
    for (line, key, group, urgent) in [
        (r#"{"type":"m","agentId":"a","metricName":"b","category":"c","value":96}"#, "a\u{1f}b", "c", true),
        (r#"{"type":"m","agentId":1.5,"category":true,"value":95}"#, "1.5\u{1f}", "true", false),
        (r#"{"type":"m","agentId":{}}"#, "", "", false),
    ] {
        reader.goes_to(line, &["board"]);
        let destination = &reader.scratch.destinations[0];
        let text = |range: &std::ops::Range<usize>| reader.scratch.text[range.clone()].to_owned();
        assert_eq!(text(&destination.key), key);
        assert_eq!((text(&destination.group).as_str(), destination.urgent), (group, urgent));
    }
}

#[test]
fn the_types_built_in_are_checked() {
    use RejectionCode::{BadField, MissingField};
    let mut reader = Reader::new(agents());
    let metric = |extra: &str| {
        format!(
            r#"{{"type":"performance_metric","metricName":"m","value":1,"unit":"u","category":"agent"{extra}}}"#
        )
    };
    reader.goes_to(&metric(""), &["performance_metrics"]);
    reader
        .goes_to(&metric(r#","agentId":null,"metadata":{"a":[{}]},"timestamp":5"#), &["performance_metrics"]);
    reader.refuses_at(
        &metric(r#","metadata":‹[]"#),
        BadField,
        "`metadata` must be an object, found an array",
    );
    reader.refuses_at(
        &metric(r#","timestamp":‹"now""#),
        BadField,
        "must be a number, found the string \"now\"",
    );
    let workflow = |extra: &str| {
        let line = r#"{"type":"workflow_execution","workflowId":"w","executionId":"e","stage":"s","status":"failed""#;
        format!("{line}{extra}}}")
    };
    for fine in ["", r#","progress":0"#, r#","progress":100.0"#, r#","progress":null"#, r#","result":[1]"#] {
        reader.goes_to(&workflow(fine), &["workflow_executions"]);
    }
    for bad in ["100.5", "-1", "\"5\"", "1e3", "[]"] {
        let line = workflow(&format!(",\"progress\":‹{bad}"));
        reader.refuses_at(&line, BadField, "`progress` must be a number from 0 to 100, found ");
    }
    let memory = |tags: &str| {
        format!(
            r#"{{"type":"memory_timeline","memoryId":"m","action":"created","importance":0.5,"tags":{tags}}}"#
        )
    };
    reader.goes_to(&memory("[]"), &["memory_timeline"]);
    reader.goes_to(&memory(r#"["a","b\n"]"#), &["memory_timeline"]);
    for bad in ["[1]", "[null]", r#"["a",["b"]]"#, r#""a""#, "{}", "null"] {
        reader.refuses_at(
            &memory(&format!("‹{bad}")),
            BadField,
            "`tags` must be an array of strings, found ",
        );
    }
    let rejection = reader.refuses_at(
        &AGENT_STATE.replace("12.5", "‹\"high\""),
        BadField,
        "`resourceUsage.cpu` must be a number, found the string \"high\"",
    );
    assert_eq!(rejection.path.as_deref(), Some("resourceUsage.cpu"));
    reader.refuses_at(
        &AGENT_STATE.replace("{\"cpu\":12.5,\"memory\":40,", "‹{\"cpu\":12.5,"),
        MissingField,
        "`resourceUsage.memory`, a number",
    );
    let rejection =
        reader.refuses(&AGENT_STATE.replace("agentId", "agent_id"), MissingField, 1, "needs `agentId`");
    assert_eq!(rejection.hint.as_deref(), Some("did you mean `agentId` by `agent_id`?"));
    reader.refuses_at(
        &AGENT_STATE.replace("\"busy\"", "‹\"bored\""),
        BadField,
        "one of idle, active, busy, error, offline",
    );
}

#[test]
fn every_required_field_is_required() {
    let lines = [
        AGENT_STATE,
        r#"{"type":"performance_metric","metricName":"m","value":1,"unit":"u","category":"agent"}"#,
        r#"{"type":"workflow_execution","workflowId":"w","executionId":"e","stage":"s","status":"pending"}"#,
        r#"{"type":"memory_timeline","memoryId":"m","action":"deleted","importance":1,"tags":[]}"#,
        r#"{"type":"system_alert","severity":"info","component":"c","message":"m"}"#,
    ];
    let mut reader = Reader::new(agents());
    for line in lines {
        assert!(reader.read(line).is_ok());
        let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        for name in event.keys().filter(|name| *name != "type") {
            let mut without = event.clone();
            without.remove(name);
            let rejection = reader.read(&json!(without).to_string()).unwrap_err();
            assert_eq!(
                (rejection.code, rejection.path.as_deref()),
                (RejectionCode::MissingField, Some(&**name))
            );
            let mut with_null = event.clone();
            with_null.insert(name.clone(), json!(null));
            let rejection = reader.read(&json!(with_null).to_string()).unwrap_err();
            assert_eq!((rejection.code, rejection.path.as_deref()), (RejectionCode::BadField, Some(&**name)));
        }
    }
}

#[test]
fn types_of_ones_own_are_checked() {
    let path = |text: &str| Path::parse(text).unwrap();
    let token = TypeConfig {
        name: "token".to_owned(),
        required: vec![(path("run.id"), FieldKind::String), (path("any"), FieldKind::Any)],
        optional: vec![(path("flag"), FieldKind::Boolean), (path("list"), FieldKind::Array)],
    };
    let mut reader = Reader::new(Config { types: vec![token], ..config(vec![room("all", &["*"])]) });
    reader.goes_to(r#"{"type":"token","run":{"id":"r"},"any":null,"flag":true,"list":[1]}"#, &["all"]);
    reader.goes_to(r#"{"type":"tokens"}"#, &["all"]);
    reader.refuses(
        r#"{"type":"token","run":{}}"#,
        RejectionCode::MissingField,
        23,
        "token needs `run.id`, a string",
    );
    reader.refuses(r#"{"type":"token","run":{"id":"r"}}"#, RejectionCode::MissingField, 1, "any value");
    let line = r#"{"type":"token","run":{"id":"r"},"any":1,"flag":"true"}"#;
    reader.refuses(line, RejectionCode::BadField, 49, "`flag` must be true or false");
}

#[test]
fn lines_that_are_no_events_are_refused() {
    use RejectionCode::{BadJson, BadType, DuplicateField, NotAnObject, PrettyPrinted, TooDeep};
    let mut reader = Reader::new(agents());
    reader.refuses("hello", BadJson, 1, "not JSON");
    reader.refuses("", BadJson, 1, "not JSON");
    reader.refuses(r#"{"type":"x",}"#, BadJson, 13, "not JSON: ");
    reader.refuses(r#"{"type":"x"} x"#, BadJson, 14, "trailing characters");
    reader.refuses(r#"{"type":"x"}{}"#, BadJson, 13, "trailing characters");
    reader.refuses("{\"type\":\"x\",\n\"a\":}", BadJson, 18, "expected value");
    reader.refuses("{\"type\":\"a\tb\"}", BadJson, 11, "control character");
    reader.refuses(" 5", NotAnObject, 2, "found the number 5");
    reader.refuses("\"{}\"", NotAnObject, 1, "found the string \"{}\"");
    let rejection = reader.refuses(" [{}]", NotAnObject, 2, "found an array");
    assert!(rejection.hint.unwrap().contains("jq -c '.[]'"));
    for (line, column) in
        [("{", 1), (" }", 2), ("},", 1), ("[", 1), ("]", 1), ("  \"type\": \"x\",", 3), ("\"a\\\"\" : {", 1)]
    {
        let rejection = reader.refuses(line, PrettyPrinted, column, "several lines");
        assert!(rejection.hint.unwrap().contains("jq -c"));
    }
    let nested = |depth: usize| {
        format!("{{\"type\":\"RUN_A\",\"agentId\":1,\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    reader.goes_to(&nested(63), &["agent:1"]);
    reader.refuses(&nested(64), TooDeep, 96, "deeper than 64");
    reader.refuses(&"[".repeat(100_000), BadJson, 100_000, "EOF");
    reader.refuses(r#"{"type":"x","type":"y"}"#, DuplicateField, 20, "`type` appears twice");
    reader.refuses(r#"{"type":"x","agentId":1,"\u0061gentId":1}"#, DuplicateField, 40, "`agentId`");
    reader.goes_to(r#"{"type":"x","agentId":1,"z":1,"z":1}"#, &["agent:1"]);
    let rejection = reader.refuses(r#"{"Type":"x"}"#, BadType, 1, "an event needs `type`, a string");
    assert_eq!(
        rejection.hint.as_deref(),
        Some("did you mean `Type`? then set type_field = \"Type\" at the listener")
    );
    reader.refuses(r#"{"type":5}"#, BadType, 9, "found the number 5");
    reader.refuses(r#"{"type":""}"#, BadType, 9, "found the string \"\"");
    reader.refuses(r#"{"type":null}"#, BadType, 9, "found null");
    let result = reader.routes.read(&mut reader.scratch, b"{\"type\":\"\xff\"}", &reader.beside, NOW, || 0);
    let rejection = result.unwrap_err();
    assert_eq!((rejection.code, rejection.column), (RejectionCode::BadUtf8, 10));
    assert!(rejection.message.contains("0xff"));
}

#[test]
fn an_unrouted_event_is_told_what_to_add() {
    let mut reader = Reader::new(config(vec![room("a", &["a"])]));
    let mut hint = |event_type: &str| {
        let line = json!({"type": event_type}).to_string();
        reader.refuses(&line, RejectionCode::Unrouted, 9, "no room takes").hint.unwrap()
    };
    assert_eq!(hint("my_type"), "[rooms.my_type]\ntypes = [\"my_type\"]");
    assert_eq!(hint("a.b \"c\""), "[rooms.a_b__c_]\ntypes = [\"a.b \\\"c\\\"\"]");
    assert_eq!(hint("a*"), "[rooms.events]\ntypes = \"unrouted\"");
}

#[test]
fn unrouted_and_invalid_events_may_go_elsewhere() {
    let with = |unrouted: Unrouted, invalid: Invalid| {
        let mut config = config(vec![
            room("first", &[]),
            room("no:{x}", &[]),
            room("other", &[]),
            room("bad:{x}", &[]),
            room("alerts", &["system_alert"]),
        ]);
        config.ingest.unrouted = unrouted;
        config.ingest.invalid = invalid;
        Reader::new(config)
    };
    let invalid = r#" {"type":"system_alert"} "#;
    let mut reader = with(Unrouted::Count, Invalid::Warn);
    assert!(matches!(reader.read(r#"{"type":"x"}"#), Ok(Outcome::Unrouted)));
    reader.goes_to(invalid, &["alerts"]);
    assert_eq!(
        reader.scratch.warning.as_ref().map(|warning| warning.code),
        Some(RejectionCode::MissingField)
    );
    assert!(reader.json(invalid).contains("timestamp"));
    reader.refuses("{}", RejectionCode::BadType, 1, "");
    assert_eq!(reader.scratch.warning, None);

    let mut reader = with(Unrouted::Room("other".to_owned()), Invalid::Room("bad:q".to_owned()));
    reader.goes_to(r#"{"type":"x"}"#, &["other"]);
    assert!(reader.json(r#"{"type":"x"}"#).contains("timestamp"));
    reader.goes_to(invalid, &["bad:q"]);
    assert!(reader.scratch.warning.is_some());
    assert_eq!(reader.json(invalid), invalid.trim());
}

#[test]
fn the_type_is_where_the_listener_says() {
    let mut config = config(vec![room("artifacts", &["compiler-*"])]);
    config.ingest.listen[0].type_field = "reason".to_owned();
    config.ingest.listen[0].add_timestamp = false;
    let mut reader = Reader::new(config);
    let line = r#"{"reason":"compiler-artifact","type":5}"#;
    reader.goes_to(line, &["artifacts"]);
    assert_eq!(reader.json(line), line);
    reader.refuses(r#"{"type":"x"}"#, RejectionCode::BadType, 1, "needs `reason`");
}

#[test]
fn the_timestamp_is_put_in_when_it_is_missing() {
    let mut reader = Reader::new(agents());
    assert_eq!(
        reader.json(" \t{ \"type\":\"x\", \"agentId\":1 }\r"),
        "{\"timestamp\":1700000000000, \"type\":\"x\", \"agentId\":1 }"
    );
    for line in [r#"{"type":"x","agentId":1,"timestamp":5}"#, r#"{"type":"x","agentId":1,"timestamp":null}"#]
    {
        assert_eq!(reader.json(line), line);
    }
}

/// A text that is too long to be parsed byte by byte.
fn long() -> String {
    "a long text, with {brackets} and é; ".repeat(100)
}

#[test]
fn of_a_long_line_only_the_structure_is_parsed() {
    let id = "0123456789".repeat(10);
    let room_name = format!("agent:{id}");
    let mut reader = Reader::new(config(vec![
        condition(room("long", &["x"]), &format!("data == '{}'", long())),
        condition(room("other", &["x"]), "data == 'x'"),
        room("agent:{agentId}", &["*"]),
    ]));
    for line in [
        format!(r#"{{"data":"{}","agentId":"{id}","type":"x"}}"#, long()),
        format!(r#" {{"type":"x","data":"{}","agentId":"{id}","more":"{}\n\"\u00e9"}} "#, long(), long()),
    ] {
        let Reader { routes, scratch, beside, .. } = &mut reader;
        assert!(routes.read_skeleton(scratch, line.as_bytes(), beside).is_some());
        reader.goes_to(&line, &["long", &room_name]);
        let Ok(Outcome::Event(event)) = reader.read(&line) else { panic!("{line}") };
        assert_eq!(event.json(), line.trim().replacen('{', "{\"timestamp\":1700000000000,", 1).as_bytes());
        assert_eq!(event.type_json(), Some(&b"\"x\""[..]));
    }
    let type_name = "type".repeat(20);
    let line = format!(r#"{{"data":"{}","agentId":"1","type":"{type_name}"}}"#, long());
    let Ok(Outcome::Event(event)) = reader.read(&line) else { panic!("{line}") };
    assert_eq!(event.type_json(), Some(format!("\"{type_name}\"").as_bytes()));
}

#[test]
fn what_is_wrong_with_a_long_line_is_told_as_for_any_other() {
    let mut reader = Reader::new(agents());
    for text in
        ["{\"type\":\"x\",\"x\":\"…\t…\"}", r#"{"type":"x","x":"…\q…"}"#, r#"{"type":"x","x":"…\u12…"}"#]
    {
        let line = text.replace('…', &long());
        let Reader { routes, scratch, beside, .. } = &mut reader;
        let whole = routes.read_whole(scratch, line.as_bytes(), beside).unwrap_err();
        assert_eq!((whole.code, whole.column > long().len()), (RejectionCode::BadJson, true));
        assert_eq!(reader.read(&line).unwrap_err(), whole);
    }
    let mut refuses = |marked: &str, code| {
        reader.refuses_at(&marked.replace('…', &long()), code, "");
    };
    refuses(r#"{"type":"x","agentId":"1","x":"…" ‹"…"}"#, RejectionCode::BadJson);
    refuses(r#"{"type":"x","x":"…","agentId":"1","agentId":‹"…"}"#, RejectionCode::DuplicateField);
    refuses(r#"{"x":"…","type":‹12,"y":"…"}"#, RejectionCode::BadType);
    refuses(r#"{"x":"…","type":‹"nobody's","y":"…"}"#, RejectionCode::Unrouted);
    refuses(r#"{"x":"…","type":"agent_state","agentId":‹1,"status":"busy"}"#, RejectionCode::BadField);
    refuses(
        &format!(r#"{{"x":"…","type":"x","y":{}‹[{}}}"#, "[".repeat(63), "]".repeat(64)),
        RejectionCode::TooDeep,
    );
    let line = [long().as_bytes(), b"\xff", long().as_bytes()].concat();
    let line = [br#"{"type":"x","x":""#, &line[..], b"\"}"].concat();
    let Reader { routes, scratch, beside, .. } = &mut reader;
    let rejection = routes.read(scratch, &line, beside, NOW, || 1).unwrap_err();
    assert_eq!((rejection.code, rejection.column), (RejectionCode::BadUtf8, 17 + long().len() + 1));
}
