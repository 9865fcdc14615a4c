//! The operators' page: modules, styles and a chart library, all from the binary (docs/dashboard.md).

use super::{Answer, page, problem, text};
use hyper::StatusCode;

/// Where its files are.
const PREFIX: &str = "/dashboard/";

/// The files under `dashboard/` that are served, by their paths there.
macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("dashboard/", $name)))),*] };
}

static FILES: &[(&str, &str)] = files![
    "main.js" "style.css" "panels.css"
    "alerts.js" "api.js" "chart.js" "confirm.js" "dom.js" "feed.js" "figures.js" "format.js" "frame.js" "json.js" "keys.js"
    "rates.js" "rooms.js" "samples.js" "seen.js" "source.js" "steps.js" "table.js" "theme.js" "transports.js" "virtual.js"
    "panels/agents.js" "panels/alerts.js" "panels/clients.js" "panels/events.js" "panels/memory.js" "panels/metrics.js"
    "panels/overview.js" "panels/rejected.js" "panels/reloads.js" "panels/rooms.js" "panels/workflows.js"
    "vendor/uPlot.esm.js" "vendor/uPlot.min.css" "vendor/uPlot.LICENSE"
];

pub(super) fn html() -> Answer {
    page::secured(include_str!("dashboard/index.html"))
}

/// The content of the file that a path names.
pub(super) fn file(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix(PREFIX)?;
    FILES.iter().find(|(known, _)| *known == name).map(|(_, content)| *content)
}

pub(super) fn answer(path: &str) -> Answer {
    match file(path) {
        Some(content) => text(content_type(path), content),
        None => problem::answer(StatusCode::NOT_FOUND, "the dashboard has no such file", None),
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The files below a folder.
    fn names(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_is_served_and_nothing_is_loaded_from_elsewhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard");
        let mut there = Vec::new();
        names(&root, &root, &mut there);
        there.retain(|name| name != "index.html");
        assert_eq!(there.len(), FILES.len());
        for name in there {
            let path = format!("{PREFIX}{name}");
            let content = file(&path).unwrap_or_else(|| panic!("{name} is not served"));
            if name.starts_with("vendor/") {
                continue;
            }
            // Commands to copy name the daemon's own addresses.
            let content = content.replace("http://${address}", "");
            for forbidden in
                ["http://", "https://", "from \"/", "innerHTML", "insertAdjacentHTML", "eval(", "url("]
            {
                assert!(!content.contains(forbidden), "{name} has {forbidden}");
            }
        }
        assert_eq!(file("/dashboard/../page.rs"), None);
        let html = include_str!("dashboard/index.html");
        assert!(
            !html.contains("style=") && !html.contains("onclick=") && !html.contains("//"),
            "the policy forbids it"
        );
    }
}
