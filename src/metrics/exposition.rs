//! Prometheus text (exposition format 0.0.4) of what is not in the recorder: series that come and go, and such as are not
//! whole numbers.

use std::fmt::{Display, Write};

/// Text in the making.
#[derive(Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a family of series. `kind` is `counter` or `gauge`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a series to the family of its name.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push_str(if index == 0 { "{" } else { "," });
            let _ = write!(self.0, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one series without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("x", "gauge", "What it is.");
        text.sample("x", &[("room", "a\"b\\c\nd"), ("n", "1")], 1.5);
        text.single("y", "counter", "Another.", 7);
        let expected = "# HELP x What it is.\n# TYPE x gauge\nx{room=\"a\\\"b\\\\c\\nd\",n=\"1\"} 1.5\n\
                        # HELP y Another.\n# TYPE y counter\ny 7\n";
        assert_eq!(text.into_text(), expected);
    }
}
