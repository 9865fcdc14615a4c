//! `broadcastd config`: the effective value of every key, and where it comes from.

use super::args::ConfigArgs;
use super::out;
use super::serve::load;
use crate::config::Loaded;
use crate::error::Exit;
use std::fmt::Write;

/// Words in a key's last part whose value is not shown.
const SECRET: [&str; 3] = ["token", "secret", "password"];

/// Prints every key as TOML, with its origin behind it.
pub fn run(args: &ConfigArgs) -> Exit {
    match load(args.config.clone(), &args.set) {
        Ok(loaded) => out::print(&render(&loaded), Exit::Ok),
        Err(exit) => exit,
    }
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
        let _ = writeln!(out, "{text:width$}  # {}", origin(loaded, key));
    }
    out
}

/// A key's own origin, else that of a key within it or around it.
fn origin<'a>(loaded: &'a Loaded, key: &str) -> &'a str {
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
}
