//! The daemon's memory, as the system sees it.

use crate::harness::{ROOMS, Server};

/// The value of a line of one of the daemon's files in `/proc`.
fn proc(server: &Server, file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", server.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{key} {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn nothing_is_backed_by_huge_pages() {
    let server = Server::start(ROOMS);
    assert_eq!(proc(&server, "status", "THP_enabled:"), 0, "whatever the system does for others");
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap();
    // What the process had used before it could say so may be in one; where programs have to ask, none is.
    let most = if setting.contains("[always]") { 4096 } else { 0 };
    assert!(proc(&server, "smaps_rollup", "AnonHugePages:") <= most);
}
