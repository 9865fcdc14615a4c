//! Where things are in a JSON text: for error messages, never for a line that is well.

/// Nesting allowed in a line: readers of any language take that much, and real events have a handful.
pub(super) const MAX_DEPTH: usize = 64;

/// Whether JSON calls a character white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Bytes that are looked at together, and fewer at a line's end.
const CHUNK: usize = 128;
const END: usize = 64;

/// Result of one cheap pass over a line. It errs on the safe side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    may_be_deep: bool,
    /// There may be half of a surrogate pair, or a number that is too large.
    pub(super) may_be_flawed: bool,
}

/// Looks a line through.
#[inline]
pub(super) fn look(line: &str) -> Look {
    // The parser finds flaws that end with the last byte, unless that is a bracket; so one is counted in any case.
    let mut look = (1, u8::MAX);
    let bytes = line.as_bytes();
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        look_at::<CHUNK, { CHUNK + 1 }>(chunk, &mut look);
        // Of very many digits some chunk has them at both of its ends.
        look.1 = look.1.min(digit(chunk[0]) | digit(chunk[CHUNK - 1]));
        at += CHUNK;
    }
    look_at_end(bytes, at, &mut look);
    Look { may_be_deep: look.0 > MAX_DEPTH, may_be_flawed: look.1 == 0 }
}

/// Looks at what is left from `at` on, and again at some bytes before it: in one piece, where that is not much more.
#[inline]
fn look_at_end(bytes: &[u8], at: usize, look: &mut (usize, u8)) {
    let is_long = bytes.len() - at > END;
    if is_long && let Some(last) = bytes.last_chunk() {
        return look_at::<CHUNK, { CHUNK + 1 }>(last, look);
    }
    if let Some(first) = bytes[at..].first_chunk() {
        look_at::<END, { END + 1 }>(first, look);
    }
    if let Some(last) = bytes.last_chunk() {
        return look_at::<END, { END + 1 }>(last, look);
    }
    let mut padded = [0; END + 1];
    padded[..bytes.len()].copy_from_slice(bytes);
    look_at::<END, { END + 1 }>(&padded, look);
}

/// Counts the opening brackets of `N` bytes, and finds `\u` and a digit before an `e`, whose second byte may be the `M`th.
/// Each is a minimum or a sum that fits a byte, so that the compiler takes many bytes at once.
#[inline]
fn look_at<const N: usize, const M: usize>(chunk: &[u8; M], (opening, calm): &mut (usize, u8)) {
    let (Some(bytes), Some(next)) = (chunk.first_chunk::<N>(), chunk.last_chunk::<N>()) else { return };
    // `{` and `[` differ in one bit, which no other bytes that become `{` have.
    *opening += usize::from(bytes.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>());
    // 0 where a backslash or a digit stands before one of `eEuU`, which are the same but for two bits.
    let pair = |byte: u8, next: u8| digit(byte).min(byte ^ b'\\') | ((next | 0x30) ^ b'u');
    let least = bytes.iter().zip(next).fold(u8::MAX, |least, (byte, next)| least.min(pair(*byte, *next)));
    *calm = (*calm).min(least);
}

/// 0 for a digit.
#[inline]
fn digit(byte: u8) -> u8 {
    (byte ^ b'0').saturating_sub(9)
}

impl Look {
    /// The 1-based byte column of the first bracket that is nested deeper than [`MAX_DEPTH`], in the line that was looked
    /// at. Brackets inside strings are told apart only when there are many.
    #[inline]
    pub(super) fn too_deep(self, line: &str) -> Option<usize> {
        if self.may_be_deep { exactly_too_deep(line.as_bytes()) } else { None }
    }
}

fn exactly_too_deep(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' if depth == MAX_DEPTH => return Some(at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The 1-based byte column of a parser's error; its own count begins anew at every line of a multi-line text.
pub(super) fn error_column(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    (before + error.column()).clamp(1, text.len().max(1))
}

/// A parser's message without the place at its end, which is told apart from it.
pub(super) fn error_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// The 1-based byte column of the value at a path in a valid object; of the innermost object on the way that is there,
/// when the value is not.
pub(super) fn column_of<S: AsRef<str>>(text: &str, names: &[S]) -> usize {
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, 0);
    for name in names {
        match member(text, at, name.as_ref(), 1) {
            Some(value) => at = value,
            None => break,
        }
    }
    at + 1
}

/// The 1-based byte column of the second value at a path in a valid object.
pub(super) fn column_of_double(text: &str, names: &[String]) -> usize {
    let Some((last, outer)) = names.split_last() else { return 1 };
    let object = column_of(text, outer) - 1;
    member(text, object, last, 2).unwrap_or(object) + 1
}

/// The text of the value that begins at a 1-based column of a valid object's text.
pub(super) fn value_at(text: &str, column: usize) -> &str {
    let start = column - 1;
    text.get(start..value_end(text.as_bytes(), start)).unwrap_or("")
}

/// The names of the members of the object that begins at a 1-based column.
pub(super) fn names_at(text: &str, column: usize) -> Vec<String> {
    members(text, column - 1).map(|(name, _)| name).collect()
}

fn member(text: &str, object: usize, name: &str, nth: usize) -> Option<usize> {
    members(text, object).filter(|(found, _)| found == name).nth(nth - 1).map(|(_, value)| value)
}

/// Names and places of values in the object that begins at `object`; none if no object begins there.
fn members(text: &str, object: usize) -> impl Iterator<Item = (String, usize)> {
    let bytes = text.as_bytes();
    let mut at = if bytes.get(object) == Some(&b'{') { object + 1 } else { bytes.len() };
    std::iter::from_fn(move || {
        at = skip_space(bytes, at);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let name_end = string_end(bytes, at);
        let name = serde_json::from_str(text.get(at..name_end)?).ok()?;
        let value = skip_space(bytes, skip_space(bytes, name_end) + 1);
        at = value_end(bytes, value);
        Some((name, value))
    })
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let space = bytes.iter().skip(at).take_while(|byte| is_space(char::from(**byte))).count();
    at + space
}

fn value_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' => depth -= 1,
            b'{' | b'[' => depth += 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Where the string that begins at `start` is over; at the text's end if it is not.
pub(super) fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn place(marked: &str, path: &str) {
        let text = marked.replace('‹', "");
        let names: Vec<&str> = path.split('.').collect();
        assert_eq!(column_of(&text, &names), marked.find('‹').unwrap() + 1, "{path} in {text}");
    }

    #[test]
    fn values_are_found() {
        place(r#"{"a":‹1}"#, "a");
        place(" {\t\"x\\\"\" : \"}{,\" , \"a\" :\n‹\"v\" }", "a");
        place(r#"{"x":{"a":1,"y":[{"a":2}]},"a":{"b":‹true}}"#, "a.b");
        place(r#"{"x":1,"a":‹{"c":1}}"#, "a.b");
        place(r#"‹{"x":1}"#, "a.b");
        place(r#"{"\u0061":‹null}"#, "a");
        assert_eq!(value_at(r#"{"a":{"b":"}"} ,"c":1}"#, 6), r#"{"b":"}"}"#);
        assert_eq!(value_at(r#"{"a":12}"#, 6), "12");
        assert_eq!(column_of_double(r#"{"a":{"b":1,"b":2}}"#, &["a".into(), "b".into()]), 17);
        assert_eq!(names_at(r#"{"a":{"b":1,"c":2}}"#, 6), ["b", "c"]);
    }

    #[test]
    fn a_value_ends_where_its_text_does() {
        for (text, column, value) in [
            (r#"{"a":[[1],{"b":"]"}],"c":2}"#, 6, r#"[[1],{"b":"]"}]"#),
            (r#"{"a":"x\"y,}","c":2}"#, 6, r#""x\"y,}""#),
            (r#"{"a":-1.5e3 }"#, 6, "-1.5e3"),
            ("{\"a\":true\n}", 6, "true"),
            ("{\"a\":true\t}", 6, "true"),
            ("{\"a\":true\r}", 6, "true"),
            (r#"{"a":1,"b":2}"#, 6, "1"),
            ("[[1],2]", 2, "[1]"),
            ("[1]", 2, "1"),
            (r#"{"a":[1"#, 6, "[1"),
            (r#"{"a":"x"#, 6, "\"x"),
            (r#"{"a":"x\"#, 6, "\"x\\"),
            (r#"{"a":1}"#, 1, r#"{"a":1}"#),
            (r#"{"a":1}"#, 99, ""),
        ] {
            assert_eq!(value_at(text, column), value, "{text}");
        }
        assert_eq!(
            [string_end(br#""ab"c"#, 0), string_end(br#""a\"b"c"#, 0), string_end(b"x\"\"", 1)],
            [4, 6, 3]
        );
    }

    #[test]
    fn members_are_those_of_one_object() {
        let text = r#" {"a" : {"x":1} ,"b":[{"y":2}], "c\"":"}" }"#;
        assert_eq!(names_at(text, 2), ["a", "b", "c\""]);
        assert_eq!(names_at(text, 9), ["x"]);
        assert_eq!(names_at("[1]", 1), [""; 0]);
        assert_eq!(names_at("{}", 1), [""; 0]);
        assert_eq!(names_at(r#"{"a":1,"b"#, 1), ["a"]);
        let twice = r#"{"a":1,"b":{"a":2},"a":3}"#;
        assert_eq!(column_of_double(twice, &["a".into()]), 24);
        assert_eq!(column_of_double(twice, &["b".into(), "a".into()]), 12, "there is no second: its object");
        assert_eq!(column_of_double(twice, &[]), 1);
    }

    #[test]
    fn the_parsers_place_becomes_a_column_of_the_whole_text() {
        let place = |text: &str| {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            (error_column(text, &error), error_message(&error))
        };
        assert_eq!(place("{\"a\":x}"), (6, "expected value".to_owned()));
        assert_eq!(place("{\n\"a\":1,\n\"b\":x}"), (14, "expected value".to_owned()));
        let (column, message) = place("");
        assert_eq!((column, message.as_str()), (1, "EOF while parsing a value"));
        assert_eq!(place("{\n").0, 2, "never behind the text");
    }

    /// Lengths around those of the pieces that are looked at together.
    fn lengths() -> impl Iterator<Item = usize> {
        (1..4).chain(63..67).chain(127..131).chain(191..195).chain(256..259)
    }

    #[test]
    fn a_look_finds_possible_flaws_at_every_place() {
        for length in lengths() {
            let calm = "x".repeat(length);
            assert!(!look(&calm).may_be_flawed, "{length}");
            for at in 0..length {
                let with = |pair: &str| {
                    let mut text = calm.clone();
                    text.replace_range(at..length.min(at + 2), &pair[..2.min(length - at)]);
                    look(&text).may_be_flawed
                };
                // The parser finds what ends with the line.
                for pair in ["\\u", "1e", "9E", "0e"] {
                    assert!(with(pair) || at + 1 == length, "{pair} at {at} of {length}");
                }
                for pair in ["\\n", "\"u", "xe", "u1", "e1", "/e", ":E", "[u", "1f", "5%"] {
                    assert!(!with(pair), "{pair} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_look_finds_very_many_digits() {
        for before in 0..130 {
            let digits = format!("{}{}", "x".repeat(before), "7".repeat(309));
            assert!(look(&digits).may_be_flawed, "behind {before}");
        }
        for few in
            ["7".repeat(60), format!("7{}", "x".repeat(300)), format!("{}7", "x".repeat(127)).repeat(3)]
        {
            assert!(!look(&few).may_be_flawed, "{few}");
        }
    }

    #[test]
    fn a_look_counts_brackets_at_every_place() {
        for bracket in ["{", "["] {
            for before in 0..260 {
                let deep = format!("{}{}", "x".repeat(before), bracket.repeat(MAX_DEPTH + 1));
                assert!(look(&deep).may_be_deep, "{bracket} behind {before}");
                let deep = format!("{}{}", bracket.repeat(MAX_DEPTH + 1), "x".repeat(before));
                assert!(look(&deep).may_be_deep, "{bracket} before {before}");
            }
        }
        // Few brackets are not counted one by one, whatever else the line is made of.
        for length in lengths() {
            for calm in ["x", ";", "}", "]", "z", "\u{e9}"] {
                let line = calm.repeat(length);
                assert!(!look(&line).may_be_deep, "{length} times {calm}");
                assert!(!look(&format!("{}{line}", "[{".repeat(15))).may_be_deep, "{length} times {calm}");
            }
        }
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let too_deep = |line: &str| look(line).too_deep(line);
        assert_eq!(too_deep(&nested(64)), None);
        assert_eq!(too_deep(&nested(65)), Some(65));
        assert_eq!(too_deep(&"{}".repeat(100)), None);
        assert_eq!(too_deep(&format!("[\"\\\"{}\"]", "[{".repeat(100))), None);
        assert_eq!(too_deep(&format!("[\"\\\"\"{}", "{".repeat(64))), Some(69));
    }
}
