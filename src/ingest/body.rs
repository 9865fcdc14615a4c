//! Cuts a request's body into events: lines, or JSON values that may be spread over lines. Pure, piece by piece, and
//! keeps no more than one value.
//!
//! A body whose first value is an array is that array's elements. One whose first line ends within an object is a row of
//! objects spread over lines. Everything else is lines, and always a body that says it is (`application/x-ndjson`).

use super::lines::{BOM, Line, Splitter};
use super::producer::{Cut, Place};
use super::unfinished::Kept;
use super::values::{Value, Values};

/// Cuts one body.
pub(super) enum Body {
    /// Not known yet what it is: what has arrived, and how far it was looked at.
    Unknown { seen: Vec<u8>, look: Look, max: usize },
    /// Lines.
    Lines(Splitter),
    /// An array, or objects spread over lines.
    Values(Values),
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A line with its number.
    Line(u64, Line<'a>),
    /// A value with its place.
    Value(Place, Value<'a>),
}

/// What a body's beginning says so far.
#[derive(Default)]
pub(super) struct Look {
    at: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Lines,
    Array,
    Objects,
}

impl Body {
    /// A body whose events have at most `max` bytes. `is_lines`: its content type says that it is lines.
    pub(super) fn new(max: usize, is_lines: bool) -> Body {
        if is_lines {
            return Body::Lines(Splitter::new(max));
        }
        Body::Unknown { seen: Vec::new(), look: Look::default(), max }
    }

    /// Hands out the pieces that end in this chunk.
    pub(super) fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(Piece<'_>)) {
        match self {
            Body::Lines(splitter) => splitter.feed(chunk, |number, line| sink(Piece::Line(number, line))),
            Body::Values(values) => values.feed(chunk, |place, value| sink(Piece::Value(place, value))),
            Body::Unknown { seen, look, max } => {
                // Nearly always the first chunk tells, and is not copied.
                let is_first = seen.is_empty();
                if !is_first {
                    seen.extend_from_slice(chunk);
                }
                let begun = if is_first { chunk } else { &seen[..] };
                // A first line that is too long is skipped as a line.
                let bound = *max + BOM.len();
                let shape = look.shape(&begun[..begun.len().min(bound)]);
                match shape.or((begun.len() > bound).then_some(Shape::Lines)) {
                    None if is_first => seen.extend_from_slice(chunk),
                    None => {}
                    Some(shape) => {
                        let seen = std::mem::take(seen);
                        let begun = if is_first { chunk } else { &seen[..] };
                        *self = Body::of(shape, *max);
                        // Lines take the mark off themselves.
                        let mark: &[u8] = if shape == Shape::Lines { b"" } else { BOM };
                        self.feed(begun.strip_prefix(mark).unwrap_or(begun), sink);
                    }
                }
            }
        }
    }

    /// Hands out what is left at the body's end.
    pub(super) fn finish(&mut self, mut sink: impl FnMut(Piece<'_>)) {
        self.settle(&mut sink);
        match self {
            Body::Lines(splitter) => splitter.finish(|number, line| sink(Piece::Line(number, line))),
            Body::Values(values) => values.finish(|place, value| sink(Piece::Value(place, value))),
            Body::Unknown { .. } => {}
        }
    }

    /// Gives the current line or value up: hands out what has arrived of it, and skips the rest.
    pub(super) fn abandon(&mut self, cut: Cut, mut sink: impl FnMut(Piece<'_>)) {
        self.settle(&mut sink);
        match self {
            Body::Lines(splitter) => splitter.abandon(cut, |number, line| sink(Piece::Line(number, line))),
            Body::Values(values) => values.abandon(cut, |place, value| sink(Piece::Value(place, value))),
            Body::Unknown { .. } => {}
        }
    }

    /// Bytes of the current line or value that have arrived and are kept.
    pub(super) fn kept(&self) -> Kept {
        match self {
            Body::Lines(splitter) => splitter.kept(),
            Body::Values(values) => values.kept(),
            Body::Unknown { seen, .. } => Kept::opening(seen),
        }
    }

    /// Takes a body for lines of which too little arrived to know what it is.
    fn settle(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if let Body::Unknown { seen, max, .. } = self {
            let seen = std::mem::take(seen);
            *self = Body::of(Shape::Lines, *max);
            self.feed(&seen, sink);
        }
    }

    fn of(shape: Shape, max: usize) -> Body {
        match shape {
            Shape::Lines => Body::Lines(Splitter::new(max)),
            Shape::Array => Body::Values(Values::array(max)),
            Shape::Objects => Body::Values(Values::objects(max)),
        }
    }
}

impl Look {
    /// What the body is, as soon as its beginning tells. `seen` only grows from call to call.
    fn shape(&mut self, seen: &[u8]) -> Option<Shape> {
        while let Some(byte) = seen.get(self.at) {
            let is_bom = self.at < BOM.len() && *byte == BOM[self.at];
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                // No string goes over a line's end: it is a broken line, and the next may be whole.
                b'\n' if self.in_string => return Some(Shape::Lines),
                b'\n' if self.depth > 0 => return Some(Shape::Objects),
                _ if self.in_string => {}
                b'[' if self.depth == 0 => return Some(Shape::Array),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                _ if self.depth > 0 && !matches!(byte, b'}' | b']') => {}
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if is_bom => {}
                // A first object that ends in its line, or no object.
                _ => return Some(Shape::Lines),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pieces as text: `LINE:BEFORE text`, with `!` for what is too long and `?` for what is broken.
    fn pieces(max: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut body = Body::new(max, false);
        let mut pieces = Vec::new();
        let mut sink = |piece: Piece<'_>| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            pieces.push(match piece {
                Piece::Line(number, Line::Whole(line)) => format!("{number} {}", text(line)),
                Piece::Line(number, Line::TooLong(_)) => format!("{number} !"),
                Piece::Line(number, Line::Cut(line, _)) => format!("{number} ~ {}", text(line)),
                Piece::Value(place, Value::Whole(value)) => {
                    format!("{}:{} {}", place.line, place.before, text(value))
                }
                Piece::Value(place, Value::TooLong(_)) => format!("{}:{} !", place.line, place.before),
                Piece::Value(place, Value::Cut(value, _)) => {
                    format!("{}:{} ~ {}", place.line, place.before, text(value))
                }
                Piece::Value(place, Value::Broken(why)) => format!("{}:{} ? {why}", place.line, place.before),
            });
        };
        for chunk in chunks {
            body.feed(chunk, &mut sink);
        }
        body.finish(&mut sink);
        pieces
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let text = text.as_bytes();
        assert_eq!(pieces(30, &[text]), expected);
        for cut in 0..=text.len() {
            assert_eq!(pieces(30, &[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        assert_eq!(pieces(30, &text.chunks(1).collect::<Vec<_>>()), expected, "byte by byte");
    }

    #[test]
    fn lines_stay_lines() {
        check("", &[]);
        check(" \n ", &[]);
        check("{\"a\":1}\n{\"b\":2}\n", &["1 {\"a\":1}", "2 {\"b\":2}"]);
        check("{\"a\":\"}\\\"{\"}", &["1 {\"a\":\"}\\\"{\"}"]);
        check("\u{feff}\n{}\n{", &["2 {}", "3 {"]);
        check("{}{}\n", &["1 {}{}"]);
        check("x\n{\n}", &["1 x", "2 {", "3 }"]);
        check("\"a\"\n{\n}", &["1 \"a\"", "2 {", "3 }"]);
        check("7\n{\n}", &["1 7", "2 {", "3 }"]);
        check("{\"a\":\"x\n{}", &["1 {\"a\":\"x", "2 {}"]);
        check("{\"a\":", &["1 {\"a\":"]);
        check(&format!("{{\"a\":\"{}\"}}\n{{}}", "x".repeat(40)), &["1 !", "2 {}"]);
    }

    #[test]
    fn objects_may_be_spread_over_lines() {
        check("{\n \"a\": 1\n}\n", &["1:0 {\n \"a\": 1\n}"]);
        check("\n  {\n\"a\":[{}]}\n\n {}", &["2:2 {\n\"a\":[{}]}", "5:1 {}"]);
        check("{\n}x {}", &["1:0 {\n}", "2:1 x", "2:3 {}"]);
        check("\u{feff}{\n", &["1:0 {\n"]);
        // Quotes and brackets in the strings of the first line do not mislead.
        check("{\"a\":\"\\\"\",\n\"b\":1}", &["1:0 {\"a\":\"\\\"\",\n\"b\":1}"]);
        check("{\"a\":\"\\\\\",\n\"b\":1}", &["1:0 {\"a\":\"\\\\\",\n\"b\":1}"]);
        check("{\"a\":\"}]\",\n\"b\":1}", &["1:0 {\"a\":\"}]\",\n\"b\":1}"]);
        check("{\"a\":[{}],\n\"b\":1}", &["1:0 {\"a\":[{}],\n\"b\":1}"]);
        check("{\"a\":[[\n]]}", &["1:0 {\"a\":[[\n]]}"]);
        check("{\"a\":[]}}\n{\n}", &["1 {\"a\":[]}}", "2 {", "3 }"]);
    }

    #[test]
    fn an_array_is_its_elements() {
        check("[]", &[]);
        check(
            " [ {} , {\"a\":[1,2]}\n,\"x,]\", 12,null]\n",
            &["1:3 {}", "1:8 {\"a\":[1,2]}", "2:1 \"x,]\"", "2:8 12", "2:11 null"],
        );
        check("[{},\n", &["1:1 {}", "2:0 ? the array has no end"]);
        check("[{},]", &["1:1 {}", "1:4 ? a value is missing"]);
        check("[,{}]", &["1:1 ? a value is missing"]);
        check("[{} {}]", &["1:1 {}", "1:4 ? `,` or `]` is missing"]);
        check("[{}]{}", &["1:1 {}", "1:4 ? something stands after the array"]);
        check("[{\"a\":1", &["1:1 {\"a\":1"]);
    }

    #[test]
    fn a_value_that_is_too_long_is_skipped() {
        let long = format!("{{\"a\":\"{}\"}}", "]".repeat(40));
        check(&format!("[{long},{{}}]"), &["1:1 !", "1:50 {}"]);
        check(&format!("{{\n}}{long}{{}}"), &["1:0 {\n}", "2:1 !", "2:49 {}"]);
        check(&format!("[\"{}\",{{}}]", "x".repeat(40)), &["1:1 !", "1:44 {}"]);
        check(&format!("[{},1]", "1".repeat(40)), &["1:1 !", "1:42 1"]);
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_pieces(text in "[\\[\\]{}\",\\\\ \na1]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(pieces(20, &chunks), pieces(20, &[text]));
        }
    }
}
