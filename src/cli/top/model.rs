//! What `top` knows and how it is looked at: two samples, a table, an order, a filter. Pure.

use crate::cli::bench::grouped;
use crate::cli::status::{in_words, size};
use serde::Deserialize;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

/// The daemon at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub status: Value,
    pub rooms: Vec<RoomSample>,
    pub clients: Vec<ClientSample>,
    /// Since the program's begin.
    pub at: Duration,
}

/// A room, as the API tells of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RoomSample {
    room: String,
    head: u64,
    /// Events of those that the daemon published itself.
    #[serde(default)]
    own: u64,
    delivered: u64,
    subscribers: u64,
    buffered: u64,
    gaps: u64,
    history: History,
}

#[derive(Clone, Debug, Deserialize)]
struct History {
    bytes: u64,
}

/// A client, as the API tells of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ClientSample {
    id: String,
    #[serde(default)]
    transport: String,
    address: Option<String>,
    age_seconds: u64,
    subscriptions: u64,
    lag_events: u64,
    unsent_bytes: u64,
    blocked: bool,
}

/// Which table is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Rooms,
    Clients,
}

/// A column: its name, and how wide it is. The first takes what the others leave.
pub(super) type Column = (&'static str, u16);

const ROOMS: [Column; 9] = [
    ("ROOM", 16),
    ("SUBS", 6),
    ("SENT/S", 9),
    ("IN/S", 8),
    ("OWN/S", 7),
    ("GAPS", 7),
    ("HEAD", 12),
    ("HISTORY", 10),
    ("BUFFERED", 9),
];
const CLIENTS: [Column; 7] = [
    ("CLIENT", 12),
    ("BEHIND", 9),
    ("TRANSPORT", 10),
    ("UNSENT", 10),
    ("ROOMS", 6),
    ("AGE", 11),
    ("ADDRESS", 22),
];

/// A place in the table: what is shown, and what it is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Number(f64, String),
}

/// A key, as far as `top` cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    /// So many lines down.
    Move(isize),
}

/// What is shown, and how.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub view: View,
    pub filter: String,
    /// Whether keys go into the filter.
    pub is_editing: bool,
    /// Whether the keys are listed in the table's place.
    pub is_help: bool,
    /// Whether the terminal gets colours.
    pub has_colour: bool,
    pub scroll: usize,
    /// Why there is nothing newer.
    pub trouble: Option<String>,
    pub newest: Option<Sample>,
    /// The sample before.
    before: Before,
    /// The column that each view is sorted by, and whether the other way round.
    sort: [(usize, bool); 2],
}

/// Sums of an earlier sample.
#[derive(Debug, Default)]
struct Before {
    at: Duration,
    rooms: HashMap<String, Counts>,
    events: Value,
}

/// Sums of a room.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Events of producers.
    taken: u64,
    own: u64,
    delivered: u64,
}

impl RoomSample {
    fn counts(&self) -> Counts {
        Counts { taken: self.head.saturating_sub(self.own), own: self.own, delivered: self.delivered }
    }
}

impl Model {
    /// The busiest rooms first, and the clients furthest behind.
    pub(super) fn new() -> Model {
        Model { sort: [(2, false), (1, false)], ..Model::default() }
    }

    /// Takes a sample.
    pub(super) fn take(&mut self, sample: Sample) {
        if let Some(old) = self.newest.replace(sample) {
            let rooms = old.rooms.into_iter().map(|room| (room.room.clone(), room.counts())).collect();
            self.before = Before { at: old.at, rooms, events: old.status["events"].clone() };
        }
        self.trouble = None;
    }

    /// Takes a key. False ends the program.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Escape if self.is_editing || !self.filter.is_empty() => {
                self.is_editing = false;
                self.filter.clear();
            }
            Key::Enter => self.is_editing = false,
            Key::Backspace if self.is_editing => {
                self.filter.pop();
            }
            Key::Char(letter) if self.is_editing => self.filter.push(letter),
            Key::Char('?') => self.is_help ^= true,
            Key::Escape if self.is_help => self.is_help = false,
            Key::Char('q') | Key::Escape => return false,
            Key::Char('/') => self.is_editing = true,
            Key::Char('r') => self.sort[self.view as usize].1 ^= true,
            Key::Char('s' | '>') => self.sort_by(1),
            Key::Char('<') => self.sort_by(self.columns().len() - 1),
            Key::Tab => {
                self.view = if self.view == View::Rooms { View::Clients } else { View::Rooms };
                self.scroll = 0;
            }
            Key::Move(lines) => self.scroll = self.scroll.saturating_add_signed(lines),
            _ => {}
        }
        true
    }

    fn sort_by(&mut self, further: usize) {
        let columns = self.columns().len();
        let sort = &mut self.sort[self.view as usize];
        *sort = ((sort.0 + further) % columns, false);
    }

    /// The columns of the view.
    pub(super) fn columns(&self) -> &'static [Column] {
        match self.view {
            View::Rooms => &ROOMS,
            View::Clients => &CLIENTS,
        }
    }

    /// The column it is sorted by.
    pub(super) fn sorted_by(&self) -> usize {
        self.sort[self.view as usize].0
    }

    /// The rows that the filter lets pass, sorted.
    pub(super) fn rows(&self) -> Vec<Vec<Cell>> {
        let Some(sample) = &self.newest else { return Vec::new() };
        let mut rows: Vec<Vec<Cell>> = match self.view {
            View::Rooms => sample.rooms.iter().map(|room| self.room(room, sample.at)).collect(),
            View::Clients => sample.clients.iter().map(client).collect(),
        };
        let shown = |row: &Vec<Cell>| {
            row.iter().any(|cell| matches!(cell, Cell::Text(text) if text.contains(&self.filter)))
        };
        rows.retain(|row| self.filter.is_empty() || shown(row));
        let (column, is_reversed) = self.sort[self.view as usize];
        rows.sort_by(|a, b| {
            let order = a[column].order(&b[column]).then_with(|| a[0].order(&b[0]));
            if is_reversed { order.reverse() } else { order }
        });
        rows
    }

    fn room(&self, room: &RoomSample, at: Duration) -> Vec<Cell> {
        let now = room.counts();
        let before = self.before.rooms.get(&room.room);
        // A room that was not there before has no rate yet, and one that began anew counts from there.
        let rate = |of: fn(&Counts) -> u64| self.rate(at, of(&now), before.map(of));
        let whole = |value: f64| Cell::Number(value, grouped(value.round() as u64));
        let own = rate(|counts| counts.own);
        vec![
            Cell::Text(room.room.clone()),
            whole(room.subscribers as f64),
            whole(rate(|counts| counts.delivered)),
            whole(rate(|counts| counts.taken)),
            Cell::Number(own, per_second(own)),
            whole(room.gaps as f64),
            whole(room.head as f64),
            Cell::Number(room.history.bytes as f64, size(room.history.bytes)),
            whole(room.buffered as f64),
        ]
    }

    /// Rate of a sum of the newest sample; 0 without an earlier one.
    fn rate(&self, at: Duration, now: u64, before: Option<u64>) -> f64 {
        let seconds = at.saturating_sub(self.before.at).as_secs_f64();
        before.filter(|_| seconds > 0.0).map_or(0.0, |before| now.saturating_sub(before) as f64 / seconds)
    }

    /// Events per second over all rooms: of producers, the daemon's own, and sent. None before there are two samples.
    pub(super) fn rates(&self) -> Option<String> {
        let sample = self.newest.as_ref()?;
        let rate = |name: &str| {
            let now = sample.status["events"][name].as_u64()?;
            Some(per_second(self.rate(sample.at, now, Some(self.before.events[name].as_u64()?))))
        };
        Some(format!("in {}/s, own {}/s, sent {}/s", rate("accepted")?, rate("own")?, rate("delivered")?))
    }
}

/// A rate: whole, but for small ones.
fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

fn client(client: &ClientSample) -> Vec<Cell> {
    let number = |value: u64| Cell::Number(value as f64, grouped(value));
    let blocked = if client.blocked { " blocked" } else { "" };
    vec![
        Cell::Text(format!("{}{blocked}", client.id)),
        number(client.lag_events),
        Cell::Text(client.transport.clone()),
        Cell::Number(client.unsent_bytes as f64, size(client.unsent_bytes)),
        number(client.subscriptions),
        Cell::Number(client.age_seconds as f64, in_words(client.age_seconds)),
        Cell::Text(client.address.clone().unwrap_or_else(|| "a Unix socket".to_owned())),
    ]
}

impl Cell {
    /// What is shown.
    pub(super) fn text(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Number(_, text) => text,
        }
    }

    /// Names from A, numbers from the largest.
    fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Number(a, _), Cell::Number(b, _)) => b.total_cmp(a),
            (a, b) => a.text().cmp(b.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::model;
    use super::*;

    fn names(model: &Model) -> Vec<String> {
        model.rows().iter().map(|row| row[0].text().to_owned()).collect()
    }

    fn press(model: &mut Model, keys: &str) {
        keys.chars().for_each(|key| assert!(model.press(Key::Char(key))));
    }

    #[test]
    fn rates_are_differences_and_own_events_are_no_producers() {
        let rows = model().rows();
        assert_eq!((rows[0][0].text(), rows[0][2].text(), rows[0][3].text()), ("all", "2,000", "1,000"));
        assert_eq!((rows[1][0].text(), rows[1][2].text()), ("agent:42", "2"));
        assert_eq!(
            (rows[1][3].text(), rows[1][4].text()),
            ("1", "3.5"),
            "8 more, of which the daemon published 7"
        );
        assert_eq!(model().rates().as_deref(), Some("in 1,000/s, own 3.5/s, sent 2,000/s"));
        assert_eq!((rows[2][0].text(), rows[2][2].text()), ("quiet", "0"));
    }

    #[test]
    fn keys_sort_filter_and_turn_over() {
        let mut model = model();
        press(&mut model, "r");
        assert_eq!(names(&model), ["quiet", "agent:42", "all"]);
        press(&mut model, "<<");
        assert_eq!(
            (model.sorted_by(), names(&model)),
            (0, vec!["agent:42".to_owned(), "all".to_owned(), "quiet".to_owned()])
        );
        press(&mut model, "/qu");
        assert_eq!(names(&model), ["quiet"]);
        assert!(model.press(Key::Backspace) && model.press(Key::Backspace) && model.press(Key::Char('a')));
        assert_eq!(names(&model), ["agent:42", "all"]);
        assert!(model.press(Key::Enter) && model.press(Key::Tab));
        assert_eq!(names(&model), ["2 blocked"], "the filter holds for clients too");
        assert!(model.press(Key::Escape));
        assert_eq!(names(&model), ["2 blocked", "1"]);
        assert!(!model.press(Key::Escape) && !model.press(Key::Char('q')));
    }
}
