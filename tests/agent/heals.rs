//! Tunnels that are stuck, and what brings them back: real WireGuard, faults on the way, and shorter times than the agent's own.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::{Value, json};
use sitepeer::agent::standing::{Figures, Standing};
use sitepeer::agent::{HealTiming, Member};
use sitepeer::api::TunnelState;
use sitepeer::sim::plane::{HubEnd, HubOptions};
use sitepeer::wireguard::keys;

use crate::hub::Scene;
use crate::running::{Running, until};
use crate::site::SiteText;
use crate::world::{self, World, ip};

/// A name that the simulated router resolves to the hub.
const HUB_NAME: &str = "hub.example.net";
/// Shorter than the agent's own: what is measured is what is done, and how often. A look at a tunnel that is down is taken every 15 s.
const TIMING: HealTiming = HealTiming { stuck_after: Duration::from_secs(5), step_time: Duration::from_secs(10) };
/// A verdict within a minute, and three steps with two looks each.
const PATIENCE: Duration = Duration::from_mins(3);
/// What healing may do after it helped would show by then: a look, and the time of a step.
const A_WHILE: Duration = Duration::from_secs(16);
const PEERS: &str = "/interface/wireguard/peers";

/// A router that is kept, with a tunnel that is up.
struct Stage {
    world: World,
    agent: Running,
    site: SiteText,
}

impl Stage {
    async fn up(world: World, site: SiteText) -> Self {
        assert_eq!(world.provision(&site).await.exit(), 0);
        let agent = begin(&world, &site);
        let stage = Self { world, agent, site };
        stage.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
        stage
    }

    async fn plain() -> Self {
        let world = World::start().await;
        let site = world.site();
        Self::up(world, site).await
    }

    async fn fault(&self, fault: &str) {
        self.world.router.inject(fault.parse().unwrap()).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Figures) -> bool) -> Figures {
        wait(&self.agent, what, is_so).await
    }

    /// Waits until so many steps were taken and the tunnel is up, and that nothing more is done then.
    async fn healed_by(&self, steps: u64) -> Figures {
        self.until("down", |figures| figures.state == Some(TunnelState::Down)).await;
        let healed =
            self.until("healed", |figures| figures.healed == 1 && figures.state == Some(TunnelState::Up)).await;
        assert_eq!(healed.heals, steps, "{healed:?}");
        let writes = self.world.router.writes();
        let until = Instant::now() + A_WHILE;
        while Instant::now() < until {
            let figures = figures(&self.agent);
            assert_eq!(
                (figures.heals, figures.drifts, figures.state),
                (steps, 0, Some(TunnelState::Up)),
                "{figures:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(self.world.router.writes(), writes, "it wrote to a tunnel that is up");
        healed
    }

    fn peer(&self, field: &str) -> String {
        peer(&self.world, field)
    }
}

fn peer(world: &World, field: &str) -> String {
    let state = world.state();
    let is_ours = |row: &&world::Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:k3f9q2"));
    let row = state.rows(PEERS).iter().find(is_ours).unwrap();
    String::from_utf8(row.get(field).cloned().unwrap_or_default()).unwrap()
}

fn begin(world: &World, site: &SiteText) -> Running {
    let source = sitepeer::agent::Source::File(Box::new(site.load()));
    let member = Member { name: "router".to_owned(), access: world.access(), passwords: None, source };
    Running::healing(vec![member], TIMING)
}

fn figures(agent: &Running) -> Figures {
    agent.roll.all().first().map(Standing::figures).unwrap_or_default()
}

async fn wait(agent: &Running, what: &str, is_so: impl Fn(&Figures) -> bool) -> Figures {
    let begun = Instant::now();
    loop {
        let now = figures(agent);
        if is_so(&now) {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}: {now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_stuck_session_is_healed_by_a_bounce() {
    let stage = Stage::plain().await;
    let writes = stage.world.router.writes();
    stage.fault("stuck-peer").await;
    stage.healed_by(1).await;
    // The lock and letting go of it, off and on.
    assert_eq!(stage.world.router.writes() - writes, 4);
    assert_eq!(stage.peer("disabled"), "false");
    assert!(stage.peer("comment").contains(" healed=bounce@"), "{}", stage.peer("comment"));
    assert!(stage.peer("comment").contains(" heals=1"), "{}", stage.peer("comment"));
    stage.world.plan(&stage.site).await.assert_result("converged");
    stage.agent.stop().await;
}

async fn a_stuck_nat_is_healed_by_another_port_when_a_bounce_did_not_help() {
    let stage = Stage::plain().await;
    let port = listen_port(&stage.world);
    stage.fault("stuck-port").await;
    stage.healed_by(2).await;
    assert!(stage.peer("comment").contains(" healed=port@"), "{}", stage.peer("comment"));
    assert!(stage.peer("comment").contains(" heals=2"), "{}", stage.peer("comment"));
    assert_ne!(listen_port(&stage.world), port);
    stage.world.plan(&stage.site).await.assert_result("converged");
    stage.agent.stop().await;
}

async fn a_port_that_the_site_config_fixes_is_moved_with_its_rule_and_no_drift_then() {
    let world = World::start().await;
    let site = SiteText { listen_port: Some(51_999), ..world.site() };
    let stage = Stage::up(world, site).await;
    stage.fault("stuck-port").await;
    stage.healed_by(2).await;
    let port = listen_port(&stage.world);
    assert_ne!(port, "51999");
    let rows = stage.world.state();
    let rule = rows
        .rows("/ip/firewall/filter")
        .iter()
        .find(|row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:k3f9q2:in-wg")));
    assert_eq!(rule.map(|rule| rule["dst-port"].clone()), Some(port.into_bytes()));
    stage.world.plan(&stage.site).await.assert_result("converged");
    // Another wish ends it.
    let other = SiteText { listen_port: Some(51_998), ..stage.site.clone() };
    stage.agent.stop().await;
    assert_eq!(stage.world.provision(&other).await.exit(), 0);
    assert_eq!(listen_port(&stage.world), "51998");
}

fn listen_port(world: &World) -> String {
    let state = world.state();
    let is_ours = |row: &&world::Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
    let row = state.rows("/interface").iter().find(is_ours).unwrap();
    String::from_utf8(row["listen-port"].clone()).unwrap()
}

/// Two ends of one hub, and a site that knows both.
async fn two_ends() -> (World, HubEnd, SiteText) {
    let key = keys::generate_private().unwrap();
    let end = async || {
        let addresses = vec!["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()];
        HubEnd::start(HubOptions::new(key.clone(), addresses)).await.unwrap()
    };
    let (first, second) = (end().await, end().await);
    let world = World { hub: first, router: world::router(|_| {}).await };
    let mut site = world.site();
    site.endpoints.push(second.endpoint().to_string());
    (world, second, site)
}

async fn a_dead_endpoint_is_left_for_the_next_one_which_is_kept() {
    let (world, second, site) = two_ends().await;
    let stage = Stage::up(world, site).await;
    let key = own_key(&stage.world).await;
    second.set_peer(stage.site.hub_peer(&key)).await.unwrap();
    // Its host is dead as well: neither a bounce nor another port would help, and neither is tried.
    stage.fault("no-icmp").await;
    stage.world.hub.set_black_hole(true);
    stage.healed_by(1).await;
    let port = second.endpoint().port().to_string();
    assert_eq!(stage.peer("endpoint-port"), port);
    // The first is back: what works is kept, by the agent, by one that begins anew, and by the other commands.
    stage.world.hub.set_black_hole(false);
    stage.world.plan(&stage.site).await.assert_result("converged");
    let Stage { world, agent, site } = stage;
    agent.stop().await;
    let writes = world.router.writes();
    let agent = begin(&world, &site);
    let figures = wait(&agent, "up", |figures| figures.state == Some(TunnelState::Up)).await;
    assert_eq!((figures.writes, figures.heals, world.router.writes()), (0, 0, writes));
    agent.stop().await;
    // Another wish begins with its first.
    let other = SiteText { endpoints: vec![site.endpoints[0].clone()], ..site };
    assert_eq!(world.provision(&other).await.exit(), 0);
    assert_eq!(peer(&world, "endpoint-port"), world.hub.endpoint().port().to_string());
    assert!(!peer(&world, "comment").contains(" way="), "{}", peer(&world, "comment"));
}

async fn own_key(world: &World) -> String {
    let rows = world.operator("/interface/wireguard/print", &[]).await;
    let of = |row: &sitepeer::sim::OperatorRow, name: &str| {
        row.iter().find(|(field, _)| field == name).map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    };
    let ours = rows.iter().find(|row| of(row, "name").as_deref() == Some("sitepeer-acme")).unwrap();
    of(ours, "public-key").unwrap()
}

/// A tunnel by name that is up at 127.0.0.1, whose name is about to stand for 127.0.0.2, where the hub is as well.
async fn by_name() -> (Stage, HubEnd) {
    let key = keys::generate_private().unwrap();
    let at = async |address: &str, port| {
        let addresses = vec!["10.99.0.1/24".parse().unwrap()];
        let options = HubOptions { bind: ip(address), port, ..HubOptions::new(key.clone(), addresses) };
        HubEnd::start(options).await.unwrap()
    };
    let first = at("127.0.0.1", 0).await;
    let second = at("127.0.0.2", first.endpoint().port()).await;
    let names = vec![(HUB_NAME.to_owned(), ip("127.0.0.1"))];
    let world = World { router: world::router(|options| options.names = names).await, hub: first };
    let endpoint = format!("{HUB_NAME}:{}", world.hub.endpoint().port());
    let site = SiteText { endpoints: vec![endpoint], ..world.site() };
    let stage = Stage::up(world, site).await;
    second.set_peer(stage.site.hub_peer(&own_key(&stage.world).await)).await.unwrap();
    (stage, second)
}

impl Stage {
    async fn move_name(&self) {
        self.world.router.set_name(HUB_NAME, Some(ip("127.0.0.2"))).await.unwrap();
        self.world.hub.set_black_hole(true);
    }
}

async fn a_name_that_moved_is_set_again() {
    let (stage, _second) = by_name().await;
    stage.move_name().await;
    let writes = stage.world.router.writes();
    stage.healed_by(1).await;
    assert_eq!(stage.world.router.writes() - writes, 3);
    assert!(stage.peer("comment").contains(" healed=resolve@"), "{}", stage.peer("comment"));
    stage.agent.stop().await;
}

async fn where_setting_the_name_again_does_nothing_a_bounce_follows() {
    let (stage, _second) = by_name().await;
    stage.fault("name-sticks").await;
    stage.move_name().await;
    stage.healed_by(2).await;
    assert!(stage.peer("comment").contains(" healed=bounce@"), "{}", stage.peer("comment"));
    stage.agent.stop().await;
}

async fn nothing_is_healed_while_the_site_is_frozen_and_the_hub_hears_what_is_done_afterwards() {
    let scene = Scene::start().await;
    let member = Member {
        name: "router".to_owned(),
        access: scene.world.access(),
        passwords: None,
        source: Running::source_of(&scene),
    };
    let agent = Running::healing(vec![member], TIMING);
    wait(&agent, "up", |figures| figures.state == Some(TunnelState::Up)).await;
    // By a clock that is far off: how long it lasts is what counts.
    scene.edit(|desired| {
        desired["frozen_until"] = json!(1);
        desired["frozen_for_secs"] = json!(3600);
    });
    wait(&agent, "frozen", |figures| figures.phase == sitepeer::agent::standing::Phase::Frozen).await;
    let writes = scene.world.router.writes();
    scene.world.router.inject("stuck-peer".parse().unwrap()).await;
    wait(&agent, "down", |figures| figures.state == Some(TunnelState::Down)).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!((figures(&agent).heals, scene.world.router.writes()), (0, writes), "it healed a frozen site");
    scene.edit(|desired| {
        desired["frozen_until"] = Value::Null;
        desired["frozen_for_secs"] = Value::Null;
    });
    let healed = wait(&agent, "healed", |figures| figures.healed == 1).await;
    assert_eq!(healed.heals, 1);
    let events = || -> Vec<Value> {
        let batches = scene.heard("/v1/agent/reports");
        let reports = batches.iter().flat_map(|body| body["reports"].as_array().unwrap().clone());
        reports.filter_map(|report| report["events"].as_array().cloned()).flatten().collect()
    };
    until("told", || !events().is_empty()).await;
    let told = events();
    assert_eq!((told[0]["kind"].as_str(), told[0]["code"].as_str()), (Some("healed"), Some("bounce")), "{told:?}");
    agent.stop().await;
}

/// All wait most of the time, so they run side by side; each has a world of its own.
#[tokio::test]
async fn each_trouble_that_a_step_can_heal_is_healed_once_and_nothing_is_done_afterwards() {
    let cases: Vec<(&str, LocalBoxFuture<'_, ()>)> = vec![
        ("session", a_stuck_session_is_healed_by_a_bounce().boxed_local()),
        ("nat", a_stuck_nat_is_healed_by_another_port_when_a_bounce_did_not_help().boxed_local()),
        ("fixed port", a_port_that_the_site_config_fixes_is_moved_with_its_rule_and_no_drift_then().boxed_local()),
        ("endpoint", a_dead_endpoint_is_left_for_the_next_one_which_is_kept().boxed_local()),
        ("name", a_name_that_moved_is_set_again().boxed_local()),
        ("name that sticks", where_setting_the_name_again_does_nothing_a_bounce_follows().boxed_local()),
        (
            "frozen",
            nothing_is_healed_while_the_site_is_frozen_and_the_hub_hears_what_is_done_afterwards().boxed_local(),
        ),
    ];
    let caught = cases.into_iter().map(|(name, case)| async move {
        let ended = std::panic::AssertUnwindSafe(case).catch_unwind().await;
        ended.err().map(|_| name)
    });
    let failed: Vec<&str> = join_all(caught).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "see above why: {failed:?}");
}
