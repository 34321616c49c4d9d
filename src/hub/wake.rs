//! Wakes long-polls when what they wait for has changed.
//!
//! A waiter takes its [`Waiter`] *before* it reads the store, so that no change between reading and waiting is missed. Nothing is
//! queued: a wake says "read again", however many changes there were.
//!
//! One task, [`Wakes::fan_out`], wakes the agents of an instance whose merged reach changed, at a bounded rate: one new site must
//! not make ten thousand agents read at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::api::{GatewayId, InstanceId, PeerId};

/// Agents woken at once by a change of reach.
const FAN_OUT_SLICE: usize = 100;
/// Between two slices: 2,000 agents a second, each of which reads once.
const FAN_OUT_PAUSE: Duration = Duration::from_millis(50);

/// What somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What a gateway is to serve.
    Gateway(GatewayId),
    /// What is to be on a site peer's router.
    Peer(PeerId),
}

/// What has changed, as replicas tell it each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Signal {
    /// This topic.
    Topic(Topic),
    /// What the sites of an instance may reach.
    Reach(InstanceId),
}

/// Not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a signal: {0:?}")]
pub struct InvalidSignal(String);

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(Topic::Gateway(id)) => write!(f, "gateway:{id}"),
            Self::Topic(Topic::Peer(id)) => write!(f, "peer:{id}"),
            Self::Reach(id) => write!(f, "reach:{id}"),
        }
    }
}

impl std::str::FromStr for Signal {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let invalid = || InvalidSignal(text.to_owned());
        let (kind, id) = text.split_once(':').ok_or_else(invalid)?;
        Ok(match kind {
            "gateway" => Self::Topic(Topic::Gateway(id.parse().map_err(|_| invalid())?)),
            "peer" => Self::Topic(Topic::Peer(id.parse().map_err(|_| invalid())?)),
            "reach" => Self::Reach(id.parse().map_err(|_| invalid())?),
            _ => return Err(invalid()),
        })
    }
}

/// Who waits in this process.
#[derive(Debug, Default)]
pub struct Wakes {
    topics: Mutex<HashMap<Topic, Queue>>,
    reach: Mutex<BTreeSet<InstanceId>>,
    reach_changed: Notify,
}

/// Those who wait for one topic.
#[derive(Debug)]
struct Queue {
    bell: watch::Sender<()>,
    instance: Option<InstanceId>,
}

/// A place in the queue for one topic; dropping it leaves the queue.
#[derive(Debug)]
pub struct Waiter {
    wakes: Arc<Wakes>,
    topic: Topic,
    bell: Option<watch::Receiver<()>>,
}

impl Wakes {
    /// Takes a place for a topic; an agent's comes with its instance.
    #[must_use]
    pub fn waiter(self: &Arc<Self>, topic: Topic, instance: Option<InstanceId>) -> Waiter {
        let mut topics = lock(&self.topics);
        let queue = topics.entry(topic.clone()).or_insert_with(|| Queue { bell: watch::Sender::new(()), instance });
        let bell = Some(queue.bell.subscribe());
        Waiter { wakes: Arc::clone(self), topic, bell }
    }

    /// Wakes whom a signal concerns in this process.
    pub fn signal(&self, signal: &Signal) {
        match signal {
            Signal::Topic(topic) => self.wake(topic),
            Signal::Reach(instance) => {
                lock(&self.reach).insert(instance.clone());
                self.reach_changed.notify_one();
            }
        }
    }

    /// Wakes everybody, when signals may have been lost: gateways at once, agents at the bounded rate.
    pub fn wake_all(&self) {
        let mut reach = lock(&self.reach);
        for (topic, queue) in lock(&self.topics).iter() {
            match (&topic, &queue.instance) {
                (Topic::Peer(_), Some(instance)) => {
                    reach.insert(instance.clone());
                }
                _ => {
                    queue.bell.send_replace(());
                }
            }
        }
        self.reach_changed.notify_one();
    }

    /// Returns how many topics are waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.topics).len()
    }

    /// Wakes the agents of instances whose reach changed, a hundred at a time, the instances taking turns. Never ends.
    ///
    /// # Cancel safety
    /// Agents that were not woken yet find out when their poll ends.
    pub async fn fan_out(&self) {
        let mut waiting: BTreeMap<InstanceId, Vec<Topic>> = BTreeMap::new();
        loop {
            if waiting.is_empty() {
                self.reach_changed.notified().await;
            }
            for instance in std::mem::take(&mut *lock(&self.reach)) {
                let agents = self.agents_of(&instance);
                waiting.insert(instance, agents);
            }
            let share = (FAN_OUT_SLICE / waiting.len().max(1)).max(1);
            for agents in waiting.values_mut() {
                for topic in agents.drain(agents.len().saturating_sub(share)..) {
                    self.wake(&topic);
                }
            }
            waiting.retain(|_, agents| !agents.is_empty());
            tokio::time::sleep(FAN_OUT_PAUSE).await;
        }
    }

    fn agents_of(&self, instance: &InstanceId) -> Vec<Topic> {
        let topics = lock(&self.topics);
        topics
            .iter()
            .filter(|(_, queue)| queue.instance.as_ref() == Some(instance))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    fn wake(&self, topic: &Topic) {
        if let Some(queue) = lock(&self.topics).get(topic) {
            queue.bell.send_replace(());
        }
    }
}

impl Waiter {
    /// Waits for the next wake; one that came since the waiter was taken, or since the last wake, counts.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn woken(&mut self) {
        if let Some(bell) = &mut self.bell
            && bell.changed().await.is_err()
        {
            // The queue is held as long as there is a waiter, so this does not happen; waiting is the safe answer.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut topics = lock(&self.wakes.topics);
        self.bell = None;
        if topics.get(&self.topic).is_some_and(|queue| queue.bell.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: &str) -> Topic {
        Topic::Peer(id.parse().unwrap())
    }

    #[tokio::test]
    async fn a_wake_between_taking_the_place_and_waiting_is_not_lost() {
        let wakes = Arc::new(Wakes::default());
        let mut waiter = wakes.waiter(topic("peer1"), None);
        wakes.signal(&Signal::Topic(topic("peer1")));
        waiter.woken().await;
        drop(waiter);
        assert_eq!(wakes.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_reach_wakes_the_agents_of_that_instance_only() {
        let wakes = Arc::new(Wakes::default());
        let [one, two] = ["inst1", "inst2"].map(|id| id.parse::<InstanceId>().unwrap());
        let mut mine = wakes.waiter(topic("peer1"), Some(one.clone()));
        let mut other = wakes.waiter(topic("peer2"), Some(two));
        wakes.signal(&Signal::Reach(one));
        tokio::select! {
            () = mine.woken() => {}
            () = other.woken() => panic!("another instance's agent was woken"),
            () = wakes.fan_out() => unreachable!("never ends"),
        }
    }

    #[test]
    fn a_signal_is_read_as_it_was_written() {
        for text in ["gateway:k3f9q2x7", "peer:k3f9q2x7", "reach:k3f9q2x7"] {
            assert_eq!(text.parse::<Signal>().map(|signal| signal.to_string()), Ok(text.to_owned()));
        }
        assert!("peer:".parse::<Signal>().is_err() && "k3f9q2x7".parse::<Signal>().is_err());
    }
}
