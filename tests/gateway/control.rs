//! The gateway's control part against a scripted hub and planes that remember.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sitepeer::api::{GatewayInstance, GatewayInstanceApplied, GatewayPeer, PeerKind};
use sitepeer::domain::{PublicKey, Secret};
use sitepeer::gateway::{self, GatewayError, GatewayOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::hub::FakeHub;
use crate::planes::{FakePlanes, Handle};
use crate::world::{DEADLINE, instance, ip, nets};

/// A gateway at work.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), GatewayError>>,
    lock: PathBuf,
}

impl Running {
    pub async fn stop(mut self) -> Result<(), GatewayError> {
        drop(self.stop.take());
        timeout(DEADLINE, &mut self.task).await.expect("the gateway stops").unwrap()
    }

    /// As `kill -9` does: no last words.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
        // What it had started is dropped a moment later; a process would be gone.
        let lock = std::fs::File::open(self.lock).unwrap();
        let free = async {
            while lock.try_lock().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(DEADLINE, free).await.expect("nothing of it is left");
    }

    /// Waits until it ends by itself.
    pub async fn ends(self) -> Result<(), GatewayError> {
        timeout(DEADLINE, self.task).await.expect("the gateway ends").unwrap()
    }
}

pub struct Stage {
    pub hub: Arc<FakeHub>,
    pub planes: Arc<FakePlanes>,
    pub dir: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Self {
        Self { hub: FakeHub::new(), planes: FakePlanes::new(), dir: tempfile::tempdir().unwrap() }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn start(&self) -> Running {
        self.start_at(&self.state_dir())
    }

    pub fn start_at(&self, state_dir: &Path) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let options = GatewayOptions {
            hub: self.hub.handle(),
            planes: Arc::new(Handle(Arc::clone(&self.planes))),
            state_dir: state_dir.to_owned(),
            name: "eu1".into(),
            region: "eu".into(),
            public_host: "vpn.example.net".into(),
            report_every: Some(Duration::from_secs(1)),
        };
        let task = tokio::spawn(gateway::run(options, async {
            drop(stopped.await);
        }));
        Running { stop: Some(stop), task, lock: state_dir.join("lock") }
    }

    pub fn key_file(&self, id: &str) -> PathBuf {
        self.state_dir().join("instances").join(id).join("key")
    }

    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
    }
}

pub fn served(id: &str, port: u16) -> GatewayInstance {
    GatewayInstance { listen_port: port, ..instance(id) }
}

pub fn peer(instance: &str, number: u8) -> GatewayPeer {
    GatewayPeer {
        id: format!("peer{number:04}").parse().unwrap(),
        instance: instance.parse().unwrap(),
        kind: PeerKind::Site,
        device: 0,
        public_key: PublicKey::from_bytes([number; 32]).unwrap(),
        moving: None,
        preshared_key: None,
        addresses: vec![ip(&format!("10.99.0.{number}"))],
        subnets: nets(&[&format!("10.{number}.0.0/24")]).into_iter().collect(),
        route_all: false,
        endpoint: None,
        keepalive_secs: 25,
        revision: 0,
    }
}

/// The last word about an instance.
pub fn told(stage: &Stage, id: &str) -> GatewayInstanceApplied {
    let heard = stage.hub.state();
    let mut all = heard.applied.iter().flat_map(|applied| &applied.instances);
    all.rfind(|told| told.id.as_str() == id).unwrap().clone()
}

#[tokio::test]
async fn an_instance_and_its_peers_are_served_and_acknowledged_with_key_and_port() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    stage.hub.set_peer(peer("inst1", 2));
    let last = stage.hub.set_peer(peer("inst1", 3));
    let gateway = stage.start();
    let applied = stage.hub.applied(last).await;
    assert_eq!(applied.peers, []);
    let told = told(&stage, "inst1");
    assert_eq!((told.listen_port, &told.error), (Some(51820), &None));
    let device_key = stage.planes.world().devices[&"inst1".parse().unwrap()].key.public();
    assert_eq!(told.public_key.unwrap().as_bytes(), &device_key);
    assert_eq!(stage.planes.peers("inst1").len(), 2);
    let hello = stage.hub.state().hellos[0].clone();
    assert_eq!((hello.name.as_str(), hello.region.as_str(), hello.install.len()), ("eu1", "eu", 32));
    assert_eq!(mode(&stage.key_file("inst1")), 0o600);
    for dir in [stage.state_dir(), stage.state_dir().join("instances/inst1")] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    for file in ["desired.log", "traffic.log", "install", "lock"] {
        assert_eq!(mode(&stage.state_dir().join(file)), 0o600, "{file}");
    }
    gateway.stop().await.unwrap();
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_key_that_others_could_read_is_its_owners_alone_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let last = stage.hub.set_peer(peer("inst1", 2));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    gateway.stop().await.unwrap();
    let (file, open) = (stage.key_file("inst1"), std::fs::Permissions::from_mode(0o644));
    let key = std::fs::read(&file).unwrap();
    std::fs::set_permissions(&file, open).unwrap();
    let gateway = stage.start();
    stage.until("the key is private", || mode(&file) == 0o600).await;
    assert_eq!(std::fs::read(&file).unwrap(), key);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn one_more_peer_is_one_call_of_set_peer_and_a_change_touches_nobody_else() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    for number in 2..90 {
        stage.hub.set_peer(peer("inst1", number));
    }
    stage.hub.state().page = Some(30);
    let gateway = stage.start();
    let last = stage.hub.set_peer(peer("inst1", 100));
    stage.hub.applied(last).await;
    assert_eq!(stage.planes.peers("inst1").len(), 89);
    stage.planes.take_calls();

    let added = stage.hub.set_peer(peer("inst1", 101));
    stage.hub.applied(added).await;
    assert_eq!(stage.planes.take_calls(), ["set inst1 peer0101"]);

    let mut changed = peer("inst1", 50);
    changed.preshared_key = Some(Secret::new("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".into()));
    stage.hub.applied(stage.hub.set_peer(changed.clone())).await;
    assert_eq!(stage.planes.take_calls(), ["set inst1 peer0050"]);
    changed.route_all = true;
    stage.hub.applied(stage.hub.set_peer(changed.clone())).await;
    assert_eq!(stage.planes.take_calls(), ["set inst1 peer0050"], "what no device shows counts as well");
    stage.hub.applied(stage.hub.set_peer(changed)).await;
    assert_eq!(stage.planes.take_calls(), Vec::<String>::new(), "a new revision alone means nothing");

    stage.hub.applied(stage.hub.remove_peer("inst1", "peer0007")).await;
    assert_eq!(stage.planes.take_calls(), ["unset inst1 peer0007"]);
    let mut other_key = peer("inst1", 8);
    other_key.public_key = PublicKey::from_bytes([200; 32]).unwrap();
    stage.hub.applied(stage.hub.set_peer(other_key)).await;
    assert_eq!(stage.planes.take_calls(), ["unset inst1 peer0008", "set inst1 peer0008"]);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn what_somebody_changed_on_the_device_is_put_back_and_no_other_peer_is_touched() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    for number in 2..10 {
        stage.hub.set_peer(peer("inst1", number));
    }
    let gateway = stage.start();
    stage.hub.applied(9).await;
    stage.planes.take_calls();
    {
        let mut world = stage.planes.world();
        let device = world.devices.get_mut(&"inst1".parse().unwrap()).unwrap();
        device.peers.get_mut(&peer("inst1", 4).public_key).unwrap().allowed.pop();
        device.peers.remove(&peer("inst1", 5).public_key);
        let stranger = peer("inst1", 66);
        crate::planes::set(&mut device.peers, &stranger);
    }
    stage.until("healed", || stage.planes.world().calls.len() >= 3).await;
    let mut calls = stage.planes.take_calls();
    calls.sort();
    assert_eq!(calls, ["set inst1 peer0004", "set inst1 peer0005", "unset inst1 nobody"]);
    assert_eq!(stage.planes.peers("inst1").len(), 8);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_comes_back_with_its_key_is_called_where_it_was_last_heard_also_by_the_next_gateway() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let mut peer = peer("inst1", 2);
    let last = stage.hub.set_peer(peer.clone());
    let gateway = stage.start();
    stage.hub.applied(last).await;
    let heard = Some("198.51.100.7:4242".parse().unwrap());
    let called = |stage: &Stage, peer: &GatewayPeer| {
        let world = stage.planes.world();
        let device = &world.devices[&peer.instance];
        device.peers.get(&peer.public_key).unwrap().endpoint
    };
    {
        let mut world = stage.planes.world();
        let device = world.devices.get_mut(&peer.instance).unwrap();
        let on = device.peers.get_mut(&peer.public_key).unwrap();
        (on.endpoint, on.handshake) = (heard, Some(SystemTime::now()));
    }
    stage.hub.applied(stage.hub.remove_peer("inst1", peer.id.as_str())).await;
    stage.hub.applied(stage.hub.set_peer(peer.clone())).await;
    assert_eq!(called(&stage, &peer), heard);
    gateway.stop().await.unwrap();

    stage.planes.world().devices.clear();
    let gateway = stage.start();
    stage.until("it is back", || stage.planes.peers("inst1").len() == 1).await;
    assert_eq!(called(&stage, &peer), heard);
    peer.public_key = PublicKey::from_bytes([200; 32]).unwrap();
    stage.hub.applied(stage.hub.set_peer(peer.clone())).await;
    assert_eq!(called(&stage, &peer), None, "another key is another device");
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn suspended_is_down_with_the_key_kept_and_removed_is_gone_with_the_key() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    stage.hub.set_instance(served("inst2", 51821));
    let last = stage.hub.set_peer(peer("inst1", 2));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    let key = told(&stage, "inst1").public_key;
    assert!(key.is_some());

    let suspended = stage.hub.set_instance(GatewayInstance { suspended: true, ..served("inst1", 51820) });
    stage.hub.applied(suspended).await;
    assert_eq!((told(&stage, "inst1").public_key, told(&stage, "inst1").listen_port), (key, None));
    assert!(!stage.planes.world().devices.contains_key(&"inst1".parse().unwrap()));
    let resumed = stage.hub.set_instance(served("inst1", 51820));
    stage.hub.applied(resumed).await;
    assert_eq!((told(&stage, "inst1").public_key, told(&stage, "inst1").listen_port), (key, Some(51820)));
    assert_eq!(stage.planes.peers("inst1").len(), 1);

    // The port is free for another one at once: those who go, go first.
    stage.hub.state().page = None;
    let removed = {
        stage.hub.set_away(true);
        stage.hub.remove_instance("inst1");
        let removed = stage.hub.set_instance(served("inst3", 51820));
        stage.hub.set_away(false);
        removed
    };
    let applied = stage.hub.applied(removed).await;
    assert!(applied.instances.iter().all(|instance| instance.error.is_none()), "{applied:?}");
    assert!(!stage.key_file("inst1").exists() && stage.key_file("inst3").exists());
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn an_instance_that_a_full_list_leaves_out_has_its_key_set_aside_and_gets_it_back() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let last = stage.hub.set_instance(served("inst2", 51821));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    let key = told(&stage, "inst1").public_key;
    stage.hub.forget_instance("inst1");
    stage.until("taken down", || !stage.planes.world().devices.contains_key(&"inst1".parse().unwrap())).await;
    stage.until("set aside", || !stage.key_file("inst1").exists()).await;
    let again = stage.hub.set_instance(served("inst1", 51820));
    stage.hub.applied(again).await;
    let told = told(&stage, "inst1");
    assert_eq!((told.public_key, told.revision), (key, again));
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn one_instance_that_fails_or_hangs_does_not_stop_another_and_is_tried_again() {
    let stage = Stage::new();
    stage.planes.world().fail.insert("raise bad1".into());
    stage.planes.world().hang.insert("raise hang1".into());
    stage.hub.set_instance(served("bad1", 51820));
    stage.hub.set_instance(served("hang1", 51821));
    stage.hub.set_instance(served("good1", 51822));
    stage.hub.set_peer(peer("good1", 2));
    let gateway = stage.start();
    stage.until("the good one serves", || stage.planes.peers("good1").len() == 1).await;
    let error = |state: &crate::hub::State| {
        let told = state.applied.iter().flat_map(|applied| &applied.instances);
        told.filter(|told| told.id.as_str() == "bad1").find_map(|told| told.error.clone())
    };
    assert_eq!(stage.hub.until("the error is told", error).await, "raise bad1 fails as told");
    stage.planes.world().fail.clear();
    let healed = |state: &crate::hub::State| {
        let mut told = state.applied.iter().flat_map(|applied| &applied.instances);
        told.rfind(|told| told.id.as_str() == "bad1").filter(|told| told.error.is_none()).cloned()
    };
    let told = stage.hub.until("the error is over", healed).await;
    assert_eq!(told.listen_port, Some(51820));
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_that_another_process_has_is_left_to_it_where_any_will_do() {
    let stage = Stage::new();
    stage.planes.world().taken = [51820, 51821].into();
    let any = |id: &str, port: u16| GatewayInstance { any_port: true, ..served(id, port) };
    stage.hub.set_instance(any("inst1", 51820));
    stage.hub.set_instance(served("asked1", 51821));
    let last = stage.hub.set_instance(any("inst2", 51822));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    // Neither the port that another instance is wanted on, nor the one that this instance was asked to have.
    assert_eq!((told(&stage, "inst1").listen_port, told(&stage, "inst1").error), (Some(51823), None));
    assert_eq!((told(&stage, "inst2").listen_port, told(&stage, "inst2").error), (Some(51822), None));
    assert_eq!(told(&stage, "asked1").error.as_deref(), Some("the port of asked1 is taken: address in use"));

    // A change that does not know of it yet moves nothing; neither does the port that the hub took over.
    stage.planes.world().taken.clear();
    let renamed = GatewayInstance { name: "renamed".into(), ..any("inst1", 51820) };
    stage.hub.applied(stage.hub.set_instance(renamed)).await;
    assert_eq!(told(&stage, "inst1").listen_port, Some(51823));
    stage.hub.applied(stage.hub.set_instance(any("inst1", 51823))).await;
    assert_eq!(told(&stage, "inst1").listen_port, Some(51823));
    gateway.stop().await.unwrap();
    stage.planes.world().devices.clear();
    let gateway = stage.start();
    stage.until("it is back", || stage.planes.world().devices.contains_key(&"inst1".parse().unwrap())).await;
    assert_eq!(stage.planes.world().devices[&"inst1".parse().unwrap()].instance.listen_port, 51823);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_fails_is_named_the_others_are_served_and_it_is_tried_again() {
    let stage = Stage::new();
    stage.planes.world().fail.insert("set inst1 peer0003".into());
    stage.planes.world().lie.insert("set inst1 peer0004".into());
    stage.hub.set_instance(served("inst1", 51820));
    for number in 2..6 {
        stage.hub.set_peer(peer("inst1", number));
    }
    let gateway = stage.start();
    let applied = stage.hub.applied(5).await;
    let failed: Vec<(&str, &str)> = applied.peers.iter().map(|f| (f.id.as_str(), f.error.as_str())).collect();
    let expected =
        [("peer0003", "set inst1 peer0003 fails as told"), ("peer0004", "the device does not have it as it was set")];
    assert_eq!(failed, expected);
    assert_eq!(applied.instances[0].error, None);
    assert_eq!(stage.planes.peers("inst1").len(), 2);
    stage.planes.world().fail.clear();
    stage.planes.world().lie.clear();
    let healed = |state: &crate::hub::State| state.applied.last().filter(|applied| applied.peers.is_empty()).cloned();
    stage.hub.until("nobody fails any more", healed).await;
    assert_eq!(stage.planes.peers("inst1").len(), 4);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_refuses_ends_a_gateway_that_serves_nothing_and_no_other() {
    let stage = Stage::new();
    stage.hub.state().refuse = Some((401, "unauthorized"));
    let error = stage.start().ends().await.unwrap_err();
    assert!(matches!(error, GatewayError::Refused(_)), "{error}");

    stage.hub.state().refuse = None;
    let last = stage.hub.set_instance(served("inst1", 51820));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    gateway.stop().await.unwrap();
    stage.planes.world().devices.clear();
    stage.hub.state().refuse = Some((401, "unauthorized"));
    let gateway = stage.start();
    stage.until("up without the hub", || !stage.planes.world().devices.is_empty()).await;
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_gateway_in_the_same_directory_is_refused() {
    let stage = Stage::new();
    let last = stage.hub.set_instance(served("inst1", 51820));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    let error = stage.start().ends().await.unwrap_err();
    assert_eq!(error.to_string(), format!("another gateway uses {}", stage.state_dir().display()));
    gateway.stop().await.unwrap();
}
