//! What is wrong with a configuration: every problem, with its place, what is allowed, and what to do.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
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

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Index of the source it is in.
    pub source: usize,
    /// The bytes of the source it is about.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands at the place: what was expected there.
    pub label: String,
    /// What to do.
    pub hint: Option<String>,
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
    pub fn placeless(message: String, hint: Option<String>) -> Problems {
        let problem = Problem { source: usize::MAX, span: 0..0, message, label: String::new(), hint };
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

    /// Where a problem is, as `FILE:LINE:COLUMN` (or `--set:…`); none for one without a place in a text.
    pub fn place(&self, problem: &Problem) -> Option<String> {
        let source = self.sources.get(problem.source)?;
        let before = &source.text[..problem.span.start.min(source.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some(format!("{}:{line}:{column}", source.name))
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let mut group = match self.sources.get(problem.source) {
            None => Group::with_title(title),
            Some(source) => {
                let text = source.text.as_str();
                let end = problem.span.end.min(text.len());
                let start = problem.span.start.min(end);
                let annotation = AnnotationKind::Primary.span(start..end).label(problem.label.as_str());
                title.element(Snippet::source(text).path(source.name.as_str()).annotation(annotation))
            }
        };
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
