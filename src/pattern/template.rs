//! A room's name as the configuration gives it: `agent_states`, or a template such as `agent:{agentId}`.

use super::{Path, Value};
use std::fmt::Write as _;

/// Longest room name, in bytes: it stands in every frame of its room, and in every list of rooms.
pub const MAX_NAME_BYTES: usize = 200;
/// Longest template, in bytes: its fields' paths may be longer than the names it makes.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// A room's name, or a template of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    segments: Vec<Segment>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Text as it is.
    Literal(String),
    /// The value of a field.
    Field(Path),
}

/// Why a text is no room name or template, and where (byte offsets into it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What is wrong.
    pub message: String,
    /// Its beginning.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What would be right.
    pub hint: Option<String>,
}

impl Template {
    /// Reads a room's name or template: text and `{path}` fields.
    ///
    /// A name has 1 to 200 bytes, no control characters and no `*`; every `{` begins a field. The same holds for the
    /// text around a template's fields, each of which makes at least one byte of a name.
    pub fn parse(source: &str) -> Result<Template, NameError> {
        if source.is_empty() {
            return Err(NameError::new("a room's name is not empty", 0, 0));
        }
        if source.len() > MAX_TEMPLATE_BYTES {
            let message = format!("a room template has at most {MAX_TEMPLATE_BYTES} bytes");
            return Err(NameError::new(message, 0, source.len()));
        }
        if let Some((at, c)) = source.char_indices().find(|(_, c)| c.is_control() || *c == '*') {
            let error = NameError::new(format!("a room's name has no {c:?}"), at, at + c.len_utf8());
            return Err(match c {
                '*' => {
                    error.hint("`*` stands in `types`; a room for each value of a field is `agent:{agentId}`")
                }
                _ => error,
            });
        }
        let segments = segments(source)?;
        let shortest: usize = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.len(),
                Segment::Field(_) => 1,
            })
            .sum();
        if shortest > MAX_NAME_BYTES {
            let message = format!("a room's name has at most {MAX_NAME_BYTES} bytes, this has {shortest}");
            return Err(NameError::new(message, 0, source.len()));
        }
        Ok(Template { source: source.to_owned(), segments })
    }

    /// The text it was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the name has no fields.
    pub fn is_static(&self) -> bool {
        !self.segments.iter().any(|segment| matches!(segment, Segment::Field(_)))
    }

    /// The parts, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether a concrete room name could have been made by this template: at most 200 bytes, every field non-empty
    /// and exactly as [`push_encoded`] writes values.
    pub fn could_make(&self, name: &str) -> bool {
        let bytes = name.as_bytes();
        // Nearly every name is told by how it begins.
        let begins = match self.segments.first() {
            Some(Segment::Literal(text)) => name.starts_with(text.as_str()),
            _ => true,
        };
        if !begins || bytes.len() > MAX_NAME_BYTES {
            return false;
        }
        // Where the segments so far may end. Exact where a literal's text also occurs inside a value, and bounded:
        // segments times 200.
        let mut ends = [false; MAX_NAME_BYTES + 1];
        ends[0] = true;
        for segment in &self.segments {
            let mut next = [false; MAX_NAME_BYTES + 1];
            for at in 0..=bytes.len() {
                match segment {
                    Segment::Literal(text) if ends[at] && bytes[at..].starts_with(text.as_bytes()) => {
                        next[at + text.len()] = true;
                    }
                    Segment::Field(_) if (ends[at] || next[at]) && name.is_char_boundary(at) => {
                        if let Some(len) = encoded_len(&name[at..]) {
                            next[at + len] = true;
                        }
                    }
                    _ => {}
                }
            }
            ends = next;
        }
        ends[bytes.len()]
    }

    /// The name that was meant where values were not encoded, or in another way: `agent:a%2Fb` for `agent:a/b`. None where the
    /// template's own text does not say which part is a value, or no such name can be made.
    pub fn encoded(&self, name: &str) -> Option<String> {
        let (mut out, mut rest) = (String::new(), name);
        let mut segments = self.segments.iter().peekable();
        while let Some(segment) = segments.next() {
            match (segment, segments.peek()) {
                (Segment::Literal(text), _) => {
                    rest = rest.strip_prefix(text.as_str())?;
                    out.push_str(text);
                }
                (Segment::Field(_), Some(Segment::Field(_))) => return None,
                (Segment::Field(_), after) => {
                    let end = match after {
                        Some(Segment::Literal(text)) => rest.find(text.as_str())?,
                        _ => rest.len(),
                    };
                    push_encoded_text(&mut out, &decode(&rest[..end]));
                    rest = &rest[end..];
                }
            }
        }
        (rest.is_empty() && self.could_make(&out)).then_some(out)
    }
}

impl NameError {
    fn new(message: impl Into<String>, start: usize, end: usize) -> NameError {
        NameError { message: message.into(), start, end, hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> NameError {
        NameError { hint: Some(hint.into()), ..self }
    }
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NameError {}

/// Appends a field's value as it stands in a room's name, and says whether it can stand there.
///
/// `%`, `/`, `:`, `*` and control characters are percent-encoded, byte by byte, in upper-case hexadecimal, so that a
/// value never looks like a template's own text or a pattern. Strings that are not empty, integers and booleans stand
/// in names; a fraction has no one way to be written, so it does not, and neither do null, arrays and objects.
pub fn push_encoded(out: &mut String, value: &Value<'_>) -> bool {
    match value {
        Value::String(text) => {
            push_encoded_text(out, text);
            !text.is_empty()
        }
        Value::Integer(number) => {
            out.push_str(itoa::Buffer::new().format(*number));
            true
        }
        Value::Unsigned(number) => {
            out.push_str(itoa::Buffer::new().format(*number));
            true
        }
        Value::Bool(value) => {
            out.push_str(if *value { "true" } else { "false" });
            true
        }
        Value::Absent | Value::Null | Value::Float(_) | Value::Array { .. } | Value::Object => false,
    }
}

fn push_encoded_text(out: &mut String, text: &str) {
    // Ids are ASCII without any of those, nearly always.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'%' | b'/' | b':' | b'*');
    let plain_len = text.bytes().position(|byte| !is_plain(byte)).unwrap_or(text.len());
    out.push_str(&text[..plain_len]);
    let mut rest = &text[plain_len..];
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_encoded(*c)) {
        out.push_str(&rest[..at]);
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(out, "%{byte:02X}");
        }
        rest = &rest[at + c.len_utf8()..];
    }
    out.push_str(rest);
}

fn is_encoded(c: char) -> bool {
    matches!(c, '%' | '/' | ':' | '*') || c.is_control()
}

/// Length of the encoded character that a text begins with, if it begins with one.
fn encoded_len(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    if first != '%' {
        return (!is_encoded(first)).then_some(first.len_utf8());
    }
    let byte = |at: usize| {
        let escape = text.get(at..at + 3)?.strip_prefix('%')?;
        let is_upper_hex = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
        escape.bytes().all(is_upper_hex).then(|| u8::from_str_radix(escape, 16).ok()).flatten()
    };
    match byte(0)? {
        ascii @ ..0x80 => is_encoded(ascii as char).then_some(3),
        // U+0080 to U+009F are the control characters beyond ASCII, two bytes each.
        0xC2 => matches!(byte(3)?, 0x80..=0x9F).then_some(6),
        _ => None,
    }
}

/// A value without its `%XX`; as it is where that is no text.
fn decode(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

fn segments(source: &str) -> Result<Vec<Segment>, NameError> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let literal_len = rest.find(['{', '}']).unwrap_or(rest.len());
        if literal_len > 0 {
            segments.push(Segment::Literal(rest[..literal_len].to_owned()));
            at += literal_len;
        } else {
            let (path, len) = field(source, at)?;
            segments.push(Segment::Field(path));
            at += len;
        }
    }
    Ok(segments)
}

/// Reads the `{path}` at `at`, where a brace stands.
fn field(source: &str, at: usize) -> Result<(Path, usize), NameError> {
    let rest = &source[at..];
    if rest.starts_with('}') {
        return Err(NameError::new("`}` closes nothing", at, at + 1).hint("a field is written `{agentId}`"));
    }
    if rest.starts_with("{{") {
        return Err(NameError::new("`{{` is no field", at, at + 2)
            .hint("a field is written `{agentId}`; a room's name has no braces of its own"));
    }
    let Some(end) = rest[1..].find(['{', '}']).filter(|end| rest[1 + end..].starts_with('}')) else {
        return Err(NameError::new("`{` is not closed", at, at + 1).hint("a field is written `{agentId}`"));
    };
    let text = &rest[1..=end];
    match Path::parse(text).filter(|_| text.trim() == text) {
        Some(path) => Ok((path, end + 2)),
        None => Err(NameError::new(format!("`{text}` is not the path of a field"), at, at + end + 2)
            .hint("a path is names with dots between them: `{agentId}`, `{session.id}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;

    #[track_caller]
    fn refused(source: &str, start: usize, end: usize, message: &str) {
        let error = Template::parse(source).expect_err("not a name");
        assert_eq!((error.start, error.end, error.message.as_str()), (start, end, message));
    }

    #[track_caller]
    fn made(template: &str, name: &str, expected: bool) {
        assert_eq!(Template::parse(template).unwrap().could_make(name), expected, "{template} {name:?}");
    }

    #[track_caller]
    fn encoded(value: &Value<'_>, expected: Option<&str>) {
        let mut out = String::new();
        let stands = push_encoded(&mut out, value);
        assert_eq!(stands.then_some(out.as_str()), expected);
    }

    #[test]
    fn names_and_templates_are_read() {
        let template = Template::parse("a:{x.y}/{z}").unwrap();
        assert_eq!(template.segments().len(), 4);
        assert_eq!(template.segments()[1], Segment::Field(Path::parse("x.y").unwrap()));
        assert!(!template.is_static() && template.source() == "a:{x.y}/{z}");
        assert!(Template::parse("agent_states").unwrap().is_static());
        assert!(Template::parse(&"x".repeat(200)).is_ok());
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_place() {
        refused("", 0, 0, "a room's name is not empty");
        refused("agent:*", 6, 7, "a room's name has no '*'");
        refused("a\nb", 1, 2, "a room's name has no '\\n'");
        refused("a{{b}}", 1, 3, "`{{` is no field");
        refused("a}b", 1, 2, "`}` closes nothing");
        refused("a:{b", 2, 3, "`{` is not closed");
        refused("a:{b{c}", 2, 3, "`{` is not closed");
        refused("a:{}", 2, 4, "`` is not the path of a field");
        refused("a:{ b }", 2, 7, "` b ` is not the path of a field");
        refused("a:{b..c}", 2, 8, "`b..c` is not the path of a field");
        refused(&"x".repeat(201), 0, 201, "a room's name has at most 200 bytes, this has 201");
    }

    #[test]
    fn values_are_encoded() {
        encoded(&Value::String(Cow::Borrowed("a/b:c*d%e")), Some("a%2Fb%3Ac%2Ad%25e"));
        encoded(&Value::String(Cow::Borrowed("\n\u{7f}\u{85}ü")), Some("%0A%7F%C2%85ü"));
        encoded(&Value::Integer(-42), Some("-42"));
        encoded(&Value::Unsigned(u64::MAX), Some("18446744073709551615"));
        encoded(&Value::Bool(true), Some("true"));
        encoded(&Value::Float(1.0), None);
        encoded(&Value::String(Cow::Borrowed("")), None);
        encoded(&Value::Null, None);
        encoded(&Value::Absent, None);
        encoded(&Value::Object, None);
        encoded(&Value::Array { all_strings: true }, None);
    }

    #[test]
    fn a_name_tells_whether_a_template_could_make_it() {
        made("agent:{id}", "agent:42", true);
        made("agent:{id}", "agent:", false);
        made("agent:{id}", "agent", false);
        made("agent:{id}", "agent:4:2", false);
        made("agent:{id}", "agent:4%3A2", true);
        made("agent:{id}", "agent:4%3a2", false);
        made("agent:{id}", "agent:%41", false);
        made("agent:{id}", "agent:%", false);
        made("agent:{id}", "agent:%C2%85", true);
        made("agent:{id}", "agent:a*", false);
        made("agent:{id}", &format!("agent:{}", "x".repeat(195)), false);
        made("{a}:{b}", "x:y", true);
        made("{a}:{b}", "x:y:z", false);
        made("{a}{b}", "x", false);
        made("{a}{b}", "xy", true);
        made("{a}4{b}", "x%254y", true);
        made("{a}2{b}", "x%2F1", false);
        made("agent_states", "agent_states", true);
        made("agent_states", "agent_state", false);
    }

    #[test]
    fn values_that_were_not_encoded_are_encoded_in_the_name_that_was_meant() {
        for (template, name, meant) in [
            ("agent:{id}", "agent:a/b", Some("agent:a%2Fb")),
            ("agent:{id}", "agent:a:b", Some("agent:a%3Ab")),
            ("agent:{id}", "agent:100%", Some("agent:100%25")),
            ("agent:{id}", "agent:a%2Fb", Some("agent:a%2Fb")),
            ("agent:{id}", "agent:a%2fb", Some("agent:a%2Fb")),
            ("agent:{id}", "agent:a%20b%40c", Some("agent:a b@c")),
            ("agent:{id}", "agent:%ff", Some("agent:%25ff")),
            ("agent:{id}", "agent:", None),
            ("agent:{id}", "agents:a/b", None),
            ("agent:{id}", &format!("agent:{}", "/".repeat(65)), None),
            ("run:{run}:step:{step}", "run:a/b:step:c:d", Some("run:a%2Fb:step:c%3Ad")),
            ("run:{run}:log", "run:a/b:log", Some("run:a%2Fb:log")),
            ("run:{run}:log", "run:a/b", None),
            ("run:{run}:log", "run:a:log:log", None),
            ("{a}{b}", "x/y", None),
            ("agent_states", "agent_states", Some("agent_states")),
        ] {
            let template = Template::parse(template).unwrap();
            assert_eq!(template.encoded(name).as_deref(), meant, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_value_as_it_is_leads_to_the_room_of_its_events(value in "[^%]{1,30}") {
            let template = Template::parse("agent:{id}").unwrap();
            let mut made = "agent:".to_owned();
            push_encoded(&mut made, &Value::String(Cow::Borrowed(&value)));
            prop_assert_eq!(template.encoded(&format!("agent:{value}")), (made.len() <= MAX_NAME_BYTES).then_some(made));
        }

        #[test]
        fn every_made_name_could_have_been_made(a in any::<String>(), b in "[a-z%:/0-9]{1,9}") {
            let template = Template::parse("{a}:4/{b}").unwrap();
            let mut name = String::new();
            let stands = push_encoded(&mut name, &Value::String(Cow::Borrowed(&a)));
            name.push_str(":4/");
            push_encoded(&mut name, &Value::String(Cow::Borrowed(&b)));
            prop_assert_eq!(template.could_make(&name), stands && name.len() <= MAX_NAME_BYTES);
            prop_assert_eq!(name.matches([':', '/']).count(), 2);
        }

        #[test]
        fn a_part_that_could_be_a_value_is_one(name in "[a-c%0-9A-F:/*\u{80}]{0,8}") {
            let template = Template::parse("{a}").unwrap();
            let mut encoded_again = String::new();
            let decoded = decode(&name);
            let stands = push_encoded(&mut encoded_again, &Value::String(Cow::Borrowed(&decoded)));
            prop_assert_eq!(template.could_make(&name), stands && encoded_again == name);
        }
    }
}
