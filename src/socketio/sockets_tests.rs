//! Tests of one connection's namespaces, and of binary packets in pieces.

use super::packet::Fault;
use super::{Emitted, Happened, MOST_NAMESPACES, Sockets};
use serde_json::value::RawValue;

const MAX: usize = 1000;
const TWO: &str = r#"52-/a,7["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;

fn in_namespaces(namespaces: &[&str]) -> Sockets {
    let mut sockets = Sockets::new(MAX);
    for namespace in namespaces {
        sockets.connected(namespace);
    }
    sockets
}

fn emitted(happened: Result<Happened, Fault>) -> Emitted {
    match happened {
        Ok(Happened::Event(emitted)) => emitted,
        other => panic!("{other:?}"),
    }
}

fn texts(args: &[Box<RawValue>]) -> Vec<&str> {
    args.iter().map(|arg| arg.get()).collect()
}

#[track_caller]
fn check_fault(happened: Result<Happened, Fault>, expected: &Fault, words: &str) {
    let fault = happened.expect_err("a fault");
    assert_eq!(&fault, expected);
    assert!(fault.to_string().contains(words), "{fault}");
}

#[test]
fn a_client_is_where_it_was_let_in() {
    let mut sockets = Sockets::new(MAX);
    assert!(sockets.is_empty());
    for (text, name, shown) in [("0", "/", None), (r#"0/a,{"t":1}"#, "/a", Some(r#"{"t":1}"#))] {
        let Ok(Happened::Connect { namespace, auth }) = sockets.text(text) else { panic!("{text}") };
        assert_eq!((&*namespace, auth.as_deref()), (name, shown));
        assert!(!sockets.is_connected(name), "asking is not being let in");
        sockets.connected(name);
        assert!(sockets.is_connected(name) && !sockets.is_empty());
    }
    for name in ["/", "/a"] {
        let text = format!("1{name}");
        let Ok(Happened::Disconnect { namespace }) = sockets.text(&text) else { panic!("{text}") };
        assert_eq!(&*namespace, name);
        sockets.disconnected(name);
        assert!(!sockets.is_connected(name));
    }
    assert!(sockets.is_empty());
    assert!(matches!(sockets.text("0"), Ok(Happened::Connect { .. })), "it may come back");
}

#[test]
fn events_and_answers_are_taken_apart() {
    let mut sockets = in_namespaces(&["/", "/a"]);
    let event = emitted(sockets.text(r#"2["e\u0041", {"x" : [1]} ,1.50,null]"#));
    assert_eq!((&*event.namespace, event.ack, &*event.name), ("/", None, "eA"));
    assert_eq!(texts(&event.args), [r#"{"x" : [1]}"#, "1.50", "null"]);
    assert!(event.attachments.is_empty());
    let event = emitted(sockets.text(r#"2/a,3["e"]"#));
    assert_eq!((&*event.namespace, event.ack, event.args.len()), ("/a", Some(3), 0));
    let Ok(Happened::Ack { namespace, ack, args, .. }) = sockets.text("3/a,9[true]") else { panic!() };
    assert_eq!((&*namespace, ack, texts(&args)), ("/a", 9, vec!["true"]));
    let half = sockets.text(r#"2["\ud800"]"#);
    assert!(matches!(half, Err(Fault::Json(_))), "{half:?}");
}

#[test]
fn a_binary_packet_comes_in_pieces() {
    let mut sockets = in_namespaces(&["/", "/a"]);
    for _ in 0..2 {
        assert!(matches!(sockets.text(TWO), Ok(Happened::Nothing)));
        assert!(matches!(sockets.binary(&[1, 2]), Ok(Happened::Nothing)));
        let event = emitted(sockets.binary(&[]));
        assert_eq!((&*event.namespace, event.ack, &*event.name, event.args.len()), ("/a", Some(7), "e", 2));
        assert_eq!(event.attachments, [vec![1, 2], vec![]]);
    }
    assert!(matches!(sockets.text("61-4[{}]"), Ok(Happened::Nothing)));
    let Ok(Happened::Ack { ack: 4, attachments, .. }) = sockets.binary(b"x") else { panic!() };
    assert_eq!(attachments, [b"x"]);
}

#[test]
fn what_comes_at_the_wrong_time_is_a_fault() {
    let mut sockets = in_namespaces(&["/a"]);
    for text in [r#"2["e"]"#, "1", "31[]", r#"51-["e",{}]"#] {
        check_fault(sockets.text(text), &Fault::NotConnected("/".into()), "`/`");
    }
    assert!(matches!(sockets.text("0/a,"), Ok(Happened::Nothing)), "it is connected already");
    check_fault(sockets.binary(b"x"), &Fault::NoPacket, "no packet announced");
    assert!(matches!(sockets.text(TWO), Ok(Happened::Nothing)));
    check_fault(sockets.text(r#"2/a,["e"]"#), &Fault::AttachmentsDue(2), "2 more attachments");
    assert!(matches!(sockets.binary(b"x"), Ok(Happened::Nothing)));
    check_fault(sockets.text(TWO), &Fault::AttachmentsDue(1), "1 more");

    // Thrown out of the namespace between two pieces.
    sockets.disconnected("/a");
    check_fault(sockets.binary(b"y"), &Fault::NotConnected("/a".into()), "`/a`");
}

#[test]
fn what_is_held_is_bounded() {
    let mut sockets = in_namespaces(&["/a"]);
    let text = format!("2/a,[\"{}\"]", "x".repeat(MAX));
    check_fault(sockets.text(&text), &Fault::TooLarge(MAX), "1000 bytes");
    assert!(matches!(sockets.text(TWO), Ok(Happened::Nothing)));
    let half = vec![0; (MAX - TWO.len()) / 2];
    assert!(matches!(sockets.binary(&half), Ok(Happened::Nothing)));
    emitted(sockets.binary(&half));
    assert!(matches!(sockets.text(TWO), Ok(Happened::Nothing)));
    assert!(matches!(sockets.binary(&half), Ok(Happened::Nothing)));
    check_fault(sockets.binary(&vec![0; half.len() + 2]), &Fault::TooLarge(MAX), "1000 bytes");

    let mut sockets = Sockets::new(MAX);
    for n in 0..MOST_NAMESPACES {
        let name = format!("/{n}");
        assert!(matches!(sockets.text(&format!("0{name},")), Ok(Happened::Connect { .. })));
        sockets.connected(&name);
    }
    check_fault(sockets.text("0"), &Fault::TooManyNamespaces, "64 namespaces");
}

#[test]
fn a_client_in_the_main_namespace_holds_nothing() {
    assert!(size_of::<Sockets>() <= 48, "{} bytes", size_of::<Sockets>());
    let mut sockets = in_namespaces(&["/"]);
    emitted(sockets.text(r#"2["e",1]"#));
    let Sockets { others, waiting, .. } = &sockets;
    assert!(others.capacity() == 0 && waiting.is_none());
}
