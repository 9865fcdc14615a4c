//! `broadcastd doctor`: looks at what usually goes wrong, and says what to do.

use super::args::DoctorArgs;
use super::find::{self, Door, Endpoint};
use super::serve::{origin, refused};
use super::{api, out};
use crate::config::{Config, IngestAddr, ListenAddr, Loaded, OriginPattern, Problems};
use crate::descriptors::Shares;
use crate::error::Exit;
use crate::listen::Listener;
use crate::reload::hash;
use hyper::{Method, StatusCode};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Group, User, getgrouplist, getuid};
use serde_json::{Value, json};
use std::ffi::CString;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a running daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The queue of connections that are not accepted yet, that the daemon asks the kernel for.
const BACKLOG: u64 = 4096;
/// Before this program was written: a clock that says so is wrong (2024-01-01).
const LONG_AGO: u64 = 1_704_067_200;

/// How a look turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It will work, and not as one may expect.
    Note,
    /// It does not work.
    Wrong,
}

/// One look.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    verdict: Verdict,
    what: &'static str,
    said: String,
    advice: Option<String>,
}

impl Look {
    fn ok(what: &'static str, said: impl Into<String>) -> Look {
        Look { verdict: Verdict::Ok, what, said: said.into(), advice: None }
    }

    fn note(what: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Look {
        Look { verdict: Verdict::Note, what, said: said.into(), advice: Some(advice.into()) }
    }

    fn wrong(what: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Look {
        Look { verdict: Verdict::Wrong, what, said: said.into(), advice: Some(advice.into()) }
    }
}

/// Looks, and prints what it saw. Fails if something does not work.
pub fn run(args: &DoctorArgs) -> Exit {
    let running = find::running(Door::Operators, &args.settings);
    let loaded = match origin(&args.settings).load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            let advice = "correct it: the rest is looked at by what it says";
            let said = if args.json { "has the problems listed" } else { "has the problems above" };
            let mut looks = vec![Look::wrong("configuration", said, advice)];
            running.map(|endpoint| ask(&endpoint, None, &mut looks));
            if args.json {
                return out::json(&json(&looks, Some(&problems)), Exit::Config);
            }
            return out::print(&show(&looks), refused(&problems));
        }
    };
    let who = match &args.producer {
        None => None,
        Some(name) => match who(name) {
            Ok(who) => Some(who),
            Err(why) => {
                eprintln!("error: --as {name}: {why}");
                return Exit::Usage;
            }
        },
    };
    let looks = all(&loaded, running, who.as_ref());
    let wrong = count(&looks, Verdict::Wrong);
    let exit = if wrong == 0 { Exit::Ok } else { Exit::Runtime };
    if args.json {
        return out::json(&json(&looks, None), exit);
    }
    let (notes, fine) = (count(&looks, Verdict::Note), count(&looks, Verdict::Ok));
    let text = format!("{}\n{wrong} wrong, {notes} to know, {fine} fine\n", show(&looks));
    out::print(&text, exit)
}

fn count(looks: &[Look], verdict: Verdict) -> usize {
    looks.iter().filter(|look| look.verdict == verdict).count()
}

/// What it saw, for programs.
fn json(looks: &[Look], problems: Option<&Problems>) -> Value {
    let show = |look: &Look| {
        let verdict = match look.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Wrong => "wrong",
        };
        json!({ "verdict": verdict, "what": look.what, "said": look.said, "advice": look.advice })
    };
    json!({
        "ok": count(looks, Verdict::Wrong) == 0,
        "problems": problems.map(Problems::json).unwrap_or_default(),
        "wrong": count(looks, Verdict::Wrong),
        "notes": count(looks, Verdict::Note),
        "looks": looks.iter().map(show).collect::<Vec<_>>(),
    })
}

fn show(looks: &[Look]) -> String {
    let mut out = String::new();
    for look in looks {
        let mark = match look.verdict {
            Verdict::Ok => "ok   ",
            Verdict::Note => "note ",
            Verdict::Wrong => "WRONG",
        };
        let _ = writeln!(out, "{mark}  {:<14} {}", look.what, look.said);
        if let Some(advice) = &look.advice {
            let _ = writeln!(out, "{:21} -> {advice}", "");
        }
    }
    out
}

fn all(loaded: &Loaded, running: Option<Endpoint>, who: Option<&Who>) -> Vec<Look> {
    let config = &loaded.config;
    let file = loaded.path.as_ref().map_or_else(|| "built-in".to_owned(), |path| path.display().to_string());
    let mut looks = vec![Look::ok("configuration", file)];
    let running = ask_running(config, running, &mut looks);
    looks.push(descriptors(config));
    ports(config, running, &mut looks);
    sockets(config, who, running, &mut looks);
    looks.push(queue());
    looks.push(memory(config));
    origins(config, &mut looks);
    looks.push(proxies(config));
    looks.push(clock());
    looks.extend(watching(loaded));
    looks.extend(processes(config));
    looks
}

/// Asks the daemon that runs with this configuration, if there is one.
fn ask_running(config: &Config, running: Option<Endpoint>, looks: &mut Vec<Look>) -> bool {
    let Some(endpoint) = running.or_else(|| config.admin.listen.first().map(Endpoint::from)) else {
        let advice = "admin.listen = [\"127.0.0.1:9997\"]";
        looks.push(Look::note("daemon", "admin.listen is empty: nobody can ask the daemon anything", advice));
        return false;
    };
    if !ask(&endpoint, Some(config), looks) {
        return false;
    }
    if let Ok((StatusCode::OK, in_force)) =
        api::ask_blocking(&endpoint, Method::GET, "/api/v1/config", PATIENCE)
    {
        if in_force["hash"] == hash(config) {
            looks.push(Look::ok("in force", "the daemon runs this configuration"));
        } else {
            let said = "the daemon runs another configuration than this";
            looks.push(Look::note("in force", said, "broadcastd reload --dry-run says what is different"));
        }
    }
    true
}

/// Asks a daemon how it is, and compares it with its configuration if that can be read. False if none answers.
fn ask(endpoint: &Endpoint, config: Option<&Config>, looks: &mut Vec<Look>) -> bool {
    match api::ask_blocking(endpoint, Method::GET, "/api/v1/health", PATIENCE) {
        Err(error) => {
            looks.push(Look::ok("daemon", format!("none answers at {endpoint} ({error})")));
            return false;
        }
        Ok((StatusCode::OK, health)) => {
            let said = format!(
                "runs, version {}, {} clients",
                health["version"].as_str().unwrap_or("?"),
                health["broadcast"]["connectedClients"]
            );
            looks.push(Look::ok("daemon", said));
            looks.extend(config.and_then(|config| client_limit(&health["broadcast"], config)));
        }
        Ok((_, health)) => {
            let said = format!("answers and is not well: {}", health["reasons"]);
            looks.push(Look::wrong("daemon", said, "look at its log; a restart if a shard does not turn"));
        }
    }
    true
}

/// What the limit of descriptors allows here; a daemon that runs has a limit of its own.
fn descriptors(config: &Config) -> Look {
    let (_, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return Look::note("descriptors", format!("cannot be looked at: {error}"), "ulimit -n"),
    };
    let shares = Shares::of(hard, config);
    let wanted = shares.wanted;
    match shares.lower(&mut config.clone()) {
        None => Look::ok("descriptors", format!("{hard} allowed, {wanted} wanted at the most")),
        Some(lowered) => Look::note(
            "descriptors",
            format!("{hard} allowed here, {wanted} wanted: a daemon started here lowers {lowered}"),
            shares.advice(),
        ),
    }
}

/// Whether the daemon that runs takes as many clients as it is configured to.
fn client_limit(service: &Value, config: &Config) -> Option<Look> {
    let limit = service["clientLimit"].as_u64()?;
    let configured = service["configuredClientLimit"].as_u64().filter(|configured| limit < *configured)?;
    Some(Look::note(
        "clients",
        format!(
            "the daemon takes {limit} clients and not {configured} (limits.clients): its descriptors allow no more"
        ),
        Shares::of(0, config).advice(),
    ))
}

fn ports(config: &Config, running: bool, looks: &mut Vec<Look>) {
    let ingest = config.ingest.listen.iter().filter_map(|listener| match &listener.addr {
        IngestAddr::Tcp(addr) => Some(ListenAddr::Tcp(*addr)),
        _ => None,
    });
    for addr in config.server.listen.iter().chain(&config.admin.listen).cloned().chain(ingest) {
        let ListenAddr::Tcp(socket) = addr else { continue };
        let text = socket.to_string();
        match Listener::bind(&text, &addr) {
            Ok(_) => looks.push(Look::ok("port", format!("{text} is free"))),
            Err(error) => match whose(&error.message).filter(|_| running) {
                Some(whose) => looks.push(Look::ok("port", format!("{text} is {whose}"))),
                None => looks.push(Look::wrong("port", error.message, error.hint.unwrap_or_default())),
            },
        }
    }
}

/// Whose a taken port is while a daemon with this configuration runs, if it can be the daemon's.
fn whose(taken: &str) -> Option<&'static str> {
    [
        ("taken by broadcastd (pid ", "the daemon's"),
        ("taken by systemd (pid 1)", "systemd's, which holds it for the daemon"),
        ("taken by a process of user ", "taken, by the daemon it seems: who has it is for root to see"),
    ]
    .into_iter()
    .find_map(|(holder, whose)| taken.contains(holder).then_some(whose))
}

/// A user who may or may not write to a socket.
struct Who {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

fn who(name: &str) -> Result<Who, String> {
    let user = User::from_name(name).map_err(|error| error.to_string())?;
    let user = user.ok_or_else(|| "there is no such user".to_owned())?;
    let c_name = CString::new(name).map_err(|error| error.to_string())?;
    let groups: Vec<Gid> = getgrouplist(&c_name, user.gid).map_err(|error| error.to_string())?;
    Ok(Who { name: user.name, uid: user.uid.as_raw(), groups: groups.into_iter().map(Gid::as_raw).collect() })
}

impl Who {
    /// Whether permission bits let this user do what `bit` stands for (4 read, 2 write, 1 search).
    fn may(&self, mode: u32, owner: u32, group: u32, bit: u32) -> bool {
        if self.uid == 0 {
            return true;
        }
        let shift = if self.uid == owner {
            6
        } else if self.groups.contains(&group) {
            3
        } else {
            0
        };
        mode >> shift & bit == bit
    }
}

fn sockets(config: &Config, who: Option<&Who>, running: bool, looks: &mut Vec<Look>) {
    for listener in &config.ingest.listen {
        let (IngestAddr::Unix(addr) | IngestAddr::Fifo(addr)) = &listener.addr else { continue };
        let path = &addr.path;
        if let Some(group) = &addr.group
            && matches!(Group::from_name(group), Ok(None))
        {
            let advice = format!("groupadd --system {group}");
            looks.push(Look::wrong(
                "socket",
                format!("{}: there is no group {group}", path.display()),
                advice,
            ));
            continue;
        }
        let Ok(found) = fs::metadata(path) else {
            looks.push(absent(path, running));
            continue;
        };
        let kind = found.file_type();
        if !kind.is_socket() && !kind.is_fifo() {
            let said = format!("{} is neither a socket nor a pipe", path.display());
            looks.push(Look::wrong("socket", said, "remove it, or use another path"));
            continue;
        }
        looks.push(match who {
            None => Look::ok(
                "socket",
                format!(
                    "{} has mode {:04o} (--as USER says whether USER may write)",
                    path.display(),
                    found.mode() & 0o777
                ),
            ),
            Some(who) => may_write(path, &found, who),
        });
    }
}

fn absent(path: &Path, running: bool) -> Look {
    if running {
        let said = format!("{} is not there, and the daemon runs", path.display());
        let advice = "with systemd's sockets it is where broadcastd-ingest.socket has it; otherwise restart the daemon";
        return Look::note("socket", said, advice);
    }
    Look::ok("socket", format!("{} is not there yet: the daemon makes it", path.display()))
}

/// Whether a user may write to a socket: the socket's own bits, and search in every folder above.
fn may_write(path: &Path, found: &fs::Metadata, who: &Who) -> Look {
    for folder in path.ancestors().skip(1) {
        let Ok(found) = fs::metadata(folder) else { continue };
        if !who.may(found.mode(), found.uid(), found.gid(), 1) {
            let said = format!(
                "{} may not enter {} (mode {:04o})",
                who.name,
                folder.display(),
                found.mode() & 0o7777
            );
            return Look::wrong("socket", said, format!("chmod o+x {}, or another path", folder.display()));
        }
    }
    let group = Group::from_gid(found.gid().into()).ok().flatten();
    let group = group.map_or_else(|| found.gid().to_string(), |group| group.name);
    if who.may(found.mode(), found.uid(), found.gid(), 2) {
        return Look::ok("socket", format!("{} may write to {}", who.name, path.display()));
    }
    let said = format!(
        "{} may not write to {} (mode {:04o}, group {group})",
        who.name,
        path.display(),
        found.mode() & 0o777
    );
    let advice = format!("usermod -aG {group} {}, and start what runs as {} anew", who.name, who.name);
    Look::wrong("socket", said, advice)
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn queue() -> Look {
    match number("/proc/sys/net/core/somaxconn") {
        Some(most) if most < BACKLOG => Look::note(
            "queue",
            format!("net.core.somaxconn is {most}: a storm of connections may be refused"),
            format!("sysctl net.core.somaxconn={BACKLOG}"),
        ),
        Some(most) => Look::ok("queue", format!("net.core.somaxconn is {most}")),
        None => Look::ok("queue", "net.core.somaxconn cannot be looked at"),
    }
}

fn memory(config: &Config) -> Look {
    let wanted = config.limits.history_memory + config.ingest.backlog;
    let own_group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own_group = own_group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let limit = number(&format!("/sys/fs/cgroup{own_group}/memory.max"));
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    });
    match limit.into_iter().chain(total).min() {
        Some(most) if wanted + (64 << 20) > most => Look::note(
            "memory",
            format!("history and backlog may take {}, and there are {}", readable(wanted), readable(most)),
            "lower limits.history_memory and ingest.backlog, or raise MemoryMax=",
        ),
        _ => Look::ok("memory", format!("history and backlog take {} at the most", readable(wanted))),
    }
}

/// A size for people.
fn readable(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn origins(config: &Config, looks: &mut Vec<Look>) {
    let allowed = &config.server.allowed_origins;
    if allowed.contains(&OriginPattern::Any) {
        let said = "every web page of every site may connect (\"*\")";
        looks.push(Look::note(
            "origins",
            said,
            "name the pages: allowed_origins = [\"https://app.example.org\"]",
        ));
    } else if allowed.iter().all(|pattern| *pattern == OriginPattern::Local) {
        let said = "pages of this machine may connect, and no others";
        looks.push(Look::ok("origins", said));
    } else {
        looks.push(Look::ok("origins", format!("{} kinds of pages may connect", allowed.len())));
    }
}

fn proxies(config: &Config) -> Look {
    let reachable = config.server.listen.iter().any(|addr| match addr {
        ListenAddr::Tcp(addr) => !addr.ip().is_loopback(),
        ListenAddr::Unix(_) => false,
    });
    let has_limit = config.limits.clients_per_ip.is_some();
    if !reachable && has_limit && config.server.trusted_proxies.is_empty() {
        return Look::note(
            "proxies",
            "limits.clients_per_ip is set, clients come from this machine alone, and no proxy is trusted: all are one address",
            "trusted_proxies = [\"127.0.0.1\", \"::1\"] if a proxy stands in front",
        );
    }
    match config.server.trusted_proxies.len() {
        0 => Look::ok("proxies", "none is trusted: addresses are those that connect"),
        count => Look::ok("proxies", format!("{count} trusted: their X-Forwarded-For counts")),
    }
}

fn clock() -> Look {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < LONG_AGO {
        let said = "says that it is before 2024: timestamps and times in `since` will be wrong";
        return Look::wrong("clock", said, "timedatectl set-ntp true");
    }
    Look::ok("clock", "is plausible")
}

/// Whether the configuration's file can be watched, and read by who asks.
fn watching(loaded: &Loaded) -> Option<Look> {
    let path = loaded.path.as_deref()?;
    if !loaded.config.server.watch {
        return Some(Look::ok(
            "watching",
            "is off (server.watch): reload with SIGHUP or `broadcastd reload`",
        ));
    }
    Some(match crate::watch::Watcher::start(path, |_| {}) {
        Ok(_) => Look::ok("watching", format!("changes of {} are seen", path.display())),
        Err(error) => Look::note(
            "watching",
            format!("the file cannot be watched: {error}"),
            "sysctl fs.inotify.max_user_instances=1024; it is looked at every 30 s in any case",
        ),
    })
}

/// Whether `[sources.system]` sees what it is to look at.
fn processes(config: &Config) -> Option<Look> {
    config.sources.system.every?;
    let sees_machine = fs::read_to_string("/proc/stat").is_ok();
    let sees_others = Path::new("/proc/1/stat").exists() || getuid().as_raw() == 1;
    if sees_machine && sees_others {
        return Some(Look::ok("sandbox", "the machine and its processes can be seen"));
    }
    let said = "[sources.system] is on, and the machine or its processes cannot be seen from here";
    Some(Look::note("sandbox", said, "the drop-in system-metrics.conf, or sources.system.every = \"off\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn someone(uid: u32, groups: &[u32]) -> Who {
        Who { name: "someone".to_owned(), uid, groups: groups.to_vec() }
    }

    #[test]
    fn permission_is_the_owners_the_groups_or_the_others() {
        let backend = someone(1000, &[1000, 50]);
        for (mode, owner, group, may) in [
            (0o660, 999, 50, true),
            (0o660, 999, 51, false),
            (0o606, 999, 50, false),
            (0o602, 999, 51, true),
            (0o200, 1000, 0, true),
            (0o066, 1000, 50, false),
        ] {
            assert_eq!(backend.may(mode, owner, group, 2), may, "{mode:o} {owner} {group}");
        }
        assert!(someone(0, &[]).may(0, 1, 1, 2), "root may");
    }

    #[test]
    fn a_taken_port_may_be_the_daemons() {
        let port = "cannot listen on 127.0.0.1:9999: the port is taken by ";
        for (holder, may) in [
            ("broadcastd (pid 7)", true),
            ("systemd (pid 1)", true),
            ("a process of user root", true),
            ("nginx (pid 7)", false),
            ("systemd (pid 17)", false),
        ] {
            assert_eq!(whose(&format!("{port}{holder}")).is_some(), may, "{holder}");
        }
    }

    #[test]
    fn looks_are_shown_with_what_to_do() {
        let looks = [Look::ok("port", "free"), Look::wrong("clock", "is wrong", "set it")];
        let shown = show(&looks);
        assert_eq!(
            shown,
            "ok     port           free\nWRONG  clock          is wrong\n                      -> set it\n"
        );
    }
}
