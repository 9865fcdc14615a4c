//! The figures of a run. Pure.

use super::args::BenchArgs;
use super::client::Had;
use crate::config::show_duration;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::Write;

/// What a run came to.
pub(super) struct Report<'a> {
    pub args: &'a BenchArgs,
    /// Seconds from the first event to the last.
    pub seconds: f64,
    /// Events that were accepted.
    pub published: u64,
    pub rejected: u64,
    pub had: Had,
    /// In microseconds.
    pub latency: Histogram<u64>,
}

const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

impl Report<'_> {
    /// Whether everybody had everything once and in order.
    pub(super) fn is_good(&self) -> bool {
        let Had { received: _, lost, doubled, reordered, gaps, dropped } = self.had;
        lost + doubled + reordered + gaps + dropped == 0
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        let args = self.args;
        let per_second = |count: u64| (count as f64 / self.seconds).round();
        let mut latency = json!({
            "min": self.latency.min(),
            "mean": (self.latency.mean() * 10.0).round() / 10.0,
            "max": self.latency.max(),
        });
        for (name, percentile) in PERCENTILES {
            latency[name] = self.latency.value_at_percentile(percentile).into();
        }
        json!({
            "room": args.room.source(), "rooms": args.rooms, "producers": args.producers, "clients": args.clients,
            "rate": args.rate.is_finite().then_some(args.rate), "size": args.size,
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "published": self.published, "published_per_second": per_second(self.published), "rejected": self.rejected,
            "delivered": self.had.received, "delivered_per_second": per_second(self.had.received),
            "lost": self.had.lost, "doubled": self.had.doubled, "reordered": self.had.reordered,
            "gaps": self.had.gaps, "disconnected": self.had.dropped,
            "latency_us": latency,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let args = self.args;
        let per_second = |count: u64| grouped((count as f64 / self.seconds).round() as u64);
        let mut text = String::new();
        let rooms = if args.rooms == 1 { "" } else { &*format!(" ({} rooms)", args.rooms) };
        let _ = writeln!(
            text,
            "{} producer{}, {} client{}, {}{rooms}, {} B, {}",
            args.producers,
            plural(args.producers),
            args.clients,
            plural(args.clients),
            args.room.source(),
            args.size,
            show_duration(args.duration),
        );
        let (published, rejected) = (grouped(self.published), grouped(self.rejected));
        let _ =
            writeln!(text, "published  {published} ({}/s), {rejected} rejected", per_second(self.published));
        let Had { received, lost, doubled, reordered, gaps, dropped } = self.had;
        let _ = writeln!(
            text,
            "delivered  {} ({}/s): {lost} lost, {doubled} doubled, {reordered} out of order; {gaps} gaps, {dropped} disconnected",
            grouped(received),
            per_second(received),
        );
        let ms = |us: u64| format!("{:.3}", us as f64 / 1000.0);
        let mut shown: Vec<String> = PERCENTILES
            .iter()
            .map(|(name, percentile)| format!("{name} {}", ms(self.latency.value_at_percentile(*percentile))))
            .collect();
        shown.push(format!("max {}", ms(self.latency.max())));
        let _ = writeln!(text, "latency    {} ms", shown.join(", "));
        text
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A number with its thousands apart.
pub(in crate::cli) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn figures_for_people_and_for_programs() {
        let arguments = ["broadcastd", "bench", "--config", "x", "--clients", "2", "--duration", "2s"];
        let Some(Command::Bench(args)) = Cli::parse_from(arguments).command else { panic!("it is bench") };
        let mut latency = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        for us in 1..=1000 {
            latency.saturating_record(us);
        }
        let had = Had { received: 4000, ..Had::default() };
        let report = Report { args: &args, seconds: 2.0, published: 2000, rejected: 0, had, latency };
        assert!(report.is_good());
        assert_eq!(
            report.text(),
            "1 producer, 2 clients, agent:{agentId}, 256 B, 2s\npublished  2,000 (1,000/s), 0 rejected\n\
             delivered  4,000 (2,000/s): 0 lost, 0 doubled, 0 out of order; 0 gaps, 0 disconnected\n\
             latency    p50 0.500, p90 0.900, p99 0.990, p99.9 1.000, max 1.000 ms\n"
        );
        let json = report.json();
        assert_eq!(
            (&json["delivered_per_second"], &json["latency_us"]["p99"]),
            (&2000.0.into(), &990.into())
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
