//! Many at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use sitepeer::api::*;
use sitepeer::hub::store::PeerFilter;

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_address_is_given_twice_and_no_overlap_gets_in_whoever_comes_at_once() {
    let databases = Databases::new();
    for config in databases.configs("many") {
        let world = Arc::new(World::open(&config).await);
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let tasks: Vec<_> = (0..60_usize)
            .map(|number| {
                let (world, site, instance) = (Arc::clone(&world), site.clone(), instance.clone());
                tokio::spawn(async move {
                    // Every third asks for the same subnet; all ask for their own.
                    let subnet = if number % 3 == 0 { "10.1.0.0/24".to_owned() } else { format!("10.2.{number}.0/24") };
                    world.peer(&instance, site_peer(&site, &format!("p{number}"), &[&subnet])).await
                })
            })
            .collect();
        let mut refused = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => {}
                refusal => {
                    assert_eq!(code_of(refusal), code::OVERLAP);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 19, "one of twenty has it");
        let filter = PeerFilter { instance: Some(instance), ..PeerFilter::default() };
        let peers = world.store.peers(&world.admin, &filter, &page(1000)).await.unwrap().items;
        let addresses: BTreeSet<_> = peers.iter().map(|peer| peer.addresses[0]).collect();
        let revisions: BTreeSet<_> = peers.iter().map(|peer| peer.link.gateway_wanted).collect();
        assert_eq!((peers.len(), addresses.len(), revisions.len()), (41, 41, 41));
        // Disabled peers are left out: no key yet.
        assert_eq!(world.told(&gateway, 0).await.removed_peers.len(), 41);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_reports_and_deletions_at_once_neither_block_nor_lose_each_other() {
    let databases = Databases::new();
    for config in databases.configs("mixed") {
        let world = Arc::new(World::open(&config).await);
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let instance = world.instance(&account, "main").await.id;
        let mut peers = Vec::new();
        for number in 0..20 {
            peers.push(world.peer(&instance, client_peer(&format!("c{number}"), Some(key(number)))).await.unwrap().id);
        }
        let reporter = {
            let (world, gateway, peers) = (Arc::clone(&world), gateway.clone(), peers.clone());
            tokio::spawn(async move {
                for number in 1..=30 {
                    let seen = |peer: &PeerId| PeerTraffic {
                        peer: peer.clone(),
                        revision: 1,
                        handshake_at: None,
                        connected_since: None,
                        endpoint: None,
                        rx_bytes: 10 * u64::try_from(number).unwrap(),
                        tx_bytes: 0,
                    };
                    let report =
                        GatewayReport { epoch: "e".to_owned(), number, at: 0, peers: peers.iter().map(seen).collect() };
                    world.store.gateway_report(&gateway, report).await.unwrap();
                    world.store.tick().await.unwrap();
                }
            })
        };
        let workers: Vec<_> = peers
            .chunks(5)
            .map(|mine| {
                let (world, mine) = (Arc::clone(&world), mine.to_vec());
                tokio::spawn(async move {
                    for (number, peer) in mine.iter().enumerate() {
                        for enabled in [false, true] {
                            let edit = PeerEdit { enabled: Some(enabled), ..PeerEdit::default() };
                            world.store.edit_peer(&world.admin, peer, None, edit).await.unwrap();
                        }
                        if number == 0 {
                            world.store.delete_peer(&world.admin, peer, None).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        reporter.await.unwrap();
        let instance = world.store.instance(&world.admin, &instance).await.unwrap();
        assert_eq!(instance.peers, 16);
        assert!((16 * 300..=20 * 300).contains(&instance.usage.rx_bytes), "{:?}", instance.usage);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_fleet_says_at_once_is_all_written_and_a_peer_that_is_gone_spoils_it_for_none() {
    const AGENTS: i64 = 60;
    let databases = Databases::new();
    for config in databases.configs("fleet") {
        let world = Arc::new(World::open(&config).await);
        let account = world.account("a").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let mut peers = Vec::new();
        for number in 0..AGENTS {
            let peer = world.peer(&instance, site_peer(&site, &format!("p{number}"), &[])).await.unwrap().id;
            let revision = world.desired(&peer).await.revision;
            let public_key = key(1000 + u64::try_from(number).unwrap());
            let applied = AgentApplied { revision, public_key, device: DeviceFacts::default(), next: None };
            world.store.agent_applied(&peer, applied.clone()).await.unwrap();
            peers.push((peer, applied));
        }
        let gone = peers[7].0.clone();
        world.store.delete_peer(&world.admin, &gone, None).await.unwrap();
        let said: Vec<_> = peers
            .iter()
            .map(|(peer, applied)| {
                let (world, peer, mut applied) = (Arc::clone(&world), peer.clone(), applied.clone());
                tokio::spawn(async move {
                    let health = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
                    let reports = (1..=3).map(|number| AgentReport::new(number, 5, health.clone())).collect();
                    let batch = AgentReports { epoch: "e".to_owned(), reports, dropped: 0, sent_at: None };
                    applied.device.uptime_secs = Some(77);
                    applied.revision = world.store.agent_desired(&peer, None).await?.map_or(0, |told| told.revision);
                    world.store.agent_applied(&peer, applied).await?;
                    world.store.agent_reports(&peer, batch).await
                })
            })
            .collect();
        for (said, (peer, _)) in said.into_iter().zip(&peers) {
            let taken = said.await.unwrap();
            if *peer == gone {
                assert_eq!(code_of(taken), code::NOT_FOUND);
                continue;
            }
            assert_eq!(taken.unwrap(), ReportsTaken { number: 3, gateway_online: None });
            let link = world.store.peer(&world.admin, peer).await.unwrap().link;
            assert_eq!((link.agent_says.as_deref(), link.router_revision), (Some("proven"), Some(link.revision)));
        }
        assert_eq!(world.store.site(&world.admin, &site).await.unwrap().device.unwrap().uptime_secs, Some(77));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reach_that_is_told_while_subnets_come_and_go_is_whole_in_the_end() {
    let databases = Databases::new();
    for config in databases.configs("published") {
        let world = Arc::new(World::open(&config).await);
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let first = world.peer(&instance, site_peer(&site, "first", &[])).await.unwrap().id;
        world.serve(&gateway).await;
        let changes: Vec<_> = (0..40)
            .map(|number| {
                let (world, site, instance) = (Arc::clone(&world), site.clone(), instance.clone());
                tokio::spawn(async move {
                    let subnet = format!("10.{}.0.0/24", 2 * number + 1);
                    let peer = site_peer(&site, &format!("p{number}"), &[&subnet]);
                    let made = world.peer(&instance, peer).await.unwrap().id;
                    if number % 4 == 0 {
                        world.store.delete_peer(&world.admin, &made, None).await.unwrap();
                    }
                })
            })
            .collect();
        for change in changes {
            // A round between any two: what is due is published while others change it.
            world.pass(std::time::Duration::from_millis(600)).await;
            change.await.unwrap();
        }
        world.pass(std::time::Duration::from_millis(600)).await;
        let told = world.desired(&first).await.config.unwrap().reach;
        for number in 0..40 {
            let subnet = format!("10.{}.0.0/24", 2 * number + 1).parse().unwrap();
            assert_eq!(told.covering(subnet).is_some(), number % 4 != 0, "{subnet} in {told}");
        }
    }
}
