//! JSON that readers do not agree on gets one answer, wherever it stands and whatever the rules are.

use super::fixture::*;
use super::*;
use crate::config::{BufferConfig, FieldKind, RoomConfig, TypeConfig};
use crate::pattern::Condition;
use crate::route::RejectionCode;
use crate::route::parse_with;
use std::time::Duration;

/// A type, paths, and what its fields are.
fn typed(fields: &[(&str, FieldKind)]) -> Config {
    let required = fields.iter().map(|(path, kind)| (Path::parse(path).unwrap(), kind.clone())).collect();
    let name = "t".to_owned();
    Config {
        types: vec![TypeConfig { name, required, optional: Vec::new() }],
        ..config(vec![room("all", &["*"])])
    }
}

/// Configurations that look at `f` in every way, or not at all.
fn configs() -> Vec<(&'static str, Config)> {
    let ruled = |rule: &str| config(vec![condition(room("all", &["*"]), rule), room("rest", &["*"])]);
    let with = |change: fn(&mut RoomConfig)| {
        let mut all = room("all", &["*"]);
        change(&mut all);
        config(vec![all])
    };
    let any = |path| typed(&[(path, FieldKind::Any)]);
    vec![
        ("no rule", config(vec![room("all", &["*"])])),
        ("has", ruled("has(f)")),
        ("has not", ruled("!has(f)")),
        ("greater", ruled("f > 5")),
        ("equal", ruled("f == 'x'")),
        ("nested", ruled("f.g > 5 || has(f.g)")),
        ("a template", config(vec![room("all", &["*"]), room("f:{f}", &["*"])])),
        ("a key", with(|room| room.key = vec![Path::top("f")])),
        ("urgent", with(|room| room.urgent = Condition::parse("f > 5").ok())),
        (
            "a group",
            with(|room| {
                let flush_interval = Duration::from_secs(1);
                let group_by = Path::parse("f");
                room.buffer =
                    Some(BufferConfig { events: None, flush_interval, group_by, keep_newest: false });
            }),
        ),
        ("a type", any("f")),
        ("a nested type", any("f.g")),
        ("strings", typed(&[("f", FieldKind::Strings)])),
        ("a number", typed(&[("f", FieldKind::Number)])),
    ]
}

#[test]
fn a_flawed_value_is_refused_wherever_it_stands_and_whatever_the_rules_are() {
    let filler = "-".repeat(3000);
    for (what, config) in configs() {
        let mut reader = Reader::new(config);
        for (flaw, code) in [
            (r#""ab‹\ud800""#, RejectionCode::BadEscape),
            (r#""‹\uDC00\ud83d""#, RejectionCode::BadEscape),
            ("‹1e400", RejectionCode::BadNumber),
            ("‹-123.5E+999", RejectionCode::BadNumber),
        ] {
            for (marked, path) in [
                (format!(r#"{{"type":"t","f":{flaw}}}"#), "f"),
                (format!(r#"{{"f":{flaw},"type":"t"}}"#), "f"),
                (format!(r#"{{"type":"t","f":{{"g":{flaw}}}}}"#), "f.g"),
                (format!(r#"{{"type":"t","f":["x",[{flaw}]]}}"#), "f[1][0]"),
                (format!(r#"{{"type":"t","f":"x","other":{{"a":[{{}},{{"b":{flaw}}}]}}}}"#), "other.a[1].b"),
                (format!(r#"{{"type":"t","text":"{filler}","f":{flaw}}}"#), "f"),
                (format!(r#"{{"type":"t","f":{flaw},"text":"{filler}"}}"#), "f"),
            ] {
                let rejection = reader.refuses_at(&marked, code, "`");
                assert_eq!(rejection.path.as_deref(), Some(path), "{what}: {marked}");
                assert!(rejection.hint.is_some(), "{what}: {rejection:?}");
            }
        }
        let key = reader.refuses_at(r#"{"type":"t","f":{"‹\ud800":1}}"#, RejectionCode::BadEscape, "`");
        assert_eq!(key.path.as_deref(), Some(r"f.\ud800"), "{what}");
    }
}

#[test]
fn a_type_with_a_flaw_is_refused_as_any_other_field() {
    let mut reader = Reader::new(config(vec![room("all", &["*"])]));
    let rejection = reader.refuses_at(r#"{"type":"‹\ud800"}"#, RejectionCode::BadEscape, "no character");
    assert_eq!(rejection.path.as_deref(), Some("type"));
    reader.refuses_at(r#"{"type":‹1e400}"#, RejectionCode::BadNumber, "64-bit float");
}

#[test]
fn what_is_no_json_before_a_flaw_is_said_first() {
    let mut reader = Reader::new(config(vec![room("all", &["*"])]));
    reader.refuses_at(r#"{"type":"t","a":‹é,"f":"\ud800"}"#, RejectionCode::BadJson, "not JSON");
    reader.refuses_at(r#"{"type":"t","f":"‹\ud800","a":é}"#, RejectionCode::BadEscape, "half");
}

#[test]
fn what_every_reader_takes_passes_whatever_the_rules_are() {
    for (what, config) in configs().into_iter().take(10) {
        let mut reader = Reader::new(config);
        for value in [r#""\\ud800""#, r#""\ud83d\ude00""#, "1e308", "1e-400", r#""1e400 1E+999""#] {
            let line = format!(r#"{{"type":"t","f":{value}}}"#);
            assert!(matches!(reader.read(&line), Ok(Outcome::Event(_))), "{what}: {line}");
        }
    }
}

#[test]
fn a_control_line_with_a_flaw_is_refused_with_the_same_code() {
    for (marked, code) in [
        (r#"{"$with":{"runId":"‹\ud800"}}"#, RejectionCode::BadEscape),
        (r#"{"$with":{"runId":‹1e400}}"#, RejectionCode::BadNumber),
    ] {
        let rejection = parse_with(&marked.replace('‹', "")).unwrap().unwrap_err();
        assert_eq!(
            (rejection.code, rejection.column),
            (code, marked.find('‹').unwrap() + 1),
            "{rejection:?}"
        );
        assert_eq!(rejection.path.as_deref(), Some("$with.runId"));
    }
}
