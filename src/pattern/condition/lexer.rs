//! The words of a condition.

use super::{ConditionError, shown};
use crate::pattern::Value;
use std::borrow::Cow;

/// A word of a condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name; whether it stood in backticks, and so is never a function.
    Name { text: String, quoted: bool },
    /// A string, number, `true`, `false` or `null`.
    Literal(Value<'static>),
    /// An operator or a bracket; `in` too.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// A word and its place in the text.
#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Longer ones first, since `<` begins `<=`.
const SYMBOLS: [&str; 16] =
    ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ",", ".", "in"];

/// What people write who know other languages, and what it is here.
const FOREIGN: [(&str, &str); 8] = [
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("=~", "path.startsWith(\"…\")"),
    ("=>", ">="),
    ("=", "=="),
    ("&", "&&"),
    ("|", "||"),
];

/// Cuts a text into words; the last is [`Token::End`].
pub(super) fn lex(source: &str) -> Result<Vec<Spanned>, ConditionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += source[at..].len() - source[at..].trim_start().len();
        let (token, len) = match source[at..].chars().next() {
            None => break,
            Some('"' | '\'') => string(source, at)?,
            Some('`') => quoted_name(source, at)?,
            Some(c) if c.is_ascii_digit() || c == '-' => number(source, at)?,
            Some(c) if is_name_start(c) => word(&source[at..]),
            Some(_) => symbol(source, at)?,
        };
        tokens.push(Spanned { token, start: at, end: at + len });
        at += len;
    }
    tokens.push(Spanned { token: Token::End, start: source.len(), end: source.len() });
    Ok(tokens)
}

/// Whether a name needs no backticks.
pub(super) fn is_plain_name(name: &str) -> bool {
    name.starts_with(is_name_start)
        && name.chars().all(is_name_part)
        && !matches!(name, "in" | "true" | "false" | "null")
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_name_part(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word(rest: &str) -> (Token, usize) {
    let len = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
    let token = match &rest[..len] {
        "in" => Token::Symbol("in"),
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "null" => Token::Literal(Value::Null),
        name => Token::Name { text: name.to_owned(), quoted: false },
    };
    (token, len)
}

fn quoted_name(source: &str, at: usize) -> Result<(Token, usize), ConditionError> {
    let Some(len) = source[at + 1..].find('`') else {
        return Err(ConditionError::new("a name in backticks does not end", at, source.len())
            .hint("close it with a backtick"));
    };
    let name = &source[at + 1..at + 1 + len];
    if name.is_empty() || name.contains(char::is_control) {
        return Err(ConditionError::new(
            "a name is not empty and has no control characters",
            at,
            at + len + 2,
        ));
    }
    Ok((Token::Name { text: name.to_owned(), quoted: true }, len + 2))
}

/// Reads a string in either quotes, with JSON's escapes and `\'`.
fn string(source: &str, at: usize) -> Result<(Token, usize), ConditionError> {
    let bytes = source.as_bytes();
    let quote = bytes[at];
    let mut end = at + 1;
    while bytes.get(end).is_some_and(|byte| *byte != quote) {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    if end >= bytes.len() {
        let hint = format!("close it with {}", quote as char);
        return Err(ConditionError::new("a string does not end", at, source.len()).hint(hint));
    }
    let text = serde_json::from_str(&as_json(&source[at + 1..end])).map_err(|_| {
        ConditionError::new(
            "a string has an escape or a control character that JSON does not know",
            at,
            end + 1,
        )
        .hint("JSON's escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0000")
    })?;
    Ok((Token::Literal(Value::String(Cow::Owned(text))), end + 1 - at))
}

/// The inside of a string in either quotes as a JSON string.
fn as_json(inside: &str) -> String {
    let mut json = String::with_capacity(inside.len() + 2);
    json.push('"');
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\'') => json.push('\''),
                Some(escaped) => json.extend(['\\', escaped]),
                None => json.push('\\'),
            },
            '"' => json.push_str("\\\""),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// Reads a number as events have them, so that the same digits are the same number.
fn number(source: &str, at: usize) -> Result<(Token, usize), ConditionError> {
    let rest = &source[at..];
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '+' | '-' | '_');
    let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let value = serde_json::from_str::<serde_json::Number>(&rest[..len]).ok();
    match value.as_ref().and_then(Value::from_number) {
        Some(value) => Ok((Token::Literal(value), len)),
        None => Err(ConditionError::new(format!("`{}` is not a number", shown(&rest[..len])), at, at + len)
            .hint("numbers are written as in JSON; a field's name with such characters stands in backticks")),
    }
}

fn symbol(source: &str, at: usize) -> Result<(Token, usize), ConditionError> {
    let rest = &source[at..];
    let foreign = FOREIGN.iter().find(|(theirs, _)| rest.starts_with(theirs));
    let ours = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
    match (ours, foreign) {
        // `==` is ours unless it begins `===`; `&&` is ours although `&` is foreign.
        (Some(ours), foreign) if foreign.is_none_or(|(theirs, _)| theirs.len() <= ours.len()) => {
            Ok((Token::Symbol(ours), ours.len()))
        }
        (_, Some((theirs, right))) => {
            Err(ConditionError::new(format!("`{theirs}` is not an operator"), at, at + theirs.len())
                .hint(format!("write `{right}`")))
        }
        _ => {
            let c = rest.chars().next().unwrap_or_default();
            Err(ConditionError::new(format!("`{c}` means nothing here"), at, at + c.len_utf8())
                .hint("a field's name with other characters than letters, digits and _ stands in backticks"))
        }
    }
}
