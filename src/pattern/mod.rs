//! Small languages of the configuration: paths into an event, room templates, patterns of types, conditions.
//!
//! Pure. Knows nothing of events but the values a caller hands it.

mod condition;
mod path;
mod template;
mod type_pattern;
mod value;

pub use condition::{Condition, ConditionError};
pub use path::Path;
pub use template::{MAX_NAME_BYTES, NameError, Segment, Template, push_encoded};
pub use type_pattern::TypePattern;
pub use value::Value;
