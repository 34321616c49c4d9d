//! `kill -9` of the hub at any moment: what it acknowledged is there afterwards. Needs no root.
//!
//! On SQLite, and on PostgreSQL where there is `SITEPEER_TEST_POSTGRES` (see `tests/with_postgres.sh`).

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use sitepeer::uplink::{Trust, UplinkError};
use tempfile::TempDir;

use crate::admin::{Admin, text};
use crate::database::database;
use crate::fleet::name;
use crate::program::{Place, Program, free_address};

const ROUNDS: u32 = 100;
/// The longest a hub lives while changes are made: some end in the first, some in the tenth. PostgreSQL takes some 15 ms for one.
const LONGEST_LIFE_MS: u64 = 160;
/// Peers beyond which the oldest is deleted.
const MAX_PEERS: usize = 40;

/// What a peer's user must be; `None` if the peer must be gone. Two where the last change was not acknowledged.
type Expected = BTreeMap<String, Vec<Option<String>>>;

/// A hub that is killed and started again.
struct Mortal {
    hub: Program,
    admin: Admin,
    _folder: TempDir,
}

impl Mortal {
    /// Starts it on a PostgreSQL database, or on a SQLite file of its own.
    fn new(database: Option<&str>) -> Self {
        let (folder, address) = (TempDir::new().unwrap(), free_address());
        let data = folder.path().join("hub");
        let mut arguments = vec!["hub", "--listen", &address, "--data-dir", name(&data)];
        arguments.extend(database.iter().flat_map(|url| ["--database-url", url]));
        let hub = Program::start(&Place::Here, &folder.path().join("hub.log"), &arguments);
        let admin = Admin::arrive(None, &format!("http://{address}"), &Trust::Public, &data);
        Self { hub, admin, _folder: folder }
    }
}

#[test]
fn a_hundred_kills_of_the_hub_lose_no_acknowledged_change() {
    kill_a_hundred_times(Mortal::new(None), On::Sqlite);
}

#[test]
fn a_hundred_kills_of_the_hub_lose_no_acknowledged_change_on_postgresql() {
    let Some(database) = database("killed") else { return };
    kill_a_hundred_times(Mortal::new(Some(&database)), On::Postgres);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// What was not done when the hub died never is.
    Sqlite,
    /// What a hub sent before it died is finished by the database, perhaps after the next hub was asked first.
    Postgres,
}

fn kill_a_hundred_times(mut mortal: Mortal, on: On) {
    let new = json!({ "name": "mortal", "region": "none", "tunnel_subnet": "10.96.0.0/16", "account": mortal.admin.account() });
    let instance = text(&mortal.admin.post("/v1/instances", new), "id");
    let (mut expected, mut acknowledged, begun) = (Expected::new(), 0, Instant::now());
    for round in 0..ROUNDS {
        let life = Duration::from_millis(RandomState::new().hash_one(round) % LONGEST_LIFE_MS);
        let stop = AtomicBool::new(false);
        acknowledged += thread::scope(|scope| {
            let changing = scope.spawn(|| change(&mortal.admin, &instance, round, &mut expected, &stop));
            thread::sleep(life);
            mortal.hub.kill();
            stop.store(true, Ordering::Relaxed);
            changing.join().unwrap()
        });
        mortal.hub.start_again();
        mortal.admin.is_there();
        check(&mortal.admin, &instance, &mut expected, on);
    }
    println!(
        "{ROUNDS} kills of the hub on {on:?} in {:.0} s: {acknowledged} acknowledged changes, all there",
        begun.elapsed().as_secs_f64()
    );
    assert!(acknowledged > u64::from(ROUNDS), "only {acknowledged} changes were made");
}

/// Changes peers until the hub is gone; returns how many changes were acknowledged.
fn change(admin: &Admin, instance: &str, round: u32, expected: &mut Expected, stop: &AtomicBool) -> u64 {
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return number;
        }
        let user = format!("user-{round}-{number}");
        let living: Vec<String> =
            expected.iter().filter(|(_, user)| user[0].is_some()).map(|(id, _)| id.clone()).collect();
        let acknowledged = if living.len() > MAX_PEERS {
            settle(admin.ask(Method::DELETE, &format!("/v1/peers/{}", living[0]), None), &living[0], None, expected)
        } else if number % 2 == 1 && !living.is_empty() {
            let id = &living[usize::try_from(number).unwrap() % living.len()];
            let body = json!({ "user": user });
            settle(admin.ask(Method::PATCH, &format!("/v1/peers/{id}"), Some(body)), id, Some(user), expected)
        } else {
            let made = admin.ask(
                Method::POST,
                &format!("/v1/instances/{instance}/peers"),
                Some(json!({ "kind": "client", "user": user })),
            );
            match made {
                Ok(peer) => expected.insert(text(&peer, "id"), vec![Some(user)]).is_none(),
                // It may be there or not; its id is not known, so nothing is expected of it.
                Err(error) => gone(&error),
            }
        };
        if !acknowledged {
            return number;
        }
    }
    unreachable!("numbers do not end")
}

/// Notes what a change makes of a peer; returns whether it was acknowledged.
fn settle(result: Result<Value, UplinkError>, id: &str, becomes: Option<String>, expected: &mut Expected) -> bool {
    let states = expected.get_mut(id).unwrap();
    match result {
        Ok(_) => {
            *states = vec![becomes];
            true
        }
        Err(error) => {
            states.push(becomes);
            gone(&error)
        }
    }
}

/// `false`: the hub is gone. Anything it *says* instead is a failure.
fn gone(error: &UplinkError) -> bool {
    assert!(error.problem().is_none(), "the hub refused: {error:?}");
    false
}

/// Everything acknowledged is there; what was not acknowledged is settled by what is there.
fn check(admin: &Admin, instance: &str, expected: &mut Expected, on: On) {
    let peers = admin.peers(instance);
    let found: BTreeMap<_, _> = peers.iter().map(|peer| (text(peer, "id"), text(peer, "user"))).collect();
    for (id, states) in expected.iter_mut() {
        let is = found.get(id).cloned();
        assert!(states.contains(&is), "peer {id} is {is:?}, acknowledged was {states:?}");
        // What was not acknowledged may still come, until the next change is.
        states.retain(|state| on == On::Postgres && *state != is);
        states.insert(0, is);
    }
    expected.retain(|_, states| states[0].is_some());
    // Peers whose creation was not acknowledged, and is there all the same, take part from now on.
    for (id, user) in found {
        expected.entry(id).or_insert_with(|| vec![Some(user)]);
    }
}
