//! A field's value as conditions, templates and checks see it: borrowed from the line.

use std::borrow::Cow;
use std::cmp::Ordering;

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

impl<'a> Value<'a> {
    /// The value of a field beside an event.
    pub fn from_json(value: &'a serde_json::Value) -> Value<'a> {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => Value::from_number(number).unwrap_or_default(),
            serde_json::Value::String(text) => Value::String(Cow::Borrowed(text)),
            serde_json::Value::Array(items) => {
                Value::Array { all_strings: items.iter().all(serde_json::Value::is_string) }
            }
            serde_json::Value::Object(_) => Value::Object,
        }
    }

    /// A number, in the variant that holds it exactly.
    pub fn from_number(number: &serde_json::Number) -> Option<Value<'static>> {
        number
            .as_i64()
            .map(Value::Integer)
            .or_else(|| number.as_u64().map(Value::Unsigned))
            .or_else(|| number.as_f64().map(Value::Float))
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Value::Integer(_) | Value::Unsigned(_) | Value::Float(_))
    }

    /// Equality as conditions have it: of the same kind and value; a missing field, an array or an object equals
    /// nothing.
    pub fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::String(left), Value::String(right)) => left == right,
            (Value::Null, Value::Null) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// Order as conditions have it: numbers by value, exactly; strings by code points; nothing else has an order.
    pub fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        if let (Value::String(left), Value::String(right)) = (self, other) {
            return Some(left.cmp(right));
        }
        match (self.integer(), other.integer()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            (Some(left), None) => other.float().map(|right| order_with_float(left, right)),
            (None, Some(right)) => self.float().map(|left| order_with_float(right, left).reverse()),
            (None, None) => self.float()?.partial_cmp(&other.float()?),
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Value::Integer(value) => Some(i128::from(*value)),
            Value::Unsigned(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    fn float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }
}

/// Compares a 64-bit integer with a float without rounding either. JSON has no NaN.
fn order_with_float(integer: i128, float: f64) -> Ordering {
    // Casting saturates, which is far beyond any 64-bit integer and so keeps the order.
    let whole = float.trunc() as i128;
    integer.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &Value<'_>, right: &Value<'_>, expected: Option<Ordering>) {
        assert_eq!(left.order(right), expected);
        assert_eq!(right.order(left), expected.map(Ordering::reverse));
        assert_eq!(left.equals(right), expected == Some(Ordering::Equal));
    }

    #[test]
    fn numbers_compare_exactly_across_kinds() {
        let two_to_53 = 9_007_199_254_740_992_i64;
        check(&Value::Integer(1), &Value::Float(1.0), Some(Ordering::Equal));
        check(&Value::Integer(1), &Value::Float(1.5), Some(Ordering::Less));
        check(&Value::Integer(-1), &Value::Float(-1.5), Some(Ordering::Greater));
        check(&Value::Integer(0), &Value::Float(-0.0), Some(Ordering::Equal));
        check(&Value::Integer(two_to_53 + 1), &Value::Float(two_to_53 as f64), Some(Ordering::Greater));
        check(&Value::Unsigned(u64::MAX), &Value::Float(18_446_744_073_709_551_616.0), Some(Ordering::Less));
        check(&Value::Unsigned(u64::MAX), &Value::Integer(-1), Some(Ordering::Greater));
        check(&Value::Integer(i64::MIN), &Value::Float(-1e300), Some(Ordering::Greater));
        check(&Value::Float(2.5), &Value::Float(2.25), Some(Ordering::Greater));
    }

    #[test]
    fn kinds_do_not_mix() {
        let text = Value::String(Cow::Borrowed("1"));
        check(&text, &Value::Integer(1), None);
        check(&Value::Bool(true), &Value::Integer(1), None);
        check(&Value::Absent, &Value::Null, None);
        check(&Value::Absent, &Value::Absent, None);
        check(&Value::Object, &Value::Object, None);
        assert!(Value::Null.equals(&Value::Null) && Value::Null.order(&Value::Null).is_none());
    }
}
