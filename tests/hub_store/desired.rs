//! Law: whatever instances, peers and reach the store accepted, an agent takes what the hub tells it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use sitepeer::api::*;
use sitepeer::hub::store::StoreConfig;
use sitepeer::uplink;

use crate::world::*;

/// Prefixes from everywhere, and many close to each other, to the tunnel, to the gateway and to what no tunnel carries.
fn prefix() -> impl Strategy<Value = IpNet> {
    let near = proptest::sample::select(vec![
        "10.99.0.0",
        "10.0.0.0",
        "203.0.113.0",
        "169.254.0.0",
        "127.0.0.0",
        "224.0.0.0",
        "0.0.0.0",
        "fd99::",
        "fe80::",
        "2001:db8::",
        "::",
        "ff02::",
    ]);
    let near = (near, any::<u16>(), 0_u8..=24).prop_map(|(text, offset, bits)| {
        let address: IpAddr = text.parse().unwrap();
        match address {
            IpAddr::V4(v4) => net((u32::from(v4) + u32::from(offset)).to_be_bytes(), 32 - bits),
            IpAddr::V6(v6) => net((u128::from(v6) + u128::from(offset)).to_be_bytes(), 128 - bits),
        }
    });
    prop_oneof![
        4 => near,
        2 => (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(bytes, length)| net(bytes, length)),
        2 => (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(bytes, length)| net(bytes, length)),
    ]
}

fn net(address: impl Into<IpAddr>, length: u8) -> IpNet {
    IpNet::new(address.into(), length).unwrap()
}

#[derive(Debug, Clone)]
struct Wish {
    subnets: Vec<IpNet>,
    reach: Option<Vec<IpNet>>,
    keepalive_secs: Option<u16>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let some = || proptest::collection::vec(prefix(), 0..6);
    (some(), proptest::option::of(some()), any::<Option<u16>>()).prop_map(|(subnets, reach, keepalive_secs)| Wish {
        subnets,
        reach,
        keepalive_secs,
    })
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![Just("gw.example.net".to_owned()), prefix().prop_map(|net| net.addr().to_string())]
}

#[derive(Debug, Clone)]
struct Plot {
    tunnel4: Option<IpNet>,
    tunnel6: Option<IpNet>,
    pushed: Vec<IpNet>,
    domain: bool,
    hosts: [String; 2],
    peers: Vec<Wish>,
}

fn plot() -> impl Strategy<Value = Plot> {
    let of_family = |four: bool| {
        let fits = move |net: &IpNet| net.addr().is_ipv4() == four && net.prefix_len() >= 8;
        proptest::option::of(prefix().prop_filter("a tunnel of this family", fits))
    };
    let (tunnel4, tunnel6) = (of_family(true), of_family(false));
    let pushed = proptest::collection::vec(prefix(), 0..4);
    let peers = proptest::collection::vec(wish(), 1..6);
    (tunnel4, tunnel6, pushed, any::<bool>(), [host(), host()], peers).prop_map(
        |(tunnel4, tunnel6, pushed, domain, hosts, peers)| Plot { tunnel4, tunnel6, pushed, domain, hosts, peers },
    )
}

/// Makes what the store accepts of a plot; returns how many site configs agents took.
async fn play(plot: Plot) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::Sqlite(folder.path().join("hub.db"));
    let world = World::with_domain(&config, plot.domain.then_some("vpn.example.net")).await;
    let account = world.account("a").await;
    let site = world.site(&account, "s").await;
    let new = NewToken {
        name: "gw".to_owned(),
        role: Role::Gateway,
        account: None,
        region: Some("eu".to_owned()),
        ttl_secs: None,
    };
    let token = world.store.create_token(&world.admin, None, new).await.unwrap().token.id;
    let at = |host: &String| GatewayHello { public_host: host.clone(), ..hello("gw", "eu") };
    let Ok(gateway) = world.store.gateway_hello(&token, at(&plot.hosts[0])).await else { return 0 };
    let instance = instance(&world, &account, &plot).await;
    let mut peers = Vec::new();
    for (number, wish) in plot.peers.into_iter().enumerate() {
        peers.extend(peer(&world, &instance, &site, &format!("p{number}"), wish).await);
    }
    world.serve(&gateway.id).await;
    world.pass(Duration::from_secs(3)).await;
    let mut count = agents_take(&world, &peers).await;
    // The gateway moves: nobody asks whether its new address suits the instances.
    if world.store.gateway_hello(&token, at(&plot.hosts[1])).await.is_ok() {
        count += agents_take(&world, &peers).await;
    }
    count
}

/// An instance with the tunnels that are accepted, or the usual one, and those of the pushed routes that are.
async fn instance(world: &World, account: &AccountId, plot: &Plot) -> InstanceId {
    let usual = new_instance(account, "main");
    let wanted = NewInstance { tunnel_subnet: plot.tunnel4, tunnel_subnet6: plot.tunnel6, ..usual.clone() };
    let made = match world.store.create_instance(&world.admin, None, wanted).await {
        Err(_) => world.store.create_instance(&world.admin, None, usual).await,
        made => made,
    };
    let id = made.unwrap().id;
    let mut pushed = Vec::new();
    for net in &plot.pushed {
        pushed.push(*net);
        let edit = InstanceEdit { pushed_routes: Some(pushed.clone()), allow_broad: true, ..InstanceEdit::default() };
        if world.store.edit_instance(&world.admin, &id, None, edit).await.is_err() {
            pushed.pop();
        }
    }
    id
}

/// A peer with those prefixes that are accepted, one after the other; none if the tunnel is too small for one more.
async fn peer(world: &World, instance: &InstanceId, site: &SiteId, name: &str, wish: Wish) -> Option<PeerId> {
    let id = world.peer(instance, site_peer(site, name, &[])).await.ok()?.id;
    let edit = async |edit: PeerEdit| world.store.edit_peer(&world.admin, &id, None, edit).await.is_ok();
    let base = PeerEdit { allow_broad: true, ..PeerEdit::default() };
    edit(PeerEdit { keepalive_secs: wish.keepalive_secs, ..PeerEdit::default() }).await;
    let (mut subnets, mut reach) = (Vec::new(), Vec::new());
    for net in wish.subnets {
        subnets.push(net);
        if !edit(PeerEdit { subnets: Some(subnets.clone()), ..base.clone() }).await {
            subnets.pop();
        }
    }
    for net in wish.reach.into_iter().flatten() {
        reach.push(net);
        if !edit(PeerEdit { reach: Some(reach.clone()), ..base.clone() }).await {
            reach.pop();
        }
    }
    Some(id)
}

async fn agents_take(world: &World, peers: &[PeerId]) -> usize {
    let mut taken = 0;
    for peer in peers {
        let desired = world.desired(peer).await;
        assert_eq!(desired.config.is_none(), desired.waiting_for.is_some(), "{desired:?}");
        let shown = format!("{desired:?}");
        let site = uplink::site(desired, peer).unwrap_or_else(|unfit| panic!("{unfit}: {shown}"));
        taken += usize::from(site.is_some());
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_site_config_passes_the_rules_of_the_agent(plot in plot()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(plot));
    }
}

fn plain() -> Plot {
    let peer = Wish { subnets: nets(&["192.168.7.0/24"]), reach: None, keepalive_secs: None };
    let hosts = ["203.0.113.9".to_owned(), "10.99.0.77".to_owned()];
    Plot { tunnel4: None, tunnel6: None, pushed: Vec::new(), domain: false, hosts, peers: vec![peer] }
}

#[tokio::test]
async fn a_gateway_that_moves_into_the_tunnel_is_told_to_nobody() {
    assert_eq!(play(plain()).await, 1, "taken before it moved, and waited for afterwards");
}

#[tokio::test]
async fn an_instance_whose_tunnel_would_swallow_the_gateway_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(&StoreConfig::Sqlite(folder.path().join("hub.db"))).await;
    let account = world.account("a").await;
    world.gateway("gw", "eu").await;
    let new =
        |subnet: &str| NewInstance { tunnel_subnet: Some(subnet.parse().unwrap()), ..new_instance(&account, "main") };
    let refused = world.store.create_instance(&world.admin, None, new("203.0.113.0/24")).await;
    let said = refused.as_ref().unwrap_err().to_string();
    assert!(said.contains("203.0.113.9") && said.contains("203.0.113.0/24"), "{said}");
    assert_eq!(code_of(refused), code::OVERLAP);
    for subnet in ["127.1.0.0/16", "169.254.7.0/24", "0.1.0.0/16", "224.0.1.0/24"] {
        assert_eq!(
            code_of(world.store.create_instance(&world.admin, None, new(subnet)).await),
            code::INVALID,
            "{subnet}"
        );
    }
}

#[tokio::test]
async fn prefixes_that_no_tunnel_carries_and_too_many_of_them_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(&StoreConfig::Sqlite(folder.path().join("hub.db"))).await;
    let account = world.account("a").await;
    let site = world.site(&account, "s").await;
    let instance = world.instance(&account, "main").await.id;
    for subnet in ["127.0.0.0/8", "169.254.3.0/24", "0.0.0.0/8", "239.1.0.0/16", "fe80::/64", "::1/128", "ff02::/16"] {
        let refused = world.peer(&instance, site_peer(&site, "p", &[subnet])).await;
        assert!(refused.as_ref().unwrap_err().to_string().contains(subnet), "{refused:?}");
        assert_eq!(code_of(refused), code::INVALID, "{subnet}");
    }
    let peer = world.peer(&instance, site_peer(&site, "p", &[])).await.unwrap().id;
    let many = (0..513_u32).map(|n| format!("10.{}.{}.0/25", n / 128, 2 * (n % 128)).parse().unwrap()).collect();
    let edit = PeerEdit { reach: Some(many), ..PeerEdit::default() };
    assert_eq!(code_of(world.store.edit_peer(&world.admin, &peer, None, edit).await), code::LIMIT);
}

#[tokio::test]
async fn a_client_s_profile_leaves_the_hub_s_own_address_outside() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(&StoreConfig::Sqlite(folder.path().join("hub.db"))).await;
    let account = world.account("a").await;
    world.gateway("gw", "eu").await;
    let new = NewInstance { pushed_routes: nets(&["203.0.113.0/24"]), ..new_instance(&account, "main") };
    let reach = world.store.create_instance(&world.admin, None, new).await.unwrap().reach;
    assert!(reach.overlapping("203.0.113.9/32".parse().unwrap()).is_none(), "{reach}");
    assert!(reach.covering("203.0.113.128/25".parse().unwrap()).is_some(), "{reach}");
}
