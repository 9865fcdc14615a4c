//! `broadcastd doctor`: what it sees of a good machine, and of a bad one.

use crate::harness::{ROOMS, Server, binary};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Runs the doctor with a configuration; its exit code and what it said.
fn doctor(config: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(["doctor", "--config"]).arg(config).args(arguments);
    crate::harness::in_folder(&mut command, config.parent().unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// A line about something.
fn line<'s>(said: &'s str, what: &str, text: &str) -> &'s str {
    let found = said.lines().find(|line| line.contains(what) && line.contains(text));
    found.unwrap_or_else(|| panic!("no {what} with {text:?} in\n{said}"))
}

#[test]
fn before_the_start_everything_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("broadcast.toml");
    let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:1\"]\n[ingest]\nlisten = [{ unix = \"in.sock\" }]\n";
    std::fs::write(&config, format!("{listen}{ROOMS}")).unwrap();
    let (code, said) = doctor(&config, &[]);
    assert!(line(&said, "daemon", "none answers").starts_with("ok"), "{said}");
    assert!(line(&said, "socket", "the daemon makes it").starts_with("ok"));
    assert!(line(&said, "watching", "are seen").starts_with("ok"));
    line(&said, "clock", "plausible");
    assert_eq!(code == Some(0), !said.contains("WRONG"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let bad = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nallowed_origins = [\"*\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n[ingest]\nlisten = [{{ unix = \"in.sock\", group = \"no-such-group\" }}]\n\
                       [limits]\nclients = 4_000_000\nhistory_memory = \"9000GiB\"\n{ROOMS}"
    );
    std::fs::write(&config, bad).unwrap();
    let (code, said) = doctor(&config, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(line(&said, "port", &format!("(pid {})", std::process::id())).starts_with("WRONG"));
    assert!(line(&said, "socket", "no-such-group").starts_with("WRONG"));
    assert!(line(&said, "origins", "every web page").starts_with("note"));
    assert!(line(&said, "descriptors", "wanted").starts_with("note"));
    assert!(line(&said, "memory", "may take 9000.1 GiB").starts_with("note"));
    assert!(said.contains("-> groupadd --system no-such-group"), "{said}");
    std::fs::write(&config, "[limits]\nclients = 0\n").unwrap();
    assert_eq!(doctor(&config, &[]).0, Some(78));
    assert_eq!(doctor(&config, &["--nonsense"]).0, Some(64));
}

#[test]
fn a_running_daemon_is_asked_and_a_producers_user_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = folder.path().join("in.sock");
    let server = Server::start(&format!(
        "[ingest]\nlisten = [{{ unix = \"{}\", mode = \"0660\" }}]\n{ROOMS}",
        socket.display()
    ));
    let config = folder.path().join("broadcast.toml");
    let same = format!(
        "[server]\nlisten = [\"{}\"]\n[admin]\nlisten = [\"{}\"]\n[ingest]\nlisten = [{{ unix = \"{}\" }}]\n{ROOMS}",
        server.clients[0],
        server.admin[0],
        socket.display()
    );
    std::fs::write(&config, same).unwrap();
    let (_, said) = doctor(&config, &["--as", "root"]);
    assert!(line(&said, "daemon", "runs, version").starts_with("ok"), "{said}");
    assert!(line(&said, "in force", "another configuration").starts_with("note"), "{said}");
    assert!(line(&said, "port", "is the daemon's").starts_with("ok"), "{said}");
    assert!(line(&said, "socket", "root may write").starts_with("ok"), "{said}");
    let (code, said) = doctor(&config, &["--as", "nobody"]);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(code, Some(1));
        assert!(line(&said, "socket", "nobody may not write").starts_with("WRONG"), "{said}");
        assert!(said.contains("-> usermod -aG root nobody"), "{said}");
    }
    let (code, said) = doctor(&config, &["--as", "no-such-user"]);
    assert!(code == Some(64) && said.contains("there is no such user"), "{said}");
}
