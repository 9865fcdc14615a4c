//! Cuts JSON values out of a text that arrives in pieces: the elements of an array, or objects one after the other.
//! Pure. Finds where a value ends, and leaves whether it is one to who reads it.

use super::lines::{HEAD_BYTES, extend};
use super::producer::{Cut, Place};
use super::unfinished::Kept;

/// Cuts values.
#[derive(Debug)]
pub(super) struct Values {
    is_array: bool,
    state: State,
    /// What has arrived of the current value in earlier pieces; at most `max` bytes.
    carry: Vec<u8>,
    /// Where the current value begins.
    start: Place,
    /// Where the next byte is.
    here: Place,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether the rest of the current value is thrown away, because it is too long.
    skipping: bool,
    /// Longest value in bytes.
    max: usize,
}

/// What was cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A value's text.
    Whole(&'a [u8]),
    /// The beginning of a value that is too long.
    TooLong(&'a [u8]),
    /// The bytes of an abandoned value, and the reason.
    Cut(&'a [u8], Cut),
    /// The text around the values is broken; nothing after it is read.
    Broken(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the array.
    Outside,
    /// Before a value; in an array, whether a comma stands before it.
    Before { comma: bool },
    /// In an object, an array or a string.
    Inside,
    /// In a number or a word, or in something else without an end of its own.
    Word,
    /// After an element.
    After,
    /// After the array.
    Closed,
    /// After something broken.
    Broken,
}

impl Values {
    /// The elements of an array.
    pub(super) fn array(max: usize) -> Values {
        Values::new(max, true, State::Outside)
    }

    /// Objects one after the other, with or without white space between them.
    pub(super) fn objects(max: usize) -> Values {
        Values::new(max, false, State::Before { comma: false })
    }

    fn new(max: usize, is_array: bool, state: State) -> Values {
        let origin = Place { line: 1, before: 0 };
        Values {
            is_array,
            state,
            carry: Vec::new(),
            start: origin,
            here: origin,
            depth: 0,
            in_string: false,
            escaped: false,
            skipping: false,
            max,
        }
    }

    /// Hands out the values that end in this piece.
    pub(super) fn feed(&mut self, piece: &[u8], mut sink: impl FnMut(Place, Value<'_>)) {
        // Where the part of the current value begins that lies in this piece.
        let mut begin = 0;
        for (at, byte) in piece.iter().enumerate() {
            match self.state {
                State::Inside => {
                    if self.ends_with(*byte) {
                        self.hand_out(&piece[begin..=at], &mut sink);
                    }
                }
                State::Word if self.is_after_word(*byte) => {
                    self.hand_out(&piece[begin..at], &mut sink);
                    self.between(*byte, &mut sink);
                }
                State::Word | State::Broken => {}
                _ => self.between(*byte, &mut sink),
            }
            if matches!(self.state, State::Inside | State::Word) && self.start == self.here {
                begin = at;
            }
            self.advance(*byte);
        }
        if matches!(self.state, State::Inside | State::Word) {
            self.keep(&piece[begin..], &mut sink);
        }
    }

    /// Hands out what is left at the end.
    pub(super) fn finish(&mut self, mut sink: impl FnMut(Place, Value<'_>)) {
        match self.state {
            State::Inside | State::Word => self.hand_out(b"", &mut sink),
            State::Outside | State::Before { .. } | State::After if self.is_array => {
                sink(self.here, Value::Broken("the array has no end"));
            }
            _ => {}
        }
    }

    /// Gives the current value up: hands out what has arrived of it, and skips the rest. Does nothing between two values.
    pub(super) fn abandon(&mut self, cut: Cut, mut sink: impl FnMut(Place, Value<'_>)) {
        let carry = std::mem::take(&mut self.carry);
        if !carry.is_empty() {
            self.skipping = true;
            sink(self.start, Value::Cut(&carry, cut));
        }
    }

    /// Bytes of the current value that have arrived and are kept.
    pub(super) fn kept(&self) -> Kept {
        Kept { place: self.start, bytes: self.carry.len(), held: self.carry.capacity() }
    }

    /// A byte that is not of a value.
    fn between(&mut self, byte: u8, sink: &mut impl FnMut(Place, Value<'_>)) {
        let mut broken = |state: &mut State, why| {
            *state = State::Broken;
            sink(self.here, Value::Broken(why));
        };
        match (self.state, byte) {
            (State::Inside | State::Word | State::Broken, _) | (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (State::Outside, _) => self.state = State::Before { comma: false },
            (State::Before { comma: false }, b']') if self.is_array => self.state = State::Closed,
            (State::Before { .. }, b',' | b']') if self.is_array => {
                broken(&mut self.state, "a value is missing");
            }
            (State::Before { .. }, _) => self.start_with(byte),
            (State::After, b',') => self.state = State::Before { comma: true },
            (State::After, b']') => self.state = State::Closed,
            (State::After, _) => broken(&mut self.state, "`,` or `]` is missing"),
            (State::Closed, _) => broken(&mut self.state, "something stands after the array"),
        }
    }

    fn start_with(&mut self, byte: u8) {
        self.start = self.here;
        self.depth = u32::from(matches!(byte, b'{' | b'['));
        self.in_string = byte == b'"';
        self.escaped = false;
        self.skipping = false;
        self.state = if self.depth > 0 || self.in_string { State::Inside } else { State::Word };
    }

    /// Whether the value that this byte is inside of ends with it.
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => {
                self.in_string = !self.in_string;
                return !self.in_string && self.depth == 0;
            }
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }

    fn is_after_word(&self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => true,
            b',' | b']' => self.is_array,
            b'{' => !self.is_array,
            _ => false,
        }
    }

    fn hand_out(&mut self, tail: &[u8], sink: &mut impl FnMut(Place, Value<'_>)) {
        self.state = if self.is_array { State::After } else { State::Before { comma: false } };
        let mut carry = std::mem::take(&mut self.carry);
        if self.skipping {
            // Was reported when it grew too long.
        } else if carry.len() + tail.len() > self.max {
            sink(self.start, Value::TooLong(head(&mut carry, tail)));
        } else if carry.is_empty() {
            sink(self.start, Value::Whole(tail));
        } else {
            carry.extend_from_slice(tail);
            sink(self.start, Value::Whole(&carry));
        }
    }

    fn keep(&mut self, rest: &[u8], sink: &mut impl FnMut(Place, Value<'_>)) {
        if self.skipping {
            return;
        }
        if self.carry.len() + rest.len() > self.max {
            let mut carry = std::mem::take(&mut self.carry);
            sink(self.start, Value::TooLong(head(&mut carry, rest)));
            self.skipping = true;
        } else {
            extend(&mut self.carry, rest, self.max);
        }
    }

    fn advance(&mut self, byte: u8) {
        if byte == b'\n' {
            self.here = Place { line: self.here.line + 1, before: 0 };
        } else {
            self.here.before += 1;
        }
    }
}

/// The beginning of a value in two parts.
fn head<'c>(carry: &'c mut Vec<u8>, tail: &[u8]) -> &'c [u8] {
    carry.truncate(HEAD_BYTES);
    carry.extend_from_slice(&tail[..tail.len().min(HEAD_BYTES - carry.len())]);
    carry
}
