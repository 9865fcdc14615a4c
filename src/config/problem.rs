//! What is wrong with a configuration: every problem, with its place, what is allowed, and what to do.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use std::fmt;
use std::ops::Range;

/// Problems that a report shows; each takes a look through the whole text.
pub const MOST_SHOWN: usize = 100;

/// A text that configuration was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is called in messages: a file's path, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Kind of fault. Its name is stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The text is not TOML.
    Syntax,
    /// A key, a table or a listener stands twice.
    Duplicate,
    /// A key that its table does not have.
    UnknownKey,
    /// A value that its key does not take.
    WrongValue,
    /// A key that must be there is missing.
    Missing,
    /// A value that does not go with another one.
    Conflict,
    /// A room's name that no room has.
    UnknownRoom,
    /// A variable of the environment that is not set, or not closed.
    Environment,
    /// More than a limit allows.
    Limit,
    /// A file that cannot be read.
    Unreadable,
    /// A file that sets nothing.
    Empty,
    /// A `[[test]]` whose line reaches other rooms.
    FailedTest,
    /// A key that takes a restart.
    NeedsRestart,
    /// An address that cannot be bound.
    Unbound,
    /// The daemon is stopping.
    Stopping,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 15] = [
        Code::Syntax,
        Code::Duplicate,
        Code::UnknownKey,
        Code::WrongValue,
        Code::Missing,
        Code::Conflict,
        Code::UnknownRoom,
        Code::Environment,
        Code::Limit,
        Code::Unreadable,
        Code::Empty,
        Code::FailedTest,
        Code::NeedsRestart,
        Code::Unbound,
        Code::Stopping,
    ];

    /// The name in reports and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "syntax",
            Code::Duplicate => "duplicate",
            Code::UnknownKey => "unknown_key",
            Code::WrongValue => "wrong_value",
            Code::Missing => "missing",
            Code::Conflict => "conflict",
            Code::UnknownRoom => "unknown_room",
            Code::Environment => "environment",
            Code::Limit => "limit",
            Code::Unreadable => "unreadable",
            Code::Empty => "empty",
            Code::FailedTest => "failed_test",
            Code::NeedsRestart => "needs_restart",
            Code::Unbound => "unbound",
            Code::Stopping => "stopping",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of fault it is.
    pub code: Code,
    /// Index of the source it is in.
    pub source: usize,
    /// The bytes of the source it is about.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands at the place: what was expected there.
    pub label: String,
    /// Another place that it is about, such as the first of two: its source, its bytes, what stands there.
    pub related: Option<(usize, Range<usize>, String)>,
    /// More about it, in lines.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with one place.
    pub fn new(
        code: Code,
        source: usize,
        span: Range<usize>,
        message: String,
        label: String,
        hint: Option<String>,
    ) -> Problem {
        Problem { code, source, span, message, label, related: None, detail: None, hint }
    }
}

/// Everything that is wrong with a configuration. Displays as a report without colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The texts that the configuration was read from.
    pub sources: Vec<Source>,
    /// The problems, in the order of their places.
    pub list: Vec<Problem>,
}

impl Problems {
    /// A problem without a place in a text, such as a file that cannot be read.
    pub fn placeless(code: Code, message: String, hint: Option<String>) -> Problems {
        let problem = Problem::new(code, usize::MAX, 0..0, message, String::new(), hint);
        Problems { sources: Vec::new(), list: vec![problem] }
    }

    /// The whole report: each problem with file:line:column, the line, what is allowed, a hint.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in self.list.iter().take(MOST_SHOWN) {
            out.push_str(&renderer.render(&[self.group(problem)]).clone());
            out.push_str("\n\n");
        }
        if self.list.len() > MOST_SHOWN {
            out.push_str(&format!("{} more are not shown\n\n", self.list.len() - MOST_SHOWN));
        }
        let count = self.list.len();
        out.push_str(&format!("{count} problem{} in the configuration", if count == 1 { "" } else { "s" }));
        out
    }

    /// The first problems as JSON, for programs.
    pub fn json(&self) -> Vec<Value> {
        let show = |problem: &Problem| {
            let related = problem.related.as_ref().and_then(|(source, span, label)| {
                let (file, line, column) = self.position(*source, span)?;
                Some(json!({ "file": file, "line": line, "column": column, "label": label }))
            });
            let at = self.position(problem.source, &problem.span);
            json!({
                "code": problem.code.as_str(),
                "file": at.map(|(file, ..)| file),
                "line": at.map(|(_, line, _)| line),
                "column": at.map(|(.., column)| column),
                "message": problem.message,
                "label": problem.label,
                "related": related,
                "detail": problem.detail,
                "hint": problem.hint,
            })
        };
        self.list.iter().take(MOST_SHOWN).map(show).collect()
    }

    /// Where a problem is, as `FILE:LINE:COLUMN` (or `--set:…`); none for one without a place in a text.
    pub fn place(&self, problem: &Problem) -> Option<String> {
        let (file, line, column) = self.position(problem.source, &problem.span)?;
        Some(format!("{file}:{line}:{column}"))
    }

    /// The name of a source, and a span's line and column, from 1.
    fn position(&self, source: usize, span: &Range<usize>) -> Option<(&str, usize, usize)> {
        let source = self.sources.get(source)?;
        let before = source.text.get(..span.start).unwrap_or(&source.text);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((&source.name, before.matches('\n').count() + 1, column))
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let title = Level::ERROR.primary_title(problem.message.as_str()).id(problem.code.as_str());
        let mut group = Group::with_title(title);
        let mut places = vec![(problem.source, &problem.span, &problem.label, AnnotationKind::Primary)];
        if let Some((source, span, label)) = &problem.related {
            places.push((*source, span, label, AnnotationKind::Context));
        }
        for near in places.chunk_by(|(one, ..), (other, ..)| one == other) {
            let Some(source) = self.sources.get(near[0].0) else { continue };
            let text = source.text.as_str();
            let annotations = near.iter().map(|(_, span, label, kind)| {
                let end = span.end.min(text.len());
                kind.span(span.start.min(end)..end).label(label.as_str())
            });
            let snippet = Snippet::source(text).path(source.name.as_str()).annotations(annotations);
            group = group.element(snippet);
        }
        if let Some(detail) = &problem.detail {
            group = group.element(Level::NOTE.message(detail.as_str()));
        }
        if let Some(hint) = &problem.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        group
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
