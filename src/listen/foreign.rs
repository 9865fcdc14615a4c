//! Protocols that no listener speaks, told by a connection's first bytes. Pure.

/// A protocol that a client took a listener for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// `https://`, `wss://`.
    Tls,
    /// HTTP/2 without an upgrade.
    Http2,
}

/// First line of an HTTP/2 connection (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Beginning of a TLS connection: a handshake record of version 3 (RFC 8446 §5.1).
const TLS: &[u8] = &[0x16, 0x03];

/// Bytes that tell every protocol of [`Foreign`].
pub const TELLING: usize = HTTP2.len();

impl Foreign {
    /// Reads the first bytes of a connection. None for any other protocol, and while there are too few.
    pub fn of(first: &[u8]) -> Option<Foreign> {
        match first {
            _ if first.starts_with(TLS) => Some(Foreign::Tls),
            _ if first.starts_with(HTTP2) => Some(Foreign::Http2),
            _ => None,
        }
    }

    /// Says what is wrong at a port that speaks `ours`.
    pub fn message(self, ours: &str) -> String {
        let theirs = match self {
            Foreign::Tls => "TLS",
            Foreign::Http2 => "HTTP/2",
        };
        format!("{theirs} is not spoken here: this port speaks {ours}")
    }

    /// What to do.
    pub fn hint(self) -> &'static str {
        match self {
            Foreign::Tls => "use http:// or ws://, or put a proxy in front that ends TLS",
            Foreign::Http2 => "use HTTP/1.1 (curl --http1.1)",
        }
    }

    /// The answer, after which the connection ends. TLS clients know that a server which answers in HTTP speaks no TLS.
    pub fn answer(self, ours: &str) -> String {
        let text = format!("{}\nhint: {}\n", self.message(ours), self.hint());
        format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{text}",
            text.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (first, expected) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Foreign::Tls)),
            (b"\x16\x03", Some(Foreign::Tls)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Foreign::Http2)),
            (b"\x16", None),
            (b"\x16\x02", None),
            (b"PRI * HTTP/2.0", None),
            (b"PRI * HTTP/1.1\r\n", None),
            (b"{\"type\":\"\x16\x03\"}\n", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::of(first), expected, "{first:?}");
            assert!(expected.is_none() || Foreign::of(&first[..first.len().min(TELLING)]) == expected);
        }
    }
}
