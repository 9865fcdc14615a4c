//! Dates and times as RFC 3339 writes them.

/// Days from 0000-03-01 to 1970-01-01 in the Gregorian calendar.
const DAYS_TO_1970: i64 = 719_468;

/// Milliseconds since 1970 of a date and time with its zone, such as `2026-11-25T10:00:00.5+01:00`; 0 for what was before.
/// What is finer than a millisecond is left out. A leap second is the second after it, and is there only where one can be.
pub(crate) fn parse_date_time(text: &str) -> Option<u64> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.number(2).filter(|month| (1..=12).contains(month))?;
    rest.one_of(b"-")?;
    let day = rest.number(2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    rest.one_of(b"Tt ")?;
    let hour = rest.number(2).filter(|hour| *hour < 24)?;
    rest.one_of(b":")?;
    let minute = rest.number(2).filter(|minute| *minute < 60)?;
    rest.one_of(b":")?;
    let second = rest.number(2).filter(|second| *second <= 60)?;
    let ms = if rest.one_of(b".").is_some() { rest.fraction()? } else { 0 };
    let minutes = days(year, month, day) * 1440 + hour * 60 + minute - rest.zone()?;
    if !rest.0.is_empty() || (second == 60 && minutes.rem_euclid(1440) != 1439) {
        return None;
    }
    Some(u64::try_from((minutes * 60 + second) * 1000 + ms).unwrap_or(0))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970. Years are counted from March, so that a leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let months = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * months + 2) / 5
        + day
        - 1
        - DAYS_TO_1970
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| bytes.contains(first))?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    fn digit(&mut self) -> Option<i64> {
        self.one_of(b"0123456789").map(|digit| i64::from(digit - b'0'))
    }

    /// Milliseconds of at least one digit after the point.
    fn fraction(&mut self) -> Option<i64> {
        let mut ms = self.digit()? * 100;
        let mut worth = 10;
        while let Some(digit) = self.digit() {
            ms += digit * worth;
            worth /= 10;
        }
        Some(ms)
    }

    /// Minutes that the zone is ahead of UTC.
    fn zone(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        self.one_of(b":")?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        Some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_with_zones_fractions_and_leap_days() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T16:00:00-08:00", 0),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000),
            ("1996-12-20T00:39:57Z", 851_042_397_000),
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("1990-12-31T15:59:60-08:00", 662_688_000_000),
            ("1937-01-01T12:00:27.87+00:20", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
            ("2026-11-25T10:00:00Z", 1_795_600_800_000),
            ("2026-11-25t10:00:00z", 1_795_600_800_000),
            ("2026-11-25 10:00:00Z", 1_795_600_800_000),
            ("2026-11-25T10:00:00-00:00", 1_795_600_800_000),
            ("2026-11-25T15:45:00+05:45", 1_795_600_800_000),
            ("2026-11-25T10:00:00.123456789012345678901234567890Z", 1_795_600_800_123),
            ("2026-11-25T10:00:00.9999Z", 1_795_600_800_999),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("0000-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_date_time(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "2026",
            "2026-11-25",
            "2026-11-25T10:00:00",
            "2026-11-25T10:00Z",
            "2026-11-25T10:00:00.Z",
            "2026-11-25T10:00:00+01",
            "2026-11-25T10:00:00+0100",
            "2026-11-25T10:00:00 +01:00",
            "2026-11-25T10:00:00+24:00",
            "2026-11-25T10:00:00+01:60",
            "2026-11-25T10:00:00Zx",
            "2026-11-25T24:00:00Z",
            "2026-11-25T10:60:00Z",
            "2026-11-25T10:00:61Z",
            "2026-11-25T10:00:60Z",
            "2026-11-25T23:59:60+01:00",
            "2026-13-25T10:00:00Z",
            "2026-00-25T10:00:00Z",
            "2026-11-31T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "2100-02-29T10:00:00Z",
            "+2026-11-25T10:00:00Z",
            "-026-11-25T10:00:00Z",
            "2026-11-25T10:00:00\u{661}Z",
        ] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = days(1600, 1, 1);
        for year in 1600..2400 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(days(1970, 1, 1), 0);
    }
}
