//! What the process uses, under the names that Prometheus' own client libraries have.

use super::exposition::Exposition;
use crate::memory;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Adds the process's figures, as far as `/proc` tells them.
pub(super) fn render(out: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |parts| parts.1).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let system = |name, otherwise: f64| sysconf(name).ok().flatten().map_or(otherwise, |value| value as f64);
    let ticks = system(SysconfVar::CLK_TCK, 100.0);
    let cpu = (number(11) + number(12)) / ticks;
    out.single("process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu);
    out.single("process_threads", "gauge", "Threads.", number(17));
    out.single("process_virtual_memory_bytes", "gauge", "Virtual memory.", number(20));
    let resident = number(21) * system(SysconfVar::PAGE_SIZE, 4096.0);
    out.single("process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    if let Some(booted) = booted {
        let started = booted + number(19) / ticks;
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
