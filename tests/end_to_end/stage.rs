//! A site as it is in the field: enrolled at a hub, kept by an agent, with its tunnel to a gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitepeer::agent::standing::{Figures, Phase};
use sitepeer::agent::{Follow, Kept, Member, Source};
use sitepeer::api::*;
use sitepeer::domain::PublicKey;
use sitepeer::uplink::{Hub, Trust};

use crate::far::Far;
use crate::pings::{HUB, LAN_HOST, Pings};
use crate::running::Running;
use crate::world::{self, Rows, World, ip};

/// A name that the router resolves to wherever the gateway is.
const GATEWAY_NAME: &str = "gw.example.net";
/// Longest wait for anything: handshakes are tried again every five seconds.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pings go on for so long after it is over: what was still under way shows.
const AFTERWARDS: Duration = Duration::from_secs(2);

pub struct Stage {
    pub far: Far,
    pub world: Arc<World>,
    pub agent: Running,
    pub instance: InstanceId,
    pub peer: PeerId,
    pub before: Rows,
    _folder: tempfile::TempDir,
}

/// What pings told of something.
pub struct Pinged {
    pub what: &'static str,
    pub sent: u32,
    pub lost: u32,
    pub took: Duration,
}

impl Stage {
    /// A site whose tunnel carries traffic.
    pub async fn up() -> Self {
        let far = Far::start_at(Ipv4Addr::LOCALHOST.into(), GATEWAY_NAME).await;
        let names = vec![(GATEWAY_NAME.to_owned(), Ipv4Addr::LOCALHOST.into())];
        let world = Arc::new(World::start_with(|options| options.names = names).await);
        let before = world::foreign(&world);
        let instance = far.instance().await;
        let peer = far.peer(&instance, "192.168.88.0/24").await;
        let folder = tempfile::tempdir().unwrap();
        let member = Member {
            name: "router".to_owned(),
            access: world.access(),
            passwords: None,
            source: enrolled(&far, &peer, folder.path()).await,
        };
        let agent = Running::of_members(vec![member]);
        let stage = Self { far, world, agent, instance, peer, before, _folder: folder };
        stage.until("the first tunnel is up", |_, figures| figures.state == Some(TunnelState::Up)).await;
        stage.answers().await;
        stage
    }

    pub async fn shown(&self) -> Peer {
        self.far.shown(&self.peer).await
    }

    pub async fn instance_shown(&self) -> Instance {
        self.far.store.instance(&self.far.admin, &self.instance).await.unwrap()
    }

    /// Waits for what the hub shows of the peer, and how the router stands with its agent.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Peer, &Figures) -> bool) {
        let begun = Instant::now();
        loop {
            let (peer, figures) = (self.shown().await, self.agent.figures());
            if is_so(&peer, &figures) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not so after {PATIENCE:?}: {what}: {peer:?} {figures:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the site has moved to another tunnel and nothing is left of the one before, at either end; tells the new key.
    pub async fn moved_from(&self, was: &Peer) -> PublicKey {
        self.until("moved", |peer, figures| {
            let done = peer.next.is_none() && peer.generation > was.generation && peer.public_key != was.public_key;
            done && figures.generation == peer.generation
                && figures.beside.is_none()
                && figures.phase == Phase::Watching
        })
        .await;
        let begun = Instant::now();
        let stays = |device: &InstanceDevice| device.state == DeviceState::Beside;
        let is_settled = |shown: &Instance| shown.rotating_since.is_none() && shown.devices.iter().all(stays);
        while !is_settled(&self.instance_shown().await) {
            assert!(begun.elapsed() < PATIENCE, "the gateway's devices stay as they are");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.shown().await.public_key.unwrap()
    }

    /// Waits for a ping from a host of the site to come back.
    pub async fn answers(&self) {
        let begun = Instant::now();
        while self.world.router.plane().unwrap().lan_ping(ip(LAN_HOST), ip(HUB), 1).await.received == 0 {
            assert!(begun.elapsed() < PATIENCE, "nothing gets through");
        }
    }

    /// Pings while something goes on, and a little longer.
    pub async fn under_pings(&mut self, what: &'static str, work: impl AsyncFnOnce(&mut Self)) -> Pinged {
        let pings = Pings::start(&self.world);
        let begun = Instant::now();
        work(self).await;
        let took = begun.elapsed();
        tokio::time::sleep(AFTERWARDS).await;
        let (sent, lost) = pings.end().await;
        println!("{what:<51} {lost:>4} of {sent:>4} pings lost, {:>5.1} s", took.as_secs_f32());
        Pinged { what, sent, lost, took }
    }

    /// The gateway's host gives its name another address, and the gateway listens there: nobody announces that.
    pub async fn move_gateway(&mut self, address: IpAddr) {
        self.far.place.0 = address;
        self.world.router.set_name(GATEWAY_NAME, Some(address)).await.unwrap();
        self.far.restart_gateway().await;
    }
}

/// Where the agent of a peer has what it wants from: enrolled at the hub, as `sitepeer agent` is at its first start.
async fn enrolled(far: &Far, peer: &PeerId, folder: &std::path::Path) -> Source {
    let new = NewEnrollment { peer: peer.clone(), ttl_secs: None, uses: None };
    let token = far.store.create_enrollment(&far.admin, None, new).await.unwrap().token;
    let request = EnrollRequest {
        token,
        device_nonce: "0123456789abcdef".to_owned(),
        device: DeviceFacts::default(),
        public_key: None,
    };
    let credential = far.store.enroll(request).await.unwrap().credential;
    let hub = Hub::new(far.url.parse().unwrap(), &Trust::Public, credential).unwrap();
    let kept = Some(Kept::open(folder, &far.url, peer).unwrap());
    Source::Hub(Box::new(Follow { hub, peer: peer.clone(), kept, lease: None }))
}
