//! Routes compiled from a configuration.

use super::{Beside, Outcome, Rejection, Scratch};
use crate::config::{Config, IngestListenConfig};
use crate::event::Event;

/// The routes of one configuration as one ingest listener sees them. Immutable; shared by that listener's reads.
pub struct Routes {}

impl Routes {
    /// Compiles the routes. A checked configuration always compiles.
    pub fn compile(_config: &Config, _listener: &IngestListenConfig) -> Routes {
        todo!()
    }

    /// Parses, checks and routes one line, without its line end.
    ///
    /// `number` gives the event its daemon-wide number; it is called once for each [`Outcome::Event`], and not
    /// otherwise. `now_ms` is put in as `timestamp` where one is missing and wanted.
    pub fn read(
        &self,
        _scratch: &mut Scratch,
        _line: &[u8],
        _beside: &Beside,
        _now_ms: u64,
        _number: impl FnOnce() -> u64,
    ) -> Result<Outcome, Box<Rejection>> {
        let _ = Event::new;
        todo!()
    }
}
