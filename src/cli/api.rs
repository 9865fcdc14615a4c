//! Asking a running daemon over its HTTP API.

use crate::config::{Config, ListenAddr, UnixAddr};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Reads `HOST:PORT` or `unix:PATH`.
pub(super) fn parse(text: &str) -> Option<ListenAddr> {
    match text.strip_prefix("unix:") {
        Some(path) => {
            Some(ListenAddr::Unix(UnixAddr { path: PathBuf::from(path), mode: 0o600, group: None }))
        }
        None => text.parse().map(ListenAddr::Tcp).ok(),
    }
}

/// As it is written.
pub(super) fn show(addr: &ListenAddr) -> String {
    match addr {
        ListenAddr::Tcp(addr) => addr.to_string(),
        ListenAddr::Unix(addr) => format!("unix:{}", addr.path.display()),
    }
}

/// Where the operators of a daemon with this configuration connect to.
pub(super) fn of_config(config: &Config) -> Option<ListenAddr> {
    config.admin.listen.first().cloned()
}

/// Makes a request without a body, and waits for the answer, which is JSON. Blocks.
pub(super) fn ask(
    addr: &ListenAddr,
    method: Method,
    target: &str,
    patience: Duration,
) -> io::Result<(StatusCode, Value)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exchange = async {
        match addr {
            ListenAddr::Tcp(addr) => exchange(TcpStream::connect(addr).await?, method, target).await,
            ListenAddr::Unix(addr) => exchange(UnixStream::connect(&addr.path).await?, method, target).await,
        }
    };
    runtime.block_on(async { tokio::time::timeout(patience, exchange).await })?
}

async fn exchange<S>(stream: S, method: Method, target: &str) -> io::Result<(StatusCode, Value)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let value = serde_json::from_slice(&body).map_err(io::Error::other)?;
    Ok((status, value))
}
