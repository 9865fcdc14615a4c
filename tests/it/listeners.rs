//! Where the daemon listens: sockets that are in the way, modes and groups, what cannot be bound, how many producers.

use crate::harness::{Producer, ROOMS, Server, binary, in_folder};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

/// Runs the daemon with a configuration that cannot be bound; its standard error.
fn refused(config: &str) -> String {
    let (mut command, dir) = Server::command(config, &[]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "nothing listens");
    drop(dir);
    text
}

fn unix_config(entry: &str) -> String {
    format!("[ingest]\nlisten = [{entry}]\n{ROOMS}")
}

fn path_of(addr: &str) -> &Path {
    Path::new(addr.strip_prefix("unix:").expect("a Unix socket"))
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let config = unix_config(&format!("{{ unix = \"{}\" }}", path.display()));
    let mut killed = Server::start(&config);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket(), "it is left");
    let server = Server::start(&config);
    server.publish("a", 1, 1);
    // The live one stays, and who it is is told.
    let text = refused(&config);
    assert!(text.contains(&format!("broadcastd (pid {}) listens there", server.pid())), "{text}");
    server.publish("a", 2, 1);
}

#[test]
fn a_live_socket_of_another_program_is_never_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let text = refused(&unix_config(&format!("{{ unix = \"{}\" }}", path.display())));
    assert!(text.contains(&format!("(pid {}) listens there", std::process::id())), "{text}");
    UnixStream::connect(&path).unwrap();
    drop(listener);
    let file = folder.path().join("plain");
    std::fs::write(&file, "mine").unwrap();
    let text = refused(&unix_config(&format!("{{ unix = \"{}\" }}", file.display())));
    assert!(text.contains("a file that is no socket is there"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn mode_and_group_are_as_configured_whatever_the_umask() {
    let group = Gid::current();
    let name = nix::unistd::Group::from_gid(group).unwrap().unwrap().name;
    let config = unix_config(&format!(
        "{{ unix = \"a.sock\" }}, {{ unix = \"b.sock\", mode = \"0666\", group = \"{name}\" }}, \
         {{ unix = \"c.sock\", mode = \"0600\" }}, {{ fifo = \"d.fifo\", mode = \"0622\", group = \"{name}\" }}"
    ));
    let (daemon, dir) = Server::command(&config, &[]);
    // The same command behind a shell that takes every right away.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 0777; exec \"$0\" \"$@\""]).arg(daemon.get_program()).args(daemon.get_args());
    in_folder(&mut command, dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    std::fs::create_dir(dir.path().join("broadcastd")).unwrap();
    std::fs::set_permissions(dir.path().join("broadcastd"), PermissionsExt::from_mode(0o700)).unwrap();
    let server = Server::spawn((command, dir));
    for (addr, mode) in server.ingest.iter().zip([0o660, 0o666, 0o600, 0o622]) {
        let metadata = std::fs::metadata(path_of(addr)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{addr}");
        assert_eq!(metadata.gid(), group.as_raw(), "{addr}");
    }
}

#[test]
fn the_group_of_the_producers_may_write_and_others_may_not() {
    if !Uid::effective().is_root() {
        // Only root can be somebody else; the mode itself is checked above.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = folder.path().join("in.sock");
    let entry = format!("{{ unix = \"{}\", mode = \"0660\", group = \"games\" }}", path.display());
    let server = Server::start(&unix_config(&entry));
    let games = nix::unistd::Group::from_name("games").unwrap().unwrap().gid;
    for (gid, accepted) in [(games.as_raw(), true), (65_534, false)] {
        use std::os::unix::process::CommandExt;
        let output = std::process::Command::new("curl")
            .args(["-sS", "--unix-socket"])
            .arg(&path)
            .args(["-d", "{\"type\":\"t\"}", "http://localhost/events"])
            .uid(65_534)
            .gid(gid)
            .output()
            .unwrap();
        assert_eq!(
            output.status.success(),
            accepted,
            "group {gid}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(server.metric("broadcastd_ingest_events_total"), 1.0);
}

#[test]
fn everything_that_cannot_be_bound_is_told_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/in.sock");
    let text = refused(&format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\n\
         [ingest]\nlisten = [{{ unix = \"{}\" }}, {{ unix = \"ok.sock\", group = \"no-such-group\" }}]\n{ROOMS}",
        missing.display()
    ));
    for part in [
        format!("error: server.listen[0]: cannot listen on 127.0.0.1:{port}: the port is taken by "),
        format!("(pid {})", std::process::id()),
        format!("error: ingest.listen[0]: cannot listen on unix:{}: there is no folder", missing.display()),
        "error: ingest.listen[1]:".to_owned(),
        "there is no group no-such-group".to_owned(),
        "hint: ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_folder_that_is_not_ours_is_named_with_its_owner_and_our_groups() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("broadcast.toml");
    let entry = "{ unix = \"/etc/broadcastd-test.sock\" }";
    std::fs::write(
        &config,
        unix_config(entry) + "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n",
    )
    .unwrap();
    for path in [folder.path(), &config] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // Root may write everywhere, and becomes nobody for this. The binary is copied to where nobody may read it.
    let copy = folder.path().join("broadcastd");
    std::fs::copy(binary(), &copy).unwrap();
    let mut command = std::process::Command::new(&copy);
    if Uid::effective().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65_534).gid(65_534);
    }
    let output = command
        .arg("--config")
        .arg(&config)
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["Permission denied", "we are user ", ", groups ", "/etc belongs to root:root with mode 0755"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn over_its_bound_a_producer_is_closed_and_counted() {
    let server = Server::start(&format!("[ingest]\nconnections = 3\n{ROOMS}"));
    let mut open: Vec<Producer> = (0..3).map(|_| Producer::connect(&server.ingest[0])).collect();
    // Within a line they do not give way.
    for producer in &mut open {
        producer.write("{");
    }
    server.until_metric("broadcastd_ingest_bytes_total", |bytes| bytes == 3.0);
    assert_eq!(Producer::connect(&server.ingest[0]).read_to_end(), "", "closed at once");
    server.until_metric("broadcastd_producers_refused_total", |refused| refused == 1.0);
    // One that goes makes room for another.
    drop(open.pop());
    server.until_metric("broadcastd_producers", |producers| producers == 2.0);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("{\"type\":\"t\"}\n");
    assert_eq!(producer.finish().last().unwrap()["accepted"], 1);
    for mut producer in open {
        producer.write("\"type\":\"t\"}\n");
        assert_eq!(producer.finish().last().unwrap()["accepted"], 1, "those that were there go on");
    }
}

#[test]
fn clients_come_over_a_unix_socket_as_well() {
    let server = Server::start(&format!("[server]\nlisten = [\"unix:clients.sock\"]\n{ROOMS}"));
    let mut raw = crate::raw::Raw::client(&server);
    assert_eq!(raw.message()["type"], "welcome");
    let (status, _) = Server::get(&server.clients[0], "/api/v1/health");
    assert_eq!(status, 200);
}
