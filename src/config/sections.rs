//! The sections about listening, ingest and limits.

use super::address::{parse_network, parse_origin, parse_tcp};
use super::dirs::Dirs;
use super::node::{Place, Value};
use super::problem::Code;
use super::reader::{Item, Reader, Section};
use super::{
    Ack, AdminConfig, ClientLimits, Expose, IngestAddr, IngestConfig, IngestListenConfig, Invalid,
    LimitsConfig, ListenAddr, LogConfig, LogFormat, LogLevel, OverDeliveries, ServerConfig, UnixAddr,
    Unrouted, WhenFull,
};
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Permission bits of a Unix socket that says nothing else.
const SOCKET_MODE: u32 = 0o660;

/// The right form of lists of names, for messages.
const ORIGIN: &str = "an origin such as \"https://example.org\", or \"local\"";
const NETWORK: &str = "an address such as \"10.0.0.1\", or a network such as \"10.0.0.0/8\"";
const HOST: &str = "a name such as \"broadcastd.internal\", without scheme and port";

pub(super) const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
pub(super) const LOG_FORMATS: [(&str, LogFormat); 4] = [
    ("auto", LogFormat::Auto),
    ("human", LogFormat::Human),
    ("json", LogFormat::Json),
    ("journald", LogFormat::Journald),
];

/// Something listened on, and where it was written, to find what is listened on twice.
pub(super) type Listened = Vec<(String, String, Place)>;

/// Puts a value that was read in the place of the default.
pub(super) fn put<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

pub(super) fn server(
    reader: &mut Reader,
    mut section: Section<'_>,
    config: &mut ServerConfig,
    dirs: &Dirs,
    listened: &mut Listened,
) {
    config.auth_none = auth(reader, &mut section);
    if let Some(item) = section.get(reader, "listen") {
        put(&mut config.listen, listen(reader, &item, dirs, config.auth_none, listened));
    }
    if let Some(items) =
        section.get(reader, "allowed_origins").and_then(|item| reader.list(&item, "a list of origins"))
    {
        config.allowed_origins = items.iter().flat_map(|item| parts(reader, item, ORIGIN, origin)).collect();
    }
    if let Some(items) =
        section.get(reader, "trusted_proxies").and_then(|item| reader.list(&item, "a list of addresses"))
    {
        config.trusted_proxies =
            items.iter().flat_map(|item| parts(reader, item, NETWORK, network)).collect();
    }
    if let Some(items) = section.get(reader, "expose").and_then(|item| reader.list(&item, "a list of names"))
    {
        let words = [
            ("page", Expose::Page),
            ("health", Expose::Health),
            ("status", Expose::Status),
            ("test", Expose::Test),
        ];
        config.expose = items.iter().filter_map(|item| reader.word(item, &words)).collect();
    }
    let duration = |reader: &mut Reader, section: &mut Section<'_>, key, least, most| {
        section.get(reader, key).and_then(|item| reader.duration(&item, least, most))
    };
    put(&mut config.drain_timeout, duration(reader, &mut section, "drain_timeout", Duration::ZERO, HOUR));
    if let Some(item) = section.get(reader, "shards") {
        let auto = matches!(&item.node.value, Value::String(text) if text == "auto");
        if !auto {
            let named = matches!(item.node.value, Value::String(_)) && item.node.place.variable.is_none();
            if named {
                reader.wrong(&item, "\"auto\" or a whole number from 1 to 64", None);
            } else {
                put(&mut config.shards, reader.integer(&item, 1..=64).map(|shards| shards as usize));
            }
        }
    }
    put(&mut config.heartbeat, duration(reader, &mut section, "heartbeat", 100 * MS, HOUR));
    put(
        &mut config.handshake_timeout,
        duration(reader, &mut section, "handshake_timeout", 100 * MS, 600 * SECOND),
    );
    put(&mut config.handshakes, section.get(reader, "handshakes").and_then(|item| reader.count(&item, 1)));
    put(&mut config.watch, section.get(reader, "watch").and_then(|item| reader.boolean(&item)));
    let keep = section.get(reader, "keep_on_restart").and_then(|item| reader.boolean(&item));
    put(&mut config.keep_on_restart, keep);
    section.end(reader, |key| {
        let limit = matches!(key, "clients" | "clients_per_ip" | "rooms");
        limit.then(|| format!("`{key}` belongs into [limits]"))
    });
}

pub(super) fn admin(
    reader: &mut Reader,
    mut section: Section<'_>,
    config: &mut AdminConfig,
    dirs: &Dirs,
    listened: &mut Listened,
) {
    config.auth_none = auth(reader, &mut section);
    if let Some(item) = section.get(reader, "listen") {
        put(&mut config.listen, listen(reader, &item, dirs, config.auth_none, listened));
    }
    section.end(reader, |_| None);
}

pub(super) fn ingest(
    reader: &mut Reader,
    mut section: Section<'_>,
    config: &mut IngestConfig,
    dirs: &Dirs,
    listened: &mut Listened,
) {
    config.auth_none = auth(reader, &mut section);
    if let Some(items) =
        section.get(reader, "listen").and_then(|item| reader.list(&item, "a list of listeners"))
    {
        let read = |item: &Item<'_>| ingest_listener(reader, item, dirs, config.auth_none, listened);
        config.listen = items.iter().filter_map(read).collect();
    }
    if let Some(items) = section.get(reader, "hosts").and_then(|item| reader.list(&item, "a list of names")) {
        config.hosts = items.iter().flat_map(|item| parts(reader, item, HOST, host)).collect();
    }
    put(&mut config.connections, section.get(reader, "connections").and_then(|item| reader.count(&item, 1)));
    if let Some(size) = section.get(reader, "max_event_size").and_then(|item| reader.size(&item, 64)) {
        // Offsets within a chunk are 32 bits wide, and a line this long would be no event any more.
        config.max_event_size = size.min(256 << 20) as usize;
    }
    put(&mut config.backlog, section.get(reader, "backlog").and_then(|item| reader.size(&item, 1)));
    if let Some(item) = section.get(reader, "idle_timeout") {
        reader.duration_or_off(&item, (100 * MS, DAY * 7), &mut config.idle_timeout);
    }
    let line = section.get(reader, "line_timeout").and_then(|item| reader.duration(&item, 100 * MS, DAY));
    put(&mut config.line_timeout, line);
    if let Some(item) = section.get(reader, "unrouted") {
        let words = [("reject", Unrouted::Reject), ("count", Unrouted::Count)];
        put(&mut config.unrouted, room_or(reader, &item, &words, Unrouted::Room));
    }
    if let Some(item) = section.get(reader, "invalid") {
        let words = [("reject", Invalid::Reject), ("warn", Invalid::Warn)];
        put(&mut config.invalid, room_or(reader, &item, &words, Invalid::Room));
    }
    let threads = section.get(reader, "threads").and_then(|item| reader.integer(&item, 1..=64));
    put(&mut config.threads, threads.map(|threads| threads as usize));
    section.end(reader, |_| None);
}

pub(super) fn log(reader: &mut Reader, mut section: Section<'_>, config: &mut LogConfig) {
    put(&mut config.level, section.get(reader, "level").and_then(|item| reader.word(&item, &LOG_LEVELS)));
    put(&mut config.format, section.get(reader, "format").and_then(|item| reader.word(&item, &LOG_FORMATS)));
    section.end(reader, |_| None);
}

pub(super) fn limits(reader: &mut Reader, mut section: Section<'_>, config: &mut LimitsConfig) {
    let count = |reader: &mut Reader, section: &mut Section<'_>, key| {
        section.get(reader, key).and_then(|item| reader.count(&item, 1))
    };
    put(&mut config.clients, count(reader, &mut section, "clients"));
    put(&mut config.rooms, count(reader, &mut section, "rooms"));
    put(
        &mut config.history_memory,
        section.get(reader, "history_memory").and_then(|item| reader.size(&item, 0)),
    );
    put(&mut config.views, section.get(reader, "views").and_then(|item| reader.count(&item, 0)));
    put(&mut config.keys, count(reader, &mut section, "keys"));
    if let Some(most) = count(reader, &mut section, "clients_per_ip") {
        config.clients_per_ip = Some(most);
    }
    if let Some(client) = section.get(reader, "client").and_then(|item| reader.table(&item)) {
        client_limits(reader, client, &mut config.client);
    }
    section.end(reader, |_| None);
}

fn client_limits(reader: &mut Reader, mut section: Section<'_>, config: &mut ClientLimits) {
    put(
        &mut config.rooms,
        section.get(reader, "rooms").and_then(|item| reader.integer(&item, 1..=65_535)).map(|n| n as usize),
    );
    let size = |reader: &mut Reader, section: &mut Section<'_>, key, least| {
        section.get(reader, key).and_then(|item| reader.size(&item, least)).map(|size| size as usize)
    };
    put(&mut config.message_size, size(reader, &mut section, "message_size", 128));
    put(&mut config.messages, section.get(reader, "messages").and_then(|item| reader.rate(&item)));
    put(&mut config.subscriptions, section.get(reader, "subscriptions").and_then(|item| reader.rate(&item)));
    if let Some(rate) = section.get(reader, "deliveries").and_then(|item| reader.rate(&item)) {
        config.deliveries = Some(rate);
    }
    let words = [("pace", OverDeliveries::Pace), ("disconnect", OverDeliveries::Disconnect)];
    let over = section.get(reader, "over_deliveries").and_then(|item| reader.word(&item, &words));
    put(&mut config.over_deliveries, over);
    put(&mut config.unsent, size(reader, &mut section, "unsent", 4096));
    let timeout =
        section.get(reader, "user_timeout").and_then(|item| reader.duration(&item, SECOND, 24 * HOUR));
    put(&mut config.user_timeout, timeout);
    section.end(reader, |_| None);
}

/// `auth = "none"` is the only value yet.
fn auth(reader: &mut Reader, section: &mut Section<'_>) -> bool {
    section.get(reader, "auth").and_then(|item| reader.word(&item, &[("none", ())])).is_some()
}

fn listen(
    reader: &mut Reader,
    item: &Item<'_>,
    dirs: &Dirs,
    open: bool,
    listened: &mut Listened,
) -> Option<Vec<ListenAddr>> {
    let items =
        reader.list(item, "a list of addresses such as \"127.0.0.1:9999\" or \"unix:clients.sock\"")?;
    let mut addrs = Vec::new();
    for item in items {
        let Some(text) =
            reader.string(&item, "an address such as \"127.0.0.1:9999\" or \"unix:clients.sock\"")
        else {
            continue;
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = dirs.runtime_path(path);
            note(reader, listened, &item, path.display().to_string());
            addrs.push(ListenAddr::Unix(UnixAddr { path, mode: SOCKET_MODE, group: None }));
        } else if let Some(addr) = tcp(reader, &item, text, open, listened) {
            addrs.push(ListenAddr::Tcp(addr));
        }
    }
    Some(addrs)
}

/// A TCP address; one that others can reach must be allowed to be.
fn tcp(
    reader: &mut Reader,
    item: &Item<'_>,
    text: &str,
    open: bool,
    listened: &mut Listened,
) -> Option<SocketAddr> {
    let addr = match parse_tcp(text) {
        Ok(addr) => addr,
        Err(right) => {
            let message = format!("`{}` is not an address to listen on", item.path);
            reader.problem(
                Code::WrongValue,
                &item.node.place,
                message,
                format!("\"{text}\""),
                Some(format!("write {right}")),
            );
            return None;
        }
    };
    if !addr.ip().is_loopback() && !open {
        let section = item.path.split('.').next().unwrap_or_default();
        let message =
            format!("`{}` can be reached from other machines, and there is no authentication", item.path);
        let hint = format!("listen on 127.0.0.1, or say that this is meant: auth = \"none\" in [{section}]");
        reader.problem(
            Code::Conflict,
            &item.node.place,
            message,
            "not a loopback address".to_owned(),
            Some(hint),
        );
    }
    if addr.port() != 0 {
        note(reader, listened, item, addr.to_string());
    }
    Some(addr)
}

/// Notes what is listened on, and reports what is already.
fn note(reader: &mut Reader, listened: &mut Listened, item: &Item<'_>, addr: String) {
    if let Some((_, path, first)) = listened.iter().find(|(other, _, _)| *other == addr) {
        let message = format!("`{}` listens where `{path}` does", item.path);
        let hint = Some("each listener has an address of its own".to_owned());
        reader.problem(Code::Duplicate, &item.node.place, message, format!("{addr} again"), hint);
        if let Some(problem) = reader.problems.last_mut() {
            problem.related = Some((first.source, first.span.clone(), "first here".to_owned()));
        }
    }
    listened.push((addr, item.path.clone(), item.node.place.clone()));
}

fn ingest_listener(
    reader: &mut Reader,
    item: &Item<'_>,
    dirs: &Dirs,
    open: bool,
    listened: &mut Listened,
) -> Option<IngestListenConfig> {
    let mut listener = IngestListenConfig {
        addr: IngestAddr::Stdin,
        ack: Ack::Errors,
        when_full: WhenFull::Wait,
        type_field: "type".to_owned(),
        add_timestamp: true,
    };
    if let Value::String(text) = &item.node.value {
        listener.addr = match text.strip_prefix("unix:") {
            Some(path) => unix(reader, item, path, SOCKET_MODE, None, dirs, listened),
            None => IngestAddr::Tcp(tcp(reader, item, text, open, listened)?),
        };
        return Some(listener);
    }
    let mut section = reader.table(item)?;
    let mut places = Vec::new();
    for key in ["tcp", "unix", "fifo"] {
        let place =
            section.get(reader, key).and_then(|item| Some((item.clone(), reader.string(&item, "a string")?)));
        places.extend(place.map(|(item, text)| (key, item, text)));
    }
    let mode = section.get(reader, "mode").and_then(|item| mode(reader, &item)).unwrap_or(SOCKET_MODE);
    let group = section.get(reader, "group").and_then(|item| reader.string(&item, "a group's name, or \"\""));
    let group = group.filter(|name| !name.is_empty()).map(str::to_owned);
    let ack = section.get(reader, "ack");
    let acks = [("none", Ack::None), ("errors", Ack::Errors), ("all", Ack::All)];
    put(&mut listener.ack, ack.and_then(|item| reader.word(&item, &acks)));
    let fulls = [("wait", WhenFull::Wait), ("shed", WhenFull::Shed)];
    put(
        &mut listener.when_full,
        section.get(reader, "when_full").and_then(|item| reader.word(&item, &fulls)),
    );
    let field = section.get(reader, "type_field").and_then(|item| reader.string(&item, "a field's name"));
    put(&mut listener.type_field, field.filter(|field| !field.is_empty()).map(str::to_owned));
    put(
        &mut listener.add_timestamp,
        section.get(reader, "add_timestamp").and_then(|item| reader.boolean(&item)),
    );
    section.end(reader, |_| None);
    let [(kind, place, text)] = places.as_slice() else {
        let message = format!("`{}` must have one of tcp, unix and fifo", item.path);
        let hint = Some("{ unix = \"ingest.sock\", mode = \"0660\" }".to_owned());
        reader.problem(Code::Conflict, &item.node.place, message, format!("it has {}", places.len()), hint);
        return None;
    };
    listener.addr = match *kind {
        "tcp" => IngestAddr::Tcp(tcp(reader, place, text, open, listened)?),
        "unix" => unix(reader, place, text, mode, group, dirs, listened),
        _ => {
            let IngestAddr::Unix(addr) = unix(reader, place, text, mode, group, dirs, listened) else {
                return None;
            };
            IngestAddr::Fifo(addr)
        }
    };
    Some(listener)
}

fn unix(
    reader: &mut Reader,
    item: &Item<'_>,
    path: &str,
    mode: u32,
    group: Option<String>,
    dirs: &Dirs,
    listened: &mut Listened,
) -> IngestAddr {
    let path = dirs.runtime_path(path);
    note(reader, listened, item, path.display().to_string());
    IngestAddr::Unix(UnixAddr { path, mode, group })
}

/// Permission bits as a string of octal digits.
fn mode(reader: &mut Reader, item: &Item<'_>) -> Option<u32> {
    let expected = "permission bits as a string, such as \"0660\"";
    if let Value::Integer(number) = item.node.value {
        reader.wrong(item, expected, Some(format!("in quotes: \"{number:04}\"")));
        return None;
    }
    let text = reader.string(item, expected)?;
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
    if bits.is_none() {
        let message = format!("`{}` must be {expected}", item.path);
        reader.problem(
            Code::WrongValue,
            &item.node.place,
            message,
            format!("\"{text}\" is not octal, at most 0777"),
            None,
        );
    }
    bits
}

/// An entry of a list of names. One variable may give several, with commas or spaces between them, or none.
fn parts<T>(
    reader: &mut Reader,
    item: &Item<'_>,
    expected: &str,
    read: fn(&mut Reader, &Item<'_>, &str) -> Option<T>,
) -> Vec<T> {
    let text = reader.string(item, expected).unwrap_or_default();
    let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.filter_map(|part| read(reader, item, part)).collect()
}

fn origin(reader: &mut Reader, item: &Item<'_>, text: &str) -> Option<super::OriginPattern> {
    parse_origin(text)
        .map_err(|right| {
            let message = format!("`{}` is not an origin", item.path);
            let label = item.found(&format!("\"{text}\""));
            reader.problem(
                Code::WrongValue,
                &item.node.place,
                message,
                label,
                Some(format!("write {right}")),
            );
        })
        .ok()
}

/// A name as it stands in `Host`, without a port.
fn host(reader: &mut Reader, item: &Item<'_>, text: &str) -> Option<String> {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !is_name {
        let message = format!("`{}` is not a host's name", item.path);
        let label = item.found(&format!("\"{text}\""));
        reader.problem(Code::WrongValue, &item.node.place, message, label, Some(format!("write {HOST}")));
    }
    is_name.then(|| text.to_owned())
}

fn network(reader: &mut Reader, item: &Item<'_>, text: &str) -> Option<super::IpNetwork> {
    let network = parse_network(text);
    if network.is_none() {
        let message = format!("`{}` is neither an address nor a network", item.path);
        let label = item.found(&format!("\"{text}\""));
        reader.problem(
            Code::WrongValue,
            &item.node.place,
            message,
            label,
            Some("\"10.0.0.1\" or \"10.0.0.0/8\"".to_owned()),
        );
    }
    network
}

/// A word, or `{ room = "name" }`.
fn room_or<T: Clone>(
    reader: &mut Reader,
    item: &Item<'_>,
    words: &[(&str, T)],
    room: fn(String) -> T,
) -> Option<T> {
    if matches!(item.node.value, Value::Table(_)) {
        let mut section = reader.table(item)?;
        let name = section.get(reader, "room").and_then(|item| reader.string(&item, "a room's name"));
        section.end(reader, |_| None);
        return name.map(|name| room(name.to_owned()));
    }
    let indexes: Vec<(&str, usize)> =
        words.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
    if !matches!(item.node.value, Value::String(_)) {
        reader.wrong(item, "a word, or { room = \"name\" }", None);
        return None;
    }
    reader.word(item, &indexes).map(|index| words[index].1.clone())
}
