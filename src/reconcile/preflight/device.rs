//! What the router itself must be: version, policies, menus, clock.

use super::Weight;
use super::{Finding, Session, refuse, warn};
use crate::domain::{DEFAULT_ROUTING_TABLE, RouterOsVersion, Site};
use crate::reconcile::desired::DesiredRow;
use crate::reconcile::observe::{Observed, Unread};
use crate::routeros::menu::{self, Family};

/// The first version whose WireGuard menus have all that we use.
const SUPPORTED: RouterOsVersion = RouterOsVersion::new(7, 12, 0);
/// The first version with WireGuard.
const FIRST_WITH_WIREGUARD: RouterOsVersion = RouterOsVersion::new(7, 1, 0);
/// Policies a run needs: to read, to write, and for `/tool/ping`. *Source:* the manual's User page.
const POLICIES: [&str; 3] = ["read", "write", "test"];
/// A clock this far from ours, in seconds, is implausible: time zones are accounted for, so a day is generous.
const CLOCK_TOLERANCE_SECS: i64 = 24 * 3600;

/// Returns what version and packages say; without WireGuard nothing else is worth telling.
#[must_use]
pub fn version(observed: &Observed) -> Vec<Finding> {
    let Some(version) = observed.version() else {
        let said =
            observed.singleton(&menu::RESOURCE).and_then(|row| row.text("version")).unwrap_or_default().into_owned();
        return vec![refuse(
            "version-unknown",
            format!("the router gives its version as {said:?}, which is not a RouterOS version"),
            "sitepeer needs RouterOS 7.12 or later",
        )];
    };
    if version < FIRST_WITH_WIREGUARD {
        return vec![refuse(
            "version-without-wireguard",
            format!("RouterOS {version} has no WireGuard"),
            "upgrade the router to RouterOS 7.12 or later",
        )];
    }
    if let Some(Unread::Missing(words)) = observed.unread(&menu::WIREGUARD) {
        return vec![refuse(
            "no-wireguard",
            format!("RouterOS {version} has no /interface/wireguard here; it said: {words}"),
            "WireGuard is part of the package `routeros`: look at /system/package and at what this device supports",
        )];
    }
    if let Some(Unread::Closed(words)) = observed.unread(&menu::WIREGUARD) {
        return vec![refuse(
            "policy",
            format!("this user may not read /interface/wireguard; the router said: {words}"),
            "give the user's group the policies read, write, test and api",
        )];
    }
    if version < SUPPORTED {
        return vec![warn(
            "version-untested",
            format!("RouterOS {version} is older than 7.12: best effort"),
            "upgrade the router when you can",
        )];
    }
    Vec::new()
}

pub(super) fn policies(observed: &Observed, session: &Session) -> Option<Finding> {
    let have = observed.policies(&session.user)?;
    let missing: Vec<&str> = POLICIES.into_iter().filter(|policy| !have.iter().any(|h| h == policy)).collect();
    (!missing.is_empty()).then(|| {
        let finding = refuse(
            "policy",
            format!("user {:?} lacks the policies {}", session.user, missing.join(", ")),
            "give the user's group the policies read, write, test and api",
        );
        if session.writes { finding } else { Finding { weight: Weight::Warn, ..finding } }
    })
}

/// Menus that rows are wanted in, and that could not be read.
pub(super) fn unreadable(desired: &[DesiredRow], observed: &Observed) -> Option<Finding> {
    let menu = desired.iter().map(|row| row.menu).find(|menu| observed.unread(menu).is_some())?;
    let (code, words) = match observed.unread(menu)? {
        Unread::Missing(words) if menu.family == Family::V6 => ("no-ipv6", words),
        Unread::Missing(words) => ("no-menu", words),
        Unread::Closed(words) => ("policy", words),
    };
    let hint = match code {
        "no-ipv6" => "enable IPv6 on the router, or leave the IPv6 prefixes out of the site config",
        "policy" => "give the user's group the policies read, write, test and api",
        _ => "look at /system/package: a package may be disabled",
    };
    Some(refuse(
        code,
        format!("rows are wanted in {}, and it cannot be read; the router said: {words}", menu.path),
        hint,
    ))
}

pub(super) fn routing_table(site: &Site, observed: &Observed) -> Option<Finding> {
    let table = &site.routing.table;
    if table == DEFAULT_ROUTING_TABLE {
        return None;
    }
    let is_usable = observed
        .rows(&menu::ROUTING_TABLE)
        .iter()
        .any(|row| row.get("name") == Some(table.as_bytes()) && row.get("fib").is_some() && !row.is_true("disabled"));
    Some(if is_usable {
        warn(
            "routing-table",
            format!("the routes go into table {table:?}, which only traffic sent there by a rule or a mark uses"),
            "see that /routing/rule or a mangle rule sends the sites' traffic to that table",
        )
    } else {
        refuse(
            "routing-table",
            format!("the router has no enabled routing table {table:?} with a FIB"),
            "make it (/routing/table/add fib), or leave routing.table out",
        )
    })
}

pub(super) fn clock(observed: &Observed, session: &Session) -> Option<Finding> {
    let router = observed.clock()?;
    let behind = session.now - router;
    (behind.abs() > CLOCK_TOLERANCE_SECS).then(|| {
        warn(
            "clock",
            format!(
                "the router's clock is {} {} ours",
                human_secs(behind.unsigned_abs()),
                if behind > 0 { "behind" } else { "ahead of" }
            ),
            "a hub ignores handshakes older than the last one it saw: set up NTP (/system/ntp/client) or /ip/cloud",
        )
    })
}

/// Days or hours, for people.
fn human_secs(secs: u64) -> String {
    match secs / 86_400 {
        0 => format!("{} hours", secs / 3600),
        days => format!("{days} days"),
    }
}

/// Rules that send some traffic by another table: the router's own ping would not notice.
pub(super) fn policy_routing(observed: &Observed) -> Option<Finding> {
    let marks = observed.rows(&menu::MANGLE).iter().find(|row| {
        row.get("action") == Some(b"mark-routing") && !row.is_true("disabled") && !row.is_true("dynamic")
    })?;
    let chain = marks.text("chain").unwrap_or_default().into_owned();
    Some(warn(
        "policy-routing",
        format!("a mangle rule of chain {chain} marks routes: what it marks may not find the way into the tunnel"),
        "accept the sites' prefixes before that rule, if LAN hosts do not get through",
    ))
}
