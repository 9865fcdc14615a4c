//! Whose connection it is, behind proxies that are trusted to say so.

use crate::config::IpNetwork;
use hyper::header::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// The client's address as trusted proxies tell it in `X-Forwarded-For`; none when the socket's own peer is the client.
///
/// Every proxy adds the address it was called from at the right, and what stands left of the first address that is not
/// a trusted proxy's was written by a stranger. The peer of a Unix socket (`peer` is none) is trusted: who may open it
/// is decided by its mode.
pub(super) fn forwarded(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNetwork]) -> Option<IpAddr> {
    if peer.is_some_and(|peer| !is_trusted(peer, trusted)) {
        return None;
    }
    let mut client = None;
    for line in headers.get_all("x-forwarded-for").iter().rev() {
        for entry in line.to_str().ok()?.rsplit(',') {
            // What is no address ends the chain: nothing left of it can be vouched for.
            let Some(address) = read_address(entry.trim()) else { return client };
            client = Some(address);
            if !is_trusted(address, trusted) {
                return client;
            }
        }
    }
    client
}

/// Some proxies add the port.
fn read_address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|addr| addr.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn is_trusted(address: IpAddr, trusted: &[IpNetwork]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| contains(*network, address))
}

fn contains(network: IpNetwork, address: IpAddr) -> bool {
    // Bits beyond the prefix do not count; a shift by all bits leaves nothing to compare.
    match (network.addr, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let differing = net.to_bits() ^ address.to_bits();
            differing.checked_shr(32_u32.saturating_sub(network.prefix.into())).unwrap_or(0) == 0
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            let differing = net.to_bits() ^ address.to_bits();
            differing.checked_shr(128_u32.saturating_sub(network.prefix.into())).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        let (addr, prefix) = text.split_once('/').unwrap();
        IpNetwork { addr: addr.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    #[track_caller]
    fn check(peer: &str, lines: &[&str], expected: &str) {
        let trusted = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/16"].map(network);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let client = forwarded(peer.parse().ok(), &headers, &trusted);
        assert_eq!(client, expected.parse().ok());
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        check("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.1.1.1"], "203.0.113.9");
        check("10.0.0.1", &["6.6.6.6", "203.0.113.9", "10.1.1.1"], "203.0.113.9");
        check("10.0.0.1", &["10.3.3.3, 10.1.1.1"], "10.3.3.3");
        check("fd00::1", &["2001:db8::7"], "2001:db8::7");
        check("::ffff:10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("unix", &["203.0.113.9"], "203.0.113.9");
    }

    #[test]
    fn strangers_are_not_believed() {
        check("192.0.2.1", &["203.0.113.9"], "none");
        check("127.0.0.2", &["203.0.113.9"], "none");
        check("10.0.0.1", &[], "none");
        check("unix", &[], "none");
        check("10.0.0.1", &["unknown"], "none");
        check("10.0.0.1", &["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1");
    }

    #[test]
    fn networks_compare_by_their_prefix() {
        for (net, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("fd00::1/128", "fd00::1", "fd00::2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
        ] {
            assert!(contains(network(net), inside.parse().unwrap()), "{inside} in {net}");
            assert!(!contains(network(net), outside.parse().unwrap()), "{outside} not in {net}");
        }
    }
}
