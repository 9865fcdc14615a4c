//! The examples of the documentation run as they are printed.

use crate::harness::{Server, binary, repository};
use std::os::unix::fs::symlink;
use std::process::Command;

/// The blocks of a document that are for a shell.
fn examples(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository(document)).unwrap();
    text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_the_commands_run() {
    // The rooms are those that are built in.
    let server = Server::start("");
    let folder = server.dir().join("examples");
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    symlink(binary(), folder.join("bin/broadcastd")).unwrap();
    let config = folder.join("broadcast.toml");
    let listen = format!(
        "[server]\nlisten = [{:?}]\n[admin]\nlisten = [{:?}]\n[ingest]\nlisten = [{:?}]\n",
        server.clients[0], server.admin[0], server.ingest[0]
    );
    std::fs::write(&config, listen).unwrap();
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    let examples = examples("docs/commands.md");
    assert!(examples.len() >= 12, "{} examples were found", examples.len());
    for example in &examples {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", example]).current_dir(&folder);
        command.env("PATH", &path).env("BROADCASTD_CONFIG", &config).env("XDG_RUNTIME_DIR", server.dir());
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{example}\n{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("recording.ndjson").lines().count(), 20);
    assert!(read("bench.json").contains("\"lost\":0"), "{}", read("bench.json"));
    assert!(read("status.json").contains("\"status\":\"healthy\""));
    assert!(folder.join("man1/broadcastd-tail.1").exists());
}
