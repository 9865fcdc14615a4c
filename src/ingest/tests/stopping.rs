//! What becomes of producers when the daemon stops, or their listener goes.

use super::*;

#[test]
fn stopping_half_closes_producers_and_reads_them_to_their_end() {
    for setup in [TCP, Setup { ack: Ack::All, ..TCP }] {
        run(setup, async |bench| {
            let mut stream = bench.tcp().await;
            stream.write_all(b"{\"type\":\"e1\"}\n{\"ty").await.unwrap();
            bench.list.reaches(1).await;
            bench.trigger.fire();
            // Totals, if any, and then the end of their direction.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            stream.write_all(b"pe\":\"e2\"}\n{\"type\":\"e3\"}").await.unwrap();
            stream.shutdown().await.unwrap();
            bench.list.reaches(3).await;
            assert_eq!(bench.stop().await, Drained::default());
        });
    }
}

#[test]
fn a_producer_that_reads_its_answers_has_its_total_when_the_daemon_stops() {
    let total = "{\"accepted\":1,\"rejected\":0,\"line\":1}\n";
    for (setup, expected) in [(UNIX, total), (Setup { ack: Ack::None, ..UNIX }, "")] {
        run(setup, async |bench| {
            let mut stream = bench.unix().await;
            stream.write_all(b"{\"type\":\"e\"}\n").await.unwrap();
            bench.list.reaches(1).await;
            bench.trigger.fire();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, expected);
            drop(stream);
            assert_eq!(bench.stop().await, Drained::default());
        });
    }
    // Over TCP it could destroy what the producer is still sending.
    run(TCP, async |bench| {
        let mut stream = bench.tcp().await;
        stream.write_all(b"{\"type\":\"e\"}\nnonsense\n").await.unwrap();
        bench.list.reaches(1).await;
        bench.trigger.fire();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "");
        drop(stream);
        let metrics = bench.metrics.clone();
        assert_eq!(bench.stop().await, Drained::default());
        assert!(metrics.render().contains("broadcastd_ingest_answers_dropped_total 1\n"));
    });
}

#[test]
fn a_request_on_a_connection_from_before_the_stop_is_carried_out() {
    run(TCP, async |bench| {
        let mut streams = [bench.tcp().await, bench.tcp().await, bench.tcp().await];
        bench.producers(3).await;
        let request =
            "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n{\"type\":\"e\"}";
        // One has come when the stop begins, one comes then, and one comes on a connection that was in use before.
        streams[2].write_all(request.as_bytes()).await.unwrap();
        bench.list.reaches(1).await;
        streams[0].write_all(request.as_bytes()).await.unwrap();
        bench.trigger.fire();
        tokio::task::yield_now().await;
        streams[1].write_all(request.as_bytes()).await.unwrap();
        streams[2].write_all(request.as_bytes()).await.unwrap();
        for stream in &mut streams {
            let mut answers = String::new();
            stream.read_to_string(&mut answers).await.unwrap();
            let (_, last) = answers.rsplit_once("HTTP/1.1 ").unwrap();
            assert!(last.starts_with("200 ") && last.contains("\"accepted\":1"), "{answers:?}");
            assert!(last.contains("connection: close"), "the next one goes elsewhere: {answers:?}");
        }
        assert_eq!(bench.stop().await, Drained::default());
    });
}

#[test]
fn who_has_connected_before_its_listener_goes_is_served() {
    run(TCP, async |bench| {
        let BoundAddr::Tcp(addr) = &bench.addr else { panic!("not TCP: {}", bench.addr) };
        // The kernel has it, and nobody has accepted it.
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        bench.removed.fire();
        stream.write_all(b"{\"type\":\"e\"}\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut answer = String::new();
        TcpStream::from_std(stream).unwrap().read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("{\"accepted\":1"), "{answer}");
    });
}

#[test]
fn who_has_just_connected_may_finish_while_the_daemon_stops() {
    run(TCP, async |bench| {
        let mut streams = [bench.tcp().await, bench.tcp().await];
        bench.producers(2).await;
        streams[0].write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        bench.list.reaches(1).await;
        bench.trigger.fire();
        tokio::task::yield_now().await;
        streams[1].write_all(b"{\"type\":\"e\"}\n").await.unwrap();
        for stream in &mut streams {
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("{\"accepted\":1,\"rejected\":0"), "{answer}");
        }
        assert_eq!(bench.stop().await, Drained::default());
    });
}

#[test]
fn a_producer_that_does_not_end_is_cut_off_and_counted() {
    run(Setup { patience: Duration::from_millis(20), ..UNIX }, async |bench| {
        let mut stream = bench.unix().await;
        stream.write_all(b"{\"type\":\"e1\"}\n{\"ty").await.unwrap();
        bench.list.reaches(1).await;
        let expected = Drained { producers_cut: 1, lines_unfinished: 1, bytes_unfinished: 4 };
        assert_eq!(bench.stop().await, expected);
    });
}

#[test]
fn a_full_backlog_does_not_keep_the_daemon_from_stopping() {
    run(Setup { patience: Duration::from_millis(20), ..TCP }, async |bench| {
        bench.list.set_full(true);
        let mut stream = bench.tcp().await;
        stream.write_all(b"{\"type\":\"e1\"}\n").await.unwrap();
        bench.producers(1).await;
        assert_eq!(bench.stop().await.producers_cut, 1);
    });
}

#[test]
fn a_body_that_breaks_off_while_the_daemon_stops_is_answered() {
    run(TCP, async |bench| {
        let mut stream = bench.tcp().await;
        let request = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";
        stream.write_all(format!("{request}{{\"type\":\"e\"}}\n{{\"ty").as_bytes()).await.unwrap();
        bench.list.reaches(1).await;
        bench.trigger.fire();
        tokio::task::yield_now().await;
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("\"accepted\":1") && answer.contains("\"code\":\"cut_off\""), "{answer}");
        assert_eq!(bench.stop().await, Drained::default());
    });
}

#[test]
fn a_body_that_breaks_off_while_the_backlog_is_full_is_answered_when_it_has_room() {
    run(TCP, async |bench| {
        bench.list.set_full(true);
        let mut stream = bench.tcp().await;
        let request = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";
        stream.write_all(format!("{request}{{\"type\":\"e\"}}\n{{\"ty").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        bench.producers(1).await;
        assert_eq!(bench.list.texts().len(), 0);
        bench.list.set_full(false);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"accepted\":1"), "{answer}");
    });
}

#[test]
fn a_body_that_is_cut_off_by_the_stop_counts_its_line() {
    run(Setup { patience: Duration::from_millis(20), ..TCP }, async |bench| {
        let mut stream = bench.tcp().await;
        let request = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";
        stream.write_all(format!("{request}{{\"type\":\"e\"}}\n{{\"ty").as_bytes()).await.unwrap();
        bench.list.reaches(1).await;
        let metrics = bench.metrics.clone();
        assert_eq!(bench.stop().await.producers_cut, 1);
        let text = metrics.render();
        assert!(text.contains("broadcastd_ingest_rejected_total{reason=\"cut_off\"} 1\n"), "{text}");
    });
}
