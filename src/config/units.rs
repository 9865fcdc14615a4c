//! Durations, sizes and rates as strings with units.

use super::Rate;
use std::time::Duration;

/// What is right for each kind, for messages.
pub(super) const DURATION: &str =
    "a duration: a whole number and a unit (ms, s, m, h, d), such as \"250ms\" or \"10m\"";
pub(super) const DURATION_OR_MS: &str = "a duration: a whole number and a unit (ms, s, m, h, d), such as \"250ms\" \
     or \"10m\", or a number of milliseconds, such as \"250\"";
pub(super) const SIZE: &str =
    "a size: a whole number and a unit (B, KiB, MiB, GiB, kB, MB, GB), such as \"64KiB\"";
pub(super) const RATE: &str = "a rate: a number per s, m or h, such as \"20/s\"";

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Units as people write them, and how they are written here.
const SPOKEN: [(&str, &str); 19] = [
    ("milliseconds", "ms"),
    ("millisecond", "ms"),
    ("msec", "ms"),
    ("seconds", "s"),
    ("second", "s"),
    ("secs", "s"),
    ("sec", "s"),
    ("minutes", "m"),
    ("minute", "m"),
    ("mins", "m"),
    ("min", "m"),
    ("hours", "h"),
    ("hour", "h"),
    ("days", "d"),
    ("day", "d"),
    ("K", "KiB"),
    ("M", "MiB"),
    ("KB", "kB"),
    ("G", "GiB"),
];

/// Reads a duration. The error is what the text might have meant, if that can be told.
pub fn parse_duration(text: &str) -> Result<Duration, Option<String>> {
    scaled(text, &DURATIONS).map(Duration::from_millis)
}

/// Reads a duration in which a number without a unit is milliseconds: so other programs write them in the environment.
pub(super) fn parse_duration_or_ms(text: &str) -> Result<Duration, Option<String>> {
    let ms = text.trim();
    let is_bare = !ms.is_empty() && ms.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { ms.parse().map(Duration::from_millis).map_err(|_| None) } else { parse_duration(text) }
}

/// Reads a size in bytes. The error is what the text might have meant, if that can be told.
pub fn parse_size(text: &str) -> Result<u64, Option<String>> {
    scaled(text, &SIZES)
}

/// Reads a rate, in events a second. The error is what the text might have meant, if that can be told.
pub fn parse_rate(text: &str) -> Result<f64, Option<String>> {
    let parts = text.split_once('/').map(|(count, unit)| (count.trim(), unit.trim()));
    let Some((count, unit)) = parts else {
        return Err(text.trim().parse::<f64>().ok().map(|count| format!("{count}/s")));
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(spoken(unit)
                .filter(|unit| "smh".contains(*unit))
                .map(|unit| format!("{count}/{unit}")));
        }
    };
    let count: f64 = count.parse().map_err(|_| None)?;
    if count > 0.0 && count.is_finite() { Ok(count / seconds) } else { Err(None) }
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, Option<String>> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<u64>() else { return Err(None) };
    if let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) {
        return number.checked_mul(*scale).ok_or(None);
    }
    let unit = unit.trim();
    let known = |unit: &str| units.iter().any(|(name, _)| *name == unit);
    let same = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(name, _)| *name);
    let meant = if known(unit) { Some(unit) } else { spoken(unit).filter(|unit| known(unit)).or(same) };
    Err(meant.map(|unit| format!("{number}{unit}")))
}

fn spoken(unit: &str) -> Option<&'static str> {
    SPOKEN.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, unit)| *unit)
}

/// A duration as it would be written.
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis() as u64;
    show(ms, &DURATIONS)
}

/// A size as it would be written.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES[..4])
}

/// A rate as it would be written.
pub fn show_rate(rate: Rate) -> String {
    let per_second = rate.per_second;
    let as_minutes = per_second * 60.0;
    let (count, unit) = if per_second.fract() == 0.0 { (per_second, "s") } else { (as_minutes, "m") };
    format!("{{ rate = \"{count}/{unit}\", burst = {} }}", rate.burst)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, scale) =
        units.iter().rev().find(|(_, scale)| value.is_multiple_of(*scale)).unwrap_or(&units[0]);
    if value == 0 { format!("0{}", units[0].0) } else { format!("{}{unit}", value / scale) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("0s", 0), ("250ms", 250), ("1s", 1000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, meant) in [
            ("10 minutes", Some("10m")),
            ("10 m", Some("10m")),
            ("5 sec", Some("5s")),
            ("1S", Some("1s")),
            ("10", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("10 parsecs", None),
        ] {
            assert_eq!(parse_duration(text), Err(meant.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn number_without_unit_is_milliseconds_where_it_may_be() {
        for (text, ms) in
            [("500", 500), (" 500 ", 500), ("0", 0), ("500ms", 500), ("2s", 2000), ("1m", 60_000)]
        {
            assert_eq!(parse_duration_or_ms(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, meant) in
            [("", None), ("-5", None), ("0.5", None), ("99999999999999999999", None), ("5 sec", Some("5s"))]
        {
            assert_eq!(parse_duration_or_ms(text), Err(meant.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("4MB", 4_000_000), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, meant) in
            [("64 KiB", Some("64KiB")), ("64kib", Some("64KiB")), ("1M", Some("1MiB")), ("x", None)]
        {
            assert_eq!(parse_size(text), Err(meant.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn rates() {
        for (text, rate) in [("20/s", 20.0), ("30/m", 0.5), ("0.5/s", 0.5), ("3600/h", 1.0)] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for (text, meant) in
            [("20", Some("20/s")), ("20/second", Some("20/s")), ("0/s", None), ("x/s", None), ("1/d", None)]
        {
            assert_eq!(parse_rate(text), Err(meant.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 999, 1000, 90_000, 600_000, 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 1536, 4 << 20, 1 << 30] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
    }
}
