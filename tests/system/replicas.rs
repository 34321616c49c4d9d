//! Two hubs on one PostgreSQL. Needs `SITEPEER_TEST_POSTGRES` (see `tests/with_postgres.sh`) and no root.

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sitepeer::uplink::{Hub, Trust};
use tempfile::TempDir;

use crate::admin::{Admin, text};
use crate::database::database;
use crate::fleet::name;
use crate::program::{Place, Program, free_address};

/// Changes whose way from one hub to an agent at the other is timed.
const CHANGES: usize = 50;
/// What is shown is 1 s; a machine that does ten other things at once gets some more before the test fails.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes each change differ from the one before.
static NUMBER: AtomicU16 = AtomicU16::new(0);

struct Replica {
    hub: Program,
    admin: Admin,
}

impl Replica {
    fn start(number: u8, database: &str, folder: &Path, token: Option<&str>) -> Self {
        let address = free_address();
        let (data, url) = (folder.join(format!("hub{number}")), format!("http://{address}"));
        let arguments = ["hub", "--listen", &address, "--data-dir", name(&data), "--database-url", database];
        let hub = Program::start(&Place::Here, &folder.join(format!("hub{number}.log")), &arguments);
        let admin = match token {
            None => Admin::arrive(None, &url, &Trust::Public, &data),
            Some(token) => {
                let admin = Admin::new(None, &url, &Trust::Public, &sitepeer::domain::Secret::new(token.to_owned()));
                admin.is_there();
                admin
            }
        };
        Self { hub, admin }
    }

    /// An agent that polls here.
    fn agent(&self, credential: &str) -> Hub {
        self.admin.as_somebody(credential)
    }

    /// Asks for something newer, for at most `wait` seconds.
    fn desired(&self, agent: &Hub, revision: i64, wait: u32) -> Option<Value> {
        let (agent, path) = (agent.clone(), format!("/v1/agent/desired?revision={revision}&wait={wait}"));
        self.admin.run(async move { agent.poll(&path).await }).unwrap()
    }
}

/// Changes the peer at one hub; returns how long it took to reach the agent at the other, and the new revision.
fn travels(change_at: &Replica, agent_at: &Replica, agent: &Hub, peer: &str, revision: i64) -> (Duration, i64) {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let answer = agent_at.desired(agent, revision, 30);
            (Instant::now(), answer)
        });
        // The poll is to be held when the change comes, not to find it.
        std::thread::sleep(Duration::from_millis(20));
        assert!(
            !waiting.is_finished(),
            "the poll for what is newer than {revision} was answered before there was anything"
        );
        let begun = Instant::now();
        let keepalive = 10 + NUMBER.fetch_add(1, Ordering::Relaxed) % 50;
        change_at.admin.patch(&format!("/v1/peers/{peer}"), json!({ "keepalive_secs": keepalive }));
        let (came, answer) = waiting.join().unwrap();
        let answer = answer.unwrap_or_else(|| panic!("the change did not reach the agent within its poll"));
        let next = answer["revision"].as_i64().unwrap();
        assert!(next > revision, "{next} after {revision}");
        (came.saturating_duration_since(begun), next)
    })
}

#[test]
fn a_change_at_one_hub_reaches_an_agent_at_the_other_and_one_of_them_may_die() {
    let Some(database) = database("replicas") else { return };
    let folder = TempDir::new().unwrap();
    let mut one = Replica::start(1, &database, folder.path(), None);
    let token = std::fs::read_to_string(folder.path().join("hub1/admin.token")).unwrap();
    let two = Replica::start(2, &database, folder.path(), Some(token.trim()));

    let account = one.admin.account();
    let instance = json!({ "name": "shared", "region": "none", "account": account });
    let instance = text(&one.admin.post("/v1/instances", instance), "id");
    let site = text(&two.admin.post("/v1/sites", json!({ "name": "site", "account": account })), "id");
    let peer = one.admin.peer(&instance, json!({ "kind": "site", "site": site, "subnets": ["192.168.88.0/24"] }));
    let enrollment = two.admin.post("/v1/enrollments", json!({ "peer": peer }));
    let request = json!({ "token": text(&enrollment, "token"), "device_nonce": "0123456789abcdef0123456789abcdef" });
    let credential = text(&one.admin.post("/v1/enroll", request), "credential");
    let (at_one, at_two) = (one.agent(&credential), two.agent(&credential));

    let mut revision = two.desired(&at_two, 0, 0).expect("the first answer")["revision"].as_i64().unwrap();
    // What was made above has settled once nothing newer comes for a second: a poll answered early would time nothing.
    while let Some(newer) = two.desired(&at_two, revision, 1) {
        revision = newer["revision"].as_i64().unwrap();
    }
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let (took, next) = if change % 2 == 0 {
            travels(&one, &two, &at_two, &peer, revision)
        } else {
            travels(&two, &one, &at_one, &peer, revision)
        };
        times.push(took);
        revision = next;
    }
    times.sort();
    println!(
        "change at one hub → agent at the other: p50 {:?}, max {:?} of {CHANGES}",
        times[CHANGES / 2],
        times[CHANGES - 1]
    );
    assert!(times[CHANGES - 1] < DEADLINE, "{times:?}");

    one.hub.kill();
    for _ in 0..5 {
        let (took, next) = travels(&two, &two, &at_two, &peer, revision);
        assert!(took < DEADLINE, "{took:?} with the other hub dead");
        revision = next;
    }
    one.hub.start_again();
    one.admin.is_there();
    let (took, _) = travels(&two, &one, &at_one, &peer, revision);
    assert!(took < DEADLINE, "{took:?} at a hub that came back");
}
