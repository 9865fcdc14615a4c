//! A configuration as a tree of values that remember where they were written, with the environment filled in.

use super::problem::{Code, Problem, Source};
use super::syntax;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

impl Node {
    /// Whether it is this string.
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(&self.value, Value::String(value) if value == text)
    }
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) span: Range<usize>,
    /// The environment variable that gave the value, if one did.
    pub(super) variable: Option<String>,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    /// A number with a fraction, which no key takes.
    Float,
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// A date, which no key takes.
    Date,
    /// Nothing: an environment variable that is not set, which has been reported.
    Unknown,
}

/// Keys in alphabetical order; `order` is the file's.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) order: Vec<String>,
}

impl Table {
    /// Drops the keys that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.entries.retain(|key, _| wanted(key));
        self.order.retain(|key| wanted(key));
    }
}

/// A key's place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) node: Node,
}

/// Looks up environment variables.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
            Value::Date => "a date",
            Value::Unknown => "nothing",
        }
    }
}

/// Reads one source's text. Mistakes of syntax go to `problems`, one problem for each.
pub(super) fn parse(
    source: usize,
    text: &str,
    environment: Environment<'_>,
    problems: &mut Vec<Problem>,
) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        problems.extend(syntax::problems(source, text, &errors));
        return Table::default();
    }
    Builder { source, text, environment, problems }.table(document.get_ref())
}

struct Builder<'a, 'e> {
    source: usize,
    text: &'a str,
    environment: Environment<'e>,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_, '_> {
    fn place(&self, span: Range<usize>) -> Place {
        Place { source: self.source, span, variable: None }
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let mut built = Table::default();
        for (key, value) in table {
            let node = self.node(value);
            built.order.push(key.get_ref().to_string());
            built.entries.insert(key.get_ref().to_string(), Entry { key: self.place(key.span()), node });
        }
        // The parser hands keys out in the order of the alphabet, rooms have the file's.
        built.order.sort_by_key(|key| built.entries[key].key.span.start);
        built
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let mut place = self.place(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => self.string(text, &mut place),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Unknown, Value::Integer)
            }
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::Array(list.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        if matches!(value, Value::Unknown) && place.variable.is_none() {
            let message = "this number is out of range".to_owned();
            let label = "at most 64 bits".to_owned();
            let span = place.span.clone();
            self.problems.push(Problem::new(Code::WrongValue, self.source, span, message, label, None));
        }
        Node { place, value }
    }

    /// Fills `${NAME}` and `${NAME:-default}` in. `$${` stands for `${`.
    fn string(&mut self, text: &str, place: &mut Place) -> Value {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                filled.push_str(&rest[..at]);
                filled.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            filled.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                self.variable_problem(place, "a variable is not closed", "`}` is missing", None);
                return Value::Unknown;
            };
            let inner = &rest[at + 2..at + end];
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            place.variable = Some(name.to_owned());
            let set = (self.environment)(name).filter(|value| !value.is_empty() || default.is_none());
            match set.as_deref().or(default) {
                Some(value) => filled.push_str(value),
                None => {
                    let hint = format!("set {name}, or give a default: \"${{{name}:-value}}\"");
                    self.variable_problem(
                        place,
                        &format!("{name} is not in the environment"),
                        "taken from here",
                        Some(hint),
                    );
                    return Value::Unknown;
                }
            }
            rest = &rest[at + end + 1..];
        }
        filled.push_str(rest);
        Value::String(filled)
    }

    fn variable_problem(&mut self, place: &Place, message: &str, label: &str, hint: Option<String>) {
        let span = place.span.start..place.span.end.min(self.text.len());
        let (message, label) = (message.to_owned(), label.to_owned());
        self.problems.push(Problem::new(Code::Environment, self.source, span, message, label, hint));
    }
}

/// Reads `--set KEY=VALUE`. A value that is no TOML is a string.
pub(super) fn parse_set(
    source: usize,
    argument: &Source,
    environment: Environment<'_>,
    problems: &mut Vec<Problem>,
) -> Table {
    let text = &argument.text;
    if DeTable::parse(text).is_ok() {
        return parse(source, text, environment, problems);
    }
    let quoted = text.split_once('=').map(|(key, value)| {
        // The value keeps its place, one byte further for the quote.
        format!("{key}={}", toml::Value::String(value.trim().to_owned()))
    });
    match quoted.filter(|text| DeTable::parse(text).is_ok()) {
        Some(quoted) => parse(source, &quoted, environment, problems),
        None => {
            let hint =
                "for example --set limits.clients=500, or --set 'rooms.\"agent:{agentId}\".types=[\"*\"]'";
            let message = "--set takes KEY=VALUE".to_owned();
            let label = "not a key and a value".to_owned();
            let span = 0..text.len();
            problems.push(Problem::new(Code::Syntax, source, span, message, label, Some(hint.to_owned())));
            Table::default()
        }
    }
}

/// Lays one table over another: tables are merged key by key, everything else is replaced.
pub(super) fn overlay(base: &mut Table, over: Table) {
    for key in over.order {
        let entry = over.entries[&key].clone();
        match (base.entries.get_mut(&key), entry) {
            (
                Some(Entry { node: Node { value: Value::Table(base), .. }, .. }),
                Entry { node: Node { value: Value::Table(over), .. }, .. },
            ) => {
                overlay(base, over);
            }
            (_, entry) => {
                if !base.entries.contains_key(&key) {
                    base.order.push(key.clone());
                }
                base.entries.insert(key, entry);
            }
        }
    }
}
