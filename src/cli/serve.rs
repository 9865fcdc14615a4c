//! `broadcastd serve`: bind, say where, run, drain.

use super::args::ServeArgs;
use super::out;
use super::settings::Settings;
use super::signals::Signals;
use crate::config::{Dirs, Loaded, Problems};
use crate::daemon::{Addrs, Daemon, Ended, Origin};
use crate::descriptors;
use crate::error::Exit;
use crate::listen::{BindError, BoundAddr};
use crate::log;
use crate::memory;
use crate::shutdown::pair;
use crate::systemd::{self, Sockets};
use std::io::{self, Write};

/// Runs the daemon until a signal.
pub fn run(args: &ServeArgs) -> Exit {
    let origin = origin(&args.settings);
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(problems) => return refused(&problems),
    };
    let signals = match Signals::take() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return Exit::Runtime;
        }
    };
    let log = log::init(loaded.config.log, args.verbose);
    let file = loaded.path.as_ref().map_or_else(|| "built-in".to_owned(), |path| path.display().to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = file, "starting");
    memory::refuse_huge_pages();
    if let Err(error) = descriptors::raise() {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
    }
    let sockets = match Sockets::take() {
        Ok(sockets) => sockets,
        Err(why) => {
            eprintln!("error: {why}");
            return Exit::Runtime;
        }
    };
    let daemon = match Daemon::bind(loaded, origin, args.stdin, sockets, log.handle.clone()) {
        Ok(daemon) => daemon,
        Err(errors) => return unbound(&errors),
    };
    let (addrs, send) = (daemon.addrs(), daemon.send_command());
    let reload = daemon.reload_handle();
    let (stop, stops) = pair();
    let (ends, end) = std::sync::mpsc::sync_channel(2);
    let aborts = ends.clone();
    let daemon = std::thread::Builder::new().name("daemon".to_owned()).spawn(move || {
        // The other end is gone only when the process ends at once.
        let _ = ends.send(End::Stopped(daemon.run(stops)));
    });
    let abort = move || {
        let _ = aborts.send(End::Aborted);
    };
    if let Err(error) = daemon.and_then(|_| signals.watch(stop, abort, reload)) {
        tracing::error!(%error, "cannot start");
        return Exit::Runtime;
    }
    systemd::ready("serving");
    if announce(&addrs, send.as_deref()).is_err() {
        tracing::warn!("standard output is closed: addresses were not written");
    }
    match end.recv() {
        Ok(End::Stopped(result)) => report(result),
        Ok(End::Aborted) | Err(_) => Exit::Runtime,
    }
}

/// How serving ends.
enum End {
    /// The daemon has stopped.
    Stopped(io::Result<Ended>),
    /// A second signal came. Threads that still deliver end with the process.
    Aborted,
}

/// Finds, reads and checks the configuration, or reports every problem.
pub(super) fn load(settings: &Settings) -> Result<Loaded, Exit> {
    origin(settings).load().map_err(|problems| refused(&problems))
}

/// Where the configuration comes from.
pub(super) fn origin(settings: &Settings) -> Origin {
    let environment = |name: &str| std::env::var(name).ok();
    let dirs = Dirs::find(&environment, nix::unistd::getuid().as_raw());
    let Settings { config, defaults, set } = settings.clone();
    Origin { file: config, defaults, set, dirs }
}

/// Reports every problem of a configuration, for people.
pub(super) fn refused(problems: &Problems) -> Exit {
    eprintln!("{}", problems.render(out::has_colour(&io::stderr())));
    Exit::Config
}

fn unbound(errors: &[BindError]) -> Exit {
    for error in errors {
        eprintln!("error: {}: {}", error.key, error.message);
        if let Some(hint) = &error.hint {
            eprintln!("  hint: {hint}");
        }
    }
    Exit::Runtime
}

/// Says where the daemon listens: for scripts on standard output, for people in the log.
fn announce(addrs: &Addrs, send: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (name, list) in [("clients", &addrs.clients), ("admin", &addrs.admin), ("ingest", &addrs.ingest)] {
        for addr in list {
            writeln!(out, "listening {name} {addr}")?;
        }
    }
    writeln!(out, "ready")?;
    out.flush()?;
    if let Some(BoundAddr::Tcp(clients)) = addrs.clients.first() {
        tracing::info!("see events at   http://{clients}/");
    }
    if let Some(BoundAddr::Tcp(admin)) = addrs.admin.first() {
        tracing::info!("operate it at   http://{admin}/");
    }
    if let Some(command) = send {
        tracing::info!("send one with   {command}");
    }
    Ok(())
}

fn report(result: io::Result<Ended>) -> Exit {
    let ended = match result {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            return Exit::Runtime;
        }
    };
    if ended == Ended::default() {
        tracing::info!("stopped: everything that was accepted is delivered");
    } else {
        tracing::warn!(
            producers_cut = ended.ingest.producers_cut,
            lines_unfinished = ended.ingest.lines_unfinished,
            bytes_unfinished = ended.ingest.bytes_unfinished,
            clients_unfinished = ended.clients_unfinished,
            "stopped: not everything was delivered"
        );
    }
    Exit::Ok
}
