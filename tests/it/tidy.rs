//! The house rules that a machine can hold: floors, lengths, words.

use crate::harness::repository;
use std::path::{Path, PathBuf};

/// Modules by floor: each imports only from floors below, from its own folder, or from what is named beside it.
const FLOORS: [(&str, u8, &[&str]); 33] = [
    ("error", 0, &[]),
    ("escape", 0, &[]),
    ("memory", 0, &[]),
    ("shutdown", 0, &[]),
    ("query", 0, &[]),
    ("systemd", 0, &[]),
    ("time", 0, &[]),
    ("pattern", 0, &[]),
    ("config", 0, &["pattern"]),
    ("event", 1, &[]),
    ("route", 1, &["event"]),
    ("wire", 1, &[]),
    ("socketio", 1, &[]),
    ("metrics", 1, &["log", "route", "wire"]),
    ("descriptors", 1, &[]),
    ("limits", 1, &["metrics"]),
    ("listen", 1, &["metrics"]),
    ("request_policy", 1, &[]),
    ("reload", 1, &["listen"]),
    ("rejected", 1, &["route"]),
    ("watch", 1, &[]),
    ("log", 1, &[]),
    ("liveness", 0, &[]),
    ("alert", 1, &[]),
    ("addresses", 1, &[]),
    ("sources", 5, &[]),
    ("view", 2, &[]),
    ("room", 3, &[]),
    ("shard", 4, &[]),
    ("handshake", 5, &["http"]),
    ("http", 5, &["sources"]),
    ("ingest", 5, &[]),
    ("daemon", 6, &[]),
];
const CLI_FLOOR: u8 = 7;
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 75;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A file's text before its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    if name.ends_with("_tests") {
        return true;
    }
    ["tests", "simulation", "gathered", "fixture", "properties"].contains(&name)
        || path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "simulation")
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(repository("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn floor(module: &str) -> u8 {
    FLOORS.iter().find(|(name, _, _)| *name == module).map_or(CLI_FLOOR, |(_, floor, _)| *floor)
}

#[test]
fn modules_import_from_below() {
    let mut seen = 0;
    for path in sources(&repository("src")) {
        let module = module_of(&path);
        if is_test_file(&path) || ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let beside =
            FLOORS.iter().find(|(name, _, _)| *name == module).map_or(&[][..], |(_, _, beside)| beside);
        for (_, rest) in without_tests(&text).match_indices("crate::").map(|(at, _)| text.split_at(at + 7)) {
            let other: String =
                rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            if other == module || other.is_empty() || beside.contains(&other.as_str()) {
                continue;
            }
            seen += 1;
            assert!(
                floor(&other) < floor(&module),
                "{} imports {other}, which is not below {module}",
                path.display()
            );
        }
    }
    assert!(seen > 100, "{seen} imports were found");
}

#[test]
fn files_and_functions_fit() {
    let mut functions = 0;
    for path in sources(&repository("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let own = without_tests(&text);
        assert!(own.lines().count() <= FILE_LINES, "{} has {} lines", path.display(), own.lines().count());
        let mut start = None;
        for (number, line) in own.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function = line.trim_start().split('(').next().is_some_and(|head| {
                head.split_whitespace().any(|word| word == "fn") && !line.trim_start().starts_with("//")
            });
            if is_function && start.is_none() {
                start = Some((number, indent, line.trim().to_owned()));
            }
            if let Some((from, depth, name)) = &start
                && indent == *depth
                && line.trim() == "}"
            {
                assert!(
                    number - from < FUNCTION_LINES,
                    "{}: {name} has {} lines",
                    path.display(),
                    number - from
                );
                functions += 1;
                start = None;
            }
        }
    }
    assert!(functions > 400, "{functions} functions were found");
}

#[test]
fn nothing_is_left_for_later() {
    let words =
        ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "unimplemented!".to_owned(), "todo!".to_owned()];
    for folder in ["src", "tests/it", "examples", "benches"] {
        for path in sources(&repository(folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in &words {
                assert!(
                    path.ends_with("tidy.rs") || !text.contains(word.as_str()),
                    "{}: {word}",
                    path.display()
                );
            }
            if folder == "src" && !is_test_file(&path) {
                assert!(!without_tests(&text).contains(".unwrap()"), "{}: say why it holds", path.display());
            }
        }
    }
}
