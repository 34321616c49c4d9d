//! Fair shares of a group's sites: even among the proxies that may drive it, as far as each has room; the others take the rest.

use std::collections::BTreeMap;

use super::db::{RowExt as _, Run as _, Tx, q};
use crate::api::MAX_LEASES;
use crate::hub::store::Stored;

/// A process that lives.
#[derive(Debug)]
pub(super) struct Living {
    pub holder: String,
    /// Of its token; empty for all.
    group: String,
    /// How many sites it has room for, those that it has included.
    room: i64,
    /// How many it has, by group.
    pub has: BTreeMap<String, i64>,
}

impl Living {
    pub fn may_drive(&self, group: &str) -> bool {
        self.group.is_empty() || self.group == group
    }

    pub fn has_of(&self, group: &str) -> i64 {
        self.has.get(group).copied().unwrap_or(0)
    }

    /// How many more it has room for.
    pub fn free(&self) -> i64 {
        (self.room - self.has.values().sum::<i64>()).max(0)
    }

    /// Most sites of a group that it could have.
    fn most(&self, group: &str) -> i64 {
        self.has_of(group) + self.free()
    }
}

/// The processes of an account that were heard since then, with what they have.
pub(super) async fn living(tx: &mut Tx, account: &str, since: i64, now: i64) -> Stored<Vec<Living>> {
    let held = q!(
        "SELECT l.holder, s.proxy AS grp, COUNT(*) AS n FROM lease l JOIN site s ON s.id = l.site \
         WHERE s.account = $1 AND s.proxy IS NOT NULL AND l.until_ms > $2 GROUP BY l.holder, s.proxy",
        account,
        now
    );
    let mut has: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for row in held.all(tx).await? {
        has.entry(row.text("holder")?).or_default().insert(row.text("grp")?, row.int("n")?);
    }
    let heard =
        q!("SELECT holder, grp, room FROM proxy WHERE account = $1 AND seen_ms > $2 ORDER BY holder", account, since);
    let mut living = Vec::new();
    for row in heard.all(tx).await? {
        let holder = row.text("holder")?;
        // A hub of an older version notes no room.
        let room = row.opt_int("room")?.unwrap_or_else(|| i64::from(MAX_LEASES));
        let has = has.remove(&holder).unwrap_or_default();
        living.push(Living { holder, group: row.text("grp")?, room, has });
    }
    Ok(living)
}

/// The fair share of a group's sites: the least number up to which all may take, each as far as it has room, so that none is left
/// over; if there is not room for all, what the roomiest can have. Who has no room for its share changes nothing by being full, so
/// nobody gives up what nobody else would take.
pub(super) fn fair(sites: i64, group: &str, living: &[Living]) -> i64 {
    let able = living.iter().filter(|process| process.may_drive(group));
    even(sites, able.map(|process| process.most(group)).collect())
}

fn even(sites: i64, mut most: Vec<i64>) -> i64 {
    let able = most.len();
    most.sort_unstable();
    let mut left = sites;
    for (place, most) in most.iter().enumerate() {
        let among = i64::try_from(able - place).unwrap_or(i64::MAX);
        let share = (left + among - 1).div_euclid(among);
        if *most >= share {
            return share;
        }
        left -= most;
    }
    most.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::even;

    #[test]
    fn a_share_is_even_as_far_as_there_is_room_and_the_rest_goes_to_whoever_has_some() {
        assert_eq!(even(7, vec![100, 100]), 4);
        assert_eq!(even(100, vec![1000, 10]), 90);
        assert_eq!(even(100, vec![10, 1000, 1000]), 45);
        assert_eq!(even(100, vec![50, 50]), 50);
        assert_eq!(even(100, vec![0, 1000]), 100);
        assert_eq!(even(100, vec![10, 20]), 20);
        assert_eq!(even(0, vec![10]), 0);
        assert_eq!(even(5, vec![]), 0);
    }
}
