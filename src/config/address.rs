//! Addresses, networks and origins as text.

use super::{IpNetwork, OriginPattern};
use std::net::{IpAddr, SocketAddr};

/// Reads `HOST:PORT`. The host is an IP address, `localhost` or `*`. The error says what would be right.
pub(super) fn parse_tcp(text: &str) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let right = "an address and a port, such as \"127.0.0.1:9999\"".to_owned();
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(if text.parse::<u16>().is_ok() { format!("\"127.0.0.1:{text}\"") } else { right });
    };
    let port: u16 = port.parse().map_err(|_| format!("{right}; a port is a number up to 65535"))?;
    match host {
        "localhost" => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        "" | "*" => Err(format!("\"0.0.0.0:{port}\" or \"[::]:{port}\" for every address of this machine")),
        _ => Err(format!("{right}; names are not looked up, write the address")),
    }
}

/// Reads an address, or a network in CIDR notation.
pub(super) fn parse_network(text: &str) -> Option<IpNetwork> {
    let (addr, prefix) = match text.split_once('/') {
        None => (text, None),
        Some((addr, prefix)) => (addr, Some(prefix.parse::<u8>().ok()?)),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(most);
    (prefix <= most).then_some(IpNetwork { addr, prefix })
}

/// Reads an entry of `allowed_origins`. The error says what would be right.
pub(super) fn parse_origin(text: &str) -> Result<OriginPattern, String> {
    match text {
        "local" => return Ok(OriginPattern::Local),
        "*" => return Ok(OriginPattern::Any),
        _ => {}
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once("://") else {
        return Err(format!("\"https://{text}\", \"local\" or \"*\": an origin begins with its scheme"));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return Err(format!(
            "\"{scheme}://{}\": an origin has no path",
            rest.split('/').next().unwrap_or_default()
        ));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if host.is_empty() || scheme.is_empty() || host.contains('*') {
        return Err("a scheme and a host, such as \"https://example.org\"; only a port can be *".to_owned());
    }
    let any_port = port == Some("*");
    let port = match port {
        None | Some("*") => None,
        Some(port) => {
            Some(port.parse().map_err(|_| format!("\"{scheme}://{host}:*\" or a port up to 65535"))?)
        }
    };
    Ok(OriginPattern::Exact { scheme: scheme.to_owned(), host: host.to_owned(), port, any_port })
}

/// An entry of `allowed_origins` as it would be written.
pub(super) fn show_origin(origin: &OriginPattern) -> String {
    match origin {
        OriginPattern::Local => "local".to_owned(),
        OriginPattern::Any => "*".to_owned(),
        OriginPattern::Exact { scheme, host, port, any_port } => match (port, any_port) {
            (Some(port), _) => format!("{scheme}://{host}:{port}"),
            (None, true) => format!("{scheme}://{host}:*"),
            (None, false) => format!("{scheme}://{host}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, right) in [
            ("127.0.0.1:9999", true),
            ("[::1]:80", true),
            ("localhost:0", true),
            ("9999", false),
            (":9999", false),
            ("host:9999", false),
            ("127.0.0.1:99999", false),
        ] {
            assert_eq!(parse_tcp(text).is_ok(), right, "{text}");
        }
        for (text, right) in
            [("10.0.0.0/8", true), ("::1", true), ("10.0.0.0/33", false), ("x", false), ("1.2.3.4/x", false)]
        {
            assert_eq!(parse_network(text).is_some(), right, "{text}");
        }
    }

    #[test]
    fn origins_read_back() {
        for text in ["local", "*", "https://example.org", "http://example.org:8080", "https://[::1]:*"] {
            assert_eq!(show_origin(&parse_origin(text).unwrap()), text);
        }
        for text in
            ["example.org", "https://", "https://example.org/app", "https://*.example.org", "http://x:99999"]
        {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
