//! Lines of producers: parsed, checked and routed, long ones by their skeletons. Nothing panics, and what becomes of a line is
//! what serde_json makes of it.

#![no_main]

use broadcastd::config::{Config, Dirs, Input};
use broadcastd::route::{Beside, Outcome, RejectionCode, Routes, Scratch};
use broadcastd::time::Moment;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::LazyLock;

const NOW_MS: u64 = 1_700_000_000_000;
const NOW: Moment = Moment { log_ms: 5_000, wall_ms: NOW_MS };

const CONFIG: &str = r#"
[rooms.all]
types = ["*"]
[rooms.some]
types = ["x*"]
where = "tags != 'a'"
[rooms."agent:{agentId}"]
types = ["*"]
key = "agentId"
"#;

static CONFIGURED: LazyLock<Config> = LazyLock::new(|| {
    let dirs = Dirs { runtime: "/nowhere".into(), state: "/nowhere".into() };
    let input = Input { file: None, defaults: false, set: Vec::new(), environment: &|_| None, dirs };
    let loaded = input.load_text(None, CONFIG.to_owned());
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config
});

fuzz_target!(|data: &[u8]| {
    let routes = Routes::compile(&CONFIGURED, &CONFIGURED.ingest.listen[0]);
    check(&routes, data);
    // The same with long texts, which are found many bytes at a time.
    check(&routes, &lengthened(data));
});

/// Two control characters, which no line has, stand for long texts.
fn lengthened(data: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    for byte in data {
        match byte {
            1 => line.extend_from_slice(&b"long text, ".repeat(220)),
            2 => line.extend_from_slice(&"é€ ".repeat(400).into_bytes()),
            3 => line.extend_from_slice(&[b'x'; 31]),
            4 => line.extend_from_slice(&[b'x'; 32]),
            byte => line.push(*byte),
        }
    }
    line
}

fn check(routes: &Routes, line: &[u8]) {
    let mut scratch = Scratch::default();
    let outcome = routes.read(&mut scratch, line, &Beside::default(), NOW, || 1);
    let text = std::str::from_utf8(line);
    let Ok(text) = text else {
        return assert_eq!(outcome.map_err(|rejection| rejection.code).err(), Some(RejectionCode::BadUtf8));
    };
    let verdict = serde_json::from_str::<Value>(text);
    match outcome {
        Ok(Outcome::Event(event)) => {
            // What nobody looks at is checked for its form only, not for what a float can hold.
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "{text}");
            let stored = std::str::from_utf8(event.json()).expect("an event is text");
            let Ok(value) = verdict else { return };
            let stamp = format!("{{\"timestamp\":{NOW_MS},");
            let object = text.trim_ascii();
            let is_stamped = value.get("timestamp").is_none();
            assert_eq!(stored, if is_stamped { object.replacen('{', &stamp, 1) } else { object.to_owned() });
            match event.type_json() {
                Some(json) => {
                    assert_eq!(serde_json::from_slice::<Value>(json).ok().as_ref(), value.get("type"))
                }
                // Of one that is longer the place is not kept.
                None => assert!(text.len() > usize::from(u16::MAX), "{text}"),
            }
            check_rooms(&scratch, &value);
        }
        Ok(other) => panic!("one room takes everything, and yet: {other:?}"),
        Err(rejection) => {
            assert!((1..=line.len().max(1)).contains(&rejection.column), "{rejection:?}");
            match rejection.code {
                RejectionCode::BadJson => assert!(verdict.is_err(), "{text}"),
                // A value by itself may be a piece of an object that is spread over lines.
                RejectionCode::PrettyPrinted => {
                    assert!(!verdict.is_ok_and(|value| value.is_object()), "{text}")
                }
                RejectionCode::NotAnObject => assert!(!text.trim_ascii().starts_with('{')),
                RejectionCode::BadUtf8 => panic!("{text} is UTF-8"),
                _ => {}
            }
        }
    }
}

/// The rooms of an event, by what serde_json reads in it.
fn check_rooms(scratch: &Scratch, value: &Value) {
    let is_in = |index: usize| scratch.destinations.iter().find(|destination| destination.room == index);
    let room =
        |name: &str| CONFIGURED.rooms.iter().position(|room| room.name.source() == name).expect("a room");
    assert!(is_in(room("all")).is_some());
    let of_type = value["type"].as_str().expect("an event has a type");
    if !of_type.starts_with('x') {
        assert!(is_in(room("some")).is_none(), "{value}");
    } else if let Some(tags) = value["tags"].as_str() {
        assert_eq!(is_in(room("some")).is_some(), tags != "a", "{value}");
    }
    // Names have other characters encoded; those that need none are taken as they are.
    let is_plain = |agent: &&str| {
        !agent.is_empty() && agent.len() < 100 && agent.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if let Some(agent) = value["agentId"].as_str().filter(is_plain) {
        let destination = is_in(room("agent:{agentId}")).expect("a room of the agent");
        assert_eq!(scratch.text[destination.name.clone()], format!("agent:{agent}"));
        assert_eq!(scratch.text[destination.key.clone()], *agent);
    }
}
