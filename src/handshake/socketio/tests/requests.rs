//! Requests that are refused, and what a page of another origin is allowed.

use super::*;

#[tokio::test]
async fn each_mistake_has_its_code() {
    let mut bench = bench();
    let path = "GET /socket.io/?";
    let base = get("");
    for (request, status, code) in [
        (base.replace("EIO=4&", ""), 400, 5),
        (base.replace("EIO=4", "EIO=3"), 400, 5),
        (base.replace("EIO=4", "EIO=abc"), 400, 5),
        (base.replace("&transport=polling", ""), 400, 0),
        (base.replace("polling", "webtransport"), 400, 0),
        (base.replace("GET", "POST"), 400, 2),
        (base.replace("GET", "PUT"), 400, 2),
        (get("&j=0"), 400, 3),
        (get("&x=%zz"), 400, 3),
        (poll("nobody"), 400, 1),
        (post("nobody", "4"), 400, 1),
        (poll("nobody").replace("GET", "DELETE"), 405, 3),
        (base.replace("polling", "websocket"), 426, 3),
        (base.replace("Host: localhost", "Host: rebound.example"), 403, 4),
        (base.replace("Host:", "Origin: https://evil.example\r\nHost:"), 403, 4),
        (base.replace("Host:", "Origin: null\r\nHost:"), 403, 4),
        (
            format!("{path}EIO=4&transport=websocket HTTP/1.1\r\nOrigin: https://evil.example\r\n{UPGRADE}"),
            403,
            4,
        ),
        (format!("{path}EIO=3&transport=websocket HTTP/1.1\r\n{UPGRADE}"), 400, 5),
    ] {
        let mut client = bench.connect().await;
        let answered = ask(&mut client, &request).await;
        answered.is_error(status, code);
        assert!(answered.head.contains("connection: close\r\n"), "{answered:?}");
        assert!(!answered.head.contains("access-control"), "{answered:?}");
    }
    let rendered = bench.render();
    assert!(
        rendered.contains("broadcastd_handshakes_refused_total{reason=\"bad_request\"} 13"),
        "{rendered}"
    );
    assert!(rendered.contains("broadcastd_handshakes_refused_total{reason=\"origin\"} 3"), "{rendered}");
    assert_eq!((bench.clients.connected(), bench.state.polling_sessions()), (0, 0));
}

#[tokio::test]
async fn a_page_of_another_origin_may_poll_where_it_is_allowed() {
    let mut bench = bench();
    let origin = "Origin: http://localhost:3000\r\nHost:";
    let cors = [
        "access-control-allow-origin: http://localhost:3000\r\n",
        "access-control-allow-credentials: true\r\n",
        "vary: origin\r\n",
    ];
    let mut client = bench.connect().await;
    let preflight = get("").replace("GET", "OPTIONS").replace(
        "Host:",
        &format!(
            "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,x-tenant\r\n{origin}"
        ),
    );
    let answered = ask(&mut client, &preflight).await;
    answered.is(204, "");
    for line in cors.into_iter().chain([
        "access-control-allow-methods: get, post\r\n",
        "access-control-allow-headers: content-type,x-tenant\r\n",
    ]) {
        assert!(answered.head.contains(line), "{line:?} in {answered:?}");
    }
    for (request, status) in [(get(""), 200), (poll("nobody"), 400)] {
        let answered = ask(&mut client, &request.replace("Host:", origin)).await;
        assert!(answered.head.starts_with(&format!("http/1.1 {status} ")), "{answered:?}");
        assert!(cors.iter().all(|line| answered.head.contains(line)), "{answered:?}");
    }
    let mut client = bench.connect().await;
    let preflight = preflight.replace("http://localhost:3000", "https://evil.example");
    ask(&mut client, &preflight).await.is_error(403, 4);
}

#[tokio::test]
async fn a_path_that_is_not_served_is_a_page() {
    let mut bench = Bench::new(|config| config.socketio.enabled = false);
    let mut client = bench.connect().await;
    ask(&mut client, &get("")).await.is(200, "page of /socket.io/");
    let mut bench = Bench::new(|config| config.socketio.path = "/live/".to_owned());
    for (path, is_served) in
        [("/live/", true), ("/live", true), ("/lively", false), ("/live/x", false), ("/socket.io/", false)]
    {
        let mut client = bench.connect().await;
        let answered = ask(&mut client, &get("").replace("/socket.io/", path)).await;
        assert_eq!(answered.body.starts_with("0{"), is_served, "{path}: {answered:?}");
        assert_eq!(answered.body.starts_with("page of "), !is_served, "{path}");
    }
}

#[tokio::test]
async fn a_session_over_websocket_is_a_client_with_a_first_frame() {
    let mut bench = bench();
    let mut client = bench.connect().await;
    let request = format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{UPGRADE}early");
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    bench.settle().await;
    let new = bench.take();
    let socketio = new.socketio.as_ref().unwrap();
    assert!(matches!(new.socket, ClientSocket::Tcp(_)) && socketio.session.is_none());
    assert_eq!((new.early.as_slice(), new.forwarded), (&b"early"[..], None));
    let (frame, len) = super::super::frames::read(&new.head).unwrap();
    assert_eq!(len, new.head.len());
    let open = format!("0{{\"sid\":\"{}\",\"upgrades\":[],\"pingInterval\":25000,", socketio.sid);
    assert!(matches!(frame, super::super::frames::Frame::Text(text) if text.starts_with(&open)), "{frame:?}");
    assert_eq!(bench.state.polling_sessions(), 0);
}

#[tokio::test]
async fn proxies_tell_the_address_of_a_client_that_polls() {
    let trusted = crate::config::IpNetwork { addr: "127.0.0.0".parse().unwrap(), prefix: 8 };
    let mut bench = Bench::new(|config| config.server.trusted_proxies = vec![trusted]);
    let mut client = bench.connect().await;
    ask(&mut client, &get("").replace("Host:", "X-Forwarded-For: 203.0.113.9\r\nHost:")).await;
    assert_eq!(bench.take().forwarded, "203.0.113.9".parse().ok());
}
