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

    /// The field of this name at the event's top, whatever characters it has.
    pub fn top(name: &str) -> Path {
        Path(Box::new([Box::from(name)]))
    }

    /// A path of names that may have dots in them. The caller has at least one.
    pub(super) fn from_names(names: Vec<Box<str>>) -> Path {
        Path(names.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, names: Option<&[&str]>) {
        let path = Path::parse(text);
        assert_eq!(path.as_ref().map(|path| path.names().collect::<Vec<_>>()).as_deref(), names);
        assert!(path.is_none_or(|path| path.to_string() == text));
    }

    #[test]
    fn dots_separate_names() {
        check("agentId", Some(&["agentId"]));
        check("resourceUsage.cpu", Some(&["resourceUsage", "cpu"]));
        check("user-id.@type", Some(&["user-id", "@type"]));
        check("", None);
        check(".a", None);
        check("a..b", None);
        check("a.", None);
    }
}
