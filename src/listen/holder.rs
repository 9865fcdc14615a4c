//! Who holds a port or a socket file, as far as `/proc` tells it. For error messages only.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// Flags of a listening socket in `/proc/net/unix` (`__SO_ACCEPTCON`).
const ACCEPTS: &str = "00010000";
/// Descriptors looked at for the holder: a machine with more of them is not searched to the end, since a message must
/// not take seconds.
const MOST_DESCRIPTORS: usize = 100_000;

/// A process, or what is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Its name and number.
    Process(String, u32),
    /// Of a user whose processes cannot be looked into.
    User(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process(name, pid) => write!(f, "{name} (pid {pid})"),
            Holder::User(name) => write!(f, "a process of user {name}"),
        }
    }
}

/// Who listens on a TCP port, on this address or on all.
pub(super) fn of_tcp(addr: SocketAddr) -> Option<Holder> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let (inode, uid) = tables.iter().find_map(|table| listening(table, addr))?;
    process_with(inode).or_else(|| Some(Holder::User(user(uid))))
}

/// Who listens on a Unix socket.
pub(super) fn of_unix(path: &Path) -> Option<Holder> {
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    let path = path.to_str()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Connections to it have its path as well.
        let is_listening = fields.get(3) == Some(&ACCEPTS) && fields.get(7) == Some(&path);
        is_listening.then(|| process_with(fields.get(6)?.parse().ok()?))?
    })
}

/// The inode and the user of the socket that listens on a port, in a table of the kernel.
fn listening(table: &str, addr: SocketAddr) -> Option<(u64, u32)> {
    let port = format!("{:04X}", addr.port());
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (host, its_port) = fields.get(1)?.split_once(':')?;
        let is_all = host.bytes().all(|digit| digit == b'0');
        let is_ours = its_port == port && fields.get(3) == Some(&LISTENING);
        let meets = is_all || addr.ip().is_unspecified() || host == kernel_host(addr);
        (is_ours && meets).then(|| Some((fields.get(9)?.parse().ok()?, fields.get(7)?.parse().ok()?)))?
    })
}

/// An address as the kernel's tables write it: words of 32 bits in the machine's order.
fn kernel_host(addr: SocketAddr) -> String {
    let words = |octets: &[u8]| {
        let words = octets.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
        words.fold(String::new(), |host, word| format!("{host}{:08X}", u32::from_ne_bytes(word)))
    };
    match addr {
        SocketAddr::V4(addr) => words(&addr.ip().octets()),
        SocketAddr::V6(addr) => words(&addr.ip().octets()),
    }
}

fn process_with(inode: u64) -> Option<Holder> {
    let wanted = format!("socket:[{inode}]");
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut left = MOST_DESCRIPTORS;
    for pid in pids {
        let pid: u32 = pid;
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            left = left.checked_sub(1)?;
            if fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                return Some(Holder::Process(name.trim().to_owned(), pid));
            }
        }
    }
    None
}

fn user(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn our_own_port_is_held_by_us() {
        for addr in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(addr).unwrap();
            let port = listener.local_addr().unwrap().port();
            let Some(Holder::Process(_, pid)) = of_tcp(SocketAddr::from(([127, 0, 0, 1], port))) else {
                panic!("{addr}: no holder found");
            };
            assert_eq!(pid, std::process::id());
        }
    }

    #[test]
    fn the_kernels_table_is_read_by_address_and_state() {
        let table =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4711 1 0 100 0
   1: 0200007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0
   2: 0100007F:1F92 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0
   3: 00000000:1F93 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0 100 0
";
        let find = |addr: &str| listening(table, addr.parse().unwrap());
        assert_eq!(find("127.0.0.1:8080"), Some((4711, 998)));
        assert_eq!(find("0.0.0.0:8080"), Some((4711, 998)));
        assert_eq!(find("127.0.0.1:8081"), None);
        assert_eq!(find("127.0.0.1:8082"), None);
        assert_eq!(find("127.0.0.1:8083"), Some((4714, 0)));
    }
}
