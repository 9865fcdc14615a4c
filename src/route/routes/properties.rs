//! Random lines against serde_json's verdict.

use super::fixture::*;
use super::*;
use crate::route::RejectionCode;
use proptest::prelude::*;
use serde_json::json;

/// Texts that are JSON objects, nearly so, or far from it.
fn text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z]{1,3}|agentId|metadata|tags", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    });
    let object = prop::collection::btree_map("[a-z]{1,3}|agentId|resourceUsage|tags|timestamp", value, 0..6);
    (object, prop::option::of((any::<prop::sample::Index>(), "[{}\\[\\],:\"0-9a-z\\\\. \n-]?"))).prop_map(
        |(members, change)| {
            let mut object: serde_json::Map<_, _> = members.into_iter().collect();
            object.insert("type".to_owned(), json!("x"));
            let mut text = serde_json::Value::Object(object).to_string();
            if let Some((at, with)) = change {
                let at = at.index(text.len());
                if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                    text.replace_range(at..=at, &with);
                }
            }
            text
        },
    )
}

/// Text of a string, with and without escapes, and now and then one that is none.
fn long_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["long text, ", "é€", "\\n", "\\u00e9", "\\\"", "\\q", "\t", "[{"]);
    (prop::collection::vec((piece, 1_usize..90), 1..4), "[a-z]{1000}").prop_map(|(pieces, plain)| {
        pieces.into_iter().fold(plain, |text, (piece, times)| {
            // What is no text has enough of being there once.
            let times = if matches!(piece, "\\q" | "\t") { times / 80 } else { times };
            text + &piece.repeat(times)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_line_is_json_for_us_if_it_is_for_serde_json(text in text()) {
        let mut reader = Reader::new(config(vec![room("all", &["*"]), room("agent:{agentId}", &["*"])]));
        let ours = reader.read(&text).map_err(|rejection| rejection.code);
        let verdict = serde_json::from_str::<serde_json::Value>(&text);
        match ours {
            Ok(Outcome::Event(event)) => {
                prop_assert!(verdict.is_ok(), "{}", text);
                let stored = std::str::from_utf8(event.json()).unwrap();
                let stamp = format!("{{\"timestamp\":{NOW_MS},");
                let is_stamped = verdict.as_ref().is_ok_and(|value| value.get("timestamp").is_none());
                let expected = if is_stamped { text.trim_end().replacen('{', &stamp, 1) } else { text.trim_end().to_owned() };
                if let Ok(value) = &verdict {
                    prop_assert_eq!(stored, expected);
                    let of_type = event.type_json().map(|json| serde_json::from_slice(json).unwrap());
                    prop_assert_eq!(of_type, value.get("type").cloned());
                }
            }
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(RejectionCode::BadJson | RejectionCode::PrettyPrinted | RejectionCode::BadNumber | RejectionCode::BadEscape) => prop_assert!(verdict.is_err(), "{}", text),
            Err(RejectionCode::NotAnObject) => prop_assert!(verdict.is_ok_and(|value| !value.is_object())),
            Err(RejectionCode::BadType) => prop_assert!(verdict.is_ok_and(|value| value["type"].as_str().is_none_or(str::is_empty))),
            Err(RejectionCode::DuplicateField) => prop_assert!(verdict.is_ok()),
            Err(code) => prop_assert!(false, "{:?} for {}", code, text),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\":,\\ typex01\n".to_vec())], 0..60)) {
        let mut reader = Reader::new(agents());
        let result = reader.routes.read(&mut reader.scratch, &bytes, &reader.beside, NOW, || 1);
        if let Err(rejection) = result {
            prop_assert!(rejection.column >= 1 && rejection.column <= bytes.len().max(1), "{:?}", rejection);
        }
    }

    #[test]
    fn a_long_line_fares_as_if_it_were_parsed_whole(text in text(), texts in prop::collection::vec(long_text(), 1..4), at in any::<prop::sample::Index>()) {
        let mut reader = Reader::new(config(vec![room("all", &["x*"]), condition(room("agent:{agentId}", &["*"]), "tags != 'a'")]));
        // Long texts take the places of short ones, names among them.
        let mut line = text;
        for long in texts {
            let ends: Vec<usize> = line.match_indices('"').map(|(end, _)| end).collect();
            if let Some(end) = ends.get(at.index(ends.len().max(1))) {
                line.insert_str(*end, &long);
            }
        }
        let Reader { routes, scratch, beside, .. } = &mut reader;
        let whole = routes.read_whole(scratch, line.as_bytes(), beside);
        let of_whole = (scratch.destinations.clone(), scratch.text.clone(), scratch.names_too_long);
        if let Some(taken) = routes.read_skeleton(scratch, line.as_bytes(), beside) {
            prop_assert_eq!(whole, Ok(taken), "{}", line);
            prop_assert_eq!((scratch.destinations.clone(), scratch.text.clone(), scratch.names_too_long), of_whole);
        }
    }
}
