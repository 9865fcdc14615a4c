//! Escapes for events, names and messages on a terminal: control characters move its cursor, change its title or answer as
//! if somebody had typed, and marks of direction show a text as another than it is.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// True if a terminal would do something else with a character than show it.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Passes text on with `\u{9b}` in place of what a terminal would act on. Line ends go through, so that a report stays one, if
/// `lines` says so.
pub struct Escaped<'w, W> {
    /// Receives the text.
    pub inner: &'w mut W,
    /// True if line ends and tabs go through.
    pub lines: bool,
}

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) =
            rest.char_indices().find(|(_, c)| is_active(*c) && !(self.lines && matches!(c, '\n' | '\t')))
        {
            self.inner.write_str(&rest[..at])?;
            write!(self.inner, "{}", c.escape_default())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.inner.write_str(rest)
    }
}

/// A text for a terminal, with its line ends.
pub fn text(text: impl fmt::Display) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(Escaped { inner: &mut out, lines: true }, "{text}");
    out
}

/// A line of JSON for a terminal: it means the same, since such characters stand in strings alone, but for white space between
/// tokens, which becomes a space. What is not UTF-8 is replaced.
pub fn json(line: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(line);
    if matches!(text, Cow::Borrowed(_)) && !text.chars().any(is_active) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' | '\n' | '\t' => out.push(' '),
            c if is_active(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_lines_and_nothing_that_a_terminal_acts_on() {
        for (given, expected) in [
            ("plain, é, 日本\n\tnext", "plain, é, 日本\n\tnext"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\u{9b}31m\u{7f}", "a\\rb\\u{9b}31m\\u{7f}"),
            ("\u{202e}cod.exe\u{2066}\u{feff}\u{2028}", "\\u{202e}cod.exe\\u{2066}\\u{feff}\\u{2028}"),
        ] {
            assert_eq!(text(given), expected);
        }
        let mut out = String::new();
        write!(Escaped { inner: &mut out, lines: false }, "a\nb").unwrap();
        assert_eq!(out, "a\\nb");
    }

    #[test]
    fn a_line_of_json_means_the_same() {
        let line = "{\"a\":\"x\u{9b}31m\u{202e}y\u{7f}\",\r\"é\":1}";
        let shown = json(line.as_bytes()).into_owned();
        assert_eq!(String::from_utf8_lossy(&shown), "{\"a\":\"x\\u009b31m\\u202ey\\u007f\", \"é\":1}");
        let (before, after): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(line).unwrap(), serde_json::from_slice(&shown).unwrap());
        assert_eq!(before, after);
        assert!(matches!(json(b"{\"a\":1}"), Cow::Borrowed(_)));
    }
}
