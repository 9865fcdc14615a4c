//! Payloads of Engine.IO (protocol revision 4): packets that share one body of HTTP. Between two packets is the character
//! U+001E; a binary packet is a `b` and its bytes in base64.

use super::engine::{Fault, Received, parse_text};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What is between two packets. JSON has no such character unescaped.
const SEPARATOR: char = '\u{1e}';

/// Written with padding, and read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet of a payload from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePacket<'a> {
    /// Its text with what it is, for whoever carries it on.
    Text(&'a str, Received<'a>),
    /// A binary message.
    Binary(Vec<u8>),
}

/// The packets of a payload from a client, in order. What follows a fault means nothing.
pub fn packets(payload: &str) -> impl Iterator<Item = Result<EnginePacket<'_>, Fault>> {
    payload.split(SEPARATOR).map(|packet| match packet.strip_prefix('b') {
        Some(base64) => BASE64.decode(base64).map(EnginePacket::Binary).map_err(|_| Fault::Base64),
        None => parse_text(packet).map(|received| EnginePacket::Text(packet, received)),
    })
}

/// A payload for a client.
#[derive(Debug, Default)]
pub struct Payload(String);

impl Payload {
    /// Appends a text packet.
    pub fn push_text(&mut self, packet: &str) {
        self.separate();
        self.0.push_str(packet);
    }

    /// Appends a binary message.
    pub fn push_binary(&mut self, message: &[u8]) {
        self.separate();
        self.0.push('b');
        BASE64.encode_string(message, &mut self.0);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no packet in it yet: none is without a character.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is sent.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    fn separate(&mut self) {
        if !self.is_empty() {
            self.0.push(SEPARATOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(payload: &str, expected: &[Result<EnginePacket<'_>, Fault>]) {
        assert_eq!(packets(payload).collect::<Vec<_>>(), expected, "{payload:?}");
    }

    #[test]
    fn a_payload_is_cut_into_packets() {
        let message = |text| Ok(EnginePacket::Text(text, Received::Message(&text[1..])));
        check("4hello", &[message("4hello")]);
        check(
            "4a\u{1e}3\u{1e}4",
            &[message("4a"), Ok(EnginePacket::Text("3", Received::Pong)), message("4")],
        );
        check("4hello\u{1e}bAQIDBA==", &[message("4hello"), Ok(EnginePacket::Binary(vec![1, 2, 3, 4]))]);
        check("bAQIDBA", &[Ok(EnginePacket::Binary(vec![1, 2, 3, 4]))]);
        check("b", &[Ok(EnginePacket::Binary(vec![]))]);
    }

    #[test]
    fn what_is_no_packet_is_a_fault() {
        check("", &[Err(Fault::Empty)]);
        check("4\u{1e}", &[Ok(EnginePacket::Text("4", Received::Message(""))), Err(Fault::Empty)]);
        check("abc", &[Err(Fault::Type('a'))]);
        check("b*", &[Err(Fault::Base64)]);
        check("bAQIDB", &[Err(Fault::Base64)]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..9)) {
            let mut payload = Payload::default();
            for (index, message) in messages.iter().enumerate() {
                payload.push_binary(message);
                payload.push_text(&format!("4{index}"));
            }
            let text = String::from_utf8(payload.into_bytes()).unwrap();
            let read: Vec<EnginePacket<'_>> = packets(&text).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), messages.len() * 2);
            for (index, message) in messages.into_iter().enumerate() {
                prop_assert_eq!(&read[index * 2], &EnginePacket::Binary(message));
                let content = index.to_string();
                let text = format!("4{content}");
                prop_assert_eq!(&read[index * 2 + 1], &EnginePacket::Text(&text, Received::Message(&content)));
            }
        }
    }
}
