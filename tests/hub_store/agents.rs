//! Enrolment and agents.

use std::time::Duration;

use sitepeer::api::*;
use sitepeer::domain::Secret;
use sitepeer::hub::store::{Principal, StoreConfig, StoreError};

use crate::world::*;

fn request(token: &Secret, nonce: &str, serial: &str) -> EnrollRequest {
    EnrollRequest {
        token: token.clone(),
        device_nonce: format!("{nonce:0<16}"),
        device: DeviceFacts {
            serial: Some(serial.to_owned()),
            board: Some("hEX".to_owned()),
            ..DeviceFacts::default()
        },
        public_key: None,
    }
}

async fn token(world: &World, peer: &PeerId, uses: u32) -> EnrollmentMade {
    let new = NewEnrollment { peer: peer.clone(), ttl_secs: Some(3600), uses: Some(uses) };
    world.store.create_enrollment(&world.admin, None, new).await.unwrap()
}

#[tokio::test]
async fn a_token_says_whether_it_is_spent_expired_or_revoked_and_an_enrolled_agent_stays() {
    let databases = Databases::new();
    for config in databases.configs("tokens") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
        let made = token(&world, &peer, 1).await;
        let first = world.store.enroll(request(&made.token, "one", "S1")).await.unwrap().credential.unwrap();
        // The reply was lost: the same device again costs no use, and the credential before is replaced.
        let again = world.store.enroll(request(&made.token, "one", "S1")).await.unwrap().credential.unwrap();
        assert!(matches!(world.store.authenticate(&first).await, Err(StoreError::Revoked)));
        // Once the credential was used, the device has it: the same token and nonce buy nothing any more.
        assert!(world.store.authenticate(&again).await.unwrap().is_some());
        assert_eq!(code_of(world.store.enroll(request(&made.token, "one", "S1")).await), code::TOKEN_SPENT);
        assert_eq!(code_of(world.store.enroll(request(&made.token, "two", "S1")).await), code::TOKEN_SPENT);
        let listed = world.store.enrollments(&world.admin, &page(10)).await.unwrap().items;
        assert_eq!((listed[0].state, listed[0].used), (EnrollmentState::Spent, 1));

        world.store.revoke_enrollment(&world.admin, &made.enrollment.id).await.unwrap();
        assert_eq!(code_of(world.store.enroll(request(&made.token, "one", "S1")).await), code::TOKEN_REVOKED);
        assert!(matches!(world.store.authenticate(&again).await, Ok(Some(Principal::Agent { .. }))), "never kicked");
        let late = token(&world, &peer, 1).await;
        world.pass(Duration::from_secs(3601)).await;
        assert_eq!(code_of(world.store.enroll(request(&late.token, "one", "S1")).await), code::TOKEN_EXPIRED);
        let unknown = Secret::new(late.token.expose().replace(late.enrollment.id.as_str(), "00000000"));
        assert_eq!(code_of(world.store.enroll(request(&unknown, "one", "S1")).await), code::UNAUTHENTICATED);
        assert_eq!(world.store.authenticate(&late.token).await.unwrap(), None, "an enrolment token is no credential");

        world.store.delete_peer(&world.admin, &peer, None).await.unwrap();
        assert!(matches!(world.store.authenticate(&again).await, Err(StoreError::NotFound { .. })));
    }
}

#[tokio::test]
async fn a_device_whose_credential_was_taken_back_does_not_come_again_by_its_nonce() {
    let databases = Databases::new();
    for config in databases.configs("replays") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
        // Somebody who found the token enrols, and does not use the credential.
        let found = token(&world, &peer, 1).await;
        world.store.enroll(request(&found.token, "thief", "S1")).await.unwrap();
        world.store.revoke_agent(&world.admin, &peer).await.unwrap();
        assert_eq!(code_of(world.store.enroll(request(&found.token, "thief", "S1")).await), code::TOKEN_SPENT);
        // Nor does one whose place another device has taken.
        let shared = token(&world, &peer, 2).await;
        world.store.enroll(request(&shared.token, "first", "S1")).await.unwrap();
        let second = world.store.enroll(request(&shared.token, "second", "S2")).await.unwrap().credential.unwrap();
        assert_eq!(code_of(world.store.enroll(request(&shared.token, "first", "S1")).await), code::TOKEN_SPENT);
        assert!(world.store.authenticate(&second).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_enrolment_token_does_not_tell_whose_a_public_key_is() {
    let databases = Databases::new();
    for config in databases.configs("whose") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let instance = world.instance(&account, "main").await.id;
        let known = world.peer(&instance, client_peer("alice-private-phone", Some(key(1)))).await.unwrap();
        let other = world.peer(&instance, client_peer("c", None)).await.unwrap().id;
        let made = token(&world, &other, 1).await;
        let refused = world.store.enroll(EnrollRequest { public_key: Some(key(1)), ..request(&made.token, "n", "S") });
        let refused = refused.await.unwrap_err();
        let told = format!("{refused:?}");
        assert!(!told.contains(known.id.as_str()) && !told.contains("alice"), "{told}");
        assert_eq!(code_of::<()>(Err(refused)), code::KEY_TAKEN);
    }
}

#[tokio::test]
async fn what_an_agent_counts_is_taken_however_much_it_is() {
    let databases = Databases::new();
    for config in databases.configs("dropped") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
        for number in 1..=3 {
            let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
            let report = AgentReport::new(number, i64::MIN, tunnel);
            let batch = AgentReports {
                epoch: "e".to_owned(),
                reports: vec![report],
                dropped: u64::MAX,
                sent_at: Some(i64::MAX),
            };
            assert_eq!(world.store.agent_reports(&peer, batch).await.unwrap().number, number);
        }
    }
}

#[tokio::test]
async fn a_serial_number_binds_nothing_and_the_same_one_under_two_sites_is_reported() {
    let databases = Databases::new();
    for config in databases.configs("serials") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let instance = world.instance(&account, "main").await.id;
        let mut sites = Vec::new();
        for name in ["one", "two"] {
            let site = world.site(&account, name).await;
            let peer = world.peer(&instance, site_peer(&site, name, &[])).await.unwrap().id;
            let made = token(&world, &peer, 1).await;
            let enrolled = world.store.enroll(request(&made.token, name, "SAME")).await.unwrap();
            assert_eq!(enrolled.peer, peer, "the token decides, not the serial number");
            sites.push(site);
        }
        let one = world.store.site(&world.admin, &sites[0]).await.unwrap();
        assert_eq!(one.same_serial, [sites[1].clone()]);
        let listed = world.store.sites(&world.admin, Some("same"), &page(10)).await.unwrap().items;
        assert!(listed.len() == 2 && listed.iter().all(|site| site.same_serial.len() == 1), "{listed:?}");
        let log = world.store.audit(&world.admin, &page(100)).await.unwrap().items;
        assert_eq!(log.iter().filter(|entry| entry.action == "site.same-serial").count(), 1);
    }
}

#[tokio::test]
async fn a_site_is_told_of_all_but_its_own_subnets_once_for_changes_that_come_together() {
    let databases = Databases::new();
    for config in databases.configs("reach") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let instance = world.instance(&account, "main").await.id;
        let site = world.site(&account, "s").await;
        let first = world.peer(&instance, site_peer(&site, "first", &["10.1.0.0/24"])).await.unwrap().id;
        assert!(world.desired(&first).await.waiting_for.is_some());
        world.serve(&gateway).await;
        let revision = world.desired(&first).await.revision;
        for number in 1..4 {
            let subnet = format!("10.1.{number}.0/24");
            world.peer(&instance, site_peer(&site, &format!("p{number}"), &[&subnet])).await.unwrap();
        }
        world.store.tick().await.unwrap();
        assert_eq!(world.desired(&first).await.revision, revision, "not yet");
        world.pass(Duration::from_millis(300)).await;
        let desired = world.desired(&first).await;
        let told = desired.config.unwrap();
        assert_eq!(
            (desired.revision > revision, told.reach.to_string().as_str()),
            (true, "10.1.1.0/24,10.1.2.0/23,10.99.0.0/24")
        );
        assert_eq!(told.advertise.to_string(), "10.1.0.0/24");
        world.pass(Duration::from_secs(5)).await;
        assert_eq!(world.desired(&first).await.revision, desired.revision, "once");
        // Its own wish comes before what the instance offers.
        let own = PeerEdit { reach: Some(nets(&["10.1.2.0/24"])), ..PeerEdit::default() };
        world.store.edit_peer(&world.admin, &first, None, own).await.unwrap();
        let told = world.desired(&first).await.config.unwrap();
        assert_eq!(told.reach.to_string(), "10.1.2.0/24");
    }
}

#[tokio::test]
async fn agents_reports_are_taken_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(&StoreConfig::Sqlite(folder.path().join("hub.db"))).await;
    let account = world.account("a").await;
    let site = world.site(&account, "s").await;
    let instance = world.instance(&account, "main").await.id;
    let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
    let batch = |epoch: &str, numbers: std::ops::RangeInclusive<i64>| AgentReports {
        epoch: epoch.to_owned(),
        reports: numbers
            .map(|number| {
                let verdict = format!("proven:{number}");
                AgentReport::new(number, number, TunnelHealth { verdict, handshake_age_secs: None, rtt_us: None })
            })
            .collect(),
        dropped: 0,
        sent_at: None,
    };
    let send = |batch| world.store.agent_reports(&peer, batch);
    assert_eq!(send(batch("a", 1..=5)).await.unwrap().number, 5);
    assert_eq!(send(batch("a", 3..=4)).await.unwrap().number, 5, "late");
    let says = || async { world.store.peer(&world.admin, &peer).await.unwrap().link.agent_says.unwrap() };
    assert_eq!(says().await, "proven:5");
    assert_eq!(send(batch("b", 1..=2)).await.unwrap().number, 2, "another epoch begins anew");
    assert_eq!(says().await, "proven:2");
    let nobody: PeerId = "00000000".parse().unwrap();
    assert_eq!(code_of(world.store.agent_reports(&nobody, batch("a", 1..=1)).await), code::NOT_FOUND);
}

#[tokio::test]
async fn an_agent_changes_its_key_a_few_times_an_hour_and_no_more() {
    let databases = Databases::new();
    for config in databases.configs("keys") {
        let world = World::open(&config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
        let other = world.peer(&instance, site_peer(&site, "other", &[])).await.unwrap().id;
        let bring = async |peer: &PeerId, number: u64| {
            let revision = world.desired(peer).await.revision;
            let applied =
                AgentApplied { revision, public_key: key(number), device: DeviceFacts::default(), next: None };
            world.store.agent_applied(peer, applied).await
        };
        for number in 1..=12 {
            bring(&peer, number).await.unwrap();
        }
        let before = world.told(&gateway, 0).await.revision;
        let Err(StoreError::TooOften { retry_secs, .. }) = bring(&peer, 13).await else { panic!("taken") };
        assert!((3500..=3600).contains(&retry_secs), "{retry_secs}");
        assert_eq!(world.store.gateway_desired(&gateway, before).await.unwrap(), None, "no gateway is rewritten");
        bring(&peer, 12).await.unwrap();
        bring(&other, 14).await.unwrap();
        world.pass(Duration::from_secs(3601)).await;
        bring(&peer, 13).await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_whose_credential_was_taken_back_is_out_and_its_peer_can_be_enrolled_again() {
    let databases = Databases::new();
    for config in databases.configs("revoke") {
        let world = World::open(&config).await;
        let (account, other) = (world.account("a").await, world.account("b").await);
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
        assert_eq!(code_of(world.store.revoke_agent(&world.admin, &peer).await), code::NOT_FOUND, "there is none yet");
        let made = token(&world, &peer, 2).await;
        let credential = world.store.enroll(request(&made.token, "one", "S1")).await.unwrap().credential.unwrap();
        let applied = AgentApplied { revision: 1, public_key: key(1), device: DeviceFacts::default(), next: None };
        world.store.agent_applied(&peer, applied).await.unwrap();

        assert_eq!(code_of(world.store.revoke_agent(&world.member(&other), &peer).await), code::NOT_FOUND);
        world.store.revoke_agent(&world.member(&account), &peer).await.unwrap();
        assert!(matches!(world.store.authenticate(&credential).await, Err(StoreError::Revoked)));
        assert_eq!(code_of(world.store.revoke_agent(&world.admin, &peer).await), code::NOT_FOUND, "once");
        let stays = world.store.peer(&world.admin, &peer).await.unwrap();
        assert_eq!((stays.enabled, stays.public_key), (true, Some(key(1))), "the tunnel is not cut");
        let log = world.store.audit(&world.admin, &page(100)).await.unwrap().items;
        assert_eq!(log.iter().filter(|entry| entry.action == "peer.revoke").count(), 1);

        let again = world.store.enroll(request(&made.token, "two", "S2")).await.unwrap().credential.unwrap();
        assert!(matches!(world.store.authenticate(&again).await, Ok(Some(Principal::Agent { .. }))));
        assert_eq!(
            world.store.peer(&world.admin, &peer).await.unwrap().public_key,
            None,
            "another router, another key"
        );
    }
}
