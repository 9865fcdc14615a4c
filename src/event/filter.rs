//! A condition on stored events, as a subscription's `where` states it.

use super::Event;
use crate::pattern::Condition;

/// A compiled filter over the bytes of stored events. Fields beside the event count as in routing: a field of the
/// event wins over one beside it of the same name.
pub struct Filter {
    condition: Condition,
}

impl Filter {
    /// Compiles a filter.
    pub fn new(condition: Condition) -> Filter {
        Filter { condition }
    }

    /// The condition's canonical text: two filters with equal texts are the same filter.
    pub fn source(&self) -> &str {
        self.condition.source()
    }

    /// Whether an event passes.
    pub fn passes(&self, _event: &Event) -> bool {
        todo!()
    }
}
