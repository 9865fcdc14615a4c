//! A condition on stored events, as a subscription's `where` states it.

use super::Event;
use super::fields::FieldTree;
use crate::pattern::{Condition, Value};
use serde_json::Deserializer;
use smallvec::{SmallVec, smallvec};

/// A compiled filter over the bytes of stored events. Fields beside the event count as in routing: a field of the
/// event wins over one beside it of the same name.
pub struct Filter {
    condition: Condition,
    tree: FieldTree,
    /// The slot of each of the condition's paths.
    slots: Box<[usize]>,
}

impl Filter {
    /// Compiles a filter.
    pub fn new(condition: Condition) -> Filter {
        let mut tree = FieldTree::new();
        let slots = condition.paths().iter().map(|path| tree.value_slot(path)).collect();
        Filter { condition, tree, slots }
    }

    /// The condition's canonical text: two filters with equal texts are the same filter.
    pub fn source(&self) -> &str {
        self.condition.source()
    }

    /// What it was compiled from.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether an event passes. Allocates nothing for a few fields without escapes.
    pub fn passes(&self, event: &Event) -> bool {
        let mut values: SmallVec<[Value<'_>; 16]> = smallvec![Value::Absent; self.tree.len()];
        // Stored events were checked whole when they came, so neither can fail.
        let own = self.tree.read(Deserializer::from_slice(event.json()), &mut values);
        let beside = match event.beside() {
            [] => Ok(None),
            // What the event has itself is there already, and stays.
            beside => self.tree.read(Deserializer::from_slice(beside), &mut values),
        };
        own.is_ok() && beside.is_ok() && self.condition.matches(|index| &values[self.slots[index]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(condition: &str, json: &str, beside: &str, expected: bool) {
        let filter = Filter::new(Condition::parse(condition).unwrap());
        let event = Event::new(1, 2, &[json.as_bytes()], beside.as_bytes(), &mut Vec::new());
        assert_eq!(filter.passes(&event), expected, "{condition} on {json} with {beside}");
    }

    #[test]
    fn a_filter_reads_the_event_and_what_is_beside_it() {
        check("a.b == 1", r#"{"a":{"b":1}}"#, "", true);
        check("a.b == 1", r#"{"a":{"b":2}}"#, "", false);
        check("runId == 'r'", "{}", r#"{"runId":"r"}"#, true);
        check("runId == 'r'", r#"{"runId":"s"}"#, r#"{"runId":"r"}"#, false);
        check("runId == null", r#"{"runId":null}"#, r#"{"runId":"r"}"#, true);
        check("a.b == 1", r#"{"a":{"c":1}}"#, r#"{"a":"r"}"#, false);
        check("a == 'x\\n' && has(b)", r#"{"a":"x\n"}"#, r#"{"b":true}"#, true);
        check("true", "{}", "", true);
    }
}
