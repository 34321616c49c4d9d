//! Two proxies as processes share the sites of one hub: one is stopped and goes on, one is killed, and no router ever has two
//! writers, with the hub, without it, and with the hub away for one of them only. Takes four minutes; figures are printed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sitepeer::api::code;
use sitepeer::domain::Secret;
use sitepeer::sim::{SimOptions, SimRouter, SimUser, Written};
use sitepeer::uplink::{Hub, Method, SendOptions, Trust};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

/// Routers: three for each proxy.
const ROUTERS: usize = 6;
/// What is shown of a proxy that died or was stopped.
const TAKEOVER: Duration = Duration::from_secs(30);
/// Longer than a lease by any measure.
const OVER: Duration = Duration::from_secs(25);
/// Whatever else is waited for.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two changes by hand on a router: its driver is nearly always at work.
const DRIFT_EVERY: Duration = Duration::from_secs(3);

/// The way of one proxy to the hub, which can be cut.
struct Way {
    url: String,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(hub: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (open, is_open) = watch::channel(true);
        let hub = hub.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (hub, mut is_open) = (hub.clone(), is_open.clone());
                tokio::spawn(async move {
                    let carry = async {
                        let mut far = TcpStream::connect(hub).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await
                    };
                    tokio::select! {
                        carried = carry => drop(carried),
                        // Whoever comes while it is cut is cut at once.
                        _cut = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { url, open }
    }
}

struct Scene {
    folder: tempfile::TempDir,
    hub: Hub,
    url: String,
    routers: Vec<SimRouter>,
    hub_process: Child,
}

fn program(folder: &std::path::Path, log: &str) -> Command {
    let log = std::fs::File::create(folder.join(log)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
    command.current_dir(folder).env_clear().env("SITEPEER_LOG", "sitepeer=info").env("ROUTERS", "secret");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
    command
}

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut hub = program(folder.path(), "hub.log");
        hub.args(["hub", "--listen", &address, "--data-dir", "hub", "--report-secs", "1"]);
        hub.args(["--gateway", "--public-host", "127.0.0.1", "--backend", "rootless"]);
        let child = hub.spawn().unwrap();
        let token = folder.path().join("hub/admin.token");
        until("the hub made its first token", PATIENCE, || {
            std::fs::read_to_string(&token).is_ok_and(|text| !text.is_empty())
        })
        .await;
        let token = Secret::new(std::fs::read_to_string(&token).unwrap().trim().to_owned());
        let url = format!("http://{address}");
        let hub = Hub::new(url.parse().unwrap(), &Trust::Public, Some(token)).unwrap();
        while hub.get::<Value>("/v1/whoami").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut scene = Self { folder, hub, url, routers: Vec::new(), hub_process: child };
        scene.fill().await;
        scene
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let sent = self.hub.send(Method::POST, path, Some(&body), &SendOptions::default()).await;
        sent.unwrap_or_else(|error| panic!("{path}: {error}")).json().unwrap()
    }

    /// An instance with a site for each router, assigned to the proxies of group `g`.
    async fn fill(&mut self) {
        let account = self.post("/v1/accounts", json!({ "name": "a", "max_instances": 0 })).await["id"].clone();
        let new = json!({ "name": "main", "region": "default", "account": account });
        let instance = self.post("/v1/instances", new).await["id"].as_str().unwrap().to_owned();
        for number in 0..ROUTERS {
            let user = |name: &str| SimUser {
                name: name.into(),
                password: Secret::new("secret".into()),
                group: "full".into(),
            };
            let lan = format!("192.168.{}.1/24", 100 + number).parse().unwrap();
            let users = vec![user("a"), user("b")];
            let router =
                SimRouter::start(SimOptions { api_ssl: None, plane: false, lan, users, ..SimOptions::default() });
            let router = router.await.unwrap();
            let site = self.post("/v1/sites", json!({ "name": format!("site-{number}"), "account": account })).await;
            let site = site["id"].as_str().unwrap();
            let subnets = [format!("192.168.{}.0/24", 100 + number)];
            self.post(
                &format!("/v1/instances/{instance}/peers"),
                json!({ "kind": "site", "site": site, "subnets": subnets }),
            )
            .await;
            let assignment = json!({ "group": "g", "url": format!("api://{}", router.api_addr()) });
            self.post(&format!("/v1/sites/{site}/proxy"), assignment).await;
            self.routers.push(router);
        }
        for name in ["a", "b"] {
            let new = json!({ "name": name, "role": "proxy", "account": account, "region": "g" });
            let token = self.post("/v1/tokens", new).await["secret"].as_str().unwrap().to_owned();
            self.secret(&format!("{name}.token"), &token);
            let rule = format!(
                "version = 1\n[[credentials]]\nnetworks = [\"127.0.0.0/8\"]\nuser = \"{name}\"\npassword_env = \"ROUTERS\"\n"
            );
            self.secret(&format!("{name}.toml"), &rule);
            // As on a host of its own: no lock file is shared.
            std::fs::create_dir(self.path(name)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn proxy(&self, name: &str) -> Child {
        self.proxy_by(name, &self.url)
    }

    fn proxy_by(&self, name: &str, url: &str) -> Child {
        let mut command = program(self.folder.path(), &format!("{name}.log"));
        command.env("XDG_RUNTIME_DIR", self.path(name));
        command.args(["proxy", "--hub", url, "--token-file", &format!("{name}.token"), "--state-dir", name]);
        command.args(["--credentials", &format!("{name}.toml")]);
        command.spawn().unwrap()
    }

    /// Leases are for proxies, and nobody speaks for a site whose lease it has not.
    async fn assert_refuses_strangers(&self) {
        let request = json!({ "proxy": "0123456789abcdef", "room": 1 });
        let refused = self.hub.post::<_, Value>("/v1/proxy/leases", &request).await.unwrap_err();
        assert!(refused.is_refused_with(code::FORBIDDEN), "{refused}");
        let peers = self.hub.get::<Value>("/v1/peers").await.unwrap();
        let peer = peers["items"][0]["id"].as_str().unwrap();
        let token = std::fs::read_to_string(self.path("a.token")).unwrap();
        let proxy = self.hub.with_credential(Secret::new(token));
        let path = format!("/v1/proxy/peers/{peer}/desired?number=1");
        let ended = proxy.get::<Value>(&path).await.unwrap_err();
        assert!(ended.is_refused_with(code::LEASE_ENDED), "{ended}");
        let other = proxy.get::<Value>("/v1/sites").await.unwrap_err();
        assert!(other.is_refused_with(code::FORBIDDEN), "{other}");
    }

    /// Routers that this user is logged in to.
    fn of(&self, user: &str) -> Vec<usize> {
        (0..ROUTERS).filter(|number| self.routers[*number].users().iter().any(|one| one == user)).collect()
    }

    /// Each router's tunnel address is taken out by hand: whoever drives it puts it back.
    async fn drift(&self) {
        for router in &self.routers {
            let rows = router.operator("/ip/address/print", &[]).await.unwrap();
            let rows: Vec<BTreeMap<String, Vec<u8>>> = rows.into_iter().map(|row| row.into_iter().collect()).collect();
            let is_ours = |row: &&BTreeMap<String, Vec<u8>>| {
                row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"))
            };
            if let Some(row) = rows.iter().find(is_ours) {
                router.operator("/ip/address/remove", &[(".id", &row[".id"])]).await.unwrap();
            }
        }
    }

    /// Drifts for so long, or until something is so; returns when that was.
    async fn drifting(&self, within: Duration, is_so: impl Fn() -> bool) -> Option<Duration> {
        let begun = Instant::now();
        let mut next = begun;
        while begun.elapsed() < within {
            if Instant::now() >= next {
                self.drift().await;
                next += DRIFT_EVERY;
            }
            if is_so() {
                return Some(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// The number of the newest lease that a router was written to under.
    fn newest(&self, number: usize) -> i64 {
        self.routers[number].written().iter().filter_map(lease).max().unwrap_or_default()
    }

    fn said(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name} ---\n{}\n", lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        ["hub.log", "a.log", "b.log"].map(tail).concat()
    }

    /// The last write of a user on a router after a moment, if there is one.
    fn wrote(&self, number: usize, user: &str, since: Instant) -> bool {
        self.routers[number].written().iter().any(|written| written.user == user && written.at >= since)
    }

    /// Every write was made under the lock of its user, and numbers of locks only grow when the user changes; returns changes of users.
    /// A lock without a number is that of a proxy whose hub is away: who has not the newest number writes nothing under it.
    fn assert_one_writer(&self) -> usize {
        let mut changes = 0;
        for (number, router) in self.routers.iter().enumerate() {
            let mut holder: Option<(String, i64)> = None;
            let mut guest: Option<String> = None;
            for written in router.written() {
                if is_lock(&written) && lease(&written).is_none() {
                    let is_holder = holder.as_ref().is_some_and(|(user, _)| *user == written.user);
                    guest = (!is_holder).then_some(written.user);
                    continue;
                }
                if let Some(lease) = lease(&written) {
                    if let Some((user, before)) = &holder {
                        assert!(lease >= *before, "router {number}: lease {lease} after {before}\n{}", self.said());
                        assert!(*user == written.user || lease > *before, "router {number}: two users with one lease");
                        changes += usize::from(*user != written.user);
                    }
                    (holder, guest) = (Some((written.user.clone(), lease)), None);
                }
                let user = holder.as_ref().map(|(user, _)| user.as_str());
                let is_overtaking = written.path == "/ip/firewall/address-list/remove";
                assert!(
                    (user == Some(&written.user) && guest.is_none()) || is_overtaking,
                    "router {number}: {written:?} while {holder:?} with guest {guest:?}\n{}",
                    self.said()
                );
            }
        }
        changes
    }
}

fn is_lock(written: &Written) -> bool {
    let comment = written.comment.as_ref().filter(|_| written.path == "/ip/firewall/address-list/add");
    comment.is_some_and(|comment| comment.split(':').nth(2) == Some("lock"))
}

/// The number of the lease in the lock that a write makes, if it has one.
fn lease(written: &Written) -> Option<i64> {
    let comment = written.comment.as_ref().filter(|_| is_lock(written))?;
    comment.split(':').nth(4).map(|number| number.parse().unwrap())
}

async fn until(what: &str, within: Duration, is_so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_proxy_is_stopped_and_goes_on_one_is_killed_and_no_router_ever_has_two_writers() {
    let scene = Scene::start().await;
    scene.assert_refuses_strangers().await;
    let a = scene.proxy("a");
    let all = until("the first proxy drives all", PATIENCE, || scene.of("a").len() == ROUTERS).await;
    println!("the first proxy drives {ROUTERS} routers {:.1} s after its start", all.as_secs_f64());
    let mut b = scene.proxy("b");
    let halves = || scene.of("a").len() == ROUTERS / 2 && scene.of("b").len() == ROUTERS / 2;
    let shared = scene.drifting(PATIENCE, halves).await;
    let shared = shared.unwrap_or_else(|| panic!("they do not share\n{}", scene.said()));
    println!("two share them evenly {:.1} s after the second's start", shared.as_secs_f64());

    // Stopped in the midst of its work: the other takes over, and it writes nothing when it goes on.
    let of_a = scene.of("a");
    scene.drifting(Duration::from_secs(5), || false).await;
    let stopped = Instant::now();
    signal(&a, "-STOP");
    let mut took: BTreeMap<usize, Duration> = BTreeMap::new();
    for number in &of_a {
        let left = TAKEOVER.saturating_sub(stopped.elapsed());
        assert!(
            scene.drifting(left, || scene.wrote(*number, "b", stopped)).await.is_some(),
            "not taken over\n{}",
            scene.said()
        );
        took.insert(*number, stopped.elapsed());
    }
    println!(
        "SIGSTOP: each of {} routers written to by the other within {:.1} s",
        of_a.len(),
        took.values().max().unwrap().as_secs_f64()
    );
    let went_on = Instant::now();
    signal(&a, "-CONT");
    let shared = scene.drifting(PATIENCE, halves).await;
    let shared = shared.unwrap_or_else(|| panic!("they do not share again\n{}", scene.said()));
    println!("SIGCONT: shared evenly again after {:.1} s", shared.as_secs_f64());
    scene.drifting(Duration::from_secs(8), || false).await;
    assert!(scene.of("a").iter().all(|number| scene.wrote(*number, "a", went_on)), "{}", scene.said());

    // Killed: the other has all of them.
    let of_b = scene.of("b");
    let killed = Instant::now();
    b.kill().await.unwrap();
    for number in &of_b {
        let left = TAKEOVER.saturating_sub(killed.elapsed());
        assert!(
            scene.drifting(left, || scene.wrote(*number, "a", killed)).await.is_some(),
            "not taken over\n{}",
            scene.said()
        );
    }
    println!(
        "kill -9: each of {} routers written to by the other within {:.1} s",
        of_b.len(),
        killed.elapsed().as_secs_f64()
    );
    let changes = scene.assert_one_writer();
    let writes: usize = scene.routers.iter().map(|router| router.written().len()).sum();
    println!("{writes} writes on {ROUTERS} routers, {changes} changes of the writer, never two at once");
    assert!(changes >= ROUTERS, "every router changed hands at least once: {changes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_hub_both_go_on_and_one_that_is_cut_off_from_it_stops_where_the_other_took_over() {
    let scene = Scene::start().await;
    let way = Way::to(&scene.url).await;
    let _a = scene.proxy_by("a", &way.url);
    let _b = scene.proxy("b");
    let halves = || scene.of("a").len() == ROUTERS / 2 && scene.of("b").len() == ROUTERS / 2;
    let shared = scene.drifting(PATIENCE, halves).await;
    assert!(shared.is_some(), "they do not share\n{}", scene.said());

    // The hub is away for both, for much longer than a lease.
    let (of_a, of_b) = (scene.of("a"), scene.of("b"));
    signal(&scene.hub_process, "-STOP");
    let stopped = Instant::now();
    scene.drifting(OVER, || false).await;
    let ended = Instant::now();
    let wrote = |numbers: &[usize], user: &str, since| numbers.iter().all(|number| scene.wrote(*number, user, since));
    let kept = scene.drifting(TAKEOVER, || wrote(&of_a, "a", ended) && wrote(&of_b, "b", ended)).await;
    assert!(kept.is_some(), "not kept without the hub\n{}", scene.said());
    assert!(!of_a.iter().any(|number| scene.wrote(*number, "b", stopped)), "{}", scene.said());
    assert!(!of_b.iter().any(|number| scene.wrote(*number, "a", stopped)), "{}", scene.said());
    println!("hub stopped: both put drift back on their own routers {:.0} s later", stopped.elapsed().as_secs_f64());
    scene.assert_one_writer();
    let before: Vec<i64> = (0..ROUTERS).map(|number| scene.newest(number)).collect();
    let is_anew = || (0..ROUTERS).all(|number| scene.newest(number) > before[number]);
    signal(&scene.hub_process, "-CONT");
    let shared = scene.drifting(PATIENCE, || halves() && is_anew()).await;
    assert!(shared.is_some(), "they do not share again\n{}", scene.said());
    println!("hub back: all written to under new leases after {:.1} s", shared.unwrap_or_default().as_secs_f64());

    // The hub is away for one of them only: the other takes over, and the first does not write where it did.
    let of_a = scene.of("a");
    way.open.send_replace(false);
    let cut = Instant::now();
    let taken = scene.drifting(TAKEOVER, || wrote(&of_a, "b", cut)).await;
    let taken = taken.unwrap_or_else(|| panic!("not taken over\n{}", scene.said()));
    println!(
        "one cut off from the hub: each of its {} routers written to by the other within {:.1} s",
        of_a.len(),
        taken.as_secs_f64()
    );
    let after = Instant::now();
    scene.drifting(OVER, || false).await;
    let late: Vec<&usize> = of_a.iter().filter(|number| scene.wrote(**number, "a", after)).collect();
    assert!(late.is_empty(), "the first still writes to {late:?}\n{}", scene.said());
    way.open.send_replace(true);
    let shared = scene.drifting(PATIENCE, halves).await;
    assert!(shared.is_some(), "they do not share at last\n{}", scene.said());
    let changes = scene.assert_one_writer();
    let writes: usize = scene.routers.iter().map(|router| router.written().len()).sum();
    println!("{writes} writes on {ROUTERS} routers, {changes} changes of the writer, never two at once");
}
