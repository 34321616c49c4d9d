//! A router that moves from one tunnel to the next, with a hub that has an end of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sitepeer::agent::standing::{Figures, Phase};
use sitepeer::cli::args::Subject;
use sitepeer::sim::Fault;
use sitepeer::sim::plane::{HubEnd, HubPeer};

use crate::hub::Scene;
use crate::pings::{HUB, LAN_HOST, Pings};
use crate::running::{Running, until};
use crate::schema::problems;
use crate::world::{self, World, assert_same, foreign, ip, shape};

/// Longest wait for a handshake that WireGuard tries again every five seconds.
const HANDSHAKE: Duration = Duration::from_secs(40);

/// A router that is kept, its hub, and the hub's end of the next tunnel.
pub struct Stage {
    pub scene: Scene,
    pub second: HubEnd,
}

impl Stage {
    pub async fn start() -> Self {
        Self { scene: Scene::start().await, second: world::hub().await }
    }

    pub fn world(&self) -> &Arc<World> {
        &self.scene.world
    }

    /// The hub's other end as a site config has it.
    fn end(&self) -> Value {
        json!({
            "public_key": STANDARD.encode(self.second.public_key()),
            "endpoints": [self.second.endpoint().to_string()],
            "keepalive_secs": 25,
        })
    }

    /// The hub wants the next tunnel beside the one there is.
    pub fn announce(&self) {
        let end = self.end();
        self.scene.edit(|desired| desired["config"]["next"] = json!({"generation": 1, "hub": end}));
    }

    /// The hub has the next tunnel take over for good.
    pub fn finish(&self) {
        let end = self.end();
        self.scene.edit(|desired| {
            desired["config"]["hub"] = end;
            desired["config"]["generation"] = json!(1);
            desired["config"].as_object_mut().unwrap().remove("next");
        });
    }

    /// The last that the agent told of what is on the router.
    pub fn told(&self) -> Value {
        self.scene.heard("/v1/agent/applied").pop().unwrap_or_default()
    }

    /// Waits until the agent told of a next tunnel, in use or not, and returns its key.
    pub async fn told_of_next(&self, in_use: bool) -> [u8; 32] {
        let begun = Instant::now();
        loop {
            let next = self.told()["next"].clone();
            if next["in_use"] == in_use {
                assert_eq!(next["generation"], 1);
                return STANDARD.decode(next["public_key"].as_str().unwrap()).unwrap().try_into().unwrap();
            }
            assert!(begun.elapsed() < HANDSHAKE, "not told in_use={in_use}: {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The hub lets the router in at its other end.
    pub async fn admit(&self, public_key: [u8; 32]) {
        let allowed = vec!["10.99.0.2/32".parse().unwrap(), "192.168.88.0/24".parse().unwrap()];
        self.second.set_peer(HubPeer { public_key, preshared_key: None, allowed }).await.unwrap();
    }

    /// Waits until the router has one tunnel, and the hub knows.
    pub async fn moved(&self, key: [u8; 32]) {
        until("told of the end of the move", || {
            let told = self.told();
            told["public_key"] == STANDARD.encode(key) && told.get("next").is_none()
        })
        .await;
        assert_eq!(self.interfaces(), ["sitepeer-acme_g1"]);
        assert_eq!(self.leads_to(), "sitepeer-acme_g1");
    }

    /// The names of the site's WireGuard interfaces.
    pub fn interfaces(&self) -> Vec<String> {
        let state = self.world().state();
        let marked = |row: &&world::Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
        let rows = state.rows("/interface").iter().filter(marked);
        rows.map(|row| String::from_utf8(row["name"].clone()).unwrap()).collect()
    }

    /// Where address and route of the tunnel lead, which must be one place.
    pub fn leads_to(&self) -> String {
        let state = self.world().state();
        let of = |menu: &str, field: &str| -> Vec<Vec<u8>> {
            let ours = |row: &&world::Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
            state.rows(menu).iter().filter(ours).map(|row| row[field].clone()).collect()
        };
        let mut all = [of("/ip/address", "interface"), of("/ip/route", "gateway")].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1, "half a turn: {all:?}");
        String::from_utf8(all.remove(0)).unwrap()
    }
}

/// An agent that has brought the router to its first tunnel, which carries traffic.
pub async fn settled(stage: &Stage) -> Running {
    let agent = Running::of_hub(&stage.scene);
    agent.until("revision 7", |figures| figures.revision == 7 && figures.phase == Phase::Watching).await;
    let begun = Instant::now();
    while stage.world().router.plane().unwrap().lan_ping(ip(LAN_HOST), ip(HUB), 1).await.received != 1 {
        assert!(begun.elapsed() < HANDSHAKE, "the first tunnel does not come up");
    }
    agent
}

fn is_on(generation: u32) -> impl Fn(&Figures) -> bool {
    move |figures| figures.generation == generation && figures.phase == Phase::Watching
}

#[tokio::test]
async fn a_router_moves_to_its_next_tunnel_without_losing_a_ping() {
    let stage = Stage::start().await;
    let agent = settled(&stage).await;
    let before = foreign(stage.world());
    let first = stage.told()["public_key"].clone();
    let pings = Pings::start(stage.world());
    stage.announce();
    let key = stage.told_of_next(false).await;
    let peeked = stage.world().status(Subject::Instance("acme".parse().unwrap())).await;
    assert_eq!(peeked.result["status"]["beside"].as_array().map(Vec::len), Some(1), "{peeked:?}");
    assert_eq!(stage.interfaces(), ["sitepeer-acme", "sitepeer-acme_g1"]);
    assert_eq!(stage.leads_to(), "sitepeer-acme", "not proven yet");
    stage.admit(key).await;
    assert_eq!(stage.told_of_next(true).await, key);
    assert_eq!(stage.leads_to(), "sitepeer-acme_g1");
    assert_eq!(stage.told()["public_key"], first, "the present key is that of the tunnel that is there for good");
    stage.finish();
    stage.moved(key).await;
    let (sent, lost) = pings.end().await;
    println!("moved to the next tunnel: {lost} of {sent} pings lost at 2 x 20 a second");
    assert!(sent > 40, "{sent}");
    assert_eq!(lost, 0);
    let figures = agent.until("settled", |figures| is_on(1)(figures) && figures.beside.is_none()).await;
    assert_eq!((figures.drifts, figures.turns, figures.trouble), (0, 1, None));
    assert_same(&before, &foreign(stage.world()), "rows of others");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_at_each_step_of_a_move_goes_on_from_there() {
    let stage = Stage::start().await;
    let mut agent = settled(&stage).await;
    let before = foreign(stage.world());
    let pings = Pings::start(stage.world());
    stage.announce();
    for moment in [0, 20, 40, 60, 80, 120] {
        agent.kill().await;
        agent = Running::of_hub(&stage.scene);
        tokio::time::sleep(Duration::from_millis(moment)).await;
    }
    let key = stage.told_of_next(false).await;
    agent.kill().await;
    stage.admit(key).await;
    // The handshake comes while nobody looks, and the turn is cut short again and again.
    for moment in [0, 60, 90, 120, 150, 180, 210, 240] {
        agent = Running::of_hub(&stage.scene);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        agent.kill().await;
    }
    agent = Running::of_hub(&stage.scene);
    assert_eq!(stage.told_of_next(true).await, key, "the key is the one it was");
    for moment in [0, 30, 90] {
        agent.kill().await;
        agent = Running::of_hub(&stage.scene);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        assert_eq!(stage.leads_to(), "sitepeer-acme_g1", "it flipped back");
    }
    stage.finish();
    for moment in [0, 30, 60, 90] {
        agent.kill().await;
        agent = Running::of_hub(&stage.scene);
        tokio::time::sleep(Duration::from_millis(moment)).await;
    }
    stage.moved(key).await;
    let (sent, lost) = pings.end().await;
    println!("killed at each step of a move: {lost} of {sent} pings lost");
    assert_eq!(lost, 0);
    assert_same(&before, &foreign(stage.world()), "rows of others");
    agent.stop().await;
}

#[tokio::test]
async fn a_move_that_is_never_proven_harms_nobody_and_is_called_off_without_a_trace() {
    let stage = Stage::start().await;
    let agent = settled(&stage).await;
    let before = shape(stage.world());
    stage.world().router.inject(Fault::LaterTunnelsSilent).await;
    stage.announce();
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    let looked = agent.until("watched", |figures| figures.beside == Some(1)).await;
    agent.until("looked at for a while", |figures| figures.looks > looked.looks).await;
    let status = stage.world().status(Subject::Only).await.result;
    assert_eq!(problems("status", &status), Vec::<String>::new(), "{status}");
    let (used, beside) = (&status["status"]["interface"]["name"], &status["status"]["beside"]);
    assert_eq!((used, &beside[0]["name"]), (&json!("sitepeer-acme"), &json!("sitepeer-acme_g1")), "{status}");
    assert_eq!((&beside[0]["handshake_age_secs"], &status["status"]["instance"]), (&Value::Null, &json!("acme")));
    let told = stage.told();
    assert_eq!((told["next"]["in_use"].clone(), stage.leads_to().as_str()), (json!(false), "sitepeer-acme"));
    stage.scene.edit(|desired| drop(desired["config"].as_object_mut().unwrap().remove("next")));
    until("told that it is gone", || stage.told().get("next").is_none()).await;
    assert_same(&without_live(before), &without_live(shape(stage.world())), "called off");
    let figures = agent.stop().await;
    assert_eq!((figures.turns, figures.drifts, figures.trouble), (0, 0, None));
}

#[tokio::test]
async fn a_tunnel_that_dies_once_it_took_over_is_left_again() {
    let stage = Stage::start().await;
    let agent = settled(&stage).await;
    stage.world().router.inject(Fault::LaterTunnelsDie).await;
    stage.announce();
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    assert_eq!(stage.told_of_next(true).await, key);
    let died = Instant::now();
    assert_eq!(stage.told_of_next(false).await, key);
    println!("a next tunnel that died was left after {:.1} s", died.elapsed().as_secs_f32());
    assert_eq!(stage.leads_to(), "sitepeer-acme");
    let plane = stage.world().router.plane().unwrap();
    assert_eq!(plane.lan_ping(ip(LAN_HOST), ip(HUB), 3).await.received, 3, "the tunnel before carries again");
    let figures = agent.stop().await;
    assert_eq!((figures.turns, figures.generation, figures.trouble), (2, 0, None), "it is not tried again at once");
}

#[tokio::test]
async fn a_router_that_takes_no_second_interface_is_kept_right_with_the_one_it_has() {
    let stage = Stage::start().await;
    let agent = settled(&stage).await;
    let before = shape(stage.world());
    stage.world().router.inject(Fault::OneWireguard).await;
    stage.announce();
    let figures = agent.until("revision 8", |figures| figures.revision == 8 && is_on(0)(figures)).await;
    assert_eq!((figures.beside, figures.trouble), (None, None));
    assert_same(&without_live(before.clone()), &without_live(shape(stage.world())), "nothing is half made");
    // What somebody takes out is still put back.
    let id = stage.world().id_of("/ip/route", "comment", "sitepeer:");
    stage.world().operator("/ip/route/remove", &[(".id", &id)]).await;
    agent.until("put back", |figures| figures.drifts == 1 && is_on(0)(figures)).await;
    assert_same(&without_live(before), &without_live(shape(stage.world())), "put back");
    assert!(stage.told().get("next").is_none());
    agent.stop().await;
}

#[tokio::test]
async fn a_router_that_does_not_let_an_address_be_led_over_stays_on_the_tunnel_it_has() {
    let stage = Stage::start().await;
    let agent = settled(&stage).await;
    let pings = Pings::start(stage.world());
    stage.world().router.inject(Fault::AddressStays).await;
    stage.announce();
    let key = stage.told_of_next(false).await;
    stage.admit(key).await;
    agent.until("tried", |figures| figures.generation == 0 && figures.turns == 1 && is_on(0)(figures)).await;
    assert_eq!(stage.leads_to(), "sitepeer-acme");
    assert_eq!(stage.told()["next"]["in_use"], false);
    let (sent, lost) = pings.end().await;
    println!("a move of an address was refused: {lost} of {sent} pings lost");
    assert_eq!(lost, 0);
    agent.stop().await;
}

/// Without what a tunnel in use changes by itself.
fn without_live(mut rows: world::Rows) -> world::Rows {
    for row in rows.get_mut("/interface/wireguard/peers").unwrap() {
        *row = row.split(' ').filter(|word| !word.starts_with("current-endpoint")).collect::<Vec<_>>().join(" ");
    }
    rows
}
