//! Why hands are held off a router, and for how long: somebody works there, or it undid what is wanted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::freeze;
use super::source::Wanted;
use super::standing::Phase;

/// A router that undid a change because it would have cut us off is not changed that way again for so long, unless something else is
/// wanted. Kept by the driver and not by the session: what was undone has usually cost the session its connection.
pub(super) const UNDONE_PAUSE: Duration = Duration::from_hours(6);

/// Between two looks at a freeze of this host.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a driver remembers of changes that were undone.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Where freezes of this host stand.
    folder: Option<PathBuf>,
    undone: Option<(Arc<Wanted>, Instant)>,
}

impl Hold {
    /// Looks for freezes of this host in a folder.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, undone: None }
    }

    /// The router undid what is wanted.
    pub(super) fn undone(&mut self, wanted: &Arc<Wanted>) {
        self.undone = Some((Arc::clone(wanted), Instant::now()));
    }

    /// Returns why, and for how much longer, nothing may be written; `unix` is in seconds since 1970.
    pub(super) fn on(&self, wanted: &Arc<Wanted>, unix: i64) -> Option<(Phase, Duration)> {
        if let Some(left) = wanted.frozen_for(unix).filter(|left| !left.is_zero()) {
            return Some((Phase::Frozen, left));
        }
        if let Some(left) = self.folder.as_ref().and_then(|folder| freeze::left(folder, &wanted.site.id, unix)) {
            // It may be taken off at any time, and nothing tells.
            return Some((Phase::Frozen, left.min(LOOK_AGAIN)));
        }
        let (undone, since) = self.undone.as_ref()?;
        // The same site, whatever else the hub said since: a freeze that ended is no other wish.
        let left = UNDONE_PAUSE.saturating_sub(since.elapsed());
        (undone.site == wanted.site && !left.is_zero()).then_some((Phase::Refused, left))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config;

    const SITE: &str = "version = 1\nid = \"k3f9q2\"\ninstance = \"acme\"\n[tunnel]\nprotocol = \"wireguard\"\n\
        addresses = [\"10.99.0.2/24\"]\nprobe = [\"10.99.0.1\"]\n[hub]\npublic_key = \"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"\n\
        endpoints = [\"192.0.2.1:51820\"]\n[subnets]\nadvertise = [\"192.168.88.0/24\"]\nreach = [\"10.99.0.0/24\"]\n";

    pub(in crate::agent) fn wanted(revision: i64, keepalive: u16, frozen_until: Option<i64>) -> Arc<Wanted> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = SITE.replacen("endpoints", &format!("keepalive_secs = {keepalive}\nendpoints"), 1);
        std::fs::write(file.path(), text).unwrap();
        let site = config::load(file.path()).unwrap();
        Arc::new(Wanted { site, revision, enabled: true, frozen_until, frozen_to: None, known_key: None })
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_router_undid_is_not_tried_again_over_a_new_connection_but_something_else_is() {
        let (mut hold, first) = (Hold::default(), wanted(1, 25, None));
        assert_eq!(hold.on(&first, 0), None);
        hold.undone(&first);
        tokio::time::advance(Duration::from_mins(1)).await;
        let left = UNDONE_PAUSE.saturating_sub(Duration::from_mins(1));
        assert_eq!(hold.on(&first, 0), Some((Phase::Refused, left)));
        assert_eq!(hold.on(&wanted(2, 25, None), 0), Some((Phase::Refused, left)), "a new revision of the same");
        assert_eq!(hold.on(&wanted(2, 30, None), 0), None, "something else");
        tokio::time::advance(UNDONE_PAUSE).await;
        assert_eq!(hold.on(&first, 0), None, "hours later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_freeze_holds_until_its_second() {
        let (hold, frozen) = (Hold::default(), wanted(1, 25, Some(1_000)));
        assert_eq!(hold.on(&frozen, 990), Some((Phase::Frozen, Duration::from_secs(10))));
        assert_eq!((hold.on(&frozen, 1_000), hold.on(&frozen, i64::MIN)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_clocks_the_one_that_nobody_can_set_tells_how_long_a_freeze_lasts() {
        let (by_clock, mut both) = (wanted(1, 25, Some(1_000)), (*wanted(1, 25, Some(1_000))).clone());
        assert_eq!(by_clock.frozen_for(900), Some(Duration::from_secs(100)));
        both.frozen_to = Some(Instant::now() + Duration::from_mins(1));
        assert_eq!(both.frozen_for(900), Some(Duration::from_mins(1)));
        assert_eq!((by_clock.frozen_for(2_000), wanted(1, 25, None).frozen_for(0)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_neither_ends_a_freeze_nor_makes_one_longer() {
        let until = Some(1_000);
        let told =
            Wanted { frozen_to: Some(Instant::now() + Duration::from_mins(1)), ..(*wanted(1, 25, until)).clone() };
        let (hold, told) = (Hold::default(), Arc::new(told));
        for unix in [0, 999, 1_000, i64::MAX] {
            assert_eq!(hold.on(&told, unix), Some((Phase::Frozen, Duration::from_mins(1))), "{unix}");
        }
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(hold.on(&told, 0), None);
    }
}
