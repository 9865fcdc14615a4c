//! Binding, refusing to bind, and accepting.

use super::*;
use crate::config::UnixAddr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

fn unix(path: &Path, mode: u32) -> UnixAddr {
    UnixAddr { path: path.to_owned(), mode, group: None }
}

#[track_caller]
fn refusal(addr: &ListenAddr) -> String {
    Listener::bind("ingest.listen[0]", addr).expect_err("must not be bound").to_string()
}

#[test]
fn a_taken_port_names_its_holder() {
    let addr = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
    let first = Listener::bind("a", &addr).unwrap();
    let BoundAddr::Tcp(taken) = first.addr() else { panic!("{:?}", first.addr()) };
    assert_ne!(taken.port(), 0);
    let refusal = refusal(&ListenAddr::Tcp(taken));
    let pid = format!("(pid {})", std::process::id());
    assert!(
        refusal.starts_with(&format!("ingest.listen[0]: cannot listen on {taken}: the port is taken by ")),
        "{refusal}"
    );
    assert!(refusal.contains(&pid) && refusal.contains("hint: "), "{refusal}");
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let refusal = refusal(&ListenAddr::Tcp("192.0.2.1:0".parse().unwrap()));
    assert!(refusal.contains("this machine has no such address"), "{refusal}");
}

#[test]
fn a_socket_has_its_mode_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o660, 0o600, 0o777] {
        let path = folder.path().join("a.sock");
        let listener = Listener::bind("a", &ListenAddr::Unix(unix(&path, mode))).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
        drop(listener);
        assert!(!path.exists());
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let addr = ListenAddr::Unix(unix(&path, 0o600));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file");
    let listener = Listener::bind("a", &addr).unwrap();
    let refusal = refusal(&addr);
    assert!(refusal.contains(&format!("(pid {}) listens there", std::process::id())), "{refusal}");
    UnixStream::connect(&path).expect("the first is alive");
    drop(listener);
}

#[test]
fn a_socket_that_took_our_place_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let listener = Listener::bind("a", &ListenAddr::Unix(unix(&path, 0o600))).unwrap();
    fs::rename(&path, folder.path().join("b.sock")).unwrap();
    fs::write(&path, "another").unwrap();
    drop(listener);
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    fs::write(&path, "mine").unwrap();
    let refusal = refusal(&ListenAddr::Unix(unix(&path, 0o600)));
    assert!(refusal.contains("a file that is no socket is there"), "{refusal}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_missing_folder_and_a_long_path_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let refused = refusal(&ListenAddr::Unix(unix(&missing.join("a.sock"), 0o600)));
    assert!(refused.contains(&format!("there is no folder {}", missing.display())), "{refused}");
    let long = refusal(&ListenAddr::Unix(unix(&folder.path().join("x".repeat(120)), 0o600)));
    assert!(long.contains("a socket's can have 107"), "{long}");
}

#[test]
fn a_folder_that_is_not_ours_is_described() {
    if nix::unistd::geteuid().is_root() {
        // Root may write anywhere; the words are checked where they are made.
        let (reason, hint) = (
            unix::tests::reason_of(Path::new("/etc/a.sock"), ErrorKind::PermissionDenied),
            "belongs to root:root with mode 0755",
        );
        assert!(reason.contains("we are user root, groups root") && reason.contains(hint), "{reason}");
        return;
    }
    let refusal = refusal(&ListenAddr::Unix(unix(Path::new("/etc/a.sock"), 0o600)));
    assert!(refusal.contains("we are user ") && refusal.contains("/etc belongs to root:root"), "{refusal}");
}

#[test]
fn an_unknown_group_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let addr = UnixAddr { group: Some("no-such-group".to_owned()), ..unix(&path, 0o660) };
    assert!(refusal(&ListenAddr::Unix(addr)).contains("there is no group no-such-group"));
    assert!(!path.exists());
}

#[test]
fn a_pipe_is_made_kept_and_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.fifo");
    for _ in 0..2 {
        let pipe = Pipe::bind("a", &unix(&path, 0o640)).unwrap();
        assert_eq!(pipe.path(), path);
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_fifo());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        // A reader is there, so that opening to write does not block.
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"x").unwrap();
    }
    let plain = folder.path().join("plain");
    fs::write(&plain, "mine").unwrap();
    let refusal = Pipe::bind("a", &unix(&plain, 0o640)).unwrap_err().to_string();
    assert!(refusal.contains("a file that is no pipe is there"), "{refusal}");
}

#[tokio::test]
async fn connections_of_both_kinds_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let errors = crate::metrics::Metrics::new().accept_errors;
    let tcp = Listener::bind("a", &ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let BoundAddr::Tcp(addr) = tcp.addr() else { panic!("{:?}", tcp.addr()) };
    let client = std::net::TcpStream::connect(addr).unwrap();
    assert_eq!(tcp.accept(&errors).await.peer(), Some(client.local_addr().unwrap()));
    let unix = Listener::bind("a", &ListenAddr::Unix(unix(&path, 0o600))).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    assert_eq!(unix.accept(&errors).await.peer(), None);
    assert_eq!(unix.addr().to_string(), format!("unix:{}", path.display()));
}

#[tokio::test]
async fn the_death_of_a_silent_peer_is_noticed() {
    let listener = Listener::bind("a", &ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let BoundAddr::Tcp(addr) = listener.addr() else { panic!("{}", listener.addr()) };
    let _peer = std::net::TcpStream::connect(addr).unwrap();
    let stream = listener.accept(&crate::metrics::Metrics::new().accept_errors).await;
    let second = Duration::from_secs(1);
    stream.notice_death(&Death { silence: 3 * second, probes: second, timeout: 6 * second });
    let Stream::Tcp(stream, _) = &stream else { panic!("{stream:?}") };
    let socket = SockRef::from(stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), 3 * second);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), second);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(6 * second));
}
