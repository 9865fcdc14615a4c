//! Where the load and the daemon run: their cores, their network, how many sockets they may have.

use crate::Outcome;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;

/// Sockets that a run may need: 20,000 clients, and some room.
const DESCRIPTORS: u64 = 70_000;

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Pins this thread, and the threads and processes it starts from now on.
pub(crate) fn pin(cores: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).map_err(|error| format!("core {core}: {error}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| format!("cannot pin to {cores:?}: {error}"))?;
    Ok(())
}

/// Moves into an empty network namespace with cubic congestion control, where that is allowed: BBR sends from timers,
/// whose time is charged to whichever process they interrupt. Returns the congestion control in force.
pub(crate) fn isolate() -> String {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            eprintln!("load: `ip link set lo up` failed: run with --no-isolate");
        }
        for name in ["cubic", "reno"] {
            if fs::write(CONGESTION, name).is_ok() {
                break;
            }
        }
    } else {
        eprintln!(
            "load: no network namespace of its own (needs root): figures hold what the system's settings do"
        );
    }
    congestion()
}

/// The congestion control in force.
pub(crate) fn congestion() -> String {
    fs::read_to_string(CONGESTION).map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// Descriptors that are not clients' sockets, in the daemon or here.
const OTHER_DESCRIPTORS: u64 = 200;

/// Allows as many sockets as runs need, or as many as the system lets this process have; the daemon inherits it.
/// Returns how many clients fit.
pub(crate) fn raise_descriptor_limit() -> Outcome<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS)).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(soft.saturating_sub(OTHER_DESCRIPTORS) as usize)
}
