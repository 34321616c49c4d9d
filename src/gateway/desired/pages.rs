//! A change that comes in parts, put together. Pure: whoever has the connection asks, and hands the replies over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Delta;
use super::offer::{self, MAX_INSTANCES, MAX_PEERS, Offer, Refused};
use crate::api::{DEFAULT_WAIT_SECS, GatewayInstance, GatewayPeer, InstanceId, PeerId};

/// Most refused things that are kept and named; more are counted.
const MAX_REFUSED: usize = 500;

/// What to ask the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// What we have.
    pub revision: i64,
    /// How long the hub may wait for something newer.
    pub wait_secs: u64,
}

/// What to do after a reply.
#[derive(Debug)]
pub enum Step {
    /// Ask for the next part.
    Next(Ask),
    /// It is whole.
    Whole(Box<Delta>, Vec<Refused>),
    /// There is nothing new.
    Nothing,
    /// The hub contradicts itself; nothing of this is taken.
    Nonsense(String),
}

/// The parts so far.
#[derive(Debug, Default)]
pub struct Pages {
    /// Where the first part began; 0 asks for everything.
    since: i64,
    /// Where the next part begins.
    cursor: i64,
    /// The hub may wait for something newer.
    patient: bool,
    /// The hub told us once to begin again.
    restarted: bool,
    instances: BTreeMap<InstanceId, Option<Arc<GatewayInstance>>>,
    peers: BTreeMap<(InstanceId, PeerId), Option<Arc<GatewayPeer>>>,
    refused: Vec<Refused>,
    refused_more: usize,
}

impl Pages {
    /// Asks for what comes after a revision, and waits for it.
    #[must_use]
    pub fn since(revision: i64) -> Self {
        Self { since: revision, cursor: revision, patient: true, ..Self::default() }
    }

    /// Asks for everything, now.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// What to ask now. What is complete at once is not waited for.
    #[must_use]
    pub fn ask(&self) -> Ask {
        let waits = self.patient && self.cursor == self.since;
        Ask { revision: self.cursor, wait_secs: if waits { DEFAULT_WAIT_SECS } else { 0 } }
    }

    /// Takes a reply; `None` is "nothing new".
    pub fn take(&mut self, offer: Option<Offer>) -> Step {
        let Some(offer) = offer else {
            // Nothing at all is an empty list; nothing after a part means that it was the last one.
            let nothing = self.patient && self.cursor == self.since;
            return if nothing { Step::Nothing } else { self.whole(self.cursor) };
        };
        let back = offer.revision < self.cursor;
        if offer.restart || (back && self.cursor > 0) {
            return self.begin_again();
        }
        if offer.more && offer.revision <= self.cursor {
            let (revision, cursor) = (offer.revision, self.cursor);
            return Step::Nonsense(format!("there is more after revision {revision}, but {cursor} was reached before"));
        }
        self.collect(&offer);
        if self.instances.len() > MAX_INSTANCES || self.peers.len() > MAX_PEERS {
            return Step::Nonsense(format!("more than {MAX_INSTANCES} instances or {MAX_PEERS} peers"));
        }
        self.cursor = offer.revision;
        if offer.more { Step::Next(self.ask()) } else { self.whole(offer.revision) }
    }

    fn begin_again(&mut self) -> Step {
        if self.restarted || self.cursor == 0 {
            return Step::Nonsense("it wants us to begin again, again".to_owned());
        }
        *self = Self { restarted: true, ..Self::default() };
        Step::Next(self.ask())
    }

    /// Within a part: removals first, so that what is in both lists stays.
    fn collect(&mut self, offer: &Offer) {
        for value in &offer.removed_instances {
            if let Some(id) = self.accept(offer::removed_instance(value)) {
                self.instances.insert(id, None);
            }
        }
        for value in &offer.removed_peers {
            if let Some(id) = self.accept(offer::removed_peer(value)) {
                self.peers.insert(id, None);
            }
        }
        for value in &offer.instances {
            if let Some(instance) = self.accept(offer::instance(value)) {
                self.instances.insert(instance.id.clone(), Some(Arc::new(instance)));
            }
        }
        for value in &offer.peers {
            if let Some(peer) = self.accept(offer::peer(value)) {
                self.peers.insert((peer.instance.clone(), peer.id.clone()), Some(Arc::new(peer)));
            }
        }
    }

    fn accept<T>(&mut self, read: Result<T, Box<Refused>>) -> Option<T> {
        match read {
            Ok(thing) => Some(thing),
            Err(refused) => {
                tracing::error!(what = %refused.what, why = %refused.why, "the hub tells what no gateway can serve");
                if self.refused.len() < MAX_REFUSED {
                    self.refused.push(*refused);
                } else {
                    self.refused_more += 1;
                }
                None
            }
        }
    }

    fn whole(&mut self, revision: i64) -> Step {
        if self.refused_more > 0 {
            tracing::error!(count = self.refused_more, "more is refused than is named");
        }
        let full = self.since == 0;
        let mut delta = Delta { revision, full, ..Delta::default() };
        for (id, instance) in std::mem::take(&mut self.instances) {
            match instance {
                Some(instance) => delta.instances.push(instance),
                None => delta.removed_instances.push(id),
            }
        }
        for (id, peer) in std::mem::take(&mut self.peers) {
            match peer {
                Some(peer) => delta.peers.push(peer),
                None => delta.removed_peers.push(id),
            }
        }
        Step::Whole(Box::new(delta), std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(revision: i64, more: bool) -> Offer {
        Offer { revision, more, ..Offer::default() }
    }

    fn whole(step: Step) -> (Delta, Vec<Refused>) {
        match step {
            Step::Whole(delta, refused) => (*delta, refused),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_are_put_together_and_a_hub_that_went_back_is_asked_for_everything() {
        let mut pages = Pages::since(5);
        assert_eq!(pages.ask(), Ask { revision: 5, wait_secs: DEFAULT_WAIT_SECS });
        let Step::Next(ask) = pages.take(Some(part(7, true))) else { panic!("there is more") };
        assert_eq!(ask, Ask { revision: 7, wait_secs: 0 });
        let (delta, _) = whole(pages.take(Some(part(9, false))));
        assert_eq!((delta.revision, delta.full), (9, false));

        let mut pages = Pages::since(5);
        let Step::Next(ask) = pages.take(Some(part(3, false))) else { panic!("it went back") };
        assert_eq!(ask, Ask { revision: 0, wait_secs: 0 });
        let (delta, _) = whole(pages.take(Some(part(3, false))));
        assert_eq!((delta.revision, delta.full), (3, true));
    }

    #[test]
    fn a_hub_that_goes_in_circles_is_told_so_and_not_asked_for_ever() {
        let mut pages = Pages::since(5);
        assert!(matches!(pages.take(Some(part(5, true))), Step::Nonsense(_)));
        let mut pages = Pages::since(5);
        let restart = || Some(Offer { restart: true, ..Offer::default() });
        assert!(matches!(pages.take(restart()), Step::Next(_)));
        assert!(matches!(pages.take(restart()), Step::Nonsense(_)));
    }

    #[test]
    fn nothing_after_0_is_an_empty_list_and_nothing_after_a_revision_is_nothing() {
        assert!(matches!(Pages::since(5).take(None), Step::Nothing));
        let (delta, _) = whole(Pages::everything().take(None));
        assert!(delta.full && delta.instances.is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_by_name_and_the_rest_is_taken() {
        let good = json!({"id": "good1", "name": "x", "suspended": false, "addresses": ["10.99.0.1/24"], "listen_port": 51820,
            "pushed_routes": [], "policy": {"client_to_client": false, "site_to_site": true}, "revision": 3});
        let with = |id: &str, field: &str, value: serde_json::Value| {
            let mut instance = good.clone();
            instance["id"] = json!(id);
            instance[field] = value;
            instance
        };
        let instances = vec![
            good.clone(),
            with("../../etc", "name", json!("x")),
            with("port0", "listen_port", json!(0)),
            with("none1", "addresses", json!([])),
            with("loop1", "addresses", json!(["127.0.0.1/8"])),
            with("bad\u{1b}[31m", "name", json!("x")),
            json!(17),
        ];
        let peers = vec![json!({"id": "peer1", "instance": "good1", "public_key": "AAAA"})];
        let offer = Offer { instances, peers, ..part(9, false) };
        let (delta, refused) = whole(Pages::everything().take(Some(offer)));
        assert_eq!(delta.instances.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["good1"]);
        let names: Vec<&str> = refused.iter().map(|refused| refused.what.as_str()).collect();
        let expected = [
            "instance \"../../etc\"",
            "instance \"port0\"",
            "instance \"none1\"",
            "instance \"loop1\"",
            "instance \"bad\\u{1b}[31m\"",
            "instance without an id",
            "peer \"peer1\"",
        ];
        assert_eq!(names, expected);
        assert_eq!(refused[1].instance, Some(("port0".parse().unwrap(), 3)));
    }
}
