//! The `Host` of a request: its form, and whether it names this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads `name`, `name:port` or `[IPv6]:port` and returns the name without brackets. None for any other text, such as one with
/// user information, a path or a list.
pub(super) fn name_of(host: &str) -> Option<&str> {
    let (name, _) = split_port(host)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_name = if host.starts_with('[') {
        name.parse::<Ipv6Addr>().is_ok()
    } else {
        !name.is_empty() && name.bytes().all(is_plain)
    };
    is_name.then_some(name)
}

/// Whether a name from [`name_of`] is this machine's own: loopback, the address `local` that was connected to, or one of `hosts`.
///
/// Somebody else may have made any other name point here (DNS rebinding), so its request may be a web page's.
pub(super) fn is_own(name: &str, local: IpAddr, hosts: &[String]) -> bool {
    let is_local = |ip: IpAddr| ip.to_canonical() == local.to_canonical();
    is_loopback_name(name.strip_suffix('.').unwrap_or(name))
        || name.parse().is_ok_and(is_local)
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Splits a host into its name without brackets and its port. None if the text is neither.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
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

/// Whether a host is a name or address of this machine for itself.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|v4| v4.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|v6| v6.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_loopback_the_listeners_own_or_configured() {
        #[track_caller]
        fn check(host: &str, expected: Option<bool>) {
            let hosts = ["events.example.org".to_owned()];
            let own = name_of(host).map(|name| is_own(name, IpAddr::from([10, 1, 2, 3]), &hosts));
            assert_eq!(own, expected, "{host:?}");
        }
        for host in [
            "localhost",
            "LocalHost:9998",
            "a.localhost.",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]:9998",
            "[::1]",
            "10.1.2.3:9998",
            "[::ffff:10.1.2.3]:9998",
            "Events.example.org:9998",
        ] {
            check(host, Some(true));
        }
        for host in ["example.org", "localhost.example.org:1", "10.1.2.4", "[::2]", "127.0.0.1.example.org"] {
            check(host, Some(false));
        }
        for host in [
            "",
            ":80",
            "127.0.0.1:x",
            "localhost:99999",
            "localhost:",
            "::1",
            "[::1",
            "[localhost]",
            "[::1]x",
            "user@localhost",
            "user:secret@localhost",
            "localhost/x",
            "localhost?x",
            "localhost, evil.example",
            "local host",
            "localhost\\x",
        ] {
            check(host, None);
        }
    }
}
