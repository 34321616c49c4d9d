//! `provision` and `remove` by a session that comes through the very tunnel they change.

use sitepeer::cli::args::{self, Subject};
use sitepeer::reconcile::guard::When;
use sitepeer::sim::plane::HubEnd;
use sitepeer::sim::{SessionPath, SimRouter, Through};

use crate::run::{self, Run, access, provision_of};
use crate::site::SiteText;
use crate::stage::{self, PROMISED, assert_back, rows, through_a_cut, until, until_cut};
use crate::world::{self, SHORT_PROOF, World};

/// A site that is there, and a session that comes through its tunnel.
struct Branch {
    router: SimRouter,
    site: SiteText,
    _hub: HubEnd,
}

/// The gateway's host: where the session comes from.
const FAR: &str = "10.99.0.1";
/// Somebody at the other site.
const BEHIND: &str = "192.168.89.50";
const OTHER_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

impl Branch {
    async fn start(rename_follows: bool) -> Self {
        Self::start_from(FAR, rename_follows).await
    }

    async fn start_from(source: &str, rename_follows: bool) -> Self {
        let hub = world::hub().await;
        let router = stage::router(|options| options.rename_follows = rename_follows).await;
        let mut site = SiteText::a(&hub);
        site.listen_port = Some(13231);
        let branch = Self { router, site, _hub: hub };
        branch.provision(&branch.site.clone(), When::Session).await.assert_result("unproven");
        let rule: [(&str, &[u8]); 4] = [
            ("chain", b"input"),
            ("action", b"accept"),
            ("dst-address", b"10.99.0.2"),
            ("comment", b"management through the tunnel"),
        ];
        let first = branch.first_rule();
        let attrs: Vec<(&str, &[u8])> = rule.into_iter().chain([("place-before", first.as_slice())]).collect();
        branch.router.operator("/ip/firewall/filter/add", &attrs).await.unwrap();
        branch.router.operator("/routing/table/add", &[("name", b"vpn"), ("fib", b"")]).await.unwrap();
        branch.router.come_from(Some(SessionPath {
            source: source.parse().unwrap(),
            address: "10.99.0.2".parse().unwrap(),
            through: Through::Peer {
                public_key: branch.site.hub_key.clone(),
                endpoint: branch.site.endpoints[0].clone(),
            },
        }));
        assert!(branch.router.is_reachable());
        branch
    }

    fn first_rule(&self) -> Vec<u8> {
        let state = self.router.state(sitepeer::sim::StateOptions { ids: true, dynamic: false });
        let is_input = |row: &&std::collections::BTreeMap<String, Vec<u8>>| row["chain"] == b"input";
        state.rows("/ip/firewall/filter").iter().find(is_input).unwrap()[".id"].clone()
    }

    async fn provision(&self, site: &SiteText, guard: When) -> Run {
        let mut command = provision_of(access("admin", "", self.router.api_addr()), site.load());
        (command.guard, command.proof_timeout) = (guard, std::time::Duration::ZERO);
        run::provision(command, async |_| {}).await
    }

    async fn remove(&self) -> Run {
        run::remove(access("admin", "", self.router.api_addr()), Subject::Only).await
    }
}

type Edit = fn(&mut SiteText);

const CHANGES: [(&str, &str, Edit); 7] = [
    (BEHIND, "reach leaves its own session out", |site| site.reach = vec!["10.99.0.0/24".into()]),
    (BEHIND, "routes in another table", |site| site.table = Some("vpn".into())),
    (FAR, "another endpoint", |site| site.endpoints = vec!["198.51.100.9:51820".into()]),
    (FAR, "another key of the hub", |site| site.hub_key = OTHER_KEY.into()),
    (FAR, "another tunnel address", |site| site.addresses = vec!["10.99.0.9/24".into()]),
    (FAR, "everything at once", |site| {
        (site.instance, site.hub_key, site.keepalive_secs) = ("acme-two".into(), OTHER_KEY.into(), 13);
        (site.addresses, site.mtu) = (vec!["10.98.0.9/24".into()], Some(1300));
        (site.reach, site.probe) = (vec!["10.98.0.0/24".into(), "10.77.0.0/16".into()], vec!["10.98.0.1".into()]);
    }),
    (BEHIND, "another name of the interface, which no row follows", |site| site.instance = "acme-two".into()),
];

#[tokio::test]
async fn a_provision_that_cuts_its_own_session_is_undone_within_a_minute() {
    for (source, what, edit) in CHANGES {
        let branch = Branch::start_from(source, false).await;
        let before = rows(&branch.router);
        let mut site = branch.site.clone();
        edit(&mut site);
        let run = Box::pin(through_a_cut(&branch.router, branch.provision(&site, When::Session))).await;
        assert_eq!(run.failed(), (3, "put-back"), "{what}: {run:?}");
        assert!(branch.router.is_reachable(), "{what}");
        assert_back(&before, &branch.router, what);
    }
}

#[tokio::test]
async fn a_removal_that_cuts_its_own_session_is_undone_within_a_minute() {
    let branch = Branch::start(true).await;
    let before = rows(&branch.router);
    let run = Box::pin(through_a_cut(&branch.router, branch.remove())).await;
    assert_eq!(run.failed(), (3, "put-back"), "{run:?}");
    assert_back(&before, &branch.router, "its keys, its lists, and its place among the rules");
}

#[tokio::test]
async fn a_change_that_spares_its_own_session_is_confirmed_and_leaves_no_guard() {
    let branch = Branch::start(true).await;
    let mut site = branch.site.clone();
    (site.instance, site.reach) = ("acme-two".into(), crate::site::texts(&["10.99.0.0/24", "192.168.90.0/24"]));
    branch.provision(&site, When::Session).await.assert_result("unproven");
    assert!(rows(&branch.router)["/system/script"].is_empty() && rows(&branch.router)["/system/scheduler"].is_empty());
    let again = branch.provision(&site, When::Session).await;
    assert_eq!(again.writes(), 0, "{again:?}");
    let routes = &rows(&branch.router)["/ip/route"];
    assert!(
        routes.iter().any(|row| row.contains("192.168.90.0/24"))
            && !routes.iter().any(|row| row.contains("192.168.89.0/24"))
    );
}

#[tokio::test]
async fn without_a_guard_it_is_cut_off_for_good() {
    let branch = Branch::start(true).await;
    let mut site = branch.site.clone();
    site.endpoints = vec!["198.51.100.9:51820".into()];
    tokio::select! {
        run = branch.provision(&site, When::Never) => panic!("{run:?}"),
        () = until_cut(&branch.router) => {}
    }
    branch.router.pass_time(PROMISED).await;
    assert!(!branch.router.is_reachable(), "or the other tests show nothing");
}

#[tokio::test]
async fn a_guarded_removal_from_the_lan_takes_everything_out() {
    let hub = world::hub().await;
    let router = stage::router(|_| {}).await;
    let before = rows(&router);
    let mut site = SiteText::a(&hub);
    site.preshared_key = Some([7; 32]);
    let mut command = provision_of(access("admin", "", router.api_addr()), site.load());
    (command.guard, command.proof_timeout) = (When::Always, std::time::Duration::ZERO);
    run::provision(command, async |_| {}).await.assert_result("unproven");
    let access = access("admin", "", router.api_addr());
    let write = args::Write::Apply(sitepeer::cli::report::Confirm::Given);
    let command = args::Remove { access, subject: Subject::Only, write, guard: When::Always };
    let run = run::carry_out(async |reporter| sitepeer::cli::remove::run(command, reporter).await, async |_| {}).await;
    run.assert_result("removed");
    assert_back(&before, &router, "nothing of ours is left");
}

/// In real time: nothing answers at the new endpoint, and the run waits for it as long as it may.
#[tokio::test]
async fn a_tunnel_that_was_up_and_does_not_come_back_is_put_back() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    let before = world::with_ids(&world);
    let mut site = world.site();
    site.endpoints = vec!["127.0.0.1:9".into()];
    let run = world.provision_as(&site, |command| command.guard = When::Always).await;
    assert_eq!(run.failed(), (3, "put-back"), "{run:?}");
    assert!(run.result["message"].as_str().unwrap().contains("the tunnel carried traffic before"), "{run:?}");
    world::assert_same(&before, &world::with_ids(&world), "the rows are the same ones");
    let proof = world.provision_as(&world.site(), |command| command.proof_timeout = SHORT_PROOF * 10).await;
    proof.assert_result("converged");
    assert_eq!(proof.writes(), 0, "{proof:?}");
}

#[tokio::test]
async fn an_armed_guard_is_explained_by_status_and_waited_for_by_the_next_run() {
    let branch = Branch::start(true).await;
    let mut site = branch.site.clone();
    site.hub_key = OTHER_KEY.into();
    tokio::select! {
        run = branch.provision(&site, When::Session) => panic!("{run:?}"),
        () = until_cut(&branch.router) => {}
    }
    // Somebody else, who comes from the LAN.
    stage::from_lan(&branch.router, stage::NEAR);
    let (api, subject) = (access("admin", "", branch.router.api_addr()), Subject::Only);
    let status = run::status(args::Status { access: api, subject, hub: None }).await;
    assert!(status.result["guard"].as_str().unwrap().contains("a guard of site k3f9q2 is armed"), "{status:?}");
    let mut wider = branch.site.clone();
    wider.reach.push("192.168.90.0/24".into());
    let (run, ()) = tokio::join!(branch.provision(&wider, When::Session), async {
        until("the second run looks", || branch.router.sessions() > 0).await;
        branch.router.pass_time(PROMISED).await;
    });
    run.assert_result("unproven");
    let rows = rows(&branch.router);
    assert!(rows["/interface/wireguard/peers"].iter().any(|row| row.contains(&branch.site.hub_key)));
    assert!(rows["/ip/route"].iter().any(|row| row.contains("192.168.90.0/24")));
    assert!(rows["/system/script"].is_empty());
}
