//! Which web pages may talk to the daemon (`server.allowed_origins`).
//!
//! A browser says with every WebSocket handshake and every request across origins whose page it is for; what is not a
//! browser sends no `Origin` and is not the concern of this list. A page's own address is no reason to let it in: a
//! name that its owner points at 127.0.0.1 would make any page such a page.

use crate::config::{NULL_ORIGIN, OriginPattern};
use hyper::header::{self, HeaderMap, HeaderValue};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The hint for a refusal that lets a page of this `Origin` in.
pub fn advice(origin: &str) -> String {
    match origin {
        "null" => format!("add \"*\" to server.allowed_origins, or {NULL_ORIGIN}"),
        _ => "add the origin to server.allowed_origins".to_owned(),
    }
}

/// Whether a page of this `Origin` may connect. `null` (a sandboxed frame, a file) is covered by `*` alone.
pub fn is_allowed(origin: &str, patterns: &[OriginPattern]) -> bool {
    let origin = Origin::read(origin);
    patterns.iter().any(|pattern| match pattern {
        OriginPattern::Any => true,
        OriginPattern::Local => origin.as_ref().is_some_and(Origin::is_local),
        OriginPattern::Exact { scheme, host, port, any_port } => origin.as_ref().is_some_and(|origin| {
            let port = port.or_else(|| default_port(scheme));
            origin.scheme.eq_ignore_ascii_case(scheme)
                && origin.host.eq_ignore_ascii_case(unbracketed(host))
                && (*any_port || origin.port == port)
        }),
    })
}

/// For how long a browser need not ask again, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Headers that let the page of a request read its answer (CORS), cookies and `Authorization` included.
///
/// Empty without exactly one `Origin`. The caller has checked that the origin is allowed.
pub fn cors(request: &HeaderMap) -> HeaderMap {
    let mut answer = HeaderMap::new();
    let mut origins = request.get_all(header::ORIGIN).iter();
    if let (Some(origin), None) = (origins.next(), origins.next()) {
        // Never `*`: browsers refuse it together with credentials.
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        answer.insert(header::VARY, HeaderValue::from_name(header::ORIGIN));
    }
    answer
}

/// Headers that let the page of a request read its answer or refusal, if pages of its origin are allowed.
pub fn cors_if_allowed(request: &HeaderMap, patterns: &[OriginPattern]) -> HeaderMap {
    let mut answer = cors(request);
    let origin = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).and_then(|origin| origin.to_str().ok());
    if !origin.is_some_and(|origin| is_allowed(origin, patterns)) {
        return HeaderMap::new();
    }
    answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_name(header::RETRY_AFTER));
    answer
}

/// Headers that answer a preflight, beside those of [`cors`]: the page may use `methods`, and send every header it asked for.
///
/// No answer depends on a header that only an allowed page could send, so none is withheld.
pub fn preflight(request: &HeaderMap, methods: HeaderValue) -> HeaderMap {
    let mut answer = HeaderMap::new();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    answer
}

/// Whether a `Host`, or the host of an origin, with or without a port, is a name of this machine for itself.
pub fn is_loopback_host(host: &str) -> bool {
    split_port(host).is_some_and(|(host, _)| is_loopback_name(host))
}

/// The TOML that would let a page in, beside what is allowed already; none for an origin that cannot be written down.
pub fn toml_to_allow(origin: &str, patterns: &[OriginPattern]) -> Option<String> {
    // An origin is a stranger's text: what goes into a log must not be able to end the string it stands in.
    const LONGEST: usize = 200;
    let plain = |c: char| c.is_ascii_alphanumeric() || ":/.-_[]+".contains(c);
    if origin.len() > LONGEST || !origin.chars().all(plain) || Origin::read(origin).is_none() {
        return None;
    }
    let mut toml = "allowed_origins = [".to_owned();
    for pattern in patterns {
        write!(toml, "\"{}\", ", pattern_text(pattern)).expect("a String takes every write");
    }
    write!(toml, "\"{}\"]", origin.to_ascii_lowercase()).expect("a String takes every write");
    Some(toml)
}

fn pattern_text(pattern: &OriginPattern) -> String {
    match pattern {
        OriginPattern::Local => "local".to_owned(),
        OriginPattern::Any => "*".to_owned(),
        OriginPattern::Exact { scheme, host, any_port: true, .. } => format!("{scheme}://{host}:*"),
        OriginPattern::Exact { scheme, host, port: Some(port), .. } => format!("{scheme}://{host}:{port}"),
        OriginPattern::Exact { scheme, host, .. } => format!("{scheme}://{host}"),
    }
}

/// `scheme://host[:port]` (RFC 6454 §6.2).
struct Origin<'a> {
    scheme: &'a str,
    /// Without the brackets of an IPv6 address.
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn read(text: &'a str) -> Option<Origin<'a>> {
        let (scheme, rest) = text.split_once("://")?;
        let (host, port) = split_port(rest)?;
        let is_plain =
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@', ',', ' ']);
        is_plain.then(|| Origin { scheme, host, port: port.or_else(|| default_port(scheme)) })
    }

    fn is_local(&self) -> bool {
        let is_web = ["http", "https"].iter().any(|scheme| self.scheme.eq_ignore_ascii_case(scheme));
        is_web && is_loopback_name(self.host)
    }
}

/// A host without brackets, and the port; none when it is neither.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        None if port.is_empty() => Some((host, None)),
        _ => None,
    }
}

fn is_loopback_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|v4| v4.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|v6| v6.is_loopback())
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a `Host` header names this machine as it may be named: a loopback name or address, the address `local` that was
/// connected to, or one of `hosts`. Any other may be a name that somebody made to point here (DNS rebinding), and what
/// comes with it the request of a web page.
pub fn is_own_host(host: &str, local: IpAddr, hosts: &[String]) -> bool {
    let Some((name, _)) = split_port(host) else { return false };
    let is_local = |ip: IpAddr| ip.to_canonical() == local.to_canonical();
    is_loopback_name(name.strip_suffix('.').unwrap_or(name))
        || name.parse().is_ok_and(is_local)
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(scheme: &str, host: &str, port: Option<u16>, any_port: bool) -> OriginPattern {
        OriginPattern::Exact { scheme: scheme.to_owned(), host: host.to_owned(), port, any_port }
    }

    #[track_caller]
    fn check(pattern: &OriginPattern, yes: &[&str], no: &[&str]) {
        for origin in yes {
            assert!(is_allowed(origin, std::slice::from_ref(pattern)), "{origin} is allowed");
        }
        for origin in no {
            assert!(!is_allowed(origin, std::slice::from_ref(pattern)), "{origin} is refused");
        }
    }

    #[test]
    fn local_is_every_name_of_this_machine() {
        check(
            &OriginPattern::Local,
            &[
                "http://localhost",
                "http://localhost:3000",
                "https://LOCALHOST:8443",
                "http://app.localhost:5173",
                "http://127.0.0.1:9999",
                "http://127.8.8.8",
                "http://[::1]:9999",
            ],
            &[
                "http://localhost.evil.example",
                "http://notlocalhost",
                "http://127.0.0.1.evil.example",
                "http://evil.example:9999",
                "http://128.0.0.1",
                "http://[::2]",
                "ftp://localhost",
                "http://localhost@evil.example",
                "http://evil.example/http://localhost",
                "http://localhost:",
                "http://localhost:99999",
                "http://[::1",
                "localhost",
                "null",
                "",
            ],
        );
    }

    #[test]
    fn exact_patterns_know_default_ports() {
        check(
            &exact("https", "app.example", None, false),
            &["https://app.example", "https://APP.example", "https://app.example:443"],
            &[
                "http://app.example",
                "https://app.example:8443",
                "https://x.app.example",
                "https://app.example.x",
            ],
        );
        check(
            &exact("http", "app.example", Some(3000), false),
            &["http://app.example:3000"],
            &["http://app.example", "http://app.example:3001", "https://app.example:3000"],
        );
        check(&exact("http", "app.example", Some(80), false), &["http://app.example"], &[]);
        check(
            &exact("http", "app.example", None, true),
            &["http://app.example", "http://app.example:1", "http://app.example:65535"],
            &["https://app.example:1", "http://app.example.x:1"],
        );
        check(
            &exact("http", "[fd00::1]", Some(8080), false),
            &["http://[fd00::1]:8080"],
            &["http://[fd00::2]:8080"],
        );
        check(&exact("app", "main", None, false), &["app://main"], &["app://main:80", "app://other"]);
    }

    #[test]
    fn any_is_anything_and_nothing_is_nothing() {
        check(&OriginPattern::Any, &["https://evil.example", "null", ""], &[]);
        assert!(!is_allowed("http://localhost", &[]));
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check_headers(answer: &HeaderMap, expected: &[(&'static str, &str)]) {
        assert_eq!(answer, &headers(expected));
    }

    #[test]
    fn pages_of_allowed_origins_may_send_credentials() {
        let page = [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("vary", "origin"),
        ];
        check_headers(&cors(&headers(&[("origin", "https://app.example")])), &page);
        check_headers(&cors(&headers(&[])), &[]);
        check_headers(&cors(&headers(&[("origin", "https://app.example"), ("origin", "null")])), &[]);
    }

    #[test]
    fn only_pages_of_allowed_origins_read_why_they_were_refused() {
        let refused = |origin, patterns: &[OriginPattern]| {
            let answer = cors_if_allowed(&headers(&[("origin", origin)]), patterns);
            answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|origin| origin.to_str().unwrap().to_owned())
        };
        assert_eq!(refused("http://localhost:1", &[OriginPattern::Local]).unwrap(), "http://localhost:1");
        assert_eq!(refused("https://evil.example", &[OriginPattern::Local]), None);
        assert_eq!(refused("null", &[OriginPattern::Any]).unwrap(), "null");
        let answer = cors_if_allowed(&headers(&[("origin", "http://localhost")]), &[OriginPattern::Local]);
        assert_eq!(answer["access-control-expose-headers"], "retry-after");
        assert_eq!(answer["access-control-allow-credentials"], "true");
    }

    #[test]
    fn preflights_grant_the_headers_that_a_page_asks_for() {
        let methods = HeaderValue::from_static("GET");
        let asked = [("access-control-request-headers", "authorization,last-event-id,x-tenant")];
        let granted = [
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-headers", asked[0].1),
            ("access-control-max-age", "600"),
        ];
        check_headers(&preflight(&headers(&asked), methods.clone()), &granted);
        check_headers(&preflight(&headers(&[]), methods), &[granted[0], granted[2]]);
    }

    #[test]
    fn hosts_of_this_machine() {
        for host in ["localhost", "localhost:9999", "127.0.0.1:9998", "[::1]:9998", "[::1]", "a.localhost"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:9998", "10.0.0.1", "localhost:x", "::1x"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_refused_page_can_be_let_in_by_copying_a_line() {
        let patterns = [OriginPattern::Local, exact("http", "a.example", None, true)];
        let toml = toml_to_allow("https://App.example:8443", &patterns);
        let expected = r#"allowed_origins = ["local", "http://a.example:*", "https://app.example:8443"]"#;
        assert_eq!(toml.as_deref(), Some(expected));
        for origin in ["null", "https://a\"b", "https://a\nb", &format!("https://{}", "a".repeat(300))] {
            assert_eq!(toml_to_allow(origin, &patterns), None, "{origin}");
        }
    }
}
