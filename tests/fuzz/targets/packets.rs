//! What clients of Socket.IO send: payloads of Engine.IO, packets in them, and what comes of a connection's packets together.
//! Nothing panics, what is read is written as it was read, and bounds hold.

#![no_main]

use broadcastd::socketio::{
    EnginePacket, Happened, MOST_ATTACHMENTS, MOST_NAMESPACES, Packet, Payload, Received, Sockets, packets,
    parse, push_ack, push_disconnect, push_event,
};
use libfuzzer_sys::fuzz_target;

/// A packet with its attachments.
const MOST_BYTES: usize = 512;
/// Words of a fault, which go into a close frame and a log.
const FAULT_BYTES: usize = 400;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // As a message by itself, as it comes over WebSocket, and as a payload.
    message(text);
    payload(text);
});

fn payload(text: &str) {
    let mut sockets = Sockets::new(MOST_BYTES);
    let (mut written, mut count) = (Payload::default(), 0);
    let (mut is_open, mut namespaces) = (true, 0);
    for packet in packets(text) {
        count += 1;
        let packet = match packet {
            Ok(packet) => packet,
            Err(fault) => return assert!(fault.to_string().len() <= FAULT_BYTES, "{fault}"),
        };
        match &packet {
            EnginePacket::Text(text, received) => {
                written.push_text(text);
                if let Received::Message(inner) = received {
                    message(inner);
                    is_open =
                        is_open && follows(&mut sockets, &mut namespaces, |sockets| sockets.text(inner));
                }
            }
            EnginePacket::Binary(bytes) => {
                written.push_binary(bytes);
                is_open = is_open && follows(&mut sockets, &mut namespaces, |sockets| sockets.binary(bytes));
            }
        }
    }
    assert_eq!(count, text.split('\u{1e}').count());
    let written = String::from_utf8(written.into_bytes()).expect("a payload is text");
    assert!(packets(&written).eq(packets(text)), "{text:?} was written as {written:?}");
}

/// Takes one message of a connection. Whether the connection is open after it.
fn follows(
    sockets: &mut Sockets,
    namespaces: &mut usize,
    take: impl FnOnce(&mut Sockets) -> Result<Happened, broadcastd::socketio::Fault>,
) -> bool {
    match take(sockets) {
        Ok(Happened::Connect { namespace, .. }) => {
            assert!(!sockets.is_connected(&namespace), "it is there already");
            sockets.connected(&namespace);
            assert!(sockets.is_connected(&namespace));
            *namespaces += 1;
            assert!(*namespaces <= MOST_NAMESPACES);
        }
        Ok(Happened::Disconnect { namespace }) => {
            assert!(sockets.is_connected(&namespace));
            sockets.disconnected(&namespace);
            *namespaces -= 1;
        }
        Ok(Happened::Event(emitted)) => {
            assert!(sockets.is_connected(&emitted.namespace));
            let args: usize = emitted.args.iter().map(|arg| arg.get().len()).sum();
            check_size(args + emitted.name.len(), &emitted.attachments);
        }
        Ok(Happened::Ack { namespace, args, attachments, .. }) => {
            assert!(sockets.is_connected(&namespace));
            check_size(args.iter().map(|arg| arg.get().len()).sum(), &attachments);
        }
        Ok(Happened::Nothing) => {}
        Err(fault) => {
            assert!(fault.to_string().len() <= FAULT_BYTES, "{fault}");
            return false;
        }
    }
    true
}

fn check_size(text: usize, attachments: &[Vec<u8>]) {
    assert!(attachments.len() <= MOST_ATTACHMENTS as usize);
    let bytes: usize = attachments.iter().map(Vec::len).sum();
    assert!(text + bytes <= MOST_BYTES, "{text} and {bytes} bytes");
}

fn message(text: &str) {
    match parse(text) {
        Ok(packet) => {
            let written = written(packet);
            let inner = written.strip_prefix('4').expect("a message of Engine.IO");
            assert_eq!(parse(inner), Ok(packet), "{text:?} was written as {written:?}");
            check(packet);
        }
        Err(fault) => assert!(fault.to_string().len() <= FAULT_BYTES, "{fault}"),
    }
}

fn check(packet: Packet<'_>) {
    let (namespace, json, attachments) = match packet {
        Packet::Connect { namespace, auth } => (namespace, auth, 0),
        Packet::Disconnect { namespace } => (namespace, None, 0),
        Packet::Event { namespace, data, attachments, .. } => (namespace, Some(data), attachments),
        Packet::Ack { namespace, data, attachments, .. } => (namespace, Some(data), attachments),
    };
    assert!(namespace.starts_with('/') && !namespace.contains(','), "{namespace:?}");
    assert!(attachments <= MOST_ATTACHMENTS);
    if let Some(json) = json {
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok(), "{json:?}");
    }
}

fn written(packet: Packet<'_>) -> String {
    let mut out = Vec::new();
    match packet {
        Packet::Connect { namespace, auth } => {
            // A server writes no packet like it: it is what clients write.
            let comma = if namespace == "/" && auth.is_none() { "" } else { "," };
            let namespace = if namespace == "/" && auth.is_none() { "" } else { namespace };
            out.extend_from_slice(format!("40{namespace}{comma}{}", auth.unwrap_or_default()).as_bytes());
        }
        Packet::Disconnect { namespace } => push_disconnect(&mut out, namespace),
        Packet::Event { namespace, ack, data, attachments } => {
            push_event(&mut out, namespace, ack, attachments, |out| out.extend_from_slice(data.as_bytes()));
        }
        Packet::Ack { namespace, ack, data, attachments } => {
            push_ack(&mut out, namespace, ack, attachments, |out| out.extend_from_slice(data.as_bytes()));
        }
    }
    String::from_utf8(out).expect("a packet is text")
}
