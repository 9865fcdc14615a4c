//! Conditions (`where`, `urgent`, a subscription's filter): a small CEL-like language, compiled once, evaluated
//! without allocating.
//!
//! ```text
//! condition  = and { "||" and }                     and = unary { "&&" unary }
//! unary      = "!" unary | "(" condition ")" | comparison
//! comparison = "has" "(" path ")"                   the field is there and not null
//!            | path "." "startsWith" "(" string ")" also startsWith(path, string)
//!            | operand ("==" | "!=" | "<" | "<=" | ">" | ">=") operand
//!            | operand "in" "[" [literal { "," literal }] "]"
//!            | path | "true" | "false"              a path alone: the field is true
//! operand    = path | literal                       literal = string | number | "true" | "false" | "null"
//! path       = name { "." name }                    `any-name` in backticks; strings in "…" or '…'
//! ```
//!
//! Nothing fails while evaluating. Values of different kinds are not equal and have no order: every comparison of them
//! is false but `!=`, which is always the opposite of `==`. A field that is not there is of no kind, so it equals
//! nothing, not even `null` or another missing field. Numbers compare by value, exactly, however they are written;
//! strings by their Unicode code points; `true`, `false` and `null` have no order, arrays and objects no equality.

mod eval;
mod lexer;
mod parser;

use super::{Path, Value};
use eval::Expr;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest text, in bytes: far more than a person writes, little enough for any client to send.
const MAX_SOURCE_BYTES: usize = 4096;

/// How much of a word an error shows. Errors go to clients and logs, and what is longer is long by mistake.
const MAX_SHOWN_CHARS: usize = 40;

/// A compiled condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    source: String,
    paths: Vec<Path>,
    expr: Expr,
}

/// Why a text is no condition, and where (byte offsets into it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// What is wrong.
    pub message: String,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What would be right.
    pub hint: Option<String>,
}

impl Condition {
    /// Compiles a condition's text: at most 4096 bytes, 32 levels, 64 different fields and 256 elements of a list.
    pub fn parse(source: &str) -> Result<Condition, ConditionError> {
        if source.len() > MAX_SOURCE_BYTES {
            let message =
                format!("a condition has at most {MAX_SOURCE_BYTES} bytes, this has {}", source.len());
            return Err(ConditionError::new(message, MAX_SOURCE_BYTES, source.len()));
        }
        let (expr, paths) = parser::parse(source)?;
        Ok(Condition { source: source.to_owned(), paths, expr })
    }

    /// Compiles the object form, `{"agentId":["a","b"]}`: every field equals its value, or one of its values.
    ///
    /// Keys are dotted paths; values are strings, numbers, booleans, null, or lists of those. Equal objects have equal
    /// [`source`](Self::source)s, whatever the order of their keys and lists. An error's place is the start: it names the key.
    pub fn from_object(
        object: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Condition, ConditionError> {
        if object.is_empty() {
            return Err(ConditionError::new("an empty object is no condition", 0, 0)
                .hint("name a field and its value, as in {\"agentId\":\"42\"}, or leave the condition out"));
        }
        let mut fields: Vec<_> = object.iter().collect();
        fields.sort_by_key(|(key, _)| *key);
        let mut source = String::new();
        for (key, value) in fields {
            if !source.is_empty() {
                source.push_str(" && ");
            }
            push_path(&mut source, key)?;
            push_equality(&mut source, key, value)?;
        }
        Condition::parse(&source).map_err(|error| ConditionError { start: 0, end: 0, ..error })
    }

    /// The text it was read from; canonical for the object form.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The fields it reads. [`matches`](Self::matches) asks for them by their index here.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Whether it holds for an event whose fields `field` returns by index into [`paths`](Self::paths).
    pub fn matches<'v, 'a: 'v>(&self, field: impl Fn(usize) -> &'v Value<'a>) -> bool {
        self.expr.holds(&field)
    }
}

impl ConditionError {
    fn new(message: impl Into<String>, start: usize, end: usize) -> ConditionError {
        ConditionError { message: message.into(), start, end, hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> ConditionError {
        ConditionError { hint: Some(hint.into()), ..self }
    }
}

impl std::fmt::Display for ConditionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConditionError {}

/// A word of the source as an error shows it.
fn shown(word: &str) -> Cow<'_, str> {
    match word.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &word[..end]).into(),
        None => word.into(),
    }
}

/// Appends a dotted path as the language writes it.
fn push_path(out: &mut String, key: &str) -> Result<(), ConditionError> {
    let path = Path::parse(key)
        .filter(|_| !key.contains(|c: char| c == '`' || c.is_control()))
        .ok_or_else(|| ConditionError::new(format!("{:?} is not the path of a field", shown(key)), 0, 0))?;
    for (index, name) in path.names().enumerate() {
        if index > 0 {
            out.push('.');
        }
        if lexer::is_plain_name(name) {
            out.push_str(name);
        } else {
            let _ = write!(out, "`{name}`");
        }
    }
    Ok(())
}

/// Appends ` == value`, or ` in [values]` sorted and without doubles.
fn push_equality(out: &mut String, key: &str, value: &serde_json::Value) -> Result<(), ConditionError> {
    let serde_json::Value::Array(values) = value else {
        let _ = write!(out, " == {}", literal_text(key, value)?);
        return Ok(());
    };
    let mut texts = values.iter().map(|value| literal_text(key, value)).collect::<Result<Vec<_>, _>>()?;
    texts.sort();
    texts.dedup();
    let _ = match texts.as_slice() {
        [one] => write!(out, " == {one}"),
        texts => write!(out, " in [{}]", texts.join(",")),
    };
    Ok(())
}

fn literal_text(key: &str, value: &serde_json::Value) -> Result<String, ConditionError> {
    match value {
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => Err(ConditionError::new(
            format!("{:?} must be a string, number, boolean, null, or a list of those", shown(key)),
            0,
            0,
        )
        .hint("a field inside a field is written with a dot, as in {\"resourceUsage.cpu\":0}")),
        scalar => Ok(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests;
