//! An event put together from arguments: `NAME=TEXT`, `NAME:=JSON`. Pure.

use crate::pattern::Path;
use serde_json::{Map, Value};

/// Puts an event of a type together, its fields in the order in which they were given.
pub(in crate::cli) fn event(kind: &str, fields: &[String]) -> Result<Value, String> {
    let mut event = Map::new();
    event.insert("type".to_owned(), Value::from(kind));
    let mut event = Value::Object(event);
    for field in fields {
        let (path, value) = read(field)?;
        put(&mut event, &path, value).ok_or_else(|| format!("{field}: {path} is there already"))?;
    }
    Ok(event)
}

/// Reads a field.
fn read(field: &str) -> Result<(Path, Value), String> {
    let right = || format!("{field}: expected NAME=TEXT or NAME:=JSON");
    let (name, text) = field.split_once('=').ok_or_else(right)?;
    let (name, value) = match name.strip_suffix(':') {
        None => (name, Value::from(text)),
        Some(name) => {
            let value = serde_json::from_str(text);
            (name, value.map_err(|error| format!("{field}: what follows := is no JSON: {error}"))?)
        }
    };
    Ok((Path::parse(name).ok_or_else(right)?, value))
}

/// Puts a value at a path, in objects that are made for it. None if something is there.
fn put(event: &mut Value, path: &Path, value: Value) -> Option<()> {
    let mut place = event;
    for name in path.names() {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        place = place.as_object_mut()?.entry(name).or_insert(Value::Null);
    }
    place.is_null().then(|| *place = value)
}

/// Reads `NAME=TEXT`.
pub(in crate::cli) fn pair(text: &str) -> Result<(&str, &str), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.ok_or_else(|| format!("{text}: expected NAME=TEXT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[&str], expected: Result<&str, &str>) {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        match (event("t", &fields), expected) {
            (Ok(event), Ok(json)) => assert_eq!(event, serde_json::from_str::<Value>(json).unwrap()),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (event, _) => panic!("{event:?}"),
        }
    }

    #[test]
    fn fields_become_an_event() {
        check(&[], Ok(r#"{"type":"t"}"#));
        check(
            &["a=1", "b:=1", "c=", "d:=[1,\"x\"]", "e=x=y"],
            Ok(r#"{"type":"t","a":"1","b":1,"c":"","d":[1,"x"],"e":"x=y"}"#),
        );
        check(
            &["u.cpu:=12.5", "u.memory:=40", "u.of.x=y"],
            Ok(r#"{"type":"t","u":{"cpu":12.5,"memory":40,"of":{"x":"y"}}}"#),
        );
        check(&["a"], Err("NAME=TEXT or NAME:=JSON"));
        check(&["=x"], Err("NAME=TEXT"));
        check(&["a..b=x"], Err("NAME=TEXT"));
        check(&["a:=x"], Err("no JSON"));
        check(&["a=1", "a=2"], Err("a is there already"));
        check(&["a=1", "a.b=2"], Err("a.b is there already"));
        check(&["type=x"], Err("type is there already"));
    }
}
