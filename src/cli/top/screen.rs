//! What `top` shows, as lines of a terminal's width. Pure.

use super::model::{Cell, Column, Model, View};
use crate::cli::status::{in_words, size};
use serde_json::Value;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Strong,
    Reversed,
}

/// Narrowest first column before another one is left out.
const FIRST: usize = 12;

/// The lines of a screen; the scroll is brought into what there is.
pub(super) fn screen(model: &mut Model, width: usize, height: usize) -> Vec<(Look, String)> {
    let mut lines = vec![(Look::Strong, headline(model)), (Look::Plain, figures(model))];
    let columns = fitting(model.columns(), width);
    let names: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let mark = if index == model.sorted_by() { "▾" } else { "" };
            format!("{}{mark}", column.0)
        })
        .collect();
    let row = |texts: &[String]| line_of(&columns, texts, width);
    lines.push((Look::Reversed, row(&names)));
    let rows = model.rows();
    let space = height.saturating_sub(lines.len() + 1);
    model.scroll = model.scroll.min(rows.len().saturating_sub(space));
    for cells in rows.iter().skip(model.scroll).take(space) {
        let texts: Vec<String> = cells.iter().map(Cell::text).map(str::to_owned).collect();
        lines.push((Look::Plain, row(&texts)));
    }
    lines.resize(height.saturating_sub(1), (Look::Plain, String::new()));
    lines.push((Look::Plain, footer(model)));
    lines.truncate(height);
    lines.into_iter().map(|(look, line)| (look, fit(&line, width, false))).collect()
}

/// The columns that there is room for; the first takes what is left.
fn fitting(columns: &[Column], width: usize) -> Vec<Column> {
    let mut left = width.saturating_sub(FIRST);
    let others = columns[1..].iter().take_while(|column| {
        let fits = left > column.1;
        left = left.saturating_sub(column.1 + 1);
        fits
    });
    let mut fitting = vec![columns[0]];
    fitting.extend(others.copied());
    let others: usize = fitting[1..].iter().map(|column| column.1 + 1).sum();
    fitting[0].1 = width.saturating_sub(others);
    fitting
}

/// A line of the table: names to the left, numbers to the right.
fn line_of(columns: &[Column], texts: &[String], width: usize) -> String {
    let mut line = String::new();
    for (index, (column, text)) in columns.iter().zip(texts).enumerate() {
        if index > 0 {
            line.push(' ');
        }
        line.push_str(&fit(text, column.1, index > 0));
    }
    fit(&line, width, false)
}

/// A text in exactly so many characters; `…` stands where it was cut.
fn fit(text: &str, width: usize, to_the_right: bool) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let len = text.chars().count();
    if len > width {
        let cut: String = text.chars().take(width.saturating_sub(1)).collect();
        return if width == 0 { cut } else { format!("{cut}…") };
    }
    let space = " ".repeat(width - len);
    if to_the_right { space + &text } else { text + &space }
}

fn headline(model: &Model) -> String {
    let status = model.newest.as_ref().map_or(&Value::Null, |sample| &sample.status);
    let word = status["status"].as_str().unwrap_or("unknown");
    if let Some(trouble) = &model.trouble {
        return format!("the daemon does not answer: {trouble}");
    }
    let reasons: Vec<&str> =
        status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let up = in_words(status["uptimeSeconds"].as_u64().unwrap_or(0));
    let version = status["version"].as_str().unwrap_or("?");
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{word}{why}: broadcastd {version}, up {up}")
}

fn figures(model: &Model) -> String {
    let status = model.newest.as_ref().map_or(&Value::Null, |sample| &sample.status);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (clients, rooms) = (number(&status["connectedClients"]), number(&status["activeRooms"]));
    let backlog = &status["bufferStatus"];
    let (bytes, limit) = (size(number(&backlog["backlogBytes"])), size(number(&backlog["backlogLimit"])));
    format!("{clients} clients, {rooms} rooms, backlog {bytes} of {limit}")
}

fn footer(model: &Model) -> String {
    if model.is_editing || !model.filter.is_empty() {
        let mark = if model.is_editing { "_" } else { "" };
        return format!("filter: {}{mark}   Enter keeps it, Esc takes it away", model.filter);
    }
    let other = if model.view == View::Rooms { "clients" } else { "rooms" };
    format!("q quit  Tab {other}  s sort  r reverse  / filter  ↑↓ scroll")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::model;
    use super::super::model::Key;
    use super::*;

    fn shown(model: &mut Model, width: usize, height: usize) -> String {
        let lines = screen(model, width, height);
        assert!(lines.iter().all(|(_, line)| line.chars().count() == width));
        assert_eq!(lines.len(), height);
        lines.iter().flat_map(|(_, line)| ["|", line, "|\n"]).collect()
    }

    #[test]
    fn rooms_on_a_wide_and_on_a_narrow_terminal() {
        insta::assert_snapshot!("top_wide", shown(&mut model(), 100, 8));
        insta::assert_snapshot!("top_narrow", shown(&mut model(), 34, 7));
    }

    #[test]
    fn clients_and_a_filter() {
        let mut model = model();
        model.press(Key::Tab);
        model.press(Key::Char('/'));
        model.press(Key::Char('2'));
        insta::assert_snapshot!("top_clients", shown(&mut model, 80, 6));
    }

    #[test]
    fn no_size_is_too_small() {
        for (width, height) in [(0, 0), (1, 1), (5, 2), (13, 3), (20, 4)] {
            shown(&mut model(), width, height);
        }
        let mut model = model();
        model.press(Key::Move(1000));
        assert!(shown(&mut model, 60, 5).contains("quiet"), "the last row stays in sight");
        assert_eq!(model.scroll, 2);
    }
}
