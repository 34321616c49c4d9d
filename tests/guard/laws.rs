//! Whatever the rows say and however far a plan came: its inverse, run by the router, gives exactly what was there.

use proptest::prelude::*;
use sitepeer::domain::Marker;
use sitepeer::reconcile::desired::Value;
use sitepeer::reconcile::guard::inverse;
use sitepeer::reconcile::observe::{Interest, Observed, observe};
use sitepeer::reconcile::plan::{Change, FieldChange, Op, Plan};
use sitepeer::routeros::menu::{self, Menu};
use sitepeer::sim::SimRouter;

use crate::stage::{self, client, rows};

/// Bytes that mean something to a console, and some that mean nothing to anybody.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"\"\\$[]{}();\n\r\t#=?*/ \xff\xe9\x00a".to_vec());
    prop::collection::vec(prop_oneof![3 => special, 1 => any::<u8>()], 0..12)
}

/// What becomes of a row of ours.
#[derive(Clone, Debug)]
enum Fate {
    Stays,
    Changes(Vec<u8>),
    LosesAMatcher,
    Moves(usize),
    Goes,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Stays),
        hostile().prop_map(Fate::Changes),
        Just(Fate::LosesAMatcher),
        (0..6usize).prop_map(Fate::Moves),
        Just(Fate::Goes),
    ]
}

/// A rule: whose, its comment's end, and what becomes of it.
type Rule = (bool, Vec<u8>, Fate);

#[derive(Clone, Debug)]
struct Case {
    rules: Vec<Rule>,
    routes: Vec<(Vec<u8>, Fate)>,
    entries: Vec<(Vec<u8>, Fate)>,
    added: usize,
    /// How many changes were made before the end.
    done: usize,
    seed: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let rules = prop::collection::vec((any::<bool>(), hostile(), fate()), 1..7);
    let others = || prop::collection::vec((hostile(), fate()), 0..3);
    (rules, others(), others(), 0..3usize, 0..24usize, 0..7usize)
        .prop_map(|(rules, routes, entries, added, done, seed)| Case { rules, routes, entries, added, done, seed })
}

fn own_comment(menu: &str, n: usize, end: &[u8]) -> Vec<u8> {
    [format!("sitepeer:k3f9q2:x:{menu}{n} ").as_bytes(), end].concat()
}

async fn add(router: &SimRouter, menu: &str, attrs: &[(&str, &[u8])]) {
    let attrs: Vec<(&str, &[u8])> = attrs.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
    router.operator(&format!("{menu}/add"), &attrs).await.unwrap_or_else(|trap| panic!("{menu} {attrs:?}: {trap:?}"));
}

async fn fill(router: &SimRouter, case: &Case) {
    for (n, (is_ours, end, _)) in case.rules.iter().enumerate() {
        let comment = if *is_ours { own_comment("rule", n, end) } else { end.clone() };
        let source = format!("10.1.{n}.0/24");
        let attrs: [(&str, &[u8]); 4] =
            [("chain", b"forward"), ("action", b"drop"), ("src-address", source.as_bytes()), ("comment", &comment)];
        add(router, "/ip/firewall/filter", &attrs).await;
    }
    for (n, (end, _)) in case.routes.iter().enumerate() {
        let (dst, comment) = (format!("10.2.{n}.0/24"), own_comment("route", n, end));
        let attrs: [(&str, &[u8]); 3] =
            [("dst-address", dst.as_bytes()), ("gateway", b"192.168.88.2"), ("comment", &comment)];
        add(router, "/ip/route", &attrs).await;
    }
    for (n, (end, _)) in case.entries.iter().enumerate() {
        let (address, comment) = (format!("10.3.{n}.0/24"), own_comment("entry", n, end));
        let attrs: [(&str, &[u8]); 3] = [("list", b"x \"y"), ("address", address.as_bytes()), ("comment", &comment)];
        add(router, "/ip/firewall/address-list", &attrs).await;
    }
}

fn marker(comment: &[u8]) -> Marker {
    Marker::of_comment(comment).unwrap()
}

fn op(menu: &'static Menu, comment: &[u8], change: Change) -> Op {
    Op { menu, marker: marker(comment), change, reason: "law".into() }
}

/// The plan that the fates of the rows make.
fn plan(case: &Case, observed: &Observed) -> Plan {
    let mut ops = Vec::new();
    let rules = observed.rows(&menu::FILTER);
    let mut fates = |menu: &'static Menu, comment: Vec<u8>, fate: &Fate, field: &'static str, to: String| {
        let row = observed.rows(menu).iter().find(|row| row.get("comment") == Some(&comment)).unwrap();
        let id = row.id().to_vec();
        let set = |name, to| FieldChange { name, from: None, to };
        let change = match fate {
            Fate::Stays => return,
            Fate::Changes(end) => {
                let comment = [comment.as_slice(), end].concat();
                Change::Set { id, fields: vec![set(field, Value::Plain(to)), set("comment", Value::Bytes(comment))] }
            }
            Fate::LosesAMatcher if menu.ordered => Change::Unset { id, field: "src-address", from: String::new() },
            Fate::Moves(to) if menu.ordered => {
                let before = &rules[to % rules.len()];
                if before.id() == id || before.is_true("dynamic") {
                    return;
                }
                Change::Move { id, before: before.id().to_vec() }
            }
            Fate::LosesAMatcher | Fate::Moves(_) => {
                Change::Set { id, fields: vec![set("disabled", Value::Plain("true".into()))] }
            }
            Fate::Goes => Change::Remove { id },
        };
        ops.push(op(menu, &comment, change));
    };
    for (n, (_, end, fate)) in case.rules.iter().enumerate().filter(|(_, rule)| rule.0) {
        fates(&menu::FILTER, own_comment("rule", n, end), fate, "src-address", format!("10.9.{n}.0/24"));
    }
    for (n, (end, fate)) in case.routes.iter().enumerate() {
        fates(&menu::IP_ROUTE, own_comment("route", n, end), fate, "dst-address", format!("10.8.{n}.0/24"));
    }
    for (n, (end, fate)) in case.entries.iter().enumerate() {
        fates(&menu::ADDRESS_LIST, own_comment("entry", n, end), fate, "address", format!("10.7.{n}.0/24"));
    }
    for n in 0..case.added {
        let comment = format!("sitepeer:k3f9q2:x:new{n}");
        let before = rules[(n + case.seed) % rules.len()].clone();
        let before = (!before.is_true("dynamic")).then(|| before.id().to_vec());
        let fields = vec![("chain", Value::Plain("forward".into())), ("action", Value::Plain("accept".into()))];
        ops.insert(
            case.seed % (ops.len() + 1),
            op(&menu::FILTER, comment.as_bytes(), Change::Add { fields, comment: comment.clone(), before }),
        );
    }
    Plan { ops, notes: Vec::new() }
}

async fn carry_out(router: &SimRouter, op: &Op) {
    let path = |verb: &str| format!("{}/{verb}", op.menu.path);
    let (path, attrs): (String, Vec<(&str, Vec<u8>)>) = match &op.change {
        Change::Add { fields, comment, before } => {
            let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes().to_vec()));
            let place = before.iter().map(|id| ("place-before", id.clone()));
            (path("add"), fields.chain([("comment", comment.clone().into_bytes())]).chain(place).collect())
        }
        Change::Set { id, fields } => {
            let fields = fields.iter().map(|field| (field.name, field.to.as_bytes().to_vec()));
            (path("set"), [(".id", id.clone())].into_iter().chain(fields).collect())
        }
        Change::Unset { id, field, .. } => {
            (path("unset"), vec![("numbers", id.clone()), ("value-name", field.as_bytes().to_vec())])
        }
        Change::Move { id, before } => (path("move"), vec![("numbers", id.clone()), ("destination", before.clone())]),
        Change::Remove { id } => (path("remove"), vec![(".id", id.clone())]),
    };
    let attrs: Vec<(&str, &[u8])> = attrs.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    // A move before a row that is gone by then is refused, as a device does.
    drop(router.operator(&path, &attrs).await);
}

async fn holds(case: Case) {
    let router = stage::router(|_| {}).await;
    fill(&router, &case).await;
    let before = rows(&router);
    let observed =
        observe(&client(&router).await, &Interest { prefixes: everything(), preshared_key: false }).await.unwrap();
    let plan = plan(&case, &observed);
    let script = inverse(&plan, &observed).unwrap_or_else(|faults| panic!("{faults:?}")).script();
    for op in plan.ops.iter().take(case.done) {
        carry_out(&router, op).await;
    }
    let attrs: [(&str, &[u8]); 2] = [("name", b"undo"), ("source", script.as_bytes())];
    router.operator("/system/script/add", &attrs).await.unwrap();
    for time in ["once", "twice"] {
        let ran = router.operator("/system/script/run", &[("number", b"undo")]).await;
        assert!(ran.is_ok(), "{ran:?}\n{script}");
        let mut after = rows(&router);
        after.insert("/system/script".into(), Vec::new());
        let differs: Vec<_> = before
            .iter()
            .filter(|(menu, rows)| after[*menu] != **rows)
            .map(|(menu, rows)| (rows, &after[menu]))
            .collect();
        assert!(differs.is_empty(), "run {time}: {differs:#?}\n{script}\n{:#?}", plan.ops);
    }
}

fn everything() -> sitepeer::domain::SubnetSet {
    ["10.0.0.0/8"].iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn an_inverse_run_by_the_router_gives_exactly_what_was_there(case in case()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(holds(case));
    }
}
