//! Asking a running daemon over HTTP.

use super::find::{At, Endpoint};
use super::out;
use crate::error::Exit;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A connected stream.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A runtime of one thread: a tool does one thing.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs a tool's work to its end.
pub(super) fn block_on(work: impl Future<Output = Exit>) -> Exit {
    match runtime() {
        Ok(runtime) => {
            let exit = runtime.block_on(work);
            // A thread may still wait for standard input.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            out::error(format_args!("cannot begin: {error}"), None);
            Exit::Runtime
        }
    }
}

/// Connects.
pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Box<dyn Duplex>> {
    let connect = async {
        Ok(match &endpoint.at {
            At::Tcp(addr) => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                Box::new(stream) as Box<dyn Duplex>
            }
            At::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    tokio::time::timeout(CONNECT, connect).await?
}

/// Says that nobody answers.
pub(super) fn unreachable(endpoint: &Endpoint, error: &io::Error, argument: &str) -> Exit {
    let hint = format!("is it running? {argument} names another address, --config another configuration");
    out::error(format_args!("cannot reach the daemon at {endpoint}: {error}"), Some(&hint));
    Exit::Unreachable
}

/// Makes a request without a body, and waits for the answer, which is JSON. Blocks.
pub(super) fn ask_blocking(
    endpoint: &Endpoint,
    method: Method,
    target: &str,
    patience: Duration,
) -> io::Result<(StatusCode, Value)> {
    runtime()?.block_on(async { tokio::time::timeout(patience, ask(endpoint, method, target)).await })?
}

/// Makes a request without a body, and waits for the answer, which is JSON.
pub(super) async fn ask(
    endpoint: &Endpoint,
    method: Method,
    target: &str,
) -> io::Result<(StatusCode, Value)> {
    let stream = connect(endpoint).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{target}", endpoint.path))
        .header("host", &endpoint.host)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::pin!(exchange);
    let answer = tokio::select! {
        answer = &mut exchange => answer,
        // The connection's work is done by who polls it; it may end with the answer already there.
        _ = connection => exchange.await,
    };
    let (status, body) = answer.map_err(io::Error::other)?;
    Ok((status, serde_json::from_slice(&body).map_err(io::Error::other)?))
}
