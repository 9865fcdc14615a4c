//! Packets of Engine.IO (protocol revision 4), and its heartbeat: here it is the server that asks.
//!
//! A text packet is one character that says what it is, and its content; binary packets are messages without a character
//! of their own, and have no place here.

use std::time::Duration;

/// What a client is told when its session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// From one answered ping to the next.
    pub ping_interval: Duration,
    /// How long a client may take to answer one.
    pub ping_timeout: Duration,
    /// Bytes of a payload, or of a message over WebSocket, that are taken.
    pub max_payload: usize,
}

/// A text packet from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// `4`: for the layer above.
    Message(&'a str),
    /// `3`: the answer to a ping.
    Pong,
    /// `2`: only a client that probes a new transport asks, with `probe`.
    Ping(&'a str),
    /// `5`: the probed transport is the one from now on.
    Upgrade,
    /// `6`: nothing.
    Noop,
    /// `1`: the session is over.
    Close,
}

/// Why what a client sent is no packet. The session must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing in it.
    #[error("an Engine.IO packet has a type at least")]
    Empty,
    /// Its first character is none that a packet begins with.
    #[error("{0:?} is no type of an Engine.IO packet: there are 1 to 6")]
    Type(char),
    /// An `open`, which only a server sends.
    #[error("an Engine.IO packet of type 0 (open) comes from a server only")]
    Open,
    /// A binary packet of a payload that is not base64.
    #[error("a binary packet of a payload is b and base64")]
    Base64,
}

/// Appends the packet that opens a session, as text without a frame. `upgrades` says whether the session may go over to
/// WebSocket.
pub fn push_open(out: &mut Vec<u8>, sid: &str, upgrades: bool, options: &EngineOptions) {
    // An id is made of letters, digits, - and _ (see the handshake), which JSON has as they are.
    let upgrades = if upgrades { "\"websocket\"" } else { "" };
    let (interval, timeout) = (options.ping_interval.as_millis(), options.ping_timeout.as_millis());
    let text = format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":{interval},\"pingTimeout\":{timeout},\
         \"maxPayload\":{}}}",
        options.max_payload
    );
    out.extend_from_slice(text.as_bytes());
}

/// Reads a text packet that a client sent. Allocates nothing.
pub fn parse_text(text: &str) -> Result<Received<'_>, Fault> {
    let mut rest = text.chars();
    match rest.next().ok_or(Fault::Empty)? {
        '0' => Err(Fault::Open),
        '1' => Ok(Received::Close),
        '2' => Ok(Received::Ping(rest.as_str())),
        '3' => Ok(Received::Pong),
        '4' => Ok(Received::Message(rest.as_str())),
        '5' => Ok(Received::Upgrade),
        '6' => Ok(Received::Noop),
        other => Err(Fault::Type(other)),
    }
}

/// The heartbeat of one connection: a ping some time after the last one was answered, and an end when one is not.
///
/// Times are milliseconds of whatever clock the caller has. It is due by itself, [`tick`](Self::tick) says what is to
/// be done then.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// When something is due, twice, and one more while an answer is waited for.
    due_twice: u64,
    interval_ms: u32,
    timeout_ms: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing is due.
    Wait,
    /// `2` is to be sent now.
    Ping,
    /// No answer came within the timeout after the ping was due.
    Dead,
}

impl Heartbeat {
    /// The heartbeat of a session that was opened then.
    pub fn new(interval: Duration, timeout: Duration, opened_ms: u64) -> Heartbeat {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let (interval_ms, timeout_ms) = (ms(interval), ms(timeout));
        Heartbeat { due_twice: (opened_ms + u64::from(interval_ms)) * 2, interval_ms, timeout_ms }
    }

    /// When [`tick`](Self::tick) will have something to say.
    pub fn due_ms(&self) -> u64 {
        self.due_twice / 2
    }

    /// When to look again at the latest: while an answer is waited for, it may make a ping due before the answer's time is over.
    pub fn look_ms(&self, now_ms: u64) -> u64 {
        if self.is_asked() { self.due_ms().min(now_ms + u64::from(self.interval_ms)) } else { self.due_ms() }
    }

    /// Says what is to be done at this time; a ping is counted as sent.
    ///
    /// The answer's time begins when the ping was due, so that a caller that looks late does not give more of it, but
    /// never is it less than half: a client whose ping was held up for long by this side has not been silent.
    pub fn tick(&mut self, now_ms: u64) -> Beat {
        let due_ms = self.due_ms();
        if now_ms < due_ms {
            return Beat::Wait;
        }
        if self.is_asked() {
            return Beat::Dead;
        }
        let timeout_ms = u64::from(self.timeout_ms);
        self.due_twice = (due_ms + timeout_ms).max(now_ms + timeout_ms / 2) * 2 + 1;
        Beat::Ping
    }

    /// Notes an answer. One that was not asked for changes nothing.
    pub fn pong(&mut self, now_ms: u64) {
        if self.is_asked() {
            self.due_twice = (now_ms + u64::from(self.interval_ms)) * 2;
        }
    }

    fn is_asked(self) -> bool {
        self.due_twice % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_opened_with_what_the_client_must_know() {
        let options = EngineOptions {
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            max_payload: 1_000_000,
        };
        for (upgrades, expected) in [
            (
                true,
                r#"0{"sid":"x-_9","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#,
            ),
            (
                false,
                r#"0{"sid":"x-_9","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#,
            ),
        ] {
            let mut out = b"before".to_vec();
            push_open(&mut out, "x-_9", upgrades, &options);
            let text = std::str::from_utf8(&out).unwrap().strip_prefix("before").unwrap();
            assert_eq!(text, expected);
            assert!(serde_json::from_str::<serde_json::Value>(&text[1..]).is_ok());
        }
    }

    #[test]
    fn text_packets_are_told_by_their_first_character() {
        for (text, expected) in [
            ("1", Ok(Received::Close)),
            ("2", Ok(Received::Ping(""))),
            ("2probe", Ok(Received::Ping("probe"))),
            ("3", Ok(Received::Pong)),
            ("3probe", Ok(Received::Pong)),
            ("4", Ok(Received::Message(""))),
            ("42[\"\u{20ac}\"]", Ok(Received::Message("2[\"\u{20ac}\"]"))),
            ("5", Ok(Received::Upgrade)),
            ("6", Ok(Received::Noop)),
            ("", Err(Fault::Empty)),
            ("0{}", Err(Fault::Open)),
            ("7", Err(Fault::Type('7'))),
            ("abc", Err(Fault::Type('a'))),
            ("\u{20ac}4", Err(Fault::Type('\u{20ac}'))),
        ] {
            assert_eq!(parse_text(text), expected, "{text:?}");
        }
    }

    fn heartbeat() -> Heartbeat {
        Heartbeat::new(Duration::from_millis(300), Duration::from_millis(200), 1000)
    }

    #[test]
    fn who_answers_is_asked_again_an_interval_later() {
        let mut heartbeat = heartbeat();
        assert_eq!((heartbeat.due_ms(), heartbeat.tick(1299)), (1300, Beat::Wait));
        assert_eq!(heartbeat.tick(1300), Beat::Ping);
        assert_eq!((heartbeat.due_ms(), heartbeat.tick(1499)), (1500, Beat::Wait));
        heartbeat.pong(1400);
        assert_eq!((heartbeat.due_ms(), heartbeat.tick(1500)), (1700, Beat::Wait));
        assert_eq!(heartbeat.tick(1700), Beat::Ping);
    }

    #[test]
    fn who_does_not_answer_is_dead_when_that_was_due() {
        let mut heartbeat = heartbeat();
        assert_eq!(heartbeat.tick(1390), Beat::Ping, "late");
        assert_eq!((heartbeat.due_ms(), heartbeat.tick(1499)), (1500, Beat::Wait));
        assert_eq!(heartbeat.tick(1500), Beat::Dead);
        assert_eq!(heartbeat.tick(1600), Beat::Dead, "and stays so");
    }

    #[test]
    fn a_ping_that_was_held_up_leaves_time_for_an_answer() {
        let mut heartbeat = heartbeat();
        assert_eq!((heartbeat.tick(9000), heartbeat.due_ms()), (Beat::Ping, 9100));
        heartbeat.pong(9050);
        assert_eq!(heartbeat.due_ms(), 9350);
    }

    #[test]
    fn an_answer_that_was_not_asked_for_changes_nothing() {
        let mut heartbeat = heartbeat();
        heartbeat.pong(1200);
        assert_eq!((heartbeat.due_ms(), heartbeat.tick(1300)), (1300, Beat::Ping));
    }

    #[test]
    fn who_may_answer_is_looked_at_when_the_next_ping_would_be_due() {
        let mut heartbeat = Heartbeat::new(Duration::from_millis(100), Duration::from_secs(1), 0);
        assert_eq!(heartbeat.look_ms(0), 100);
        assert_eq!(heartbeat.tick(100), Beat::Ping);
        assert_eq!((heartbeat.due_ms(), heartbeat.look_ms(100)), (1100, 200));
        assert_eq!((heartbeat.tick(200), heartbeat.look_ms(200)), (Beat::Wait, 300));
        heartbeat.pong(250);
        assert_eq!(heartbeat.look_ms(300), 350);
        assert_eq!(heartbeat.tick(350), Beat::Ping);
        assert_eq!(heartbeat.look_ms(1349), 1350, "no later than the answer's time is over");
    }

    #[test]
    fn a_heartbeat_is_small() {
        assert_eq!(size_of::<Heartbeat>(), 16);
    }
}
