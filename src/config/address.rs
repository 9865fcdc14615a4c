//! Addresses, networks and origins as text.

use super::{IpNetwork, OriginPattern};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The hint for a page whose `Origin` is `null`, beside letting every page in. `client/client.js` says the same.
pub const NULL_ORIGIN: &str = "serve the page over HTTP and not in a sandbox: files and sandboxed frames have the origin \
                               \"null\", which only \"*\" covers";

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
    let (scheme, rest) = match lower.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, lower.as_str()),
    };
    if scheme == Some("file") || lower == "null" {
        return Err(format!("\"*\", or {NULL_ORIGIN}"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let (user, site) =
        authority.rsplit_once('@').map_or((None, authority), |(user, site)| (Some(user), site));
    let (host, port) = match site.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (site, None),
    };
    if !scheme.is_none_or(is_scheme) || !is_host(host) {
        return Err(
            "a scheme and a host, such as \"https://example.org\"; only a port can be *, and a name with \
                    other letters than a to z is written as browsers send it (xn--…)"
                .to_owned(),
        );
    }
    let Some(scheme) = scheme else {
        return Err(format!("\"https://{site}\", \"local\" or \"*\": an origin begins with its scheme"));
    };
    let fixed = port.filter(|port| *port != "*").map(str::parse);
    let Ok(port_number) = fixed.transpose() else {
        return Err(format!("\"{scheme}://{host}:*\" or a port up to 65535"));
    };
    if user.is_some() || !matches!(path, "" | "/") {
        let what = if user.is_some() { "user" } else { "path" };
        return Err(format!("\"{scheme}://{site}\": an origin has no {what}"));
    }
    let any_port = port == Some("*");
    Ok(OriginPattern::Exact { scheme: scheme.to_owned(), host: host.to_owned(), port: port_number, any_port })
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A name or an address as a browser writes it.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    }
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
        for text in [
            "https://EXAMPLE.org/",
            "capacitor://localhost",
            "app://-",
            "http://[fd00::1]:8080",
            "http://a_b.c:0",
        ] {
            assert!(parse_origin(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refused_origin_names_the_one_to_write() {
        for (text, right) in [
            ("https://a.example/app", "\"https://a.example\": an origin has no path"),
            ("https://A.example:8443/app/?q#f", "\"https://a.example:8443\": an origin has no path"),
            ("https://a.example?q=1", "\"https://a.example\": an origin has no path"),
            ("https://a.example#/app", "\"https://a.example\": an origin has no path"),
            ("https://a.example//", "\"https://a.example\": an origin has no path"),
            ("https://me:secret@a.example", "\"https://a.example\": an origin has no user"),
            ("a.example/app", "\"https://a.example\", \"local\" or \"*\""),
            ("a.example:8443", "\"https://a.example:8443\", \"local\" or \"*\""),
            ("http://x:99999", "\"http://x:*\" or a port up to 65535"),
            ("http://x:", "\"http://x:*\" or a port up to 65535"),
            ("https://", "such as \"https://example.org\""),
            ("https://*.example.org", "only a port can be *"),
            ("https://*.example.org/app", "only a port can be *"),
            ("https://münchen.example", "xn--"),
            ("https://[::1", "a scheme and a host"),
            ("://a.example", "a scheme and a host"),
            ("file://", "\"*\""),
            ("file:///home/me/page.html", "\"*\""),
            ("null", "\"*\""),
        ] {
            let said = parse_origin(text).expect_err(text);
            assert!(said.contains(right), "{text}: {said}");
        }
    }
}
