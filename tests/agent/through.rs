//! An agent whose own session comes through the tunnel that it moves or heals: what cuts it off is undone by the router's fuse.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sitepeer::agent::standing::{Figures, Phase};
use sitepeer::agent::{HealTiming, Member, Source};
use sitepeer::api::TunnelState;
use sitepeer::sim::plane::HubEnd;
use sitepeer::sim::{SessionPath, SimRouter, Through};

use crate::moving::{Stage, settled};
use crate::pings::Pings;
use crate::running::{Running, until};
use crate::world::{self, World, assert_same, foreign, ip};

/// The hub's own host, from where the agent comes.
const FAR: &str = "10.99.0.1";
/// The router's end of the tunnel.
const HERE: &str = "10.99.0.2";
/// The fuse, and what the router takes for it.
const PROMISED: Duration = Duration::from_mins(1);
/// A verdict, and the steps before the one that is waited for.
const PATIENCE: Duration = Duration::from_mins(3);
/// Shorter than the agent's own.
const TIMING: HealTiming = HealTiming { stuck_after: Duration::from_secs(5), step_time: Duration::from_secs(10) };
const PEERS: &str = "/interface/wireguard/peers";

/// Lets sessions in that come through the tunnel, and has all come through that of one hub.
async fn through(world: &World, hub: &HubEnd) {
    let state = world.state_with_ids();
    let first = state.rows("/ip/firewall/filter").iter().find(|row| row["chain"] == b"input").unwrap();
    let before = String::from_utf8(first[".id"].clone()).unwrap();
    let rule = [
        ("chain", "input"),
        ("action", "accept"),
        ("dst-address", HERE),
        ("comment", "management through the tunnel"),
        ("place-before", &before),
    ];
    world.operator("/ip/firewall/filter/add", &rule).await;
    come_through(&world.router, hub);
    assert!(world.router.is_reachable());
}

fn come_through(router: &SimRouter, hub: &HubEnd) {
    let (public_key, endpoint) = end(hub);
    come_by(router, Through::Peer { public_key, endpoint });
}

fn come_by(router: &SimRouter, through: Through) {
    router.come_from(Some(SessionPath { source: ip(FAR), address: ip(HERE), through }));
}

/// A hub's key and endpoint as rows have them.
fn end(hub: &HubEnd) -> (String, String) {
    (STANDARD.encode(hub.public_key()), hub.endpoint().to_string())
}

async fn until_cut(router: &SimRouter) {
    let begun = Instant::now();
    while router.is_reachable() {
        assert!(begun.elapsed() < PATIENCE, "it was never cut off");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing of a guard is left on the router.
fn assert_unarmed(world: &World) {
    let state = world.state();
    let scripts = state.rows("/system/script").iter().any(|row| row["name"].starts_with(b"sitepeer"));
    assert!(!scripts && !is_armed(world), "{state:?}");
}

/// A stage whose agent comes through the tunnel from its login on.
async fn inside() -> (Stage, Running) {
    let stage = Stage::start().await;
    settled(&stage).await.stop().await;
    through(stage.world(), &stage.world().hub).await;
    let agent = Running::of_hub(&stage.scene);
    agent.until("revision 7", |figures| figures.revision == 7 && figures.phase == Phase::Watching).await;
    (stage, agent)
}

/// A guard is armed on the router.
fn is_armed(world: &World) -> bool {
    let state = world.state();
    state.rows("/system/scheduler").iter().any(|row| row["name"].starts_with(b"sitepeer"))
}

#[tokio::test]
async fn a_move_that_cuts_its_own_session_off_is_undone_by_the_router() {
    let (stage, agent) = inside().await;
    stage.announce();
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    // The hub goes on by the old tunnel: nobody gets in any more.
    until_cut(&stage.world().router).await;
    assert!(is_armed(stage.world()), "cut off without a fuse");
    stage.world().router.pass_time(PROMISED).await;
    assert!(stage.world().router.is_reachable(), "the fuse did not undo it");
    let undone = |figures: &Figures| figures.phase == Phase::Watching && figures.turns == 1;
    let figures = agent.until("back on the tunnel before", undone).await;
    assert_eq!((figures.generation, figures.beside), (0, Some(1)), "{figures:?}");
    assert_eq!(stage.leads_to(), "sitepeer-acme");
    assert_eq!(stage.interfaces(), ["sitepeer-acme", "sitepeer-acme_g1"], "the next tunnel waits");
    assert_eq!(stage.told()["next"]["in_use"], false);
    let plane = stage.world().router.plane().unwrap();
    assert_eq!(plane.lan_ping(ip("192.168.88.10"), ip(FAR), 3).await.received, 3, "it carries as before");
    agent.stop().await;
    assert_unarmed(stage.world());
}

#[tokio::test]
async fn a_move_goes_through_over_the_very_tunnel_where_both_ends_of_the_hub_are_one_host() {
    let (stage, agent) = inside().await;
    come_by(&stage.world().router, Through::Peers(vec![end(&stage.world().hub), end(&stage.second)]));
    let before = foreign(stage.world());
    let pings = Pings::start(stage.world());
    stage.announce();
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    assert_eq!(stage.told_of_next(true).await, key);
    until("confirmed", || !is_armed(stage.world())).await;
    stage.finish();
    stage.moved(key).await;
    let (sent, lost) = pings.end().await;
    println!("moved over the tunnel itself: {lost} of {sent} pings lost");
    assert_eq!(lost, 0);
    let settled = |figures: &Figures| figures.generation == 1 && figures.phase == Phase::Watching;
    let figures = agent.until("settled", settled).await;
    assert_eq!((figures.turns, figures.trouble), (1, None));
    assert_same(&before, &foreign(stage.world()), "rows of others");
    agent.stop().await;
    assert_unarmed(stage.world());
}

/// A router with two endpoints of one hub, and an agent that comes through its tunnel.
async fn healed(fault: &str) -> (World, Running) {
    let world = World::start().await;
    let mut site = world.site();
    // Nobody is there.
    site.endpoints.push("127.0.0.1:9".to_owned());
    assert_eq!(world.provision(&site).await.exit(), 0);
    through(&world, &world.hub).await;
    let source = Source::File(Box::new(site.load()));
    let member = Member { name: "router".to_owned(), access: world.access(), passwords: None, source };
    let agent = Running::healing(vec![member], TIMING);
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    world.router.inject(fault.parse().unwrap()).await;
    (world, agent)
}

fn peer(world: &World, field: &str) -> String {
    let state = world.state();
    let ours = |row: &&world::Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:k3f9q2"));
    String::from_utf8(state.rows(PEERS).iter().find(ours).unwrap()[field].clone()).unwrap()
}

async fn patiently(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_step_of_healing_that_spares_its_own_session_is_confirmed_and_one_that_would_not_is_left_out() {
    let (world, agent) = healed("stuck-port").await;
    patiently("healed", || agent.figures().healed == 1).await;
    let figures = agent.figures();
    // The bounce was not carried out, and does not count as one.
    assert_eq!((figures.heals, figures.trouble.as_deref()), (1, None), "{figures:?}");
    assert!(peer(&world, "comment").contains(" healed=port@"), "{}", peer(&world, "comment"));
    until("unarmed", || !is_armed(&world)).await;
    assert_unarmed(&world);
    agent.stop().await;
}

#[tokio::test]
async fn a_step_of_healing_that_cuts_its_own_session_off_is_undone_and_not_taken_again() {
    let (world, agent) = healed("no-icmp").await;
    world.hub.set_black_hole(true);
    // The hub's other endpoint is tried: from there nobody comes.
    until_cut_patiently(&world.router).await;
    world.router.pass_time(PROMISED).await;
    assert!(world.router.is_reachable(), "the fuse did not undo it");
    // Known once the router was seen to have undone it.
    patiently("counted", || agent.figures().heals > 0).await;
    let heals = agent.figures().heals;
    let is_back = || peer(&world, "endpoint-port") == world.hub.endpoint().port().to_string();
    patiently("the first endpoint", is_back).await;
    // Several times the time of a step: it is not cut off again.
    let end = Instant::now() + TIMING.step_time * 4;
    while Instant::now() < end {
        assert!(world.router.is_reachable() && is_back(), "cut off again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(agent.figures().heals, heals);
    world.hub.set_black_hole(false);
    patiently("up again", || agent.figures().state == Some(TunnelState::Up)).await;
    agent.stop().await;
    assert_unarmed(&world);
}

async fn until_cut_patiently(router: &SimRouter) {
    patiently("cut off", || !router.is_reachable()).await;
}
