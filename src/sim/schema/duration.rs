//! Durations as RouterOS reads and prints them: `25s`, `1m33s`, `1d2h`, `12ms345us`.

use std::time::Duration;

const UNITS: [(&str, u128); 8] = [
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `25`, `25s`, `1m30s` or `00:01:30`; `None` for anything else.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text.contains(':') {
        return parse_clock(text);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u128 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        let unit = rest.get(..letters)?;
        // A number alone means seconds.
        let alone = digits == text.len();
        let unit = if alone { "s" } else { unit };
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*nanos)?)?;
        rest = rest.get(letters..)?;
    }
    from_nanos(total)
}

fn parse_clock(text: &str) -> Option<Duration> {
    let parts = text.split(':').map(|p| p.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
    let seconds = match parts[..] {
        [h, m, s] => h.checked_mul(3600)?.checked_add(m.checked_mul(60)?)?.checked_add(s)?,
        [m, s] => m.checked_mul(60)?.checked_add(s)?,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

/// Prints a duration the way the API does: `0s`, `25s`, `1m33s`, `12ms345us`; microseconds are the finest.
pub(crate) fn print_duration(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS.iter().take(7) {
        let count = left / nanos;
        left %= nanos;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_routeros_prints_them() {
        for (given, printed) in [
            ("25", "25s"),
            ("25s", "25s"),
            ("93s", "1m33s"),
            ("00:01:30", "1m30s"),
            ("1d", "1d"),
            ("65535s", "18h12m15s"),
            ("12345us", "12ms345us"),
            ("0s", "0s"),
        ] {
            assert_eq!(print_duration(parse_duration(given).unwrap()), printed, "{given}");
        }
        for bad in ["", "s", "1x", "a1s", "1m3", "-1s", "1:2:3:4"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
