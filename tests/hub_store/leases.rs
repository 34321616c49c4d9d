//! Leases of sites: one holder at a time, fairly shared, with numbers that only grow; and one driver of a router, agent or proxy.

use std::collections::BTreeSet;
use std::time::Duration;

use sitepeer::api::*;
use sitepeer::hub::store::{ProxyActor, Settings, StoreConfig, StoreError, open_with};

use crate::world::*;

/// Just over the length of a lease.
const OVER: Duration = Duration::from_millis(LEASE_MS + 1);

struct Place {
    world: World,
    account: AccountId,
    sites: Vec<SiteId>,
}

impl Place {
    async fn with(config: &StoreConfig, groups: &[&str]) -> Self {
        let world = World::open(config).await;
        let account = world.account("a").await;
        let mut place = Self { world, account, sites: Vec::new() };
        place.more(groups).await;
        place
    }

    /// More sites, of these groups.
    async fn more(&mut self, groups: &[&str]) {
        let there = self.sites.len();
        for (number, group) in groups.iter().enumerate() {
            let site = self.world.site(&self.account, &format!("s{}", there + number)).await;
            self.world.store.assign_site(&self.world.admin, &site, Some(assignment(group))).await.unwrap();
            self.sites.push(site);
        }
    }

    async fn proxy(&self, group: Option<&str>) -> ProxyActor {
        let new = NewToken {
            name: "proxy".to_owned(),
            role: Role::Proxy,
            account: Some(self.account.clone()),
            region: group.map(str::to_owned),
            ttl_secs: None,
        };
        let made = self.world.store.create_token(&self.world.admin, None, new).await.unwrap();
        ProxyActor { token: made.token.id, account: self.account.clone(), group: group.map(str::to_owned) }
    }

    async fn ask(&self, by: &ProxyActor, request: &LeaseRequest) -> LeaseReply {
        self.world.store.proxy_leases(by, request).await.unwrap()
    }

    async fn held(&self, by: &ProxyActor, process: &str) -> Vec<LeasedSite> {
        self.ask(by, &request(process)).await.sites.unwrap()
    }
}

fn assignment(group: &str) -> ProxyAssignment {
    ProxyAssignment { group: group.to_owned(), url: "apis://sitepeer@10.1.1.1".to_owned(), pin: None }
}

fn request(process: &str) -> LeaseRequest {
    LeaseRequest { proxy: format!("{process}-0123456789abcdef"), room: 1_000, ..LeaseRequest::default() }
}

fn ids(sites: &[LeasedSite]) -> BTreeSet<SiteId> {
    sites.iter().map(|site| site.site.clone()).collect()
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends_and_each_new_holder_a_larger_number() {
    let databases = Databases::new();
    for config in databases.configs("leases_one") {
        let place = Place::with(&config, &["g"; 3]).await;
        let (a, b) = (place.proxy(None).await, place.proxy(None).await);
        let first = place.held(&a, "a").await;
        assert_eq!(first.len(), 3);
        assert_eq!(place.held(&b, "b").await, [], "nothing is left");
        // It is renewed, and keeps its number.
        place.world.clock.advance(Duration::from_secs(15));
        assert_eq!(place.held(&a, "a").await.len(), 3);
        place.world.clock.advance(Duration::from_secs(15));
        assert_eq!(place.held(&b, "b").await, [], "renewed in time");
        place.world.clock.advance(OVER);
        let second = place.held(&b, "b").await;
        assert_eq!(ids(&second), ids(&first), "the first is silent");
        for (before, after) in first.iter().zip(&second) {
            assert!(after.number > before.number, "{before:?} {after:?}");
        }
        // Who comes back late has nothing, and renews nothing of what is another's.
        let late = place.ask(&a, &request("a")).await;
        assert_eq!(late.sites, Some(Vec::new()));
    }
}

#[tokio::test]
async fn a_site_says_which_proxy_has_it_and_when_it_was_heard_last() {
    let databases = Databases::new();
    for config in databases.configs("leases_shown") {
        let place = Place::with(&config, &["g"; 2]).await;
        let (world, site) = (&place.world, &place.sites[0]);
        let shown = async || world.store.site(&world.admin, site).await.unwrap().lease;
        assert_eq!(shown().await, None, "nobody has it yet");
        let a = place.proxy(None).await;
        let number = place.held(&a, "a").await.iter().find(|held| held.site == *site).unwrap().number;
        let lease = shown().await.unwrap();
        assert_eq!((lease.proxy.as_str(), lease.number), ("proxy", number));
        let listed = world.store.sites(&world.admin, None, &page(10)).await.unwrap().items;
        assert_eq!(listed.iter().filter(|site| site.lease.is_some()).count(), 2);
        world.clock.advance(OVER);
        assert_eq!(shown().await, Some(lease), "it ended: the time tells");
        world.store.assign_site(&world.admin, site, None).await.unwrap();
        assert_eq!(shown().await, None, "no proxy is to have it");
    }
}

#[tokio::test]
async fn what_ended_is_taken_anew_with_another_number_even_if_nobody_took_it() {
    let databases = Databases::new();
    for config in databases.configs("leases_anew") {
        let place = Place::with(&config, &["g"]).await;
        let a = place.proxy(None).await;
        let first = place.held(&a, "a").await;
        place.world.clock.advance(OVER);
        let again = place.held(&a, "a").await;
        assert!(again[0].number > first[0].number);
    }
}

#[tokio::test]
async fn proxies_share_a_group_evenly_and_who_ends_leaves_all_at_once() {
    let databases = Databases::new();
    for config in databases.configs("leases_share") {
        let place = Place::with(&config, &["g"; 7]).await;
        let (a, b) = (place.proxy(None).await, place.proxy(Some("g")).await);
        assert_eq!(place.held(&a, "a").await.len(), 7);
        assert_eq!(place.held(&b, "b").await.len(), 0);
        let crowded = place.ask(&a, &request("a")).await;
        assert_eq!(crowded.give_up.len(), 3, "four is the fair share of the first");
        let leave = LeaseRequest { leave: crowded.give_up.clone(), ..request("a") };
        let left = place.ask(&a, &leave).await;
        assert_eq!((left.sites.unwrap().len(), left.give_up.len()), (4, 0));
        assert_eq!(place.held(&b, "b").await.len(), 0, "their drivers may still be at work");
        place.world.clock.advance(Duration::from_secs(12));
        assert_eq!(place.held(&a, "a").await.len(), 4);
        place.world.clock.advance(Duration::from_secs(12));
        assert_eq!(ids(&place.held(&b, "b").await), crowded.give_up.into_iter().collect());
        assert_eq!(place.ask(&a, &request("a")).await.give_up, []);
        let ends = LeaseRequest { ends: true, ..request("a") };
        assert_eq!(place.ask(&a, &ends).await, LeaseReply::default());
        assert_eq!(place.held(&b, "b").await.len(), 7, "without waiting");
    }
}

#[tokio::test]
async fn a_group_is_shared_only_among_those_that_may_drive_it_and_nothing_is_left_over() {
    let databases = Databases::new();
    for config in databases.configs("leases_groups") {
        let mut place = Place::with(&config, &[]).await;
        let (all, north, west) =
            (place.proxy(None).await, place.proxy(Some("north")).await, place.proxy(Some("west")).await);
        // Everybody is known to be there before there is anything to take.
        for (by, process) in [(&all, "all"), (&north, "north"), (&west, "west")] {
            place.ask(by, &request(process)).await;
        }
        place.more(&["north", "north", "north", "north", "south", "south"]).await;
        let held = [place.held(&all, "all").await, place.held(&north, "north").await, place.held(&west, "west").await];
        let of = |sites: &[LeasedSite], group: &str| sites.iter().filter(|site| site.assignment.group == group).count();
        assert_eq!((of(&held[0], "north"), of(&held[0], "south"), held[1].len(), held[2].len()), (2, 2, 2, 0));
    }
}

#[tokio::test]
async fn what_one_has_no_room_for_the_others_take_and_keep_for_as_long_as_it_is_full() {
    let databases = Databases::new();
    for config in databases.configs("leases_room") {
        let mut place = Place::with(&config, &[]).await;
        let (a, b, c) = (place.proxy(None).await, place.proxy(Some("g")).await, place.proxy(None).await);
        let small = LeaseRequest { room: 2, ..request("a") };
        place.ask(&a, &small).await;
        place.ask(&b, &request("b")).await;
        place.more(&["g"; 10]).await;
        let mut numbers = BTreeSet::new();
        for _ in 0..8 {
            let (full, roomy) = (place.ask(&a, &small).await, place.ask(&b, &request("b")).await);
            assert_eq!((&full.give_up, &roomy.give_up), (&Vec::new(), &Vec::new()), "nobody else would take it");
            let (full, roomy) = (full.sites.unwrap(), roomy.sites.unwrap());
            assert_eq!((full.len(), roomy.len()), (2, 8));
            numbers.insert(roomy.iter().map(|site| site.number).collect::<Vec<_>>());
            place.world.clock.advance(Duration::from_secs(10));
        }
        assert_eq!(numbers.len(), 1, "the same leases all the while");
        // Who comes and has room gets its share of what the full one cannot have.
        assert_eq!(place.held(&c, "c").await, []);
        assert_eq!(place.ask(&b, &request("b")).await.give_up.len(), 4);
        assert_eq!(place.ask(&a, &small).await.give_up, []);
    }
}

#[tokio::test]
async fn what_is_known_is_not_told_again_and_a_change_of_the_router_is() {
    let databases = Databases::new();
    for config in databases.configs("leases_known") {
        let place = Place::with(&config, &["g"; 2]).await;
        let a = place.proxy(None).await;
        let first = place.ask(&a, &request("a")).await;
        let known = LeaseRequest { known: Some(first.digest), ..request("a") };
        assert_eq!(place.ask(&a, &known).await.sites, None);
        let moved = ProxyAssignment { url: "api://10.9.9.9:8728".to_owned(), ..assignment("g") };
        place.world.store.assign_site(&place.world.admin, &place.sites[0], Some(moved.clone())).await.unwrap();
        let news = place.ask(&a, &known).await.sites.unwrap();
        assert!(news.iter().any(|site| site.assignment == moved) && news.len() == 2, "{news:?}");
        place.world.store.assign_site(&place.world.admin, &place.sites[0], None).await.unwrap();
        assert_eq!(place.held(&a, "a").await.len(), 1, "it is nobody's any more");
    }
}

#[tokio::test]
async fn only_the_holder_speaks_for_a_peer_and_only_with_the_number_of_its_lease() {
    let databases = Databases::new();
    for config in databases.configs("leases_holds") {
        let place = Place::with(&config, &["g"]).await;
        let instance = place.world.instance(&place.account, "main").await.id;
        let peer = place.world.peer(&instance, site_peer(&place.sites[0], "p", &["10.1.0.0/24"])).await.unwrap().id;
        let (a, b) = (place.proxy(None).await, place.proxy(None).await);
        let lease = place.held(&a, "a").await.remove(0);
        assert_eq!(lease.peers, std::slice::from_ref(&peer));
        let store = &place.world.store;
        assert_eq!(store.proxy_holds(&a, &peer, lease.number).await.unwrap(), instance);
        let ended = |result: Result<InstanceId, StoreError>| {
            matches!(result, Err(StoreError::Conflict { code: code::LEASE_ENDED, .. }))
        };
        assert!(ended(store.proxy_holds(&b, &peer, lease.number).await), "another token");
        assert!(ended(store.proxy_holds(&a, &peer, lease.number - 1).await), "an older lease");
        place.world.clock.advance(OVER);
        assert!(ended(store.proxy_holds(&a, &peer, lease.number).await), "its time is over");
        let stranger = ProxyActor { account: place.world.account("b").await, ..a };
        assert!(matches!(store.proxy_holds(&stranger, &peer, lease.number).await, Err(StoreError::NotFound { .. })));
    }
}

/// Time for a change to come as far as the one before it: where it is not enough, the test shows less, and never fails.
const ARRIVES: Duration = Duration::from_millis(300);

/// What a proxy says comes while somebody else takes its lease: whichever way it is said, it is too late.
#[tokio::test]
async fn a_lease_that_goes_between_the_request_and_its_write_takes_the_write_along() {
    let databases = Databases::new();
    for config in databases.configs("leases_between") {
        let place = Place::with(&config, &["g"]).await;
        let instance = place.world.instance(&place.account, "main").await.id;
        let peer = place.world.peer(&instance, site_peer(&place.sites[0], "p", &["10.1.0.0/24"])).await.unwrap().id;
        let a = place.proxy(None).await;
        let store = &place.world.store;
        let revision = place.world.desired(&peer).await.revision;
        let applied =
            |number| AgentApplied { revision, public_key: key(number), device: DeviceFacts::default(), next: None };
        let reports = |number| {
            let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
            let reports = vec![AgentReport::new(number, 1, tunnel)];
            AgentReports { epoch: "epoch".to_owned(), reports, dropped: 0, sent_at: None }
        };
        // As it should be: with a key that is new, and with one that is known.
        let lease = place.held(&a, "a").await.remove(0);
        store.proxy_applied(&a, &peer, lease.number, applied(1)).await.unwrap();
        store.proxy_applied(&a, &peer, lease.number, applied(1)).await.unwrap();
        assert_eq!(store.proxy_reports(&a, &peer, lease.number, reports(1)).await.unwrap().number, 1);
        for said in ["a new key", "a known key", "reports"] {
            let lease = place.held(&a, "a").await.remove(0);
            let mut taker = Raw::begin(&config).await;
            taker.run("UPDATE lease SET number = number + 1, token = 'another'").await;
            let say = async {
                match said {
                    "a new key" => store.proxy_applied(&a, &peer, lease.number, applied(2)).await,
                    "a known key" => store.proxy_applied(&a, &peer, lease.number, applied(1)).await,
                    _ => store.proxy_reports(&a, &peer, lease.number, reports(2)).await.map(drop),
                }
            };
            let take = async {
                tokio::time::sleep(ARRIVES).await;
                taker.commit().await;
            };
            let (late, ()) = tokio::join!(say, take);
            assert!(matches!(late, Err(StoreError::Conflict { code: code::LEASE_ENDED, .. })), "{said}: {late:?}");
            // The taker's word counts.
            Raw::all(&config, &["UPDATE lease SET until_ms = 0, holder = ''"]).await;
        }
        let stored = store.peer(&place.world.admin, &peer).await.unwrap();
        assert_eq!(stored.public_key, Some(key(1)), "nothing of what came late was written");
        let lease = place.held(&a, "a").await.remove(0);
        let taken = store.proxy_reports(&a, &peer, lease.number, reports(2)).await.unwrap();
        assert_eq!(taken.number, 2);
    }
}

async fn enrol(place: &Place, peer: &PeerId, nonce: &str) -> Result<EnrollReply, StoreError> {
    let new = NewEnrollment { peer: peer.clone(), ttl_secs: None, uses: None };
    let made = place.world.store.create_enrollment(&place.world.admin, None, new).await.unwrap();
    let (device_nonce, device) = (format!("{nonce:0<16}"), DeviceFacts::default());
    place.world.store.enroll(EnrollRequest { token: made.token, device_nonce, device, public_key: None }).await
}

fn driven<T: std::fmt::Debug>(result: Result<T, StoreError>, names: [&str; 3]) {
    let Err(StoreError::Conflict { code: code::DRIVEN, detail, hint, .. }) = result else { panic!("{result:?}") };
    let hint = hint.unwrap();
    assert!(detail.contains(names[0]) && detail.contains(names[1]), "{detail}");
    assert!(hint.contains(names[2]), "{hint}");
}

#[tokio::test]
async fn a_router_has_one_driver_its_own_agent_or_the_proxies_of_a_group_and_who_comes_second_is_refused() {
    let databases = Databases::new();
    for config in databases.configs("leases_drivers") {
        let place = Place::with(&config, &["g"]).await;
        let (store, admin, site) = (&place.world.store, &place.world.admin, &place.sites[0]);
        let instance = place.world.instance(&place.account, "main").await.id;
        let peer = place.world.peer(&instance, site_peer(site, "p", &["10.1.0.0/24"])).await.unwrap().id;
        driven(enrol(&place, &peer, "one").await, ["group g", peer.as_str(), "site unassign"]);
        store.assign_site(admin, site, None).await.unwrap();
        let agent = enrol(&place, &peer, "one").await.unwrap().credential.unwrap();
        let assign = async || store.assign_site(admin, site, Some(assignment("g"))).await;
        driven(assign().await, ["group g", peer.as_str(), &format!("peer revoke {peer}")]);
        assert!(store.authenticate(&agent).await.unwrap().is_some(), "the first goes on");
        store.revoke_agent(admin, &peer).await.unwrap();
        assign().await.unwrap();
    }
}

/// A file that has both, made before it was refused: who came later is refused, and the audit log says so.
#[tokio::test]
async fn of_two_drivers_that_a_store_has_already_the_newer_is_refused() {
    let databases = Databases::new();
    for config in databases.configs("leases_both") {
        let place = Place::with(&config, &["g", "g"]).await;
        let (store, admin) = (&place.world.store, &place.world.admin);
        let instance = place.world.instance(&place.account, "main").await.id;
        let mut agents = Vec::new();
        for (number, site) in place.sites.iter().enumerate() {
            let subnet = format!("10.{number}.0.0/24");
            let peer =
                place.world.peer(&instance, site_peer(site, &format!("p{number}"), &[&subnet])).await.unwrap().id;
            store.assign_site(admin, site, None).await.unwrap();
            agents.push(enrol(&place, &peer, "one").await.unwrap().credential.unwrap());
        }
        // The first site's agent was there before its proxies, the second's came after.
        let [first, second] = [0, 1].map(|number: usize| place.sites[number].to_string());
        let both =
            format!("UPDATE site SET proxy = 'g', router_url = 'api://10.1.1.1' WHERE id IN ('{first}', '{second}')");
        let early =
            format!("UPDATE credential SET created_at = 1 WHERE peer IN (SELECT id FROM peer WHERE site = '{first}')");
        let again = "DELETE FROM schema_version WHERE version = 6";
        let admin = admin.clone();
        let sites = place.sites.clone();
        store.close().await;
        drop(place);
        Raw::all(&config, &[&both, &early, again]).await;
        let world = World::open(&config).await;
        assert!(world.store.site(&admin, &sites[0]).await.unwrap().proxy.is_none(), "the agent was first");
        assert!(world.store.authenticate(&agents[0]).await.unwrap().is_some());
        assert!(world.store.site(&admin, &sites[1]).await.unwrap().proxy.is_some(), "the proxies were first");
        assert!(matches!(world.store.authenticate(&agents[1]).await, Err(StoreError::Revoked)));
        let log = world.store.audit(&admin, &page(10)).await.unwrap().items;
        let said: BTreeSet<&str> =
            log.iter().filter(|line| line.who == "schema 6").map(|line| line.action.as_str()).collect();
        assert_eq!(said, BTreeSet::from(["peer.revoke", "site.unassign"]));
    }
}

#[tokio::test]
async fn an_assignment_holds_no_password_no_name_and_no_pin_for_what_has_no_certificate() {
    let databases = Databases::new();
    for config in databases.configs("leases_urls") {
        let place = Place::with(&config, &["g"]).await;
        let assign = async |url: &str, pin: Option<&str>| {
            let new = ProxyAssignment { group: "g".to_owned(), url: url.to_owned(), pin: pin.map(str::to_owned) };
            place.world.store.assign_site(&place.world.admin, &place.sites[0], Some(new)).await
        };
        for url in ["apis://10.0.0.1", "api://[fd00::1]:8728", "apis://tech@192.0.2.7:65535"] {
            assign(url, None).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        for url in [
            "apis://tech:hunter2@10.0.0.1",
            "apis://hunter2:@10.0.0.1",
            "apis://router.example.net",
            "ssh://10.0.0.1",
            "apis://10.0.0.1/x",
            "apis://10.0.0.1:0",
            "apis://10.0.0.1:+1",
            "apis://@10.0.0.1",
            "apis://[fd00::1",
            "apis:// 10.0.0.1",
        ] {
            let error = assign(url, None).await.unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let pin = format!("sha256:{}", "0a".repeat(32));
        assign("apis://10.0.0.1", Some(&pin)).await.unwrap();
        assert!(assign("api://10.0.0.1", Some(&pin)).await.is_err());
        assert!(assign("apis://10.0.0.1", Some("sha256:0a")).await.is_err());
    }
}

/// Many processes at once: whatever they do, no site is two's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_ask_at_the_same_moment_never_have_the_same_site() {
    let databases = Databases::new();
    for config in databases.configs("leases_race") {
        let place = Place::with(&config, &["g"; 40]).await;
        let proxy = place.proxy(None).await;
        // PostgreSQL takes several stores; SQLite's file has one, and its writers queue.
        let second = match &config {
            StoreConfig::Postgres(_) => open_with(&config, &Settings::default()).await.unwrap(),
            StoreConfig::Sqlite(_) => std::sync::Arc::clone(&place.world.store),
        };
        let stores = [std::sync::Arc::clone(&place.world.store), second];
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (store, by) = (std::sync::Arc::clone(&stores[number % 2]), proxy.clone());
            asking.spawn(async move {
                let mut held = Vec::new();
                for _ in 0..4 {
                    held = store.proxy_leases(&by, &request(&format!("p{number}"))).await.unwrap().sites.unwrap();
                }
                held
            });
        }
        let all: Vec<LeasedSite> = asking.join_all().await.into_iter().flatten().collect();
        assert_eq!(ids(&all).len(), all.len(), "two have one site");
    }
}
