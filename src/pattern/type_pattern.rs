//! A pattern of event types: a name, or a prefix and `*`.

/// What a room's `types` list holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// Exactly this type.
    Exact(String),
    /// Every type that begins so (`RUN_*`, `*`).
    Prefix(String),
}

impl TypePattern {
    /// Reads a pattern. `*` stands only at the end.
    pub fn parse(text: &str) -> Option<TypePattern> {
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => Some(TypePattern::Prefix(prefix.to_owned())),
            None if !text.is_empty() && !text.contains('*') => Some(TypePattern::Exact(text.to_owned())),
            _ => None,
        }
    }

    /// Whether the pattern takes a type.
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            TypePattern::Exact(name) => name == event_type,
            TypePattern::Prefix(prefix) => event_type.starts_with(prefix.as_str()),
        }
    }
}

impl std::fmt::Display for TypePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TypePattern::Exact(name) => f.write_str(name),
            TypePattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, event_type: &str, expected: bool) {
        let parsed = TypePattern::parse(pattern).unwrap();
        assert_eq!(parsed.matches(event_type), expected);
        assert_eq!(parsed.to_string(), pattern);
    }

    #[test]
    fn a_star_stands_for_any_rest() {
        check("token", "token", true);
        check("token", "tokens", false);
        check("RUN_*", "RUN_STARTED", true);
        check("RUN_*", "RUN_", true);
        check("RUN_*", "RUN", false);
        check("*", "anything", true);
    }

    #[test]
    fn other_stars_are_refused() {
        for pattern in ["", "a*b", "*a", "**"] {
            assert_eq!(TypePattern::parse(pattern), None, "{pattern}");
        }
    }
}
