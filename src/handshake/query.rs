//! Rooms named in a request: `/ws?room=a&room=b`.

use crate::query::decode;

/// The values of `room`, decoded as forms are (`%3A`, and `+` for a space). Other fields are ignored. What cannot be
/// decoded is refused with a text.
pub(super) fn rooms_of_query(query: &str) -> Result<Vec<String>, String> {
    let fields = query.split('&').filter_map(|field| field.split_once('='));
    let rooms = fields.filter(|(name, _)| *name == "room").map(|(_, value)| {
        let room = decode(value).filter(|room| !room.is_empty());
        room.ok_or_else(|| {
            "room: a name in percent-encoded UTF-8 is needed, as in /ws?room=agent%3A42".to_owned()
        })
    });
    rooms.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, rooms: &[&str]) {
        assert_eq!(
            rooms_of_query(query).as_deref(),
            Ok(&rooms.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
        );
    }

    #[test]
    fn rooms_are_decoded_in_order() {
        check("", &[]);
        check("room=a&room=b", &["a", "b"]);
        check("token=x&room=agent%3a42&rooms=c&room", &["agent:42"]);
        check("room=a+b%2Bc%20d=e", &["a b+c d=e"]);
        check("room=%C3%A9", &["\u{e9}"]);
        check("room=agent:42/%2541", &["agent:42/%41"]);
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for query in ["room=", "room=a&room=", "room=%", "room=%4", "room=%4g", "room=%+1", "room=%ff"] {
            assert!(rooms_of_query(query).is_err(), "{query}");
        }
    }
}
