use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

/// A line's skeleton, `…` in the place of a run; none where it has none.
fn skeleton(line: &str) -> Option<String> {
    let mut skeleton = Skeleton::default();
    let is_made = skeleton.make(line.as_bytes());
    is_made.then(|| {
        let mut text = skeleton.text().unwrap().to_owned();
        for cut in skeleton.cuts.iter().rev() {
            text.replace_range(cut.at..=cut.at, "…");
        }
        text
    })
}

/// `…` in a text stands for a long run.
fn long(text: &str) -> String {
    text.replace('…', &"long text, with a comma and {braces}: ".repeat(30))
}

#[track_caller]
fn is_cut(line: &str) {
    assert_eq!(skeleton(&long(line)).as_deref(), Some(line));
}

#[track_caller]
fn is_left(line: &str) {
    assert_eq!(skeleton(&long(line)), None, "{line}");
}

#[test]
fn long_text_is_taken_out() {
    is_cut(r#"{"type":"x","data":"…"}"#);
    is_cut(r#" {"data" : ["…","…",1, "…"] } "#);
    is_cut(r#"{"data":"…\n…\"…\\","type":"x"}"#);
    is_cut(r#"{"data":"…\u00e9…\ud83d\ude00","type":"x"}"#);
    // What is wrong stays so, for the parser to find.
    is_cut(r#"{"data":"…\q…" "type":"#);
    is_cut(r#"{"data":"…\u12"3…"}"#);
    is_cut(r#"{"data":"…"}]"#);
    let umlauts = "ä€😀".repeat(100);
    assert_eq!(skeleton(&format!(r#"{{"data":"{umlauts}"}}"#)).as_deref(), Some(r#"{"data":"…"}"#));
}

#[test]
fn what_cannot_be_told_is_left_to_the_parser() {
    is_left(r#"{"type":"x"}"#);
    is_left(r#"{"…":1}"#);
    is_left("{\"…\" \t:1}");
    is_left(r#"{"data":"…"#);
    is_left(r#"{"data":"…\"#);
    is_left(r#"{"data":"…\u12"#);
    is_left("{\"data\":\"…\t…\"}");
    assert!(
        !Skeleton::default()
            .make(&[long(r#"{"data":"…"#).as_bytes(), b"\xff", long("…\"}").as_bytes()].concat())
    );
    // Not UTF-8 outside of the runs: it has a skeleton, which says as much.
    let mut skeleton = Skeleton::default();
    assert!(skeleton.make(&[long(r#"{"data":"…""#).as_bytes(), b"\xff}"].concat()));
    assert_eq!(skeleton.text(), None);
}

#[test]
fn a_line_that_is_dense_is_given_up_early() {
    let dense = format!(r#"{{"list":[{}"…"]}}"#, r#"{"a":1},"#.repeat(1000));
    let dense = long(&dense);
    let mut skeleton = Skeleton::default();
    assert!(!skeleton.make(dense.as_bytes()));
    assert!(skeleton.text.len() < dense.len() / 4, "{}", skeleton.text.len());
    let escapes = format!(r#"{{"data":"{}"}}"#, r"\n".repeat(4000));
    assert!(!skeleton.make(escapes.as_bytes()));
    assert!(skeleton.text.len() < escapes.len() / 4, "{}", skeleton.text.len());
    // A dense beginning does not spoil the rest.
    is_cut(&format!(r#"{{"list":[{}1],"data":"…"}}"#, "1,".repeat(60)));
}

#[test]
fn every_byte_is_told_from_text() {
    for byte in 0..=u8::MAX {
        for at in [0, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 9] {
            let mut run = vec![b'a'; 2 * CHUNK + 10];
            run[at] = byte;
            assert_eq!(is_text(&run), (0x20..0x80).contains(&byte), "{byte} at {at}");
        }
        assert_eq!(is_printable(&[b'a', byte, b'z']), (0x20..0x80).contains(&byte), "{byte}");
        assert_eq!(is_text(&[b'a', byte, b'z']), (0x20..0x80).contains(&byte), "{byte}");
    }
}

#[test]
fn texts_are_those_of_the_line() {
    let line = long(r#"{"a":"…","b":"short","c":"","d":"…","e":1}"#);
    let mut skeleton = Skeleton::default();
    assert!(skeleton.make(line.as_bytes()));
    let read: std::collections::BTreeMap<&str, &serde_json::value::RawValue> =
        serde_json::from_str(skeleton.text().unwrap()).unwrap();
    let text = |name: &str| {
        let quoted = read[name].get();
        Value::String(Cow::Borrowed(&quoted[1..quoted.len() - 1]))
    };
    let mut values =
        [text("a"), Value::Null, text("b"), text("c"), text("d"), Value::String(Cow::Borrowed(""))];
    skeleton.restore(line.as_bytes(), &mut values).unwrap();
    let long = long("…");
    let expected = [Some(long.as_str()), None, Some("short"), Some(""), Some(&long), Some("")];
    for (value, expected) in values.iter().zip(expected) {
        match value {
            Value::String(text) => assert_eq!(Some(&**text), expected),
            other => assert_eq!((other, expected), (&Value::Null, None)),
        }
    }
    let mut owned = [Value::String(Cow::Owned("x".to_owned()))];
    assert_eq!(skeleton.restore(line.as_bytes(), &mut owned), None);
}

/// Pieces that strings begin, end and break with, and runs just long enough to be taken out, or not.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let run = |byte: &'static [u8]| (25_usize..45).prop_map(move |count| byte.repeat(count));
    let piece = prop_oneof![
        4 => Just(b"\"".to_vec()),
        2 => prop::sample::select(vec![&b"\\"[..], b"\\\"", b"\\\\", b"\\n", b"\\u00e9", b"\\ud83d", b"\\ude00", b"\\u", b"\\u1"])
            .prop_map(<[u8]>::to_vec),
        2 => prop::sample::select(vec![&b":"[..], b",", b"{", b"}", b"[", b"]", b" ", b"1", b"null", b"\xc3", b"\xa9", b"\t"])
            .prop_map(<[u8]>::to_vec),
        2 => prop::sample::select(vec![&b"\":\""[..], b"\",\"", b"\":1,\"", b"\":[\"", b"\"],\""]).prop_map(<[u8]>::to_vec),
        6 => run(b"a"),
        2 => run("é".as_bytes()),
        1 => run(b"1"),
        1 => run(b"\xe2\x82"),
        1 => run(b" "),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn is_json(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_skeleton_is_json_exactly_where_its_line_is(pieces in pieces()) {
        // Text on both sides, so that much can be taken out of nearly all of them.
        let long = "long text ".repeat(100);
        let line = [br#"{"a":""#, long.as_bytes(), &pieces, long.as_bytes(), br#""}"#].concat();
        let mut skeleton = Skeleton::default();
        if skeleton.make(&line) {
            let of_skeleton = skeleton.text().is_some_and(|text| is_json(text.as_bytes()));
            prop_assert_eq!(of_skeleton, is_json(&line), "{}", String::from_utf8_lossy(&line));
            for at in 0..skeleton.text.len() {
                let is_placeholder = skeleton.cuts.iter().any(|cut| cut.at == at);
                prop_assert!(is_placeholder || line[skeleton.in_line(at)] == skeleton.text[at]);
            }
            prop_assert_eq!(skeleton.in_line(skeleton.text.len()), line.len());
        }
    }
}
