//! The router's clock: what time it believes it is, and how long it has been up.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Time on the router, which tests can push forward and set wrong.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    booted: Instant,
    advanced: Duration,
    skew: time::Duration,
    /// RouterOS before 7.10 prints dates as `sep/18/2026`. *Source*: manual, Clock (old and new samples).
    old_dates: bool,
}

impl Clock {
    pub(crate) fn new(old_dates: bool) -> Self {
        Self { booted: Instant::now(), advanced: Duration::ZERO, skew: time::Duration::ZERO, old_dates }
    }

    /// Time for what expires; it never goes back.
    pub(crate) fn monotonic(&self) -> Instant {
        Instant::now() + self.advanced
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.monotonic().saturating_duration_since(self.booted)
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    /// Sets the wall clock wrong by so many seconds more.
    pub(crate) fn jump(&mut self, seconds: i64) {
        self.skew = self.skew.saturating_add(time::Duration::seconds(seconds));
    }

    /// Sets the wall clock to 1970, as on a router without a battery.
    pub(crate) fn jump_to_epoch(&mut self) {
        self.skew = self.skew.saturating_add(OffsetDateTime::UNIX_EPOCH - self.now());
    }

    /// How wrong the wall clock is, in seconds.
    pub(crate) fn skew_secs(&self) -> i64 {
        self.skew.whole_seconds()
    }

    pub(crate) fn reboot(&mut self) {
        self.booted = self.monotonic();
    }

    fn now(&self) -> OffsetDateTime {
        let advanced = time::Duration::try_from(self.advanced).unwrap_or(time::Duration::ZERO);
        OffsetDateTime::now_utc()
            .checked_add(advanced)
            .and_then(|t| t.checked_add(self.skew))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    pub(crate) fn date(&self) -> String {
        let now = self.now();
        if self.old_dates {
            let month = MONTHS.get(usize::from(u8::from(now.month())) - 1).copied().unwrap_or_default();
            return format!("{month}/{:02}/{:04}", now.day(), now.year());
        }
        format!("{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day())
    }

    pub(crate) fn time(&self) -> String {
        let now = self.now();
        format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second())
    }

    pub(crate) fn stamp(&self) -> String {
        format!("{} {}", self.date(), self.time())
    }

    /// Sets the wall clock by `date` and `time` texts of the newer form; others are left alone.
    pub(crate) fn set(&mut self, date: Option<&str>, clock: Option<&str>) -> Option<()> {
        let now = self.now();
        let date = match date {
            Some(text) => {
                let mut parts = text.split('-');
                let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
                let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
                time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?
            }
            None => now.date(),
        };
        let clock = match clock {
            Some(text) => {
                let mut parts = text.split(':').map(str::parse::<u8>);
                let mut next = || parts.next().and_then(Result::ok);
                time::Time::from_hms(next()?, next()?, next().unwrap_or(0)).ok()?
            }
            None => now.time(),
        };
        self.skew += OffsetDateTime::new_utc(date, clock) - now;
        Some(())
    }
}
