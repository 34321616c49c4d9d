//! Gateways: which one takes an instance, what it is told, what it reports.

use std::collections::BTreeSet;
use std::time::Duration;

use sitepeer::api::*;
use sitepeer::hub::store::{PeerFilter, StoreConfig, StoreError};

use crate::world::*;

async fn sqlite() -> (tempfile::TempDir, World) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(&StoreConfig::Sqlite(folder.path().join("hub.db"))).await;
    (folder, world)
}

#[tokio::test]
async fn the_least_loaded_gateway_of_the_region_that_was_heard_takes_an_instance() {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    let waiting = world.instance(&account, "waiting").await;
    assert!(waiting.gateway.is_none() && waiting.readiness[0].detail.contains("region eu"), "{waiting:?}");
    let (one, _far) = (world.gateway("gw-1", "eu").await, world.gateway("gw-far", "us").await);
    world.pass(Duration::from_secs(2)).await;
    let taken = world.store.instance(&world.admin, &waiting.id).await.unwrap();
    assert_eq!((taken.gateway.as_ref(), taken.listen_port), (Some(&one), Some(51820)));
    let two = world.gateway("gw-2", "eu").await;
    assert_eq!(world.instance(&account, "second").await.gateway.as_ref(), Some(&two));
    // On the same gateway the next free port, and one that was asked for only if it is free.
    let third = world.instance(&account, "third").await;
    assert_eq!(third.listen_port, Some(51821));
    world.pass(Duration::from_secs(100)).await;
    let nobody = world.instance(&account, "fourth").await;
    assert_eq!(nobody.gateway, None, "no gateway was heard lately");
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_the_instance_that_has_it() {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    world.gateway("gw-1", "eu").await;
    let first = world.instance(&account, "first").await;
    let new = NewInstance { listen_port: Some(51820), ..new_instance(&account, "second") };
    let refused = world.store.create_instance(&world.admin, None, new).await;
    assert!(refused.as_ref().unwrap_err().to_string().contains(first.id.as_str()), "{refused:?}");
    assert_eq!(code_of(refused), code::PORT_TAKEN);
    let second = world.instance(&account, "second").await;
    let edit = InstanceEdit { listen_port: Some(51820), ..InstanceEdit::default() };
    assert_eq!(code_of(world.store.edit_instance(&world.admin, &second.id, None, edit).await), code::PORT_TAKEN);
}

#[tokio::test]
async fn a_gateway_is_told_of_thousands_in_parts_and_afterwards_only_of_what_changed() {
    let databases = Databases::new();
    for config in databases.configs("parts") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let new =
            NewInstance { tunnel_subnet: Some("10.200.0.0/16".parse().unwrap()), ..new_instance(&account, "main") };
        let instance = world.store.create_instance(&world.admin, None, new).await.unwrap().id;
        let count = u64::try_from(MAX_PEERS_PER_REPLY).unwrap() + 300;
        let mut ids = BTreeSet::new();
        for number in 0..count {
            ids.insert(world.peer(&instance, client_peer(&format!("c{number}"), Some(key(number)))).await.unwrap().id);
        }
        // The gateway comes after them: each gets a revision of its own.
        let gateway = world.gateway("gw", "eu").await;
        world.pass(Duration::from_secs(2)).await;
        let first = world.store.gateway_desired(&gateway, 0).await.unwrap().unwrap();
        assert!(first.more && first.instances.len() == 1);
        let all = world.told(&gateway, 0).await;
        let told: BTreeSet<PeerId> = all.peers.iter().map(|peer| peer.id.clone()).collect();
        assert_eq!((told.len(), told), (ids.len(), ids.clone()));
        assert_eq!(world.store.gateway_desired(&gateway, all.revision).await.unwrap(), None);
        let gone = ids.pop_first().unwrap();
        world.store.delete_peer(&world.admin, &gone, None).await.unwrap();
        let changed = world.told(&gateway, all.revision).await;
        assert!(
            changed.peers.is_empty() && changed.instances.is_empty() && changed.removed_peers.len() == 1,
            "{changed:?}"
        );
        forgotten(&world, &gateway, all.revision).await;
    }
}

/// What was removed long ago is forgotten: who asks from before begins again, and gets everything in parts all the same.
async fn forgotten(world: &World, gateway: &GatewayId, before: i64) {
    world.pass(Duration::from_hours(8 * 24)).await;
    let told = world.store.gateway_desired(gateway, before).await.unwrap().unwrap();
    assert!(told.restart && told.peers.is_empty(), "{told:?}");
    let all = world.told(gateway, 0).await;
    assert!(!all.restart && all.peers.len() == MAX_PEERS_PER_REPLY + 299, "{}", all.peers.len());
    let ahead = world.store.gateway_desired(gateway, all.revision + 5).await.unwrap().unwrap();
    assert!(ahead.restart && ahead.revision == all.revision, "a hub restored from a backup");
}

#[tokio::test]
async fn a_report_is_taken_once_and_traffic_never_goes_backwards() {
    let databases = Databases::new();
    for config in databases.configs("reports") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let stranger = world.gateway("gw-other", "us").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, client_peer("c", Some(key(1)))).await.unwrap().id;
        let report = |epoch: &str, number: i64, rx_bytes: u64| GatewayReport {
            epoch: epoch.to_owned(),
            number,
            at: 0,
            peers: vec![PeerTraffic {
                peer: peer.clone(),
                revision: 1,
                handshake_at: None,
                connected_since: None,
                endpoint: None,
                rx_bytes,
                tx_bytes: 0,
            }],
        };
        let used = || async {
            world.store.peer_usage(&world.admin, &peer).await.unwrap().first().map_or(0, |usage| usage.rx_bytes)
        };
        for (epoch, number, total, taken, expected) in [
            ("a", 1, 100, 1, 100),
            ("a", 2, 250, 2, 250),
            ("a", 2, 900, 2, 250), // sent again
            ("a", 1, 900, 2, 250),
            ("b", 1, 300, 1, 300), // the gateway lost its count of reports, not its totals
            ("b", 2, 40, 2, 300),  // a total that falls is not believed ...
            ("c", 1, 40, 1, 340),  // ... but of a gateway that lost its disk, whose totals begin at 0
        ] {
            let reply = world.store.gateway_report(&gateway, report(epoch, number, total)).await.unwrap();
            assert_eq!((reply.number, used().await), (taken, expected), "{epoch} {number} {total}");
        }
        world.store.gateway_report(&stranger, report("x", 1, 1_000_000)).await.unwrap();
        assert_eq!(used().await, 340, "another gateway's word for this peer counts nothing");
        let instance = world.store.instance(&world.admin, &instance).await.unwrap();
        assert_eq!(instance.usage.rx_bytes, 340);
    }
}

#[tokio::test]
async fn sums_of_what_a_gateway_counts_end_at_the_most_there_is_and_stay_readable() {
    let databases = Databases::new();
    for config in databases.configs("most") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, client_peer("c", Some(key(1)))).await.unwrap().id;
        for (epoch, total) in [("a", u64::MAX), ("b", 5), ("c", u64::MAX), ("d", 7)] {
            let seen = PeerTraffic {
                peer: peer.clone(),
                revision: i64::MAX,
                handshake_at: Some(i64::MIN),
                connected_since: Some(i64::MIN),
                endpoint: None,
                rx_bytes: total,
                tx_bytes: total,
            };
            let report = GatewayReport { epoch: epoch.to_owned(), number: i64::MAX, at: i64::MAX, peers: vec![seen] };
            world.store.gateway_report(&gateway, report).await.unwrap();
        }
        world.pass(Duration::from_mins(1)).await;
        let peers = world.store.peers(&world.admin, &PeerFilter::default(), &page(10)).await.unwrap().items;
        let most = u64::try_from(i64::MAX).unwrap();
        assert_eq!((peers[0].usage.rx_bytes, peers[0].usage.tx_bytes, peers[0].link.rx_bytes), (most, most, 7));
        let instance = world.store.instance(&world.admin, &instance).await.unwrap();
        assert_eq!(instance.usage.rx_bytes, most);
    }
}

#[tokio::test]
async fn an_instance_that_failed_is_tried_again_with_its_name_settings_and_gateway() {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    let gateway = world.gateway("gw", "eu").await;
    let made = world.instance(&account, "main").await;
    let told = world.told(&gateway, 0).await;
    let failed = |revision| GatewayApplied {
        peers: Vec::new(),
        revision: told.revision,
        instances: vec![GatewayInstanceApplied {
            id: made.id.clone(),
            revision,
            device: 0,
            public_key: None,
            listen_port: None,
            error: Some("port 51820 is taken on this host".to_owned()),
            devices: Vec::new(),
        }],
    };
    world.store.gateway_applied(&gateway, failed(told.instances[0].revision)).await.unwrap();
    let broken = world.store.instance(&world.admin, &made.id).await.unwrap();
    assert_eq!(
        (broken.status, broken.reason.as_deref()),
        (InstanceStatus::Error, Some("port 51820 is taken on this host"))
    );
    let again = world.store.retry_instance(&world.admin, &made.id).await.unwrap();
    assert_eq!(
        (again.status, &again.hostname, &again.gateway),
        (InstanceStatus::Deploying, &made.hostname, &made.gateway)
    );
    world.store.gateway_applied(&gateway, failed(told.instances[0].revision)).await.unwrap();
    let still = world.store.instance(&world.admin, &made.id).await.unwrap();
    assert_eq!(still.status, InstanceStatus::Deploying, "an answer to the try before says nothing of this one");
    assert!(world.told(&gateway, told.revision).await.instances[0].revision > told.instances[0].revision);
}

#[tokio::test]
async fn a_gateway_that_is_gone_for_good_gives_its_instances_to_another_one_with_new_keys() {
    let databases = Databases::new();
    for config in databases.configs("forget") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let site = world.site(&account, "s").await;
        let new = NewToken {
            name: "gw-1".to_owned(),
            role: Role::Gateway,
            account: None,
            region: Some("eu".to_owned()),
            ttl_secs: None,
        };
        let token = world.store.create_token(&world.admin, None, new).await.unwrap();
        let gone = world.store.gateway_hello(&token.token.id, hello("gw-1", "eu")).await.unwrap().id;
        let made = world.instance(&account, "main").await;
        let peer = world.peer(&made.id, site_peer(&site, "p", &["10.1.0.0/24"])).await.unwrap().id;
        let client = world.peer(&made.id, client_peer("c", Some(key(1)))).await.unwrap().id;
        world.serve(&gone).await;
        let before = world.desired(&peer).await;
        let old_key = before.config.expect("served").hub.public_key;

        let member = world.member(&account);
        assert_eq!(code_of(world.store.delete_gateway(&member, &gone).await), code::NOT_FOUND);
        world.store.delete_gateway(&world.admin, &gone).await.unwrap();
        assert!(matches!(world.store.authenticate(&token.secret).await, Err(StoreError::Revoked)));
        assert_eq!(code_of(world.store.gateway_desired(&gone, 0).await), code::NOT_FOUND);
        let waiting = world.store.instance(&world.admin, &made.id).await.unwrap();
        assert_eq!(
            (waiting.status, waiting.gateway, waiting.public_key, waiting.endpoint),
            (InstanceStatus::Deploying, None, None, None)
        );
        let told = world.desired(&peer).await;
        assert!(told.revision > before.revision && told.waiting_for.is_some(), "{told:?}");

        let next = world.gateway("gw-2", "eu").await;
        world.pass(Duration::from_secs(2)).await;
        let all = world.told(&next, 0).await;
        assert_eq!((all.instances[0].id.clone(), all.peers[0].id.clone()), (made.id.clone(), client));
        let moved = world.store.instance(&world.admin, &made.id).await.unwrap();
        assert_eq!((moved.status, moved.gateway.as_ref()), (InstanceStatus::Deploying, Some(&next)));
        let new_key = key(77_000_000);
        let one = GatewayInstanceApplied {
            id: made.id.clone(),
            revision: all.instances[0].revision,
            device: 0,
            public_key: Some(new_key),
            listen_port: None,
            error: None,
            devices: Vec::new(),
        };
        let applied = GatewayApplied { revision: all.revision, instances: vec![one], peers: Vec::new() };
        world.store.gateway_applied(&next, applied).await.unwrap();
        let after = world.desired(&peer).await;
        assert!(after.revision > told.revision && old_key != new_key);
        assert_eq!(after.config.expect("served again").hub.public_key, new_key);
        let log = world.store.audit(&world.admin, &page(100)).await.unwrap().items;
        assert!(log.iter().any(|entry| entry.action == "gateway.delete" && entry.who == "test"), "{log:?}");
    }
}

#[tokio::test]
async fn why_a_peer_is_not_served_is_told_by_its_own_gateway_and_of_the_revision_that_is_wanted() {
    let databases = Databases::new();
    for config in databases.configs("failures") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let stranger = world.gateway("gw-other", "us").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, client_peer("c", Some(key(1)))).await.unwrap().id;
        let first = world.serve(&gateway).await;
        let say = async |gateway: &GatewayId, revision: i64, error: &str| {
            let failed = GatewayPeerFailed { id: peer.clone(), revision, error: error.to_owned() };
            let applied = GatewayApplied { revision, instances: Vec::new(), peers: vec![failed] };
            world.store.gateway_applied(gateway, applied).await.unwrap();
        };
        let shown = async || {
            let link = world.store.peer(&world.admin, &peer).await.unwrap().link;
            (link.gateway_error, link.gateway_revision == Some(link.gateway_wanted))
        };
        assert_eq!(shown().await, (None, true));
        say(&stranger, first, "not mine").await;
        assert_eq!(shown().await, (None, true), "another gateway's word counts nothing");

        let edit = PeerEdit { keepalive_secs: Some(7), ..PeerEdit::default() };
        world.store.edit_peer(&world.admin, &peer, None, edit).await.unwrap();
        let second = world.told(&gateway, first).await.peers[0].revision;
        say(&gateway, second, "the\u{7} device refuses it").await;
        assert_eq!(shown().await, (Some("the device refuses it".to_owned()), false));
        // The answer to the revision before comes late: it neither hides this one's, nor stands for it.
        say(&gateway, first, "late").await;
        say(&gateway, second + 1_000_000, "from nowhere").await;
        assert_eq!(shown().await, (Some("the device refuses it".to_owned()), false));

        let edit = PeerEdit { keepalive_secs: Some(8), ..PeerEdit::default() };
        world.store.edit_peer(&world.admin, &peer, None, edit).await.unwrap();
        assert_eq!(shown().await.0, None, "of this revision nothing is known yet");
        world.serve(&gateway).await;
        assert_eq!(shown().await, (None, true));
    }
}

#[tokio::test]
async fn a_port_that_the_gateway_chose_is_wanted_from_then_on_and_told_to_peers() {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    let gateway = world.gateway("gw", "eu").await;
    let made = world.instance(&account, "main").await;
    let second = world.instance(&account, "second").await;
    assert_eq!((made.listen_port, second.listen_port), (Some(51820), Some(51821)));
    let told = world.told(&gateway, 0).await;
    assert!(told.instances.iter().all(|instance| instance.any_port), "nobody asked for a port");
    let applied = |id: &InstanceId, revision: i64, port: u16| GatewayApplied {
        revision,
        instances: vec![GatewayInstanceApplied {
            id: id.clone(),
            revision,
            device: 0,
            public_key: Some(key(9)),
            listen_port: Some(port),
            error: None,
            devices: Vec::new(),
        }],
        peers: Vec::new(),
    };
    world.store.gateway_applied(&gateway, applied(&made.id, told.revision, 51822)).await.unwrap();
    let moved = world.store.instance(&world.admin, &made.id).await.unwrap();
    assert_eq!((moved.listen_port, moved.endpoint.map(|endpoint| endpoint.port)), (Some(51822), Some(51822)));
    let again = world.told(&gateway, told.revision).await;
    assert_eq!(again.instances.iter().map(|instance| instance.listen_port).collect::<Vec<_>>(), [51822]);
    assert_eq!(world.instance(&account, "third").await.listen_port, Some(51820));

    // Said twice, it is no news; said of an older revision, it says nothing.
    world.store.gateway_applied(&gateway, applied(&made.id, again.revision, 51822)).await.unwrap();
    world.store.gateway_applied(&gateway, applied(&made.id, told.revision, 51829)).await.unwrap();
    let third = world.told(&gateway, again.revision).await;
    assert!(third.instances.iter().all(|instance| instance.id != made.id), "{third:?}");

    // One that was given to another instance meanwhile: a third one is wanted.
    world.store.gateway_applied(&gateway, applied(&made.id, third.revision, 51821)).await.unwrap();
    let instances = world.told(&gateway, third.revision).await.instances;
    let ports: Vec<_> = instances.iter().map(|instance| (instance.id.clone(), instance.listen_port)).collect();
    assert_eq!(ports, [(made.id, 51823)]);
}
