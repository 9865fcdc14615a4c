//! The page at `/`: rooms and their live events, for a first look. Everything comes from the binary.

use super::{Answer, State, json_answer, text};
use crate::config::{Config, IngestAddr};
use crate::route::Sample;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Nothing but what the page itself is made of; WebSockets to where it came from. The hash is of the one script that the
/// pages hold themselves: it ends the page's path with a slash, so that relative addresses are below it.
const POLICY: &str = "default-src 'none'; script-src 'self' 'sha256-/oL4L/Q793teV1T5nxD8tki13/1VbfZJtGaXLAEpc/I='; style-src 'self'; connect-src 'self' ws: wss:; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn html() -> Answer {
    secured(include_str!("page/page.html"))
}

/// A page that may load nothing but its own.
pub(super) fn secured(html: &'static str) -> Answer {
    let mut answer = text("text/html; charset=utf-8", html);
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

pub(super) fn script() -> Answer {
    text("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

pub(super) fn style() -> Answer {
    text("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// What the page cannot know by itself: the rooms, how to send an event, and where the dashboard may be.
pub(super) fn facts(state: &State) -> Answer {
    let generation = state.rooms.generation();
    let names: Vec<&str> = generation.rooms.iter().map(|room| room.name.source()).collect();
    let addresses = state.addresses.load();
    let sample = generation.sample();
    let send = sample.and_then(|sample| {
        let command = send_command(&generation.config, &addresses.ingest, sample)?;
        Some(json!({ "command": command, "room": sample.room }))
    });
    let dashboard: Vec<&String> = addresses.admin.iter().filter(|addr| !addr.starts_with("unix:")).collect();
    json_answer(StatusCode::OK, &json!({ "rooms": names, "send": send, "dashboard": dashboard }))
}

/// A command for a shell of this machine that sends an event to the first ingest listener, whose real address is the first of
/// `addresses`. None if all there is is standard input.
pub fn send_command(config: &Config, addresses: &[String], sample: &Sample) -> Option<String> {
    let listener = config.ingest.listen.iter().find(|listener| listener.addr != IngestAddr::Stdin)?;
    let line = quoted(&sample.line);
    Some(match &listener.addr {
        IngestAddr::Unix(addr) => {
            let path = quoted(&addr.path.to_string_lossy());
            format!("curl --unix-socket {path} -d {line} http://localhost/events")
        }
        IngestAddr::Fifo(addr) => format!("echo {line} > {}", quoted(&addr.path.to_string_lossy())),
        IngestAddr::Tcp(_) | IngestAddr::Stdin => {
            format!("curl -d {line} http://{}/events", reached(addresses.first()?))
        }
    })
}

/// A listener's address as programs of this machine reach it.
fn reached(address: &str) -> String {
    let Ok(mut real) = address.parse::<SocketAddr>() else { return address.to_owned() };
    match real.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => real.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => real.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    real.to_string()
}

/// A word of a shell's command.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Dirs, Input};

    #[test]
    fn command_fits_the_first_place_for_events() {
        let dirs = Dirs { runtime: "/run/it is".into(), state: "/var".into() };
        let sample = Sample { line: r#"{"type":"it's"}"#.to_owned(), room: "events".to_owned() };
        for (listen, addresses, command) in [
            ("\"127.0.0.1:0\"", &["127.0.0.1:7"][..], "curl -d DATA http://127.0.0.1:7/events"),
            ("\"[::1]:0\"", &["[::1]:7"], "curl -d DATA http://[::1]:7/events"),
            ("\"0.0.0.0:0\"", &["0.0.0.0:7"], "curl -d DATA http://127.0.0.1:7/events"),
            (
                "{ unix = \"a.sock\" }",
                &["unix:/run/it is/a.sock"],
                "curl --unix-socket '/run/it is/a.sock' -d DATA http://localhost/events",
            ),
            ("{ fifo = \"/tmp/a.fifo\" }", &["unix:/tmp/a.fifo"], "echo DATA > /tmp/a.fifo"),
        ] {
            let text = format!("[ingest]\nauth = \"none\"\nlisten = [{listen}]\n");
            let input = Input {
                file: None,
                defaults: false,
                set: Vec::new(),
                environment: &|_| None,
                dirs: dirs.clone(),
            };
            let config = input.load_text(Some("x.toml".into()), text).unwrap().config;
            let addresses: Vec<String> = addresses.iter().map(|addr| (*addr).to_owned()).collect();
            let command = command.replace("DATA", r#"'{"type":"it'\''s"}'"#);
            assert_eq!(send_command(&config, &addresses, &sample), Some(command));
        }
    }
}
