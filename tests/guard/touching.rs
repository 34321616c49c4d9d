//! Which changes touch the way of a session, and which the tunnel.

use sitepeer::reconcile::decide::{decide_guarded, decide_removal_guarded};
use sitepeer::reconcile::guard::{Touches, When, classify, inverse, split};
use sitepeer::reconcile::observe::{Interest, observe};
use sitepeer::reconcile::plan::{Change, Plan};
use sitepeer::reconcile::preflight::Session;
use sitepeer::sim::SimRouter;

use crate::run::{self, access, provision_of};
use crate::site::SiteText;
use crate::stage::{self, client, from_lan, session, site_id};
use crate::world;

async fn provisioned() -> (SimRouter, SiteText) {
    let hub = world::hub().await;
    let router = stage::router(|_| {}).await;
    let site = SiteText { listen_port: Some(13231), ..SiteText::a(&hub) };
    let mut command = provision_of(access("admin", "", router.api_addr()), site.load());
    command.proof_timeout = std::time::Duration::ZERO;
    run::provision(command, async |_| {}).await.assert_result("unproven");
    (router, site)
}

async fn touches(router: &SimRouter, site: &SiteText, session: &Session) -> (Plan, Touches) {
    let site = site.load();
    let observed = observe(&client(router).await, &Interest::of(&site)).await.unwrap();
    let plan = decide_guarded(&site, &observed, session, 10).unwrap().plan;
    let touches = classify(&plan, &observed, session);
    (plan, touches)
}

#[tokio::test]
async fn from_the_lan_a_tunnel_may_change_and_its_session_is_not_touched() {
    let (router, site) = provisioned().await;
    from_lan(&router, stage::NEAR);
    let other = SiteText { endpoints: vec!["198.51.100.9:51820".into()], table: None, ..site.clone() };
    let (plan, touches) = touches(&router, &other, &session()).await;
    assert!(!plan.is_empty() && touches.session.is_empty() && touches.tunnel.len() == plan.ops.len(), "{touches:?}");
    assert!(!When::Session.holds(&touches) && When::Tunnel.holds(&touches) && When::Always.holds(&touches));
    assert!(!When::Never.holds(&touches));
}

#[tokio::test]
async fn through_the_tunnel_every_change_but_an_addition_touches_its_session() {
    let (router, site) = provisioned().await;
    // Nobody of this name is listed, so its own end tells where it comes from.
    let session = Session { user: "other".into(), local: "192.168.89.50".parse().unwrap(), writes: false, ..session() };
    let wider = SiteText { reach: [site.reach.clone(), vec!["192.168.90.0/24".into()]].concat(), ..site.clone() };
    let (plan, touches) = touches(&router, &wider, &session).await;
    let additions = plan.ops.iter().filter(|op| op.is_addition()).count();
    assert!(additions > 0 && touches.session.len() == plan.ops.len() - additions, "{touches:?}");
}

#[tokio::test]
async fn what_is_to_go_is_switched_off_first_and_can_be_switched_on_again() {
    let (router, _) = provisioned().await;
    let observed = observe(&client(&router).await, &Interest::default()).await.unwrap();
    let plan = decide_removal_guarded(&site_id(), &observed).unwrap().plan;
    let (now, later) = split(&plan, &observed);
    assert_eq!(later.ops.len(), plan.ops.len());
    // An interface list cannot be switched off, and holds nobody once its member is.
    assert_eq!(now.ops.len(), plan.ops.len() - 1);
    assert!(now.ops.iter().all(|op| op.sets(&["disabled"])));
    assert!(inverse(&now, &observed).is_ok());
    let faults = inverse(&later, &observed).unwrap_err();
    assert_eq!(faults.len(), 2, "the interface's key, and the peer's: {faults:?}");
    assert!(later.ops.iter().all(|op| matches!(op.change, Change::Remove { .. })));
}
