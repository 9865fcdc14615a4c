//! One configuration in force, as rooms, ingest and shards see it.

use super::room::Policy;
use crate::config::{
    Ack, Config, IngestAddr, IngestListenConfig, Invalid, LimitsConfig, RoomConfig, Unrouted, WhenFull,
};
use crate::pattern::{Segment, Template};
use crate::route::{Routes, Sample, sample};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// An immutable configuration, compiled. A read takes one for all its lines.
pub struct Generation {
    /// The configuration that it was made from.
    pub config: Arc<Config>,
    /// Rooms and templates, in the configuration's order.
    pub rooms: Vec<Arc<RoomConfig>>,
    /// The routes of each ingest listener, by its slot.
    pub routes: Vec<Arc<Routes>>,
    /// The routes of what the daemon publishes itself: what no room takes is counted and never an error.
    pub own_routes: Arc<Routes>,
    /// Bounds.
    pub limits: LimitsConfig,
    /// Rises from generation to generation.
    pub(super) serial: u32,
    /// Static rooms' places in `rooms`.
    statics: HashMap<String, usize>,
    /// Looked for when it is first asked for.
    sample: OnceLock<Option<Sample>>,
}

impl Generation {
    /// Compiles a checked configuration. `listeners` are those of ingest by their slots: the configuration's own, and
    /// such as are gone from it while producers are still connected.
    pub fn new(config: Arc<Config>, listeners: &[IngestListenConfig]) -> Generation {
        let statics = config.rooms.iter().enumerate().filter(|(_, room)| room.name.is_static());
        let compile = |listener| Arc::new(Routes::compile(&config, listener));
        Generation {
            statics: statics.map(|(index, room)| (room.name.source().to_owned(), index)).collect(),
            rooms: config.rooms.iter().cloned().map(Arc::new).collect(),
            routes: listeners.iter().map(compile).collect(),
            own_routes: Arc::new(own_routes(&config)),
            limits: config.limits.clone(),
            serial: 0,
            sample: OnceLock::new(),
            config,
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

    /// An event that the first ingest listener takes, if one is known.
    pub fn sample(&self) -> Option<&Sample> {
        let listener = self.config.ingest.listen.first()?;
        self.sample.get_or_init(|| sample(&self.config, listener)).as_ref()
    }

    /// A room's policy under this generation.
    pub(super) fn policy_of(&self, config: &Arc<RoomConfig>) -> Policy {
        Policy { config: Arc::clone(config), keys: self.limits.keys, serial: self.serial }
    }

    /// Whether the configuration has a static room of this name.
    pub fn is_static(&self, name: &str) -> bool {
        self.statics.contains_key(name)
    }

    /// The room that was probably meant by a name that no room has, for a hint: a room's name, its values encoded, or a
    /// template where its values cannot be guessed.
    pub fn nearest(&self, name: &str) -> Option<String> {
        let scored = self.rooms.iter().map(|room| (likeness(&room.name, name), room));
        let ((score, meant), room) = scored.max_by(|((a, of_a), _), ((b, of_b), _)| {
            a.total_cmp(b).then(of_a.is_some().cmp(&of_b.is_some()))
        })?;
        (score > 0.7).then(|| meant.unwrap_or_else(|| room.name.source().to_owned()))
    }
}

fn own_routes(config: &Config) -> Routes {
    let mut config = config.clone();
    (config.ingest.unrouted, config.ingest.invalid) = (Unrouted::Count, Invalid::Warn);
    let listener = IngestListenConfig {
        addr: IngestAddr::Stdin,
        ack: Ack::None,
        when_full: WhenFull::Shed,
        type_field: "type".to_owned(),
        add_timestamp: true,
    };
    Routes::compile(&config, &listener)
}

/// How like a room a name is, from 0 to 1, and the template's name that was meant if it is this room.
fn likeness(room: &Template, name: &str) -> (f64, Option<String>) {
    let whole = || (strsim::jaro_winkler(room.source(), name), None);
    let [Segment::Literal(begins), Segment::Field(_), ..] = room.segments() else { return whole() };
    // `agnet:7` is like `agent:` up to the separator, and no more like `agent:{agentId}` than like another name.
    let Some(separator) = begins.chars().next_back().filter(|last| !last.is_alphanumeric()) else {
        return whole();
    };
    let other = |c: char| !c.is_alphanumeric();
    let right = name.split_once(separator).map(|parts| (1.0, parts));
    let Some((weight, (head, value))) = right.or_else(|| Some((0.9, name.split_once(other)?))) else {
        return whole();
    };
    let score = weight * strsim::jaro_winkler(begins.trim_end_matches(separator), head);
    (score, room.encoded(&format!("{begins}{value}")))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{generation, room};
    use super::*;
    use crate::pattern::TypePattern;
    use crate::route::{Beside, Outcome, Scratch};
    use crate::time::Moment;

    #[test]
    fn a_static_room_comes_before_templates_and_templates_in_their_order() {
        let generation = generation(vec![
            room("a:{x}", |_| {}),
            room("{any}", |_| {}),
            room("a:{x}:{y}", |_| {}),
            room("a:fixed", |_| {}),
        ]);
        let policy = |name| generation.policy(name).map(|room| room.name.source());
        for (name, made_by) in [
            ("a:1", Some("a:{x}")),
            ("a:fixed", Some("a:fixed")),
            ("b", Some("{any}")),
            ("a:1:2", Some("a:{x}:{y}")),
            ("", None),
        ] {
            assert_eq!(policy(name), made_by, "{name}");
        }
        assert!(
            generation.is_static("a:fixed") && !generation.is_static("a:1") && !generation.is_static("b")
        );
    }

    #[test]
    fn own_events_of_the_daemon_are_never_refused() {
        let mut config = Config::default();
        (config.ingest.unrouted, config.ingest.invalid) = (Unrouted::Reject, Invalid::Reject);
        config.rooms.truncate(1);
        config.rooms[0].types = vec![TypePattern::parse("known").unwrap()];
        let generation = Generation::new(Arc::new(config), &[]);
        let read = |line: &str| {
            let routes = &generation.own_routes;
            routes.read(&mut Scratch::default(), line.as_bytes(), &Beside::default(), Moment::now(), || 1)
        };
        assert!(matches!(read(r#"{"type":"unknown"}"#), Ok(Outcome::Unrouted)));
        let Ok(Outcome::Event(event)) = read(r#"{"type":"known"}"#) else { panic!("it has a room") };
        assert!(event.json().starts_with(b"{\"timestamp\":"), "it says when it was made");
    }

    #[test]
    fn what_was_meant_is_guessed() {
        let generation = Generation::new(Arc::default(), &[]);
        for (name, meant) in [
            ("agnet_states", Some("agent_states")),
            ("agnet:7", Some("agent:7")),
            ("Agent:a%3Ab", Some("agent:a%3Ab")),
            ("agents:7", Some("agent:7")),
            ("agent:", Some("agent:{agentId}")),
            ("agent/7", Some("agent:7")),
            ("agent_state", Some("agent_states")),
            ("agent:a/b", Some("agent:a%2Fb")),
            ("agent:a:b", Some("agent:a%3Ab")),
            ("agent:a%2fb", Some("agent:a%2Fb")),
            ("wrkflow:x:y", Some("workflow:x%3Ay")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(generation.nearest(name).as_deref(), meant, "{name}");
        }
    }
}
