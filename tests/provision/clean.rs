//! A router that knows nothing of us yet.

use std::time::{Duration, Instant};

use sitepeer::cli::args::Subject;
use sitepeer::sim::SimOptions;

use crate::site::{SiteText, texts};
use crate::world::{World, ip, provision_on, router};

/// Round trips a full provision may cost: login, reading, lock, two stages of writing, reading again.
const MAX_ROUND_TRIPS: u64 = 6;

#[tokio::test]
async fn a_clean_router_converges_with_a_handshake_and_an_answer_in_few_round_trips() {
    let world = World::start().await;
    let run = world.provision(&world.site()).await;
    run.assert_result("converged");
    assert_eq!(run.exit(), 0);
    assert!(run.round_trips_but_proof() <= MAX_ROUND_TRIPS, "{run:#?}");
    assert_eq!(run.round_trips("login"), 1);
    let proof = &run.result["proof"];
    assert_eq!(proof["probe"], "10.99.0.1");
    assert!(proof["rtt_us"].as_u64().unwrap() > 0, "{proof}");
    let peer = world.hub.peers().await.unwrap().remove(0);
    assert!(peer.last_handshake.is_some() && peer.rx > 0 && peer.tx > 0, "{peer:?}");
}

#[tokio::test]
async fn a_second_run_reads_once_and_writes_nothing() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    let (state, writes) = (world.state_with_ids(), world.router.writes());
    let second = world.provision(&world.site()).await;
    second.assert_result("converged");
    assert_eq!((second.writes(), world.router.writes()), (0, writes));
    assert_eq!((second.round_trips("read"), second.round_trips("write"), second.round_trips("verify")), (1, 0, 0));
    assert_eq!(world.state_with_ids(), state);
    let plan = world.plan(&world.site()).await;
    assert_eq!((plan.exit(), plan.planned()), (0, Vec::new()));
}

#[tokio::test]
async fn a_dry_run_and_a_plan_write_nothing_and_say_the_same() {
    let world = World::start().await;
    let before = world.state_with_ids();
    let plan = world.plan(&world.site()).await;
    let dry = world.provision_as(&world.site(), |command| command.write = sitepeer::cli::args::Write::DryRun).await;
    for run in [&plan, &dry] {
        run.assert_result("pending");
        assert_eq!((run.exit(), run.writes()), (3, 0));
    }
    assert_eq!(plan.planned(), dry.planned());
    assert_eq!((world.router.writes(), world.state_with_ids()), (0, before));
    let done = world.provision(&world.site()).await;
    assert_eq!(done.written(), plan.planned());
}

#[tokio::test]
async fn every_round_trip_over_a_late_link_is_counted_and_the_delay_is_paid_by_that_number() {
    const ONE_WAY: Duration = Duration::from_millis(25);
    let world = World::faulty(&["latency=25"]).await;
    let begun = Instant::now();
    let run = world.provision(&world.site()).await;
    let took = begun.elapsed();
    run.assert_result("converged");
    let counted = run.round_trips_but_proof();
    eprintln!(
        "50 ms RTT: {counted} round trips ({}), {} writes, {took:?} with connecting and proof",
        run.result["round_trips_by"],
        run.writes()
    );
    assert!(counted <= MAX_ROUND_TRIPS, "{run:#?}");
    // No round trip can be hidden from the count: each costs the delay.
    let all = u32::try_from(run.result["round_trips"].as_u64().unwrap()).unwrap();
    assert!(took >= 2 * ONE_WAY * all, "{all} round trips in {took:?}");
}

fn place(
    rows: &[std::collections::BTreeMap<String, Vec<u8>>],
    chain: &str,
    fits: impl Fn(&str, &str) -> bool,
) -> usize {
    let text = |row: &std::collections::BTreeMap<String, Vec<u8>>, name| {
        String::from_utf8_lossy(row.get(name).map(Vec::as_slice).unwrap_or_default()).into_owned()
    };
    let at =
        rows.iter().position(|row| text(row, "chain") == chain && fits(&text(row, "action"), &text(row, "comment")));
    at.unwrap_or_else(|| panic!("no such rule in {chain}"))
}

#[tokio::test]
async fn with_the_default_firewall_our_rules_stand_before_the_first_drop_and_before_fasttrack() {
    let world = World::start().await;
    let mut site = world.site();
    site.listen_port = Some(13231);
    world.provision(&site).await.assert_result("converged");
    let state = world.state();
    let rules = state.rows("/ip/firewall/filter");
    let ours = |role: &'static str| move |_: &str, comment: &str| comment == format!("sitepeer:k3f9q2:{role}");
    let hinders = |action: &str, comment: &str| {
        matches!(action, "drop" | "fasttrack-connection") && !comment.starts_with("sitepeer:")
    };
    for (chain, role) in [("forward", "fwd-in"), ("forward", "fwd-out"), ("input", "in-wg")] {
        assert!(place(rules, chain, ours(role)) < place(rules, chain, hinders), "{role}:\n{state:?}");
    }
    assert_eq!(state.rows("/ip/firewall/mangle").len(), 1, "the MSS clamp");
}

#[tokio::test]
async fn a_router_without_a_firewall_gets_no_needless_rule() {
    let world = World::start_with(|options| options.firewall = false).await;
    world.provision(&world.site()).await.assert_result("converged");
    let state = world.state();
    assert!(state.rows("/ip/firewall/filter").is_empty(), "{state:?}");
    assert!(state.rows("/ip/firewall/nat").is_empty(), "{state:?}");
    assert!(state.rows("/ipv6/firewall/filter").is_empty(), "{state:?}");
}

#[tokio::test]
async fn a_host_behind_one_site_pings_a_host_behind_another_through_the_hub() {
    let world = World::start().await;
    let second = router(|options: &mut SimOptions| {
        options.lan = "192.168.89.1/24".parse().unwrap();
        options.lan_hosts = vec![ip("192.168.89.10")];
    })
    .await;
    world.provision(&world.site()).await.assert_result("converged");
    provision_on(&second, &world.hub, &SiteText::b(&world.hub), |_| {}).await.assert_result("converged");
    for (from, host, to) in
        [(&world.router, "192.168.88.10", "192.168.89.10"), (&second, "192.168.89.10", "192.168.88.10")]
    {
        let summary = from.plane().unwrap().lan_ping(ip(host), ip(to), 3).await;
        assert_eq!(summary.received, 3, "{host} to {to}: {summary:?}");
    }
    // Seen from there, it is the host itself that asks: nothing rewrote its address.
    let seen = second.plane().unwrap().seen();
    assert!(seen.iter().any(|echo| echo.from == ip("192.168.88.10")), "{seen:?}");
}

#[tokio::test]
async fn status_tells_what_is_there_with_and_without_a_site_config() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    let instance = Subject::Instance("acme".parse().unwrap());
    for subject in [Subject::Only, instance, Subject::Site(Box::new(world.site().load()))] {
        let run = world.status(subject).await;
        run.assert_result("converged");
        let status = &run.result["status"];
        assert_eq!(status["instance"], "acme");
        assert_eq!(status["interface"]["running"], true);
        assert_eq!((&status["probe"]["received"], &status["probe"]["loss_percent"]), (&5.into(), &0.into()));
        assert!(status["peer"]["handshake_age_secs"].is_u64() && status["peer"]["rx_bytes"].as_u64().unwrap() > 0);
        assert_eq!(status["advertised"], serde_json::json!(texts(&["192.168.88.0/24"])));
        assert_eq!(status["reachable"], serde_json::json!(texts(&["10.99.0.0/24", "192.168.89.0/24"])));
    }
}
