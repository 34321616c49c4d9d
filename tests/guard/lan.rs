//! Plans that cut off the session from the LAN that makes them: route, address, firewall, interface, service.

use sitepeer::reconcile::desired::Value;
use sitepeer::reconcile::guard::{GuardError, Timing};
use sitepeer::reconcile::observe::Observed;
use sitepeer::reconcile::plan::{Change, FieldChange, Op, Plan};
use sitepeer::routeros::menu::{self, Menu};
use sitepeer::sim::SimRouter;

use crate::stage::{
    self, NEAR, PROMISED, assert_back, carry_out, change, client, from_lan, rows, through_a_cut, told, until, until_cut,
};

const ADDRESS: &str = "sitepeer:k3f9q2:addr:192.168.88.1/24";
const ROUTE: &str = "sitepeer:k3f9q2:route:10.50.0.0/16";
const ACCEPT: &str = "sitepeer:k3f9q2:x:accept";
const DROP: &str = "sitepeer:k3f9q2:x:drop";
const MEMBER: &str = "sitepeer:k3f9q2:member";
const LISTED: &str = "sitepeer:k3f9q2:x:listed";
/// Somebody two hops away, reached by [`ROUTE`].
const FAR: &str = "10.50.0.9";

fn set(fields: &'static [(&'static str, &'static str)]) -> impl Fn(Vec<u8>) -> Change {
    move |id| {
        let change = |(name, to): &(&'static str, &'static str)| FieldChange {
            name,
            from: None,
            to: Value::Plain((*to).to_owned()),
        };
        Change::Set { id, fields: fields.iter().map(change).collect() }
    }
}

fn remove(id: Vec<u8>) -> Change {
    Change::Remove { id }
}

fn add(menu: &'static Menu, comment: &str, fields: &[(&'static str, &'static str)], before: Option<Vec<u8>>) -> Op {
    let fields = fields.iter().map(|(name, value)| (*name, Value::Plain((*value).to_owned()))).collect();
    Op {
        menu,
        marker: sitepeer::domain::Marker::of_comment(comment.as_bytes()).unwrap(),
        change: Change::Add { fields, comment: comment.to_owned(), before },
        reason: "test".into(),
    }
}

/// Rows of ours that carry the session: its address, its route, the rules that let it in.
pub async fn start(source: &str) -> SimRouter {
    let router = stage::router(|_| {}).await;
    let row = |menu: &str, field: &str, value: &str| {
        let state = router.state(sitepeer::sim::StateOptions { ids: true, dynamic: false });
        let found = state.rows(menu).iter().find(|row| row.get(field).is_some_and(|v| v == value.as_bytes())).unwrap();
        found[".id"].clone()
    };
    let operate = async |path: &str, attrs: &[(&str, &[u8])]| {
        router.operator(path, attrs).await.unwrap_or_else(|trap| panic!("{path}: {trap:?}"))
    };
    operate("/ip/address/set", &[(".id", &row("/ip/address", "comment", "defconf")), ("comment", ADDRESS.as_bytes())])
        .await;
    let member = row("/interface/list/member", "interface", "bridge");
    operate("/interface/list/member/set", &[(".id", &member), ("comment", MEMBER.as_bytes())]).await;
    let route: [(&str, &[u8]); 3] =
        [("dst-address", b"10.50.0.0/16"), ("gateway", b"192.168.88.2"), ("comment", ROUTE.as_bytes())];
    operate("/ip/route/add", &route).await;
    // A foreign firewall that lets nobody in but by our rules, in this order: drop of others, accept, accept of a list, drop of all.
    let first = row("/ip/firewall/filter", "comment", "defconf: accept established,related,untracked");
    let listed: [(&str, &[u8]); 3] = [("list", b"mgmt"), ("address", b"10.50.0.0/16"), ("comment", LISTED.as_bytes())];
    operate("/ip/firewall/address-list/add", &listed).await;
    let rules: [&[(&str, &[u8])]; 4] = [
        &[("action", b"drop"), ("src-address", b"198.51.100.0/24"), ("comment", DROP.as_bytes())],
        &[("action", b"accept"), ("src-address", b"192.168.88.0/24"), ("comment", ACCEPT.as_bytes())],
        &[("action", b"accept"), ("src-address-list", b"mgmt")],
        &[("action", b"drop"), ("comment", b"no \"$x\" \\ [others]; \xe9\n")],
    ];
    for rule in rules {
        let attrs: Vec<(&str, &[u8])> = [("chain", b"input".as_slice()), ("place-before", &first)]
            .into_iter()
            .chain(rule.iter().copied())
            .collect();
        operate("/ip/firewall/filter/add", &attrs).await;
    }
    from_lan(&router, source);
    assert!(router.is_reachable());
    router
}

pub type Make = fn(&Observed) -> Vec<Op>;

/// Who makes the plan, what it does, and the plan.
pub const CASES: [(&str, &str, Make); 19] = [
    (NEAR, "its address is switched off", |o| {
        vec![change(o, &menu::IP_ADDRESS, ADDRESS, set(&[("disabled", "true")]))]
    }),
    (NEAR, "its address is taken out", |o| vec![change(o, &menu::IP_ADDRESS, ADDRESS, remove)]),
    (NEAR, "its address becomes another", |o| {
        let to = set(&[
            ("address", "192.168.77.1/24"),
            ("network", "192.168.77.0"),
            ("comment", "sitepeer:k3f9q2:addr:192.168.77.1/24"),
        ]);
        vec![change(o, &menu::IP_ADDRESS, ADDRESS, to)]
    }),
    (NEAR, "its address goes to another interface", |o| {
        vec![change(o, &menu::IP_ADDRESS, ADDRESS, set(&[("interface", "ether1")]))]
    }),
    (NEAR, "its interface is switched off", |o| {
        vec![change(o, &menu::INTERFACE, "bridge", set(&[("disabled", "true")]))]
    }),
    (NEAR, "its service is switched off", |o| vec![change(o, &menu::SERVICE, "api", set(&[("disabled", "true")]))]),
    (NEAR, "a more specific route leads elsewhere", |o| {
        let _ = o;
        vec![add(
            &menu::IP_ROUTE,
            "sitepeer:k3f9q2:route:192.168.88.10/32",
            &[("dst-address", "192.168.88.10/32"), ("gateway", "ether1")],
            None,
        )]
    }),
    (NEAR, "a rule drops everything before all others", |o| {
        let first = o.rows(&menu::FILTER).iter().find(|row| row.get("chain") == Some(b"input")).unwrap().id().to_vec();
        vec![add(&menu::FILTER, "sitepeer:k3f9q2:x:new", &[("chain", "input"), ("action", "drop")], Some(first))]
    }),
    (NEAR, "the rule that lets it in goes", |o| vec![change(o, &menu::FILTER, ACCEPT, remove)]),
    (NEAR, "the rule that lets it in is switched off", |o| {
        vec![change(o, &menu::FILTER, ACCEPT, set(&[("disabled", "true")]))]
    }),
    (NEAR, "the rule that lets it in lets others in", |o| {
        vec![change(
            o,
            &menu::FILTER,
            ACCEPT,
            set(&[("src-address", "10.0.0.0/8"), ("comment", "sitepeer:k3f9q2:x:other")]),
        )]
    }),
    (NEAR, "the rule that lets it in drops", |o| vec![change(o, &menu::FILTER, ACCEPT, set(&[("action", "drop")]))]),
    (NEAR, "the rule that lets it in stands behind the drop", |o| {
        let last = o.rows(&menu::FILTER).iter().rfind(|row| row.get("chain") == Some(b"input")).unwrap().id().to_vec();
        vec![change(o, &menu::FILTER, ACCEPT, |id| Change::Move { id, before: last })]
    }),
    (NEAR, "a rule that dropped a few drops all", |o| {
        let unset = |id| Change::Unset { id, field: "src-address", from: "198.51.100.0/24".into() };
        vec![change(o, &menu::FILTER, DROP, unset)]
    }),
    (FAR, "its route goes", |o| vec![change(o, &menu::IP_ROUTE, ROUTE, remove)]),
    (FAR, "its route leads elsewhere", |o| vec![change(o, &menu::IP_ROUTE, ROUTE, set(&[("gateway", "ether1")]))]),
    (FAR, "its route is for others", |o| {
        vec![change(o, &menu::IP_ROUTE, ROUTE, set(&[("dst-address", "10.60.0.0/16")]))]
    }),
    (FAR, "its address leaves the list that is let in", |o| vec![change(o, &menu::ADDRESS_LIST, LISTED, remove)]),
    (NEAR, "much at once", |o| {
        vec![
            add(
                &menu::IP_ADDRESS,
                "sitepeer:k3f9q2:addr:10.8.0.1/24",
                &[("address", "10.8.0.1/24"), ("interface", "bridge")],
                None,
            ),
            change(o, &menu::IP_ROUTE, ROUTE, set(&[("distance", "7")])),
            change(o, &menu::FILTER, DROP, remove),
            change(o, &menu::FILTER, ACCEPT, remove),
            change(o, &menu::IP_ADDRESS, ADDRESS, remove),
        ]
    }),
];

#[tokio::test]
async fn every_plan_that_cuts_its_own_session_is_undone_within_a_minute() {
    for (source, what, make) in CASES {
        let router = start(source).await;
        let before = rows(&router);
        let client = client(&router).await;
        let plan = |observed: &Observed| Plan { ops: make(observed), notes: Vec::new() };
        let result = through_a_cut(&router, carry_out(&router, &client, plan, Timing::default())).await;
        assert!(matches!(result, Err(GuardError::PutBack { .. })), "{what}: {}", told(&result));
        assert!(router.is_reachable(), "{what}");
        assert_back(&before, &router, what);
    }
    eprintln!(
        "{} plans from the LAN, each undone by the router within {} s of its own time",
        CASES.len(),
        PROMISED.as_secs()
    );
}

#[tokio::test]
async fn every_such_plan_is_undone_with_its_maker_dead() {
    for (source, what, make) in CASES {
        let router = start(source).await;
        let before = rows(&router);
        let client = client(&router).await;
        let plan = |observed: &Observed| Plan { ops: make(observed), notes: Vec::new() };
        tokio::select! {
            result = carry_out(&router, &client, plan, Timing::default()) => panic!("{what}: {}", told(&result)),
            () = until_cut(&router) => {}
        }
        drop(client);
        router.pass_time(PROMISED).await;
        assert_back(&before, &router, what);
    }
}

#[tokio::test]
async fn every_such_plan_is_undone_by_a_reboot_whatever_becomes_of_timers() {
    for (at, (source, what, make)) in CASES.into_iter().enumerate() {
        let router = start(source).await;
        let faults: &[&str] = [&[][..], &["timer-keeps-count"], &["timer-waits-for-date"]][at % 3];
        for fault in faults {
            router.inject(fault.parse().unwrap()).await;
        }
        let before = rows(&router);
        let client = client(&router).await;
        let plan = |observed: &Observed| Plan { ops: make(observed), notes: Vec::new() };
        tokio::select! {
            result = carry_out(&router, &client, plan, Timing::default()) => panic!("{what}: {}", told(&result)),
            () = until_cut(&router) => {}
        }
        router.reboot().await;
        assert_back(&before, &router, &format!("{what}, rebooted with {faults:?}"));
    }
}

/// Stops a plan at one of its writes, and lets a minute pass.
async fn stopped_at(n: u64, how: &str, (source, what, make): (&str, &str, Make)) -> bool {
    let router = start(source).await;
    let before = rows(&router);
    let client = client(&router).await;
    let plan = |observed: &Observed| Plan { ops: make(observed), notes: Vec::new() };
    let begun = router.writes();
    let reached = || router.writes() >= begun + n;
    let ended = tokio::select! {
        result = carry_out(&router, &client, plan, Timing::default()) => panic!("{what}, {how} at {n}: {}", told(&result)),
        () = until("a write or the cut", || reached() || !router.is_reachable()) => !reached(),
    };
    drop(client);
    if how == "rebooted" {
        router.reboot().await;
    }
    router.pass_time(PROMISED).await;
    assert_back(&before, &router, &format!("{what}, {how} at write {n}"));
    ended
}

#[tokio::test]
async fn every_such_plan_stopped_at_any_of_its_writes_is_undone_within_a_minute() {
    let mut stopped = 0;
    for case in CASES {
        for how in ["killed", "rebooted"] {
            for n in 1.. {
                if stopped_at(n, how, case).await {
                    break;
                }
                stopped += 1;
            }
        }
    }
    eprintln!("stopped {stopped} times");
    assert!(stopped > 150, "the lock, the guard and the plan: {stopped}");
}
