//! Flaws that are found, their places, and texts without any.

use super::*;
use proptest::prelude::*;

#[track_caller]
fn finds(marked: &str, text: &str, path: &str) {
    let line = marked.replace('‹', "");
    let found = find(&line).unwrap_or_else(|| panic!("nothing is found in {line}"));
    let column = marked.find('‹').unwrap() + 1;
    assert_eq!((found.column, found.text, found.path.as_str()), (column, text, path), "{line}");
}

#[test]
fn lone_surrogates_are_found_wherever_they_stand() {
    finds(r#"{"msg":"‹\ud800"}"#, r"\ud800", "msg");
    finds(r#"{"msg":"‹\uDFFF"}"#, r"\uDFFF", "msg");
    finds(r#"{"‹\ud800":1}"#, r"\ud800", r"\ud800");
    finds(r#"{"a":{"k‹\ud800":1}}"#, r"\ud800", r"a.k\ud800");
    finds(r#"{"a":[1,{"b":"x"},["\u00e9‹\udbff\ud83d\ude00"]]}"#, r"\udbff", "a[2][0]");
    finds(r#"{"a":"\ud83d\ude00\ud83d\udc00‹\ud83dx"}"#, r"\ud83d", "a");
    finds(r#"{"a":"\\‹\ud800"}"#, r"\ud800", "a");
    finds(r#"{"a":"‹\ud800\\udc00"}"#, r"\ud800", "a");
    finds(r#"{"a":{"b":[]},"c":["\"\\",{"d":"‹\udc00\ud800"}]}"#, r"\udc00", "c[1].d");
}

#[test]
fn numbers_beyond_a_float_are_found_wherever_they_stand() {
    let long = "9".repeat(309);
    let wide = format!("{}.5e99", "1".repeat(230));
    for number in ["1e400", "-1E+309", "1.5e999999999999", "12345.6e305", &long, &wide] {
        finds(&format!(r#"{{"a":‹{number}}}"#), number, "a");
        finds(&format!(r#"{{"b":{{"c":[0, ‹{number} ]}}}}"#), number, "b.c[1]");
        let later = format!(r#"{{"text":"{}","n":‹{number}}}"#, "-".repeat(100));
        finds(&later, number, "n");
    }
}

#[test]
fn what_every_reader_takes_is_not_found() {
    let digits = "9".repeat(308);
    for value in [
        r#""\\ud800""#,
        r#""\\\\ud800 \"\\ud800""#,
        r#""\ud83d\ude00 \uD83D\uDE00""#,
        r#""\u00e9\u0000\uffff""#,
        r#""1e400""#,
        r#"":1e400,""#,
        r#""2e4000-1e999""#,
        "1e308",
        "1e-400",
        "0e400",
        "1.7976931348623157e308",
        "18446744073709551616",
        &digits,
    ] {
        assert_eq!(find(&format!(r#"{{"a":{value}}}"#)), None, "{value}");
    }
}

#[test]
fn ids_are_not_walked_through() {
    for id in ["0f8fad5b-d9cb-469f-a165-70867728950e", "12e4567", "a-1e400", "9-1e400", "x1e999"] {
        assert!(!is_likely(format!(r#"{{"id":"{id}"}}"#).as_bytes()), "{id}");
    }
}

#[test]
fn a_line_is_walked_through_only_where_a_flaw_is_likely() {
    let digits = |count| "1".repeat(count);
    for (likely, texts) in [
        (
            true,
            [
                r#""\ud83d""#.to_owned(),
                r#""\uD83d""#.to_owned(),
                "1e100".to_owned(),
                "[1E+400]".to_owned(),
                "{\"a\":-2.5e999}".to_owned(),
                "1,2e100".to_owned(),
                "1 2e100".to_owned(),
                format!("{}e9", digits(210)),
                format!("[{}.5e9", digits(208)),
                format!("x{}", digits(309 + 127)),
            ],
        ),
        (
            false,
            [
                r#""\u00e9""#.to_owned(),
                r#""\ucd83""#.to_owned(),
                "1e99".to_owned(),
                "1e-999".to_owned(),
                "e999".to_owned(),
                "a1e999".to_owned(),
                "1-2e999".to_owned(),
                format!("[{}e9", digits(209)),
                format!("a{}e9", digits(250)),
                format!("x{}", digits(128)),
            ],
        ),
    ] {
        for text in texts {
            assert_eq!(is_likely(text.as_bytes()), likely, "{text}");
        }
    }
}

/// Texts made of what matters here.
fn text() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud83d", "\\ude00", "d800", "e", "E+", "-", "1",
        "400", ".", "é", "\"a\":", " ", "1e400",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_flaw_is_what_the_parser_refuses_where_it_builds_values(text in text(), front in 0_usize..140) {
        for json in [text.clone(), format!("[{}\"{text}\"]", " ".repeat(front)), format!("[{}1{text}]", " ".repeat(front))] {
            let found = find(&json).is_some();
            let looked = json::look(&json).may_be_flawed;
            prop_assert!(looked || !found, "{}", json);
            if serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok() {
                prop_assert_eq!(found, serde_json::from_str::<serde_json::Value>(&json).is_err(), "{}", json);
            }
        }
    }
}
