//! The last ten minutes of the daemon's figures, one row a second, for charts.

use super::Metrics;
use super::age::{Buckets, quantile};
use super::process;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Rows kept.
pub const ROWS: usize = 600;

/// What a row has. Rates are per second, over the time since the row before.
pub const COLUMNS: [&str; 12] = [
    "in",
    "own",
    "sent",
    "rejected",
    "age_p50_seconds",
    "age_p99_seconds",
    "clients",
    "blocked",
    "rooms",
    "backlog_bytes",
    "cpu_percent",
    "memory_bytes",
];

/// Figures at the end of a second, in the order of [`COLUMNS`]; NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    at: Instant,
    values: [f32; COLUMNS.len()],
}

const _: () = assert!(ROWS * size_of::<Row>() <= 64 << 10, "ten minutes take 64 KiB at the most");

/// Rows by number, from 1 on. Owned by [`Metrics`], behind a lock.
#[derive(Debug, Default)]
pub struct Trend {
    rows: VecDeque<Row>,
    /// Number of the newest row.
    newest: u64,
}

/// Levels that rooms know.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomLevels {
    /// Rooms that hold events.
    pub rooms: usize,
    /// Bytes of backlog.
    pub backlog_bytes: u64,
}

/// Counters at one moment, for the rates of the next row.
pub struct Sampler {
    at: Instant,
    counts: [u64; 4],
    ages: Buckets,
    cpu: Duration,
}

impl Sampler {
    /// A sampler whose first row begins at `at`.
    pub fn new(metrics: &Metrics, at: Instant) -> Sampler {
        let cpu = process::usage().cpu;
        Sampler { at, counts: counts(metrics), ages: metrics.event_age.buckets(), cpu }
    }

    /// Adds a row for the time since the last one. Call it once a second. Costs one read of `/proc/self/stat`.
    pub fn sample(&mut self, metrics: &Metrics, at: Instant, levels: RoomLevels) {
        let usage = process::usage();
        let next = Sampler { at, counts: counts(metrics), ages: metrics.event_age.buckets(), cpu: usage.cpu };
        let seconds = at.saturating_duration_since(self.at).as_secs_f64();
        if seconds == 0.0 {
            return;
        }
        let rate = |column: usize| next.counts[column].saturating_sub(self.counts[column]) as f64 / seconds;
        let age = |share| quantile(&self.ages, &next.ages, share).unwrap_or(f64::NAN);
        let values = [
            rate(0),
            rate(1),
            rate(2),
            rate(3),
            age(0.5),
            age(0.99),
            metrics.clients_now() as f64,
            metrics.clients_blocked.now() as f64,
            levels.rooms as f64,
            levels.backlog_bytes as f64,
            next.cpu.saturating_sub(self.cpu).as_secs_f64() / seconds * 100.0,
            usage.resident_bytes as f64,
        ];
        *self = next;
        metrics.trend().push(Row { at, values: values.map(|value| value as f32) });
    }
}

fn counts(metrics: &Metrics) -> [u64; 4] {
    let totals = metrics.totals();
    [totals.accepted, totals.own, totals.delivered, totals.rejected]
}

impl Trend {
    fn push(&mut self, row: Row) {
        if self.rows.len() == ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
        self.newest += 1;
    }

    /// Number of the newest row.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Rows after a number, as far as they are kept. A number that no row has yet stands for another process's: all of them.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Row> + Clone {
        let gone = self.newest - self.rows.len() as u64;
        let skipped = if number > self.newest { 0 } else { number.saturating_sub(gone) };
        self.rows.iter().skip(skipped as usize)
    }
}

impl Row {
    /// When it ended.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Its value of a column, if there is one.
    pub fn value(&self, column: usize) -> Option<f32> {
        Some(self.values[column]).filter(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    fn values(trend: &Trend, after: u64, column: &str) -> Vec<Option<f32>> {
        let column = COLUMNS.iter().position(|name| *name == column).unwrap();
        trend.after(after).map(|row| row.value(column)).collect()
    }

    #[test]
    fn rows_are_rates_of_their_time_and_levels_at_their_end() {
        let metrics = Metrics::new();
        let listener = metrics.listener("a");
        let begin = Instant::now();
        let mut sampler = Sampler::new(&metrics, begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        listener.events.fetch_add(30, Ordering::Relaxed);
        metrics.own_events.increment(2);
        metrics.deliveries.fetch_add(90, Ordering::Relaxed);
        metrics.event_age.record(4);
        let levels = RoomLevels { rooms: 3, backlog_bytes: 1000 };
        sampler.sample(&metrics, at(1), levels);
        listener.events.fetch_add(30, Ordering::Relaxed);
        // A row that was late is the mean of its time.
        sampler.sample(&metrics, at(4), levels);
        sampler.sample(&metrics, at(4), levels);
        let trend = metrics.trend();
        assert_eq!(trend.newest(), 2, "no time, no row");
        for (column, expected) in [
            ("in", [Some(30.0), Some(10.0)]),
            ("own", [Some(2.0), Some(0.0)]),
            ("sent", [Some(90.0), Some(0.0)]),
            ("age_p99_seconds", [Some(0.004_975), None]),
            ("rooms", [Some(3.0); 2]),
            ("backlog_bytes", [Some(1000.0); 2]),
        ] {
            assert_eq!(values(&trend, 0, column), expected, "{column}");
        }
        assert!(values(&trend, 1, "memory_bytes")[0].unwrap() > 1e6);
    }

    #[test]
    fn ten_minutes_are_kept_and_those_after_a_number_are_found() {
        let mut trend = Trend::default();
        let at = Instant::now();
        for number in 1..=ROWS as u64 + 50 {
            trend.push(Row { at, values: [number as f32; COLUMNS.len()] });
        }
        let first_and_count = |after| {
            let rows = values(&trend, after, "in");
            (rows.first().copied().flatten(), rows.len())
        };
        assert_eq!(first_and_count(0), (Some(51.0), ROWS));
        assert_eq!(first_and_count(50), (Some(51.0), ROWS));
        assert_eq!(first_and_count(51), (Some(52.0), ROWS - 1));
        assert_eq!(first_and_count(650), (None, 0));
        assert_eq!(first_and_count(651), (Some(51.0), ROWS), "a number of another process");
    }
}
