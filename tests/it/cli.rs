//! The command line: what each command prints, and how it exits.

use crate::harness::{ROOMS, Server, binary};
use broadcastd::cli::args::Cli;
use clap::CommandFactory;
use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .current_dir(dir)
        .env("XDG_RUNTIME_DIR", dir)
        .env("XDG_STATE_HOME", dir)
        .env_remove("BROADCASTD_CONFIG");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs in an empty folder; the exit code, standard output, standard error.
fn outcome(arguments: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), arguments);
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn help_and_version_are_asked_for() {
    for arguments in [["--help"], ["--version"], ["help"]] {
        let (code, out, err) = outcome(&arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        assert!(out.contains("broadcastd"), "{out}");
    }
    let (_, version, _) = outcome(&["--version"]);
    assert_eq!(version.trim(), format!("broadcastd {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    assert!(commands.len() >= 13, "{commands:?}");
    for command in commands {
        let (code, out, err) = outcome(&[command, "--help"]);
        assert_eq!((code, &*err), (0, ""));
        assert!(out.contains("Usage:") && out.contains("Example"), "{out}");
        assert!(out.contains(&format!("broadcastd {command}")), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 140), "{out}");
    }
}

/// Lines of a help text that could have held the first word of the next, which therefore is wrapped twice.
fn wrapped_twice(text: &str, width: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.chars().take_while(|c| *c == ' ').count();
    let is_list =
        |line: &str| (1..10).contains(&indent(line)) || line.ends_with(':') || line.trim().is_empty();
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        let (line, next) = (pair[0], pair[1]);
        let is_item = next.trim_start().starts_with("- ");
        let follows = !is_list(line) && !is_list(next) && !is_item && indent(next) <= 40;
        // Arguments stand in two columns, the words of the second below each other.
        let same = indent(line) == indent(next) || indent(next) > 10 && line.starts_with("  ");
        let word = next.split_whitespace().next().map_or(0, |word| word.chars().count());
        if follows && same && line.chars().count() + 1 + word <= width {
            found.push(format!("{line}\n{next}"));
        }
    }
    found
}

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = Cli::command();
    let names = commands.get_subcommands().map(|command| vec![command.get_name()]);
    let dir = tempfile::tempdir().unwrap();
    for name in names.chain([vec![]]) {
        for width in [80, 100] {
            let mut command = Command::new(binary());
            command.args(&name).arg("--help").current_dir(dir.path()).env("COLUMNS", width.to_string());
            let help = text(&command.output().unwrap().stdout);
            let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > width).collect();
            assert!(long.is_empty(), "{name:?} at {width}: {long:?}");
            let twice = wrapped_twice(&help, width);
            assert!(twice.is_empty(), "{name:?} at {width}:\n{}\n\n{help}", twice.join("\n\n"));
        }
    }
}

#[test]
fn every_command_is_listed_and_shows_what_it_takes() {
    let (_, help, _) = outcome(&["--help"]);
    for command in Cli::command().get_subcommands() {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command.get_name())), "{help}");
    }
    assert!(help.contains("  man "), "{help}");
    let (_, tail, _) = outcome(&["tail", "--help"]);
    assert!(tail.contains("2026-11-25T10:00:00Z") && tail.contains("RFC 3339"), "{tail}");
}

#[test]
fn every_command_takes_its_configuration_in_the_same_ways() {
    let dir = tempfile::tempdir().unwrap();
    let port = "admin.listen=[\"127.0.0.1:1\"]";
    std::fs::write(dir.path().join("a.toml"), "[admin]\nlisten = []\n[server]\nlisten = []\n").unwrap();
    std::fs::write(dir.path().join("b.toml"), "[limits]\nclients = 0\n").unwrap();
    for command in ["check", "config", "doctor", "reload", "status", "serve"] {
        // A file is read where it is named with an option or without, before the command or after it.
        for (arguments, code) in [
            (vec![command, "-c", "b.toml"], 78),
            (vec![command, "b.toml"], 78),
            (vec!["--config", "b.toml", command], 78),
            (vec![command, "-c", "./b.toml", "b.toml"], 78),
            (vec![command, "-c", "a.toml", "b.toml"], 64),
            (vec!["-c", "a.toml", command, "-c", "b.toml"], 64),
            (vec![command, "--defaults", "a.toml"], 64),
            (vec!["--set", "limits.clients=0", command, "a.toml"], 78),
            (vec![command, "--set", "limits.clients=0", "a.toml"], 78),
        ] {
            let output = run(dir.path(), &arguments);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        }
    }
    for command in ["status", "reload"] {
        let output = run(dir.path(), &["--set", port, command, "a.toml"]);
        assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("127.0.0.1:1"), "{}", text(&output.stderr));
    }
}

/// Runs a command, and reads the one JSON object that it prints.
fn printed(dir: &Path, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = run(dir, arguments);
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    let json = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        json.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", text(&output.stdout))),
    )
}

#[test]
fn commands_print_one_json_object() {
    let dir = tempfile::tempdir().unwrap();
    let file = "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:1\"]\n[ingest]\nlisten = [\"127.0.0.1:0\"]\n\
                [rooms.a]\ntypes = [\"x\"]\nwhere = 'n > 1'\n[[test]]\nline = '{\"type\":\"x\",\"n\":2}'\nrooms = [\"a\"]\n";
    std::fs::write(dir.path().join("broadcast.toml"), file).unwrap();
    let (code, check) = printed(dir.path(), &["check", "--json"]);
    assert_eq!(
        (code, &check["ok"], &check["tests"]["passed"]),
        (Some(0), &true.into(), &1.into()),
        "{check}"
    );
    assert_eq!(check["listen"]["operators"], serde_json::json!(["127.0.0.1:1"]), "{check}");
    assert_eq!(check["rooms"], serde_json::json!([{ "name": "a", "types": ["x"], "where": "n > 1" }]));
    let (code, config) = printed(dir.path(), &["config", "--json", "--set", "limits.clients=7"]);
    let limit = &config["keys"]["limits.clients"];
    assert_eq!((code, &limit["value"]), (Some(0), &7.into()), "{config}");
    assert_eq!(limit["origin"], "--set limits.clients=7");
    let (_, doctor) = printed(dir.path(), &["doctor", "--json"]);
    let looks = doctor["looks"].as_array().unwrap();
    assert!(looks.iter().any(|look| look["what"] == "daemon" && look["verdict"] == "ok"), "{doctor}");
    std::fs::write(dir.path().join("broadcast.toml"), file.replace("[\"a\"]", "[\"b\"]")).unwrap();
    let (code, failed) = printed(dir.path(), &["check", "--json"]);
    let problem = &failed["problems"][0];
    assert_eq!((code, &failed["ok"], &failed["tests"]["failed"]), (Some(78), &false.into(), &1.into()));
    assert_eq!((&problem["code"], &problem["line"]), (&"failed_test".into(), &10.into()), "{problem}");
    assert!(problem["detail"].as_str().unwrap().ends_with("\n+ a\n- b"), "{problem}");
    std::fs::write(dir.path().join("broadcast.toml"), "[server]\nheartbeet = 1\nlisten = [\n[admin]\n")
        .unwrap();
    for command in ["check", "config", "doctor"] {
        let (code, refused) = printed(dir.path(), &[command, "--json"]);
        let problem = &refused["problems"][0];
        assert_eq!((code, &refused["ok"]), (Some(78), &false.into()), "{command}");
        assert_eq!(
            (&problem["code"], &problem["line"], &problem["column"]),
            (&"syntax".into(), &3.into(), &11.into())
        );
    }
}

#[test]
fn man_pages_are_pages() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    let output = run(dir.path(), &["man", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 13 && names.contains(&"broadcastd-tail.1".to_owned()), "{names:?}");
    assert!(names.contains(&"broadcastd-man.1".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
    for name in &names {
        let page = std::fs::read_to_string(folder.join(name)).unwrap();
        for part in [".TH", ".SH NAME", ".SH SYNOPSIS"] {
            assert!(page.contains(part), "{name} has no {part}");
        }
        assert!(page.contains(name.trim_end_matches(".1").replace('-', "\\-").as_str()), "{name}: {page}");
    }
    let tail = std::fs::read_to_string(folder.join("broadcastd-tail.1")).unwrap();
    assert!(tail.contains("ended as asked"), "{tail}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert_eq!(run(dir.path(), &["man", "file"]).status.code(), Some(1));
}

#[test]
fn a_reader_who_goes_ends_every_command_quietly() {
    for command in ["config", "check", "init -", "completions bash", "doctor", "--help"] {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut process = Command::new(binary());
        process.args(command.split(' ')).current_dir(dir.path()).env("XDG_RUNTIME_DIR", dir.path());
        let output = process.stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""), "{command}");
    }
}

#[test]
fn wrong_usage_exits_64() {
    for (arguments, says) in [
        (&["serv"][..], "serve"),
        (&["--cnofig", "x"], "--config"),
        (&["init", "--for", "everything"], "minimal"),
        (&["completions"], "SHELL"),
        (&["tail"], "ROOM"),
        (&["check", "a", "b"], "unexpected"),
        (&["check", "-c", "a", "b"], "a and b"),
        (&["--stdin", "check"], "argument of serve"),
        (&["--set", "limits.rooms=1", "completions", "bash"], "read no configuration"),
        (&["bench"], "--config"),
    ] {
        let (code, out, err) = outcome(arguments);
        assert_eq!((code, out.as_str()), (64, ""), "{arguments:?}: {err}");
        assert!(err.to_lowercase().contains(&says.to_lowercase()), "{arguments:?}: {err}");
    }
}

#[test]
fn a_wrong_configuration_exits_78_before_anything_is_bound() {
    let (code, out, err) =
        outcome(&["--set", "server.heartbeet=\"10s\"", "--set", "limits.clients=\"many\""]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("heartbeat") && err.contains("limits.clients"), "both at once: {err}");
    let (code, _, err) = outcome(&["--config", "absent.toml"]);
    assert_eq!(code, 78);
    assert!(err.contains("absent.toml"), "{err}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broken.toml"), "[rooms\n").unwrap();
    for arguments in [&["check", "broken.toml"][..], &["config", "-c", "broken.toml"], &["-c", "broken.toml"]]
    {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(text(&output.stderr).contains("broken.toml:1"), "{}", text(&output.stderr));
    }
}

#[test]
fn check_says_what_a_file_means_and_runs_its_tests() {
    let dir = tempfile::tempdir().unwrap();
    let file = |rooms: &str| {
        format!("{ROOMS}[[test]]\nline = '{{\"type\":\"t\",\"agentId\":\"7\"}}'\nrooms = {rooms}\n")
    };
    std::fs::write(dir.path().join("broadcast.toml"), file("[\"all\", \"agent:7\"]")).unwrap();
    let good = run(dir.path(), &["check"]);
    let out = text(&good.stdout);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(out.contains("agent:{agentId}") && out.contains("1 test"), "{out}");
    std::fs::write(dir.path().join("broadcast.toml"), file("[\"all\"]")).unwrap();
    let bad = run(dir.path(), &["check"]);
    assert_eq!(bad.status.code(), Some(78));
    assert!(text(&bad.stderr).contains("agent:7"), "{}", text(&bad.stderr));
}

#[test]
fn config_shows_where_each_value_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broadcast.toml"), "[server]\nheartbeat = \"9s\"\n").unwrap();
    let output = run(dir.path(), &["config", "--set", "limits.clients=7"]);
    let out = text(&output.stdout);
    let line =
        |key: &str| out.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {out}"));
    assert!(line("server.heartbeat").contains("9s") && line("server.heartbeat").contains("broadcast.toml"));
    assert!(line("limits.clients ").contains('7') && line("limits.clients ").contains("--set"));
    assert!(line("server.drain_timeout").contains("10s"));
}

#[test]
fn init_writes_files_that_pass_check_and_overwrites_none() {
    for purpose in ["minimal", "agents", "metrics", "ag-ui"] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(run(dir.path(), &["init", "--for", purpose]).status.code(), Some(0));
        let again = run(dir.path(), &["init", "--for", purpose]);
        assert_ne!(again.status.code(), Some(0));
        assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
        let check = run(dir.path(), &["check"]);
        assert_eq!(check.status.code(), Some(0), "{purpose}: {}", text(&check.stderr));
        let printed = run(dir.path(), &["init", "--for", purpose, "-"]);
        let written = std::fs::read(dir.path().join("broadcast.toml")).unwrap();
        assert_eq!(printed.stdout, written);
    }
}

#[test]
fn completions_are_scripts_that_their_shell_accepts() {
    let (code, script, _) = outcome(&["completions", "bash"]);
    assert_eq!(code, 0);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("it.bash"), script).unwrap();
    let checked = Command::new("bash").arg("-n").arg(dir.path().join("it.bash")).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(outcome(&["completions", shell]).1.contains("broadcastd"), "{shell}");
    }
}

#[test]
fn what_cannot_be_bound_is_told_together_with_who_is_there() {
    let server = Server::start(ROOMS);
    let taken = [
        format!("server.listen=[\"{}\"]", server.clients[0]),
        format!("ingest.listen=[\"{}\"]", server.ingest[0]),
    ];
    let arguments =
        ["--set", &taken[0], "--set", &taken[1], "--set", "admin.listen=[\"unix:/proc/nothing/admin.sock\"]"];
    let (code, out, err) = outcome(&arguments);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    for (key, addr) in [("server.listen[0]", &server.clients[0]), ("ingest.listen[0]", &server.ingest[0])] {
        let line = err.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("{key}: {err}"));
        assert!(line.contains(addr.as_str()), "{line}");
        assert!(line.contains(&format!("(pid {})", server.pid())), "{line}");
    }
    assert!(err.contains("admin.listen[0]") && err.contains("/proc/nothing"), "{err}");
}

#[test]
fn the_first_line_to_copy_works() {
    let server = Server::start("[rooms.agent_states]\ntypes = [\"agent_state\"]\n");
    let line = server.logged("send one with");
    let command = line.split("send one with").nth(1).unwrap().trim();
    let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["accepted"], 1, "{answer}");
}

#[test]
fn a_file_of_sixteen_thousand_rooms_or_tests_is_read_in_linear_time() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rooms, mut tests) = (String::new(), "[rooms.a]\ntypes = [\"*\"]\n".to_owned());
    for number in 0..16_000 {
        rooms += &format!("[rooms.room_{number}]\ntypes = [\"type_{number}\"]\n");
        tests += &format!("[[test]]\nline = '{{\"type\":\"t\",\"n\":{number}}}'\nrooms = [\"a\"]\n");
    }
    let wrong = rooms.replace("types", "typos");
    for (name, text, code) in [("rooms", rooms, 0), ("tests", tests, 0), ("wrong", wrong, 78)] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        // Seconds of a processor, not of a clock. A look through the file for each of its keys takes ten times as many.
        let mut command = Command::new("prlimit");
        command.args(["--cpu=20", binary(), "check"]).arg(&file);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
        assert!(ended.stderr.len() < 100_000, "the report is bounded: {}", ended.stderr.len());
    }
}
