//! What is different between two configurations, key by key.

use crate::config::Config;
use std::collections::{BTreeMap, HashSet};

/// Changes that a summary shows; more are counted.
const SHOWN: usize = 8;

/// The differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Rooms and templates that are new.
    pub rooms_added: Vec<String>,
    /// Rooms and templates that are gone.
    pub rooms_removed: Vec<String>,
    /// Keys whose values differ, those of rooms that are new or gone left out.
    pub changes: Vec<Change>,
}

/// A key whose value differs, as TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it was; none when it was not there.
    pub old: Option<String>,
    /// What it is; none when it is not there.
    pub new: Option<String>,
}

impl Diff {
    /// Compares.
    pub fn between(old: &Config, new: &Config) -> Diff {
        let (old_rooms, new_rooms) = (room_names(old), room_names(new));
        let without = |config: &Config, other: &HashSet<&str>| -> Vec<String> {
            let names = config.rooms.iter().map(|room| room.name.source());
            names.filter(|name| !other.contains(name)).map(str::to_owned).collect()
        };
        let (old_keys, new_keys) = (keys(old, &new_rooms), keys(new, &old_rooms));
        let mut all: Vec<&String> = old_keys.keys().chain(new_keys.keys()).collect();
        all.sort_unstable();
        all.dedup();
        let changes = all
            .into_iter()
            .map(|key| Change {
                key: key.clone(),
                old: old_keys.get(key).cloned(),
                new: new_keys.get(key).cloned(),
            })
            .filter(|change| change.old != change.new)
            .collect();
        let (rooms_added, rooms_removed) = (without(new, &old_rooms), without(old, &new_rooms));
        Diff { rooms_added, rooms_removed, changes }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }

    /// The differences in one line: `rooms +2 −1 · rooms.agent_states.history.events 1000→5000`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let (added, removed) = (self.rooms_added.len(), self.rooms_removed.len());
        match (added, removed) {
            (0, 0) => {}
            (added, 0) => parts.push(format!("rooms +{added}")),
            (0, removed) => parts.push(format!("rooms −{removed}")),
            (added, removed) => parts.push(format!("rooms +{added} −{removed}")),
        }
        parts.extend(self.changes.iter().take(SHOWN).map(Change::summary));
        if self.changes.len() > SHOWN {
            parts.push(format!("{} more", self.changes.len() - SHOWN));
        }
        parts.join(" · ")
    }
}

impl Change {
    /// The change for people: old and new value, and of a list only the elements that came, went or changed.
    fn summary(&self) -> String {
        if let (Some(old), Some(new)) = (list(self.old.as_ref()), list(self.new.as_ref())) {
            return format!("{} {}", self.key, elements(old, new));
        }
        let value = |value: &Option<String>| {
            value.as_ref().map_or_else(|| "absent".to_owned(), |value| value.trim_matches('"').to_owned())
        };
        format!("{} {}→{}", self.key, value(&self.old), value(&self.new))
    }
}

/// The elements of a value that is a list.
fn list(value: Option<&String>) -> Option<Vec<toml::Value>> {
    let table = format!("v = {}", value?).parse::<toml::Table>().ok()?;
    table.get("v")?.as_array().cloned()
}

/// What is different between two lists: `+tcp:127.0.0.1:1`, `−unix:in.sock`, or `unix:in.sock (ack, mode)`.
fn elements(old: Vec<toml::Value>, mut new: Vec<toml::Value>) -> String {
    let take = |list: &mut Vec<toml::Value>, is_it: &dyn Fn(&toml::Value) -> bool| {
        list.iter().position(is_it).map(|index| list.remove(index))
    };
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    let others: Vec<toml::Value> =
        old.into_iter().filter(|old| take(&mut new, &|new| new == old).is_none()).collect();
    for old in others {
        match take(&mut new, &|new| name(new) == name(&old)) {
            Some(new) => changed.push(format!("{} ({})", name(&old), different_keys(&old, &new))),
            None => removed.push(format!("−{}", name(&old))),
        }
    }
    let added = new.iter().map(|new| format!("+{}", name(new)));
    let mut parts: Vec<String> = added.chain(removed).chain(changed).collect();
    if parts.len() > SHOWN {
        let more = parts.split_off(SHOWN).len();
        parts.push(format!("and {more} more"));
    }
    if parts.is_empty() { "in another order".to_owned() } else { parts.join(" ") }
}

/// What an element of a list is called: itself, or of a listener its address.
fn name(element: &toml::Value) -> String {
    let address = |kind: &&str| Some(format!("{kind}:{}", element.get(*kind)?.as_str()?));
    match element {
        toml::Value::String(text) => text.clone(),
        toml::Value::Table(_) => {
            ["tcp", "unix", "fifo"].iter().find_map(address).unwrap_or_else(|| element.to_string())
        }
        other => other.to_string(),
    }
}

fn different_keys(old: &toml::Value, new: &toml::Value) -> String {
    let keys = |value: &toml::Value| {
        value.as_table().map_or_else(Vec::new, |table| table.keys().cloned().collect::<Vec<_>>())
    };
    let mut all = [keys(old), keys(new)].concat();
    all.sort_unstable();
    all.dedup();
    all.retain(|key| old.get(key) != new.get(key));
    all.join(", ")
}

/// Every key and value, tables taken apart; of rooms only those that `rooms` has as well.
fn keys(config: &Config, rooms: &HashSet<&str>) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let left_out = room_names(config).into_iter().filter(|name| !rooms.contains(name));
    let left_out: HashSet<String> = left_out.map(|name| crate::config::join("rooms", name)).collect();
    for (key, value) in config.effective() {
        // A name may have dots itself.
        if key.match_indices('.').any(|(end, _)| left_out.contains(&key[..end])) {
            continue;
        }
        match format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v")) {
            Some(value) => take_apart(key, &value, &mut keys),
            None => {
                keys.insert(key, value);
            }
        }
    }
    keys
}

fn room_names(config: &Config) -> HashSet<&str> {
    config.rooms.iter().map(|room| room.name.source()).collect()
}

fn take_apart(key: String, value: &toml::Value, keys: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                take_apart(format!("{key}.{name}"), value, keys);
            }
        }
        other => {
            keys.insert(key, other.to_string());
        }
    }
}

/// A number for what a configuration means, the same for every configuration that means the same: FNV-1a over its effective
/// keys, cut to 48 bits so that a metric holds it exactly.
pub fn hash(config: &Config) -> String {
    show_hash(hash_number(config))
}

/// A hash as people see it.
pub fn show_hash(hash: u64) -> String {
    format!("{hash:012x}")
}

/// The same as a number.
pub fn hash_number(config: &Config) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let lines = config.effective().into_iter().flat_map(|(key, value)| [key, "=".into(), value, "\n".into()]);
    for byte in lines.flat_map(String::into_bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Dirs, Input};

    fn config(text: &str) -> Config {
        let dirs = Dirs { runtime: "/run/broadcastd".into(), state: "/state".into() };
        let input = Input { file: None, defaults: false, set: Vec::new(), environment: &|_| None, dirs };
        input.load_text(None, text.to_owned()).unwrap().config
    }

    fn summary(old: &str, new: &str) -> String {
        Diff::between(&config(old), &config(new)).summary()
    }

    #[test]
    fn differences_are_told_in_a_line() {
        let a = "[rooms.a]\ntypes = [\"*\"]\n";
        let b = "[rooms.\"b:{x}\"]\ntypes = [\"*\"]\n";
        assert_eq!(summary(a, a), "");
        assert_eq!(summary(a, &format!("{a}{b}")), "rooms +1");
        assert_eq!(summary(a, b), "rooms +1 −1");
        assert_eq!(
            summary(
                a,
                &format!("{a}history = {{ events = 5 }}\n[limits]\nclients = 7\nclients_per_ip = 3\n")
            ),
            "limits.clients 100000→7 · limits.clients_per_ip absent→3 · rooms.a.history.events 1000→5"
        );
        let heartbeat = "[server]\nheartbeat = \"5s\"\n";
        assert_eq!(summary("", heartbeat), "server.heartbeat 25s→5s");
        let ingest = |list: &str| format!("[ingest]\nlisten = [{list}]\n");
        for (old, new, told) in [
            (r#""127.0.0.1:1""#, r#""127.0.0.1:2""#, "+tcp:127.0.0.1:2 −tcp:127.0.0.1:1"),
            (r#""127.0.0.1:1""#, r#""127.0.0.1:1", { unix = "/a" }"#, "+unix:/a"),
            (r#"{ fifo = "/a" }, "127.0.0.1:1""#, r#""127.0.0.1:1""#, "−fifo:/a"),
            (r#"{ unix = "/a" }"#, r#"{ unix = "/a", ack = "all", mode = "0600" }"#, "unix:/a (ack, mode)"),
            (r#"{ unix = "/a" }, "127.0.0.1:1""#, r#""127.0.0.1:1", { unix = "/a" }"#, "in another order"),
        ] {
            assert_eq!(summary(&ingest(old), &ingest(new)), format!("ingest.listen {told}"));
        }
        let origins = |list: &str| format!("[server]\nallowed_origins = [{list}]\n");
        let many: Vec<String> = (0..20).map(|n| format!("\"http://a{n}.example\"")).collect();
        let told = summary(&origins("\"*\""), &origins(&many.join(",")));
        assert!(told.starts_with("server.allowed_origins +http://a0.example +"), "{told}");
        assert!(told.ends_with("+http://a7.example and 13 more"), "{told}");
        assert_eq!(summary("", "[room_defaults]\nhistory = { events = 7 }\n").matches("1000→7").count(), 8);
    }

    #[test]
    fn a_hash_is_of_what_a_configuration_means() {
        assert_eq!(hash(&config("[limits]\nclients = 100_000\n")), hash(&config("# nothing")));
        assert_ne!(hash(&config("[limits]\nclients = 1\n")), hash(&config("")));
        assert_eq!(hash(&config("")).len(), 12);
    }
}
