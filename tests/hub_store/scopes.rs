//! Another account's things do not exist, whatever is asked of them.

use std::collections::BTreeSet;

use sitepeer::api::*;
use sitepeer::hub::store::{InstanceFilter, PeerFilter, StoreError};

use crate::world::*;

/// Asks for the same thing under an id that is there, but another's, and under one that never was: the answers must not differ.
struct Leaks {
    answers: Vec<(&'static str, String, String)>,
}

fn text<T: std::fmt::Debug>(result: Result<T, StoreError>, id: &str) -> String {
    let error = result.expect_err("out of scope");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    error.to_string().replace(id, "<id>")
}

macro_rules! same_answer {
    ($leaks:expr, $store:expr, $method:ident($actor:expr, $theirs:expr, $nobodys:expr $(, $more:expr)*)) => {
        let theirs = text($store.$method($actor, $theirs $(, $more)*).await, $theirs.as_str());
        let nobodys = text($store.$method($actor, $nobodys $(, $more)*).await, $nobodys.as_str());
        $leaks.answers.push((stringify!($method), theirs, nobodys));
    };
}

#[tokio::test]
async fn nothing_tells_whether_another_accounts_id_exists() {
    let databases = Databases::new();
    for config in databases.configs("scopes") {
        let world = World::open(&config).await;
        let (mine, theirs) = (world.account("mine").await, world.account("theirs").await);
        let me = world.member(&mine);
        let site = world.site(&theirs, "s").await;
        let instance = world.instance(&theirs, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &["10.1.0.0/24"])).await.unwrap().id;
        let new = NewEnrollment { peer: peer.clone(), ttl_secs: None, uses: None };
        let enrollment = world.store.create_enrollment(&world.admin, None, new).await.unwrap().enrollment.id;
        let new = NewToken {
            name: "t".to_owned(),
            role: Role::Viewer,
            account: Some(theirs.clone()),
            region: None,
            ttl_secs: None,
        };
        let token = world.store.create_token(&world.admin, None, new).await.unwrap().token.id;

        let store = &world.store;
        let mut leaks = Leaks { answers: Vec::new() };
        let no: AccountId = "00000000".parse().unwrap();
        same_answer!(leaks, store, account(&me, &theirs, &no));
        same_answer!(leaks, store, edit_account(&me, &theirs, &no, Some(1), AccountEdit::default()));
        same_answer!(leaks, store, delete_account(&me, &theirs, &no, None));
        let no: TokenId = "00000000".parse().unwrap();
        same_answer!(leaks, store, delete_token(&me, &token, &no));
        let no: InstanceId = "00000000".parse().unwrap();
        same_answer!(leaks, store, instance(&me, &instance, &no));
        same_answer!(leaks, store, edit_instance(&me, &instance, &no, Some(7), InstanceEdit::default()));
        same_answer!(leaks, store, delete_instance(&me, &instance, &no, Some(7)));
        same_answer!(leaks, store, retry_instance(&me, &instance, &no));
        same_answer!(leaks, store, suspend_instance(&me, &instance, &no, true));
        same_answer!(leaks, store, instance_usage(&me, &instance, &no));
        let own = world.site(&mine, "own").await;
        for id in [&instance, &no] {
            assert_eq!(
                code_of(store.create_peer(&me, None, id, site_peer(&own, "x", &["10.1.0.0/24"])).await),
                code::NOT_FOUND
            );
        }
        let no: PeerId = "00000000".parse().unwrap();
        same_answer!(leaks, store, peer(&me, &peer, &no));
        same_answer!(leaks, store, edit_peer(&me, &peer, &no, Some(7), PeerEdit::default()));
        same_answer!(leaks, store, delete_peer(&me, &peer, &no, Some(7)));
        same_answer!(leaks, store, peer_usage(&me, &peer, &no));
        let no: SiteId = "00000000".parse().unwrap();
        same_answer!(leaks, store, site(&me, &site, &no));
        same_answer!(leaks, store, edit_site(&me, &site, &no, Some(7), SiteEdit::default()));
        same_answer!(leaks, store, delete_site(&me, &site, &no, Some(7)));
        same_answer!(leaks, store, site_subnets(&me, &site, &no));
        same_answer!(leaks, store, site_health(&me, &site, &no, None));
        same_answer!(leaks, store, site_events(&me, &site, &no, &page(1)));
        same_answer!(leaks, store, site_transitions(&me, &site, &no, &page(1)));
        same_answer!(leaks, store, site_hours(&me, &site, &no, &page(1)));
        let freeze = NewFreeze { for_secs: 1, reason: String::new() };
        same_answer!(leaks, store, freeze_site(&me, &site, &no, freeze.clone()));
        same_answer!(leaks, store, thaw_site(&me, &site, &no));
        let no: EnrollmentId = "00000000".parse().unwrap();
        same_answer!(leaks, store, revoke_enrollment(&me, &enrollment, &no));
        for (method, theirs, nobodys) in &leaks.answers {
            assert_eq!(theirs, nobodys, "{method}");
        }
        made_for_others(&world, &mine, &theirs, &site, &peer).await;
        lists(&world, &mine).await;
    }
}

/// Ids inside a request are ids too.
async fn made_for_others(world: &World, mine: &AccountId, theirs: &AccountId, site: &SiteId, peer: &PeerId) {
    let me = world.member(mine);
    let store = &world.store;
    let for_them = |account: &AccountId| NewSite { name: "x".to_owned(), account: Some(account.clone()) };
    assert_eq!(code_of(store.create_site(&me, None, for_them(theirs)).await), code::NOT_FOUND);
    assert_eq!(code_of(store.create_site(&me, None, for_them(&"00000000".parse().unwrap())).await), code::NOT_FOUND);
    assert_eq!(code_of(store.create_instance(&me, None, new_instance(theirs, "other")).await), code::NOT_FOUND);
    let token = NewToken {
        name: "t".to_owned(),
        role: Role::Viewer,
        account: Some(theirs.clone()),
        region: None,
        ttl_secs: None,
    };
    assert_eq!(code_of(store.create_token(&me, None, token).await), code::NOT_FOUND);
    let enrollment = |peer: &PeerId| NewEnrollment { peer: peer.clone(), ttl_secs: None, uses: None };
    assert_eq!(code_of(store.create_enrollment(&me, None, enrollment(peer)).await), code::NOT_FOUND);
    let own =
        store.create_instance(&me, None, NewInstance { account: None, ..new_instance(mine, "own") }).await.unwrap();
    assert_eq!(code_of(store.create_peer(&me, None, &own.id, site_peer(site, "x", &[])).await), code::NOT_FOUND);
    // The same subnets, names and addresses in two accounts are nobody's business.
    let new_site = store.create_site(&me, None, NewSite { name: "s".to_owned(), account: None }).await.unwrap().id;
    store.create_peer(&me, None, &own.id, site_peer(&new_site, "p", &["10.1.0.0/24"])).await.unwrap();
    // A hostname is unique on the hub, but whose it is, is not said.
    let second = NewInstance { hostname: Some("main".to_owned()), account: None, ..new_instance(mine, "other") };
    let error = store.create_instance(&me, None, second).await.unwrap_err().to_string();
    assert_eq!(error, "the hostname main is taken");
}

async fn lists(world: &World, mine: &AccountId) {
    let me = world.member(mine);
    let (store, all) = (&world.store, page(1000));
    let owners = |accounts: Vec<AccountId>| accounts.into_iter().collect::<BTreeSet<_>>();
    let only = BTreeSet::from([mine.clone()]);
    let instances = store.instances(&me, &InstanceFilter::default(), &all).await.unwrap().items;
    assert_eq!(owners(instances.into_iter().map(|one| one.account).collect()), only);
    let peers = store.peers(&me, &PeerFilter::default(), &all).await.unwrap().items;
    assert_eq!(owners(peers.into_iter().map(|one| one.account).collect()), only);
    let sites = store.sites(&me, None, &all).await.unwrap().items;
    assert_eq!(owners(sites.into_iter().map(|one| one.account).collect()), only);
    assert_eq!(store.accounts(&me, &all).await.unwrap().items.len(), 1);
    assert!(store.tokens(&me, &all).await.unwrap().items.is_empty());
    assert!(store.enrollments(&me, &all).await.unwrap().items.is_empty());
    let log = store.audit(&me, &all).await.unwrap().items;
    assert!(!log.is_empty() && log.iter().all(|entry| entry.account.as_ref() == Some(mine)));
    assert_eq!(code_of(store.gateways(&me, &all).await), code::NOT_FOUND);
}
