//! What is read from the system: CPU time, memory, instructions; and a histogram of times.

use crate::Outcome;
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// CPU seconds, user and system, of all threads that a process has or had; exact, from its own clock.
pub(crate) fn cpu_time(pid: Pid) -> Outcome<f64> {
    Ok(Duration::from(clock_getcpuclockid(pid)?.now()?).as_secs_f64())
}

/// CPU seconds of the load itself.
pub(crate) fn own_cpu_time() -> Outcome<f64> {
    Ok(Duration::from(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?).as_secs_f64())
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) peak: u64,
    /// Resident, shared pages counted in shares; 0 where it cannot be read.
    pub(crate) proportional: u64,
}

impl Memory {
    pub(crate) fn of(pid: Pid) -> Outcome<Memory> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        Ok(Memory {
            resident: kibibytes(&status, "VmRSS:"),
            peak: kibibytes(&status, "VmHWM:"),
            proportional: kibibytes(&smaps, "Pss:"),
        })
    }

    /// Makes the peak count from now; without the right to, the peak stays that of the whole life.
    pub(crate) fn forget_peak(pid: Pid) {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

fn kibibytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// What counts instructions.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The hardware's counter by `perf stat`, where there is one.
    Perf,
    /// The CPU time: under an emulator whose clock advances by one nanosecond for each instruction.
    Clock,
}

/// Counts a process's instructions, where that is possible.
pub(crate) enum Instructions {
    /// The hardware has no counter, or `perf` is not installed.
    Unknown,
    Perf(Child),
    Clock,
}

impl Instructions {
    pub(crate) fn start(counter: Counter, pid: Pid) -> Instructions {
        if counter == Counter::Clock {
            return Instructions::Clock;
        }
        if !supported() {
            return Instructions::Unknown;
        }
        let child = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "instructions", "-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        // perf attaches before it does anything else; it does not say when. Nothing is published meanwhile.
        std::thread::sleep(Duration::from_millis(200));
        child.map_or(Instructions::Unknown, Instructions::Perf)
    }

    /// Instructions since the start, user and kernel; none where they cannot be counted. `cpu` is the CPU time of the
    /// window in seconds.
    pub(crate) fn stop(self, cpu: f64) -> Option<u64> {
        let mut child = match self {
            Instructions::Unknown => return None,
            Instructions::Clock => return Some((cpu * 1e9).round() as u64),
            Instructions::Perf(child) => child,
        };
        kill(Pid::from_raw(i32::try_from(child.id()).ok()?), Signal::SIGINT).ok()?;
        let mut text = String::new();
        child.stderr.take()?.read_to_string(&mut text).ok()?;
        child.wait().ok()?;
        first_count(&text)
    }
}

fn supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let probe = Command::new("perf").args(["stat", "-x", ",", "-e", "instructions", "true"]).output();
        probe.is_ok_and(|output| first_count(&String::from_utf8_lossy(&output.stderr)).is_some())
    })
}

fn first_count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split(',').next()?.parse().ok())
}

/// Sub-buckets of each power of two: a value is known to 1 / 64.
const STEPS: u64 = 64;

/// Times in microseconds, to 1.6 %.
#[derive(Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, value: u64) {
        let index = bucket(value);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// The value that a share of all values do not exceed; none without values.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(value(index).min(self.max))
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    pub(crate) fn max(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }
}

fn bucket(value: u64) -> usize {
    let shift = u64::from(value.max(1).ilog2()).saturating_sub(6);
    (shift * STEPS + (value >> shift)) as usize
}

fn value(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    (index - shift * STEPS) << shift
}
