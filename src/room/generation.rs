//! One configuration in force, as rooms, ingest and shards see it.

use crate::config::{Config, LimitsConfig, RoomConfig};
use crate::route::Routes;
use std::collections::HashMap;
use std::sync::Arc;

/// An immutable configuration. A read takes one for all its lines.
pub struct Generation {
    /// Rooms and templates, in the configuration's order.
    pub rooms: Vec<Arc<RoomConfig>>,
    /// The routes of each ingest listener, in the configuration's order.
    pub routes: Vec<Arc<Routes>>,
    /// Bounds.
    pub limits: LimitsConfig,
    /// Static rooms' places in `rooms`.
    statics: HashMap<String, usize>,
}

impl Generation {
    /// Compiles a checked configuration.
    pub fn new(config: &Config) -> Generation {
        let statics = config.rooms.iter().enumerate().filter(|(_, room)| room.name.is_static());
        Generation {
            statics: statics.map(|(index, room)| (room.name.source().to_owned(), index)).collect(),
            rooms: config.rooms.iter().cloned().map(Arc::new).collect(),
            routes: config
                .ingest
                .listen
                .iter()
                .map(|listener| Arc::new(Routes::compile(config, listener)))
                .collect(),
            limits: config.limits.clone(),
        }
    }

    /// What the configuration says of a room of this name: the static room, else the first template that could have
    /// made it.
    pub fn policy(&self, name: &str) -> Option<&Arc<RoomConfig>> {
        let index = match self.statics.get(name) {
            Some(index) => *index,
            None => {
                self.rooms.iter().position(|room| !room.name.is_static() && room.name.could_make(name))?
            }
        };
        Some(&self.rooms[index])
    }

    /// Whether the configuration has a static room of this name.
    pub fn is_static(&self, name: &str) -> bool {
        self.statics.contains_key(name)
    }

    /// The configured name nearest to one that no room has, for a hint.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let names = self.rooms.iter().map(|room| room.name.source());
        let scored = names.map(|known| (strsim::jaro_winkler(known, name), known));
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 > 0.7).then_some(best.1)
    }
}
