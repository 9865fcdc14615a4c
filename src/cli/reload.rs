//! `broadcastd reload`: asks a running daemon to read its configuration anew, and says what came of it.

use super::args::ReloadArgs;
use super::find::{Door, find};
use super::{api, out};
use crate::error::Exit;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// How long a reload may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks, and prints the outcome. A configuration that is wrong is reported without asking.
pub fn run(args: &ReloadArgs) -> Exit {
    let endpoint = match find(Door::Operators, args.admin.as_deref(), &args.settings) {
        Ok(endpoint) => endpoint,
        Err(exit) => return exit,
    };
    let target = if args.dry_run { "/api/v1/config/reload?dry_run=true" } else { "/api/v1/config/reload" };
    if !args.settings.set.is_empty() {
        out::say(format_args!("note: --set says where the daemon is; the daemon does not apply it"));
    }
    match api::ask_blocking(&endpoint, Method::POST, target, PATIENCE) {
        Ok((status, body)) => report(status, &body, args.json),
        Err(error) => api::unreachable(&endpoint, &error, "--admin"),
    }
}

fn report(status: StatusCode, body: &Value, json: bool) -> Exit {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let outcome = text("outcome");
    if json && !outcome.is_empty() {
        let exit = if status == StatusCode::OK { Exit::Ok } else { Exit::Config };
        return out::json(body, exit);
    }
    match (status, outcome) {
        (StatusCode::OK, "unchanged") => {
            out::print("unchanged: it means the same as what is in force\n", Exit::Ok)
        }
        (StatusCode::OK, "would_apply") => {
            out::print(&format!("would apply: {}\n", text("summary")), Exit::Ok)
        }
        (StatusCode::OK, _) => out::print(&format!("applied: {}\n", text("summary")), Exit::Ok),
        (_, "refused") => {
            out::say(format_args!("{}\n\nrefused: the configuration in force stays", text("report")));
            Exit::Config
        }
        (status, _) => {
            out::error(format_args!("{status}: {}", text("detail")), None);
            Exit::Runtime
        }
    }
}
