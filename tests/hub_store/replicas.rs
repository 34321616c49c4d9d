//! Two replicas of the hub on one PostgreSQL.

use std::time::{Duration, Instant};

use sitepeer::api::*;
use sitepeer::hub::wake::Topic;

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_replica_wakes_who_waits_at_the_other_within_a_second() {
    let databases = Databases::new();
    let Some(config) = databases.configs("replicas").into_iter().nth(1) else { return };
    let (one, other) = (World::open(&config).await, World::open(&config).await);
    let account = one.account("a").await;
    let gateway = one.gateway("gw", "eu").await;
    let site = one.site(&account, "s").await;
    let instance = one.instance(&account, "main").await.id;
    let peer = one.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
    // The listener may still be on its way: its first wake is the one that says that it is there.
    let mut ready = other.store.wakes().waiter(Topic::Gateway(gateway.clone()), None);
    let mut agent = other.store.wakes().waiter(Topic::Peer(peer.clone()), Some(instance.clone()));
    let begun = Instant::now();
    loop {
        one.peer(&instance, client_peer(&format!("c{}", begun.elapsed().as_nanos()), Some(key(2)))).await.ok();
        if tokio::time::timeout(Duration::from_millis(300), ready.woken()).await.is_ok() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the listener never came");
    }
    while tokio::time::timeout(Duration::from_millis(300), agent.woken()).await.is_ok() {}
    for number in 0..5 {
        let edit = PeerEdit { keepalive_secs: Some(30 + number), ..PeerEdit::default() };
        let begun = Instant::now();
        one.store.edit_peer(&one.admin, &peer, None, edit).await.unwrap();
        tokio::time::timeout(Duration::from_secs(1), agent.woken()).await.expect("woken within a second");
        let seen = other.store.peer(&other.admin, &peer).await.unwrap();
        assert_eq!(seen.keepalive_secs, 30 + number, "what wakes is committed");
        println!("woken after {:?}", begun.elapsed());
    }
}
