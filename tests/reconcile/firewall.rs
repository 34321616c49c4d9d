//! Which firewall rows a router needs, and where they stand.

use sitepeer::domain::{Role, Site};
use sitepeer::routeros::menu::{self, Menu};

use crate::model::{Router, converge, decided, set, site};

fn roles(site: &Site, router: &Router) -> Vec<Role> {
    let plan = decided(site, router).unwrap().plan;
    let mut roles: Vec<Role> = plan.ops.into_iter().filter(|op| op.menu.ordered).map(|op| op.marker.role).collect();
    roles.sort();
    roles
}

fn text<'a>(row: &'a crate::model::Fields, name: &str) -> &'a str {
    row.iter().find(|(n, _)| n == name).map_or("", |(_, v)| std::str::from_utf8(v).unwrap())
}

/// Where the first row is for which the test holds.
fn at(router: &Router, menu: &Menu, test: impl Fn(&crate::model::Fields) -> bool) -> usize {
    router.rows(menu).iter().position(test).unwrap()
}

#[test]
fn a_router_without_a_firewall_gets_only_the_mss_clamp() {
    assert_eq!(roles(&site(), &Router::bare()), [Role::Mss]);
}

#[test]
fn the_default_firewall_gets_forward_rules_and_the_fixed_port() {
    assert_eq!(roles(&site(), &Router::defconf()), [Role::ForwardIn, Role::ForwardOut, Role::InputPort, Role::Mss]);
}

#[test]
fn a_port_the_router_chose_is_not_opened() {
    let mut site = site();
    site.tunnel.listen_port = None;
    assert!(!roles(&site, &Router::defconf()).contains(&Role::InputPort));
}

#[test]
fn our_rules_stand_before_every_drop_and_before_fasttrack() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    for (chain, role) in [("forward", "fwd-in"), ("forward", "fwd-out"), ("input", "in-wg")] {
        let ours = at(&router, &menu::FILTER, |row| text(row, "comment") == format!("sitepeer:k3f9q2:{role}"));
        let hindrance = at(&router, &menu::FILTER, |row| {
            text(row, "chain") == chain && matches!(text(row, "action"), "drop" | "fasttrack-connection")
        });
        assert!(ours < hindrance, "{role}");
    }
}

#[test]
fn a_rule_moved_behind_the_drop_is_moved_back() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let rows = router.tables.get_mut("/ip/firewall/filter").unwrap();
    let from = rows.iter().position(|row| text(row, "comment") == "sitepeer:k3f9q2:fwd-in").unwrap();
    let row = rows.remove(from);
    rows.push(row);
    let plan = converge(&site(), &mut router);
    assert_eq!(plan.ops.iter().map(sitepeer::reconcile::plan::Op::verb).collect::<Vec<_>>(), ["move"]);
}

#[test]
fn icmp_is_let_in_only_where_nothing_else_does() {
    let mut router = Router::bare();
    router.add(&menu::FILTER, &["chain=input", "action=drop"]);
    assert!(roles(&site(), &router).contains(&Role::InputIcmp));
    assert!(!roles(&site(), &Router::defconf()).contains(&Role::InputIcmp));
}

#[test]
fn nat_is_kept_off_where_a_rule_could_rewrite() {
    for (rule, needed) in [
        (&["chain=srcnat", "action=masquerade"][..], true),
        (&["chain=srcnat", "action=masquerade", "out-interface=ether1"], false),
        (&["chain=srcnat", "action=masquerade", "out-interface=!bridge"], true),
        (&["chain=srcnat", "action=masquerade", "out-interface-list=all"], true),
        (&["chain=srcnat", "action=src-nat", "src-address=192.168.88.0/24"], true),
        (&["chain=srcnat", "action=src-nat", "src-address=10.200.0.0/16"], false),
        (&["chain=srcnat", "action=masquerade", "disabled=true"], false),
        (&["chain=dstnat", "action=masquerade"], false),
    ] {
        let mut router = Router::bare();
        router.add(&menu::NAT, rule);
        assert_eq!(roles(&site(), &router).contains(&Role::NoNat), needed, "{rule:?}");
    }
}

#[test]
fn a_general_clamp_of_the_router_is_enough() {
    let mut router = Router::bare();
    router.add(
        &menu::MANGLE,
        &["chain=forward", "action=change-mss", "new-mss=clamp-to-pmtu", "protocol=tcp", "tcp-flags=syn"],
    );
    assert_eq!(roles(&site(), &router), []);
}

#[test]
fn ipv6_gets_its_own_rules() {
    let mut router = Router::bare();
    router.add(&menu::FILTER6, &["chain=forward", "action=drop"]);
    let site = Site { advertise: set(&["fd88::/64"]), reach: set(&["fd89::/64", "10.99.0.0/24"]), ..site() };
    let plan = converge(&site, &mut router);
    let ours: Vec<String> =
        plan.ops.iter().filter(|op| op.menu.ordered).map(|op| format!("{} {}", op.menu.path, op.marker)).collect();
    assert_eq!(
        ours,
        [
            "/ipv6/firewall/filter sitepeer:k3f9q2:fwd-in:ipv6",
            "/ipv6/firewall/filter sitepeer:k3f9q2:fwd-out:ipv6",
            "/ipv6/firewall/mangle sitepeer:k3f9q2:mss:ipv6",
        ]
    );
}

#[test]
fn an_icmp_accept_behind_a_drop_lets_nothing_in() {
    let mut router = Router::bare();
    router.add(&menu::FILTER, &["chain=input", "action=drop"]);
    router.add(&menu::FILTER, &["chain=input", "action=accept", "protocol=icmp"]);
    assert!(roles(&site(), &router).contains(&Role::InputIcmp));
}

#[test]
fn nat_by_a_list_that_includes_ours_is_kept_off() {
    let mut router = Router::bare();
    router.add(&menu::INTERFACE_LIST, &["name=OUT", "include=static"]);
    router.add(&menu::NAT, &["chain=srcnat", "action=masquerade", "out-interface-list=OUT"]);
    assert!(roles(&site(), &router).contains(&Role::NoNat));
}
