//! Durations and dates as RouterOS writes them.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// No router says anything longer in earnest: a thousand years. What is added to it stays far below what a clock can tell.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * DAY);

/// Reads a duration: `1w2d3h4m5s`, `12ms345us`, `00:01:33`, `1d00:01:33` or plain seconds.
///
/// One longer than a thousand years is none.
///
/// *Source:* recorded replies of `/interface/wireguard/peers/print`, `/tool/ping` and `/certificate/print` of 7.24.
#[must_use]
pub fn parse_duration(value: &[u8]) -> Option<Duration> {
    parse_any(value).filter(|duration| *duration <= LONGEST)
}

fn parse_any(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        if rest.contains(':') && rest.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'.') {
            return total.checked_add(parse_colons(rest)?);
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_len)?;
        let part = match unit {
            "" if text.len() == digits => Duration::from_secs(number),
            "w" => Duration::from_secs(number.checked_mul(WEEK)?),
            "d" => Duration::from_secs(number.checked_mul(DAY)?),
            "h" => Duration::from_secs(number.checked_mul(HOUR)?),
            "m" => Duration::from_secs(number.checked_mul(MINUTE)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            "us" => Duration::from_micros(number),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = next;
    }
    Some(total)
}

fn parse_colons(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds = parts.next()?;
    let whole: u64 = seconds.split('.').next()?.parse().ok()?;
    let total = hours.checked_mul(HOUR)?.checked_add(minutes.checked_mul(MINUTE)?)?.checked_add(whole)?;
    parts.next().is_none().then_some(Duration::from_secs(total))
}

/// Writes a duration in RouterOS's compact form, such as `1m33s`; milli- and microseconds only where there are any.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let (secs, micros) = (duration.as_secs(), duration.subsec_micros());
    let parts = [
        (secs / WEEK, "w"),
        (secs % WEEK / DAY, "d"),
        (secs % DAY / HOUR, "h"),
        (secs % HOUR / MINUTE, "m"),
        (secs % MINUTE, "s"),
        (u64::from(micros / 1000), "ms"),
        (u64::from(micros % 1000), "us"),
    ];
    let shown: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    let out = shown.concat();
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// Reads `/system/clock`'s date, time and offset as seconds since 1970-01-01 00:00 UTC.
///
/// Dates come as `2026-09-18` (7.10 and later) or `sep/18/2026`. *Source:* recorded `/system/clock/print` of 7.24.3, the
/// manual's older examples.
#[must_use]
pub fn clock_seconds(date: &[u8], time: &[u8], gmt_offset: Option<&[u8]>) -> Option<i64> {
    let date = parse_date(std::str::from_utf8(date).ok()?)?;
    let time = parse_colons(std::str::from_utf8(time).ok()?)?;
    let offset = match gmt_offset {
        Some(text) => parse_offset(std::str::from_utf8(text).ok()?)?,
        None => 0,
    };
    let midnight = date.midnight().assume_utc().unix_timestamp();
    midnight.checked_add(i64::try_from(time.as_secs()).ok()?)?.checked_sub(offset)
}

fn parse_date(text: &str) -> Option<time::Date> {
    if let Some((month, rest)) = text.split_once('/') {
        let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let month = months.iter().position(|name| name.eq_ignore_ascii_case(month))?;
        let (day, year) = rest.split_once('/')?;
        let month = time::Month::try_from(u8::try_from(month + 1).ok()?).ok()?;
        return time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok();
    }
    let mut parts = text.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    let month = time::Month::try_from(parts.next()?.parse::<u8>().ok()?).ok()?;
    time::Date::from_calendar_date(year, month, parts.next()?.parse().ok()?).ok()
}

fn parse_offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_in_every_form() {
        for (text, micros) in [
            ("14s", 14_000_000),
            ("1m33s", 93_000_000),
            ("00:01:33", 93_000_000),
            ("1d00:00:01", 86_401_000_000),
            ("50w4d4h58m15s", 30_603_495_000_000),
            ("114us", 114),
            ("12ms345us", 12_345),
            ("25", 25_000_000),
            ("0ms", 0),
        ] {
            assert_eq!(parse_duration(text.as_bytes()), Some(Duration::from_micros(micros)), "{text}");
        }
        for bad in ["", "s", "1x", "1m2", "25 ", "-1s", "1:2", "99999999999999999999s", "18446744073709551615w", "none"]
        {
            assert_eq!(parse_duration(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn both_forms_of_a_date_are_the_same_moment() {
        let iso = clock_seconds(b"2026-09-18", b"10:06:20", Some(b"+00:00"));
        assert_eq!(iso, Some(1_789_725_980));
        assert_eq!(clock_seconds(b"sep/18/2026", b"12:06:20", Some(b"+02:00")), iso);
        assert_eq!(clock_seconds(b"sep/18/2026", b"05:36:20", Some(b"-04:30")), iso);
        assert_eq!(clock_seconds(b"2026-13-18", b"10:06:20", None), None);
    }

    #[test]
    fn a_duration_longer_than_a_thousand_years_is_none() {
        assert_eq!(parse_duration(b"52000w"), Some(Duration::from_secs(52_000 * WEEK)));
        for text in ["18446744073709551615s", "18446744073709551615", "53000w", "9000000:00:00", "30000000w"] {
            assert_eq!(parse_duration(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(micros in 0..u64::from(u32::MAX) * 1_000_000) {
            let d = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(format_duration(d).as_bytes()), Some(d));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse_duration(&bytes);
            let _ = clock_seconds(&bytes, &bytes, Some(&bytes));
        }
    }
}
