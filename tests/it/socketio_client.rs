//! A client of Socket.IO whose every packet is the test's own, over WebSocket and by polling.

use crate::harness::{Server, http};
use crate::raw::{Raw, frame, request};
use serde_json::{Value, json};

/// A client in one namespace or several.
pub struct Io(pub Raw);

/// A packet: its type as in `42`, its namespace, and its JSON.
pub type Packet = (String, String, Value);

/// What a client says when it comes back.
#[derive(Clone, Default)]
pub struct Back {
    pub pid: Value,
    pub offset: Option<String>,
}

impl Io {
    /// Over WebSocket, in no namespace yet.
    pub fn open(server: &Server) -> Io {
        let mut raw = Raw::connect(&server.clients[0]);
        raw.send(request("/socket.io/?EIO=4&transport=websocket", &[]).as_bytes());
        assert_eq!(raw.answer().status, 101);
        let (first, open) = raw.frame().unwrap();
        assert_eq!((first, open[0]), (0x81, b'0'));
        Io(raw)
    }

    /// In a namespace, maybe as one that comes back, and whether it was recovered.
    pub fn connect(server: &Server, namespace: &str, back: &Back) -> (Io, Back, bool) {
        let mut io = Io::open(server);
        let (pid, recovered) = io.enter(namespace, back);
        (io, Back { pid, offset: back.offset.clone() }, recovered)
    }

    pub fn enter(&mut self, namespace: &str, back: &Back) -> (Value, bool) {
        let auth = json!({ "pid": back.pid, "offset": back.offset });
        self.send(&format!("40{namespace},{auth}"));
        let (kind, of, connected) = self.packet();
        assert_eq!((&*kind, &*of), ("40", namespace), "{connected}");
        let (_, _, established) = self.packet();
        assert_eq!(established[0], "connection_established");
        let is_back = established[1]["recovered"] == true;
        assert_eq!(established.get(2).is_some(), !is_back && connected["pid"].is_string(), "{established}");
        (connected["pid"].clone(), is_back)
    }

    pub fn send(&mut self, text: &str) {
        self.0.send(&frame(0x81, text.as_bytes()));
    }

    pub fn subscribe(&mut self, namespace: &str, rooms: &Value) {
        self.send(&format!("42{namespace},{}", json!(["subscribe", { "rooms": rooms }])));
        let (_, _, answer) = self.packet();
        assert_eq!(answer[0], "subscription_confirmed", "{answer}");
    }

    /// The next packet. Pings before it are answered. A close frame is a packet as well, without a type.
    pub fn packet(&mut self) -> Packet {
        loop {
            let (first, payload) = self.0.frame().expect("the connection is open");
            if first == 0x88 {
                let code = u16::from_be_bytes(*payload.first_chunk().unwrap());
                return (String::new(), String::new(), code.into());
            }
            assert_eq!(first, 0x81);
            let text = String::from_utf8(payload).unwrap();
            if text == "2" {
                self.send("3");
                continue;
            }
            let (kind, rest) = text.split_at(2);
            let (namespace, json) = match rest.split_once(',').filter(|_| rest.starts_with('/')) {
                Some((namespace, json)) => (namespace, json),
                None => ("/", rest),
            };
            let value = serde_json::from_str(json).unwrap_or(Value::Null);
            return (kind.to_owned(), namespace.to_owned(), value);
        }
    }

    /// The numbers of the next events, which are all in one namespace; and where the last of them leads.
    pub fn numbers(&mut self, namespace: &str, count: usize) -> (Vec<u64>, String) {
        let mut numbers = Vec::new();
        let mut last = String::new();
        while numbers.len() < count {
            let (kind, of, args) = self.packet();
            assert_eq!((&*kind, &*of, args[0].as_str()), ("42", namespace, Some("t")), "{args}");
            numbers.push(args[1]["n"].as_u64().unwrap());
            args[2].as_str().unwrap().clone_into(&mut last);
        }
        (numbers, last)
    }
}

/// Opens a session that polls. Returns its id.
pub fn open_polling(server: &Server) -> String {
    let open =
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let open = http(&server.clients[0], open.as_bytes()).1;
    let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    open["sid"].as_str().unwrap().to_owned()
}

/// Probes a WebSocket for a session that polls: what is left is to say that it is used from now on.
pub fn probe(server: &Server, sid: &str) -> Io {
    let mut raw = Raw::connect(&server.clients[0]);
    raw.send(request(&format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"), &[]).as_bytes());
    assert_eq!(raw.answer().status, 101);
    raw.send(&frame(0x81, b"2probe"));
    assert_eq!(raw.frame().unwrap(), (0x81, b"3probe".to_vec()));
    Io(raw)
}

/// Asks a session that polls. Returns the body.
pub fn poll(server: &Server, sid: &str, post: Option<&str>) -> String {
    let (method, body) = post.map_or(("GET", ""), |body| ("POST", body));
    let request = format!(
        "{method} /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = http(&server.clients[0], request.as_bytes());
    assert_eq!(status, 200, "{body}");
    body
}
