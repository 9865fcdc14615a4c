//! A room's name as the configuration gives it: `agent_states`, or a template such as `agent:{agentId}`.

use super::Path;

/// A room's name, or a template of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    segments: Vec<Segment>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Text as it is.
    Literal(String),
    /// The value of a field.
    Field(Path),
}

/// Why a text is no room name or template, and where (byte offsets into it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What is wrong.
    pub message: String,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What would be right.
    pub hint: Option<String>,
}

impl Template {
    /// Reads a room's name or template.
    pub fn parse(_source: &str) -> Result<Template, NameError> {
        todo!()
    }

    /// The text it was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the name has no fields.
    pub fn is_static(&self) -> bool {
        !self.segments.iter().any(|segment| matches!(segment, Segment::Field(_)))
    }

    /// The parts, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether a concrete room name could have been made by this template (every field non-empty, and made only of
    /// bytes that an encoded value can have).
    pub fn could_make(&self, _name: &str) -> bool {
        todo!()
    }
}
