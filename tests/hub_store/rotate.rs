//! Tunnels that take over from others: another key of a router, another key of the gateway.

use std::time::Duration;

use sitepeer::api::*;
use sitepeer::domain::PublicKey;
use sitepeer::hub::store::{ROTATE_GRACE, StoreError};

use crate::world::*;

/// A world with an instance that is served, and site peers with keys.
struct Scene {
    world: World,
    gateway: GatewayId,
    instance: InstanceId,
    peers: Vec<PeerId>,
}

impl Scene {
    async fn new(config: &sitepeer::hub::store::StoreConfig, peers: u64) -> Self {
        let world = World::open(config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let instance = world.instance(&account, "main").await.id;
        let site = world.site(&account, "s").await;
        let mut scene = Self { world, gateway, instance, peers: Vec::new() };
        scene.serve().await;
        for number in 0..peers {
            let new = site_peer(&site, &format!("p{number}"), &[&format!("10.1.{number}.0/24")]);
            let peer = scene.world.peer(&scene.instance, new).await.unwrap().id;
            scene.say(&peer, router_key(number), None).await.unwrap();
            scene.peers.push(peer);
        }
        scene.serve().await;
        scene
    }

    /// The gateway does all that it was told, which it tells whoever asks for it.
    async fn serve(&self) {
        self.world.serve(&self.gateway).await;
    }

    /// What an agent says once it did all that it was told.
    async fn say(&self, peer: &PeerId, public_key: PublicKey, next: Option<AppliedNext>) -> Result<(), StoreError> {
        let revision = self.world.desired(peer).await.revision;
        self.say_of(peer, revision, public_key, next).await
    }

    async fn say_of(
        &self,
        peer: &PeerId,
        revision: i64,
        public_key: PublicKey,
        next: Option<AppliedNext>,
    ) -> Result<(), StoreError> {
        let applied = AgentApplied { revision, public_key, device: DeviceFacts::default(), next };
        self.world.store.agent_applied(peer, applied).await
    }

    async fn peer(&self, id: &PeerId) -> Peer {
        self.world.store.peer(&self.world.admin, id).await.unwrap()
    }

    async fn instance(&self) -> Instance {
        self.world.store.instance(&self.world.admin, &self.instance).await.unwrap()
    }

    async fn step(&self, id: &PeerId) -> Option<MoveStep> {
        self.peer(id).await.next.map(|next| next.step)
    }

    /// A peer as the gateway is told of it.
    async fn at_gateway(&self, id: &PeerId) -> GatewayPeer {
        self.world.told(&self.gateway, 0).await.peers.into_iter().find(|peer| peer.id == *id).unwrap()
    }

    /// A peer that was told of its next tunnel does everything that is left.
    async fn go_through(&self, id: &PeerId, old: PublicKey, new: PublicKey) {
        let generation = self.world.desired(id).await.config.unwrap().next.unwrap().generation;
        for in_use in [false, true] {
            self.say(id, old, Some(AppliedNext { generation, public_key: new, in_use })).await.unwrap();
            self.serve().await;
        }
        self.world.pass(ROTATE_GRACE).await;
        self.serve().await;
    }

    async fn actions(&self) -> Vec<String> {
        let log = self.world.store.audit(&self.world.admin, &page(500)).await.unwrap().items;
        log.into_iter().map(|entry| entry.action).collect()
    }
}

fn router_key(number: u64) -> PublicKey {
    key(500 + number)
}

#[tokio::test]
async fn a_router_gets_another_key_step_by_step_and_each_waits_for_the_one_before() {
    let databases = Databases::new();
    for config in databases.configs("another-key") {
        let scene = Scene::new(&config, 2).await;
        let (world, peer) = (&scene.world, &scene.peers[0]);
        let (old, new) = (router_key(0), router_key(100));
        let before = world.desired(peer).await;
        let hub = before.config.as_ref().unwrap().hub.clone();
        let rotated = world.store.rotate_peer(&world.admin, peer).await.unwrap();
        let next = rotated.next.unwrap();
        assert_eq!((next.step, next.generation, next.device, next.cause), (MoveStep::Device, 1, 1, MoveCause::Person));
        assert_eq!(world.desired(peer).await.revision, before.revision, "the router hears of it when there is a way");
        let again = world.store.rotate_peer(&world.admin, peer).await.unwrap();
        assert_eq!(again.next.unwrap().generation, 1, "once is enough");

        let told = world.told(&scene.gateway, 0).await.instances.remove(0);
        assert_eq!((told.device, told.devices.len(), told.devices[0].device), (0, 1, 1));
        assert_ne!(told.devices[0].listen_port, told.listen_port);
        scene.serve().await;
        let desired = world.desired(peer).await;
        let offered = desired.config.as_ref().unwrap().next.clone().unwrap();
        assert!(desired.revision > before.revision && offered.generation == 1);
        assert!(offered.hub.public_key != hub.public_key && offered.hub.endpoints != hub.endpoints);
        assert_eq!(desired.config.unwrap().hub, hub, "the one in use stays");
        assert_eq!(scene.step(peer).await, Some(MoveStep::Router));

        let made = |public_key, in_use| Some(AppliedNext { generation: 1, public_key, in_use });
        scene.say(peer, old, None).await.unwrap();
        assert_eq!(scene.step(peer).await, Some(MoveStep::Router), "what it has not made yet is no step");
        scene.say(peer, old, made(new, false)).await.unwrap();
        let at = scene.at_gateway(peer).await;
        assert_eq!((at.device, at.public_key), (0, old));
        assert_eq!(at.moving, Some(GatewayMove { device: 1, public_key: new, sends: false }));
        scene.say(peer, old, made(new, true)).await.unwrap();
        assert_eq!(scene.step(peer).await, Some(MoveStep::Grace));
        assert_eq!(code_of(world.store.cancel_rotation(&world.admin, peer).await), code::STATE);
        assert_eq!(scene.at_gateway(peer).await.moving, Some(GatewayMove { device: 1, public_key: new, sends: true }));
        world.pass(ROTATE_GRACE).await;
        assert_eq!(scene.step(peer).await, Some(MoveStep::Grace), "the gateway has yet to send by it");
        let late = world.desired(peer).await.revision;
        scene.serve().await;
        world.pass(Duration::from_secs(1)).await;

        let after = world.desired(peer).await;
        let config = after.config.unwrap();
        assert_eq!((config.generation, config.next, after.public_key), (1, None, Some(new)));
        assert_eq!(config.hub, offered.hub);
        let at = scene.at_gateway(peer).await;
        assert_eq!((at.device, at.public_key, at.moving), (1, new, None));
        // What the router said before it heard of the end changes nothing.
        scene.say_of(peer, late, old, made(new, true)).await.unwrap();
        assert_eq!(scene.peer(peer).await.public_key, Some(new));
        scene.say(peer, new, None).await.unwrap();
        let link = scene.peer(peer).await.link;
        assert_eq!(link.router_revision, Some(after.revision));

        // Back to the first device with the next one: two are enough for ever.
        world.store.rotate_peer(&world.admin, peer).await.unwrap();
        let offered = world.desired(peer).await.config.unwrap().next.unwrap();
        assert_eq!((offered.generation, offered.hub), (2, hub));
        scene.serve().await;
        scene.go_through(peer, new, router_key(101)).await;
        assert_eq!((scene.peer(peer).await.device, scene.peer(peer).await.generation), (0, 2));
        // Nobody is on the second one any more: it goes, and its port is free once the gateway has heard of it.
        for _ in 0..3 {
            world.pass(Duration::from_secs(1)).await;
            scene.serve().await;
        }
        assert_eq!(scene.instance().await.devices, []);
        assert_eq!(world.told(&scene.gateway, 0).await.instances[0].devices, []);
        let log = scene.actions().await;
        for action in ["peer.rotate", "peer.key", "peer.rotated"] {
            assert!(log.iter().any(|logged| logged == action), "{action} is not in {log:?}");
        }
    }
}

#[tokio::test]
async fn a_change_that_is_not_proven_waits_and_can_be_given_up_and_one_that_was_lost_goes_back() {
    let databases = Databases::new();
    for config in databases.configs("given-up") {
        let scene = Scene::new(&config, 1).await;
        let (world, peer) = (&scene.world, &scene.peers[0]);
        let old = router_key(0);
        assert_eq!(code_of(world.store.cancel_rotation(&world.admin, peer).await), code::NOT_FOUND);
        world.store.agent_rotate(peer).await.unwrap();
        world.store.agent_rotate(peer).await.unwrap();
        assert_eq!(scene.peer(peer).await.next.unwrap().cause, MoveCause::Agent);
        scene.serve().await;
        let made = |public_key, in_use| Some(AppliedNext { generation: 1, public_key, in_use });
        // A key that somebody has is no new one, nor is its own.
        for taken in [old, scene.instance().await.public_key.unwrap(), key(1_051_821)] {
            assert_eq!(code_of(scene.say(peer, old, made(taken, false)).await), code::KEY_TAKEN);
        }
        scene.say(peer, old, made(router_key(7), false)).await.unwrap();
        // It made another one: the router was reset meanwhile.
        scene.say(peer, old, made(router_key(8), false)).await.unwrap();
        assert_eq!(scene.at_gateway(peer).await.moving.unwrap().public_key, router_key(8));
        let client = world.peer(&scene.instance, client_peer("c", Some(router_key(8)))).await;
        assert_eq!(code_of(client), code::KEY_TAKEN, "a key that is about to be used is taken");

        scene.say(peer, old, made(router_key(8), true)).await.unwrap();
        scene.say(peer, old, made(router_key(8), false)).await.unwrap();
        assert_eq!(scene.step(peer).await, Some(MoveStep::Proof), "it fell back to the old one");
        assert!(!scene.at_gateway(peer).await.moving.unwrap().sends);
        scene.say(peer, old, made(router_key(8), true)).await.unwrap();
        scene.say(peer, old, None).await.unwrap();
        assert_eq!(scene.step(peer).await, Some(MoveStep::Proof), "it lost the new one");
        world.pass(ROTATE_GRACE * 100).await;
        assert_eq!(scene.step(peer).await, Some(MoveStep::Proof), "for ever");

        let revision = world.desired(peer).await.revision;
        world.store.cancel_rotation(&world.admin, peer).await.unwrap();
        let desired = world.desired(peer).await;
        assert!(desired.revision > revision);
        assert_eq!((desired.config.unwrap().next, scene.at_gateway(peer).await.moving), (None, None));
        // The next one has another number: what is left of this one is not taken for it.
        world.store.rotate_peer(&world.admin, peer).await.unwrap();
        scene.serve().await;
        scene.say(peer, old, made(router_key(8), true)).await.unwrap();
        assert_eq!(scene.step(peer).await, Some(MoveStep::Router));
        assert_eq!(world.desired(peer).await.config.unwrap().next.unwrap().generation, 2);

        let client = world.peer(&scene.instance, client_peer("c", Some(key(9)))).await.unwrap().id;
        assert_eq!(code_of(world.store.rotate_peer(&world.admin, &client).await), code::STATE);
        assert_eq!(code_of(world.store.agent_rotate(&client).await), code::STATE);
    }
}

#[tokio::test]
async fn an_instances_sites_follow_to_its_new_key_some_at_a_time_and_clients_with_their_next_key() {
    let databases = Databases::new();
    for config in databases.configs("another-gateway-key") {
        let scene = Scene::new(&config, 12).await;
        let world = &scene.world;
        let client = world.peer(&scene.instance, client_peer("c", Some(key(9)))).await.unwrap().id;
        scene.serve().await;
        let before = scene.instance().await;
        let rotating = world.store.rotate_instance(&world.admin, &scene.instance).await.unwrap();
        assert_eq!((rotating.devices[0].state, rotating.public_key), (DeviceState::Coming, before.public_key));
        world.store.rotate_instance(&world.admin, &scene.instance).await.unwrap();
        assert_eq!(scene.instance().await.devices.len(), 1, "once is enough");
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(scene.step(&scene.peers[0]).await, None, "nobody moves before the gateway has it");
        scene.serve().await;
        let now = scene.instance().await;
        assert_eq!((now.device, now.devices[0].state, now.devices[0].peers), (1, DeviceState::Retired, 13));
        assert!(now.public_key != before.public_key && now.listen_port != before.listen_port);
        assert_eq!(now.end_of(0).map(|(key, _)| key), before.public_key);

        world.pass(Duration::from_secs(1)).await;
        let mut moving = Vec::new();
        for peer in &scene.peers {
            moving.extend(scene.step(peer).await);
        }
        assert_eq!(moving, vec![MoveStep::Router; 10], "ten in a round");
        // One whose way is blocked stays where it is, and holds up nobody.
        world.pass(Duration::from_secs(1)).await;
        let (stays, follow) = scene.peers.split_first().unwrap();
        world.store.cancel_rotation(&world.admin, stays).await.unwrap();
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(scene.step(stays).await, None, "nobody but a person begins it again");
        for (number, peer) in (1..).zip(follow) {
            scene.go_through(peer, router_key(number), router_key(100 + number)).await;
            let moved = scene.peer(peer).await;
            assert_eq!((moved.device, moved.public_key), (1, Some(router_key(100 + number))));
        }
        world.pass(Duration::from_secs(1)).await;
        let now = scene.instance().await;
        assert_eq!((now.rotating_since, now.devices[0].peers), (None, 2));
        let fresh = world.peer(&scene.instance, client_peer("d", Some(key(10)))).await.unwrap();
        assert_eq!(fresh.device, 1);

        let edit = PeerEdit { public_key: Some(key(11)), ..PeerEdit::default() };
        assert_eq!(scene.peer(&client).await.device, 0);
        assert_eq!(world.store.edit_peer(&world.admin, &client, None, edit).await.unwrap().device, 1);
        world.store.rotate_peer(&world.admin, stays).await.unwrap();
        let last = |in_use| Some(AppliedNext { generation: 2, public_key: router_key(100), in_use });
        scene.say(stays, router_key(0), last(false)).await.unwrap();
        scene.say(stays, router_key(0), last(true)).await.unwrap();
        scene.serve().await;
        world.pass(ROTATE_GRACE).await;
        assert_eq!(scene.instance().await.devices[0].state, DeviceState::Leaving);
        let taken = InstanceEdit { listen_port: before.listen_port, ..InstanceEdit::default() };
        let edited = world.store.edit_instance(&world.admin, &scene.instance, None, taken.clone()).await;
        assert_eq!(code_of(edited), code::PORT_TAKEN, "until the gateway has heard of it");
        scene.serve().await;
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(scene.instance().await.devices, []);
        world.store.edit_instance(&world.admin, &scene.instance, None, taken).await.unwrap();
        let log = scene.actions().await;
        for action in ["instance.rotate", "instance.key", "instance.rotated", "peer.rotate-cancel"] {
            assert_eq!(log.iter().filter(|logged| *logged == action).count(), 1, "{action} in {log:?}");
        }
    }
}

#[tokio::test]
async fn keys_of_routers_that_are_older_than_the_instance_wants_are_made_anew() {
    let databases = Databases::new();
    for config in databases.configs("policy") {
        let scene = Scene::new(&config, 2).await;
        let world = &scene.world;
        let days = |days| InstanceEdit { rotate_keys_days: Some(days), ..InstanceEdit::default() };
        let edit = world.store.edit_instance(&world.admin, &scene.instance, None, days(4000)).await;
        assert_eq!(code_of(edit), code::INVALID);
        let edited = world.store.edit_instance(&world.admin, &scene.instance, None, days(30)).await.unwrap();
        assert_eq!(edited.rotate_keys_days, Some(30));
        world.pass(Duration::from_hours(24 * 29)).await;
        assert_eq!(scene.step(&scene.peers[0]).await, None, "not yet");
        world.pass(Duration::from_hours(25)).await;
        scene.serve().await;
        assert_eq!(scene.peer(&scene.peers[0]).await.next.unwrap().cause, MoveCause::Policy);
        scene.go_through(&scene.peers[0], router_key(0), router_key(100)).await;
        world.store.cancel_rotation(&world.admin, &scene.peers[1]).await.unwrap();
        world.pass(Duration::from_mins(2)).await;
        for peer in &scene.peers {
            assert_eq!(scene.step(peer).await, None, "its key is new, or somebody said no");
        }
        let never = world.store.edit_instance(&world.admin, &scene.instance, None, days(0)).await.unwrap();
        assert_eq!(never.rotate_keys_days, None);
    }
}

#[tokio::test]
async fn an_instance_that_can_have_no_other_device_holds_up_no_other_instance_and_nothing_else() {
    let databases = Databases::new();
    for config in databases.configs("policy-stuck") {
        let scene = Scene::new(&config, 1).await;
        let (world, account) = (&scene.world, scene.instance().await.account);
        let site = world.site(&account, "second").await;
        let second = world.instance(&account, "second").await.id;
        scene.serve().await;
        let peer = world.peer(&second, site_peer(&site, "q", &["10.2.0.0/24"])).await.unwrap().id;
        scene.say(&peer, router_key(50), None).await.unwrap();
        scene.serve().await;
        let days = InstanceEdit { rotate_keys_days: Some(30), ..InstanceEdit::default() };
        let mut both = [(scene.instance.clone(), scene.peers[0].clone()), (second, peer)];
        for (instance, _) in &both {
            world.store.edit_instance(&world.admin, instance, None, days.clone()).await.unwrap();
        }
        // The first of them has as many devices as there may be, and the gateway never takes one down.
        both.sort();
        let [(stuck, stays), (_, follows)] = &both;
        for number in 1..MAX_DEVICES {
            let gateway = &scene.gateway;
            let insert = format!(
                "INSERT INTO device (instance, number, gateway, state, listen_port, revision, made_at) \
                 VALUES ('{stuck}', {number}, '{gateway}', 'leaving', {}, 9000000000000000, 0)",
                60_000 + number
            );
            Raw::all(&config, &[&insert]).await;
        }
        assert!(scene.actions().await.contains(&"peer.create".to_owned()));
        // Longer than the audit log is kept.
        world.pass(Duration::from_hours(24 * 401)).await;
        assert_eq!(scene.step(stays).await, None);
        assert_eq!(scene.step(follows).await, Some(MoveStep::Device));
        let log = scene.actions().await;
        assert!(!log.contains(&"peer.create".to_owned()), "what is old is forgotten all the same: {log:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_gone_takes_its_devices_along_and_what_was_made_is_kept() {
    let databases = Databases::new();
    for config in databases.configs("gone") {
        let scene = Scene::new(&config, 2).await;
        let world = &scene.world;
        for peer in &scene.peers {
            world.store.rotate_peer(&world.admin, peer).await.unwrap();
        }
        scene.serve().await;
        let made =
            |number: u64, in_use| Some(AppliedNext { generation: 1, public_key: router_key(100 + number), in_use });
        scene.say(&scene.peers[0], router_key(0), made(0, true)).await.unwrap();
        scene.say(&scene.peers[1], router_key(1), made(1, false)).await.unwrap();
        world.store.delete_gateway(&world.admin, &scene.gateway).await.unwrap();
        let keys = [scene.peer(&scene.peers[0]).await, scene.peer(&scene.peers[1]).await];
        let kept = keys.map(|peer| (peer.public_key, peer.generation, peer.device, peer.next));
        assert_eq!(kept, [(Some(router_key(100)), 1, 0, None), (Some(router_key(1)), 0, 0, None)]);
        assert_eq!((scene.instance().await.devices, scene.instance().await.rotating_since), (Vec::new(), None));
        let next = world.gateway("gw2", "eu").await;
        world.pass(Duration::from_secs(2)).await;
        world.serve(&next).await;
        let desired = world.desired(&scene.peers[0]).await;
        assert_eq!((desired.config.unwrap().generation, desired.public_key), (1, Some(router_key(100))));
        world.store.delete_peer(&world.admin, &scene.peers[1], None).await.unwrap();
        world.store.rotate_peer(&world.admin, &scene.peers[0]).await.unwrap();
        world.store.delete_instance(&world.admin, &scene.instance, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_port_that_peers_use_is_served_until_they_have_moved_to_another_and_one_that_nobody_uses_is_left_at_once() {
    let databases = Databases::new();
    for config in databases.configs("another-port") {
        let scene = Scene::new(&config, 1).await;
        let (world, peer) = (&scene.world, &scene.peers[0]);
        let before = scene.instance().await;
        let to = |port| InstanceEdit { listen_port: Some(port), ..InstanceEdit::default() };
        let edit = async |port| world.store.edit_instance(&world.admin, &scene.instance, None, to(port)).await;
        let edited = edit(40000).await.unwrap();
        assert_eq!((edited.listen_port, edited.public_key), (before.listen_port, before.public_key));
        assert_eq!((edited.devices[0].state, edited.devices[0].listen_port), (DeviceState::Coming, 40000));
        assert!(edited.rotating_since.is_some());
        let told = world.told(&scene.gateway, 0).await.instances.remove(0);
        assert_eq!((told.devices[0].listen_port, told.devices[0].any_port), (40000, false), "this one, or none");
        edit(40000).await.unwrap();
        assert_eq!(scene.instance().await.devices.len(), 1, "once is enough");
        // One that the gateway cannot have is no dead end: nobody has moved yet.
        let back = edit(before.listen_port.unwrap()).await.unwrap();
        assert_eq!((back.rotating_since, back.devices[0].state), (None, DeviceState::Leaving));
        assert_eq!(code_of(edit(40000).await), code::PORT_TAKEN, "until the gateway has heard of it");
        edit(40001).await.unwrap();
        edit(40002).await.unwrap();
        let devices = scene.instance().await.devices;
        let there: Vec<_> = devices.iter().map(|dev| (dev.listen_port, dev.state)).collect();
        let leaving = |port| (port, DeviceState::Leaving);
        assert_eq!(there, [leaving(40000), leaving(40001), (40002, DeviceState::Coming)]);

        let hub = world.desired(peer).await.config.unwrap().hub;
        scene.serve().await;
        assert_eq!(scene.instance().await.listen_port, Some(40002));
        world.pass(Duration::from_secs(1)).await;
        let desired = world.desired(peer).await.config.unwrap();
        assert_eq!(desired.hub, hub, "the one in use stays");
        assert_eq!(desired.next.unwrap().hub.endpoints[0].port, 40002);
        scene.go_through(peer, router_key(0), router_key(100)).await;
        world.pass(Duration::from_secs(1)).await;
        scene.serve().await;
        world.pass(Duration::from_secs(1)).await;
        let moved = scene.instance().await;
        assert_eq!((moved.devices.len(), moved.rotating_since), (0, None), "{:?}", moved.devices);
        let told = world.told(&scene.gateway, 0).await.instances.remove(0);
        assert_eq!((told.listen_port, told.any_port), (40002, false));

        world.store.delete_peer(&world.admin, peer, None).await.unwrap();
        let alone = edit(40003).await.unwrap();
        assert_eq!((alone.listen_port, alone.devices.len()), (Some(40003), 0), "nobody is there to be cut off");
    }
}
