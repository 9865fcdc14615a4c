//! `broadcastd reload`: asks a running daemon to read its configuration anew, and says what came of it.

use super::args::ReloadArgs;
use super::serve::load;
use crate::config::{ListenAddr, UnixAddr};
use crate::error::Exit;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a reload may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks, and prints the outcome. A configuration that is wrong is reported without asking.
pub fn run(args: &ReloadArgs) -> Exit {
    let addr = match address(args) {
        Ok(addr) => addr,
        Err(exit) => return exit,
    };
    let target = if args.dry_run { "/api/v1/config/reload?dry_run=true" } else { "/api/v1/config/reload" };
    match post(&addr, target) {
        Ok((status, body)) => report(status, &body),
        Err(error) => {
            eprintln!("error: cannot ask the daemon at {}: {error}", show(&addr));
            eprintln!("  hint: is it running? --admin names another address");
            Exit::Runtime
        }
    }
}

/// Where the daemon's operators connect to: as told, or as its configuration says.
fn address(args: &ReloadArgs) -> Result<ListenAddr, Exit> {
    let Some(text) = &args.admin else {
        let loaded = load(args.config.clone(), &[])?;
        return loaded.config.admin.listen.first().cloned().ok_or_else(|| {
            eprintln!("error: admin.listen is empty, so that there is nobody to ask");
            eprintln!("  hint: send SIGHUP");
            Exit::Runtime
        });
    };
    match text.strip_prefix("unix:") {
        Some(path) => Ok(ListenAddr::Unix(UnixAddr { path: PathBuf::from(path), mode: 0o600, group: None })),
        None => text.parse().map(ListenAddr::Tcp).map_err(|_| {
            eprintln!("error: --admin is neither HOST:PORT nor unix:PATH: {text}");
            Exit::Usage
        }),
    }
}

fn show(addr: &ListenAddr) -> String {
    match addr {
        ListenAddr::Tcp(addr) => addr.to_string(),
        ListenAddr::Unix(addr) => format!("unix:{}", addr.path.display()),
    }
}

fn post(addr: &ListenAddr, target: &str) -> io::Result<(StatusCode, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exchange = async {
        match addr {
            ListenAddr::Tcp(addr) => exchange(TcpStream::connect(addr).await?, target).await,
            ListenAddr::Unix(addr) => exchange(UnixStream::connect(&addr.path).await?, target).await,
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await })?
}

async fn exchange<S>(stream: S, target: &str) -> io::Result<(StatusCode, Value)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::post(target)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let value = serde_json::from_slice(&body).map_err(io::Error::other)?;
    Ok((status, value))
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
