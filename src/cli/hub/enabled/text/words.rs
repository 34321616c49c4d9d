//! Numbers and states as people say them.

use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use time::OffsetDateTime;

use crate::cli::show::bytes;

/// The word that the API has for a state.
pub(in crate::cli::hub) fn word(state: &impl Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

/// Values with commas between.
pub(in crate::cli::hub) fn join<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

/// Seconds since 1970.
pub(in crate::cli::hub) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A length of time in its largest unit: `45s`, `2m`, `3h`, `12d`.
pub(in crate::cli::hub) fn age(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..172_800 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// `2m ago`, or `in 2m`.
pub(in crate::cli::hub) fn since(at: i64, now: i64) -> String {
    let passed = now.saturating_sub(at);
    if passed < 0 {
        format!("in {}", age(passed.unsigned_abs()))
    } else {
        format!("{} ago", age(passed.unsigned_abs()))
    }
}

/// A time in UTC, with how long ago it is.
pub(in crate::cli::hub) fn when(at: i64, now: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(at) else { return "?".to_owned() };
    let (month, day) = (u8::from(time.month()), time.day());
    let (hour, minute) = (time.hour(), time.minute());
    format!("{}-{month:02}-{day:02} {hour:02}:{minute:02} UTC, {}", time.year(), since(at, now))
}

/// Bytes in some seconds as a rate.
pub(in crate::cli::hub) fn rate(count: u64, secs: u64) -> String {
    match count.checked_div(secs) {
        Some(each) => format!("{}/s", bytes(each)),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        for (secs, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (172_799, "47h"), (172_800, "2d")]
        {
            assert_eq!(age(secs), text);
        }
        assert_eq!(since(100, 220), "2m ago");
        assert_eq!(since(220, 100), "in 2m");
    }

    #[test]
    fn a_time_says_its_zone() {
        assert_eq!(when(1_795_276_800, 1_795_276_860), "2026-11-21 16:00 UTC, 1m ago");
        assert_eq!(when(i64::MAX, 0), "?");
    }

    #[test]
    fn a_state_is_the_word_of_the_api() {
        assert_eq!(word(&crate::api::PeerStatus::Connected), "connected");
        assert_eq!(rate(2048, 2), "1.0 KiB/s");
        assert_eq!(rate(1, 0), "?");
    }
}
