//! Laws that hold for every site and every router.

use proptest::prelude::*;
use sitepeer::domain::{Role, Site, SubnetSet};
use sitepeer::reconcile::decide::decide_removal;
use sitepeer::reconcile::plan::{Plan, Stage};
use sitepeer::routeros::menu;

use crate::model::{Router, converge, decided, session, set, site};

fn texts(plan: &Plan) -> Vec<String> {
    plan.ops.iter().map(ToString::to_string).collect()
}

#[test]
fn the_plan_for_a_router_with_the_default_firewall() {
    insta::assert_snapshot!(texts(&decided(&site(), &Router::defconf()).unwrap().plan).join("\n"));
}

#[test]
fn the_plan_for_a_router_without_a_firewall() {
    insta::assert_snapshot!(texts(&decided(&site(), &Router::bare()).unwrap().plan).join("\n"));
}

#[test]
fn a_fresh_router_takes_two_stages() {
    let plan = decided(&site(), &Router::defconf()).unwrap().plan;
    let stages: Vec<Stage> = plan.stages().map(|ops| ops[0].stage()).collect();
    assert_eq!(stages, [Stage::Ground, Stage::Upon]);
}

#[test]
fn a_plan_never_shows_a_secret() {
    let plan = decided(&site(), &Router::defconf()).unwrap().plan;
    let shown = format!("{plan:?} {}", texts(&plan).join(" "));
    assert!(shown.contains("preshared-key"));
    assert!(!shown.contains("yAnz5TF"), "{shown}");
}

#[test]
fn removal_leaves_the_router_as_it_was() {
    let mut router = Router::defconf();
    let before = router.state();
    converge(&site(), &mut router);
    let plan = decide_removal(&site().id, &router.observed(), &session()).unwrap().plan;
    router.carry_out(&plan);
    assert_eq!(router.state(), before);
}

#[test]
fn a_renamed_instance_renames_the_interface_and_nothing_else() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let renamed = Site { instance: "acme-2".parse().unwrap(), ..site() };
    let plan = decided(&renamed, &router).unwrap().plan;
    assert_eq!(plan.ops.len(), 1, "{:?}", texts(&plan));
    assert_eq!((plan.ops[0].verb(), plan.ops[0].marker.role.clone()), ("set", Role::Interface));
}

#[test]
fn a_change_of_reach_touches_no_rule() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let wider = Site { reach: set(&["10.99.0.0/24", "192.168.89.0/24", "192.168.90.0/24"]), ..site() };
    let plan = converge(&wider, &mut router);
    let roles: Vec<Role> = plan.ops.iter().map(|op| op.marker.role.clone()).collect();
    assert_eq!(roles, [Role::Theirs, Role::Peer, Role::Route]);
    assert!(plan.ops.iter().all(|op| op.verb() != "remove"));
}

#[test]
fn what_is_not_wanted_any_more_goes_after_what_is_new() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let other = Site { reach: set(&["10.99.0.0/24", "172.20.0.0/16"]), ..site() };
    let plan = converge(&other, &mut router);
    let verbs: Vec<&str> = plan.ops.iter().map(sitepeer::reconcile::plan::Op::verb).collect();
    let first_removal = verbs.iter().position(|verb| *verb == "remove").unwrap();
    assert!(verbs[first_removal..].iter().all(|verb| *verb == "remove"), "{verbs:?}");
}

#[test]
fn an_address_with_another_mask_is_changed_in_place() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let mut wider = site();
    wider.tunnel.addresses = vec!["10.99.0.2/16".parse().unwrap()];
    let plan = converge(&wider, &mut router);
    let of_address: Vec<&str> =
        plan.ops.iter().filter(|op| op.menu == &menu::IP_ADDRESS).map(sitepeer::reconcile::plan::Op::verb).collect();
    assert_eq!(of_address, ["set"]);
}

/// Our rows' fields that are not at their defaults.
fn ours_of(router: &Router) -> Vec<crate::model::Fields> {
    let mut ours = Vec::new();
    for menu in crate::model::all_menus() {
        let marked = router
            .rows(menu)
            .iter()
            .filter(|row| row.iter().any(|(n, v)| n == "comment" && v.starts_with(b"sitepeer:")));
        ours.extend(marked.map(|row| {
            let mut row = row.clone();
            row.retain(|(name, value)| menu.field(name).and_then(|f| f.default).is_none_or(|d| d.as_bytes() != value));
            row.sort();
            row
        }));
    }
    ours
}

#[test]
fn every_edit_by_hand_is_put_back() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    for (path, edits) in [
        ("/interface/wireguard", vec![("mtu", "1300"), ("disabled", "true"), ("listen-port", "1"), ("name", "wg9")]),
        (
            "/interface/wireguard/peers",
            vec![("allowed-address", "0.0.0.0/0"), ("endpoint-port", "1"), ("disabled", "yes")],
        ),
        ("/interface/list", vec![("include", "LAN"), ("name", "x")]),
        ("/ip/route", vec![("distance", "9"), ("gateway", "bridge"), ("check-gateway", "ping")]),
        ("/ip/firewall/filter", vec![("action", "drop"), ("src-address", "1.2.3.4"), ("disabled", "true")]),
        ("/ip/firewall/address-list", vec![("list", "elsewhere"), ("disabled", "true")]),
        ("/ip/address", vec![("interface", "bridge"), ("disabled", "true")]),
    ] {
        for (field, value) in edits {
            let mut edited = router.clone();
            let ours =
                |row: &crate::model::Fields| row.iter().any(|(n, v)| n == "comment" && v.starts_with(b"sitepeer:"));
            let id = edited.tables[path].iter().find(|row| ours(row)).unwrap()[0].1.clone();
            let row = edited.row(path, &id);
            row.retain(|(name, _)| name != field);
            row.push((field.to_owned(), value.into()));
            let plan = converge(&site(), &mut edited);
            assert!(!plan.is_empty(), "{path} {field}={value} was not seen");
            assert_eq!(edited.foreign(), router.foreign());
            assert_eq!(ours_of(&edited), ours_of(&router), "{path} {field}={value}");
        }
    }
}

/// A provisioned router whose user may not see secrets.
fn closed_mouthed() -> Router {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let group = router.tables.get_mut("/user/group").unwrap();
    group[0].retain(|(name, _)| name != "policy");
    group[0].push(("policy".into(), b"read,write,test,api".to_vec()));
    for row in router.tables.get_mut("/interface/wireguard/peers").unwrap() {
        row.retain(|(name, _)| name != "preshared-key");
    }
    router
}

#[test]
fn a_secret_that_may_not_be_read_is_never_rewritten_for_that() {
    let mut router = closed_mouthed();
    assert!(decided(&site(), &router).unwrap().plan.is_empty());
    // Without our note nothing is known of it, and that is said.
    for (name, value) in &mut router.tables.get_mut("/interface/wireguard/peers").unwrap()[0] {
        if name == "comment" {
            *value = b"sitepeer:k3f9q2:hub probe=10.99.0.1".to_vec();
        }
    }
    let plan = decided(&site(), &router).unwrap().plan;
    assert!(plan.is_empty(), "{:?}", texts(&plan));
    assert!(plan.notes.iter().any(|note| note.contains("preshared-key")), "{:?}", plan.notes);
}

#[test]
fn another_preshared_key_is_written_even_where_the_old_one_cannot_be_read() {
    for key in [Some("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap()), None] {
        let mut site = site();
        site.hub.preshared_key = key;
        let mut router = closed_mouthed();
        let plan = decided(&site, &router).unwrap().plan;
        assert!(plan.ops[0].sets(&["preshared-key"]) && plan.ops[0].sets(&["comment"]), "{:?}", texts(&plan));
        router.carry_out(&plan);
        router.tables.get_mut("/interface/wireguard/peers").unwrap()[0].retain(|(name, _)| name != "preshared-key");
        assert!(decided(&site, &router).unwrap().plan.is_empty());
    }
}

#[test]
fn a_masked_secret_is_not_taken_for_another_one() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    for (name, value) in &mut router.tables.get_mut("/interface/wireguard/peers").unwrap()[0] {
        if name == "preshared-key" {
            *value = b"*****".to_vec();
        }
    }
    assert!(decided(&site(), &router).unwrap().plan.is_empty());
}

#[test]
fn what_people_wrote_behind_a_marker_is_kept() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    for row in router.tables.get_mut("/ip/route").unwrap() {
        for (name, value) in row.iter_mut() {
            if name == "comment" {
                value.extend_from_slice(b" caf\xe9: ask Ana");
            }
        }
    }
    assert!(decided(&site(), &router).unwrap().plan.is_empty());
}

#[test]
fn what_people_wrote_survives_our_notes_byte_for_byte() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    for (path, theirs) in
        [("/interface/wireguard/peers", b" caf\xe9: ask Ana".as_slice()), ("/ip/address", b"  caf\xe9".as_slice())]
    {
        for (name, value) in router.tables.get_mut(path).unwrap().iter_mut().flatten() {
            if name == "comment" && value.starts_with(b"sitepeer:") {
                value.extend_from_slice(theirs);
            }
        }
    }
    let mut other = site();
    other.tunnel.probe = vec!["10.99.0.7".parse().unwrap()];
    other.tunnel.addresses = vec!["10.99.0.2/16".parse().unwrap()];
    converge(&other, &mut router);
    let comments = |path: &str| -> Vec<Vec<u8>> {
        let fields = router.tables[path].iter().flatten().filter(|(name, _)| name == "comment");
        fields.map(|(_, value)| value.clone()).collect()
    };
    let peer = comments("/interface/wireguard/peers").concat();
    assert!(peer.starts_with(b"sitepeer:k3f9q2:hub probe=10.99.0.7 psk=") && peer.ends_with(b" caf\xe9: ask Ana"));
    assert_eq!(comments("/ip/address"), [b"sitepeer:k3f9q2:addr:10.99.0.2/16  caf\xe9".to_vec()]);
}

fn subnets(pool: &'static [&'static str]) -> impl Strategy<Value = SubnetSet> {
    proptest::sample::subsequence(pool.to_vec(), 0..=pool.len()).prop_map(|nets| set(&nets))
}

fn any_site() -> impl Strategy<Value = Site> {
    let reach =
        subnets(&["10.99.0.0/24", "192.168.89.0/24", "172.20.0.0/16", "10.4.0.0/14", "fd89::/64", "10.7.7.7/32"]);
    let advertise = subnets(&["192.168.88.0/24", "192.168.88.128/25", "fd88::/64"]);
    let addresses = proptest::sample::select(vec!["10.99.0.2/24", "10.99.0.9/24", "10.99.0.2/25"]);
    let ports = proptest::option::of(proptest::sample::select(vec![13231u16, 51820]));
    (reach, advertise, addresses, ports, 1..=3u8, any::<bool>()).prop_map(
        |(reach, advertise, address, port, distance, psk)| {
            let mut site = site();
            (site.reach, site.advertise) = (reach, advertise);
            site.tunnel.addresses = vec![address.parse().unwrap()];
            site.tunnel.listen_port = port;
            site.routing.distance = distance;
            if !psk {
                site.hub.preshared_key = None;
            }
            site
        },
    )
}

fn any_router() -> impl Strategy<Value = Router> {
    prop_oneof![Just(Router::bare()), Just(Router::defconf())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn applying_a_plan_leaves_nothing_to_do(site in any_site(), mut router in any_router()) {
        converge(&site, &mut router);
    }

    #[test]
    fn foreign_rows_survive_any_change(first in any_site(), second in any_site(), mut router in any_router()) {
        let foreign = router.foreign();
        converge(&first, &mut router);
        converge(&second, &mut router);
        prop_assert_eq!(router.foreign(), foreign);
    }

    #[test]
    fn the_way_there_does_not_matter(first in any_site(), second in any_site(), router in any_router()) {
        let (mut straight, mut detour) = (router.clone(), router);
        converge(&second, &mut straight);
        converge(&first, &mut detour);
        converge(&second, &mut detour);
        let sorted = |router: &Router| {
            let mut state = router.state();
            for (path, rows) in &mut state {
                let menu = crate::model::all_menus().into_iter().find(|menu| menu.path == *path).unwrap();
                for row in rows.iter_mut() {
                    // A preshared key that is not wanted any more is left alone, and a port once chosen stays.
                    row.retain(|(name, value)| {
                        let default = menu.field(name).and_then(|field| field.default);
                        !matches!(name.as_str(), "preshared-key" | "listen-port")
                            && default.is_none_or(|default| default.as_bytes() != value)
                    });
                }
                rows.sort();
            }
            state
        };
        prop_assert_eq!(sorted(&straight), sorted(&detour));
    }

    #[test]
    fn a_run_cut_off_anywhere_is_completed_by_the_next(site in any_site(), router in any_router(), cut in 0..40usize) {
        let mut whole = router.clone();
        converge(&site, &mut whole);
        let mut cut_off = router;
        let plan = decided(&site, &cut_off).unwrap().plan;
        plan.ops.iter().take(cut).for_each(|op| cut_off.carry_out_one(op));
        converge(&site, &mut cut_off);
        prop_assert_eq!(cut_off.state(), whole.state());
    }

    #[test]
    fn the_order_of_unordered_rows_does_not_matter(site in any_site(), router in any_router(), seed in any::<u64>()) {
        let mut shuffled = router.clone();
        for menu in crate::model::all_menus() {
            if !menu.ordered {
                let rows = shuffled.tables.get_mut(menu.path).unwrap();
                let turn = usize::try_from(seed % 7).unwrap() % rows.len().max(1);
                rows.rotate_left(turn);
            }
        }
        prop_assert_eq!(texts(&decided(&site, &router).unwrap().plan), texts(&decided(&site, &shuffled).unwrap().plan));
    }
}
