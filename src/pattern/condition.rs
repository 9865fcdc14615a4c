//! Conditions (`where`, `urgent`, a subscription's filter): a small CEL-like language, compiled once, evaluated
//! without allocating.

use super::{Path, Value};

/// A compiled condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    source: String,
    paths: Vec<Path>,
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
    /// Compiles a condition's text.
    pub fn parse(_source: &str) -> Result<Condition, ConditionError> {
        todo!()
    }

    /// Compiles the object form, `{"agentId":["a","b"]}`: every field equals its value, or one of its values.
    pub fn from_object(
        _object: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Condition, ConditionError> {
        todo!()
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
    pub fn matches<'v, 'a: 'v>(&self, _field: impl Fn(usize) -> &'v Value<'a>) -> bool {
        todo!()
    }
}
