//! What is shipped is right: the reference equals what is built in, every configuration loads and passes its own tests,
//! the documentation names every key, metric and code.

use crate::harness::{binary, repository};
use broadcastd::cli::args::InitFor;
use broadcastd::config::{Code, Config, Dirs, Input, Loaded};
use broadcastd::metrics::Metrics;
use broadcastd::route::{RejectionCode, run_tests};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn load(path: &Path, text: String) -> Loaded {
    let dirs = Dirs { runtime: PathBuf::from("/run/broadcastd"), state: PathBuf::new() };
    let input = Input { file: None, defaults: false, set: Vec::new(), environment: &|_| None, dirs };
    input.load_text(Some(path.to_owned()), text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

#[test]
fn the_reference_is_what_is_built_in() {
    let loaded = load(Path::new("broadcast.toml"), read("broadcast.toml"));
    let mut config = loaded.config;
    assert_eq!(config.tests.len(), 3);
    config.tests.clear();
    assert_eq!(config, Config::built_in(Path::new("/run/broadcastd")));
}

#[test]
fn every_key_is_in_the_reference_and_documented() {
    let (reference, documentation) = (read("broadcast.toml"), read("docs/configuration.md"));
    let mut keys: Vec<String> = Config::default().effective().into_iter().map(|(key, _)| key).collect();
    keys.extend(
        [
            "server.auth",
            "limits.clients_per_ip",
            "limits.client.deliveries",
            "rooms.x.subscribers",
            "rooms.x.where",
            "types.x.required",
            "test.line",
        ]
        .map(str::to_owned),
    );
    assert!(keys.len() > 40);
    for key in keys {
        let last = key.rsplit('.').next().unwrap();
        assert!(reference.contains(last), "broadcast.toml does not have {key}");
        assert!(documentation.contains(&format!("`{last}`")), "docs/configuration.md does not have {key}");
    }
}

/// The keys of a section as the daemon itself names them, to somebody who wrote another.
fn known_keys(before: &str, after: &str) -> Vec<String> {
    let dirs = Dirs { runtime: PathBuf::from("/run/broadcastd"), state: PathBuf::new() };
    let input = Input { file: None, defaults: false, set: Vec::new(), environment: &|_| None, dirs };
    let text = format!("{before}nobody_knows_this = 1{after}\n");
    let problems = input.load_text(Some(PathBuf::from("x.toml")), text).expect_err(before).to_string();
    let (_, list) = problems.split_once(" has ").unwrap_or_else(|| panic!("{before}: {problems}"));
    let list = list.lines().next().unwrap().replace(" and ", ", ");
    list.split(", ").map(|key| key.trim().to_owned()).collect()
}

#[test]
fn every_key_that_the_daemon_knows_is_documented() {
    let documentation = read("docs/configuration.md");
    let mut seen = 0;
    for (before, after) in [
        ("[server]\n", ""),
        ("[admin]\n", ""),
        ("[ingest]\n", ""),
        ("[ingest]\nlisten = [{ tcp = \"127.0.0.1:1\", ", " }]"),
        ("[log]\n", ""),
        ("[sources.alerts]\n", ""),
        ("[sources.system]\n", ""),
        ("[sources.system]\nprocesses = [{ name = \"a\", ", " }]"),
        ("[socketio]\n", ""),
        ("[limits]\n", ""),
        ("[limits.client]\n", ""),
        ("[limits.client]\nmessages = { rate = \"1/s\", ", " }"),
        ("[room_defaults]\n", ""),
        ("[room_defaults]\nhistory = { ", " }"),
        ("[rooms.a]\ntypes = [\"*\"]\n", ""),
        ("[rooms.a]\ntypes = [\"*\"]\nbuffer = { flush_interval = \"1s\", ", " }"),
        ("[rooms.a]\ntypes = [\"*\"]\nkey = \"k\"\nsnapshot = { ", " }"),
        ("[types.a]\n", ""),
        ("[[test]]\nline = '{\"type\":\"x\"}'\nrooms = []\n", ""),
    ] {
        for key in known_keys(before, after) {
            // In its section's table, in a table of keys, or as a section of its own.
            let forms = [format!("`{key}`"), format!("{key} = "), format!(".{key}]")];
            let is_there = forms.iter().any(|form| documentation.contains(form));
            assert!(is_there, "docs/configuration.md does not have {key} of {before}");
            seen += 1;
        }
    }
    assert!(seen > 70, "{seen} keys were found");
}

#[test]
fn every_configuration_loads_and_passes_its_tests() {
    let mut checked = 0;
    let mut folders = vec![repository("."), repository("systemd"), repository("examples")];
    folders.extend(std::fs::read_dir(repository("examples")).unwrap().map(|entry| entry.unwrap().path()));
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let path = folder.join("broadcast.toml");
        if path.exists() {
            let loaded = load(&path, std::fs::read_to_string(&path).unwrap());
            run_tests(&loaded).unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
            assert!(!loaded.config.tests.is_empty(), "{} has no [[test]]", path.display());
            checked += 1;
        }
    }
    for purpose in [InitFor::Minimal, InitFor::Agents, InitFor::Metrics, InitFor::AgUi] {
        let loaded = load(Path::new("init"), purpose.text().to_owned());
        run_tests(&loaded).unwrap_or_else(|problems| panic!("{purpose:?}: {problems}"));
        assert!(!loaded.config.tests.is_empty());
        checked += 1;
    }
    assert!(checked >= 5, "{checked} configurations were found");
}

#[test]
fn one_commented_line_refuses_what_no_room_takes() {
    let mut texts = vec![read("broadcast.toml"), read("systemd/broadcast.toml")];
    texts.extend([InitFor::Agents, InitFor::Metrics, InitFor::AgUi].map(|purpose| purpose.text().to_owned()));
    for text in texts {
        let strict: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|line| line.starts_with("unrouted")).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(strict.len() + 2, text.len(), "one line is another");
        let failed = run_tests(&load(Path::new("broadcast.toml"), strict)).unwrap_err();
        let report = failed.to_string();
        assert_eq!(failed.list.len(), 1, "{report}");
        assert!(report.contains(r#"{"type":"hello"}"#) && report.contains("no room takes"), "{report}");
    }
}

#[test]
fn failed_test_is_one_problem_with_its_place_and_a_diff() {
    let text = "[rooms.a]\ntypes = [\"x\"]\n[rooms.c]\ntypes = [\"*\"]\n\
                [[test]]\nline = '{\"type\":\"x\"}'\nrooms = [\"b\", \"c\"]\n[[test]]\nline = '{\"type\":7}'\nrooms = [\"a\"]\n";
    let loaded = load(Path::new("broadcast.toml"), text.to_owned());
    insta::assert_snapshot!("failed_tests", run_tests(&loaded).unwrap_err().to_string());
}

#[test]
fn what_init_writes_is_checked_by_check() {
    let dir = tempfile::tempdir().unwrap();
    let run =
        |arguments: &[&str]| Command::new(binary()).args(arguments).current_dir(dir.path()).output().unwrap();
    assert!(run(&["init", "--for", "agents"]).status.success());
    let again = run(&["init"]);
    assert_eq!(again.status.code(), Some(1), "a file is not overwritten");
    let checked = run(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(text.contains("agent:{agentId}"), "{text}");
    let events = text.lines().find(|line| line.starts_with("  events ")).expect("check shows the room");
    assert!(events.contains("takes what no other room takes"), "{events}");
    let config = run(&["config", "--set", "limits.clients=5"]);
    let text = String::from_utf8(config.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("limits.clients =")).unwrap();
    assert!(line.contains('5') && line.contains("# --set limits.clients=5"), "{line}");
}

#[test]
fn every_metric_and_code_is_documented() {
    let metrics = read("docs/metrics.md");
    let rendered = Metrics::new().render();
    let names: Vec<&str> =
        rendered.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        assert!(metrics.contains(&format!("`{name}`")), "docs/metrics.md does not have {name}");
    }
    let producers = read("docs/producers.md");
    for code in RejectionCode::ALL {
        assert!(
            producers.contains(&format!("`{}`", code.as_str())),
            "docs/producers.md does not have {code:?}"
        );
    }
}

#[test]
fn every_code_of_a_problem_is_documented() {
    let documentation = read("docs/configuration.md");
    for code in Code::ALL {
        let row = format!("| `{}` |", code.as_str());
        assert!(documentation.contains(&row), "docs/configuration.md does not have {}", code.as_str());
    }
}

#[test]
fn packaged_configuration_names_what_differs_from_the_built_in_one() {
    let effective = |path: &str| load(Path::new(path), read(path)).config.effective();
    let (packaged, built_in) = (effective("systemd/broadcast.toml"), effective("broadcast.toml"));
    let text = read("systemd/broadcast.toml");
    let header = text.split("\n\n").next().unwrap();
    let mut differing: Vec<String> = packaged
        .iter()
        .filter(|line| !built_in.contains(line))
        .chain(built_in.iter().filter(|line| !packaged.contains(line)))
        .map(|(key, _)| {
            key.splitn(3, '.')
                .take(if key.starts_with("rooms.") { 1 } else { 2 })
                .collect::<Vec<_>>()
                .join(".")
        })
        .collect();
    differing.sort();
    differing.dedup();
    assert!(!differing.is_empty());
    for key in differing {
        assert!(header.contains(&format!("`{key}`")), "{key} differs: {header}");
    }
}

/// Files of the package's documentation, by their path in it, as debian/broadcastd.install lays them out.
fn packaged_documents() -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    for line in read("debian/broadcastd.install").lines() {
        let mut words = line.split_whitespace();
        let (source, target) = (words.next().unwrap(), words.next().unwrap());
        let Some(target) = target.strip_prefix("usr/share/doc/broadcastd") else { continue };
        let source = repository(source);
        let target = Path::new(target.trim_start_matches('/')).join(source.file_name().unwrap());
        let mut left = vec![(source, target)];
        while let Some((source, target)) = left.pop() {
            if source.is_dir() {
                let entries = std::fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().file_name());
                left.extend(
                    entries
                        .filter(|name| name != "node_modules")
                        .map(|name| (source.join(&name), target.join(&name))),
                );
            } else {
                found.insert(target, source);
            }
        }
    }
    found
}

#[test]
fn links_of_the_packaged_documents_lead_somewhere() {
    let documents = packaged_documents();
    for path in [
        "docs/protocol.md",
        "examples/broadcastd.py",
        "client/client.js",
        "client/producer.js",
        "broadcast.toml",
    ] {
        assert!(documents.contains_key(Path::new(path)), "{path} is not in the package");
    }
    let mut seen = 0;
    for (path, source) in documents.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "md")) {
        let text = std::fs::read_to_string(source).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let images = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for link in links.chain(images).filter(|link| !link.contains(':') && !link.starts_with('#')) {
            let mut target = path.parent().unwrap().to_owned();
            for part in link.split('#').next().unwrap().split('/').filter(|part| *part != ".") {
                if part == ".." {
                    assert!(target.pop(), "{}: {link}", path.display());
                } else {
                    target.push(part);
                }
            }
            let is_there = documents.keys().any(|document| document.starts_with(&target));
            assert!(is_there, "{}: {link} is not in the package", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} links were found");
}

#[test]
fn the_package_has_the_programs_version() {
    let changelog = read("debian/changelog");
    let version = changelog.split(['(', ')']).nth(1).unwrap();
    assert_eq!(version.rsplit_once('-').unwrap().0, env!("CARGO_PKG_VERSION"), "{version}");
}
