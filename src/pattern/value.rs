//! A field's value as conditions, templates and checks see it: borrowed from the line.

use std::borrow::Cow;

/// A JSON value without its inside.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// The event has no such field.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// An integer that fits.
    Integer(i64),
    /// An integer above `i64::MAX`.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// `[…]`; whether every element is a string.
    Array {
        /// Whether every element is a string (true when empty).
        all_strings: bool,
    },
    /// `{…}`.
    Object,
}
