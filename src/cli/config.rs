//! `broadcastd config`: the effective value of every key, and where it comes from.

use super::args::ConfigArgs;
use super::out;
use super::serve::{origin, refused};
use crate::config::Loaded;
use crate::error::Exit;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Words in a key's last part whose value is not shown.
const SECRET: [&str; 3] = ["token", "secret", "password"];

/// Prints every key as TOML, with its origin behind it.
pub fn run(args: &ConfigArgs) -> Exit {
    match origin(&args.settings).load() {
        Ok(loaded) if args.json => out::json(&json(&loaded), Exit::Ok),
        Ok(loaded) => out::print(&render(&loaded), Exit::Ok),
        Err(problems) if args.json => {
            out::json(&json!({ "ok": false, "problems": problems.json(), "keys": {} }), Exit::Config)
        }
        Err(problems) => refused(&problems),
    }
}

/// Every key with its value and its origin, for programs.
fn json(loaded: &Loaded) -> Value {
    let lines = loaded.config.effective().into_iter();
    let keys: Map<String, Value> = lines
        .map(|(key, value)| {
            let value = as_json(mask(&key, &value));
            let shown = json!({ "value": value, "origin": origin_of(loaded, &key) });
            (key, shown)
        })
        .collect();
    json!({ "ok": true, "problems": [], "keys": keys })
}

/// A TOML value as JSON.
fn as_json(value: &str) -> Value {
    let document: Result<Map<String, Value>, _> = toml::from_str(&format!("value = {value}"));
    document.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| value.into())
}

fn render(loaded: &Loaded) -> String {
    let lines = loaded.config.effective();
    let shown: Vec<(String, &str)> =
        lines.iter().map(|(key, value)| (format!("{key} = {}", mask(key, value)), &**key)).collect();
    // Long values do not push every origin to the right.
    let width =
        shown.iter().map(|(text, _)| text.chars().count()).filter(|len| *len <= 72).max().unwrap_or(0);
    let mut out = String::new();
    for (text, key) in shown {
        let _ = writeln!(out, "{text:width$}  # {}", origin_of(loaded, key));
    }
    out
}

/// A key's own origin, else that of a key within it or around it.
fn origin_of<'a>(loaded: &'a Loaded, key: &str) -> &'a str {
    if let Some(origin) = loaded.origins.get(key) {
        return origin;
    }
    let room_default = key.starts_with("rooms.").then(|| key.rsplit('.').next()).flatten();
    let inherited = room_default.and_then(|key| loaded.origins.get(&format!("room_defaults.{key}")));
    inherited.map_or("built-in", String::as_str)
}

fn mask<'a>(key: &str, value: &'a str) -> &'a str {
    let last = key.rsplit('.').next().unwrap_or(key);
    if SECRET.iter().any(|word| last.contains(word)) { "\"***\"" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        assert_eq!(mask("auth.token", "\"abc\""), "\"***\"");
        assert_eq!(mask("limits.rooms", "5"), "5");
    }

    #[test]
    fn values_are_json_of_the_same_kind() {
        for (toml, json) in [
            ("5", json!(5)),
            ("\"1s\"", json!("1s")),
            ("[\"a\"]", json!(["a"])),
            ("{ room = \"x\" }", json!({ "room": "x" })),
            ("true", json!(true)),
        ] {
            assert_eq!(as_json(toml), json);
        }
    }
}
