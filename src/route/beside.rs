//! Fields beside the events: a `$with` line, a query string.

use super::{Rejection, RejectionCode, fault, json};
use serde_json::{Map, Value};

/// Fields beside one event: each is looked up for every event that follows.
const MAX_FIELDS: usize = 32;
/// Longest `$with` line or query, in bytes: its fields are kept with every event that follows.
const MAX_BYTES: usize = 4096;
/// The one member of a control line.
const WITH: &str = "$with";

/// Fields beside the event: they route what follows, and are not in its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    fields: Vec<(String, Value)>,
    json: Vec<u8>,
}

impl Beside {
    /// Fields of a `$with` object or of a query string. A later field wins over an earlier one of the same name.
    pub fn new(fields: Vec<(String, Value)>) -> Beside {
        let mut kept: Vec<(String, Value)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            kept.retain(|(other, _)| *other != name);
            kept.push((name, value));
        }
        let object: Map<_, _> = kept.iter().cloned().collect();
        let json =
            if object.is_empty() { Vec::new() } else { Value::Object(object).to_string().into_bytes() };
        Beside { fields: kept, json }
    }

    /// Fields of a query string (`runId=r1&agentId=42`), percent-decoded, `+` as a space; all are strings. At most 32
    /// fields and 4096 bytes. The column of an error counts from the query's begin.
    pub fn from_query(query: &str) -> Result<Beside, Rejection> {
        if query.len() > MAX_BYTES {
            return Err(bad_with(1, too_long(query.len())));
        }
        let mut fields = Vec::new();
        let mut column = 1;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (percent_decoded(name), percent_decoded(value)) {
                _ if pair.is_empty() => {}
                (Some(name), Some(value)) if !name.is_empty() => fields.push((name, Value::String(value))),
                _ => {
                    let message = format!("`{pair}` is not a field and its value, percent-encoded as UTF-8");
                    return Err(bad_with(column, message));
                }
            }
            column += pair.len() + 1;
        }
        if fields.len() > MAX_FIELDS {
            return Err(bad_with(1, too_many(fields.len())));
        }
        Ok(Beside::new(fields))
    }

    /// The fields, each name once.
    pub fn fields(&self) -> &[(String, Value)] {
        &self.fields
    }

    /// The fields as a JSON object's text; empty when there are none.
    pub fn json(&self) -> &[u8] {
        &self.json
    }
}

/// Reads a control line, `{"$with":{"runId":"r1"}}`. None when the line is not one: whether it is, is decided by its
/// first member's name, cheaply. An empty object takes the fields away.
pub fn parse_with(line: &str) -> Option<Result<Beside, Box<Rejection>>> {
    let inside =
        line.trim_start_matches(json::is_space).strip_prefix('{')?.trim_start_matches(json::is_space);
    let after = inside.strip_prefix("\"$with\"")?.trim_start_matches(json::is_space);
    after.starts_with(':').then(|| read_with(line).map_err(Box::new))
}

fn read_with(line: &str) -> Result<Beside, Rejection> {
    if line.len() > MAX_BYTES {
        return Err(bad_with(1, too_long(line.len())));
    }
    // serde_json bounds the depth of a value that is built.
    let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
        let unread = || bad_with(json::error_column(line, &error), json::error_message(&error));
        fault::refused_flaw(line, &error).unwrap_or_else(unread)
    })?;
    let fields = match object.remove(WITH) {
        Some(Value::Object(fields)) if object.is_empty() => fields,
        Some(Value::Object(_)) => {
            return Err(bad_with(1, "a `$with` line has nothing but `$with`".to_owned()));
        }
        _ => return Err(bad_with(json::column_of(line, &[WITH]), "`$with` must be an object".to_owned())),
    };
    if fields.len() > MAX_FIELDS {
        return Err(bad_with(json::column_of(line, &[WITH]), too_many(fields.len())));
    }
    let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    if let Some((name, _)) = fields.iter().find(|(_, value)| !is_scalar(value)) {
        let column = json::column_of(line, &[WITH, name]);
        return Err(bad_with(column, format!("{name:?} must be a string, a number, true or false")));
    }
    Ok(Beside::new(fields.into_iter().collect()))
}

fn bad_with(column: usize, message: String) -> Rejection {
    Rejection::new(RejectionCode::BadWith, column, message)
        .hint("fields beside the events that follow: {\"$with\":{\"runId\":\"r1\"}}, or /events?runId=r1")
}

fn too_long(len: usize) -> String {
    format!("fields beside events have at most {MAX_BYTES} bytes, these have {len}")
}

fn too_many(count: usize) -> String {
    format!("at most {MAX_FIELDS} fields stand beside events, these are {count}")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(*rest.next()?)? * 16 + hex_digit(*rest.next()?)?,
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn query(query: &str, json: &str) {
        let beside = Beside::from_query(query).unwrap();
        assert_eq!(std::str::from_utf8(beside.json()).unwrap(), json);
    }

    #[track_caller]
    fn with(line: &str, json: &str) {
        let beside = parse_with(line).expect("a control line").unwrap();
        assert_eq!(std::str::from_utf8(beside.json()).unwrap(), json);
    }

    #[track_caller]
    fn bad(line: &str, column: usize, message: &str) {
        let rejection = parse_with(line).expect("a control line").unwrap_err();
        assert_eq!((rejection.code, rejection.column), (RejectionCode::BadWith, column), "{rejection:?}");
        assert!(rejection.message.contains(message), "{rejection:?}");
    }

    #[test]
    fn queries() {
        query("", "");
        query("runId=r1", r#"{"runId":"r1"}"#);
        query("a=x+y%2F%C3%BC&b=&c", r#"{"a":"x y/ü","b":"","c":""}"#);
        query("a=1&a=2&", r#"{"a":"2"}"#);
        for bad in ["a=%", "a=%4", "a=%zz", "=x", "a=%FF", "a=%+1"] {
            let rejection = Beside::from_query(&format!("ok=1&{bad}")).unwrap_err();
            assert_eq!((rejection.code, rejection.column), (RejectionCode::BadWith, 6), "{bad}");
        }
        let many = (0..33).map(|index| format!("f{index}=1")).collect::<Vec<_>>().join("&");
        assert!(Beside::from_query(&many).unwrap_err().message.contains("32 fields"));
        assert!(Beside::from_query(&"x".repeat(4097)).unwrap_err().message.contains("4096 bytes"));
    }

    #[test]
    fn control_lines() {
        with(r#"{"$with":{"runId":"r1","n":1,"b":true}}"#, r#"{"b":true,"n":1,"runId":"r1"}"#);
        with(" { \"$with\" : { } } \r", "");
        with(r#"{"$with":{"a":1,"a":2}}"#, r#"{"a":2}"#);
        for other in [r#"{"type":"x"}"#, r#"{"$without":1}"#, r#"{"$with""#, "", r#"{"a":1,"$with":{}}"#] {
            assert!(parse_with(other).is_none(), "{other}");
        }
    }

    #[test]
    fn bad_control_lines() {
        bad(r#"{"$with":{"a":"#, 14, "EOF");
        bad(r#"{"$with":5}"#, 10, "must be an object");
        bad(r#"{"$with":{},"type":"x"}"#, 1, "nothing but");
        bad(r#"{"$with":{"a":1,"b":null}}"#, 21, "\"b\" must be a string");
        bad(r#"{"$with":{"b":{}}}"#, 15, "\"b\" must be a string");
        bad(&format!(r#"{{"$with":{{"a":"{}"}}}}"#, "x".repeat(4096)), 1, "4096 bytes");
        let many = (0..33).map(|index| format!("\"f{index}\":1")).collect::<Vec<_>>().join(",");
        bad(&format!("{{\"$with\":{{{many}}}}}"), 10, "32 fields");
    }
}
