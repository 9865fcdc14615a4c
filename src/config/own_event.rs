//! Names that producers' events are never emitted under to clients of Socket.IO.

/// Defines [`OwnEvent`] and what follows from its names, so that no name is in one of them alone.
macro_rules! own_events {
    ($($(#[$doc:meta])* $event:ident = $name:literal,)*) => {
        /// An event that the daemon itself emits. All that it emits is written from here, and all of it is reserved: a client
        /// that hears one of these names hears the daemon.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum OwnEvent { $($(#[$doc])* $event,)* }

        impl OwnEvent {
            /// All of them.
            pub const ALL: &[OwnEvent] = &[$(OwnEvent::$event,)*];

            /// Its name.
            pub const fn name(self) -> &'static [u8] {
                match self { $(OwnEvent::$event => $name,)* }
            }

            /// The same as text.
            pub fn as_str(self) -> &'static str {
                std::str::from_utf8(self.name()).expect("a name is ASCII")
            }

            const fn is_one(name: &[u8]) -> bool {
                matches!(name, $($name)|*)
            }
        }
    };
}

own_events! {
    /// The client is connected to a namespace.
    ConnectionEstablished = b"connection_established",
    /// The client is in these rooms.
    SubscriptionConfirmed = b"subscription_confirmed",
    /// The client is not in this room.
    SubscriptionError = b"subscription_error",
    /// The client is no longer in these rooms.
    UnsubscriptionConfirmed = b"unsubscription_confirmed",
    /// The answer to `ping`.
    Pong = b"pong",
    /// Something that the client emitted was not carried out.
    Error = b"error",
    /// Events that cannot be delivered.
    Gap = b"gap",
    /// The client's position moved on without an event.
    Position = b"position",
    /// The daemon closes the connection.
    Closing = b"closing",
}

/// True if `socket.io-client` keeps a name for itself: an event that has it makes the library give up the connection.
pub const fn is_library_event(name: &[u8]) -> bool {
    matches!(
        name,
        b"connect" | b"connect_error" | b"disconnect" | b"disconnecting" | b"newListener" | b"removeListener"
    )
}

/// True if no event of a producer is emitted under a name.
pub const fn is_reserved_event(name: &[u8]) -> bool {
    OwnEvent::is_one(name) || is_library_event(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_the_daemon_is_reserved_and_documented() {
        let document = include_str!("../../docs/socketio.md");
        for own in OwnEvent::ALL {
            let name = own.as_str();
            assert!(is_reserved_event(own.name()), "{name}");
            assert!(
                document.contains(&format!("`{name}`")),
                "docs/socketio.md does not say what `{name}` is"
            );
        }
        for free in ["agent_state", "event", "gaps", "Gap", "", "snapshot", "batch"] {
            assert!(!is_reserved_event(free.as_bytes()), "{free}");
        }
    }
}
