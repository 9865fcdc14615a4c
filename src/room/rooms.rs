//! The registry of rooms.

/// All rooms of the daemon.
pub struct Rooms {}
