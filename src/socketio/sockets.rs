//! One connection's namespaces, and binary packets that arrive in pieces.

use super::packet::{Fault, Packet, parse, quoted};
use serde_json::value::RawValue;

/// Namespaces that one client is in at once: more than a configuration has, since a reload may take one away from under
/// who is in it.
pub const MOST_NAMESPACES: usize = 64;

/// What a client of Socket.IO has open. It decides nothing: whoever asks it what came says who was let in where.
///
/// Holds the names of namespaces other than the main one, and of a binary packet that is not whole what has come of it.
#[derive(Debug)]
pub struct Sockets {
    /// In the namespace `/`, which is where nearly all are, and which costs no allocation.
    in_main: bool,
    pub(super) others: Vec<Box<str>>,
    pub(super) waiting: Option<Box<Waiting>>,
    max_bytes: usize,
}

/// A packet whose attachments are not all here. As text, since JSON that was taken apart may be many times longer.
#[derive(Debug)]
pub(super) struct Waiting {
    text: Box<str>,
    announced: usize,
    attachments: Vec<Vec<u8>>,
    bytes: usize,
}

/// What a message came to.
#[derive(Debug)]
pub enum Happened {
    /// A client wants to be in a namespace that it is not in.
    Connect {
        /// Which one; whether there is one of the name is not known here.
        namespace: Box<str>,
        /// The text of a JSON object.
        auth: Option<Box<str>>,
    },
    /// It leaves a namespace that it is in.
    Disconnect {
        /// Which one.
        namespace: Box<str>,
    },
    /// It emitted an event in a namespace that it is in.
    Event(Emitted),
    /// It answers an event.
    Ack {
        /// The namespace, which it is in.
        namespace: Box<str>,
        /// The number that the event had.
        ack: u64,
        /// What it answers.
        args: Vec<Box<RawValue>>,
        /// The bytes that places in `args` stand for.
        attachments: Vec<Vec<u8>>,
    },
    /// Nothing: more is to come before it is anything, or it asks for what is there already.
    Nothing,
}

/// An event that a client emitted.
#[derive(Debug)]
pub struct Emitted {
    /// Where.
    pub namespace: Box<str>,
    /// The number under which the client waits for an answer.
    pub ack: Option<u64>,
    /// The event's name.
    pub name: String,
    /// What follows the name, as it was written.
    pub args: Vec<Box<RawValue>>,
    /// The bytes that places in `args` (`{"_placeholder":true,"num":0}`) stand for.
    pub attachments: Vec<Vec<u8>>,
}

impl Sockets {
    /// In no namespace yet. A packet with its attachments has `max_bytes` at most.
    pub fn new(max_bytes: usize) -> Sockets {
        Sockets { in_main: false, others: Vec::new(), waiting: None, max_bytes }
    }

    /// Takes a message of Engine.IO that is text, without its `4`. After a fault the connection is to be closed.
    pub fn text(&mut self, message: &str) -> Result<Happened, Fault> {
        if let Some(waiting) = &self.waiting {
            return Err(Fault::AttachmentsDue(waiting.announced - waiting.attachments.len()));
        }
        if message.len() > self.max_bytes {
            return Err(Fault::TooLarge(self.max_bytes));
        }
        let packet = parse(message)?;
        let (namespace, announced) = match packet {
            Packet::Connect { namespace, auth } => return self.wants(namespace, auth),
            Packet::Disconnect { namespace } => (namespace, 0),
            Packet::Event { namespace, attachments, .. } | Packet::Ack { namespace, attachments, .. } => {
                (namespace, attachments as usize)
            }
        };
        if !self.is_connected(namespace) {
            return Err(Fault::NotConnected(quoted(namespace)));
        }
        if announced == 0 {
            return whole(packet, Vec::new());
        }
        let bytes = message.len();
        self.waiting =
            Some(Box::new(Waiting { text: message.into(), announced, attachments: Vec::new(), bytes }));
        Ok(Happened::Nothing)
    }

    /// Takes a message of Engine.IO that is bytes: the next attachment of a packet that announced it. After a fault the
    /// connection is to be closed.
    pub fn binary(&mut self, data: &[u8]) -> Result<Happened, Fault> {
        let mut waiting = self.waiting.take().ok_or(Fault::NoPacket)?;
        waiting.bytes = waiting.bytes.saturating_add(data.len());
        if waiting.bytes > self.max_bytes {
            return Err(Fault::TooLarge(self.max_bytes));
        }
        waiting.attachments.push(data.to_vec());
        if waiting.attachments.len() < waiting.announced {
            self.waiting = Some(waiting);
            return Ok(Happened::Nothing);
        }
        let Waiting { text, attachments, .. } = *waiting;
        let packet = parse(&text)?;
        if let Packet::Event { namespace, .. } | Packet::Ack { namespace, .. } = packet
            && !self.is_connected(namespace)
        {
            return Err(Fault::NotConnected(quoted(namespace)));
        }
        whole(packet, attachments)
    }

    fn wants(&self, namespace: &str, auth: Option<&str>) -> Result<Happened, Fault> {
        // The client's library asks twice where a program connects by hand what connects by itself.
        if self.is_connected(namespace) {
            return Ok(Happened::Nothing);
        }
        if self.others.len() + usize::from(self.in_main) >= MOST_NAMESPACES {
            return Err(Fault::TooManyNamespaces);
        }
        Ok(Happened::Connect { namespace: namespace.into(), auth: auth.map(Into::into) })
    }

    /// The client was let into a namespace that it asked for.
    pub fn connected(&mut self, namespace: &str) {
        if namespace == "/" {
            self.in_main = true;
        } else if !self.is_connected(namespace) {
            self.others.push(namespace.into());
        }
    }

    /// It is in this namespace no longer, whoever ended it.
    pub fn disconnected(&mut self, namespace: &str) {
        if namespace == "/" {
            self.in_main = false;
        }
        self.others.retain(|other| **other != *namespace);
    }

    /// Whether it is in this namespace.
    pub fn is_connected(&self, namespace: &str) -> bool {
        if namespace == "/" { self.in_main } else { self.others.iter().any(|other| **other == *namespace) }
    }

    /// Whether it is in none.
    pub fn is_empty(&self) -> bool {
        !self.in_main && self.others.is_empty()
    }
}

/// A packet that is here with all its attachments, taken apart.
fn whole(packet: Packet<'_>, attachments: Vec<Vec<u8>>) -> Result<Happened, Fault> {
    let elements = |data: &str| -> Result<Vec<Box<RawValue>>, Fault> {
        serde_json::from_str(data).map_err(|error| Fault::Json(error.to_string()))
    };
    Ok(match packet {
        Packet::Connect { namespace, auth } => {
            Happened::Connect { namespace: namespace.into(), auth: auth.map(Into::into) }
        }
        Packet::Disconnect { namespace } => Happened::Disconnect { namespace: namespace.into() },
        Packet::Event { namespace, ack, data, .. } => {
            let mut args = elements(data)?;
            // It begins with a string, or it were no packet. A name with half of a surrogate pair is valid JSON and no string.
            let name = serde_json::from_str(args.remove(0).get());
            let name = name.map_err(|error| Fault::Json(error.to_string()))?;
            Happened::Event(Emitted { namespace: namespace.into(), ack, name, args, attachments })
        }
        Packet::Ack { namespace, ack, data, .. } => {
            Happened::Ack { namespace: namespace.into(), ack, args: elements(data)?, attachments }
        }
    })
}
