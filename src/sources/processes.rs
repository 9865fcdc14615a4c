//! Which processes `[sources.system] processes` means, and what they use: read from `/proc`, since only those that are
//! asked for are looked at.

use crate::config::ProcessConfig;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Processes of one entry that are looked at; a name may be many's.
const MOST: usize = 256;

/// What the processes of one entry use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// How many there are.
    pub(super) count: usize,
    /// CPU time so far, in clock ticks.
    pub(super) ticks: u64,
    /// Resident memory in bytes.
    pub(super) memory: u64,
    /// Open descriptors, where they may be counted.
    pub(super) descriptors: u64,
}

/// What an entry is called in metrics.
pub(super) fn label(process: &ProcessConfig) -> String {
    match process {
        ProcessConfig::Name(name) => name.clone(),
        ProcessConfig::Unit(unit) => unit.clone(),
        ProcessConfig::PidFile(path) => {
            path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
        }
    }
}

/// Looks at the processes of an entry.
pub(super) fn usage(process: &ProcessConfig, page_bytes: u64) -> Usage {
    let mut usage = Usage::default();
    for pid in pids(process).into_iter().take(MOST) {
        // It may end between two reads, and then counts for nothing.
        let Some(stat) = read_stat(pid) else { continue };
        usage.count += 1;
        usage.ticks += stat.ticks;
        usage.memory += stat.pages * page_bytes;
        usage.descriptors += fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |list| list.count() as u64);
    }
    usage
}

fn pids(process: &ProcessConfig) -> Vec<u32> {
    match process {
        ProcessConfig::Name(name) => {
            // The kernel keeps fifteen bytes of it.
            let name = &name.as_bytes()[..name.len().min(15)];
            let is_named = |pid: &u32| {
                fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_ascii_end() == name)
            };
            all().filter(is_named).collect()
        }
        ProcessConfig::Unit(unit) => {
            let is_of_unit = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/cgroup"))
                    .is_ok_and(|groups| groups.lines().any(|group| group.split('/').any(|part| part == unit)))
            };
            all().filter(is_of_unit).collect()
        }
        ProcessConfig::PidFile(path) => pid_in(path).map_or_else(Vec::new, with_children),
    }
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A process and all that it has started, and they.
fn with_children(first: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().filter_map(|pid| Some((pid, read_stat(pid)?.parent))).collect();
    let mut family = HashSet::from([first]);
    while let Some((pid, _)) =
        parents.iter().find(|(pid, parent)| family.contains(parent) && !family.contains(pid))
    {
        family.insert(*pid);
    }
    family.into_iter().collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

struct Stat {
    parent: u32,
    ticks: u64,
    pages: u64,
}

/// `/proc/PID/stat` (proc(5)): the name, in parentheses, may hold anything.
fn read_stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: number(1)? as u32, ticks: number(11)? + number(12)?, pages: number(21)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_found_by_name_and_by_file() {
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        let by_name = usage(&ProcessConfig::Name(comm.trim().to_owned()), 4096);
        assert!(by_name.count >= 1 && by_name.memory > 1 << 20 && by_name.descriptors > 0, "{by_name:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backend.pid");
        fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = ProcessConfig::PidFile(path.clone());
        let with_child = usage(&process, 4096);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(with_child.count >= 2, "{with_child:?}");
        assert_eq!(label(&process), "backend");
        fs::write(&path, "no number").unwrap();
        assert_eq!(usage(&process, 4096), Usage::default());
    }

    #[test]
    fn a_unit_is_a_part_of_the_cgroup() {
        assert_eq!(usage(&ProcessConfig::Unit("no-such-unit.service".to_owned()), 4096), Usage::default());
    }
}
