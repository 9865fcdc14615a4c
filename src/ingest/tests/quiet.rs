//! Producers that say nothing for long.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Lets time pass at once.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    // Everything due has its turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn producers_may_be_quiet_for_days_between_two_lines() {
    run_for(DAY * 7, TCP, async |bench| {
        let mut lines = bench.tcp().await;
        lines.write_all(b"{\"type\":\"e1\"}\n").await.unwrap();
        let mut body = bench.tcp().await;
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        body.write_all(format!("{head}e\r\n{{\"type\":\"e2\"}}\n\r\n").as_bytes()).await.unwrap();
        bench.list.reaches(2).await;
        pass(DAY * 3).await;
        lines.write_all(b"{\"type\":\"e3\"}\n").await.unwrap();
        bench.list.reaches(3).await;
        lines.shutdown().await.unwrap();
        body.write_all(b"d\r\n{\"type\":\"e4\"}\r\n0\r\n\r\n").await.unwrap();
        bench.list.reaches(4).await;
        let mut answer = String::new();
        lines.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "{\"accepted\":2,\"rejected\":0,\"line\":2}\n");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\"errors\":[]}\n") {
            assert_ne!(body.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    });
}

#[test]
fn a_line_without_progress_is_given_up_after_its_timeout() {
    run_for(DAY * 7, TCP, async |bench| {
        let mut stream = bench.tcp().await;
        stream.write_all(b"{\"type\":\"e1\"}\n{\"ty").await.unwrap();
        bench.list.reaches(1).await;
        pass(Duration::from_secs(299)).await;
        bench.has_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 0");
        pass(Duration::from_secs(2)).await;
        bench.until_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 1").await;
        stream.write_all(b"pe\":\"e2\"}\n{\"type\":\"e3\"}\n").await.unwrap();
        bench.list.reaches(2).await;
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("did not end or grow by 64KiB within 5m"), "{answer}");
        assert!(answer.ends_with("{\"accepted\":2,\"rejected\":1,\"line\":3}\n"), "{answer}");
    });
}

#[test]
fn a_line_in_the_way_of_others_is_given_up_sooner() {
    let setup = Setup { max_event_size: 100_000, ..TCP };
    run_for(DAY, setup, async |bench| {
        bench.list.set_backlog(60_000);
        let half = format!("{{\"type\":\"e\",\"a\":\"{}", "x".repeat(10_000));
        let mut stalled = Vec::new();
        // Two fill the share, and the third has the turn.
        for count in 1..=3 {
            stalled.push(bench.tcp().await);
            stalled[count - 1].write_all(half.as_bytes()).await.unwrap();
            bench.until_backlog(count * 2 * half.len()).await;
        }
        // Short lines need no turn.
        let mut short = bench.tcp().await;
        short.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        bench.list.reaches(1).await;
        drop(short);
        let mut waiting = bench.tcp().await;
        waiting.write_all(format!("{half}\"}}\n").as_bytes()).await.unwrap();
        bench.until_backlog(3 * 2 * half.len() + 8192).await;
        assert_eq!(bench.list.texts().len(), 1, "it waits for the turn");
        pass(Duration::from_secs(11)).await;
        bench.list.reaches(2).await;
        bench.has_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 2");
        // The last one may end.
        for (index, stream) in stalled.iter_mut().enumerate() {
            stream.write_all(b"\"}\n").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.contains("cut_off"), index < 2, "{answer}");
        }
        assert_eq!(bench.list.totals().backlog_bytes(), 0);
    });
}

#[test]
fn a_listener_that_sheds_refuses_long_lines_that_have_no_room() {
    run(Setup { max_event_size: 100_000, when_full: WhenFull::Shed, ..TCP }, async |bench| {
        bench.list.set_backlog(20_000);
        let half = format!("{{\"type\":\"e\",\"a\":\"{}", "x".repeat(10_000));
        let mut stalled = Vec::new();
        for count in 1..=2 {
            stalled.push(bench.tcp().await);
            stalled[count - 1].write_all(half.as_bytes()).await.unwrap();
            bench.until_backlog(count * 2 * half.len()).await;
        }
        let answer = bench.exchange(format!("{half}\"}}\n{{\"type\":\"e\"}}\n")).await;
        assert!(answer.contains("\"line\":1") && answer.contains("\"code\":\"backlog_full\""), "{answer}");
        assert!(answer.ends_with("{\"accepted\":1,\"rejected\":1,\"line\":2}\n"), "{answer}");
    });
}

#[test]
fn a_producer_that_is_idle_for_too_long_has_its_total_and_is_closed() {
    let idle_timeout = Some(Duration::from_secs(3600));
    run_for(DAY, Setup { idle_timeout, ..TCP }, async |bench| {
        let mut stream = bench.tcp().await;
        stream.write_all(b"{\"type\":\"e\"}\nnonsense\n").await.unwrap();
        bench.list.reaches(1).await;
        let mut body = bench.tcp().await;
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        body.write_all(format!("{head}d\r\n{{\"type\":\"e\"}}\n\r\n").as_bytes()).await.unwrap();
        bench.list.reaches(2).await;
        pass(Duration::from_secs(3000)).await;
        bench.has_metric("broadcastd_producers_closed_total{reason=\"idle\"} 0");
        pass(Duration::from_secs(1000)).await;
        bench.until_metric("broadcastd_producers_closed_total{reason=\"idle\"} 2").await;
        let mut answer = String::new();
        body.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("\"accepted\":1") && answer.contains("\"code\":\"idle\""), "{answer}");
        answer.clear();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("bad_json"), "{answer}");
        assert!(answer.ends_with("{\"accepted\":1,\"rejected\":1,\"line\":2}\n"), "{answer}");
        // Its end is not waited for long.
        pass(Duration::from_secs(3)).await;
        bench.until_metric("broadcastd_producers 0").await;
    });
}

#[test]
fn a_quiet_request_gives_its_place_to_a_new_producer() {
    run_for(DAY, TCP, async |bench| {
        let mut body = bench.tcp().await;
        let head = "POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        body.write_all(format!("{head}d\r\n{{\"type\":\"e\"}}\n\r\n").as_bytes()).await.unwrap();
        bench.list.reaches(1).await;
        let mut lines = Vec::new();
        for count in 2..=CONNECTIONS {
            let mut stream = bench.tcp().await;
            stream.write_all(b"{\"type\":\"e\"}\n{\"ty").await.unwrap();
            bench.list.reaches(count).await;
            lines.push(stream);
        }
        pass(Duration::from_secs(5)).await;
        assert!(bench.exchange("{\"type\":\"e\"}\n").await.starts_with("{\"accepted\":1"));
        bench.has_metric("broadcastd_producers_closed_total{reason=\"gave_way\"} 1");
        let mut answer = String::new();
        body.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"accepted\":1"), "{answer}");
        assert!(answer.contains("\"code\":\"gave_way\""), "{answer}");
    });
}

#[test]
fn a_line_that_grows_enough_is_no_stalled_line() {
    let setup = Setup { max_event_size: 1 << 20, ..TCP };
    run_for(DAY, setup, async |bench| {
        bench.list.set_backlog(1 << 30);
        let mut stream = bench.tcp().await;
        stream.write_all(b"{\"type\":\"e\",\"a\":\"").await.unwrap();
        bench.until_backlog(17).await;
        for count in 1..=3 {
            pass(Duration::from_secs(200)).await;
            stream.write_all(&vec![b'x'; 64 * 1024]).await.unwrap();
            bench.until_backlog(count * 64 * 1024 + 17).await;
        }
        pass(Duration::from_secs(200)).await;
        stream.write_all(&vec![b'x'; 1024]).await.unwrap();
        bench.until_backlog(3 * 64 * 1024 + 1024 + 17).await;
        bench.has_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 0");
        pass(Duration::from_secs(150)).await;
        bench.until_metric("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 1").await;
    });
}
