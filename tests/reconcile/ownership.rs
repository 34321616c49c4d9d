//! Rows that are not ours beyond doubt stop everything.

use sitepeer::reconcile::decide::{Refused, decide_removal};
use sitepeer::reconcile::plan::Ambiguity;
use sitepeer::routeros::menu;

use crate::model::{Router, converge, decided, session, site};

fn doubts(router: &Router) -> Vec<Ambiguity> {
    match decided(&site(), router) {
        Err(Refused::Ambiguous(doubts)) => doubts,
        other => panic!("{other:?}"),
    }
}

fn provisioned() -> Router {
    let mut router = Router::defconf();
    converge(&site(), &mut router);
    router
}

#[test]
fn a_copied_comment_is_reported_and_nothing_is_planned() {
    let mut router = provisioned();
    router.add(
        &menu::IP_ROUTE,
        &["dst-address=192.168.89.0/24", "gateway=bridge", "comment=sitepeer:k3f9q2:route:192.168.89.0/24"],
    );
    assert!(matches!(&doubts(&router)[..], [Ambiguity::Twice { path: "/ip/route", count: 2, .. }]));
    assert!(decide_removal(&site().id, &router.observed(), &session()).is_err());
}

#[test]
fn a_route_to_elsewhere_is_not_what_its_marker_says() {
    let mut router = Router::defconf();
    router.add(
        &menu::IP_ROUTE,
        &["dst-address=172.31.0.0/16", "gateway=bridge", "comment=sitepeer:k3f9q2:route:192.168.89.0/24"],
    );
    assert!(matches!(&doubts(&router)[..], [Ambiguity::NotWhatItSays { field: "dst-address", .. }]));
    assert!(decide_removal(&site().id, &router.observed(), &session()).is_err());
}

#[test]
fn a_peer_of_another_interface_is_not_what_its_marker_says() {
    let mut router = provisioned();
    router.add(&menu::INTERFACE, &["name=wg-foreign", "running=true", "disabled=false"]);
    let peers = router.tables.get_mut("/interface/wireguard/peers").unwrap();
    peers[0].retain(|(name, _)| name != "interface");
    peers[0].push(("interface".into(), b"wg-foreign".to_vec()));
    assert!(matches!(&doubts(&router)[..], [Ambiguity::NotWhatItSays { field: "interface", .. }]));
}

#[test]
fn a_marker_in_a_menu_where_it_has_no_place_is_reported() {
    let mut router = Router::defconf();
    router.add(&menu::IP_ADDRESS, &["address=10.0.0.1/24", "interface=bridge", "comment=sitepeer:k3f9q2:if"]);
    assert!(matches!(&doubts(&router)[..], [Ambiguity::WrongMenu { path: "/ip/address", .. }]));
}

#[test]
fn a_role_of_a_newer_version_stops_a_plan_but_not_a_removal() {
    let mut router = provisioned();
    router.add(&menu::INTERFACE_LIST, &["name=x", "comment=sitepeer:k3f9q2:deadman"]);
    assert!(matches!(&doubts(&router)[..], [Ambiguity::UnknownRole { .. }]));
    let plan = decide_removal(&site().id, &router.observed(), &session()).unwrap().plan;
    assert!(plan.ops.iter().any(|op| op.marker.role.as_str() == "deadman"));
}

#[test]
fn rows_of_another_site_are_foreign() {
    let mut router = Router::defconf();
    router.add(
        &menu::IP_ROUTE,
        &["dst-address=172.31.0.0/16", "gateway=bridge", "comment=sitepeer:other1:route:172.31.0.0/16"],
    );
    let before = router.rows(&menu::IP_ROUTE).len();
    converge(&site(), &mut router);
    let plan = decide_removal(&site().id, &router.observed(), &session()).unwrap().plan;
    router.carry_out(&plan);
    assert_eq!(router.rows(&menu::IP_ROUTE).len(), before);
}

#[test]
fn an_interface_deleted_by_hand_is_made_again() {
    let mut router = provisioned();
    router.tables.insert("/interface/wireguard", Vec::new());
    for path in ["/interface/wireguard/peers", "/ip/address", "/interface/list/member"] {
        for row in router.tables.get_mut(path).unwrap() {
            for (name, value) in row.iter_mut() {
                if name == "interface" && value == b"sitepeer-acme" {
                    *value = b"*1C".to_vec();
                }
            }
        }
    }
    converge(&site(), &mut router);
}
