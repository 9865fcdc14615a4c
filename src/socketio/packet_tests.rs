//! Tests of packets: every example of the protocol's document, what is refused and with which words, and that nothing else
//! comes out whatever goes in.

use super::packet::{Fault, MOST_DEPTH, Packet, parse};
use super::{push_ack, push_connect, push_connect_error, push_disconnect, push_event};
use proptest::prelude::*;
use serde_json::Value;

#[track_caller]
fn check(text: &str, expected: Packet<'_>) {
    assert_eq!(parse(text), Ok(expected), "{text}");
}

#[track_caller]
fn check_refused(text: &str, expected: &Fault, words: &str) {
    let fault = parse(text).expect_err(text);
    assert_eq!(&fault, expected, "{text}");
    assert!(fault.to_string().contains(words), "{text}: {fault}");
    assert!(fault.to_string().len() < 300, "faults are short");
}

fn connect<'a>(namespace: &'a str, auth: Option<&'a str>) -> Packet<'a> {
    Packet::Connect { namespace, auth }
}

fn event<'a>(namespace: &'a str, ack: Option<u64>, data: &'a str) -> Packet<'a> {
    Packet::Event { namespace, ack, data, attachments: 0 }
}

/// Writes what was read, as this side would write it. What a client shows when it connects is not this side's to write.
fn written(packet: Packet<'_>) -> String {
    let mut out = Vec::new();
    let array = |data: &str| {
        let data = data.to_owned();
        move |out: &mut Vec<u8>| out.extend_from_slice(data.as_bytes())
    };
    match packet {
        Packet::Connect { namespace, .. } => push_connect(&mut out, namespace, "s", None),
        Packet::Disconnect { namespace } => push_disconnect(&mut out, namespace),
        Packet::Event { namespace, ack, data, attachments } => {
            push_event(&mut out, namespace, ack, attachments, array(data));
        }
        Packet::Ack { namespace, ack, data, attachments } => {
            push_ack(&mut out, namespace, ack, attachments, array(data));
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn the_examples_of_the_document_are_read() {
    check("0", connect("/", None));
    check(
        r#"0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}"#,
        connect("/admin", Some(r#"{"sid":"oSO0OpakMV_3jnilAAAA"}"#)),
    );
    check("0/admin,", connect("/admin", None));
    check(r#"2["foo"]"#, event("/", None, r#"["foo"]"#));
    check(r#"2/admin,["bar"]"#, event("/admin", None, r#"["bar"]"#));
    check(
        r#"51-["baz",{"_placeholder":true,"num":0}]"#,
        Packet::Event {
            namespace: "/",
            ack: None,
            data: r#"["baz",{"_placeholder":true,"num":0}]"#,
            attachments: 1,
        },
    );
    check(
        r#"52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
        Packet::Event {
            namespace: "/admin",
            ack: None,
            data: r#"["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            attachments: 2,
        },
    );
    check(r#"212["foo"]"#, event("/", Some(12), r#"["foo"]"#));
    check(r#"2/admin,1["tellme"]"#, event("/admin", Some(1), r#"["tellme"]"#));
    check(
        r#"3/admin,13["bar"]"#,
        Packet::Ack { namespace: "/admin", ack: 13, data: r#"["bar"]"#, attachments: 0 },
    );
    check("312[]", Packet::Ack { namespace: "/", ack: 12, data: "[]", attachments: 0 });
    check(
        r#"61-15["bar",{"_placeholder":true,"num":0}]"#,
        Packet::Ack {
            namespace: "/",
            ack: 15,
            data: r#"["bar",{"_placeholder":true,"num":0}]"#,
            attachments: 1,
        },
    );
    check("1", Packet::Disconnect { namespace: "/" });
    check("1/admin,", Packet::Disconnect { namespace: "/admin" });
}

#[test]
fn what_clients_write_besides_is_read() {
    // Without the comma, as the official suite has it.
    check("0/random", connect("/random", None));
    check("1/custom", Packet::Disconnect { namespace: "/custom" });
    check("0{}", connect("/", Some("{}")));
    check(r#"0/é,{"a":1}"#, connect("/é", Some(r#"{"a":1}"#)));
    check(r#"0/,{"a":1}"#, connect("/", Some(r#"{"a":1}"#)));
    // Space inside and after JSON is JSON's.
    check("2[ \"a\" ]\n", event("/", None, "[ \"a\" ]"));
    // A name with a comma or a bracket is no namespace.
    check(r#"2["/a,b","]"]"#, event("/", None, r#"["/a,b","]"]"#));
    // JSON.stringify writes halves of surrogate pairs as they are; numbers may be beyond any type.
    check(r#"2["a","\ud800",1e999]"#, event("/", None, r#"["a","\ud800",1e999]"#));
    let ack = format!("2{}[\"a\"]", u64::MAX);
    check(&ack, event("/", Some(u64::MAX), r#"["a"]"#));
    check("2007[\"a\"]", event("/", Some(7), "[\"a\"]"));
}

#[test]
fn what_is_no_packet_is_refused() {
    check_refused("", &Fault::Empty, "without a type");
    check_refused("abc", &Fault::UnknownType('a'), "`a`");
    check_refused("7", &Fault::UnknownType('7'), "`7`");
    check_refused("é", &Fault::UnknownType('é'), "`é`");
    check_refused("€", &Fault::UnknownType('€'), "`€`");
    check_refused(r#"4{"message":"x"}"#, &Fault::ConnectError, "CONNECT_ERROR");
    for text in [r#"5["a"]"#, r#"5-["a"]"#, r#"50-["a"]"#, r#"5x-["a"]"#, "51", r#"5+1-["a"]"#, "6", "5"] {
        check_refused(text, &Fault::Attachments, "number of its attachments");
    }
    for text in [r#"511-["a"]"#, r#"699999999999-1["a"]"#] {
        check_refused(text, &Fault::TooManyAttachments, "10 attachments");
    }
    assert!(parse(r#"510-["a"]"#).is_ok());
    for text in [r#"3["a"]"#, "3[]", "3", "3/admin,", r#"61-["a"]"#] {
        check_refused(text, &Fault::AckMissing, "number of its event");
    }
    check_refused("218446744073709551616[\"a\"]", &Fault::AckTooLarge, "64 bits");

    let refused = |packet, expected, found: &str| Fault::Payload { packet, expected, found: found.into() };
    for (text, found) in [("0[]", "[]"), ("0null", "null"), ("0 {}", " {}"), ("0/a,5{}", "5{}"), ("0,", ",")]
    {
        check_refused(text, &refused("CONNECT", "a JSON object", found), "CONNECT is a JSON object");
    }
    for (text, found) in [("1{}", "{}"), ("1,", ","), ("1/a,b", "b"), ("15", "5")] {
        check_refused(text, &refused("DISCONNECT", "nothing", found), "nothing");
    }
    let array = "a JSON array that begins with the event's name";
    for (text, found) in [
        ("2", ""),
        ("212", ""),
        ("2{}", "{}"),
        ("2[]", "[]"),
        ("2[1]", "[1]"),
        ("2[null,\"a\"]", "[null,\"a\"]"),
        ("2[[\"a\"]]", "[[\"a\"]]"),
        ("2abc[\"a\"]", "abc[\"a\"]"),
        ("2-1[\"a\"]", "-1[\"a\"]"),
        ("21 [\"a\"]", " [\"a\"]"),
        ("2/admin[\"a\"]", ""),
        ("2/admin,", ""),
        ("2\"a\"", "\"a\""),
    ] {
        check_refused(text, &refused("EVENT", array, found), "begins with the event's name");
    }
    check_refused("31{}", &refused("ACK", "a JSON array", "{}"), "ACK");
    let long = format!("2{}", "é".repeat(5000));
    let found = format!("{}…", "é".repeat(40));
    check_refused(&long, &refused("EVENT", array, &found), "…");
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "2[\"a\"",
        "2[\"a\"]]",
        "2[\"a\"] x",
        "2[\"a\",]",
        "2[\"a]",
        "2[\"a\",NaN]",
        "2[\"a\",'b']",
        "2[\"a\",\"\u{1}\"]",
        "0{",
        "0{a:1}",
        "31[1,]",
    ] {
        let fault = parse(text).expect_err(text);
        assert!(matches!(fault, Fault::Json(_)), "{text}: {fault}");
        assert!(fault.to_string().contains("column"), "{text}: {fault}");
    }
}

#[test]
fn depth_is_bounded_and_costs_no_stack() {
    // Brackets inside strings nest nothing.
    let mixed =
        |depth: usize| format!("2[\"[\\\"[\",{}1{}]", "{\"[\":[".repeat(depth / 2), "]}".repeat(depth / 2));
    assert!(parse(&mixed(MOST_DEPTH - 2)).is_ok());
    assert_eq!(parse(&mixed(MOST_DEPTH)), Err(Fault::TooDeep));
    assert_eq!(parse(&format!("0{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128))), Err(Fault::TooDeep));
    assert!(parse(&format!("0{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127))).is_ok());
    let deep = 1 << 20;
    assert_eq!(parse(&format!("2[\"a\",{}{}]", "[".repeat(deep), "]".repeat(deep))), Err(Fault::TooDeep));
}

#[test]
fn the_examples_of_the_document_are_written() {
    #[track_caller]
    fn check(push: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = b"before".to_vec();
        push(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before{expected}"));
    }
    let json = |json: &'static str| move |out: &mut Vec<u8>| out.extend_from_slice(json.as_bytes());
    check(|out| push_connect(out, "/", "wZX3oN0bSVIhsaknAAAI", None), r#"40{"sid":"wZX3oN0bSVIhsaknAAAI"}"#);
    check(
        |out| push_connect(out, "/admin", "oSO0OpakMV_3jnilAAAA", Some("p")),
        r#"40/admin,{"sid":"oSO0OpakMV_3jnilAAAA","pid":"p"}"#,
    );
    check(|out| push_connect_error(out, "/", "Not authorized"), r#"44{"message":"Not authorized"}"#);
    check(
        |out| push_connect_error(out, "/random", "Invalid \"namespace\""),
        r#"44/random,{"message":"Invalid \"namespace\""}"#,
    );
    check(|out| push_disconnect(out, "/"), "41");
    check(|out| push_disconnect(out, "/admin"), "41/admin,");
    check(|out| push_event(out, "/", None, 0, json(r#"["foo"]"#)), r#"42["foo"]"#);
    check(|out| push_event(out, "/admin", None, 0, json(r#"["bar"]"#)), r#"42/admin,["bar"]"#);
    check(|out| push_event(out, "/", Some(12), 0, json(r#"["foo"]"#)), r#"4212["foo"]"#);
    check(
        |out| push_event(out, "/", None, 1, json(r#"["baz",{"_placeholder":true,"num":0}]"#)),
        r#"451-["baz",{"_placeholder":true,"num":0}]"#,
    );
    check(|out| push_event(out, "/admin", Some(3), 2, json("[…]")), "452-/admin,3[…]");
    check(|out| push_ack(out, "/admin", 13, 0, json(r#"["bar"]"#)), r#"43/admin,13["bar"]"#);
    check(
        |out| push_ack(out, "/admin", 1, 1, json(r#"[{"_placeholder":true,"num":0}]"#)),
        r#"461-/admin,1[{"_placeholder":true,"num":0}]"#,
    );
}

/// JSON of any shape, as text.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    value.prop_map(|value| value.to_string())
}

fn any_namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,]{1,12}"]
}

/// What a packet of any type is, to be borrowed from.
#[derive(Clone, Debug)]
struct Owned {
    kind: u8,
    namespace: String,
    ack: Option<u64>,
    name: String,
    args: Vec<String>,
    attachments: u32,
}

prop_compose! {
    fn any_packet()(
        kind in 0_u8..4,
        namespace in any_namespace(),
        ack in any::<Option<u64>>(),
        name in ".{0,12}",
        args in prop::collection::vec(any_json(), 0..4),
        attachments in 0_u32..=10,
    ) -> Owned {
        Owned { kind, namespace, ack, name, args, attachments }
    }
}

/// The text of a packet, without the 4 of Engine.IO, and what it is to be read as.
fn with_packet(owned: &Owned, then: impl FnOnce(&str, Packet<'_>)) {
    let Owned { namespace, ack, attachments, .. } = owned;
    let (ack, attachments) = (*ack, *attachments);
    let name = Value::from(owned.name.as_str()).to_string();
    let args = owned.args.join(",");
    let data = if args.is_empty() { format!("[{name}]") } else { format!("[{name},{args}]") };
    let packet = match owned.kind {
        0 => Packet::Connect { namespace, auth: Some("{\"sid\":\"s\"}") },
        1 => Packet::Disconnect { namespace },
        2 => Packet::Event { namespace, ack, data: &data, attachments },
        _ => Packet::Ack { namespace, ack: ack.unwrap_or(7), data: &data, attachments },
    };
    let text = written(packet);
    then(text.strip_prefix('4').unwrap(), packet);
}

/// Whatever was read is what the contract says, and is read the same when it is written.
fn check_contract(text: &str) -> Result<(), TestCaseError> {
    let packet = match parse(text) {
        Ok(packet) => packet,
        Err(fault) => {
            prop_assert!(fault.to_string().len() < 400, "{}", fault);
            return Ok(());
        }
    };
    let (namespace, data) = match packet {
        Packet::Connect { namespace, auth } => (namespace, auth),
        Packet::Disconnect { namespace } => (namespace, None),
        Packet::Event { namespace, data, attachments, .. }
        | Packet::Ack { namespace, data, attachments, .. } => {
            prop_assert!(attachments <= 10);
            (namespace, Some(data))
        }
    };
    prop_assert!(namespace.starts_with('/') && !namespace.contains(','));
    let raw = |json| serde_json::from_str::<Vec<&serde_json::value::RawValue>>(json);
    match (packet, data) {
        (Packet::Connect { .. }, Some(auth)) => {
            let is_object = auth.starts_with('{') && auth.ends_with('}');
            prop_assert!(is_object);
        }
        (Packet::Event { .. }, Some(data)) => {
            prop_assert!(raw(data).unwrap()[0].get().starts_with('"'));
        }
        (Packet::Ack { .. }, Some(data)) => prop_assert!(raw(data).is_ok()),
        _ => {}
    }
    if !matches!(packet, Packet::Connect { .. }) {
        let again = written(packet);
        prop_assert_eq!(parse(&again[1..]), Ok(packet));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read(owned in any_packet()) {
        let mut result = Ok(());
        with_packet(&owned, |text, packet| {
            result = if parse(text) == Ok(packet) { Ok(()) } else { Err(format!("{text}: {:?}", parse(text))) };
        });
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn a_cut_or_changed_packet_is_a_packet_or_a_fault(
        owned in any_packet(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0_u8..3), 1..4),
    ) {
        let mut result = Ok(());
        with_packet(&owned, |text, _| {
            let mut chars: Vec<char> = text.chars().collect();
            let prefix: String = chars[..cut.index(chars.len() + 1)].iter().collect();
            result = check_contract(&prefix);
            for (at, letter, way) in &changes {
                let at = at.index(chars.len() + 1);
                match way {
                    0 => chars.insert(at, *letter),
                    1 if at < chars.len() => chars[at] = *letter,
                    _ if at < chars.len() => {
                        chars.remove(at);
                    }
                    _ => {}
                }
            }
            if result.is_ok() {
                result = check_contract(&chars.iter().collect::<String>());
            }
        });
        result?;
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-7]?[0-9-]{0,3}(/[a-z]{0,3},?)?[0-9]{0,2}[\\[{]?.{0,20}[\\]}]?") {
        check_contract(&text)?;
    }
}
