//! The rule by which every listener lets a request in: its `Host`, its `Origin`, and what is asked for.
//!
//! | | refused with |
//! | --- | --- |
//! | no `Host` in HTTP/1.1, several, or one that is no host (RFC 9112 §3.2) | 400 |
//! | several `Origin`s, or one that is not ASCII | 403 |
//! | an `Origin` that `server.allowed_origins` lacks, unless anybody may have the answer | 403 |
//! | a `Host` that does not name this machine: a page behind a rebound DNS name. See [`Access`] | 403 |
//!
//! Programs send no `Origin`. The address of a page is no reason to let it in: its owner can point any name at 127.0.0.1.

mod cors;
mod host;
mod origin;

pub use cors::{cors, cors_if_allowed, preflight};
pub use origin::{advice, toml_to_allow};

use crate::config::OriginPattern;
use hyper::Version;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use origin::is_allowed;
use std::fmt;
use std::net::IpAddr;

/// Settings and the connection that requests are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The address that the connection came to; none on a Unix socket, where any well-formed `Host` will do.
    pub local: Option<IpAddr>,
    /// `server.allowed_origins`.
    pub origins: &'a [OriginPattern],
    /// `ingest.hosts`.
    pub hosts: &'a [String],
}

/// Which requests may have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// All well-formed ones: the answer holds nothing that is secret.
    Public,
    /// Those of allowed pages and of programs. Browsers name the page of a WebSocket always, so `Host` may be any.
    WebSocket,
    /// Those of allowed pages; without an `Origin`, those whose `Host` is this machine's or that of an allowed page.
    Pages,
    /// Those whose `Host` is this machine's, and whose page, if they have one, is allowed.
    Own,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied<'r> {
    /// It has no `Host`, several, or one that is no host.
    BadHost,
    /// Its `Host` is another machine's name, or may be.
    OtherHost(&'r str, Access),
    /// It has several `Origin`s, or one that is not ASCII.
    BadOrigin,
    /// Its page is of an origin that is not allowed.
    OtherOrigin(&'r str),
}

impl Policy<'_> {
    /// Judges a request by its head. Returns the origin of the page that makes it; none if a program does.
    pub fn check<'r>(&self, access: Access, parts: &'r Parts) -> Result<Option<&'r str>, Denied<'r>> {
        let host = host_of(parts)?;
        let page = page_of(&parts.headers)?;
        if access == Access::Public {
            return Ok(page);
        }
        if let Some(page) = page.filter(|page| !is_allowed(page, self.origins)) {
            return Err(Denied::OtherOrigin(page));
        }
        let is_any_host = access == Access::WebSocket || access == Access::Pages && page.is_some();
        let Some(local) = self.local.filter(|_| !is_any_host) else { return Ok(page) };
        let (host, name) = host.ok_or(Denied::BadHost)?;
        let is_of_page =
            || ["http", "https"].iter().any(|scheme| is_allowed(&format!("{scheme}://{host}"), self.origins));
        if host::is_own(name, local, self.hosts) || access == Access::Pages && is_of_page() {
            return Ok(page);
        }
        Err(Denied::OtherHost(host, access))
    }
}

/// The host that a request asks for, and its name alone; none in HTTP/1.0 without one.
fn host_of(parts: &Parts) -> Result<Option<(&str, &str)>, Denied<'_>> {
    let mut lines = parts.headers.get_all(header::HOST).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) if parts.version < Version::HTTP_11 => None,
        (Some(line), None) => Some(line.to_str().ok().and_then(named).ok_or(Denied::BadHost)?),
        _ => return Err(Denied::BadHost),
    };
    // A target that is a whole URL overrides `Host` (RFC 9112 §3.2.2).
    match parts.uri.authority() {
        Some(authority) => named(authority.as_str()).ok_or(Denied::BadHost).map(Some),
        None => Ok(line),
    }
}

fn named(host: &str) -> Option<(&str, &str)> {
    host::name_of(host).map(|name| (host, name))
}

/// The origin of the page that makes a request, as its browser says.
pub fn page_of(headers: &HeaderMap) -> Result<Option<&str>, Denied<'_>> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(None),
        (Some(origin), None) => origin.to_str().map(Some).map_err(|_| Denied::BadOrigin),
        _ => Err(Denied::BadOrigin),
    }
}

impl Denied<'_> {
    /// What would be right, if the message does not say so.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Denied::OtherHost(_, Access::Pages) => Some(
                "use the listener's address, or add the name to ingest.hosts, or the page's origin to \
                 server.allowed_origins",
            ),
            Denied::OtherHost(..) => Some("use the listener's address, or add the name to ingest.hosts"),
            Denied::BadHost | Denied::BadOrigin | Denied::OtherOrigin(_) => None,
        }
    }
}

impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::BadHost => f.write_str("exactly one Host header is needed: HOST or HOST:PORT"),
            Denied::OtherHost(host, _) => {
                write!(f, "Host is {host:?}, which is neither loopback nor this listener's address")
            }
            Denied::BadOrigin => f.write_str("at most one Origin header is taken, in ASCII"),
            Denied::OtherOrigin(page) => write!(f, "pages of {page} may not do this"),
        }
    }
}

#[cfg(test)]
mod tests;
