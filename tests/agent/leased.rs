//! A proxy whose hub is away for much longer than its leases last.
#![cfg(feature = "proxy")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use sitepeer::agent::fleet::{Credentials, Leases, boot_time};
use sitepeer::agent::standing::Phase;
use sitepeer::api::LEASE_MS;
use sitepeer::domain::Secret;
use tokio::sync::watch;

use crate::away::Stepped;
use crate::fake;
use crate::hub::{PEER, Said, Scene, desired};
use crate::running::Running;
use crate::world::{INSTALLER, Row};

/// How long the hub is away.
const AWAY: Duration = Duration::from_mins(32);
/// Between two times that somebody takes something out.
const DRIFT_EVERY: Duration = Duration::from_mins(4);
/// Something that was taken out is back within this.
const BACK_WITHIN: Duration = Duration::from_mins(1);
/// A hub that is away.
const GONE: i64 = 0;
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const NOTHING_NEW: &str = "HTTP/1.1 304 Not Modified\r\n\r\n";

/// A hub with one site for whoever asks for leases, under the lease of this number; and what is wanted of its router.
struct Place {
    scene: Scene,
    lease: Arc<AtomicI64>,
}

impl Place {
    async fn start() -> Self {
        let lease = Arc::new(AtomicI64::new(1));
        let wanted: Arc<Mutex<Option<(String, String)>>> = Arc::default();
        let (script_lease, script_wanted) = (Arc::clone(&lease), Arc::clone(&wanted));
        let scene = Scene::scripted(move |heard, _| {
            let number = script_lease.load(Ordering::Relaxed);
            let (url, desired) = script_wanted.lock().unwrap().clone().unwrap();
            Said::Instead(if number == GONE {
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned()
            } else if heard.path == "/v1/proxy/leases" {
                let assignment = json!({ "group": "g", "url": url });
                let site = json!({ "site": "s1s1s1s1", "name": "router", "number": number, "assignment": assignment, "peers": [PEER] });
                fake::json(&json!({ "lease_ms": LEASE_MS, "digest": number.to_string(), "sites": [site] }).to_string())
            } else if heard.path.contains("/reports") {
                fake::json(r#"{"number":1}"#)
            } else if heard.path.contains("/applied") {
                NO_CONTENT.to_owned()
            } else if heard.path.contains("revision=") {
                NOTHING_NEW.to_owned()
            } else {
                fake::json(&desired)
            })
        })
        .await;
        let url = format!("api://{}", scene.world.router.api_addr());
        *wanted.lock().unwrap() = Some((url, desired(&scene.world).to_string()));
        Self { scene, lease }
    }

    /// A proxy with all it has from the hub.
    async fn proxy(&self) -> (Running, tokio::task::JoinHandle<()>) {
        let agent = Running::of_members(Vec::new());
        std::fs::write(self.scene.path("password"), "secret\n").unwrap();
        std::fs::set_permissions(self.scene.path("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let rules = format!(
            "version = 1\n[[credentials]]\nnetworks = [\"127.0.0.0/8\"]\nuser = \"{INSTALLER}\"\npassword_file = \"password\"\n"
        );
        let rules = Credentials::parse(&rules, &self.scene.path("credentials.toml")).unwrap();
        let (_, rules) = watch::channel(Arc::new(rules));
        let hub = self.scene.hub().with_credential(Secret::new("sp_prx_p1p1p1p1_c2VjcmV0".to_owned()));
        let leases = Leases::new(hub, "0123456789abcdef".to_owned(), 10, rules, agent.fleets.clone());
        let leases = tokio::spawn(leases.run());
        agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
        (agent, leases)
    }

    fn ours(&self, menu: &str) -> Vec<Row> {
        let is_ours = |row: &&Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
        self.scene.world.state_with_ids().rows(menu).iter().filter(is_ours).cloned().collect()
    }

    /// Somebody takes the tunnel address out.
    async fn drift(&self) {
        let row = self.ours("/ip/address").remove(0);
        let id = String::from_utf8(row[".id"].clone()).unwrap();
        self.scene.world.operator("/ip/address/remove", &[(".id", &id)]).await;
        assert!(self.ours("/ip/address").is_empty());
    }

    /// What the router says of who drives it.
    fn noted(&self) -> String {
        let rows = self.ours("/interface/list");
        String::from_utf8(rows[0]["comment"].clone()).unwrap()
    }

    /// Somebody else took the router over.
    async fn taken_over(&self, number: i64) {
        let row = self.ours("/interface/list").remove(0);
        let id = String::from_utf8(row[".id"].clone()).unwrap();
        let comment = format!("sitepeer:{PEER}:list lease={number}");
        self.scene.world.operator("/interface/list/set", &[(".id", &id), ("comment", &comment)]).await;
    }
}

#[tokio::test]
async fn half_an_hour_without_the_hub_drift_is_put_back_until_the_router_says_that_somebody_else_drives_it() {
    let place = Place::start().await;
    let (agent, leases) = place.proxy().await;
    assert!(place.noted().ends_with(" lease=1"), "{}", place.noted());
    let writes = place.scene.world.router.writes();
    let clock = Stepped::begin();
    let (mut gone_for, mut drifted, mut longest) = (Duration::ZERO, 0, Duration::ZERO);
    place.lease.store(GONE, Ordering::Relaxed);
    // By the clock that leases are counted by, which nobody can step.
    let ended = boot_time() + Duration::from_millis(LEASE_MS);
    let mut after_its_end = 0;
    while gone_for < AWAY {
        for _ in 0..DRIFT_EVERY.as_millis() / Stepped::STEP.as_millis() {
            clock.step().await;
        }
        gone_for += DRIFT_EVERY;
        place.drift().await;
        after_its_end += usize::from(boot_time() > ended);
        let mut back_after = Duration::ZERO;
        while place.ours("/ip/address").is_empty() {
            assert!(back_after < BACK_WITHIN, "drift is not put back after {gone_for:?}: {:?}", agent.figures());
            clock.step().await;
            back_after += Stepped::STEP;
        }
        (drifted, longest) = (drifted + 1, longest.max(back_after));
        // The rest of the run.
        for _ in 0..Duration::from_secs(15).as_millis() / Stepped::STEP.as_millis() {
            clock.step().await;
        }
    }
    assert!(after_its_end >= 3, "the lease ended too late for this test to show anything: {after_its_end}");
    assert!(place.scene.world.router.writes() > writes);
    println!(
        "hub away for {} min of simulated time: {drifted} times drift, {after_its_end} after the lease's end, back within {:.1} s",
        AWAY.as_secs() / 60,
        longest.as_secs_f64()
    );

    // Others may have heard the hub all the time, and one of them got the lease.
    place.taken_over(2).await;
    let written = place.scene.world.router.written().len();
    for _ in 0..BACK_WITHIN.as_millis() / Stepped::STEP.as_millis() {
        clock.step().await;
    }
    place.drift().await;
    for _ in 0..BACK_WITHIN.as_millis() / Stepped::STEP.as_millis() {
        clock.step().await;
    }
    assert_eq!(place.scene.world.router.written().len(), written, "it is somebody else's");
    assert!(agent.figures().trouble.is_some_and(|trouble| trouble.contains("driven-by-another")), "it says so");

    // The hub is back, and gives the lease to this one again.
    tokio::time::resume();
    drop(clock);
    place.lease.store(3, Ordering::Relaxed);
    let begun = Instant::now();
    while place.ours("/ip/address").is_empty() || !place.noted().ends_with(" lease=3") {
        assert!(begun.elapsed() < BACK_WITHIN, "{:?} {}", agent.figures(), place.noted());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    leases.abort();
    agent.stop().await;
}
