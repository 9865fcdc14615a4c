//! Metrics of the machine, as `performance_metric` events.

use super::processes::{self, Usage};
use crate::config::ProcessConfig;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, Networks, RefreshKind};

/// Disks told of.
const DISKS: usize = 16;

/// What was seen last, to compare with.
pub(super) struct System {
    machine: sysinfo::System,
    disks: Disks,
    networks: Networks,
    processes: HashMap<String, Usage>,
    at: Instant,
    /// Whether there was a look before.
    has_looked: bool,
    page_bytes: u64,
    ticks_per_second: f64,
}

impl System {
    /// Fails where the machine cannot be looked at.
    pub(super) fn new() -> Result<System, sysinfo::Error> {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram().with_swap());
        let sysconf = |name| nix::unistd::sysconf(name).ok().flatten();
        Ok(System {
            machine: sysinfo::System::new_with_specifics(kinds)?,
            disks: Disks::new_with_refreshed_list()?,
            networks: Networks::new_with_refreshed_list()?,
            processes: HashMap::new(),
            at: Instant::now(),
            has_looked: false,
            page_bytes: sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap_or(4096) as u64,
            ticks_per_second: sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap_or(100) as f64,
        })
    }

    /// Looks at everything. What is a rate is told from the second look on.
    pub(super) fn measure(&mut self, processes: &[ProcessConfig]) -> Vec<Value> {
        let seconds = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        let mut events = Vec::new();
        self.look_at_machine(&mut events);
        self.network(seconds, &mut events);
        self.chosen(processes, seconds, &mut events);
        self.has_looked = true;
        events
    }

    fn look_at_machine(&mut self, events: &mut Vec<Value>) {
        self.machine.refresh_cpu_usage();
        self.machine.refresh_memory();
        self.disks.refresh(true);
        if self.has_looked {
            events.push(metric("system.cpu", f64::from(self.machine.global_cpu_usage()), "percent", None));
        }
        let percent =
            |used: u64, total: u64| if total == 0 { 0.0 } else { used as f64 * 100.0 / total as f64 };
        let (used, total) = (self.machine.used_memory(), self.machine.total_memory());
        events.push(metric("system.memory", percent(used, total), "percent", None));
        events.push(metric("system.memory.used", used as f64, "bytes", None));
        let (used, total) = (self.machine.used_swap(), self.machine.total_swap());
        if total > 0 {
            events.push(metric("system.swap", percent(used, total), "percent", None));
        }
        if let Ok(load) = sysinfo::System::load_average() {
            events.push(metric("system.load", load.one, "processes", None));
        }
        for disk in self.disks.iter().filter(|disk| disk.total_space() > 0).take(DISKS) {
            let used = disk.total_space() - disk.available_space().min(disk.total_space());
            let mount = json!({ "mount": disk.mount_point().display().to_string() });
            events.push(metric("system.disk", percent(used, disk.total_space()), "percent", Some(mount)));
        }
    }

    fn network(&mut self, seconds: f64, events: &mut Vec<Value>) {
        self.networks.refresh(true);
        if !self.has_looked || seconds <= 0.0 {
            return;
        }
        let outside = || self.networks.iter().filter(|(name, _)| *name != "lo");
        let received: u64 = outside().map(|(_, network)| network.received()).sum();
        let sent: u64 = outside().map(|(_, network)| network.transmitted()).sum();
        for (name, bytes) in [("system.network.received", received), ("system.network.sent", sent)] {
            let mut event = metric(name, bytes as f64 / seconds, "bytes/s", None);
            event["category"] = "network".into();
            events.push(event);
        }
    }

    fn chosen(&mut self, configs: &[ProcessConfig], seconds: f64, events: &mut Vec<Value>) {
        let before = std::mem::take(&mut self.processes);
        for config in configs {
            let label = processes::label(config);
            let usage = processes::usage(config, self.page_bytes);
            let process = || Some(json!({ "process": label, "processes": usage.count }));
            if let Some(before) = before.get(&label).filter(|_| seconds > 0.0) {
                // Of processes that ended in between, their time is gone as well.
                let ticks = usage.ticks.saturating_sub(before.ticks) as f64;
                let percent = ticks / self.ticks_per_second / seconds * 100.0;
                events.push(metric("process.cpu", percent, "percent", process()));
            }
            events.push(metric("process.memory", usage.memory as f64, "bytes", process()));
            events.push(metric("process.descriptors", usage.descriptors as f64, "count", process()));
            events.push(metric("process.count", usage.count as f64, "count", process()));
            self.processes.insert(label, usage);
        }
    }
}

/// A `performance_metric`, with two digits after the point.
fn metric(name: &str, value: f64, unit: &str, metadata: Option<Value>) -> Value {
    let value = (value * 100.0).round() / 100.0;
    let mut event = json!({
        "type": "performance_metric",
        "metricName": name,
        "value": value,
        "unit": unit,
        "category": "system",
    });
    if let Some(metadata) = metadata {
        event["metadata"] = metadata;
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::route::{Beside, Outcome, Routes, Scratch};

    #[test]
    fn every_metric_is_an_event_of_its_type() {
        let mut system = System::new().unwrap();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let processes = [ProcessConfig::Name(comm.trim().to_owned())];
        let first = system.measure(&processes).len();
        let events = system.measure(&processes);
        assert!(events.len() > first && first >= 6, "rates come with the second look: {events:?}");
        let config = Config::default();
        let routes = Routes::compile(&config, &config.ingest.listen[0]);
        let mut names: Vec<String> = Vec::new();
        for event in &events {
            let line = event.to_string();
            let (scratch, now) = (&mut Scratch::default(), crate::time::Moment::default());
            let read = routes.read(scratch, line.as_bytes(), &Beside::default(), now, || 1);
            assert!(matches!(read, Ok(Outcome::Event(_))), "{line}: {read:?}");
            names.push(event["metricName"].as_str().unwrap().to_owned());
        }
        for name in ["system.cpu", "system.memory", "system.load", "process.cpu", "process.memory"] {
            assert!(names.iter().any(|known| known == name), "{names:?}");
        }
        let memory = events.iter().find(|event| event["metricName"] == "system.memory").unwrap();
        assert!((0.1..100.0).contains(&memory["value"].as_f64().unwrap()), "{memory}");
    }
}
