//! `broadcastd reload`: asks a running daemon to read its configuration anew, and says what came of it.

use super::api;
use super::args::ReloadArgs;
use super::serve::load;
use crate::config::ListenAddr;
use crate::error::Exit;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// How long a reload may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks, and prints the outcome. A configuration that is wrong is reported without asking.
pub fn run(args: &ReloadArgs) -> Exit {
    let addr = match address(args) {
        Ok(addr) => addr,
        Err(exit) => return exit,
    };
    let target = if args.dry_run { "/api/v1/config/reload?dry_run=true" } else { "/api/v1/config/reload" };
    match api::ask(&addr, Method::POST, target, PATIENCE) {
        Ok((status, body)) => report(status, &body),
        Err(error) => {
            eprintln!("error: cannot ask the daemon at {}: {error}", api::show(&addr));
            eprintln!("  hint: is it running? --admin names another address");
            Exit::Runtime
        }
    }
}

/// Where the daemon's operators connect to: as told, or as its configuration says.
fn address(args: &ReloadArgs) -> Result<ListenAddr, Exit> {
    let Some(text) = &args.admin else {
        let loaded = load(args.config.clone(), &[])?;
        return api::of_config(&loaded.config).ok_or_else(|| {
            eprintln!("error: admin.listen is empty, so that there is nobody to ask");
            eprintln!("  hint: send SIGHUP");
            Exit::Runtime
        });
    };
    api::parse(text).ok_or_else(|| {
        eprintln!("error: --admin is neither HOST:PORT nor unix:PATH: {text}");
        Exit::Usage
    })
}

fn report(status: StatusCode, body: &Value) -> Exit {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    match (status, text("outcome")) {
        (StatusCode::OK, "unchanged") => println!("unchanged: it means the same as what is in force"),
        (StatusCode::OK, "would_apply") => println!("would apply: {}", text("summary")),
        (StatusCode::OK, _) => println!("applied: {}", text("summary")),
        (_, "refused") => {
            eprintln!("{}\n\nrefused: the configuration in force stays", text("report"));
            return Exit::Config;
        }
        (status, _) => {
            eprintln!("error: {}: {}", status, text("detail"));
            return Exit::Runtime;
        }
    }
    Exit::Ok
}
