//! The sections about what the daemon publishes itself.

use super::dirs::Dirs;
use super::problem::Code;
use super::reader::{Item, Reader, Section};
use super::sections::put;
use super::{AlertsConfig, ProcessConfig, SourcesConfig, SystemConfig};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn sources(
    reader: &mut Reader,
    mut section: Section<'_>,
    config: &mut SourcesConfig,
    dirs: &Dirs,
) {
    if let Some(section) = section.get(reader, "alerts").and_then(|item| reader.table(&item)) {
        alerts(reader, section, &mut config.alerts);
    }
    if let Some(section) = section.get(reader, "system").and_then(|item| reader.table(&item)) {
        system(reader, section, &mut config.system, dirs);
    }
    section.end(reader, |_| None);
}

fn alerts(reader: &mut Reader, mut section: Section<'_>, config: &mut AlertsConfig) {
    put(&mut config.enabled, section.get(reader, "enabled").and_then(|item| reader.boolean(&item)));
    put(&mut config.clients, section.get(reader, "clients").and_then(|item| reader.boolean(&item)));
    let repeat = section.get(reader, "repeat").and_then(|item| reader.duration(&item, SECOND, 24 * HOUR));
    put(&mut config.repeat, repeat);
    section.end(reader, |_| None);
}

fn system(reader: &mut Reader, mut section: Section<'_>, config: &mut SystemConfig, dirs: &Dirs) {
    if let Some(item) = section.get(reader, "every") {
        reader.duration_or_off(&item, (SECOND, HOUR), &mut config.every);
    }
    if let Some(items) = section.get(reader, "processes").and_then(|item| reader.list(&item, PROCESSES)) {
        config.processes = items.iter().filter_map(|item| process(reader, item, dirs)).collect();
    }
    section.end(reader, |_| None);
}

const PROCESSES: &str = "a list of processes such as { name = \"python3\" }";

fn process(reader: &mut Reader, item: &Item<'_>, dirs: &Dirs) -> Option<ProcessConfig> {
    let mut section = reader.table(item)?;
    let mut found = Vec::new();
    for key in ["name", "unit", "pid_file"] {
        let text =
            section.get(reader, key).and_then(|item| reader.string(&item, "a string").map(str::to_owned));
        found.extend(text.map(|text| match key {
            "name" => ProcessConfig::Name(text),
            "unit" if !text.contains('.') => ProcessConfig::Unit(text + ".service"),
            "unit" => ProcessConfig::Unit(text),
            _ => ProcessConfig::PidFile(dirs.runtime_path(&text)),
        }));
    }
    section.end(reader, |_| None);
    if found.len() != 1 {
        let message = format!("`{}` must have one of name, unit and pid_file", item.path);
        let hint = Some("{ unit = \"backend.service\" }".to_owned());
        reader.problem(Code::Conflict, &item.node.place, message, format!("it has {}", found.len()), hint);
        return None;
    }
    found.pop()
}
