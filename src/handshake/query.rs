//! Rooms named in a request: `/ws?room=a&room=b`.

use crate::query::{decode, meant};

/// Fields of a subscription. The address of a WebSocket takes rooms only.
const FIELDS: [&str; 5] = ["room", "from", "where", "every", "snapshot"];

/// The values of `room`, decoded as forms are (`%3A`, and `+` for a space). Fields that are not ours mean nothing.
///
/// Refuses with a text what cannot be decoded, and fields that would silently not do what they say.
pub(super) fn rooms_of_query(query: &str) -> Result<Vec<String>, String> {
    let mut rooms = Vec::new();
    for (name, value) in query.split('&').filter_map(|field| field.split_once('=')) {
        if name == "room" {
            let room = decode(value).filter(|room| !room.is_empty());
            rooms.push(
                room.ok_or("room: a name in percent-encoded UTF-8 is needed, as in /ws?room=agent%3A42")?,
            );
            continue;
        }
        let name: String = decode(name).unwrap_or_default().chars().take(40).collect();
        match meant(&name, &FIELDS) {
            None => {}
            Some("room") => return Err(format!("no field {name:?} in a query; did you mean \"room\"?")),
            Some(ours) => {
                return Err(format!(
                    "no field {name:?} in the address of a WebSocket: send a message \
                     {{\"type\":\"subscribe\",\"rooms\":[{{\"room\":…,{ours:?}:…}}]}}"
                ));
            }
        }
    }
    Ok(rooms)
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
        check("token=x&room=agent%3a42&access_token=c&_=1&room", &["agent:42"]);
        check("room=a+b%2Bc%20d=e", &["a b+c d=e"]);
        check("room=%C3%A9", &["\u{e9}"]);
        check("room=agent:42/%2541", &["agent:42/%41"]);
    }

    #[test]
    fn fields_that_would_silently_do_nothing_are_refused() {
        for (query, hint) in [
            ("rooms=a", "did you mean \"room\"?"),
            ("room=a&room%5B%5D=b", "did you mean \"room\"?"),
            ("room=a&from=start", r#"{"type":"subscribe","rooms":[{"room":…,"from":…}]}"#),
            ("room=a&form=start", r#""from":…"#),
            ("room=a&where=n%3E3", r#""where":…"#),
        ] {
            let text = rooms_of_query(query).unwrap_err();
            assert!(text.contains(hint), "{query}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for query in ["room=", "room=a&room=", "room=%", "room=%4", "room=%4g", "room=%+1", "room=%ff"] {
            assert!(rooms_of_query(query).is_err(), "{query}");
        }
    }
}
