//! From words to a compiled condition.

use super::eval::{Expr, Operand, Operator};
use super::lexer::{Spanned, Token, lex};
use super::{ConditionError, shown};
use crate::pattern::{Path, Value};

/// Nesting of `!` and parentheses: bounds the recursion of the parser and of evaluation.
const MAX_DEPTH: usize = 32;
/// Elements of a list: it is searched from the front for every event.
const MAX_LIST: usize = 256;
/// Different fields: every one is looked up in every event.
const MAX_PATHS: usize = 64;

/// Compiles a text; returns the fields that it reads as well.
pub(super) fn parse(source: &str) -> Result<(Expr, Vec<Path>), ConditionError> {
    let mut parser = Parser { tokens: lex(source)?, at: 0, depth: 0, paths: Vec::new() };
    if parser.peek().token == Token::End {
        return Err(ConditionError::new("an empty text is no condition", 0, source.len())
            .hint("as in `status == \"busy\"`"));
    }
    let expr = parser.any()?;
    match parser.peek().token {
        Token::End => Ok((expr, parser.paths)),
        _ => Err(parser.unexpected("`&&`, `||` or the end")),
    }
}

struct Parser {
    /// Ends with [`Token::End`], which is never taken.
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    paths: Vec<Path>,
}

/// What may stand before an operator.
enum Term {
    Operand(Operand),
    Whole(Expr),
}

impl Parser {
    fn any(&mut self) -> Result<Expr, ConditionError> {
        let mut parts = vec![self.all()?];
        while self.take("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Any(parts.into()) })
    }

    fn all(&mut self) -> Result<Expr, ConditionError> {
        let mut parts = vec![self.unary()?];
        while self.take("&&") {
            parts.push(self.unary()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::All(parts.into()) })
    }

    fn unary(&mut self) -> Result<Expr, ConditionError> {
        let (start, end) = (self.peek().start, self.peek().end);
        if self.depth == MAX_DEPTH {
            return Err(ConditionError::new(format!("nested deeper than {MAX_DEPTH}"), start, end));
        }
        self.depth += 1;
        let expr = if self.take("!") {
            let bare = self.peek().token != Token::Symbol("(");
            let inner = self.unary()?;
            if bare && matches!(inner, Expr::Compare { .. } | Expr::In { .. }) {
                return Err(ConditionError::new("`!` does not stand before a comparison", start, end)
                    .hint("put the comparison in parentheses: `!(a == b)`"));
            }
            Expr::Not(Box::new(inner))
        } else if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr, ConditionError> {
        let place = self.peek().clone();
        let left = match self.term()? {
            Term::Operand(operand) => operand,
            Term::Whole(expr) => return Ok(expr),
        };
        if self.take("in") {
            return Ok(Expr::In { left, list: self.list()? });
        }
        if let Some(operator) = self.operator() {
            return match self.term()? {
                Term::Operand(right) => Ok(Expr::Compare { left, operator, right }),
                Term::Whole(_) => Err(ConditionError::new(
                    "a function's result is not compared",
                    place.start,
                    self.tokens[self.at - 1].end,
                )
                .hint("it is a condition by itself: `has(a)`, `!has(a)`")),
            };
        }
        match left {
            Operand::Field(index) => Ok(Expr::IsTrue(index)),
            Operand::Literal(Value::Bool(value)) => Ok(Expr::Constant(value)),
            Operand::Literal(_) => {
                Err(ConditionError::new("a value alone is no condition", place.start, place.end)
                    .hint("compare it with a field: `status == \"busy\"`"))
            }
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        let Token::Symbol(symbol) = self.peek().token else { return None };
        let operator = match symbol {
            "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(operator)
    }

    fn term(&mut self) -> Result<Term, ConditionError> {
        match self.peek().token.clone() {
            Token::Literal(value) => {
                self.at += 1;
                Ok(Term::Operand(Operand::Literal(value)))
            }
            Token::Name { text, quoted: false } if self.next_is("(") => self.function(&text).map(Term::Whole),
            Token::Name { .. } => self.field_or_method(),
            _ => Err(self.unexpected("a field or a value")),
        }
    }

    /// `has(path)`, `startsWith(path, "prefix")`.
    fn function(&mut self, name: &str) -> Result<Expr, ConditionError> {
        let place = self.peek().clone();
        match name {
            "has" => {
                self.at += 2;
                let field = self.field()?;
                self.expect(")")?;
                Ok(Expr::Has(field))
            }
            "startsWith" => {
                self.at += 2;
                let field = self.field()?;
                self.expect(",")?;
                self.prefix(field)
            }
            _ => Err(unknown_function(name, &place)),
        }
    }

    /// A path, or a path and `.startsWith("prefix")`.
    fn field_or_method(&mut self) -> Result<Term, ConditionError> {
        let start = self.peek().start;
        let mut names = vec![self.name()?];
        while self.take(".") {
            let place = self.peek().clone();
            match &place.token {
                Token::Name { text, quoted: false } if self.next_is("(") => {
                    if text != "startsWith" {
                        return Err(unknown_function(text, &place));
                    }
                    self.at += 2;
                    let field = self.path_index(names, start)?;
                    return self.prefix(field).map(Term::Whole);
                }
                _ => names.push(self.name()?),
            }
        }
        self.path_index(names, start).map(|index| Term::Operand(Operand::Field(index)))
    }

    fn field(&mut self) -> Result<usize, ConditionError> {
        let place = self.peek().clone();
        match self.term()? {
            Term::Operand(Operand::Field(index)) => Ok(index),
            _ => Err(ConditionError::new("here stands the path of a field", place.start, place.end)
                .hint("as in `has(agentId)`")),
        }
    }

    /// The rest of a `startsWith`: a string and `)`.
    fn prefix(&mut self, field: usize) -> Result<Expr, ConditionError> {
        let Token::Literal(Value::String(prefix)) = self.peek().token.clone() else {
            return Err(self.unexpected("a string"));
        };
        self.at += 1;
        self.expect(")")?;
        Ok(Expr::StartsWith { field, prefix: prefix.into() })
    }

    fn list(&mut self) -> Result<Box<[Value<'static>]>, ConditionError> {
        if !self.take("[") {
            return Err(self
                .unexpected("a list")
                .hint("`in` takes a list of values: `status in [\"busy\", \"error\"]`"));
        }
        let mut list = Vec::new();
        while !self.take("]") {
            if !list.is_empty() {
                self.expect(",")?;
            }
            let Token::Literal(value) = self.peek().token.clone() else {
                return Err(self.unexpected("a value"));
            };
            if list.len() == MAX_LIST {
                let message = format!("a list has at most {MAX_LIST} values");
                return Err(ConditionError::new(message, self.peek().start, self.peek().end));
            }
            list.push(value);
            self.at += 1;
        }
        Ok(list.into())
    }

    fn name(&mut self) -> Result<Box<str>, ConditionError> {
        match self.peek().token.clone() {
            Token::Name { text, .. } => {
                self.at += 1;
                Ok(text.into())
            }
            _ => Err(self.unexpected("a field's name")),
        }
    }

    fn path_index(&mut self, names: Vec<Box<str>>, start: usize) -> Result<usize, ConditionError> {
        let path = Path::from_names(names);
        if let Some(index) = self.paths.iter().position(|known| *known == path) {
            return Ok(index);
        }
        if self.paths.len() == MAX_PATHS {
            let message = format!("a condition reads at most {MAX_PATHS} fields");
            return Err(ConditionError::new(message, start, self.peek().start));
        }
        self.paths.push(path);
        Ok(self.paths.len() - 1)
    }

    fn peek(&self) -> &Spanned {
        &self.tokens[self.at]
    }

    fn next_is(&self, symbol: &'static str) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|next| next.token == Token::Symbol(symbol))
    }

    fn take(&mut self, symbol: &'static str) -> bool {
        let is_there = self.peek().token == Token::Symbol(symbol);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), ConditionError> {
        if self.take(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> ConditionError {
        let Spanned { token, start, end } = self.peek();
        let found = match token {
            Token::Name { text, .. } => format!("`{}`", shown(text)),
            Token::Literal(Value::String(text)) => format!("the string {:?}", shown(text)),
            Token::Literal(_) => "a value".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        let error = ConditionError::new(format!("expected {wanted}, found {found}"), *start, *end);
        match token {
            Token::Name { text, .. } => match foreign_word(text) {
                Some(hint) => error.hint(hint),
                None => error,
            },
            Token::Symbol("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") => error.hint(
                "a comparison has a field or a value on each side; several are joined with `&&`: `1 < a && a < 9`",
            ),
            _ => error,
        }
    }
}

/// What a word of another language is here.
fn foreign_word(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "and" => Some("write `&&`"),
        "or" => Some("write `||`"),
        "not" => Some("write `!`: `!has(agentId)`, `!(status in [\"idle\"])`"),
        "is" => Some("write `==`"),
        "contains" | "like" | "matches" => Some("strings compare whole, or by `path.startsWith(\"…\")`"),
        "startswith" => Some("write `path.startsWith(\"…\")`"),
        _ => None,
    }
}

fn unknown_function(name: &str, place: &Spanned) -> ConditionError {
    let hint = match name.to_ascii_lowercase().as_str() {
        "contains" | "endswith" | "matches" | "like" => {
            "strings compare whole, by `in`, or by `path.startsWith(\"…\")`"
        }
        "startswith" => "it is written `path.startsWith(\"…\")`",
        "exists" | "defined" | "present" => "it is written `has(path)`",
        "not" => "it is written `!`",
        _ => "there are `has(path)` and `path.startsWith(\"…\")`",
    };
    ConditionError::new(format!("there is no function `{}`", shown(name)), place.start, place.end).hint(hint)
}
