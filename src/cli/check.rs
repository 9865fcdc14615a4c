//! `broadcastd check`: says what a configuration means, and runs its tests.

use super::args::CheckArgs;
use super::out;
use super::serve::{origin, refused};
use crate::config::{
    Ack, Config, IngestAddr, IngestListenConfig, ListenAddr, Loaded, Problems, RoomConfig, Unrouted, WhenFull,
};
use crate::config::{show_duration, show_size};
use crate::error::Exit;
use crate::pattern::Condition;
use crate::route::run_tests;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Checks a file. Problems and failed tests go to standard error, or into the one object of JSON.
pub fn run(args: &CheckArgs) -> Exit {
    let origin = origin(&args.settings);
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(problems) if args.json => {
            let file = origin.find();
            return out::json(&json(file.as_deref(), None, Some(&problems)), Exit::Config);
        }
        Err(problems) => return refused(&problems),
    };
    let failed = run_tests(&loaded).err();
    let exit = if failed.is_none() { Exit::Ok } else { Exit::Config };
    if args.json {
        return out::json(&json(loaded.path.as_deref(), Some(&loaded.config), failed.as_ref()), exit);
    }
    let text = describe(&loaded);
    let tests = loaded.config.tests.len();
    let Some(failed) = failed else {
        let plural = if tests == 1 { "" } else { "s" };
        return out::print(&format!("{text}\nok: {tests} test{plural} passed\n"), Exit::Ok);
    };
    out::print(&text, exit);
    refused(&failed);
    out::say(format_args!("{} of {tests} tests failed", failed.list.len()));
    exit
}

/// What a configuration means and what is wrong with it, for programs. A configuration that cannot be read means nothing.
fn json(file: Option<&Path>, config: Option<&Config>, problems: Option<&Problems>) -> Value {
    let addresses = |list: &[ListenAddr]| list.iter().map(show_listen).collect::<Vec<_>>();
    let failed = problems.map_or(0, |problems| problems.list.len());
    json!({
        "ok": problems.is_none(),
        "file": file.map(|file| file.display().to_string()),
        "problems": problems.map(Problems::json).unwrap_or_default(),
        "tests": config.map(|config| json!({ "passed": config.tests.len() - failed, "failed": failed })),
        "listen": config.map(|config| json!({
            "clients": addresses(&config.server.listen),
            "operators": addresses(&config.admin.listen),
            "producers": config.ingest.listen.iter().map(|it| show_ingest_addr(&it.addr)).collect::<Vec<_>>(),
        })),
        "rooms": config.map(|config| config.rooms.iter().map(|room| json!({
            "name": room.name.source(),
            "types": room.types.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "where": room.condition.as_ref().map(Condition::source),
        })).collect::<Vec<_>>()),
    })
}

/// What a configuration means, for a person.
fn describe(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut out = String::new();
    let file = loaded
        .path
        .as_ref()
        .map_or_else(|| "the built-in configuration".to_owned(), |path| path.display().to_string());
    let _ = writeln!(out, "{file}\n");
    let list = |addrs: &[ListenAddr]| addrs.iter().map(show_listen).collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, "clients connect to    {}", list(&config.server.listen));
    let _ = writeln!(out, "operators connect to  {}", list(&config.admin.listen));
    for (index, listener) in config.ingest.listen.iter().enumerate() {
        let heading = if index == 0 { "producers write to" } else { "" };
        let _ = writeln!(out, "{heading:<21} {}", show_ingest(listener));
    }
    let _ = writeln!(out, "\nrooms");
    let width = config.rooms.iter().map(|room| room.name.source().len()).max().unwrap_or(0);
    for room in &config.rooms {
        let _ = writeln!(out, "  {:<width$}  {}", room.name.source(), show_room(room, config));
    }
    let limits = &config.limits;
    let _ = writeln!(
        out,
        "\nat most {} clients, {} rooms, {} of history, {} of backlog",
        limits.clients,
        limits.rooms,
        show_size(limits.history_memory),
        show_size(config.ingest.backlog),
    );
    out
}

fn show_listen(addr: &ListenAddr) -> String {
    match addr {
        ListenAddr::Tcp(addr) => addr.to_string(),
        ListenAddr::Unix(addr) => format!("unix:{}", addr.path.display()),
    }
}

/// An address as the configuration has it.
fn show_ingest_addr(addr: &IngestAddr) -> String {
    match addr {
        IngestAddr::Tcp(addr) => addr.to_string(),
        IngestAddr::Unix(addr) => format!("unix:{}", addr.path.display()),
        IngestAddr::Fifo(addr) => format!("fifo:{}", addr.path.display()),
        IngestAddr::Stdin => "stdin".to_owned(),
    }
}

fn show_ingest(listener: &IngestListenConfig) -> String {
    let mut text = match &listener.addr {
        IngestAddr::Tcp(_) => show_ingest_addr(&listener.addr),
        IngestAddr::Unix(addr) => format!("{} (mode {:04o})", show_ingest_addr(&listener.addr), addr.mode),
        IngestAddr::Fifo(addr) => format!("the pipe {} (mode {:04o})", addr.path.display(), addr.mode),
        IngestAddr::Stdin => "standard input".to_owned(),
    };
    if listener.when_full == WhenFull::Shed {
        text.push_str(", shed when the backlog is full");
    }
    if listener.ack == Ack::None {
        text.push_str(", no answers");
    }
    if listener.type_field != "type" {
        let _ = write!(text, ", types in \"{}\"", listener.type_field);
    }
    text
}

fn show_room(room: &RoomConfig, config: &Config) -> String {
    let types: Vec<String> = room.types.iter().map(ToString::to_string).collect();
    let takes = match &*types {
        [] if config.ingest.unrouted == Unrouted::Room(room.name.source().to_owned()) => {
            "what no other room takes".to_owned()
        }
        [] => "nothing: see ingest.unrouted".to_owned(),
        [every] if every == "*" => "every type".to_owned(),
        types => types.join(", "),
    };
    let mut text = format!("takes {takes}");
    if let Some(condition) = &room.condition {
        let _ = write!(text, " where {}", condition.source());
    }
    if let Some(buffer) = &room.buffer {
        let _ = write!(text, "; sends every {}", show_duration(buffer.flush_interval));
        if let Some(events) = buffer.events {
            let _ = write!(text, " or {events} events");
        }
        if buffer.keep_newest {
            text.push_str(" the newest of each key");
        }
    }
    let history = room.history;
    if history.events == 0 {
        text.push_str("; keeps no history");
    } else {
        let (age, bytes) = (show_duration(history.age), show_size(history.bytes));
        let _ = write!(text, "; keeps {} events, {age}, {bytes}", history.events);
    }
    if !room.key.is_empty() {
        let key: Vec<String> = room.key.iter().map(ToString::to_string).collect();
        let age = show_duration(room.snapshot.age);
        let _ = write!(text, ", and the newest of each {} for {age}", key.join(" and "));
        if room.snapshot.by_default {
            text.push_str(", which new clients get first");
        }
    }
    text
}
