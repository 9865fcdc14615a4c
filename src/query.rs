//! Queries of requests, as forms write them.

use std::fmt::Write as _;

/// The fields of a query, decoded (`%3A`, and `+` for a space). A field without `=` has an empty value. None when something
/// cannot be decoded.
pub fn fields(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|field| !field.is_empty());
    parts
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// A name or value, decoded; none when it is not percent-encoded UTF-8.
pub fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                hex_digit(digits[0])? << 4 | hex_digit(digits[1])?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The field that an unknown one seems to mean, if any: `form` means `from`, `room[]` means `room`.
///
/// Names that are not close to ours (`_`, `t`, `token`, `access_token`) mean none of them: libraries and proxies add such.
pub fn meant<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    /// Shorter names are nobody's misspelling.
    const SHORTEST: usize = 3;
    /// Names that other servers have for what ours say.
    const ELSEWHERE: [(&str, &str); 5] = [
        ("last", "from"),
        ("since", "from"),
        ("after", "from"),
        ("lastid", "last_event_id"),
        ("eventid", "last_event_id"),
    ];
    let name = folded(name);
    if name.len() < SHORTEST {
        return None;
    }
    let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == name).map(|(_, ours)| *ours);
    known.iter().copied().find(|known| {
        let most = (known.len() / 4).max(1);
        elsewhere == Some(*known) || strsim::damerau_levenshtein(&name, &folded(known)) <= most
    })
}

/// A name without what spellings differ in: `lastEventID` and `last_event_id` are the same.
pub fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A hint at the room that was meant. A name with escapes of its own is encoded again in an address, which the hint shows.
pub fn did_you_mean(room: &str) -> String {
    let hint = format!("did you mean {room:?}?");
    if room.contains('%') { format!("{hint} Write room={} in the address", encode(room)) } else { hint }
}

/// A value as forms write it. Decodes to what it was.
fn encode(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_fields_are_told_from_fields_of_others() {
        const OURS: [&str; 8] =
            ["room", "from", "where", "every", "snapshot", "raw", "event", "last_event_id"];
        for (name, ours) in [
            ("form", "from"),
            ("frm", "from"),
            ("From", "from"),
            ("since", "from"),
            ("rooms", "room"),
            ("room[]", "room"),
            ("room[0]", "room"),
            ("Room", "room"),
            ("rom", "room"),
            ("evry", "every"),
            ("wehre", "where"),
            ("snapshots", "snapshot"),
            ("snaphsot", "snapshot"),
            ("rwa", "raw"),
            ("events", "event"),
            ("last_event", "last_event_id"),
            ("last-id", "last_event_id"),
        ] {
            assert_eq!(meant(name, &OURS), Some(ours), "{name}");
        }
        for name in [
            "_",
            "t",
            "v",
            "ts",
            "id",
            "cb",
            "key",
            "rnd",
            "rand",
            "run",
            "ref",
            "ver",
            "sid",
            "token",
            "user",
            "time",
            "query",
            "level",
            "theme",
            "secret",
            "access_token",
            "timestamp",
            "utm_source",
            "x-tenant",
            "",
        ] {
            assert_eq!(meant(name, &OURS), None, "{name}");
        }
    }

    #[test]
    fn fields_are_decoded_in_order() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields(""), Some(vec![]));
        assert_eq!(
            fields("a=1&b&c%20d=x+y&a=2"),
            Some(vec![pair("a", "1"), pair("b", ""), pair("c d", "x y"), pair("a", "2")])
        );
        assert_eq!(fields("a=%zz"), None);
        assert_eq!(fields("a=%ff"), None);
    }

    #[test]
    fn a_hint_names_the_room_as_the_address_has_it() {
        let hint = did_you_mean("agent:a%2Fb é");
        assert_eq!(
            hint,
            r#"did you mean "agent:a%2Fb é"? Write room=agent%3Aa%252Fb%20%C3%A9 in the address"#
        );
        assert_eq!(did_you_mean("agent:7"), r#"did you mean "agent:7"?"#);
        assert_eq!(decode(&encode("a %+&é")).as_deref(), Some("a %+&é"));
    }
}
