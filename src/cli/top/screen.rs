//! What `top` shows, drawn into a frame of any size. Pure.

use super::model::{Cell, Column, Model, View};
use crate::cli::status::{clients, in_words, size};
use crate::escape;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Row, Table};
use serde_json::Value;

/// Narrowest first column before another one is left out.
const FIRST: u16 = 12;

/// Lines that the reasons for a status may take.
const REASON_LINES: usize = 3;

/// Keys, and what they do.
const KEYS: [(&str, &str); 8] = [
    ("q", "quit"),
    ("Tab", "switch between rooms and clients"),
    ("s", "sort by the next column"),
    ("<", "sort by the column before"),
    ("r", "reverse the order"),
    ("/", "filter by name; Enter keeps the filter, Esc removes it"),
    ("↑ ↓", "scroll; Page keys, Home and End as well"),
    ("?", "show or hide this list"),
];

/// Draws a screen; the scroll is brought into what there is.
pub(super) fn draw(model: &mut Model, frame: &mut Frame<'_>) {
    let reasons = reasons(model, usize::from(frame.area().width));
    let lines = [1, reasons.len() as u16, 1].map(Constraint::Length);
    let lines = lines.into_iter().chain([Constraint::Min(0), Constraint::Length(1)]);
    let [headline_at, reasons_at, figures_at, table_at, footer_at] =
        Layout::vertical(lines).areas(frame.area());
    frame.render_widget(headline(model), headline_at);
    frame.render_widget(Text::from(reasons), reasons_at);
    frame.render_widget(Line::from(figures(model)), figures_at);
    frame.render_widget(footer(model, footer_at.width), footer_at);
    if model.is_help {
        let rows = KEYS.map(|(key, does)| {
            Row::new([Line::from(key).bold().style(colour(model, Color::Cyan)), does.into()])
        });
        frame.render_widget(Table::new(rows, [Constraint::Length(4), Constraint::Fill(1)]), table_at);
        return;
    }
    let rows = model.rows();
    // Beneath the names of the columns.
    let space = usize::from(table_at.height.saturating_sub(1));
    model.scroll = model.scroll.min(rows.len().saturating_sub(space));
    let columns = fitting(model.columns(), table_at.width);
    let names = columns.iter().enumerate().map(|(index, column)| {
        let mark = if index == model.sorted_by() { "▾" } else { "" };
        aligned(index, format!("{}{mark}", column.0))
    });
    let shown = rows.iter().skip(model.scroll).take(space).map(|cells| {
        let cells = cells.iter().zip(columns).enumerate();
        Row::new(cells.map(|(index, (cell, column))| {
            aligned(index, cell.text().to_owned()).style(colour_of(model, column, cell))
        }))
    });
    let widths = columns.iter().enumerate().map(|(index, column)| match index {
        0 => Constraint::Fill(1),
        _ => Constraint::Length(column.1),
    });
    let header = Row::new(names).style(colour(model, Color::Cyan).reversed());
    frame.render_widget(Table::new(shown, widths).header(header).column_spacing(1), table_at);
}

/// The columns that there is room for.
fn fitting(columns: &[Column], width: u16) -> &[Column] {
    let mut left = width.saturating_sub(FIRST);
    let others = columns[1..].iter().take_while(|column| {
        let fits = left > column.1;
        left = left.saturating_sub(column.1 + 1);
        fits
    });
    &columns[..=others.count()]
}

/// Names to the left, numbers to the right.
fn aligned(column: usize, text: String) -> Line<'static> {
    if column == 0 { Line::from(text) } else { Line::from(text).right_aligned() }
}

/// A colour, if the terminal is to have any.
fn colour(model: &Model, colour: Color) -> Style {
    if model.has_colour { Style::new().fg(colour) } else { Style::new() }
}

/// The colour of a value that is not as it should be: events that a client missed or has not read yet.
fn colour_of(model: &Model, column: &Column, cell: &Cell) -> Style {
    let is_some = matches!(cell, Cell::Number(number, _) if *number > 0.0);
    match column.0 {
        "GAPS" if is_some => colour(model, Color::Red),
        "BEHIND" | "UNSENT" | "BUFFERED" if is_some => colour(model, Color::Yellow),
        "ROOM" | "CLIENT" => Style::new().bold(),
        _ => Style::new(),
    }
}

fn headline(model: &Model) -> Line<'static> {
    let status = model.newest.as_ref().map_or(&Value::Null, |sample| &sample.status);
    let word = status["status"].as_str().unwrap_or("unknown");
    if let Some(trouble) = &model.trouble {
        let text = format!("the daemon does not answer: {trouble}");
        return Line::from(text).bold().style(colour(model, Color::Red));
    }
    let up = in_words(status["uptimeSeconds"].as_u64().unwrap_or(0));
    let version = status["version"].as_str().unwrap_or("?");
    let of_word = match word {
        "healthy" => Color::Green,
        "degraded" => Color::Yellow,
        _ => Color::Red,
    };
    let state = Span::from(word.to_owned()).style(colour(model, of_word));
    Line::from(vec![state, Span::from(format!(": broadcastd {version}, up {up}"))]).bold()
}

/// The reasons for the status, cut into lines of a width: paths and messages are longer than a line.
fn reasons(model: &Model, width: usize) -> Vec<Line<'static>> {
    let status = model.newest.as_ref().map_or(&Value::Null, |sample| &sample.status);
    let reasons = status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let text = reasons.map(escape::text).collect::<Vec<_>>().join("; ");
    let letters: Vec<char> = text.chars().collect();
    let line =
        |piece: &[char]| Line::from(piece.iter().collect::<String>()).style(colour(model, Color::Yellow));
    letters.chunks(width.max(1)).take(REASON_LINES).map(line).collect()
}

fn figures(model: &Model) -> String {
    let status = model.newest.as_ref().map_or(&Value::Null, |sample| &sample.status);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (clients, rooms) = (clients(status), number(&status["activeRooms"]));
    let rates = model.rates().map_or(String::new(), |rates| format!("{rates}, "));
    let backlog = &status["bufferStatus"];
    let (bytes, limit) = (size(number(&backlog["backlogBytes"])), size(number(&backlog["backlogLimit"])));
    format!("{rates}clients {clients}, {rooms} rooms, backlog {bytes} of {limit}")
}

/// The keys, as many as there is room for.
fn footer(model: &Model, width: u16) -> Line<'static> {
    if model.is_editing || !model.filter.is_empty() {
        let mark = if model.is_editing { "_" } else { "" };
        return Line::from(format!("filter: {}{mark}   Enter keeps it, Esc removes it", model.filter));
    }
    let other = if model.view == View::Rooms { "clients" } else { "rooms" };
    let keys = [
        ("?", "help"),
        ("q", "quit"),
        ("Tab", other),
        ("/", "filter"),
        ("s", "sort"),
        ("r", "reverse"),
        ("↑↓", "scroll"),
    ];
    let mut left = usize::from(width);
    let mut spans = Vec::new();
    for (key, does) in keys {
        let text = format!(" {does}  ");
        let taken = key.chars().count() + text.chars().count();
        // The last one may do without the space behind it.
        if left + 2 < taken {
            break;
        }
        left = left.saturating_sub(taken);
        spans.extend([Span::from(key).bold().style(colour(model, Color::Cyan)), Span::from(text)]);
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::model;
    use super::super::model::Key;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown(model: &mut Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(model, frame)).unwrap();
        // What has no width has no lines that could be shown.
        if width == 0 { String::new() } else { terminal.backend().to_string() }
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

    /// Colours of a screen, by the text of the cell.
    fn colours(model: &mut Model) -> Vec<(String, Color)> {
        let mut terminal = Terminal::new(TestBackend::new(100, 8)).unwrap();
        terminal.draw(|frame| draw(model, frame)).unwrap();
        let cells = terminal.backend().buffer().content.iter();
        let coloured =
            cells.filter(|cell| cell.fg != Color::Reset).map(|cell| (cell.symbol().to_owned(), cell.fg));
        coloured.collect()
    }

    #[test]
    fn state_and_keys_have_colours_unless_they_are_unwanted() {
        let mut model = model();
        assert_eq!(colours(&mut model), []);
        model.has_colour = true;
        let seen = colours(&mut model);
        assert!(seen.contains(&("h".to_owned(), Color::Green)), "{seen:?}");
        assert!(seen.contains(&("q".to_owned(), Color::Cyan)), "{seen:?}");
        model.press(Key::Tab);
        assert!(colours(&mut model).contains(&("4".to_owned(), Color::Yellow)), "4.0 KiB are unsent");
        model.trouble = Some("refused".to_owned());
        assert!(colours(&mut model).contains(&("t".to_owned(), Color::Red)));
    }

    #[test]
    fn a_key_lists_all_keys() {
        let mut model = model();
        model.press(Key::Char('?'));
        let text = shown(&mut model, 80, 12);
        for (key, does) in KEYS {
            assert!(text.contains(key) && text.contains(does), "{text}");
        }
        model.press(Key::Char('?'));
        assert!(shown(&mut model, 80, 12).contains("agent:42"));
    }

    #[test]
    fn reasons_stand_beneath_the_status_in_lines_of_their_own() {
        let mut model = model();
        let status = &mut model.newest.as_mut().unwrap().status;
        status["status"] = "degraded".into();
        status["reasons"] = vec!["the newest configuration is refused: a.toml:1:2: \u{1b}[2J"].into();
        insta::assert_snapshot!("top_degraded", shown(&mut model, 40, 8));
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
