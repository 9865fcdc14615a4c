//! The words for what is wrong with a line. Only reached by lines that are refused.

use super::check::Check;
use super::flaw::{self, Flaw, Kind};
use super::{Rejection, RejectionCode, json};
use crate::config::FieldKind;

/// How much of a value is shown in a message, in characters.
const SHOWN_CHARS: usize = 40;
/// The closest name is suggested when it is at least as similar as this (Jaro-Winkler), as in `agent_id`, `agentId`.
const SIMILAR: f64 = 0.85;
/// A type longer than this is not written into a TOML hint.
const HINT_TYPE_BYTES: usize = 100;

/// Bytes that are not UTF-8.
pub(super) fn bad_utf8(line: &[u8], error: std::str::Utf8Error) -> Rejection {
    let at = error.valid_up_to();
    let message = format!("byte 0x{:02x} is not UTF-8", line.get(at).copied().unwrap_or_default());
    Rejection::new(RejectionCode::BadUtf8, at + 1, message)
}

/// A line that does not begin with `{`.
pub(super) fn not_an_object(line: &str) -> Rejection {
    if let Some(rejection) = pretty_printed(line) {
        return rejection;
    }
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(line) {
        return bad_json(line, &error);
    }
    let value = line.trim_start_matches(json::is_space);
    let column = line.len() - value.len() + 1;
    let message = format!("a line must be an object, found {}", describe(json::value_at(line, column)));
    let rejection = Rejection::new(RejectionCode::NotAnObject, column, message);
    if value.starts_with('[') {
        return rejection.hint("write one object a line: jq -c '.[]'");
    }
    rejection
}

/// A line that the parser refuses.
pub(super) fn bad_json(line: &str, error: &serde_json::Error) -> Rejection {
    refused_flaw(line, error).or_else(|| pretty_printed(line)).unwrap_or_else(|| {
        let message = format!("not JSON: {}", json::error_message(error));
        Rejection::new(RejectionCode::BadJson, json::error_column(line, error), message)
    })
}

/// The flaw that the parser refuses a text for, if it does not refuse it for anything before.
pub(super) fn refused_flaw(text: &str, error: &serde_json::Error) -> Option<Rejection> {
    let found = flaw::find(text).filter(|found| found.column <= json::error_column(text, error))?;
    Some(flawed(found))
}

/// JSON that not every reader takes.
pub(super) fn flawed(found: Flaw<'_>) -> Rejection {
    let (path, text) = (&found.path, shortened(found.text));
    let (code, message, hint) = match found.kind {
        Kind::Surrogate => (
            RejectionCode::BadEscape,
            format!("`{path}` has {text}, half of a surrogate pair, which is no character"),
            "write both halves, as in \\ud83d\\ude00, or \\ufffd in its place; JavaScript has text.toWellFormed()",
        ),
        Kind::Number => (
            RejectionCode::BadNumber,
            format!("`{path}` is {text}, more than a 64-bit float holds (1.8e308)"),
            "send null or a string in its place",
        ),
    };
    Rejection::new(code, found.column, message).path(found.path).hint(hint)
}

/// A line of an object that is spread over several lines: a bracket alone, `"name": …` without braces, or an element of
/// a list: a plain value that is indented or has a comma behind it.
fn pretty_printed(line: &str) -> Option<Rejection> {
    let text = line.trim_matches(json::is_space);
    let is_bracket = matches!(text, "{" | "}" | "}," | "[" | "]" | "]," | "{}," | "[],");
    let is_member = || {
        let mut words = serde_json::Deserializer::from_str(text).into_iter::<String>();
        text.starts_with('"')
            && matches!(words.next(), Some(Ok(_)))
            && text[words.byte_offset()..].trim_start_matches(json::is_space).starts_with(':')
    };
    let is_element = || {
        let value = text.strip_suffix(',').unwrap_or(text);
        (value.len() < text.len() || line.starts_with("  ") || line.starts_with('\t'))
            && !value.starts_with(['{', '['])
            && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()
    };
    (is_bracket || is_member() || is_element()).then(|| {
        let column = line.len() - line.trim_start_matches(json::is_space).len() + 1;
        let message = "this is a part of an object that is spread over several lines";
        Rejection::new(RejectionCode::PrettyPrinted, column.min(line.len()), message)
            .hint("write every object on one line: jq -c .")
    })
}

/// Nesting.
pub(super) fn too_deep(column: usize) -> Rejection {
    let message = format!("nested deeper than {}", json::MAX_DEPTH);
    Rejection::new(RejectionCode::TooDeep, column, message)
}

/// A field that appears twice.
pub(super) fn duplicate_field(line: &str, names: &[String]) -> Rejection {
    let path = names.join(".");
    let message = format!("`{path}` appears twice, so that it has no one value");
    Rejection::new(RejectionCode::DuplicateField, json::column_of_double(line, names), message).path(path)
}

/// No type, or one that is none.
pub(super) fn bad_type(line: &str, type_names: &[String], is_absent: bool) -> Rejection {
    let path = type_names.join(".");
    let column = json::column_of(line, type_names);
    let message = if is_absent {
        format!("an event needs `{path}`, a string")
    } else {
        format!(
            "`{path}` must be a string that is not empty, found {}",
            describe(json::value_at(line, column))
        )
    };
    let rejection = Rejection::new(RejectionCode::BadType, column, message);
    let rejection = match similar_name(line, column, type_names).filter(|_| is_absent) {
        Some(similar) => rejection.hint(format!(
            "did you mean `{similar}`? then set type_field = {} at the listener",
            serde_json::Value::from(similar.as_str())
        )),
        None => rejection,
    };
    rejection.path(path)
}

/// A field that must be there is not.
pub(super) fn missing_field(line: &str, event_type: &str, check: &Check) -> Rejection {
    let names: Vec<String> = check.path.names().map(str::to_owned).collect();
    let column = json::column_of(line, &names);
    let message = format!("{event_type} needs `{}`, {}", check.path, expected(&check.kind));
    let rejection = Rejection::new(RejectionCode::MissingField, column, message).path(check.path.to_string());
    match similar_name(line, column, &names) {
        Some(similar) => rejection.hint(format!("did you mean `{}` by `{similar}`?", check.path)),
        None => rejection,
    }
}

/// A field is not what its type says.
pub(super) fn bad_field(line: &str, check: &Check) -> Rejection {
    let names: Vec<&str> = check.path.names().collect();
    let column = json::column_of(line, &names);
    let found = describe(json::value_at(line, column));
    let message = format!("`{}` must be {}, found {found}", check.path, expected(&check.kind));
    Rejection::new(RejectionCode::BadField, column, message).path(check.path.to_string())
}

/// No room takes it.
pub(super) fn unrouted(line: &str, type_names: &[String], event_type: &str) -> Rejection {
    let shown = shortened(event_type);
    let message = format!("no room takes this event of type \"{shown}\"");
    let rejection = Rejection::new(RejectionCode::Unrouted, json::column_of(line, type_names), message)
        .path(type_names.join("."));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_pattern = event_type.contains('*');
    if is_pattern || event_type.len() > HINT_TYPE_BYTES {
        return rejection.hint("[rooms.events]\ntypes = \"unrouted\"");
    }
    let room: String = event_type.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    // JSON's escapes are TOML's as well.
    rejection.hint(format!("[rooms.{room}]\ntypes = [{}]", serde_json::Value::from(event_type)))
}

/// The name in the object at a column that is most like the last of `names`.
fn similar_name(line: &str, column: usize, names: &[String]) -> Option<String> {
    let wanted = names.last()?;
    let folded = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    json::names_at(line, column)
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&folded(&name), &folded(wanted)), name))
        .filter(|(similarity, name)| *similarity >= SIMILAR && name != wanted)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

fn expected(kind: &FieldKind) -> String {
    let plain = match kind {
        FieldKind::Any => "any value",
        FieldKind::String => "a string",
        FieldKind::Number => "a number",
        FieldKind::Percent => "a number from 0 to 100",
        FieldKind::Boolean => "true or false",
        FieldKind::Object => "an object",
        FieldKind::Array => "an array",
        FieldKind::Strings => "an array of strings",
        FieldKind::OneOf(words) => return format!("one of {}", words.join(", ")),
    };
    plain.to_owned()
}

/// A value as a message names it.
fn describe(value: &str) -> String {
    let shown = shortened(value);
    match value.as_bytes().first() {
        Some(b'"') => format!("the string {shown}"),
        Some(b'{') => "an object".to_owned(),
        Some(b'[') if value.contains('"') => format!("the array {shown}"),
        Some(b'[') => "an array".to_owned(),
        Some(b't' | b'f' | b'n') => shown,
        _ => format!("the number {shown}"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_named_by_what_they_are() {
        let long = "x".repeat(50);
        let cut = format!("the string \"{}…", "x".repeat(39));
        for (value, named) in [
            ("\"a\"", "the string \"a\""),
            (&format!("\"{long}\""), &cut),
            ("{\"a\":1}", "an object"),
            ("[1,2]", "an array"),
            ("[\"a\"]", "the array [\"a\"]"),
            ("true", "true"),
            ("false", "false"),
            ("null", "null"),
            ("-7", "the number -7"),
        ] {
            assert_eq!(describe(value), named);
        }
        assert_eq!(shortened(&"é".repeat(40)), "é".repeat(40));
        assert_eq!(shortened(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
    }

    #[test]
    fn expected_kinds_are_named_in_words() {
        for (kind, words) in [
            (FieldKind::Any, "any value"),
            (FieldKind::String, "a string"),
            (FieldKind::Number, "a number"),
            (FieldKind::Percent, "a number from 0 to 100"),
            (FieldKind::Boolean, "true or false"),
            (FieldKind::Object, "an object"),
            (FieldKind::Array, "an array"),
            (FieldKind::Strings, "an array of strings"),
            (FieldKind::OneOf(vec!["a".to_owned(), "b".to_owned()]), "one of a, b"),
        ] {
            assert_eq!(expected(&kind), words);
        }
    }

    #[test]
    fn a_line_of_pretty_printed_json_is_known() {
        for (line, column) in [
            ("{", 1),
            (" }", 2),
            ("},", 1),
            ("[", 1),
            ("  ]", 3),
            ("],", 1),
            ("{},", 1),
            ("[],", 1),
            ("\"a\": 1,", 1),
            (" \"a\" : {", 2),
            ("12,", 1),
            ("  12", 3),
            ("\t\"x\"", 2),
            ("null,", 1),
        ] {
            let found = pretty_printed(line).map(|rejection| (rejection.code, rejection.column));
            assert_eq!(found, Some((RejectionCode::PrettyPrinted, column)), "{line:?}");
        }
        for line in
            ["", "{}", "[]", "12", " 12", "\"a\"", "\"a\" 1", "{\"a\":1},", "  {\"a\":1}", "x,", "  [1]"]
        {
            assert_eq!(pretty_printed(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_hint_for_an_unrouted_type_is_a_room_that_takes_it() {
        let hint = |event_type: &str| {
            let line = format!("{{\"type\":{}}}", serde_json::Value::from(event_type));
            let rejection = unrouted(&line, &["type".to_owned()], event_type);
            assert_eq!((rejection.column, rejection.path.as_deref()), (9, Some("type")));
            rejection.hint.unwrap()
        };
        assert_eq!(hint("a-b_C9"), "[rooms.a-b_C9]\ntypes = [\"a-b_C9\"]");
        assert_eq!(hint("a.b é\""), "[rooms.a_b___]\ntypes = [\"a.b é\\\"\"]");
        let any = "[rooms.events]\ntypes = \"unrouted\"";
        assert_eq!((hint("a*").as_str(), hint(&"x".repeat(101)).as_str()), (any, any));
        assert!(hint(&"x".repeat(100)).contains("[rooms.xxx"));
    }
}
