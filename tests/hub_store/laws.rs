//! Laws over generated prefixes and over every table of rules: names, hostnames, limits, keys, versions, repeats.

use ipnet::IpNet;
use proptest::prelude::*;
use sitepeer::api::*;
use sitepeer::domain::{Secret, overlap};
use sitepeer::hub::store::StoreConfig;

use crate::world::*;

async fn sqlite() -> (tempfile::TempDir, World) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(&StoreConfig::Sqlite(folder.path().join("hub.db"))).await;
    (folder, world)
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), any::<u16>(), 0_u8..=12).prop_map(|(six, host, bits)| {
        let text = if six {
            format!("fd00:7::{:x}/{}", host & 0xfff, 128 - bits)
        } else {
            format!("172.20.{}.{}/{}", (host >> 8) & 0xf, host & 0xff, 32 - bits)
        };
        text.parse::<IpNet>().unwrap().trunc()
    })
}

#[derive(Debug, Clone)]
enum Step {
    Add(Vec<IpNet>),
    Switch(usize, bool),
    Change(usize, Vec<IpNet>),
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(prefix(), 0..3);
    prop_oneof![
        4 => some().prop_map(Step::Add),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, on)| Step::Switch(at, on)),
        2 => (any::<usize>(), some()).prop_map(|(at, nets)| Step::Change(at, nets)),
        1 => any::<usize>().prop_map(Step::Delete),
    ]
}

/// What a store without an index would do.
#[derive(Debug, Default)]
struct Model {
    peers: Vec<(PeerId, bool, Vec<IpNet>)>,
}

impl Model {
    fn free(&self, nets: &[IpNet], own: Option<usize>) -> bool {
        let others = self.peers.iter().enumerate().filter(|(at, (_, enabled, _))| *enabled && Some(*at) != own);
        !others.flat_map(|(_, (_, _, theirs))| theirs).any(|theirs| nets.iter().any(|net| overlap(*net, *theirs)))
    }
}

async fn play(steps: Vec<Step>) {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    let site = world.site(&account, "s").await;
    let instance = world.instance(&account, "main").await.id;
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        let count = model.peers.len();
        let edit = |at: usize, edit: PeerEdit| (at % count.max(1), edit);
        let (at, edit) = match step {
            Step::Add(subnets) => {
                let free = model.free(&subnets, None);
                let mut new = site_peer(&site, &format!("p{number}"), &[]);
                if let NewPeer::Site { subnets: asked, .. } = &mut new {
                    asked.clone_from(&subnets);
                }
                let made = world.peer(&instance, new).await;
                assert_eq!(made.is_ok(), free, "{subnets:?} {made:?} {model:?}");
                if let Ok(peer) = made {
                    model.peers.push((peer.id, true, subnets));
                }
                continue;
            }
            _ if count == 0 => continue,
            Step::Delete(at) => {
                let (id, ..) = model.peers.remove(at % count);
                world.store.delete_peer(&world.admin, &id, None).await.unwrap();
                continue;
            }
            Step::Switch(at, on) => edit(at, PeerEdit { enabled: Some(on), ..PeerEdit::default() }),
            Step::Change(at, nets) => edit(at, PeerEdit { subnets: Some(nets), ..PeerEdit::default() }),
        };
        let (id, was_on, was) = model.peers[at].clone();
        let (on, nets) = (edit.enabled.unwrap_or(was_on), edit.subnets.clone().unwrap_or(was));
        let allowed = !on || model.free(&nets, Some(at));
        let result = world.store.edit_peer(&world.admin, &id, None, edit).await;
        assert_eq!(result.is_ok(), allowed, "{nets:?} {result:?} {model:?}");
        if allowed {
            model.peers[at] = (id, on, nets);
        }
    }
    published(&world, &instance, &model).await;
}

/// What is published is the union of what peers have, enabled or not, in as few prefixes as there can be.
async fn published(world: &World, instance: &InstanceId, model: &Model) {
    world.pass(std::time::Duration::from_secs(3)).await;
    let reach = world.store.instance(&world.admin, instance).await.unwrap().reach;
    let mut all: Vec<IpNet> = nets(&["10.99.0.0/24"]);
    all.extend(model.peers.iter().flat_map(|(_, _, nets)| nets.clone()));
    let expected: Vec<IpNet> = IpNet::aggregate(&all);
    assert_eq!(
        reach.iter().collect::<Vec<_>>(),
        expected.into_iter().collect::<sitepeer::domain::SubnetSet>().iter().collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn overlap_and_reach_are_those_of_a_naive_model(steps in proptest::collection::vec(step(), 1..30)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(steps));
    }
}

#[tokio::test]
async fn an_overlap_names_the_peer_and_the_prefix() {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    let site = world.site(&account, "s").await;
    let instance = world.instance(&account, "main").await.id;
    let first = world.peer(&instance, site_peer(&site, "first", &["10.1.0.0/16"])).await.unwrap();
    let error = world
        .peer(&instance, site_peer(&site, "second", &["192.168.1.0/24", "10.1.7.0/24"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("10.1.7.0/24") && error.contains("10.1.0.0/16") && error.contains(first.id.as_str()),
        "{error}"
    );
    for (subnets, expected) in [
        (&["10.99.0.128/25"][..], code::OVERLAP),
        (&["10.0.0.0/8"][..], code::OVERLAP),
        (&["0.0.0.0/0"][..], code::BROAD),
        (&["fc00::/7"][..], code::BROAD),
    ] {
        assert_eq!(code_of(world.peer(&instance, site_peer(&site, "x", subnets)).await), expected, "{subnets:?}");
    }
}

#[tokio::test]
async fn an_address_comes_back_only_after_the_pool_went_round() {
    let (_folder, world) = sqlite().await;
    let account = world.account("a").await;
    let new = NewInstance {
        tunnel_subnet: Some("10.7.0.0/29".parse().unwrap()),
        tunnel_subnet6: Some("fd07::/64".parse().unwrap()),
        ..new_instance(&account, "main")
    };
    let instance = world.store.create_instance(&world.admin, None, new).await.unwrap().id;
    let mut peers = Vec::new();
    for number in 0..3 {
        peers.push(world.peer(&instance, client_peer(&format!("c{number}"), None)).await.unwrap());
    }
    assert_eq!(peers[2].addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.7.0.4", "fd07::4"]);
    world.store.delete_peer(&world.admin, &peers[0].id, None).await.unwrap();
    let next = world.peer(&instance, client_peer("c3", None)).await.unwrap();
    assert_eq!(next.addresses[0].to_string(), "10.7.0.5", "the address just freed waits");
    // A disabled peer keeps its address.
    let off = PeerEdit { enabled: Some(false), ..PeerEdit::default() };
    world.store.edit_peer(&world.admin, &peers[1].id, None, off).await.unwrap();
    assert_eq!(world.peer(&instance, client_peer("c4", None)).await.unwrap().addresses[0].to_string(), "10.7.0.6");
    assert_eq!(world.peer(&instance, client_peer("c5", None)).await.unwrap().addresses[0].to_string(), "10.7.0.2");
    assert_eq!(code_of(world.peer(&instance, client_peer("c6", None)).await), code::POOL_FULL);
    let wanted = |address: &str| NewPeer::Client {
        user: "w".to_owned(),
        name: None,
        protocol: Protocol::Wireguard,
        route_all: false,
        public_key: None,
        dns: None,
        keepalive_secs: None,
        address: Some(address.parse().unwrap()),
    };
    for (address, expected) in [
        ("10.7.0.3", code::ADDRESS_TAKEN),
        ("10.7.0.1", code::ADDRESS_TAKEN),
        ("10.7.0.7", code::INVALID),
        ("10.8.0.2", code::INVALID),
        ("fd07::4", code::ADDRESS_TAKEN),
    ] {
        assert_eq!(code_of(world.peer(&instance, wanted(address)).await), expected, "{address}");
    }
}

#[tokio::test]
async fn what_is_taken_reserved_or_too_much_is_refused_by_name() {
    let (_folder, world) = sqlite().await;
    let account = world
        .store
        .create_account(&world.admin, None, NewAccount { name: "a".to_owned(), max_instances: Some(2) })
        .await
        .unwrap()
        .id;
    assert_eq!(
        code_of(
            world
                .store
                .create_account(&world.admin, None, NewAccount { name: "a".to_owned(), max_instances: None })
                .await
        ),
        code::NAME_TAKEN
    );
    let main = world.instance(&account, "main").await;
    let make = |new: NewInstance| world.store.create_instance(&world.admin, None, new);
    assert_eq!(code_of(make(new_instance(&account, "main")).await), code::NAME_TAKEN);
    for (hostname, expected) in [
        ("vpn", code::HOSTNAME_RESERVED),
        ("ab", code::INVALID),
        ("-abc", code::INVALID),
        ("main", code::HOSTNAME_TAKEN),
        ("a-name-longer-than-20", code::INVALID),
    ] {
        let new = NewInstance { hostname: Some(hostname.to_owned()), ..new_instance(&account, "other") };
        assert_eq!(code_of(make(new).await), expected, "{hostname}");
    }
    let broad = NewInstance { pushed_routes: nets(&["0.0.0.0/0"]), ..new_instance(&account, "other") };
    assert_eq!(code_of(make(broad).await), code::BROAD);
    make(new_instance(&account, "second")).await.unwrap();
    assert_eq!(code_of(make(new_instance(&account, "third")).await), code::LIMIT);

    let site = world.site(&account, "s").await;
    let openvpn = NewPeer::Site {
        site: site.clone(),
        name: None,
        protocol: Protocol::Openvpn,
        subnets: Vec::new(),
        reach: None,
        address: None,
        keepalive_secs: None,
        allow_broad: false,
    };
    assert_eq!(code_of(world.peer(&main.id, openvpn).await), code::PROTOCOL);
    let one = world.peer(&main.id, client_peer("one", Some(key(1)))).await.unwrap();
    assert_eq!(code_of(world.peer(&main.id, client_peer("two", Some(key(1)))).await), code::KEY_TAKEN);
    assert_eq!(code_of(world.peer(&main.id, client_peer("one", None)).await), code::NAME_TAKEN);
    let off = PeerEdit { enabled: Some(false), ..PeerEdit::default() };
    world.store.edit_peer(&world.admin, &one.id, None, off).await.unwrap();
    assert_eq!(
        code_of(world.peer(&main.id, client_peer("two", Some(key(1)))).await),
        code::KEY_TAKEN,
        "disabled, but there"
    );
    let foreign = PeerEdit { subnets: Some(Vec::new()), ..PeerEdit::default() };
    assert_eq!(code_of(world.store.edit_peer(&world.admin, &one.id, None, foreign).await), code::INVALID);
}

#[tokio::test]
async fn a_repeated_post_gives_the_same_object_and_no_audit_entry_has_a_secret() {
    let databases = Databases::new();
    for config in databases.configs("once") {
        let world = World::open(&config).await;
        let new = || NewAccount { name: "a".to_owned(), max_instances: None };
        let first = world.store.create_account(&world.admin, Some(&once("k1", 1)), new()).await.unwrap();
        let again = world.store.create_account(&world.admin, Some(&once("k1", 1)), new()).await.unwrap();
        assert_eq!(first, again);
        assert_eq!(
            code_of(world.store.create_account(&world.admin, Some(&once("k1", 2)), new()).await),
            code::KEY_REUSED
        );
        let account = first.id;
        let instance = world.instance(&account, "main").await.id;
        let psk = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let remote = || NewPeer::Remote {
            name: "r".to_owned(),
            protocol: Protocol::Wireguard,
            public_key: key(9),
            endpoint: None,
            allowed_ips: nets(&["10.5.0.0/16"]),
            preshared_key: Some(Secret::new(psk.to_owned())),
            keepalive_secs: None,
            allow_broad: false,
        };
        let made = world.store.create_peer(&world.admin, Some(&once("k2", 1)), &instance, remote()).await.unwrap();
        let same = world.store.create_peer(&world.admin, Some(&once("k2", 1)), &instance, remote()).await.unwrap();
        assert!(made.id == same.id && made.preshared_key);
        let token = || NewToken {
            name: "t".to_owned(),
            role: Role::Operator,
            account: Some(account.clone()),
            region: None,
            ttl_secs: None,
        };
        let one = world.store.create_token(&world.admin, Some(&once("k3", 1)), token()).await.unwrap();
        let other = world.store.create_token(&world.admin, Some(&once("k3", 1)), token()).await.unwrap();
        assert!(one.token.id == other.token.id && one.secret != other.secret);
        assert_eq!(world.store.authenticate(&one.secret).await.unwrap(), None, "the lost one is no good any more");
        assert!(world.store.authenticate(&other.secret).await.unwrap().is_some());
        let log = serde_json::to_string(&world.store.audit(&world.admin, &page(1000)).await.unwrap()).unwrap();
        let random = |secret: &Secret| secret.expose().rsplit('_').next().unwrap().to_owned();
        for secret in [psk.to_owned(), random(&one.secret), random(&other.secret)] {
            assert!(!log.contains(&secret), "a secret in the audit log");
        }
    }
}
