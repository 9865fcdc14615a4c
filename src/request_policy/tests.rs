//! One table of requests, each judged for every kind of access. `tests/it/request_policy.rs` tries such a table on the listeners.

use super::*;
use hyper::Request;
use hyper::header::HeaderValue;

const BAD_HOST: Result<(), &str> = Err("bad host");
const OTHER_HOST: Result<(), &str> = Err("other host");
const BAD_ORIGIN: Result<(), &str> = Err("bad origin");
const OTHER_ORIGIN: Result<(), &str> = Err("other origin");

/// Judges at 10.1.2.3, or over a Unix socket.
#[track_caller]
fn check(
    (version, uri): (Version, &str),
    headers: &[(&'static str, &[u8])],
    is_unix: bool,
    expected: [Result<(), &str>; 4],
) {
    let mut parts = Request::builder().version(version).uri(uri).body(()).unwrap().into_parts().0;
    for (name, value) in headers {
        parts.headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let exact = |scheme: &str, host: &str| OriginPattern::Exact {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: None,
        any_port: false,
    };
    let policy = Policy {
        local: (!is_unix).then(|| IpAddr::from([10, 1, 2, 3])),
        origins: &[OriginPattern::Local, exact("https", "app.example")],
        hosts: &["events.example".to_owned()],
    };
    let judged = [Access::Public, Access::WebSocket, Access::Pages, Access::Own].map(|access| {
        policy.check(access, &parts).map(|_| ()).map_err(|denied| match denied {
            Denied::BadHost => "bad host",
            Denied::OtherHost(..) => "other host",
            Denied::BadOrigin => "bad origin",
            Denied::OtherOrigin(_) => "other origin",
        })
    });
    assert_eq!(judged, expected, "{version:?} {uri} {headers:?}");
}

#[test]
fn each_request_is_judged_by_what_it_asks_for() {
    const ALL: [Result<(), &str>; 4] = [Ok(()); 4];
    let new = (Version::HTTP_11, "/x");
    for (headers, expected) in [
        (&[("host", &b"localhost:1"[..])][..], ALL),
        (&[("host", b"10.1.2.3")], ALL),
        (&[("host", b"events.example:9998")], ALL),
        (&[("host", b"app.example")], [Ok(()), Ok(()), Ok(()), OTHER_HOST]),
        (&[("host", b"evil.example")], [Ok(()), Ok(()), OTHER_HOST, OTHER_HOST]),
        (&[("host", b"localhost"), ("origin", b"http://localhost:3000")], ALL),
        (
            &[("host", b"evil.example"), ("origin", b"https://app.example")],
            [Ok(()), Ok(()), Ok(()), OTHER_HOST],
        ),
        (
            &[("host", b"localhost"), ("origin", b"https://evil.example")],
            [Ok(()), OTHER_ORIGIN, OTHER_ORIGIN, OTHER_ORIGIN],
        ),
        (&[("host", b"localhost"), ("origin", b"null")], [Ok(()), OTHER_ORIGIN, OTHER_ORIGIN, OTHER_ORIGIN]),
        (&[("host", b"localhost"), ("origin", b"")], [Ok(()), OTHER_ORIGIN, OTHER_ORIGIN, OTHER_ORIGIN]),
    ] {
        check(new, headers, false, expected);
    }
}

#[test]
fn malformed_heads_are_refused_whatever_they_ask_for() {
    let new = (Version::HTTP_11, "/x");
    for (headers, expected) in [
        (&[][..], BAD_HOST),
        (&[("host", &b"localhost"[..]), ("host", b"localhost")], BAD_HOST),
        (&[("host", b"")], BAD_HOST),
        (&[("host", b"me@localhost")], BAD_HOST),
        (&[("host", b"localhost, evil.example")], BAD_HOST),
        (&[("host", "löcalhost".as_bytes())], BAD_HOST),
        (
            &[("host", b"localhost"), ("origin", b"http://localhost"), ("origin", b"http://localhost")],
            BAD_ORIGIN,
        ),
        (&[("host", b"localhost"), ("origin", "http://löcalhost".as_bytes())], BAD_ORIGIN),
        (&[("host", b"localhost"), ("origin", b"\xff")], BAD_ORIGIN),
    ] {
        for is_unix in [false, true] {
            check(new, headers, is_unix, [expected; 4]);
        }
    }
}

#[test]
fn http_1_0_may_lack_a_host_and_a_whole_url_has_its_own() {
    let old = (Version::HTTP_10, "/x");
    check(old, &[], false, [Ok(()), Ok(()), BAD_HOST, BAD_HOST]);
    check(old, &[], true, [Ok(()); 4]);
    check(old, &[("host", b"a"), ("host", b"a")], true, [BAD_HOST; 4]);
    let whole = (Version::HTTP_11, "http://evil.example/x");
    check(whole, &[("host", b"localhost")], false, [Ok(()), Ok(()), OTHER_HOST, OTHER_HOST]);
    check(whole, &[], false, [BAD_HOST; 4]);
    check((Version::HTTP_11, "http://me@localhost/x"), &[("host", b"localhost")], false, [BAD_HOST; 4]);
    check((Version::HTTP_11, "http://localhost/x"), &[("host", b"evil.example")], false, [Ok(()); 4]);
}

#[test]
fn unix_sockets_take_any_host_but_not_any_page() {
    let new = (Version::HTTP_11, "/x");
    check(new, &[("host", b"evil.example")], true, [Ok(()); 4]);
    let evil = [("host", &b"localhost"[..]), ("origin", b"https://evil.example")];
    check(new, &evil, true, [Ok(()), OTHER_ORIGIN, OTHER_ORIGIN, OTHER_ORIGIN]);
}
