//! Two tunnels beside each other: made, switched, let go of.

use proptest::prelude::*;
use sitepeer::domain::{Beside, Hub, Role, Site};
use sitepeer::health::codes::Code;
use sitepeer::health::rows::judge;
use sitepeer::reconcile::decide::{decide_guarded, decide_removal};
use sitepeer::reconcile::generation::{as_on, used};
use sitepeer::reconcile::guard::{When, classify, inverse};
use sitepeer::reconcile::plan::{Change, Plan, Stage};
use sitepeer::reconcile::preflight::Session;
use sitepeer::routeros::menu;

use crate::model::{Router, converge, decided, session, site};

fn texts(plan: &Plan) -> Vec<String> {
    plan.ops.iter().map(ToString::to_string).collect()
}

/// Verb, role and fields of each change.
fn shape(plan: &Plan) -> Vec<String> {
    let fields = |change: &Change| match change {
        Change::Set { fields, .. } => fields.iter().map(|field| field.name).collect::<Vec<_>>().join(","),
        _ => String::new(),
    };
    let line = |op: &sitepeer::reconcile::plan::Op| {
        format!("{} {} {}", op.verb(), &op.marker.to_string()["sitepeer:k3f9q2:".len()..], fields(&op.change))
    };
    plan.ops.iter().map(|op| line(op).trim().to_owned()).collect()
}

/// The hub's end of a generation.
fn hub(generation: u32) -> Hub {
    const KEYS: [&str; 3] = [
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
        "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
    ];
    let (index, port) = (usize::try_from(generation).unwrap(), 51_820 + generation);
    let endpoints = vec![format!("198.51.100.9:{port}").parse().unwrap()];
    Hub { public_key: KEYS[index].parse().unwrap(), endpoints, preshared_key: None, ..site().hub }
}

/// A site of one tunnel.
fn of(generation: u32) -> Site {
    let mut site = Site { hub: hub(generation), generation, ..site() };
    site.tunnel.listen_port = None;
    site
}

/// A site that moves from one tunnel to the one after it; the one before is in use.
fn moving(from: u32) -> Site {
    let beside = Beside { generation: from + 1, hub: hub(from + 1), listen_port: None };
    Site { beside: Some(beside), ..of(from) }
}

#[test]
fn the_next_tunnel_is_made_beside_the_one_in_use_and_nothing_else_is_touched() {
    let mut router = Router::defconf();
    converge(&of(0), &mut router);
    let plan = converge(&moving(0), &mut router);
    assert_eq!(shape(&plan), ["add if:1", "add member:1", "add hub:1"]);
    insta::assert_snapshot!(texts(&plan).join("\n"));
    assert_eq!(used(&router.observed(), &of(0).id), Some(0));
}

#[test]
fn a_switch_changes_where_addresses_and_routes_lead_in_place_and_nothing_else() {
    let mut router = Router::defconf();
    converge(&moving(0), &mut router);
    let plan = converge(&moving(0).switched(), &mut router);
    assert_eq!(shape(&plan), ["set addr:10.99.0.2/24 interface", "set route:192.168.89.0/24 gateway"]);
    assert_eq!(plan.stages().count(), 1, "one round trip");
    assert_eq!(used(&router.observed(), &of(0).id), Some(1));
    // And back.
    let plan = converge(&moving(0), &mut router);
    assert_eq!(shape(&plan), ["set addr:10.99.0.2/24 interface", "set route:192.168.89.0/24 gateway"]);
    assert_eq!(used(&router.observed(), &of(0).id), Some(0));
}

#[test]
fn the_tunnel_before_goes_once_nothing_leads_there() {
    let mut router = Router::defconf();
    converge(&moving(0), &mut router);
    converge(&moving(0).switched(), &mut router);
    let plan = converge(&of(1), &mut router);
    assert_eq!(shape(&plan), ["remove hub", "remove member", "remove if"]);
    let stages: Vec<Stage> = plan.stages().map(|ops| ops[0].stage()).collect();
    assert_eq!(stages, [Stage::Clear, Stage::ClearGround]);
    // Where it stands now, it would have been put by a first run too.
    let mut straight = Router::defconf();
    converge(&of(1), &mut straight);
    assert_eq!(router.rows(&menu::WIREGUARD).len(), 1);
    assert_eq!(router.rows(&menu::PEERS).len(), straight.rows(&menu::PEERS).len());
}

#[test]
fn a_move_that_is_called_off_leaves_the_router_as_it_was_however_far_it_came() {
    let mut before = Router::defconf();
    converge(&of(0), &mut before);
    let mut pending = before.clone();
    converge(&moving(0), &mut pending);
    let mut switched = pending.clone();
    converge(&moving(0).switched(), &mut switched);
    for mut router in [pending, switched] {
        let plan = converge(&of(0), &mut router);
        let first_removal = plan.ops.iter().position(|op| op.verb() == "remove").unwrap();
        assert!(plan.ops[first_removal..].iter().all(|op| op.verb() == "remove"), "{:?}", texts(&plan));
        assert_eq!(router.state(), before.state());
    }
}

#[test]
fn what_is_in_use_is_read_from_the_router_by_whoever_comes_along() {
    let mut router = Router::defconf();
    assert_eq!(as_on(moving(0), &router.observed()), moving(0), "nothing is there yet");
    converge(&moving(0), &mut router);
    assert_eq!(as_on(moving(0), &router.observed()), moving(0));
    let switch = decided(&moving(0).switched(), &router).unwrap().plan;
    for done in 1..=switch.ops.len() {
        let mut cut_off = router.clone();
        switch.ops.iter().take(done).for_each(|op| cut_off.carry_out_one(op));
        let found = as_on(moving(0), &cut_off.observed());
        assert_eq!(found, moving(0).switched(), "cut off after {done}: it goes on, and does not flip back");
        converge(&found, &mut cut_off);
    }
}

#[test]
fn an_instance_can_be_renamed_in_the_middle_of_a_move() {
    for stage in [moving(0), moving(0).switched()] {
        let mut router = Router::defconf();
        converge(&moving(0), &mut router);
        converge(&stage, &mut router);
        let renamed = Site { instance: "other".parse().unwrap(), ..stage.clone() };
        let plan = decided(&renamed, &router).unwrap().plan;
        let (first, second) =
            if stage.generation == 0 { ("set if name", "set if:1 name") } else { ("set if:1 name", "set if name") };
        assert_eq!(shape(&plan), [first, second]);
        // A router that does not follow the new names by itself is brought there by a second plan.
        router.carry_out(&plan);
        let plan = decided(&renamed, &router).unwrap().plan;
        router.carry_out(&plan);
        assert!(decided(&renamed, &router).unwrap().plan.is_empty());
        assert_eq!(used(&router.observed(), &stage.id), Some(stage.generation));
        // Renamed and switched at once.
        let both = Site { instance: "third".parse().unwrap(), ..renamed }.switched();
        let plan = decided(&both, &router).unwrap().plan;
        assert!(shape(&plan).contains(&"set addr:10.99.0.2/24 interface".to_owned()), "{:?}", shape(&plan));
        router.carry_out(&plan);
        router.carry_out(&decided(&both, &router).unwrap().plan);
        assert!(decided(&both, &router).unwrap().plan.is_empty());
    }
}

#[test]
fn a_removal_takes_both_tunnels_out() {
    for stage in [moving(0), moving(0).switched(), moving(1).switched(), of(2)] {
        let mut router = Router::defconf();
        let before = router.state();
        converge(&stage.clone().alone(), &mut router);
        converge(&stage, &mut router);
        let plan = decide_removal(&stage.id, &router.observed(), &session()).unwrap().plan;
        router.carry_out(&plan);
        assert_eq!(router.state(), before);
    }
}

#[test]
fn a_tunnel_that_waits_is_kept_awake_even_where_the_site_has_no_keepalive() {
    let mut router = Router::defconf();
    let mut site = moving(0);
    site.hub.keepalive = None;
    site.beside.as_mut().unwrap().hub.keepalive = None;
    converge(&site, &mut router);
    let keepalives = |router: &Router| -> Vec<Option<Vec<u8>>> {
        let of = |row: &crate::model::Fields| {
            row.iter().find(|(name, _)| name == "persistent-keepalive").map(|(_, value)| value.clone())
        };
        router.rows(&menu::PEERS).iter().map(of).collect()
    };
    assert_eq!(keepalives(&router), [None, Some(b"25s".to_vec())], "nothing else makes it handshake");
    let plan = converge(&site.switched(), &mut router);
    assert_eq!(plan.ops.iter().filter(|op| op.marker.role == Role::Peer).count(), 2);
}

#[test]
fn each_tunnel_with_a_port_of_its_own_is_let_in_and_only_as_long_as_it_is_there() {
    let mut router = Router::defconf();
    let mut first = moving(0);
    first.tunnel.listen_port = Some(13_231);
    first.beside.as_mut().unwrap().listen_port = Some(13_232);
    converge(&first.clone().alone(), &mut router);
    let plan = converge(&first, &mut router);
    assert_eq!(shape(&plan), ["add if:1", "add member:1", "add in-wg:1", "add hub:1"]);
    converge(&first.clone().switched(), &mut router);
    let plan = converge(&first.switched().alone(), &mut router);
    assert_eq!(shape(&plan), ["remove hub", "remove in-wg", "remove member", "remove if"]);
}

#[test]
fn names_and_ports_of_the_next_tunnel_must_be_free() {
    let mut site = moving(0);
    site.beside.as_mut().unwrap().listen_port = Some(13_232);
    let mut router = Router::defconf();
    converge(&of(0), &mut router);
    let mut taken = router.clone();
    taken.add(&menu::INTERFACE, &["name=sitepeer-acme_g1", "running=true"]);
    let refused = format!("{:?}", decided(&site, &taken).unwrap_err());
    assert!(refused.contains("name-taken") && refused.contains("sitepeer-acme_g1"), "{refused}");
    router.add(&menu::WIREGUARD, &["name=wg-office", "listen-port=13232"]);
    let refused = format!("{:?}", decided(&site, &router).unwrap_err());
    assert!(refused.contains("port-taken") && refused.contains("wg-office"), "{refused}");
}

#[test]
fn a_switch_is_guarded_where_the_session_comes_through_the_tunnel_and_undone_in_place() {
    let mut router = Router::defconf();
    converge(&moving(0), &mut router);
    let observed = router.observed();
    let through = Session { local: "192.168.89.50".parse().unwrap(), ..session() };
    let plan = decide_guarded(&moving(0).switched(), &observed, &through, 10).unwrap().plan;
    let (of_session, of_lan) = (classify(&plan, &observed, &through), classify(&plan, &observed, &session()));
    assert!(When::Session.holds(&of_session), "{of_session:?}");
    assert!(!When::Session.holds(&of_lan) && When::Tunnel.holds(&of_lan), "{of_lan:?}");
    let undo = inverse(&plan, &observed).unwrap().script();
    for line in [
        "/ip/address/set [/ip/address/find where comment=\"sitepeer:k3f9q2:addr:10.99.0.2/24\"] interface=\"sitepeer-acme\"",
        "/ip/route/set [/ip/route/find where comment=\"sitepeer:k3f9q2:route:192.168.89.0/24\"] gateway=\"sitepeer-acme\"",
    ] {
        assert!(undo.contains(line), "{line} is not in\n{undo}");
    }
    // The second tunnel itself is made without a guard: nothing of what is there is touched.
    let mut single = Router::defconf();
    converge(&of(0), &mut single);
    let plan = decide_guarded(&moving(0), &single.observed(), &through, 10).unwrap().plan;
    assert!(!classify(&plan, &single.observed(), &through).any());
}

#[test]
fn health_is_about_the_tunnel_in_use_and_what_is_wrong_with_the_other_one_is_no_finding() {
    let found = |site: &Site, router: &Router| -> Vec<Code> {
        judge(site, &router.observed(), &session(), 8728).into_iter().map(|seen| seen.code).collect()
    };
    for (stage, used, other) in [(moving(0), "hub", "hub:1"), (moving(0).switched(), "hub:1", "hub")] {
        let mut router = Router::defconf();
        converge(&moving(0), &mut router);
        converge(&stage, &mut router);
        assert_eq!(found(&stage, &router), []);
        let without = |peer: &str| {
            let (mut router, comment) = (router.clone(), format!("sitepeer:k3f9q2:{peer} "));
            let is_it = |row: &crate::model::Fields| {
                row.iter().any(|(name, value)| name == "comment" && value.starts_with(comment.as_bytes()))
            };
            router.tables.get_mut(menu::PEERS.path).unwrap().retain(|row| !is_it(row));
            router
        };
        assert_eq!(found(&stage, &without(other)), [], "{other} is beside the one in use");
        assert!(found(&stage, &without(used)).contains(&Code::PeerMissing), "{used} is in use");
    }
}

/// A step of a move, or beside it.
fn any_stage() -> impl Strategy<Value = Site> {
    let stage = prop_oneof![
        (0..3u32).prop_map(of),
        (0..2u32).prop_map(moving),
        (0..2u32).prop_map(|from| moving(from).switched()),
    ];
    let wide = proptest::sample::select(vec!["10.99.0.0/24", "192.168.89.0/24", "172.20.0.0/16"]);
    (stage, proptest::collection::vec(wide, 0..3))
        .prop_map(|(stage, reach)| Site { reach: crate::model::set(&reach), ..stage })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_stage_is_reached_from_every_other_and_foreign_rows_survive(
        stages in proptest::collection::vec(any_stage(), 1..6),
        defconf in any::<bool>(),
    ) {
        let mut router = if defconf { Router::defconf() } else { Router::bare() };
        let foreign = router.foreign();
        for stage in &stages {
            converge(stage, &mut router);
            prop_assert_eq!(router.foreign(), foreign.clone());
            prop_assert_eq!(used(&router.observed(), &stage.id), Some(stage.generation));
        }
        let last = stages.last().unwrap();
        prop_assert_eq!(router.rows(&menu::WIREGUARD).len(), last.ends().count());
    }

    #[test]
    fn a_stage_cut_off_anywhere_is_completed_by_the_next_run(
        first in any_stage(), second in any_stage(), cut in 0..20usize,
    ) {
        let mut router = Router::defconf();
        converge(&first, &mut router);
        let mut whole = router.clone();
        converge(&second, &mut whole);
        let plan = decided(&second, &router).unwrap().plan;
        plan.ops.iter().take(cut).for_each(|op| router.carry_out_one(op));
        converge(&second, &mut router);
        prop_assert_eq!(router.state(), whole.state());
    }
}
