//! The log in memory: what stands in it, how much of it is kept, and what never does.

use crate::talk::{Talk, start, version};

const SECRET: &str = "sDUJeESFxvOaXoyGZ3Lg0CLyx9sLmqtuXxUCkvjYr1M=";

#[tokio::test]
async fn a_change_is_told_with_who_made_it_and_never_with_a_secret() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let key = format!("=private-key={SECRET}");
    assert!(talk.ask("/interface/wireguard/add", &["=name=wg1", &key]).await.traps.is_empty());
    let rows = talk.ask("/log/print", &["?topics=system,info"]).await.rows;
    let told = &rows.last().unwrap()["message"];
    assert!(told.starts_with("wireguard added by api:admin@127.0.0.1 ("), "{told}");
    assert!(told.ends_with("= /interface wireguard add name=wg1 private-key=***)"), "{told}");
    let all = talk.ask("/log/print", &[]).await.rows;
    assert!(all.iter().all(|row| !row["message"].contains(SECRET)), "{all:?}");
    assert!(all.iter().any(|row| row["message"] == "user admin logged in from 127.0.0.1 via api"), "{all:?}");
}

#[tokio::test]
async fn an_older_release_tells_the_user_alone() {
    let router = version("7.12.1").await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/ip/firewall/address-list/add", &["=list=x", "=address=10.1.1.1"]).await;
    let rows = talk.ask("/log/print", &["?topics=system,info"]).await.rows;
    assert_eq!(rows.last().unwrap()["message"], "address-list added by admin");
}

#[tokio::test]
async fn a_thousand_lines_are_kept_and_a_fault_keeps_more() {
    for (fault, kept) in [(None, 1000), (Some("log-rows=3000"), 4000)] {
        let router =
            start(|options| options.faults = fault.map(|fault: &str| fault.parse().unwrap()).into_iter().collect())
                .await;
        let mut talk = Talk::admin(&router).await;
        for n in 0..1100 {
            let id = talk.ask("/system/identity/set", &[&format!("=name=router-{n}")]).await;
            assert!(id.traps.is_empty());
        }
        let rows = talk.ask("/log/print", &["=.proplist=message"]).await.rows;
        assert_eq!(rows.len(), kept, "{fault:?}");
        assert!(rows.last().unwrap()["message"].contains("router-1099"));
    }
}

#[tokio::test]
async fn a_log_that_is_closed_is_refused() {
    let router = start(|options| options.faults = vec!["log-closed".parse().unwrap()]).await;
    let mut talk = Talk::admin(&router).await;
    let refused = talk.ask("/log/print", &[]).await;
    assert!(refused.rows.is_empty() && refused.traps.len() == 1, "{refused:?}");
}
