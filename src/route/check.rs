//! What an event's fields must be: the five types built in, and those of `[types]`.

use super::{Rejection, fault};
use crate::config::{FieldKind, TypeConfig};
use crate::event::FieldTree;
use crate::pattern::{Path, Value};

/// A field of a type.
#[derive(Debug)]
pub(super) struct Check {
    slot: usize,
    pub(super) path: Path,
    pub(super) kind: FieldKind,
    required: bool,
}

/// Path, kind, and whether it must be there. A kind with `|` is one of those strings.
type Field = (&'static str, &'static str, bool);

/// The types built in.
const BUILT_IN: [(&str, &[Field]); 5] = [
    (
        "agent_state",
        &[
            ("agentId", "string", true),
            ("status", "idle|active|busy|error|offline", true),
            ("resourceUsage", "object", true),
            ("resourceUsage.cpu", "number", true),
            ("resourceUsage.memory", "number", true),
            ("resourceUsage.activeConnections", "number", true),
            ("currentTask", "string", false),
            ("metadata", "object", false),
            ("timestamp", "number", false),
        ],
    ),
    (
        "performance_metric",
        &[
            ("metricName", "string", true),
            ("value", "number", true),
            ("unit", "string", true),
            ("category", "system|agent|network|database", true),
            ("agentId", "string", false),
            ("metadata", "object", false),
            ("timestamp", "number", false),
        ],
    ),
    (
        "workflow_execution",
        &[
            ("workflowId", "string", true),
            ("executionId", "string", true),
            ("stage", "string", true),
            ("status", "pending|running|completed|failed|cancelled", true),
            ("progress", "percent", false),
            ("agentId", "string", false),
            ("error", "string", false),
            ("timestamp", "number", false),
        ],
    ),
    (
        "memory_timeline",
        &[
            ("memoryId", "string", true),
            ("action", "created|updated|accessed|deleted", true),
            ("importance", "number", true),
            ("tags", "strings", true),
            ("content", "string", false),
            ("agentId", "string", false),
            ("timestamp", "number", false),
        ],
    ),
    (
        "system_alert",
        &[
            ("severity", "info|warning|error|critical", true),
            ("component", "string", true),
            ("message", "string", true),
            ("details", "object", false),
            ("timestamp", "number", false),
        ],
    ),
];

/// The checks of the types built in.
pub(super) fn built_in(tree: &mut FieldTree) -> impl Iterator<Item = (&'static str, Box<[Check]>)> {
    BUILT_IN.into_iter().map(|(name, fields)| {
        let checks = fields.iter().map(|(path, kind, required)| {
            let path = Path::parse(path).expect("paths of the built-in types have no empty names");
            Check::new(tree, path, built_in_kind(kind), *required)
        });
        (name, checks.collect())
    })
}

/// The checks of a type of `[types]`.
pub(super) fn of_config(tree: &mut FieldTree, config: &TypeConfig) -> Box<[Check]> {
    let required = config.required.iter().map(|field| (field, true));
    let optional = config.optional.iter().map(|field| (field, false));
    required
        .chain(optional)
        .map(|((path, kind), required)| Check::new(tree, path.clone(), kind.clone(), required))
        .collect()
}

/// Whether every field is what it must be. A field that may be left out may be null as well: many producers write
/// null for none.
#[inline]
pub(super) fn failed<'c>(checks: &'c [Check], values: &[Value<'_>]) -> Option<&'c Check> {
    checks.iter().find(|check| !check.passes(&values[check.slot]))
}

impl Check {
    fn new(tree: &mut FieldTree, path: Path, kind: FieldKind, required: bool) -> Check {
        let slot = match kind {
            FieldKind::OneOf(_) => tree.value_slot(&path),
            FieldKind::Strings => tree.elements_slot(&path),
            _ => tree.slot(&path),
        };
        Check { slot, path, kind, required }
    }

    #[inline]
    fn passes(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Absent => !self.required,
            Value::Null if !self.required => true,
            value => is_of_kind(value, &self.kind),
        }
    }

    /// The refusal of a line whose field failed this check.
    #[cold]
    pub(super) fn rejection(&self, line: &str, event_type: &str, values: &[Value<'_>]) -> Rejection {
        match &values[self.slot] {
            Value::Absent => fault::missing_field(line, event_type, self),
            _ => fault::bad_field(line, self),
        }
    }
}

fn built_in_kind(kind: &str) -> FieldKind {
    match kind {
        "string" => FieldKind::String,
        "number" => FieldKind::Number,
        "percent" => FieldKind::Percent,
        "object" => FieldKind::Object,
        "strings" => FieldKind::Strings,
        words => FieldKind::OneOf(words.split('|').map(str::to_owned).collect()),
    }
}

fn is_of_kind(value: &Value<'_>, kind: &FieldKind) -> bool {
    match (kind, value) {
        (FieldKind::Any, _)
        | (FieldKind::String, Value::String(_))
        | (FieldKind::Boolean, Value::Bool(_))
        | (FieldKind::Object, Value::Object)
        | (FieldKind::Array, Value::Array { .. })
        | (FieldKind::Strings, Value::Array { all_strings: true }) => true,
        (FieldKind::Number, value) => value.is_number(),
        (FieldKind::Percent, value) => {
            let order = |bound| value.order(&Value::Integer(bound));
            order(0).is_some_and(std::cmp::Ordering::is_ge)
                && order(100).is_some_and(std::cmp::Ordering::is_le)
        }
        (FieldKind::OneOf(words), Value::String(text)) => words.iter().any(|word| *word == **text),
        _ => false,
    }
}
