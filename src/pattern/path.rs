//! A dotted path to a field of an event: `resourceUsage.cpu`.

use std::fmt;

/// Names of nested fields, outermost first; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Box<[Box<str>]>);

impl Path {
    /// Splits a dotted path. None for an empty text or an empty name.
    pub fn parse(text: &str) -> Option<Path> {
        let names: Box<[Box<str>]> = text.split('.').map(Box::from).collect();
        names.iter().all(|name| !name.is_empty()).then_some(Path(names))
    }

    /// The names, outermost first.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}
