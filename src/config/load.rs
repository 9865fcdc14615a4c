//! From a file to a checked configuration: found, read, filled from the environment, overridden, checked as a whole.

use super::dirs::Dirs;
use super::node::{self, Place, Table, Value, overlay};
use super::problem::{Code, Problem, Problems, Source};
use super::reader::{Item, Reader, Section};
use super::sections::Listened;
use super::{Config, Invalid, Unrouted, rooms, sections, socketio, sources};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where a configuration is looked for when no file is named, after `$BROADCASTD_CONFIG`.
const PLACES: [&str; 2] = ["broadcast.toml", "/etc/broadcastd/broadcast.toml"];

/// Name of the built-in configuration in messages.
const BUILT_IN: &str = "built-in";

/// The shipped file. What it takes from the environment, the built-in configuration takes as well.
const SHIPPED: &str = include_str!("../../broadcast.toml");
/// A longer file is refused: it is no configuration, and must not fill the memory.
const MOST_BYTES: u64 = 1024 * 1024;

/// What a configuration is read from.
pub struct Input<'a> {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--defaults`: no file is read.
    pub defaults: bool,
    /// `--set key=value`, in order.
    pub set: Vec<String>,
    /// Looks up environment variables.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths lie.
    pub dirs: Dirs,
}

/// A configuration and where it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, checked.
    pub config: Config,
    /// The file; none when the built-in configuration runs.
    pub path: Option<PathBuf>,
    /// What was in it.
    pub text: String,
    /// Where each key's value comes from that was given: a file and line, `--set`, an environment variable.
    pub origins: BTreeMap<String, String>,
    /// Where relative paths lie.
    pub dirs: Dirs,
}

impl Loaded {
    /// Problems that were found in the file after it was read.
    pub fn problems(&self, list: Vec<Problem>) -> Problems {
        let name = self.path.as_ref().map_or_else(|| BUILT_IN.to_owned(), |path| path.display().to_string());
        Problems { sources: vec![Source { name, text: self.text.clone() }], list }
    }
}

impl Input<'_> {
    /// The file to read, if there is one.
    pub fn find(&self) -> Option<PathBuf> {
        if self.defaults {
            return None;
        }
        if let Some(file) = &self.file {
            return Some(file.clone());
        }
        if let Some(file) = (self.environment)("BROADCASTD_CONFIG").filter(|file| !file.is_empty()) {
            return Some(PathBuf::from(file));
        }
        PLACES.iter().map(PathBuf::from).find(|place| place.exists())
    }

    /// Finds, reads and checks the configuration.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let (path, text) = self.read_text()?;
        self.load_text(path, text)
    }

    /// Finds and reads the file; an empty text when there is none, and the built-in configuration runs.
    pub fn read_text(&self) -> Result<(Option<PathBuf>, String), Problems> {
        let path = self.find();
        let text = match &path {
            None => String::new(),
            Some(path) => read(path)?,
        };
        Ok((path, text))
    }

    /// Checks a text that was read from `path`.
    pub fn load_text(&self, path: Option<PathBuf>, text: String) -> Result<Loaded, Problems> {
        let name = path.as_ref().map_or_else(|| BUILT_IN.to_owned(), |path| path.display().to_string());
        let mut sources = vec![Source { name, text }];
        sources.extend(self.set.iter().map(|text| Source { name: "--set".to_owned(), text: text.clone() }));
        let mut problems = Vec::new();
        let mut table = node::parse(0, &sources[0].text, self.environment, &mut problems);
        if path.is_some() && table.entries.is_empty() && problems.is_empty() {
            return Err(nothing_in(&sources[0].name));
        }
        for (index, source) in sources.iter().enumerate().skip(1) {
            overlay(&mut table, node::parse_set(index, source, self.environment, &mut problems));
        }
        let table = self.over_built_in(table, &mut sources, &mut problems);
        let mut reader = Reader { problems, ..Reader::default() };
        let config = self.config_of(&table, &mut reader, &sources);
        if !reader.problems.is_empty() {
            let mut list: Vec<Problem> = reader.problems;
            list.sort_by_key(|problem| (problem.source, problem.span.start));
            list.dedup();
            return Err(Problems { sources, list });
        }
        let lines = Lines::of(&sources[0].text);
        let origin = |(key, place)| Some((String::clone(key), self.origin(&sources, &lines, place)?));
        let origins = reader.given.iter().filter_map(origin).collect();
        let text = sources.swap_remove(0).text;
        Ok(Loaded { config, path, text, origins, dirs: self.dirs.clone() })
    }

    /// Lays what was given over what the built-in configuration takes from the environment: the allowed origins, and the
    /// rooms, unless rooms are given.
    fn over_built_in(&self, given: Table, sources: &mut Vec<Source>, problems: &mut Vec<Problem>) -> Table {
        let mut table = node::parse(sources.len(), SHIPPED, self.environment, problems);
        sources.push(Source { name: BUILT_IN.to_owned(), text: SHIPPED.to_owned() });
        let has_rooms = given.entries.contains_key("rooms");
        table.retain(|key| key == "server" || key == "rooms" && !has_rooms);
        if let Some(Value::Table(server)) = table.entries.get_mut("server").map(|entry| &mut entry.node.value)
        {
            server.retain(|key| key == "allowed_origins");
        }
        overlay(&mut table, given);
        table
    }

    /// Origin of a value; none for one that is built in and took nothing from the environment.
    fn origin(&self, sources: &[Source], lines: &Lines, place: &Place) -> Option<String> {
        let source = &sources[place.source];
        let is_built_in = place.source == sources.len() - 1;
        let mut origin = match place.source {
            0 => format!("{}:{}", source.name, lines.at(place.span.start)),
            _ if is_built_in => BUILT_IN.to_owned(),
            _ => format!("--set {}", source.text),
        };
        let text = source.text.get(place.span.clone()).unwrap_or_default();
        let names = text.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap_or_default());
        let set = |name: &&str| (self.environment)(name).is_some_and(|value| !value.is_empty());
        let mut took = false;
        for name in names.filter(set) {
            origin.push_str(&format!(", ${{{name}}}"));
            took = true;
        }
        (took || !is_built_in).then_some(origin)
    }

    fn config_of(&self, table: &Table, reader: &mut Reader, sources: &[Source]) -> Config {
        let mut config = Config::built_in(&self.dirs.runtime);
        let mut top = Section::new("", table);
        let mut listened = Listened::new();
        if let Some(section) = section(reader, &mut top, "server") {
            sections::server(reader, section, &mut config.server, &self.dirs, &mut listened);
        }
        if let Some(section) = section(reader, &mut top, "admin") {
            sections::admin(reader, section, &mut config.admin, &self.dirs, &mut listened);
        }
        if let Some(section) = section(reader, &mut top, "ingest") {
            sections::ingest(reader, section, &mut config.ingest, &self.dirs, &mut listened);
        }
        if let Some(section) = section(reader, &mut top, "socketio") {
            socketio::socketio(reader, section, &mut config.socketio);
        }
        if let Some(section) = section(reader, &mut top, "limits") {
            sections::limits(reader, section, &mut config.limits);
        }
        if let Some(section) = section(reader, &mut top, "log") {
            sections::log(reader, section, &mut config.log);
        }
        if let Some(section) = section(reader, &mut top, "sources") {
            sources::sources(reader, section, &mut config.sources, &self.dirs);
        }
        let defaults =
            section(reader, &mut top, "room_defaults").map(|section| rooms::room_defaults(reader, section));
        if let Some(section) = section(reader, &mut top, "rooms") {
            let read = rooms::rooms(reader, &section, defaults.unwrap_or_default());
            if read.last().is_some_and(|(_, place)| place.source < sources.len() - 1) {
                check_rooms(reader, &read, config.limits.rooms);
            }
            config.rooms = read.into_iter().map(|(room, _)| room).collect();
        }
        if !reader.given.contains_key("ingest.unrouted") {
            config.ingest.unrouted = rooms::unrouted(&config.rooms);
        }
        if let Some(section) = section(reader, &mut top, "types") {
            config.types = rooms::types(reader, &section);
        }
        if let Some(item) = top.get(reader, "test") {
            config.tests = rooms::tests(reader, &item);
        }
        socketio::apply(reader, &mut config);
        check_room_names(reader, &config);
        top.end(reader, |key| match key {
            "room" => Some("rooms are declared as [rooms.NAME]".to_owned()),
            "tests" => Some("did you mean [[test]]?".to_owned()),
            "type" => Some("did you mean [types.NAME]?".to_owned()),
            _ => None,
        });
        config
    }
}

fn section<'n>(reader: &mut Reader, top: &mut Section<'n>, key: &'static str) -> Option<Section<'n>> {
    let item: Item<'n> = top.get(reader, key)?;
    reader.table(&item)
}

/// A file that says nothing is more often cut off than meant.
fn nothing_in(name: &str) -> Problems {
    let hint =
        "write one to start from with `broadcastd init`, or run the built-in configuration with --defaults";
    Problems::placeless(Code::Empty, format!("{name} is empty: it sets no key"), Some(hint.to_owned()))
}

/// Reads a file, or a pipe that a shell has put in its place. Blocks for as long as the system does.
fn read(path: &Path) -> Result<String, Problems> {
    let unreadable = |error: std::io::Error| {
        let hint = (error.kind() == std::io::ErrorKind::NotFound)
            .then(|| "write one to start from with `broadcastd init --for agents`".to_owned());
        Problems::placeless(Code::Unreadable, format!("cannot read {}: {error}", path.display()), hint)
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        let most = super::show_size(MOST_BYTES);
        let hint = Some("name the configuration; a log or a recording is none".to_owned());
        return Err(Problems::placeless(
            Code::Unreadable,
            format!("{} is longer than {most}", path.display()),
            hint,
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let hint = Some("save the file as UTF-8".to_owned());
        Problems::placeless(
            Code::Unreadable,
            format!("{} is not UTF-8: byte {at} begins no character", path.display()),
            hint,
        )
    })
}

/// What only all rooms together can get wrong.
fn check_rooms(reader: &mut Reader, rooms: &[(super::RoomConfig, Place)], most: usize) {
    let statics = rooms.iter().filter(|(room, _)| room.name.is_static()).count();
    if let (true, Some((_, place))) = (statics > most, rooms.last()) {
        let message = format!("{statics} rooms are declared, and limits.rooms is {most}");
        reader.problem(
            Code::Limit,
            place,
            message,
            "one of them".to_owned(),
            Some("raise limits.rooms".to_owned()),
        );
    }
}

/// `unrouted` and `invalid` name rooms that there must be.
fn check_room_names(reader: &mut Reader, config: &Config) {
    let mut check = |key: &str, name: &str| {
        let made = |room: &super::RoomConfig| {
            if room.name.is_static() { room.name.source() == name } else { room.name.could_make(name) }
        };
        if config.rooms.iter().any(made) {
            return;
        }
        let path = format!("{key}.room");
        if let Some(place) = reader.given.get(&path).cloned() {
            let names = config.rooms.iter().map(|room| room.name.source());
            let close = names.min_by_key(|known| strsim::damerau_levenshtein(known, name));
            let close = close.filter(|known| strsim::damerau_levenshtein(known, name) <= 3);
            let hint = close.map_or_else(
                || format!("declare it: [rooms.{name}] with types = \"unrouted\""),
                |close| format!("did you mean \"{close}\"?"),
            );
            reader.problem(
                Code::UnknownRoom,
                &place,
                format!("`{path}` names no room"),
                format!("\"{name}\""),
                Some(hint),
            );
        }
    };
    if let Unrouted::Room(name) = &config.ingest.unrouted {
        check("ingest.unrouted", name);
    }
    if let Invalid::Room(name) = &config.ingest.invalid {
        check("ingest.invalid", name);
    }
}

/// Ends of a text's lines, so that looking one up does not read the text.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(memchr::memchr_iter(b'\n', text.as_bytes()).collect())
    }

    /// The number of the line that a byte is in, from 1.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}
