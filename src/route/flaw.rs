//! JSON that readers do not agree on: half of a surrogate pair, and numbers beyond a 64-bit float.
//!
//! RFC 8259 (sections 6 and 8.2) lets a grammar pass both, and RFC 7493 (sections 2.1 and 2.2) says what becomes of them:
//! some readers refuse the text, others put something else in its place. The parser refuses them only where it builds a
//! value, and skips them elsewhere; so a line is searched for them, wherever they stand. A search is rare: nearly every
//! line shows at once that it has none ([`json::look`](super::json::look)).

use super::json;

/// Digits of the smallest whole number that is too large.
const TOO_LARGE_DIGITS: usize = 309;
/// Fewer digits before an exponent of two digits are never too large.
const MANY_DIGITS: usize = TOO_LARGE_DIGITS - 99;
/// Exponents with fewer digits are never too large without many digits before them.
const LARGE_EXPONENT_DIGITS: usize = 3;
/// Every run of [`TOO_LARGE_DIGITS`] has a whole block of so many bytes in it, wherever blocks begin.
const BLOCK: usize = 128;

/// A part of a line that not every reader accepts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw<'a> {
    pub(super) kind: Kind,
    /// 1-based byte column.
    pub(super) column: usize,
    /// As it is written in the line.
    pub(super) text: &'a str,
    /// The JSON path of the field: `tags[2].name`.
    pub(super) path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Half of a surrogate pair.
    Surrogate,
    /// A number beyond a 64-bit float.
    Number,
}

/// The first flaw of a text that is JSON as far as it matters.
pub(super) fn find(text: &str) -> Option<Flaw<'_>> {
    if is_likely(text.as_bytes()) { walk(text) } else { None }
}

/// True if it is worth a walk: a surrogate's escape, an exponent that may be too large, or very many digits.
fn is_likely(bytes: &[u8]) -> bool {
    let is_surrogate = |at: usize| matches!(bytes.get(at + 2), Some(b'd' | b'D'));
    memchr::memmem::find_iter(bytes, b"\\u").any(is_surrogate)
        || memchr::memchr2_iter(b'e', b'E', bytes).any(|at| is_large(&bytes[..at], &bytes[at + 1..]))
        || bytes.chunks(BLOCK).any(|block| block.len() == BLOCK && block.iter().all(u8::is_ascii_digit))
}

/// True if what stands before and after an `e` may be a number that is too large, and not a piece of a name or an id.
fn is_large(before: &[u8], after: &[u8]) -> bool {
    if !before.last().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let exponent = after.strip_prefix(b"+").unwrap_or(after).iter().take_while(is_digit).count();
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let ahead = &before[..before.len() - digits];
    let ahead = ahead.strip_suffix(b"-").unwrap_or(ahead);
    (exponent >= LARGE_EXPONENT_DIGITS || digits >= MANY_DIGITS)
        && ahead.last().is_none_or(|byte| b":,[ \t\r\n".contains(byte))
}

/// One level of nesting on the walk.
enum Level<'a> {
    /// An object, and the name of the member that its value is awaited of.
    Object(Option<&'a str>),
    /// An array, and the index of its element.
    Array(usize),
}

fn walk(text: &str) -> Option<Flaw<'_>> {
    let bytes = text.as_bytes();
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => json::string_end(bytes, at),
            b'-' | b'0'..=b'9' => at + number_len(&bytes[at..]),
            _ => at + 1,
        };
        // Only what is no JSON is cut within a character.
        let token = text.get(at..end).unwrap_or_default();
        match byte {
            b'{' => levels.push(Level::Object(None)),
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => match levels.last_mut() {
                Some(Level::Object(name)) => *name = None,
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                if let Some(Level::Object(name @ None)) = levels.last_mut() {
                    *name = Some(token);
                }
                if let Some(escape) = lone_surrogate(token) {
                    let text = &token[escape..escape + 6];
                    let column = at + escape + 1;
                    return Some(Flaw { kind: Kind::Surrogate, column, text, path: path(&levels) });
                }
            }
            b'-' | b'0'..=b'9' if is_too_large(token) => {
                return Some(Flaw { kind: Kind::Number, column: at + 1, text: token, path: path(&levels) });
            }
            _ => {}
        }
        at = end;
    }
    None
}

fn number_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count()
}

/// True if the parser refuses a number where it builds a value of it, and not where it skips it.
fn is_too_large(number: &str) -> bool {
    serde_json::from_str::<f64>(number).is_err()
        && serde_json::from_str::<serde::de::IgnoredAny>(number).is_ok()
}

/// Place of half a surrogate pair's escape in a string.
fn lone_surrogate(string: &str) -> Option<usize> {
    let unit = |at: usize| {
        let digits = string.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while let Some(len) = string[at..].find('\\') {
        at += len;
        at += match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => return Some(at),
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        // Only what is no JSON has more than one byte behind a backslash.
        if !string.is_char_boundary(at) {
            return None;
        }
    }
    None
}

/// The path of the innermost value, with names as they are written.
fn path(levels: &[Level<'_>]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(name) => {
                let name = name.unwrap_or_default();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name));
            }
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests;
