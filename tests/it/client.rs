//! The JavaScript client as the daemon serves it.

use crate::harness::{Producer, Server, http, repository};
use crate::raw::{Raw, request};
use broadcastd::config::NULL_ORIGIN;
use std::collections::BTreeSet;

fn ask(addr: &str, target: &str, headers: &str) -> (u16, String, String) {
    let mut producer = Producer::connect(addr);
    producer.write(&format!(
        "GET {target} HTTP/1.1\r\nHost: broadcast.example\r\nConnection: close\r\n{headers}\r\n"
    ));
    let answer = producer.read_to_end();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

/// What a module imports or exports from, as paths.
fn imports(module: &str, source: &str) -> Vec<String> {
    let folder = &module[..=module.rfind('/').unwrap()];
    let from = source.lines().filter(|line| line.starts_with("import ") || line.starts_with("export {"));
    from.filter_map(|line| line.split(" from \"").nth(1))
        .map(|rest| rest.trim_end_matches("\";"))
        .map(|name| match name.strip_prefix("../") {
            Some(above) => format!("/{above}"),
            None => format!("{folder}{}", name.trim_start_matches("./")),
        })
        .collect()
}

#[test]
fn every_module_is_served_to_everybody() {
    let server = Server::start("[server]\nexpose = []\nallowed_origins = []\n[rooms.all]\ntypes = [\"*\"]\n");
    let mut modules = BTreeSet::new();
    let mut next = vec!["/client.js".to_owned()];
    while let Some(module) = next.pop() {
        if !modules.insert(module.clone()) {
            continue;
        }
        for addr in [&server.clients[0], &server.admin[0]] {
            let (status, head, body) = ask(addr, &module, "Origin: https://elsewhere.example\r\n");
            assert_eq!(status, 200, "{module}: {head}");
            let packaged = std::fs::read_to_string(repository(&format!("client{module}"))).unwrap();
            // The one module that says which daemon serves it.
            assert_eq!(body == packaged, module != "/client/served.js", "{module}");
            for line in [
                "content-type: text/javascript; charset=utf-8",
                "access-control-allow-origin: *",
                "x-content-type-options: nosniff",
                "cache-control: public, max-age=",
            ] {
                assert!(head.contains(line), "{module} has no {line}: {head}");
            }
            next.extend(imports(&module, &body));
        }
    }
    assert_eq!(modules.len(), 7, "{modules:?}");
    for other in ["/client/", "/client/nothing.js", "/client.jsx", "/client/../client.js", "/"] {
        assert_eq!(ask(&server.clients[0], other, "").0, 404, "{other}");
    }
}

#[test]
fn page_without_an_origin_is_told_the_same_by_client_and_daemon() {
    let client = std::fs::read_to_string(repository("client/client.js")).unwrap();
    assert!(client.contains(&format!("'{NULL_ORIGIN}'")), "{NULL_ORIGIN}");
    let server = Server::start("[rooms.all]\ntypes = [\"*\"]\n");
    let mut raw = Raw::connect(&server.clients[0]);
    raw.send(request("/ws", &[("Origin", "null")]).as_bytes());
    assert_eq!(raw.answer().status, 403);
    let line = server.logged("page refused");
    assert!(line.contains(" to server.allowed_origins, or serve the page over HTTP"), "{line}");
    let test = "POST /api/v1/websocket/broadcast/test HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (_, answer) = http(&server.clients[0], test.as_bytes());
    let problem: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(problem["hint"], format!("add \"*\" to server.allowed_origins, or {NULL_ORIGIN}"));
}

#[test]
fn who_has_a_module_is_told_so() {
    let server = Server::start("[rooms.all]\ntypes = [\"*\"]\n");
    let (_, head, _) = ask(&server.clients[0], "/client.js", "");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"old\", {tag}"), "*".to_owned()] {
        let (status, head, body) =
            ask(&server.clients[0], "/client/sse.js", &format!("If-None-Match: {known}\r\n"));
        assert_eq!((status, body.as_str()), (304, ""), "{known}");
        assert!(head.contains(&tag) && head.contains("access-control-allow-origin: *"), "{head}");
    }
    assert_eq!(ask(&server.clients[0], "/client.js", "If-None-Match: \"old\"\r\n").0, 200);
}
