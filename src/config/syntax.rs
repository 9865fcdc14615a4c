//! Mistakes of syntax: one problem for each mistake, where one missing character makes a parser stumble many times.

use super::problem::{Code, Problem};
use super::reader::join;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use toml_parser::Source;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};

/// Depth of lists in lists at which reading ends, as the parser of values has it.
const DEEPEST: u32 = 80;

/// Turns the parser's errors into problems: the first mistake that ends reading, and every key that stands twice before it.
pub(super) fn problems(source: usize, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let layout = Layout::of(text);
    let start_of = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let (twice, broken): (Vec<_>, Vec<_>) = errors.iter().partition(|error| is_twice(error.message()));
    let first = broken.into_iter().min_by_key(|error| start_of(error));
    let end = first.map_or(usize::MAX, start_of);
    let mut repeated: Vec<&Key> = twice
        .iter()
        .filter(|error| start_of(error) < end)
        .filter_map(|error| layout.key_at(start_of(error)))
        .collect();
    // Keys of a table that stands twice are no mistakes of their own.
    let tables: HashSet<usize> =
        repeated.iter().filter(|key| key.is_header).map(|key| key.span.start).collect();
    repeated.retain(|key| key.is_header || !key.table.is_some_and(|table| tables.contains(&table)));
    let mut problems: Vec<Problem> =
        repeated.into_iter().map(|key| repeated_key(source, &layout, key)).collect();
    problems.extend(first.map(|error| broken_at(source, text, &layout, error)));
    problems
}

/// True for errors about a key or a table that is there already.
fn is_twice(message: &str) -> bool {
    message.starts_with("duplicate key") || message.starts_with("cannot extend value")
}

fn repeated_key(source: usize, layout: &Layout, key: &Key) -> Problem {
    let path = &key.path;
    let (message, noun, hint) = if key.is_header {
        let hint = format!("put all keys of [{path}] under one header, or rename one of the tables");
        (format!("the table [{path}] is defined twice"), "definition", hint)
    } else {
        (format!("`{path}` is set twice"), "value", "keep one of the two".to_owned())
    };
    let (label, span) = (format!("second {noun}"), key.span.clone());
    let mut problem = Problem::new(Code::Duplicate, source, span, message, label, Some(hint));
    let first = layout.first(key);
    problem.related = first.map(|first| (source, first.span.clone(), format!("first {noun}")));
    problem
}

/// The problem at the place where reading ends.
fn broken_at(source: usize, text: &str, layout: &Layout, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let start = line_start(text, span.start);
    let line = text[start..].lines().next().unwrap_or_default();
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, format!("expected {expected}")),
        None => (error.message(), "here".to_owned()),
    };
    if let Some((open, end)) = layout.unclosed(text, what, span.start) {
        let (closing, kind) = if open.is_list { (']', "list") } else { ('}', "table") };
        let message = format!("a {kind} is not closed");
        let hint = format!("write `{closing}` at the end of the {kind}");
        let label = format!("expected `{closing}`");
        let mut problem = Problem::new(Code::Syntax, source, end..end, message, label, Some(hint));
        problem.related = Some((source, open.span.clone(), format!("the {kind} begins here")));
        return problem;
    }
    let is_quote = expected.ends_with("`\"`") || expected.ends_with("`'`") || quotes(line) % 2 == 1;
    let (message, fix) = match what {
        "unclosed table" | "unclosed array table" => (
            "a table's header is not closed".to_owned(),
            Some("write it as [name], or as [[name]] in a list"),
        ),
        _ if is_quote => {
            ("a quote is missing".to_owned(), Some("a string ends with the quote that it begins with"))
        }
        "key with no value" => ("a key has no value".to_owned(), Some("write KEY = VALUE")),
        _ => (format!("this is not TOML: {what}"), None),
    };
    let hint = hint(line.trim()).or_else(|| fix.map(str::to_owned));
    Problem::new(Code::Syntax, source, span, message, expected, hint)
}

/// What is meant by lines that people write.
fn hint(line: &str) -> Option<String> {
    if let Some(name) = unquoted_room(line) {
        return Some(format!(
            "a room's name with other characters than letters, digits, - and _ is quoted: [rooms.\"{name}\"]"
        ));
    }
    let text = if line.starts_with("mode") || line.contains(" mode = 0") || line.contains("mode=0") {
        "write permission bits as a string: mode = \"0660\""
    } else if line.contains("${") && quotes(line).is_multiple_of(2) {
        "quote what takes the environment, for numbers as well: events = \"${BUFFER_SIZE:-50}\""
    } else {
        return None;
    };
    Some(text.to_owned())
}

/// The name in a table header that should have been quoted.
fn unquoted_room(line: &str) -> Option<&str> {
    let name = line.strip_prefix("[rooms.")?.split(']').next()?;
    (!name.starts_with('"') && !name.starts_with('\'') && name.contains(['{', ':', '*'])).then_some(name)
}

/// Counts the quotes of a line that begin or end a string.
fn quotes(line: &str) -> usize {
    line.replace("\\\\", "").replace("\\\"", "").matches('"').count()
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).rfind('\n').map_or(0, |end| end + 1)
}

/// True for a line such as `key = …` or `[table]`.
fn is_statement(line: &str) -> bool {
    let line = line.trim_start();
    let of_name = |c: char| c.is_ascii_alphanumeric() || "_-. \"'{}:*".contains(c);
    if let Some(header) = line.strip_prefix('[') {
        return header.trim_start_matches('[').starts_with(|c: char| c.is_ascii_alphabetic());
    }
    line.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty() && key.chars().all(of_name))
        && line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '"')
}

/// A part of a key, and the keys before it.
struct Key {
    span: Range<usize>,
    /// With all that it is in.
    path: String,
    /// True in `[table]`.
    is_header: bool,
    /// Where the last part of the header stands that it is under.
    table: Option<usize>,
    /// The key that it is in, if that has a place.
    parent: Option<usize>,
}

/// A list or a table between brackets.
struct Open {
    span: Range<usize>,
    is_list: bool,
}

/// Keys and brackets of a text, as far as it can be read.
#[derive(Default)]
struct Layout {
    keys: Vec<Key>,
    /// By path, the first of `keys`.
    first: HashMap<String, usize>,
    /// What opens and closes, in order; None closes.
    brackets: Vec<(usize, Option<Open>)>,
    /// Ends of what means something.
    ends: Vec<usize>,
}

/// What a key is looked up in while a text is read.
struct Scope {
    base: String,
    /// The path so far in this statement.
    path: String,
    parent: Option<usize>,
    is_list: bool,
}

impl Layout {
    fn of(text: &str) -> Layout {
        let tokens = Source::new(text).lex().into_vec();
        let mut events: Vec<Event> = Vec::new();
        parse_document(&tokens, &mut RecursionGuard::new(&mut events, DEEPEST), &mut ());
        let mut layout = Layout::default();
        let mut scopes =
            vec![Scope { base: String::new(), path: String::new(), parent: None, is_list: false }];
        let mut tables: HashMap<String, usize> = HashMap::new();
        let (mut in_header, mut table) = (false, None);
        for event in &events {
            let span = event.span().start()..event.span().end();
            let kind = event.kind();
            // What a parser puts where something is missing has no length.
            let is_blank = matches!(kind, EventKind::Whitespace | EventKind::Newline | EventKind::Comment);
            if !is_blank && !span.is_empty() {
                layout.ends.push(span.end);
            }
            layout.bracket(kind, &span);
            let depth = scopes.len();
            let Some(scope) = scopes.last_mut() else { break };
            match kind {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    in_header = true;
                    scope.begin(String::new());
                }
                EventKind::StdTableClose | EventKind::ArrayTableClose => {
                    in_header = false;
                    if kind == EventKind::ArrayTableClose {
                        *tables.entry(scope.path.clone()).or_default() += 1;
                    }
                    let path = numbered(&tables, &scope.path);
                    scope.begin(path);
                    table = layout.keys.last().map(|key| key.span.start);
                }
                EventKind::SimpleKey => {
                    let path = join(&numbered(&tables, &scope.path), plain(&text[span.clone()]));
                    let key = Key {
                        span,
                        path: path.clone(),
                        is_header: in_header,
                        table: table.filter(|_| !in_header),
                        parent: scope.parent,
                    };
                    layout.first.entry(path.clone()).or_insert(layout.keys.len());
                    (scope.path, scope.parent) = (path, Some(layout.keys.len()));
                    layout.keys.push(key);
                }
                EventKind::ArrayOpen | EventKind::InlineTableOpen => {
                    // Tables in a list are told apart by their places.
                    let place = if scope.is_list { format!("[{}]", span.start) } else { String::new() };
                    let (base, parent) = (format!("{}{place}", scope.path), scope.parent);
                    let is_list = kind == EventKind::ArrayOpen;
                    scopes.push(Scope { path: base.clone(), base, parent, is_list });
                }
                EventKind::ArrayClose | EventKind::InlineTableClose if depth > 1 => {
                    scopes.pop();
                }
                EventKind::Newline | EventKind::ValueSep if !scope.is_list => {
                    scope.begin(scope.base.clone());
                }
                _ => {}
            }
        }
        layout
    }

    fn bracket(&mut self, kind: EventKind, span: &Range<usize>) {
        let open = |is_list| Some(Open { span: span.clone(), is_list });
        let bracket = match kind {
            EventKind::ArrayOpen => open(true),
            EventKind::InlineTableOpen => open(false),
            EventKind::ArrayClose | EventKind::InlineTableClose if !span.is_empty() => None,
            _ => return,
        };
        self.brackets.push((span.start, bracket));
    }

    fn key_at(&self, start: usize) -> Option<&Key> {
        self.keys.binary_search_by_key(&start, |key| key.span.start).ok().map(|index| &self.keys[index])
    }

    /// The key that has this one's path first, or that of the nearest table that it is in.
    fn first(&self, key: &Key) -> Option<&Key> {
        let mut at = Some(key);
        while let Some(one) = at {
            let first = self.first.get(&one.path).map(|index| &self.keys[*index]);
            if first.is_some_and(|first| first.span.start < one.span.start) {
                return first;
            }
            at = one.parent.map(|parent| &self.keys[parent]);
        }
        None
    }

    /// The bracket that is open where reading ends, if that is why, and where its end is expected.
    fn unclosed(&self, text: &str, what: &str, at: usize) -> Option<(&Open, usize)> {
        let mut open = Vec::new();
        for (_, bracket) in self.brackets.iter().take_while(|(start, _)| *start <= at) {
            match bracket {
                Some(bracket) => open.push(bracket),
                None => drop(open.pop()),
            }
        }
        let start = line_start(text, at);
        let is_end = what.starts_with("unclosed array") && what != "unclosed array table"
            || what.starts_with("unclosed inline");
        let open = if is_statement(&text[start..]) && !is_end {
            open.into_iter().rfind(|open| open.span.start < start)
        } else if is_end || text[at..].trim().is_empty() {
            open.pop()
        } else {
            None
        }?;
        // Where what is within ends: the next statement, or the end of the file.
        let mut next = line_start(text, open.span.start);
        for line in text[next..].split_inclusive('\n') {
            if next > open.span.start && (is_statement(line) || next >= at.max(1)) {
                break;
            }
            next += line.len();
        }
        let last = self.ends.iter().rev().find(|end| **end <= next).copied();
        Some((open, last.unwrap_or(open.span.end).max(open.span.end)))
    }
}

impl Scope {
    /// Begins a statement.
    fn begin(&mut self, base: String) {
        self.path.clone_from(&base);
        self.base = base;
        self.parent = None;
    }
}

/// The path of the newest of `[[tables]]`, or the path as it is.
fn numbered(tables: &HashMap<String, usize>, path: &str) -> String {
    tables.get(path).map_or_else(|| path.to_owned(), |count| format!("{path}[{}]", count - 1))
}

/// A key without its quotes.
fn plain(key: &str) -> &str {
    let inner = |quote| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(key)
}
