//! Ids of sessions, which whoever knows one may use.

/// Random bytes of an id: nobody guesses one of 2^120.
const BYTES: usize = 15;

/// A new id: 20 letters, digits, `-` and `_`.
pub fn random_id() -> Box<str> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; BYTES];
    // Without it nothing that is to be a secret can be made; Linux has it since 3.17.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    let digit = |bits: u8| char::from(ALPHABET[usize::from(bits & 0x3f)]);
    let triples = bytes.chunks_exact(3).flat_map(|triple| {
        let [a, b, c] = [triple[0], triple[1], triple[2]];
        [digit(a >> 2), digit(a << 4 | b >> 4), digit(b << 2 | c >> 6), digit(c)]
    });
    triples.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_need_no_quoting() {
        let ids: std::collections::HashSet<Box<str>> = (0..1000).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 1000);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(ids.iter().all(|id| id.len() == 20 && id.chars().all(is_plain)), "{ids:?}");
    }
}
