//! Requests, byte by byte as a client sends them.

use super::*;

/// A POST with a content length that ends the connection.
fn post(target: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request; checks the status and that the answer holds every text.
async fn check(bench: &Bench, request: impl AsRef<[u8]>, status: u16, holds: &[&str]) {
    let answer = bench.exchange(request).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} expected:\n{answer}");
    for text in holds {
        assert!(answer.contains(text), "no {text:?} in\n{answer}");
    }
}

#[test]
fn bodies_are_lines_objects_or_arrays() {
    run(TCP, async |bench| {
        let ok = |accepted: u32| format!("{{\"accepted\":{accepted},\"rejected\":0,\"errors\":[]}}\n");
        let lines = "{\"type\":\"e1\"}\n{\"type\":\"e2\"}\n";
        check(&bench, post("/events", "", lines), 200, &[&ok(2)]).await;
        let pretty = "{\n  \"type\": \"e3\"\n}\n";
        check(&bench, post("/events", "Content-Type: application/json\r\n", pretty), 200, &[&ok(1)]).await;
        check(&bench, post("/events", "", "[{\"type\":\"e4\"},\n {\"type\":\"e5\"}]"), 200, &[&ok(2)]).await;
        check(&bench, post("/events", "", ""), 200, &[&ok(0)]).await;
        let expected = [
            "{\"type\":\"e1\"}",
            "{\"type\":\"e2\"}",
            "{   \"type\": \"e3\" }",
            "{\"type\":\"e4\"}",
            "{\"type\":\"e5\"}",
        ];
        assert_eq!(bench.list.texts(), expected);
    });
}

#[test]
fn fields_beside_are_in_the_query() {
    run(TCP, async |bench| {
        check(&bench, post("/events?runId=r%201", "", "{\"type\":\"e\"}"), 200, &[]).await;
        assert_eq!(bench.list.besides(), ["{\"runId\":\"r 1\"}"]);
        check(&bench, post("/events?runId=%ff", "", "{\"type\":\"e\"}"), 400, &["\"code\":\"bad_with\""])
            .await;
    });
}

#[test]
fn a_chunked_body_is_processed_as_it_comes_and_the_connection_kept() {
    run(TCP, async |bench| {
        let mut stream = bench.tcp().await;
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        for round in 0..2 {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(b"f\r\n{\"type\":\"e1\"}\n{\r\n").await.unwrap();
            bench.list.reaches(round * 2 + 1).await;
            stream.write_all(b"c\r\n\"type\":\"e2\"}\r\n0\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\"errors\":[]}\n") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 "));
        }
        assert_eq!(bench.list.texts().len(), 4);
    });
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on() {
    run(TCP, async |bench| {
        let mut stream = bench.tcp().await;
        let head =
            "POST /events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 100 "));
        stream.write_all(b"{\"type\":\"e\"}").await.unwrap();
        bench.list.reaches(1).await;
    });
}

#[test]
fn what_is_wrong_is_told_by_status_and_place() {
    run(TCP, async |bench| {
        let mixed = post("/events", "", "{\"type\":\"e\"}\nnonsense\n");
        check(
            &bench,
            mixed,
            200,
            &["\"accepted\":1,\"rejected\":1", "\"line\":2,\"column\":2,\"code\":\"bad_json\""],
        )
        .await;
        check(&bench, post("/events", "", "nonsense\n"), 400, &["\"accepted\":0,\"rejected\":1"]).await;
        let array = post("/events", "", "[\n {\"type\":\"e\"},\n {\"type\":\n 7}]");
        check(&bench, array, 200, &["\"line\":4,\"column\":2,\"code\":\"bad_type\""]).await;
        let long = format!("{{\"type\":\"e\",\"a\":\"{}\"}}", "x".repeat(MAX_EVENT_SIZE));
        check(&bench, post("/events", "", &long), 413, &["\"code\":\"too_long\""]).await;
        check(&bench, post("/events", "", &format!("[{long}]")), 413, &["\"code\":\"too_long\""]).await;
        check(&bench, post("/events", "", "[{\"type\":\"e\"}"), 200, &["the array has no end"]).await;
        let many = "nonsense\n".repeat(30);
        let answer = bench.exchange(post("/events", "", &many)).await;
        assert_eq!(answer.matches("bad_json").count(), 20, "{answer}");
        bench.has_metric("broadcastd_ingest_answers_dropped_total 10");
    });
}

#[test]
fn other_requests_are_refused() {
    run(TCP, async |bench| {
        let get = "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        check(&bench, get, 405, &["allow: POST, OPTIONS", "\"code\":\"method_not_allowed\""]).await;
        check(&bench, post("/", "", ""), 404, &["\"hint\":\"POST /events\""]).await;
        check(&bench, post("/events", "Content-Encoding: gzip\r\n", "{}"), 415, &[]).await;
        let host =
            "POST /events HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        check(&bench, host, 403, &["\"code\":\"bad_host\""]).await;
        check(&bench, host.replace("example.org", "events.example.org:9998"), 200, &[]).await;
        check(&bench, host.replace("Host: example.org\r\n", ""), 400, &[]).await;
        assert_eq!(bench.list.texts().len(), 0);
    });
}

#[test]
fn a_page_may_post_from_an_allowed_origin_only() {
    run(TCP, async |bench| {
        let body = "{\"type\":\"e\"}";
        let ours = "Origin: http://localhost:3000\r\n";
        check(
            &bench,
            post("/events", "Origin: http://evil.example\r\n", body),
            403,
            &["\"code\":\"bad_origin\""],
        )
        .await;
        check(&bench, post("/events", ours, body), 415, &["\"code\":\"bad_content_type\""]).await;
        assert_eq!(bench.list.texts().len(), 0);
        let headers = format!("{ours}Content-Type: application/json\r\n");
        check(
            &bench,
            post("/events", &headers, body),
            200,
            &["access-control-allow-origin: http://localhost:3000"],
        )
        .await;
        let preflight = post("/events", ours, "").replace("POST", "OPTIONS");
        check(&bench, &preflight, 204, &["access-control-allow-methods: POST, OPTIONS"]).await;
        check(&bench, preflight.replace("localhost:3000", "evil.example"), 403, &[]).await;
    });
}

#[test]
fn a_full_backlog_is_503_where_the_listener_sheds() {
    run(Setup { when_full: WhenFull::Shed, ..TCP }, async |bench| {
        bench.list.set_full(true);
        let request = post("/events", "", "{\"type\":\"e\"}\n");
        check(&bench, request, 503, &["retry-after: ", "\"accepted\":0,\"rejected\":1", "backlog_full"])
            .await;
    });
}

#[test]
fn on_a_unix_socket_any_host_will_do() {
    run(UNIX, async |bench| {
        let mut stream = bench.unix().await;
        stream
            .write_all(post("/events", "", "{\"type\":\"e\"}").replace("localhost", "whatever").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn the_request_under_way_is_finished_when_the_daemon_stops() {
    run(TCP, async |bench| {
        let mut stream = bench.tcp().await;
        let request = post("/events", "", "{\"type\":\"e1\"}\n{\"type\":\"e2\"}\n")
            .replace("Connection: close\r\n", "");
        let (begin, rest) = request.split_at(request.len() - 5);
        stream.write_all(begin.as_bytes()).await.unwrap();
        bench.list.reaches(1).await;
        bench.trigger.fire();
        tokio::task::yield_now().await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"accepted\":2"), "{answer}");
        assert_eq!(bench.stop().await, Drained::default());
    });
}

#[test]
fn a_request_split_anywhere_is_still_http() {
    run(TCP, async |bench| {
        let request = post("/events", "", "{\"type\":\"e\"}");
        for (count, cut) in [1, 5, 20, 24, 25, 60].into_iter().enumerate() {
            let mut stream = bench.tcp().await;
            stream.set_nodelay(true).unwrap();
            stream.write_all(&request.as_bytes()[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(&request.as_bytes()[cut..]).await.unwrap();
            bench.list.reaches(count + 1).await;
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
    });
}

#[test]
fn a_body_that_is_not_what_http_says_is_told_apart_and_ends_the_connection() {
    run(TCP, async |bench| {
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\n";
        let event = "{\"type\":\"e\"}\n";
        let short = format!("{head}Content-Length: 50\r\n\r\n{event}");
        let counts = "\"accepted\":1,\"rejected\":0";
        let closes = "connection: close";
        check(&bench, short, 400, &[counts, "\"code\":\"incomplete_body\"", "send the rest again", closes])
            .await;
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        let bad = format!("{chunked}d\r\n{event}\r\nxyz\r\n");
        check(&bench, bad, 400, &[counts, "\"code\":\"bad_chunk\"", "size in hexadecimal", closes]).await;
        let none = format!("{head}\r\n{event}");
        check(&bench, none, 411, &["\"code\":\"length_required\"", "send a Content-Length", closes]).await;
        let form = post("/events", "Content-Type: multipart/form-data; boundary=x\r\n", "x");
        check(&bench, form, 415, &["forms are not read", "--data-binary"]).await;
    });
}

#[test]
fn a_page_of_another_origin_may_not_read_the_refusal() {
    run(TCP, async |bench| {
        let evil = post("/events", "Origin: http://evil.example\r\n", "");
        let answer = bench.exchange(&evil).await;
        assert!(
            answer.contains("vary: origin") && !answer.contains("access-control-allow-origin"),
            "{answer}"
        );
        let ours = post("/events", "Origin: http://localhost:3000\r\n", "").replace("POST", "OPTIONS");
        let headers =
            ["access-control-allow-headers: content-type", "access-control-max-age: 600", "vary: origin"];
        check(&bench, ours, 204, &headers).await;
        let plain = post("/events", "", "").replace("POST", "OPTIONS");
        let answer = bench.exchange(plain).await;
        assert!(answer.contains("allow: POST, OPTIONS") && !answer.contains("access-control"), "{answer}");
        let answer = bench.exchange(post("/events", "", "")).await;
        assert!(!answer.contains("vary") && !answer.contains("connection: close\r\nconnection"), "{answer}");
    });
}

#[test]
fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    run(TCP, async |bench| {
        let mut stream = bench.tcp().await;
        let head = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // More than the buffers on the way: it arrives only if it is read.
        let chunk = vec![b'x'; 100_000];
        for _ in 0..30 {
            stream.write_all(&chunk).await.unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    });
}

#[test]
fn the_rest_of_a_request_is_refused_once_the_backlog_was_full() {
    run(Setup { when_full: WhenFull::Shed, ..TCP }, async |bench| {
        let mut stream = bench.tcp().await;
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let event = "{\"type\":\"e\"}\n";
        stream.write_all(format!("{head}Content-Length: 39\r\n\r\n{event}").as_bytes()).await.unwrap();
        bench.list.reaches(1).await;
        bench.list.set_full(true);
        stream.write_all(event.as_bytes()).await.unwrap();
        bench.until_metric("broadcastd_ingest_rejected_total{reason=\"backlog_full\"} 1").await;
        bench.list.set_full(false);
        stream.write_all(event.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.contains("\"accepted\":1,\"rejected\":2"),
            "what was taken is its beginning: {answer}"
        );
    });
}
