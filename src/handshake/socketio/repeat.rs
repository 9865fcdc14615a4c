//! Requests that come twice.
//!
//! A browser whose connection ends before an answer sends the request again on another, without a word to its page, if the
//! connection had served one before. So what was answered may never have arrived, and what was brought may be brought again. Clients
//! give each request a `t` of its own, against caches; a request with the `t` of the one before it is that one.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What tells a request from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Of a request with this query. None where its client does not mark requests.
    pub(super) fn of(query: Option<&str>) -> Option<Mark> {
        let mark = query?.split('&').find_map(|field| field.strip_prefix("t="))?;
        Some(Mark::hashed(mark))
    }

    /// Of one that has a body as well, so that two requests are never taken for one by chance.
    pub(super) fn with(self, body: &str) -> Mark {
        Mark::hashed((self.0, body))
    }

    fn hashed(what: impl Hash) -> Mark {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Mark(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_their_t() {
        let of = |query: &str| Mark::of(Some(query));
        assert_eq!(of("EIO=4&t=abc&sid=x"), of("t=abc"));
        assert_ne!(of("EIO=4&t=abc"), of("EIO=4&t=abd"));
        for unmarked in ["EIO=4&sid=t=abc", "transport=polling", ""] {
            assert_eq!(of(unmarked), None, "{unmarked}");
        }
        assert_eq!(Mark::of(None), None);
        let mark = of("t=abc").unwrap();
        assert_eq!(mark.with("4a"), mark.with("4a"));
        assert_ne!(mark.with("4a"), mark.with("4b"));
    }
}
