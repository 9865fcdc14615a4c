//! Ids that whoever knows them may use.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of chance in an id: nobody guesses one of 2^120.
const BYTES: usize = 15;

/// A new id: 20 letters, digits, `-` and `_`. An error is the system's, which has no chance to give.
pub fn random_id() -> Result<Box<str>, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_need_no_quoting() {
        let ids: std::collections::HashSet<Box<str>> = (0..1000).map(|_| random_id().unwrap()).collect();
        assert_eq!(ids.len(), 1000);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(ids.iter().all(|id| id.len() == 20 && id.chars().all(is_plain)), "{ids:?}");
    }
}
