//! Scripts and the scheduler run by themselves, and sessions can be cut off.

use std::time::Duration;

use sitepeer::sim::{SessionPath, SimRouter, StateOptions, Through};

use crate::talk::{Talk, start};

const SET: &str = "/ip/route/set [/ip/route/find where comment=\"mark\"] distance=9";

/// A router with a route, a script that changes it, and a timer of 45 s that runs the script.
async fn armed(faults: &[&str], start_time: Option<&str>, interval: &str) -> SimRouter {
    let router = start(|options| options.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect()).await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/ip/route/add", &["=dst-address=10.0.0.0/8", "=gateway=bridge", "=comment=mark"]).await;
    talk.ask("/system/script/add", &["=name=s", &format!("=source={SET}")]).await;
    let interval = format!("=interval={interval}");
    let start = start_time.map(|time| format!("=start-time={time}"));
    let words: Vec<&str> = ["=name=t", "=on-event=s", &interval].into_iter().chain(start.as_deref()).collect();
    talk.ask("/system/scheduler/add", &words).await;
    router
}

fn distance(router: &SimRouter) -> String {
    let state = router.state(StateOptions::default());
    let row = state.rows("/ip/route").iter().find(|row| row.get("comment").is_some_and(|c| c == b"mark")).unwrap();
    String::from_utf8(row["distance"].clone()).unwrap()
}

#[tokio::test]
async fn a_timer_runs_first_after_one_interval_with_nobody_connected() {
    let router = armed(&[], None, "45s").await;
    router.pass_time(Duration::from_secs(44)).await;
    assert_eq!(distance(&router), "1");
    router.pass_time(Duration::from_secs(2)).await;
    assert_eq!(distance(&router), "9", "{:?}", router.log());
}

#[tokio::test]
async fn after_a_reboot_a_timer_counts_anew_or_goes_on_or_waits_for_its_date() {
    for (faults, start_time, interval, after_46) in [
        (&[][..], None, "45s", "9"),
        (&["timer-keeps-count"], None, "45s", "9"),
        (&["timer-waits-for-date"], None, "45s", "1"),
        (&["timer-waits-for-date"], Some("startup"), "0s", "9"),
    ] {
        let router = armed(faults, start_time, interval).await;
        router.pass_time(Duration::from_secs(20)).await;
        router.reboot().await;
        let at_start = start_time.is_some();
        assert_eq!(distance(&router), if at_start { "9" } else { "1" }, "{faults:?}");
        router.pass_time(Duration::from_secs(30)).await;
        let goes_on = at_start || faults == ["timer-keeps-count"];
        assert_eq!(distance(&router), if goes_on { "9" } else { "1" }, "{faults:?}");
        router.pass_time(Duration::from_secs(16)).await;
        assert_eq!(distance(&router), after_46, "{faults:?}");
    }
}

#[tokio::test]
async fn device_mode_refuses_an_entry_or_never_runs_it() {
    let router = armed(&["scheduler-inactive"], None, "45s").await;
    router.pass_time(Duration::from_secs(100)).await;
    assert_eq!(distance(&router), "1");
    let mut talk = Talk::admin(&router).await;
    let row = &talk.ask("/system/scheduler/print", &[]).await.rows[0];
    assert_eq!(row[".about"], "inactivated, not allowed by device-mode");
    assert_eq!(talk.field("/system/device-mode", "?scheduler", "scheduler").await.unwrap(), "false");
    let router = start(|options| options.faults = vec!["scheduler-refused".parse().unwrap()]).await;
    let refused = Talk::admin(&router).await.ask("/system/scheduler/add", &["=name=t"]).await;
    assert_eq!(refused.trap(), "failure: not allowed by device-mode");
}

#[tokio::test]
async fn a_script_run_by_hand_stops_at_its_error_and_what_was_done_stays() {
    let router = armed(&[], None, "1h").await;
    let mut talk = Talk::admin(&router).await;
    let source = format!("=source={SET}\n/ip/address/add address=1.2.3.4/24 interface=nowhere\n/ip/route/remove *1");
    talk.ask("/system/script/set", &["=.id=s", &source]).await;
    let trap = talk.ask("/system/script/run", &["=.id=s"]).await;
    assert!(trap.trap().ends_with("input does not match any value of interface (line 2)"), "{trap:?}");
    assert_eq!(distance(&router), "9");
}

#[tokio::test]
async fn an_entry_without_the_rights_does_nothing() {
    let router = armed(&[], None, "45s").await;
    Talk::admin(&router).await.ask("/system/scheduler/set", &["=.id=t", "=policy=read"]).await;
    router.pass_time(Duration::from_secs(46)).await;
    assert_eq!(distance(&router), "1");
    assert!(router.log()[0].ends_with("not enough permissions"), "{:?}", router.log());
}

#[tokio::test]
async fn a_session_whose_address_goes_is_cut_off_until_it_is_back() {
    let router = start(|_| {}).await;
    let (source, address) = ("192.168.88.10".parse().unwrap(), "192.168.88.1".parse().unwrap());
    router.come_from(Some(SessionPath { source, address, through: Through::Interface("bridge".into()) }));
    let mut talk = Talk::admin(&router).await;
    assert_eq!(talk.field("/user/active", "?name=admin", "address").await.unwrap(), "192.168.88.10");
    let id = talk.field("/ip/address", "?interface=bridge", ".id").await.unwrap();
    talk.send("/ip/address/set", &[&format!("=.id={id}"), "=disabled=yes"]).await;
    while router.is_reachable() {
        tokio::task::yield_now().await;
    }
    let mut another = Talk::connect(router.api_addr()).await;
    another.send("/login", &["=name=admin", "=password="]).await;
    router.operator("/ip/address/set", &[(".id", id.as_bytes()), ("disabled", b"no")]).await.unwrap();
    assert_eq!(another.sentence().await, ["!done"], "what was sent again got through");
    assert!(talk.next().await.is_none_or(|next| next.is_err()), "the answer never got out");
}
