//! `from` of a `subscribe`: where a subscription begins.

#![expect(clippy::unnecessary_box_returns, reason = "an error is seldom, and large beside what is read")]

use super::date::parse_date_time;
use super::message::{did_you_mean, quote, refuse};
use super::{ErrorCode, From, MessageError};
use serde_json::Value;

/// The forms, for hints.
const FORMS: &str = r#""now", "start", {"after":"EPOCH:OFFSET"}, {"last":10}, {"since":"-5m"} or {"since":"2026-11-25T10:00:00Z"}"#;

/// A number of milliseconds below this (March 1973) is a number of seconds by mistake; 0 is "everything" on purpose.
const LEAST_SINCE_MS: f64 = 1e11;

/// Reads `from`'s JSON.
pub(super) fn parse_from(json: &str) -> Result<From, Box<MessageError>> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| bad(format!("`from` cannot be read: {error}"), &format!("give {FORMS}")))?;
    match &value {
        Value::String(word) => parse_word(word),
        Value::Object(fields) => match fields.iter().next() {
            Some((form, value)) if fields.len() == 1 => parse_form(form, value),
            _ => Err(bad(
                format!("`from` must have exactly one field, not {}", fields.len()),
                &format!("give {FORMS}"),
            )),
        },
        _ => Err(bad(format!("`from` cannot be {}", quote(json)), &format!("give {FORMS}"))),
    }
}

/// Reads `from` as a query has it: `now`, `start`, `last:10`, `since:-5m`, `after:EPOCH:OFFSET`, or its JSON.
pub fn parse_query_from(text: &str) -> Result<From, Box<MessageError>> {
    if text.starts_with(['{', '"']) {
        return parse_from(text);
    }
    let Some((form, value)) = text.split_once(':') else { return parse_word(text) };
    // A `+` that was not percent-encoded is a space in a query: here it can only be a zone's.
    let value = &match value.len().checked_sub("+01:00".len()) {
        Some(zone) if form == "since" && value.get(zone..=zone) == Some(" ") => {
            format!("{}+{}", &value[..zone], &value[zone + 1..])
        }
        _ => value.to_owned(),
    };
    // Numbers are numbers: of events, or of milliseconds.
    let number = value.parse::<u64>().ok().filter(|_| form != "after");
    parse_form(form, &number.map_or_else(|| Value::from(value.as_str()), Value::from))
}

fn parse_word(word: &str) -> Result<From, Box<MessageError>> {
    match word {
        "now" => Ok(From::Now),
        "start" => Ok(From::Start),
        _ => {
            let hint = if word.contains(':') {
                format!(r#"a position is given as {{"after":{}}}"#, Value::from(word))
            } else {
                did_you_mean(word, &["now", "start"]).unwrap_or_else(|| format!("give {FORMS}"))
            };
            Err(bad(format!("`from` cannot be {}", quote(word)), &hint))
        }
    }
}

fn parse_form(form: &str, value: &Value) -> Result<From, Box<MessageError>> {
    match form {
        "after" => {
            let position = value.as_str().and_then(|text| text.parse().ok());
            position.map(From::After).ok_or_else(|| {
                let hint = r#"join `epoch` of "subscribed" and your last `offset` with a colon: {"after":"1a2b:42"}"#;
                bad(format!("`from.after` is no position: {}", quote(&value.to_string())), hint)
            })
        }
        "last" => value.as_u64().map(From::Last).ok_or_else(|| {
            let message =
                format!("`from.last` must be a number of events, not {}", quote(&value.to_string()));
            bad(message, r#"for example {"last":10}"#)
        }),
        "since" => parse_since(value),
        _ => {
            let hint = did_you_mean(form, &["after", "last", "since"]);
            let hint = hint.unwrap_or_else(|| format!("give {FORMS}"));
            Err(bad(format!("`from` has no form {}", quote(form)), &hint))
        }
    }
}

fn parse_since(value: &Value) -> Result<From, Box<MessageError>> {
    let message = || format!("`from.since` cannot be {}", quote(&value.to_string()));
    match value {
        Value::Number(number) => {
            let ms = number.as_f64().unwrap_or(-1.0);
            match ms {
                0.0 | LEAST_SINCE_MS.. => Ok(From::SinceMs(ms as u64)),
                0.0.. => Err(bad(message(), "a number is milliseconds since 1970, not seconds")),
                _ => Err(bad(message(), r#"a time that is relative to now is a string: "-5m""#)),
            }
        }
        Value::String(text) => {
            let ago = parse_ago(text).map(From::Ago);
            ago.or_else(|| parse_date_time(text).map(From::SinceMs)).ok_or_else(|| {
                let hint = r#"give "-5m" (ms, s, m, h or d), a date and time with its zone such as "2026-11-25T10:00:00Z" or "2026-11-25T11:00:00+01:00", or milliseconds since 1970 as a number"#;
                bad(message(), hint)
            })
        }
        _ => Err(bad(message(), r#"for example {"since":"-5m"}"#)),
    }
}

/// Milliseconds of `-NUMBER UNIT`.
fn parse_ago(text: &str) -> Option<u64> {
    let text = text.strip_prefix('-')?;
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn bad(message: String, hint: &str) -> Box<MessageError> {
    refuse(ErrorCode::BadField, message, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Epoch, Position};

    #[track_caller]
    fn check(json: &str, expected: From) {
        assert_eq!(parse_from(json), Ok(expected), "{json}");
    }

    #[track_caller]
    fn check_refused(json: &str, message: &str, hint: &str) {
        let error = parse_from(json).expect_err(json);
        assert_eq!(error.code, ErrorCode::BadField);
        assert!(error.message.contains(message), "{json}: {}", error.message);
        assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{json}: {:?}", error.hint);
    }

    #[test]
    fn every_form_is_read() {
        check(r#""now""#, From::Now);
        check(r#""start""#, From::Start);
        check(r#"{"after":"beef:42"}"#, From::After(Position { epoch: Epoch(0xbeef), offset: 42 }));
        check(r#"{"last":0}"#, From::Last(0));
        check(r#"{"last":18446744073709551615}"#, From::Last(u64::MAX));
        check(r#"{"since":1700000000000}"#, From::SinceMs(1_700_000_000_000));
        check(r#"{"since":1700000000000.75}"#, From::SinceMs(1_700_000_000_000));
        check(r#"{"since":0}"#, From::SinceMs(0));
        check(r#"{"since":"-250ms"}"#, From::Ago(250));
        check(r#"{"since":"-5m"}"#, From::Ago(300_000));
        check(r#"{"since":"-2h"}"#, From::Ago(7_200_000));
        check(r#"{"since":"-1d"}"#, From::Ago(86_400_000));
        check(r#"{"since":"2026-11-25T10:00:00Z"}"#, From::SinceMs(1_795_600_800_000));
        check(r#"{"since":"2026-11-25T11:00:00.250+01:00"}"#, From::SinceMs(1_795_600_800_250));
    }

    #[test]
    fn a_query_says_it_in_one_word() {
        let position = Position { epoch: Epoch(0xbeef), offset: 42 };
        for (text, expected) in [
            ("now", From::Now),
            ("start", From::Start),
            ("last:10", From::Last(10)),
            ("since:-5m", From::Ago(300_000)),
            ("since:1700000000000", From::SinceMs(1_700_000_000_000)),
            ("since:2026-11-25T10:00:00Z", From::SinceMs(1_795_600_800_000)),
            ("since:2026-11-25T11:00:00+01:00", From::SinceMs(1_795_600_800_000)),
            ("since:2026-11-25T11:00:00 01:00", From::SinceMs(1_795_600_800_000)),
            ("since:2026-11-25 05:00:00-05:00", From::SinceMs(1_795_600_800_000)),
            ("after:beef:42", From::After(position)),
            (r#"{"last":10}"#, From::Last(10)),
            (r#""now""#, From::Now),
        ] {
            assert_eq!(parse_query_from(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "last",
            "last:",
            "last:x",
            "after:42",
            "after:",
            "beef:42",
            "since:5m",
            "since:2026-11-25",
            "{}",
        ] {
            assert!(parse_query_from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused_with_what_would_be_right() {
        check_refused(r#""Now""#, "cannot be `Now`", "did you mean `now`?");
        check_refused(r#""yesterday""#, "yesterday", r#""now", "start""#);
        check_refused(r#""beef:42""#, "beef:42", r#"{"after":"beef:42"}"#);
        check_refused("7", "cannot be `7`", "start");
        check_refused("[]", "cannot be `[]`", "start");
        check_refused("{}", "exactly one field", "start");
        check_refused(r#"{"last":1,"after":"1:1"}"#, "exactly one field, not 2", "start");
        check_refused(r#"{"last":-1}"#, "`from.last`", "last");
        check_refused(r#"{"last":"5"}"#, "`from.last`", "last");
        check_refused(r#"{"after":42}"#, "no position", "epoch");
        check_refused(r#"{"after":"42"}"#, "no position", "epoch");
        check_refused(r#"{"afer":"1:1"}"#, "`afer`", "did you mean `after`?");
        check_refused(r#"{"from":1}"#, "`from`", "since");
        check_refused(r#"{"since":1700000000}"#, "1700000000", "not seconds");
        check_refused(r#"{"since":-300}"#, "-300", "-5m");
        check_refused(r#"{"since":"5m"}"#, "5m", "-5m");
        check_refused(r#"{"since":"-5 minutes"}"#, "minutes", "-5m");
        check_refused(r#"{"since":"-m"}"#, "-m", "-5m");
        check_refused(r#"{"since":"-99999999999999999999s"}"#, "9999", "-5m");
        check_refused(r#"{"since":"2026-01-01"}"#, "2026", "with its zone");
        check_refused(r#"{"since":"2026-01-01T00:00:00"}"#, "2026", "with its zone");
        check_refused(r#"{"since":"2026-02-29T00:00:00Z"}"#, "2026", "with its zone");
        check_refused(r#"{"since":true}"#, "true", "-5m");
    }
}
