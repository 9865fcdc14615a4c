//! Checks of a `GET /ws` request. fastwebsockets checks that there is a key and that the version is 13; RFC 6455 §4.2.1
//! asks for the rest.

use super::query::rooms_of_query;
use super::refusal::Refusal;
use crate::request_policy::{Access, Policy};
use crate::wire::PROTOCOL;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

/// Length of `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_CHARS: usize = 24;

/// What a proper request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Whether `broadcastd.v1` was offered, and so must be agreed to.
    pub(super) has_protocol: bool,
    /// Rooms of the query, in order.
    pub(super) rooms: Vec<String>,
}

/// Checks everything about a request but who sends it.
pub(super) fn check_request(parts: &Parts, policy: &Policy<'_>) -> Result<Checked, Refusal> {
    policy.check(Access::WebSocket, parts)?;
    check_http(parts)?;
    check_upgrade(&parts.headers)?;
    let has_protocol = check_protocol(&parts.headers)?;
    let rooms = rooms_of_query(parts.uri.query().unwrap_or(""))
        .map_err(|text| Refusal::bad_request(StatusCode::BAD_REQUEST, text))?;
    Ok(Checked { has_protocol, rooms })
}

pub(super) fn check_http(parts: &Parts) -> Result<(), Refusal> {
    if parts.method != Method::GET {
        let text = "a WebSocket handshake is a GET request";
        let refusal = Refusal::bad_request(StatusCode::METHOD_NOT_ALLOWED, text);
        return Err(refusal.with_header(header::ALLOW, "GET"));
    }
    if parts.version != Version::HTTP_11 {
        let text = "a WebSocket handshake needs HTTP/1.1 (behind nginx: proxy_http_version 1.1)";
        return Err(Refusal::bad_request(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text));
    }
    // What follows the request's end is taken for frames, so there must be no doubt about where that is.
    let has_body = parts.headers.contains_key(header::TRANSFER_ENCODING)
        || parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Err(Refusal::bad_request(StatusCode::BAD_REQUEST, "a WebSocket handshake has no body"));
    }
    Ok(())
}

pub(super) fn check_upgrade(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_upgrade = has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !is_upgrade {
        let text = "this address speaks WebSocket: Connection: Upgrade and Upgrade: websocket are needed \
                    (behind nginx: proxy_set_header Upgrade $http_upgrade and Connection \"upgrade\")";
        let refusal = Refusal::bad_request(StatusCode::UPGRADE_REQUIRED, text);
        return Err(refusal.with_header(header::UPGRADE, "websocket"));
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        let text = "Sec-WebSocket-Version: 13 is needed";
        let refusal = Refusal::bad_request(StatusCode::UPGRADE_REQUIRED, text);
        return Err(refusal.with_header(header::SEC_WEBSOCKET_VERSION, "13"));
    }
    if !only(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        let text = "one Sec-WebSocket-Key of 24 characters (16 bytes in base64) is needed";
        return Err(Refusal::bad_request(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

/// Whether a key is the base64 of 16 bytes: 22 characters and the padding. The four bits that the last character has to
/// spare may be anything, as most decoders have it.
fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.len() == KEY_CHARS && key.strip_suffix("==").is_some_and(|digits| digits.bytes().all(plain))
}

/// Whether the client offers our subprotocol. Who offers only others is refused here, since a browser would drop the
/// connection without saying why.
fn check_protocol(headers: &HeaderMap) -> Result<bool, Refusal> {
    let name = &header::SEC_WEBSOCKET_PROTOCOL;
    let has_protocol = tokens(headers, name).any(|offered| offered == PROTOCOL);
    if !has_protocol && headers.contains_key(name) {
        let text = format!("the subprotocol is {PROTOCOL}; offer it, or none");
        return Err(Refusal::bad_request(StatusCode::BAD_REQUEST, text));
    }
    Ok(has_protocol)
}

/// A header's value, if it is there exactly once.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The elements of a header that is a list, whether in one line or in several.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OriginPattern;
    use crate::metrics::HandshakeRefusal;
    use hyper::Request;

    const LOCAL: Policy<'_> = Policy { local: None, origins: &[OriginPattern::Local], hosts: &[] };

    const GOOD: [(&str, &str); 5] = [
        ("host", "localhost:9999"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    /// A good request with changes: a header with an empty value is left out, another name is added.
    fn parts(uri: &str, changes: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in GOOD {
            if !changes.iter().any(|(changed, _)| *changed == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in changes.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[track_caller]
    fn check(changes: &[(&str, &str)], has_protocol: bool) {
        let checked = check_request(&parts("/ws", changes), &LOCAL).unwrap();
        assert_eq!(checked, Checked { has_protocol, rooms: vec![] });
    }

    #[track_caller]
    fn check_refused(parts: &Parts, status: u16, text: &str) -> Refusal {
        let refusal = check_request(parts, &LOCAL).unwrap_err();
        assert_eq!(refusal.status.as_u16(), status, "{}", refusal.text);
        assert!(refusal.text.contains(text), "{}", refusal.text);
        refusal
    }

    #[test]
    fn proper_requests_pass() {
        check(&[], false);
        check(&[("origin", "http://localhost:3000")], false);
        check(&[("sec-websocket-extensions", "permessage-deflate")], false);
        check(&[("sec-websocket-protocol", "broadcastd.v1")], true);
        check(&[("sec-websocket-protocol", "other, broadcastd.v1")], true);
        check(&[("sec-websocket-protocol", "other"), ("sec-websocket-protocol", "broadcastd.v1")], true);
        check(&[("connection", "keep-alive"), ("connection", "UPGRADE")], false);
        check(&[("content-length", "0")], false);
        let checked = check_request(&parts("/ws?room=a&room=b%3Ac", &[]), &LOCAL).unwrap();
        assert_eq!(checked.rooms, ["a", "b:c"]);
    }

    #[test]
    fn each_check_has_its_answer() {
        let mut post = parts("/ws", &[]);
        post.method = Method::POST;
        assert_eq!(check_refused(&post, 405, "GET").header, Some((header::ALLOW, "GET")));
        let mut old = parts("/ws", &[]);
        old.version = Version::HTTP_10;
        check_refused(&old, 505, "proxy_http_version");
        for (changes, status, text) in [
            (&[("host", "")][..], 400, "Host"),
            (&[("host", "a"), ("host", "b")], 400, "Host"),
            (&[("content-length", "5")], 400, "no body"),
            (&[("transfer-encoding", "chunked")], 400, "no body"),
            (&[("connection", "")], 426, "Connection: Upgrade"),
            (&[("connection", "keep-alive")], 426, "Connection: Upgrade"),
            (&[("upgrade", "")], 426, "Upgrade: websocket"),
            (&[("upgrade", "h2c")], 426, "Upgrade: websocket"),
            (&[("sec-websocket-version", "")], 426, "13"),
            (&[("sec-websocket-version", "8")], 426, "13"),
            (&[("sec-websocket-version", "13"), ("sec-websocket-version", "13")], 426, "13"),
            (&[("sec-websocket-key", "")], 400, "Key"),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], 400, "24"),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQQ=")], 400, "24"),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j*Q==")], 400, "24"),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-key", "x")], 400, "Key"),
            (&[("sec-websocket-protocol", "graphql-ws")], 400, "broadcastd.v1"),
            (&[("sec-websocket-protocol", "broadcastd.v10")], 400, "broadcastd.v1"),
            (&[("origin", "https://evil.example")], 403, "log"),
            (&[("origin", "null")], 403, "log"),
            (&[("origin", "http://localhost"), ("origin", "https://evil.example")], 403, "one Origin"),
        ] {
            let refusal = check_refused(&parts("/ws", changes), status, text);
            let is_origin = refusal.reason == HandshakeRefusal::Origin;
            assert_eq!(is_origin, status == 403);
        }
        check_refused(&parts("/ws?room=%zz", &[]), 400, "room");
    }

    #[test]
    fn refusals_say_what_would_be_taken() {
        let no_upgrade = check_refused(&parts("/ws", &[("upgrade", "")]), 426, "");
        assert_eq!(no_upgrade.response().headers()[header::UPGRADE], "websocket");
        let version = check_refused(&parts("/ws", &[("sec-websocket-version", "7")]), 426, "");
        assert_eq!(version.response().headers()[header::SEC_WEBSOCKET_VERSION], "13");
        for (reason, status) in [(HandshakeRefusal::Clients, 503), (HandshakeRefusal::ClientsPerIp, 429)] {
            let response = Refusal::limit(reason).response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        }
    }
}
