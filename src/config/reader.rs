//! Reading typed values out of a tree, collecting every problem, with the place and what would be right.

use super::Rate;
use super::node::{Entry, Node, Place, Table, Value};
use super::problem::{Code, Problem};
use super::units::{self, parse_duration, parse_duration_or_ms, parse_rate, parse_size};
use std::collections::BTreeMap;
use std::time::Duration;

/// Collects problems, and where each key's value comes from.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    /// The place of each key that was given, by its dotted path.
    pub(super) given: BTreeMap<String, Place>,
}

/// A table while it is read: what was not asked for in the end is unknown.
pub(super) struct Section<'n> {
    pub(super) path: String,
    table: &'n Table,
    asked: Vec<&'static str>,
}

/// A value to be read: its place and its dotted path.
#[derive(Clone)]
pub(super) struct Item<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

impl<'n> Section<'n> {
    pub(super) fn new(path: &str, table: &'n Table) -> Section<'n> {
        Section { path: path.to_owned(), table, asked: Vec::new() }
    }

    /// A key's value, if it is given.
    pub(super) fn get(&mut self, reader: &mut Reader, key: &'static str) -> Option<Item<'n>> {
        self.asked.push(key);
        let entry = self.table.entries.get(key)?;
        let path = join(&self.path, key);
        reader.given.insert(path.clone(), entry.node.place.clone());
        Some(Item { node: &entry.node, path })
    }

    /// A key's place, if it is given.
    pub(super) fn key(&self, key: &str) -> Option<&'n Place> {
        self.table.entries.get(key).map(|entry| &entry.key)
    }

    /// Whether a key is given as this string.
    pub(super) fn holds(&self, key: &str, text: &str) -> bool {
        self.table.entries.get(key).is_some_and(|entry| entry.node.is(text))
    }

    /// Keys that stand for names, in the file's order.
    pub(super) fn names(&self) -> impl Iterator<Item = (&'n String, &'n Entry)> + use<'n> {
        let table = self.table;
        table.order.iter().map(move |key| (key, &table.entries[key]))
    }

    /// Reports the keys that nobody asked for. `elsewhere` may know a key better than by its spelling.
    pub(super) fn end(self, reader: &mut Reader, elsewhere: impl Fn(&str) -> Option<String>) {
        for (name, entry) in &self.table.entries {
            if self.asked.contains(&name.as_str()) {
                continue;
            }
            let nearest =
                self.asked.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known)).min();
            let close = nearest
                .filter(|(distance, known)| *distance <= 2.max(known.len() / 3))
                .map(|(_, known)| known);
            let hint = elsewhere(name).or_else(|| close.map(|known| format!("did you mean `{known}`?")));
            let within = if self.path.is_empty() {
                "the configuration".to_owned()
            } else {
                format!("[{}]", self.path)
            };
            let label = format!("{within} has {}", list(&self.asked));
            reader.problem(
                Code::UnknownKey,
                &entry.key,
                format!("unknown key `{}`", join(&self.path, name)),
                label,
                hint,
            );
        }
    }
}

impl Item<'_> {
    /// The value found, with the environment variable that gave it.
    pub(super) fn found(&self, what: &str) -> String {
        match &self.node.place.variable {
            Some(variable) => format!("{what} from ${{{variable}}}"),
            None => what.to_owned(),
        }
    }

    /// Says that a value is out of its range. The file does not show a value from the environment: this does.
    fn out_of_range(&self) -> String {
        match &self.node.value {
            Value::String(text) if self.node.place.variable.is_some() => self.found(&format!("\"{text}\"")),
            _ => "not in the range".to_owned(),
        }
    }
}

impl Reader {
    pub(super) fn problem(
        &mut self,
        code: Code,
        place: &Place,
        message: String,
        label: String,
        hint: Option<String>,
    ) {
        self.problems.push(Problem::new(code, place.source, place.span.clone(), message, label, hint));
    }

    /// Reports a value that is not what it must be. Nothing is said of one whose variable is missing: that was.
    pub(super) fn wrong(&mut self, item: &Item<'_>, expected: &str, hint: Option<String>) {
        if matches!(item.node.value, Value::Unknown) {
            return;
        }
        let message = format!("`{}` must be {expected}", item.path);
        let label = format!("this is {}", item.found(item.node.value.kind()));
        self.problem(Code::WrongValue, &item.node.place, message, label, hint);
    }

    pub(super) fn table<'n>(&mut self, item: &Item<'n>) -> Option<Section<'n>> {
        match &item.node.value {
            Value::Table(table) => Some(Section::new(&item.path, table)),
            _ => {
                self.wrong(item, "a table", None);
                None
            }
        }
    }

    /// A list; a single value stands for a list of one.
    pub(super) fn list<'n>(&mut self, item: &Item<'n>, expected: &str) -> Option<Vec<Item<'n>>> {
        match &item.node.value {
            Value::Array(nodes) => Some(
                nodes
                    .iter()
                    .enumerate()
                    .map(|(index, node)| Item { node, path: format!("{}[{index}]", item.path) })
                    .collect(),
            ),
            Value::String(text) => {
                self.wrong(item, expected, Some(format!("[\"{text}\"]")));
                None
            }
            _ => {
                self.wrong(item, expected, None);
                None
            }
        }
    }

    pub(super) fn string<'n>(&mut self, item: &Item<'n>, expected: &str) -> Option<&'n str> {
        match &item.node.value {
            Value::String(text) => Some(text),
            Value::Integer(number) => {
                self.wrong(item, expected, Some(format!("strings are quoted: \"{number}\"")));
                None
            }
            _ => {
                self.wrong(item, expected, None);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, item: &Item<'_>) -> Option<bool> {
        match &item.node.value {
            Value::Boolean(flag) => Some(*flag),
            Value::String(text)
                if item.node.place.variable.is_some() && matches!(text.as_str(), "true" | "false") =>
            {
                Some(text == "true")
            }
            Value::String(text) if matches!(text.as_str(), "true" | "false") => {
                self.wrong(item, "true or false", Some(format!("without quotes: {text}")));
                None
            }
            _ => {
                self.wrong(item, "true or false", None);
                None
            }
        }
    }

    /// A whole number in a range.
    pub(super) fn integer(&mut self, item: &Item<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let (least, most) = (*range.start(), *range.end());
        let expected = if most == u64::MAX {
            format!("a whole number, {least} or more")
        } else {
            format!("a whole number from {least} to {most}")
        };
        let number = match &item.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) if item.node.place.variable.is_some() => {
                text.trim().replace('_', "").parse().ok()
            }
            Value::String(text) => {
                let hint = text.parse::<u64>().ok().map(|number| format!("without quotes: {number}"));
                self.wrong(item, &expected, hint);
                return None;
            }
            _ => {
                self.wrong(item, &expected, None);
                return None;
            }
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let message = format!("`{}` must be {expected}", item.path);
                self.problem(Code::WrongValue, &item.node.place, message, item.out_of_range(), None);
                None
            }
        }
    }

    pub(super) fn count(&mut self, item: &Item<'_>, least: u64) -> Option<usize> {
        self.integer(item, least..=u64::from(u32::MAX)).map(|number| number as usize)
    }

    /// A duration in a range. A number without a unit is milliseconds if a variable gives it, and refused in a file.
    pub(super) fn duration(&mut self, item: &Item<'_>, least: Duration, most: Duration) -> Option<Duration> {
        let of_number = |number| format!("\"{number}ms\" or \"{number}s\"");
        let duration = if item.node.place.variable.is_some() {
            self.unit(item, units::DURATION_OR_MS, parse_duration_or_ms, of_number)
        } else {
            self.unit(item, units::DURATION, parse_duration, of_number)
        }?;
        if (least..=most).contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (units::show_duration(least), units::show_duration(most));
        let message = format!("`{}` must be from {least} to {most}", item.path);
        self.problem(Code::WrongValue, &item.node.place, message, item.out_of_range(), None);
        None
    }

    /// Sets a duration that may also be `"off"`: None.
    pub(super) fn duration_or_off(
        &mut self,
        item: &Item<'_>,
        (least, most): (Duration, Duration),
        target: &mut Option<Duration>,
    ) {
        if matches!(&item.node.value, Value::String(text) if text == "off") {
            *target = None;
        } else if let Some(duration) = self.duration(item, least, most) {
            *target = Some(duration);
        }
    }

    pub(super) fn size(&mut self, item: &Item<'_>, least: u64) -> Option<u64> {
        let size = self.unit(item, units::SIZE, parse_size, |number| format!("\"{number}B\""))?;
        if size >= least {
            return Some(size);
        }
        let message = format!("`{}` must be {} or more", item.path, units::show_size(least));
        self.problem(Code::WrongValue, &item.node.place, message, item.out_of_range(), None);
        None
    }

    /// `{ rate = "20/s", burst = 40 }`, or a rate alone, whose burst is then one second's worth.
    pub(super) fn rate(&mut self, item: &Item<'_>) -> Option<Rate> {
        let read = |reader: &mut Reader, item: &Item<'_>| {
            reader.unit(item, units::RATE, parse_rate, |number| format!("\"{number}/s\""))
        };
        if !matches!(item.node.value, Value::Table(_)) {
            let per_second = read(self, item)?;
            return Some(Rate { per_second, burst: (per_second.ceil() as u32).max(1) });
        }
        let mut section = self.table(item)?;
        let per_second = section.get(self, "rate").and_then(|item| read(self, &item));
        let burst = section.get(self, "burst").and_then(|item| self.integer(&item, 1..=1_000_000));
        if section.key("rate").is_none() {
            let hint = Some("{ rate = \"20/s\", burst = 40 }".to_owned());
            self.problem(
                Code::Missing,
                &item.node.place,
                format!("`{}` has no rate", item.path),
                "rate is missing".to_owned(),
                hint,
            );
        }
        section.end(self, |_| None);
        let per_second = per_second?;
        Some(Rate {
            per_second,
            burst: burst.map_or((per_second.ceil() as u32).max(1), |burst| burst as u32),
        })
    }

    fn unit<T>(
        &mut self,
        item: &Item<'_>,
        expected: &str,
        parse: fn(&str) -> Result<T, Option<String>>,
        of_number: impl Fn(i64) -> String,
    ) -> Option<T> {
        match &item.node.value {
            Value::String(text) => match parse(text) {
                Ok(value) => Some(value),
                Err(meant) => {
                    let message = format!("`{}` must be {expected}", item.path);
                    let label = format!("{} is not one", item.found(&format!("\"{text}\"")));
                    let hint = match text.trim().parse() {
                        Ok(number) => Some(format!("with its unit: {}", of_number(number))),
                        Err(_) => meant.map(|meant| format!("\"{meant}\"")),
                    };
                    self.problem(Code::WrongValue, &item.node.place, message, label, hint);
                    None
                }
            },
            Value::Integer(number) => {
                self.wrong(item, expected, Some(format!("with its unit: {}", of_number(*number))));
                None
            }
            _ => {
                self.wrong(item, expected, None);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, item: &Item<'_>, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let expected = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let expected = format!("one of {expected}");
        let text = self.string(item, &expected)?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let close = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, text));
        let close = close.filter(|name| strsim::damerau_levenshtein(name, text) <= 2);
        let hint = close.map(|name| format!("did you mean \"{name}\"?"));
        let message = format!("`{}` must be {expected}", item.path);
        self.problem(
            Code::WrongValue,
            &item.node.place,
            message,
            format!("\"{text}\" is none of them"),
            hint,
        );
        None
    }
}

/// A dotted path with a key added; a key that is no plain word is quoted.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let key = if plain && !key.is_empty() { key.to_owned() } else { format!("\"{key}\"") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "no keys".to_owned(),
        [one] => (*one).to_owned(),
        [many @ .., last] => format!("{} and {last}", many.join(", ")),
    }
}
