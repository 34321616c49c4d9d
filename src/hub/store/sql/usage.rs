//! Traffic by period.

use sqlx::any::AnyRow;
use time::{Date, Month, OffsetDateTime};

use super::db::RowExt as _;
use crate::api::Usage;
use crate::hub::store::Stored;

/// Periods that are shown, and kept.
pub(super) const KEPT_PERIODS: i64 = 24;

/// The month of a time, such as `2026-11`, UTC.
pub(super) fn period(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{:04}-{:02}", at.year(), u8::from(at.month()))
}

/// The first second of a month such as `2026-11`, and of the one behind it, UTC.
pub(super) fn month(text: &str) -> Option<(i64, i64)> {
    let (year, number) = text.split_once('-').filter(|(year, number)| year.len() == 4 && number.len() == 2)?;
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return None;
    }
    let (year, number) = (year.parse::<i32>().ok()?, Month::try_from(number.parse::<u8>().ok()?).ok()?);
    let begin =
        |year, month| Some(Date::from_calendar_date(year, month, 1).ok()?.midnight().assume_utc().unix_timestamp());
    let next = if number == Month::December { begin(year + 1, Month::January) } else { begin(year, number.next()) };
    Some((begin(year, number)?, next?))
}

pub(super) fn from_row(row: &AnyRow) -> Stored<Usage> {
    Ok(Usage { period: row.text("period")?, rx_bytes: row.count("rx")?, tx_bytes: row.count("tx")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_month_in_utc() {
        assert_eq!(period(0), "1970-01");
        assert_eq!(period(1_764_547_199), "2025-11");
        assert_eq!(period(1_764_547_200), "2025-12");
    }

    #[test]
    fn a_month_has_a_first_second_and_one_that_is_the_next_ones() {
        assert_eq!(month("2025-12"), Some((1_764_547_200, 1_764_547_200 + 31 * 86_400)));
        assert_eq!(month("2025-11").map(|(_, next)| next), Some(1_764_547_200));
        for bad in ["", "2025", "2025-13", "2025-00", "25-12", "2025-1", "2025-+1", "-025-12", "9999-12", "2025-12-01"]
        {
            assert_eq!(month(bad), None, "{bad}");
        }
    }
}
