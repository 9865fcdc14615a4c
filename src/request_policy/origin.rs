//! Which web pages may talk to the daemon (`server.allowed_origins`).
//!
//! A browser says with every WebSocket handshake and every request across origins whose page it is for; what is not a
//! browser sends no `Origin` and is not the concern of this list. A page's own address is no reason to let it in: a
//! name that its owner points at 127.0.0.1 would make any page such a page.

use super::host::{is_loopback_name, split_port};
use crate::config::{NULL_ORIGIN, OriginPattern};
use std::fmt::Write;

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
