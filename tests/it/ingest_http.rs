//! Events over HTTP: bodies of every shape and cut, what is refused and how, and real `curl`.

use crate::harness::{Client, DEADLINE, Producer, ROOMS, Server, http};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// A request that ends its connection, with a content length unless `headers` says otherwise.
fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    let is_told = headers.contains("Content-Length") || headers.contains("Transfer-Encoding");
    let length = if is_told { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}")
}

/// What a request is answered with: its status, its head in small letters, its body.
fn ask(addr: &str, request: &str) -> (u16, String, String) {
    let mut producer = Producer::connect(addr);
    producer.write(request);
    let answer = producer.read_to_end();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Reads one answer with a content length from a connection that stays open.
fn answer(producer: &mut Producer) -> (u16, String) {
    let Producer::Tcp(stream) = producer else { panic!("a TCP connection was expected") };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}

fn counts(body: &str) -> (u64, u64) {
    let value: Value = serde_json::from_str(body).unwrap();
    (value["accepted"].as_u64().unwrap(), value["rejected"].as_u64().unwrap())
}

/// The numbers `n` of the events in room `all`, which must be as many.
async fn numbers(server: &Server, count: usize) -> Vec<u64> {
    let mut client = Client::connect(server).await;
    client.subscribe(json!({ "room": "all", "from": "start" })).await;
    let events = client.events(count).await;
    assert_eq!(events.last().unwrap().0 as usize, count);
    events.iter().map(|(_, event)| event["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_body_is_lines_one_object_or_an_array() {
    let server = Server::start(ROOMS);
    let bodies = [
        ("{\"type\":\"t\",\"n\":0}", 1),
        ("{\"type\":\"t\",\"n\":1}\n{\"type\":\"t\",\"n\":2}\r\n\n{\"type\":\"t\",\"n\":3}\n", 3),
        ("{\n  \"type\": \"t\",\n  \"n\": 4\n}\n", 1),
        ("[{\"type\":\"t\",\"n\":5}, {\"type\":\"t\",\n\"n\":6}]", 2),
        ("{\n\"type\":\"t\",\"n\":7\n}\n{\n\"type\":\"t\",\"n\":8\n}", 2),
        ("[]", 0),
        ("", 0),
    ];
    for (body, accepted) in bodies {
        let (status, answer) = server.post(body);
        assert_eq!(
            (status, answer),
            (200, json!({ "accepted": accepted, "rejected": 0, "errors": [] })),
            "{body}"
        );
    }
    assert_eq!(numbers(&server, 9).await, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_chunked_body_may_be_cut_anywhere() {
    let server = Server::start(ROOMS);
    let lines: String = (0..20).map(|n| format!("{{\"type\":\"t\",\"n\":{n},\"é\":\"日本\"}}\n")).collect();
    let mut total = 0;
    for size in [1, 2, 3, 7, 64, 4096] {
        let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let mut request =
            b"POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        request.extend(lines.as_bytes().chunks(size).flat_map(chunk));
        request.extend(b"0\r\n\r\n");
        let (status, body) = http(&server.ingest[0], &request);
        assert_eq!((status, counts(&body)), (200, (20, 0)), "in chunks of {size}");
        total += 20;
    }
    let numbers = numbers(&server, total).await;
    assert!(numbers.chunks(20).all(|round| round.iter().copied().eq(0..20)), "{numbers:?}");
}

#[tokio::test]
async fn an_event_is_there_before_its_body_ends() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write("POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..3 {
        let line = format!("{{\"type\":\"t\",\"n\":{n}}}\n");
        producer.write(&format!("{:x}\r\n{line}\r\n", line.len()));
        assert_eq!(client.events(1).await[0].1["n"], n);
    }
    producer.write("0\r\n\r\n");
    assert_eq!(answer(&mut producer), (200, "{\"accepted\":3,\"rejected\":0,\"errors\":[]}\n".to_owned()));
}

#[test]
fn a_body_of_any_length_is_taken_in_bounded_memory() {
    let config =
        "[ingest]\nmax_event_size = \"64KiB\"\n[rooms.all]\ntypes = [\"*\"]\nhistory = { events = 10 }\n";
    let server = Server::start(config);
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Once small, so that what the daemon needs in any case is there.
    assert_eq!(server.post(&line).0, 200);
    let before = peak();
    let many = 40_000;
    for (open, comma, close) in [("", "", ""), ("[", ",", "]")] {
        let events = vec![line.as_str(); many].join(comma);
        let (status, answer) = server.post(&format!("{open}{events}{close}"));
        assert_eq!((status, answer["accepted"].as_u64()), (200, Some(many as u64)), "{answer}");
    }
    // One object, and one line, that never end.
    let endless = "y".repeat(40 << 20);
    for body in [format!("{{\"type\":\"t\",\"fill\":\"{endless}\"}}"), endless] {
        let (status, answer) = server.post(&body);
        assert_eq!((status, &answer["errors"][0]["code"]), (413, &json!("too_long")), "{answer}");
    }
    let grown = peak() - before;
    // A start that is not over yet, and the machine's figures, take some as well: up to 13 MiB in all were seen.
    assert!(grown < 20 << 10, "four bodies of 40 MB took {grown} KiB");
}

#[test]
fn a_connection_is_kept_and_requests_may_be_sent_ahead() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    let post = |body: &str| {
        format!("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for _ in 0..3 {
        producer.write(&post("{\"type\":\"t\"}"));
        let (status, body) = answer(&mut producer);
        assert_eq!((status, counts(&body)), (200, (1, 0)));
    }
    // A refusal in between ends nothing.
    let ahead = [post("{\"type\":\"t\"}\n{\"type\":\"t\"}"), post("nonsense"), post("{\"type\":\"t\"}")];
    producer.write(&ahead.concat());
    let answers: Vec<_> = ahead.iter().map(|_| answer(&mut producer)).collect();
    let seen: Vec<_> = answers.iter().map(|(status, body)| (*status, counts(body))).collect();
    assert_eq!(seen, [(200, (2, 0)), (400, (0, 1)), (200, (1, 0))]);
}

#[test]
fn who_expects_to_be_told_to_go_on_is_told() {
    let server = Server::start(ROOMS);
    let head =
        "POST /events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n";
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(head);
    assert_eq!(answer(&mut producer).0, 100);
    producer.write("{\"type\":\"t\"}");
    assert_eq!(answer(&mut producer).0, 200);
    // A request that is refused by its head need not send its body.
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(&head.replace("/events", "/event"));
    assert_eq!(answer(&mut producer).0, 404);
}

#[test]
fn what_is_refused_says_what_would_be_right() {
    let server = Server::start(&format!(
        "[server]\nallowed_origins = [\"https://app.example.org\"]\n[ingest]\nhosts = [\"Broadcast.internal\"]\nmax_event_size = \"1KiB\"\n{ROOMS}"
    ));
    let addr = &server.ingest[0];
    let event = "{\"type\":\"t\"}";
    let ours = "Origin: https://app.example.org\r\n";
    let json = format!("{ours}Content-Type: application/json\r\n");
    let long = format!("{{\"type\":\"t\",\"f\":\"{}\"}}", "x".repeat(2000));
    let post = |headers: &str, body: &str| request("POST", "/events", headers, body);
    let cases = [
        (post("", "nonsense"), 400, "", "\"bad_json\""),
        (post("", &format!("nonsense\n{event}\n")), 200, "", "\"accepted\":1,\"rejected\":1"),
        (post("", &long), 413, "", "\"too_long\""),
        (post("", &format!("{long}\n{event}")), 200, "", "\"accepted\":1,\"rejected\":1"),
        (post("", &format!("{long}\nnonsense")), 400, "", "\"rejected\":2"),
        (request("POST", "/events?runId=%zz", "", event), 400, "", "\"bad_with\""),
        (request("POST", "/", "", event), 404, "", "POST /events"),
        (request("POST", "/events/", "", event), 404, "", "POST /events"),
        (request("GET", "/events", "", ""), 405, "allow: post, options", "POST /events"),
        (request("DELETE", "/events", "", ""), 405, "allow: post, options", "POST /events"),
        (post("Content-Encoding: gzip\r\n", event), 415, "", "\"bad_content_encoding\""),
        (post("Content-Type: multipart/form-data; boundary=b\r\n", event), 415, "", "--data-binary"),
        (post("Content-Type: text/plain\r\n", event), 200, "", "\"accepted\":1"),
        (post("Content-Type: application/x-www-form-urlencoded\r\n", event), 200, "", "\"accepted\":1"),
        (post("Host: broadcast.INTERNAL:9998\r\n", event), 200, "", "\"accepted\":1"),
        (post("Host: evil.example\r\n", event), 403, "", "ingest.hosts"),
        (post("Origin: https://evil.example\r\n", event), 403, "", "allowed_origins"),
        (post("Origin: null\r\n", event), 403, "", "\"bad_origin\""),
        (post(ours, event), 415, "", "Content-Type: application/json"),
        (post(&format!("{ours}Content-Type: text/plain\r\n"), event), 415, "", "application/x-ndjson"),
        (post(&json, event), 200, "access-control-allow-origin: https://app.example.org", "\"accepted\":1"),
        (request("OPTIONS", "/events", ours, ""), 204, "access-control-allow-headers: content-type", ""),
        (request("OPTIONS", "/events", "Origin: https://evil.example\r\n", ""), 403, "", "\"bad_origin\""),
        (post(&format!("X-Long: {}\r\n", "x".repeat(70_000)), event), 431, "", ""),
    ];
    for (request, status, header, text) in &cases {
        let shown = &request[..request.len().min(300)];
        let (seen, head, body) = ask(addr, request);
        assert_eq!(seen, *status, "{shown}\n{head}\n{body}");
        assert!(head.contains(header), "{shown}\n{head}");
        assert!(body.contains(text), "{shown}\n{body}");
    }
    // HTTP/1.1 without a Host (RFC 9112 §3.2).
    let hostless = format!("POST /events HTTP/1.1\r\nConnection: close\r\nContent-Length: 12\r\n\r\n{event}");
    assert_eq!(ask(addr, &hostless).0, 400);
    let taken =
        cases.iter().filter(|(_, status, _, text)| *status == 200 && text.contains("accepted")).count();
    assert_eq!(
        server.metric("broadcastd_ingest_events_total"),
        taken as f64,
        "what was refused by its head is not read"
    );
}

#[tokio::test]
async fn fields_beside_come_in_the_query() {
    let server = Server::start("[rooms.\"run:{runId}\"]\ntypes = [\"*\"]\n");
    let (status, answer) =
        server.post_to("/events?runId=r%201&x=y", "{\"type\":\"t\",\"n\":1}\n{\"type\":\"t\",\"n\":2}");
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "run:r 1", "from": "start" })).await;
    assert!(client.events(2).await.iter().all(|(_, event)| event.get("runId").is_none()));
}

#[test]
fn a_line_that_only_looks_like_a_request_is_a_line() {
    let server = Server::start(ROOMS);
    let event = "{\"type\":\"t\"}\n";
    for first in ["POST /events\n", "HTTP/1.1 200 OK\r\n", "GET / HTTP/2.0\n", "POST HTTP/1.1x\n"] {
        let answers = server.pipe(&format!("{first}{event}"));
        assert_eq!(answers[0]["error"]["line"], 1, "{first:?}: {answers:?}");
        assert_eq!(answers.last().unwrap(), &json!({ "accepted": 1, "rejected": 1, "line": 2 }), "{first:?}");
    }
    // And one request in three pieces is a request.
    let whole = request("POST", "/events", "", event);
    for cut in 1..20 {
        let mut producer = Producer::connect(&server.ingest[0]);
        producer.write(&whole[..cut]);
        producer.write(&whole[cut..30]);
        producer.write(&whole[30..]);
        assert!(producer.read_to_end().starts_with("HTTP/1.1 200 "), "cut at {cut}");
    }
}

#[test]
fn a_request_that_breaks_off_keeps_what_was_whole() {
    let server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer.write(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"type\":\"t\"}\n{\"ty",
    );
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
    drop(producer);
    server.until_metric("broadcastd_producers", |producers| producers == 0.0);
    assert_eq!(server.metric("broadcastd_ingest_events_total"), 1.0);
    assert_eq!(server.metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"}"), 1.0);
}

#[tokio::test]
async fn a_full_backlog_is_told_with_what_was_taken() {
    let config = "[ingest]\nlisten = [{ tcp = \"127.0.0.1:0\", when_full = \"shed\" }]\nbacklog = \"64KiB\"\n\
                  [rooms.all]\ntypes = [\"*\"]\nhistory = { events = 10 }\n";
    let server = Server::start(config);
    // Makes progress at first, and then not: the shard holds for it.
    let mut client = Client::connect(&server).await;
    client.subscribe("all").await;
    let line = format!("{{\"type\":\"t\",\"fill\":\"{}\"}}\n", "x".repeat(1000));
    let body = line.repeat(20_000);
    let (status, head, text) = ask(&server.ingest[0], &request("POST", "/events", "", &body));
    let (accepted, rejected) = counts(&text);
    assert_eq!((status, accepted + rejected), (503, 20_000), "{text}");
    assert!(head.contains("\r\nretry-after: "), "{head}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["errors"].as_array().unwrap().len(), 20);
    assert_eq!(value["errors"][0]["code"], "backlog_full");
    assert_eq!(value["errors"][0]["line"], accepted + 1, "what was taken is the beginning");
    let counted = server.metric("broadcastd_ingest_rejected_total{reason=\"backlog_full\"}");
    assert_eq!(counted, rejected as f64);
    drop(client);
}

#[test]
fn a_request_under_way_is_finished_when_the_daemon_stops_and_the_next_is_not_taken() {
    let mut server = Server::start(ROOMS);
    let mut producer = Producer::connect(&server.ingest[0]);
    producer
        .write("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 26\r\n\r\n{\"type\":\"t\"}\n");
    server.until_metric("broadcastd_ingest_events_total", |events| events == 1.0);
    let mut idle = Producer::connect(&server.ingest[0]);
    idle.write(&request("POST", "/events", "", "").replace("Connection: close\r\n", ""));
    assert_eq!(answer(&mut idle).0, 200);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(idle.read_to_end(), "", "an idle connection is closed");
    producer.write("{\"type\":\"t\"}\n");
    let (status, body) = answer(&mut producer);
    assert_eq!((status, counts(&body)), (200, (2, 0)));
    assert!(server.logged("stopped: ").contains("everything"));
    assert!(server.wait().success());
}

/// Runs a command with an input; what it wrote.
fn run(command: &mut Command, input: &[u8]) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn curl_as_the_documentation_has_it() {
    let server =
        Server::start(&format!("[ingest]\nlisten = [\"127.0.0.1:0\", {{ unix = \"in.sock\" }}]\n{ROOMS}"));
    let seconds = DEADLINE.as_secs().to_string();
    let curl = |arguments: &[&str], input: &str| {
        let mut command = Command::new("curl");
        run(command.args(["-sS", "--max-time", &seconds]).args(arguments), input.as_bytes())
    };
    let lines: String = (0..5000).map(|n| format!("{{\"type\":\"t\",\"n\":{n}}}\n")).collect();
    let url = format!("http://{}/events", server.ingest[0]);
    let socket = &server.ingest[1]["unix:".len()..];
    // Over 1 MB curl asks before it sends (Expect: 100-continue), and -T - sends chunks.
    assert_eq!(counts(&curl(&["--data-binary", "@-", &url], &lines)), (5000, 0));
    assert_eq!(counts(&curl(&["-T", "-", "-X", "POST", &url], &lines)), (5000, 0));
    assert_eq!(counts(&curl(&["-d", "{\"type\":\"t\",\"n\":7}", &url["http://".len()..]], "")), (1, 0));
    let unix = [
        "--unix-socket",
        socket,
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        "@-",
        "http://localhost/events",
    ];
    assert_eq!(counts(&curl(&unix, &lines)), (5000, 0));
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "all", "from": { "last": 1000 } })).await;
    let events = client.events(1000).await;
    assert_eq!(events.last().unwrap().0, 15_001);
    assert!(events.iter().map(|(_, event)| event["n"].as_u64().unwrap()).eq(4000..5000));
}
