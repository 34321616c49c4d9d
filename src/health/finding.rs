//! Something that is the matter, from being seen to being shown.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codes::{CODES, Code};
use super::measured::Moment;
use crate::api::{HealthFinding, Severity};
use crate::domain::Site;
use crate::reconcile::names::Names;

/// What was seen: not yet weighed against its causes, nor against time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What kind.
    pub code: Code,
    /// What shows it.
    pub evidence: String,
    /// The way out.
    pub hint: String,
}

/// The words that hints are filled in with.
#[derive(Clone, Debug)]
pub struct Words {
    interface: String,
    endpoint: String,
    host: String,
    port: String,
    key: String,
}

impl Words {
    /// Returns the words for a site; `key` is the router's own public key, if it is known.
    #[must_use]
    pub fn of(site: &Site, key: Option<&str>) -> Self {
        let endpoint = site.endpoint();
        Self {
            interface: Names::of(site).interface,
            endpoint: endpoint.map(ToString::to_string).unwrap_or_default(),
            host: endpoint.map(|endpoint| endpoint.host.to_string()).unwrap_or_default(),
            port: endpoint.map(|endpoint| endpoint.port.to_string()).unwrap_or_default(),
            key: key.map_or_else(|| "(see /interface/wireguard/print)".to_owned(), str::to_owned),
        }
    }

    /// Returns the hub's endpoint as it was configured.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a finding; `net` is what the hint is about: a prefix, an address, a number.
    #[must_use]
    pub fn seen(&self, code: Code, evidence: impl Into<String>, net: &str) -> Seen {
        let fills = [
            ("{interface}", self.interface.as_str()),
            ("{endpoint}", &self.endpoint),
            ("{host}", &self.host),
            ("{port}", &self.port),
            ("{key}", &self.key),
            ("{net}", net),
        ];
        let hint = fills.iter().fold(code.about().hint.to_owned(), |hint, (name, value)| hint.replace(name, value));
        Seen { code, evidence: evidence.into(), hint }
    }
}

/// Leaves out what something else explains, and all but the first of each code; the rest in the order of the table.
#[must_use]
pub fn causes_only(seen: Vec<Seen>) -> Vec<Seen> {
    let codes: Vec<Code> = seen.iter().map(|finding| finding.code).collect();
    let mut kept: Vec<Seen> = Vec::new();
    for finding in seen {
        let explained = finding.code.about().silenced_by.iter().any(|cause| codes.contains(cause));
        if !explained && !kept.iter().any(|other| other.code == finding.code) {
            kept.push(finding);
        }
    }
    let place = |code: Code| CODES.iter().position(|about| about.code == code);
    kept.sort_by_key(|finding| place(finding.code));
    kept
}

/// One that was seen, and for how long.
#[derive(Clone, Debug)]
struct Held {
    seen: Seen,
    first: Moment,
    last: Moment,
    shown: bool,
}

/// What was seen over time: a finding shows once it has held long enough, and goes once it has been gone as long.
#[derive(Clone, Debug, Default)]
pub struct Board {
    held: BTreeMap<Code, Held>,
}

impl Board {
    /// Takes what a look found, causes only.
    pub fn note(&mut self, found: Vec<Seen>, now: Moment) {
        for seen in found {
            let hold = seen.code.about().hold;
            let entry = self.held.entry(seen.code).or_insert_with(|| Held {
                seen: seen.clone(),
                first: now,
                last: now,
                shown: false,
            });
            entry.seen = seen;
            entry.last = now;
            entry.shown |= now.after(entry.first) >= hold;
        }
        // One that never showed is forgotten at once: it did not hold.
        self.held.retain(|code, held| held.last == now || (held.shown && now.after(held.last) < code.about().hold));
    }

    /// Returns what shows, causes only.
    #[must_use]
    pub fn shown(&self) -> Vec<HealthFinding> {
        let shown: Vec<&Held> = self.held.values().filter(|held| held.shown).collect();
        let kept = causes_only(shown.iter().map(|held| held.seen.clone()).collect());
        let since = |code: Code| self.held.get(&code).map_or(0, |held| held.first.unix);
        kept.into_iter()
            .map(|seen| HealthFinding {
                code: seen.code.word().to_owned(),
                severity: seen.code.severity(),
                since: since(seen.code),
                evidence: seen.evidence,
                hint: seen.hint,
            })
            .collect()
    }

    /// Returns the gravest of what shows.
    #[must_use]
    pub fn gravest(&self) -> Option<Severity> {
        self.held.values().filter(|held| held.shown).map(|held| held.seen.code.severity()).min()
    }

    /// Returns how long until something that is held back would show, if it went on.
    #[must_use]
    pub fn next_due(&self, now: Moment) -> Option<Duration> {
        let waiting = self.held.iter().filter(|(_, held)| !held.shown);
        waiting.map(|(code, held)| code.about().hold.saturating_sub(now.after(held.first))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment { mono: Duration::from_secs(100), unix: 1_800_000_000 };

    fn seen(code: Code) -> Seen {
        Seen { code, evidence: "evidence".into(), hint: "hint".into() }
    }

    fn codes(board: &Board) -> Vec<String> {
        board.shown().into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_cause_silences_what_follows_from_it() {
        let found = vec![
            seen(Code::NoReply),
            seen(Code::RouteShadowed),
            seen(Code::InterfaceDisabled),
            seen(Code::NoUdpEgress),
        ];
        let codes: Vec<Code> = causes_only(found).into_iter().map(|seen| seen.code).collect();
        assert_eq!(codes, [Code::InterfaceDisabled]);
    }

    #[test]
    fn what_must_hold_shows_only_after_its_time_and_goes_only_after_as_long() {
        let mut board = Board::default();
        let hold = Code::PacketLoss.about().hold;
        board.note(vec![seen(Code::PacketLoss)], START);
        assert_eq!(codes(&board), [""; 0]);
        assert_eq!(board.next_due(START), Some(hold));
        board.note(vec![seen(Code::PacketLoss)], START.plus(hold));
        assert_eq!(codes(&board), ["packet-loss"]);
        assert_eq!(board.shown()[0].since, START.unix, "since it was first seen");
        board.note(Vec::new(), START.plus(hold + Duration::from_secs(1)));
        assert_eq!(codes(&board), ["packet-loss"], "one good look does not clear it");
        board.note(Vec::new(), START.plus(hold * 2));
        assert_eq!(codes(&board), [""; 0]);
    }

    #[test]
    fn what_did_not_hold_begins_anew() {
        let mut board = Board::default();
        let hold = Code::PacketLoss.about().hold;
        board.note(vec![seen(Code::PacketLoss)], START);
        board.note(Vec::new(), START.plus(hold / 2));
        board.note(vec![seen(Code::PacketLoss)], START.plus(hold));
        assert_eq!(codes(&board), [""; 0]);
    }
}
