//! Traffic by period.

use sqlx::any::AnyRow;
use time::OffsetDateTime;

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
}
