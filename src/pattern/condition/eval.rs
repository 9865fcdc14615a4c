//! What a condition compiles to, and its evaluation.

use crate::pattern::Value;
use std::cmp::Ordering;

/// A compiled condition. Fields are indexes into the condition's paths.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Any(Box<[Expr]>),
    All(Box<[Expr]>),
    Not(Box<Expr>),
    Compare { left: Operand, operator: Operator, right: Operand },
    In { left: Operand, list: Box<[Value<'static>]> },
    StartsWith { field: usize, prefix: Box<str> },
    Has(usize),
    IsTrue(usize),
    Constant(bool),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Field(usize),
    Literal(Value<'static>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expr {
    /// Whether it holds. Recursion is bounded by the parser.
    pub(super) fn holds<'v, 'a: 'v, F: Fn(usize) -> &'v Value<'a>>(&self, field: &F) -> bool {
        match self {
            Expr::Any(parts) => parts.iter().any(|part| part.holds(field)),
            Expr::All(parts) => parts.iter().all(|part| part.holds(field)),
            Expr::Not(inner) => !inner.holds(field),
            Expr::Compare { left, operator, right } => {
                left.with(field, |left| right.with(field, |right| operator.holds(left, right)))
            }
            Expr::In { left, list } => left.with(field, |left| list.iter().any(|item| left.equals(item))),
            Expr::StartsWith { field: index, prefix } => {
                matches!(field(*index), Value::String(text) if text.starts_with(&**prefix))
            }
            Expr::Has(index) => !matches!(field(*index), Value::Absent | Value::Null),
            Expr::IsTrue(index) => matches!(field(*index), Value::Bool(true)),
            Expr::Constant(value) => *value,
        }
    }
}

impl Operand {
    fn with<'v, 'a: 'v, F: Fn(usize) -> &'v Value<'a>>(
        &self,
        field: &F,
        then: impl FnOnce(&Value<'_>) -> bool,
    ) -> bool {
        match self {
            Operand::Field(index) => then(field(*index)),
            Operand::Literal(value) => then(value),
        }
    }
}

impl Operator {
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> bool {
        match self {
            Operator::Equal => left.equals(right),
            Operator::NotEqual => !left.equals(right),
            Operator::Less => left.order(right) == Some(Ordering::Less),
            Operator::LessOrEqual => left.order(right).is_some_and(Ordering::is_le),
            Operator::Greater => left.order(right) == Some(Ordering::Greater),
            Operator::GreaterOrEqual => left.order(right).is_some_and(Ordering::is_ge),
        }
    }
}
