//! What stops a run before its first write.

use sitepeer::domain::Site;
use sitepeer::reconcile::decide::{Refused, decide};
use sitepeer::reconcile::preflight::{Session, Weight};
use sitepeer::routeros::menu::{self, Menu};

use crate::model::{Router, converge, decided, session, set, site};

fn codes(site: &Site, router: &Router, session: &Session) -> Vec<&'static str> {
    match decide(site, &router.observed(), session, 10) {
        Err(Refused::Preflight(findings)) => {
            findings.iter().filter(|f| f.weight == Weight::Refuse).map(|finding| finding.code).collect()
        }
        Ok(_) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn with(menu: &Menu, row: &[&str]) -> Vec<&'static str> {
    let mut router = Router::defconf();
    router.add(menu, row);
    codes(&site(), &router, &session())
}

#[test]
fn a_clean_router_is_fine_and_so_is_a_provisioned_one() {
    let mut router = Router::defconf();
    assert_eq!(codes(&site(), &router, &session()), [""; 0]);
    converge(&site(), &mut router);
    // What RouterOS adds by itself: the connected route, and on newer versions our own port among the services.
    router.add(&menu::IP_ROUTE, &["dst-address=10.99.0.0/24", "gateway=sitepeer-acme", "dynamic=true", "active=true"]);
    router.add(
        &menu::IP_ROUTE,
        &["dst-address=10.99.0.0/24", "gateway=sitepeer-acme@main", "dynamic=true", "active=true"],
    );
    router.add(&menu::SERVICE, &["name=wireguard", "port=13231", "proto=udp", "dynamic=true"]);
    assert_eq!(codes(&site(), &router, &session()), [""; 0]);
}

#[test]
fn overlaps_are_named() {
    for (menu, row) in [
        (&menu::IP_ADDRESS, &["address=192.168.89.1/24", "interface=ether5"][..]),
        (&menu::IP_ADDRESS, &["address=10.99.0.77/28", "interface=ether5"]),
        (&menu::IP_ROUTE, &["dst-address=192.168.89.128/25", "gateway=10.1.1.1"]),
        (&menu::IP_ROUTE, &["dst-address=192.168.0.0/16", "gateway=10.1.1.1"]),
        (&menu::IP_ROUTE, &["dst-address=192.168.89.0/24", "blackhole="]),
    ] {
        assert_eq!(with(menu, row), ["overlap"], "{row:?}");
    }
}

#[test]
fn what_shadows_nothing_is_fine() {
    for (menu, row) in [
        (&menu::IP_ADDRESS, &["address=192.168.89.1/24", "interface=ether5", "disabled=true"][..]),
        (&menu::IP_ROUTE, &["dst-address=192.168.89.0/24", "gateway=10.1.1.1", "disabled=true"]),
        (&menu::IP_ROUTE, &["dst-address=192.168.89.0/24", "gateway=10.1.1.1", "routing-table=other"]),
        (&menu::IP_ROUTE, &["dst-address=192.168.0.0/16", "blackhole="]),
        (&menu::IP_ROUTE, &["dst-address=192.168.90.0/24", "gateway=10.1.1.1"]),
    ] {
        assert_eq!(with(menu, row), [""; 0], "{row:?}");
    }
}

#[test]
fn names_and_ports_in_use_are_named() {
    assert_eq!(with(&menu::INTERFACE, &["name=sitepeer-acme", "type=wg"]), ["name-taken"]);
    assert_eq!(with(&menu::INTERFACE_LIST, &["name=sitepeer-k3f9q2"]), ["name-taken"]);
    assert_eq!(with(&menu::ADDRESS_LIST, &["list=sitepeer-k3f9q2-theirs", "address=1.2.3.4"]), ["name-taken"]);
    assert_eq!(with(&menu::WIREGUARD, &["name=wg1", "listen-port=13231"]), ["port-taken"]);
    assert_eq!(with(&menu::SERVICE, &["name=dns", "port=13231", "proto=udp"]), ["port-taken"]);
}

#[test]
fn a_subnet_that_is_not_on_the_router_is_named() {
    let site = Site { advertise: set(&["192.168.77.0/24"]), ..site() };
    assert_eq!(codes(&site, &Router::defconf(), &session()), ["subnet-missing"]);
}

#[test]
fn our_own_way_in_is_never_routed_into_the_tunnel() {
    let from_reach = Session { local: "192.168.89.5".parse().unwrap(), ..session() };
    assert_eq!(codes(&site(), &Router::defconf(), &from_reach), ["session-in-reach"]);
    let mut router = Router::defconf();
    router.add(&menu::USER_ACTIVE, &["name=admin", "address=192.168.89.5", "via=api"]);
    assert_eq!(codes(&site(), &router, &session()), ["session-in-reach"]);
    let hub = Session { endpoint_addresses: vec!["192.168.89.9".parse().unwrap()], ..session() };
    assert_eq!(codes(&site(), &Router::defconf(), &hub), ["endpoint-in-reach"]);
}

#[test]
fn versions_without_wireguard_are_refused_and_old_ones_warned_of() {
    for (version, refused) in
        [("6.49.10 (long-term)", true), ("7.0.1", true), ("garbage", true), ("7.11.3", false), ("7.12", false)]
    {
        let mut router = Router::defconf();
        router.tables.insert("/system/resource", Vec::new());
        router.add(&menu::RESOURCE, &[&format!("version={version}")]);
        let decided = decided(&site(), &router);
        assert_eq!(decided.is_err(), refused, "{version}");
        if version == "7.11.3" {
            assert_eq!(decided.unwrap().warnings[0].code, "version-untested");
        }
    }
}

#[test]
fn a_user_without_write_is_refused_before_the_first_write() {
    let mut router = Router::defconf();
    router.tables.insert("/user/group", Vec::new());
    router.add(&menu::USER_GROUP, &["name=full", "policy=read,test,api,!write"]);
    assert_eq!(codes(&site(), &router, &session()), ["policy"]);
}

#[test]
fn a_clock_far_off_is_warned_of() {
    let mut router = Router::defconf();
    router.tables.insert("/system/clock", Vec::new());
    router.add(&menu::CLOCK, &["date=jan/02/1970", "time=00:01:00", "gmt-offset=+00:00"]);
    assert_eq!(decided(&site(), &router).unwrap().warnings[0].code, "clock");
}

#[test]
fn removals_over_the_limit_are_refused() {
    let mut router = Router::defconf();
    let many: Vec<String> = (0..20).map(|i| format!("172.20.{i}.0/24")).collect();
    let wide = Site { reach: set(&many.iter().map(String::as_str).collect::<Vec<_>>()), ..site() };
    converge(&wide, &mut router);
    let refused = decide(&site(), &router.observed(), &session(), 10);
    assert!(matches!(refused, Err(Refused::Removals { count: 40, limit: 10 })), "{refused:?}");
}

#[test]
fn a_session_that_comes_through_the_tunnel_is_not_cut_off() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    let behind_hub = Session { local: "192.168.89.5".parse().unwrap(), ..session() };
    assert_eq!(codes(&site(), &router, &behind_hub), [""; 0], "nothing to do is fine from anywhere");
    let mut other = site();
    other.hub.keepalive = None;
    assert_eq!(codes(&other, &router, &behind_hub), ["session-in-tunnel"]);
    let removal = sitepeer::reconcile::decide::decide_removal(&site().id, &router.observed(), &behind_hub);
    assert!(matches!(removal, Err(Refused::Preflight(_))));
}

#[test]
fn behind_a_nat_the_routers_view_of_the_session_counts() {
    let natted = Session { local: "192.168.89.5".parse().unwrap(), ..session() };
    let mut router = Router::defconf();
    router.add(&menu::USER_ACTIVE, &["name=admin", "address=203.0.113.50", "via=api-ssl"]);
    assert_eq!(codes(&site(), &router, &natted), [""; 0]);
}

#[test]
fn a_row_of_ours_without_its_marker_is_named() {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    for row in router.tables.get_mut("/ip/route").unwrap() {
        row.retain(|(name, value)| name != "comment" || !value.starts_with(b"sitepeer:"));
    }
    assert_eq!(codes(&site(), &router, &session()), ["marker-lost"]);
}

#[test]
fn a_routing_table_must_be_there() {
    let mut site = site();
    site.routing.table = "vpn".into();
    let mut router = Router::defconf();
    assert_eq!(codes(&site, &router, &session()), ["routing-table"]);
    router.add(&menu::ROUTING_TABLE, &["name=vpn", "fib="]);
    assert_eq!(codes(&site, &router, &session()), [""; 0]);
}

#[test]
fn a_read_only_user_may_look_at_the_plan() {
    let mut router = Router::defconf();
    router.tables.insert("/user/group", Vec::new());
    router.add(&menu::USER_GROUP, &["name=full", "policy=read,api"]);
    let looking = Session { writes: false, ..session() };
    assert_eq!(codes(&site(), &router, &looking), [""; 0]);
}
