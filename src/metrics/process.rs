//! What the process uses, under the names that Prometheus' own client libraries have.

use super::exposition::Exposition;
use crate::memory;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the process uses. Zero where `/proc` does not tell it.
pub(super) struct Usage {
    /// User and system time.
    pub(super) cpu: Duration,
    /// Resident memory.
    pub(super) resident_bytes: u64,
    threads: u64,
    virtual_bytes: u64,
    /// Seconds from the system's boot to the start of the process.
    started_seconds: f64,
}

/// Reads what the process uses.
pub(super) fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |parts| parts.1).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0_u64);
    let system = |name, otherwise: u64| sysconf(name).ok().flatten().map_or(otherwise, |value| value as u64);
    let ticks = system(SysconfVar::CLK_TCK, 100) as f64;
    Usage {
        cpu: Duration::from_secs_f64((number(11) + number(12)) as f64 / ticks),
        resident_bytes: number(21) * system(SysconfVar::PAGE_SIZE, 4096),
        threads: number(17),
        virtual_bytes: number(20),
        started_seconds: number(19) as f64 / ticks,
    }
}

/// Adds the process's figures, as far as `/proc` tells them.
pub(super) fn render(out: &mut Exposition) {
    let usage = usage();
    let cpu = usage.cpu.as_secs_f64();
    out.single("process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu);
    out.single("process_threads", "gauge", "Threads.", usage.threads);
    out.single("process_virtual_memory_bytes", "gauge", "Virtual memory.", usage.virtual_bytes);
    out.single("process_resident_memory_bytes", "gauge", "Resident memory.", usage.resident_bytes);
    let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    if let Some(booted) = booted {
        let started = booted + usage.started_seconds;
        out.single("process_start_time_seconds", "gauge", "When it was started, since 1970.", started);
    }
    out.single("process_open_fds", "gauge", "Open descriptors.", open_descriptors());
    let most =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(0, |most| most.0);
    out.single("process_max_fds", "gauge", "Descriptors that it may open.", most);
    let committed = memory::committed();
    out.single(
        "broadcastd_allocator_committed_bytes",
        "gauge",
        "Memory that the allocator has of the system.",
        committed,
    );
}

/// Open descriptors. Linux 6.2 and later tell how many there are; before that they must be counted one by one, which takes ten
/// milliseconds when they are ten thousand, in pieces of more than one: clients on the same core would see it in their 99th
/// percentile if it were done each time.
fn open_descriptors() -> u64 {
    static COUNTED: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    const FRESH: Duration = Duration::from_secs(60);
    let told = fs::metadata("/proc/self/fd").map_or(0, |found| found.size());
    if told > 0 {
        return told;
    }
    let mut counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, count) = counted.filter(|(at, _)| at.elapsed() < FRESH).unwrap_or_else(|| {
        (Instant::now(), fs::read_dir("/proc/self/fd").map_or(0, |list| list.count() as u64))
    });
    *counted = Some((at, count));
    count
}
