//! `every` of a `subscribe`: how often at most a subscription is sent what is new.

#![expect(clippy::unnecessary_box_returns, reason = "an error is seldom, and large beside what is read")]

use super::message::{quote, refuse};
use super::{ErrorCode, MessageError};
use crate::config::parse_duration;
use std::time::Duration;

/// More often than that, nothing is gained over being sent everything at once.
const LEAST: Duration = Duration::from_millis(250);
/// Who wants to know less often may as well ask.
const MOST: Duration = Duration::from_secs(60);

const HINT: &str = r#"give a duration from "250ms" to "60s""#;

/// Reads `every`'s JSON.
pub(super) fn parse_every(json: &str) -> Result<Duration, Box<MessageError>> {
    let text: Option<String> = serde_json::from_str(json).ok();
    text.map_or_else(|| Err(bad(json, HINT)), |text| parse_query_every(&text))
}

/// Reads `every` as a query has it.
pub(super) fn parse_query_every(text: &str) -> Result<Duration, Box<MessageError>> {
    match parse_duration(text) {
        Ok(every) if (LEAST..=MOST).contains(&every) => Ok(every),
        Ok(_) | Err(None) => Err(bad(text, HINT)),
        Err(Some(meant)) => Err(bad(text, &format!("did you mean `{meant}`?"))),
    }
}

fn bad(text: &str, hint: &str) -> Box<MessageError> {
    refuse(ErrorCode::BadField, format!("`every` cannot be {}", quote(text)), Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_second_to_a_minute() {
        for (json, ms) in [(r#""250ms""#, 250), (r#""2s""#, 2000), (r#""1m""#, 60_000), (r#""60s""#, 60_000)]
        {
            assert_eq!(parse_every(json), Ok(Duration::from_millis(ms)), "{json}");
        }
        for json in [r#""249ms""#, r#""61s""#, r#""0s""#, "2", "2000", "true", "[]", r#""""#, r#""often""#] {
            let error = parse_every(json).expect_err(json);
            assert_eq!(error.code, ErrorCode::BadField);
            assert_eq!(error.hint.as_deref(), Some(HINT), "{json}");
        }
        let error = parse_every(r#""2 seconds""#).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `2s`?"));
    }
}
