//! Tells HTTP, lines and protocols that are not spoken by how a stream begins. Pure.

use crate::listen::Foreign;

/// Longest request line that is recognised, in bytes: as long as most servers take. A longer first line is a line.
pub(super) const MAX_REQUEST_LINE: usize = 8 * 1024;
/// Longest method, in bytes; the longest registered one (`UPDATEREDIRECTREF`) has 17.
const MAX_METHOD: usize = 20;

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its first line is `METHOD SP … HTTP/1.x`.
    Http,
    /// Lines.
    Lines,
    /// A protocol that is not spoken here.
    Foreign(Foreign),
}

/// Decides by what has arrived from the stream's start, as early as it can be known: for an object by its first byte.
/// None while more is needed, which is never so beyond [`MAX_REQUEST_LINE`].
pub(super) fn kind(seen: &[u8]) -> Option<Kind> {
    if let Some(foreign) = Foreign::of(seen) {
        return Some(Kind::Foreign(foreign));
    }
    let method = seen.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    if method > MAX_METHOD {
        return Some(Kind::Lines);
    }
    match seen.get(method) {
        None => return None,
        // TLS may begin so.
        Some(0x16) if seen.len() == 1 => return None,
        Some(b' ') if method > 0 => {}
        Some(_) => return Some(Kind::Lines),
    }
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return (seen.len() > MAX_REQUEST_LINE).then_some(Kind::Lines);
    };
    let line = seen[..end].strip_suffix(b"\r").unwrap_or(&seen[..end]);
    let version = line.len().checked_sub(b" HTTP/1.1".len()).map(|start| &line[start..]);
    let is_http = version.is_some_and(|version| {
        version.starts_with(b" HTTP/1.") && version.last().is_some_and(u8::is_ascii_digit)
    });
    Some(if is_http && end <= MAX_REQUEST_LINE { Kind::Http } else { Kind::Lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Kind>) {
        assert_eq!(kind(text.as_bytes()), expected, "{text:?}");
        // What was decided early stays so, whatever follows.
        for cut in 0..text.len() {
            let early = kind(&text.as_bytes()[..cut]);
            assert!(early.is_none() || early == expected, "{text:?} cut at {cut}: {early:?}");
        }
    }

    #[test]
    fn a_request_line_is_http() {
        check("POST /events HTTP/1.1\r\nHost: a\r\n", Some(Kind::Http));
        check("GET / HTTP/1.0\n", Some(Kind::Http));
        check("M-SEARCH * HTTP/1.1\r\n", Some(Kind::Http));
        check("POST /events?a=b%20c HTTP/1.1\r\n\r\n{}", Some(Kind::Http));
    }

    #[test]
    fn all_else_is_lines() {
        check("{", Some(Kind::Lines));
        check("\u{feff}{", Some(Kind::Lines));
        check("\n", Some(Kind::Lines));
        check(" ", Some(Kind::Lines));
        check("hello HTTP/1.1\n", Some(Kind::Lines));
        check("POST\n", Some(Kind::Lines));
        check("POST {\"a\":1}\n", Some(Kind::Lines));
        check("PRI * HTTP/2.0\n", Some(Kind::Lines));
        check("\u{16}{\"type\":\"t\"}\n", Some(Kind::Lines));
        check("{\"type\":\"\u{16}\u{3}\"}\n", Some(Kind::Lines));
        check("GET HTTP/1.x\n", Some(Kind::Lines));
        check(&format!("{} ", "A".repeat(MAX_METHOD + 1)), Some(Kind::Lines));
    }

    #[test]
    fn tls_and_http_2_are_known_from_their_beginning() {
        check("\u{16}\u{3}\u{1}\u{2}", Some(Kind::Foreign(Foreign::Tls)));
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Kind::Foreign(Foreign::Http2)));
    }

    #[test]
    fn it_is_open_only_within_a_bound() {
        check("", None);
        check("POST", None);
        check("POST /events HTTP/1.1", None);
        let long = format!("GET /{}", "a".repeat(MAX_REQUEST_LINE));
        check(&long, Some(Kind::Lines));
    }
}
