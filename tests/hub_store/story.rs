//! One story, told over SQLite and over PostgreSQL.

use std::time::Duration;

use sitepeer::api::*;
use sitepeer::hub::store::{InstanceFilter, PeerFilter, Principal, StoreError};

use crate::world::*;

#[tokio::test]
async fn an_operators_day_is_the_same_over_both_databases() {
    let databases = Databases::new();
    for config in databases.configs("story") {
        let world = World::with_domain(&config, Some("vpn.example.net")).await;
        let acme = world.account("acme").await;
        let gateway = world.gateway("gw-1", "eu").await;
        let (one, two) = (world.site(&acme, "branch 1").await, world.site(&acme, "branch 2").await);

        let made = world.instance(&acme, "main").await;
        assert_eq!(
            (made.status, made.gateway.as_ref(), made.listen_port),
            (InstanceStatus::Deploying, Some(&gateway), Some(51820))
        );
        let a = world.peer(&made.id, site_peer(&one, "a", &["10.1.0.0/24"])).await.unwrap();
        let b = world.peer(&made.id, site_peer(&two, "b", &["10.1.1.0/24"])).await.unwrap();
        assert_eq!(a.addresses, ["10.99.0.2".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!((a.status, b.addresses[0].to_string()), (PeerStatus::Waiting, "10.99.0.3".to_owned()));

        world.serve(&gateway).await;
        let active = world.store.instance(&world.admin, &made.id).await.unwrap();
        assert_eq!(active.status, InstanceStatus::Active, "{active:?}");
        assert_eq!(active.endpoint.map(|endpoint| endpoint.to_string()).as_deref(), Some("main.vpn.example.net:51820"));
        assert!(active.readiness.iter().all(|step| step.state == StepState::Done), "{:?}", active.readiness);

        enrol_and_connect(&world, &gateway, &a).await;
        edit_and_delete(&world, &gateway, &a, &b).await;
        world.store.ping().await.unwrap();
        let census = world.store.census().await.unwrap();
        assert_eq!((census.peers, census.connected, census.gateways), (1, 1, 1), "{census:?}");
        ends(&world, &acme, &made.id).await;
    }
}

async fn enrol_and_connect(world: &World, gateway: &GatewayId, a: &Peer) {
    let new = NewEnrollment { peer: a.id.clone(), ttl_secs: None, uses: None };
    let token = world.store.create_enrollment(&world.admin, None, new).await.unwrap();
    let request = EnrollRequest {
        token: token.token,
        device_nonce: "0123456789abcdef".to_owned(),
        device: DeviceFacts { board: Some("hAP ax2".to_owned()), ..DeviceFacts::default() },
        public_key: None,
    };
    let enrolled = world.store.enroll(request).await.unwrap();
    assert_eq!((enrolled.peer.as_str(), enrolled.interface.as_str()), (a.id.as_str(), "sitepeer-main"));
    let credential = enrolled.credential.expect("an agent's credential");
    let agent = world.store.authenticate(&credential).await.unwrap();
    assert!(matches!(agent, Some(Principal::Agent { ref peer, .. }) if *peer == a.id), "{agent:?}");

    let desired = world.desired(&a.id).await;
    let config = desired.config.expect("the gateway is there");
    assert_eq!(config.hub.endpoints[0].to_string(), "main.vpn.example.net:51820");
    assert_eq!(config.tunnel.addresses, nets(&["10.99.0.2/24"]));
    assert_eq!(config.tunnel.probe[0].to_string(), "10.99.0.1");
    let before = world.told(gateway, 0).await.revision;
    let applied =
        AgentApplied { revision: desired.revision, public_key: key(1), device: DeviceFacts::default(), next: None };
    world.store.agent_applied(&a.id, applied).await.unwrap();
    let told = world.told(gateway, before).await;
    assert_eq!((told.peers.len(), told.peers[0].public_key), (1, key(1)), "only the peer that changed");
    report(world, gateway, 1, a, told.peers[0].revision, 1000).await;
    let peer = world.store.peer(&world.admin, &a.id).await.unwrap();
    assert_eq!(
        (peer.status, peer.usage.rx_bytes, peer.link.gateway_revision),
        (PeerStatus::Connected, 1000, Some(told.revision))
    );
}

async fn report(world: &World, gateway: &GatewayId, number: i64, peer: &Peer, revision: i64, rx_bytes: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let seen = PeerTraffic {
        peer: peer.id.clone(),
        revision,
        handshake_at: Some(now),
        connected_since: Some(now),
        endpoint: Some("198.51.100.7:40000".parse().unwrap()),
        rx_bytes,
        tx_bytes: 7,
    };
    let report = GatewayReport { epoch: "one".to_owned(), number, at: now, peers: vec![seen] };
    assert_eq!(world.store.gateway_report(gateway, report).await.unwrap().number, number);
}

async fn edit_and_delete(world: &World, gateway: &GatewayId, a: &Peer, b: &Peer) {
    let before = world.store.peer(&world.admin, &a.id).await.unwrap();
    let revision = world.told(gateway, 0).await.revision;
    let off = PeerEdit { enabled: Some(false), ..PeerEdit::default() };
    let off = world.store.edit_peer(&world.admin, &a.id, Some(before.version), off).await.unwrap();
    assert_eq!((off.status, off.version), (PeerStatus::Disabled, before.version + 1));
    let gone = world.told(gateway, revision).await;
    assert_eq!(gone.removed_peers, [RemovedPeer { instance: a.instance.clone(), peer: a.id.clone() }]);
    let stale = PeerEdit { enabled: Some(true), ..PeerEdit::default() };
    assert_eq!(
        code_of(world.store.edit_peer(&world.admin, &a.id, Some(before.version), stale.clone()).await),
        code::CHANGED
    );
    world.store.edit_peer(&world.admin, &a.id, None, stale).await.unwrap();

    world.store.delete_peer(&world.admin, &b.id, None).await.unwrap();
    let told = world.told(gateway, gone.revision).await;
    assert_eq!(told.peers.iter().map(|peer| &peer.id).collect::<Vec<_>>(), [&a.id]);
    assert_eq!(told.removed_peers, [RemovedPeer { instance: b.instance.clone(), peer: b.id.clone() }]);
    assert_eq!(code_of(world.store.peer(&world.admin, &b.id).await), code::NOT_FOUND);
    world.pass(Duration::from_millis(300)).await;
    let instance = world.store.instance(&world.admin, &a.instance).await.unwrap();
    assert_eq!(instance.reach.to_string(), "10.1.0.0/24,10.99.0.0/24");
    let connected = PeerFilter { status: Some(PeerStatus::Connected), ..PeerFilter::default() };
    let listed = world.store.peers(&world.admin, &connected, &page(10)).await.unwrap().items;
    assert_eq!(listed.iter().map(|peer| &peer.id).collect::<Vec<_>>(), [&a.id]);
    let found = InstanceFilter { search: Some("BRANCH 1".to_owned()), ..InstanceFilter::default() };
    assert_eq!(world.store.instances(&world.admin, &found, &page(10)).await.unwrap().items.len(), 1);
}

async fn ends(world: &World, account: &AccountId, instance: &InstanceId) {
    let admin = &world.admin;
    let suspended = world.store.suspend_instance(admin, instance, true).await.unwrap();
    assert_eq!(suspended.status, InstanceStatus::Suspended);
    assert!(matches!(world.store.retry_instance(admin, instance).await, Err(StoreError::State { .. })));
    assert_eq!(world.store.suspend_instance(admin, instance, false).await.unwrap().status, InstanceStatus::Active);
    assert_eq!(world.store.instance_usage(admin, instance).await.unwrap()[0].rx_bytes, 1000);
    assert_eq!(code_of(world.store.delete_account(admin, account, None).await), code::IN_USE);
    world.store.delete_instance(admin, instance, None).await.unwrap();
    for site in world.store.sites(admin, None, &page(10)).await.unwrap().items {
        world.store.delete_site(admin, &site.id, None).await.unwrap();
    }
    world.store.delete_account(admin, account, None).await.unwrap();
    let log = world.store.audit(admin, &page(1000)).await.unwrap().items;
    for action in [
        "account.create",
        "peer.edit",
        "peer.disable",
        "peer.enable",
        "peer.delete",
        "instance.delete",
        "peer.key",
        "enrollment.use",
    ] {
        let expected = action != "peer.edit";
        assert_eq!(log.iter().any(|entry| entry.action == action), expected, "{action}: {log:#?}");
    }
    assert!(log.windows(2).all(|pair| pair[0].number > pair[1].number), "newest first");
}
