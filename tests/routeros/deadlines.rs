//! Nothing is waited for without end.

use std::time::Duration;

use sitepeer::routeros::{
    CallError, Command, Retry,
    client::{COMMAND_DEADLINE, WHOLE_ANSWER_DEADLINES},
};
use tokio::time::{Instant, sleep};

use crate::fake::{ends, pair};

#[tokio::test(start_paused = true)]
async fn a_router_that_stops_answering_is_waited_for_no_longer_than_the_deadline() {
    let (client, mut router) = pair();
    let began = Instant::now();
    let print = Command::new("/ip/address/print");
    let (reply, ()) = tokio::join!(client.call(&print), async {
        let tag = router.tag().await;
        sleep(Duration::from_secs(20)).await;
        router.say(&["!re", &tag, "=a=b"]).await;
        let cancel = router.hear().await.unwrap();
        assert_eq!(cancel.first(), b"/cancel");
    });
    let error = reply.unwrap_err();
    assert!(matches!(error, CallError::Deadline { after } if after == COMMAND_DEADLINE));
    assert_eq!(error.retry(), Retry::Later);
    // It began anew with the row.
    assert_eq!(began.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_leaves_the_connection_usable() {
    let (client, mut router) = pair();
    let short = client.with_deadline(Duration::from_secs(2));
    let print = Command::new("/ip/address/print");
    assert!(matches!(short.call(&print).await, Err(CallError::Deadline { .. })));
    let late = router.tag().await;
    let cancel = router.tag().await;
    let (reply, ()) = tokio::join!(client.call(&print), async {
        router.say(&["!done", &late]).await;
        router.say(&["!done", &cancel]).await;
        let tag = router.tag().await;
        router.say(&["!done", &tag]).await;
    });
    reply.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_call_has_the_deadline_of_its_handle() {
    let (client, _router) = pair();
    let began = Instant::now();
    let (short, long) = (client.with_deadline(Duration::from_secs(1)), client.with_deadline(Duration::from_secs(5)));
    let print = Command::new("/ip/address/print");
    let timed = |outcome: Result<_, CallError>| (outcome.map(drop).unwrap_err(), began.elapsed().as_secs());
    let (short, long) =
        tokio::join!(async { timed(short.call(&print).await) }, async { timed(long.call(&print).await) });
    assert!(matches!(short, (CallError::Deadline { .. }, 1)), "{short:?}");
    assert!(matches!(long, (CallError::Deadline { .. }, 5)), "{long:?}");
}

#[tokio::test(start_paused = true)]
async fn a_router_that_drips_cannot_hold_a_collected_call_for_ever() {
    let (client, mut router) = pair();
    let client = client.with_deadline(Duration::from_secs(1));
    let drip = tokio::spawn(async move {
        let tag = router.tag().await;
        for _ in 0..1_000 {
            router.say(&["!re", &tag, "=a=b"]).await;
            sleep(Duration::from_millis(900)).await;
        }
    });
    let began = Instant::now();
    let error = client.call(&Command::new("/ip/address/print")).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }));
    assert_eq!(began.elapsed().as_secs(), u64::from(WHOLE_ANSWER_DEADLINES));
    drip.abort();
}

#[tokio::test(start_paused = true)]
async fn words_that_are_no_progress_do_not_put_the_deadline_off() {
    let (client, mut router) = pair();
    let client = client.with_deadline(Duration::from_secs(1));
    let chat = tokio::spawn(async move {
        let tag = router.tag().await;
        for _ in 0..100 {
            router.say(&["!empty", &tag]).await;
            router.say(&["!news", &tag]).await;
            sleep(Duration::from_millis(100)).await;
        }
    });
    let began = Instant::now();
    let mut call = client.stream(&Command::new("/interface/listen")).await.unwrap();
    assert!(matches!(call.next().await, Some(Err(CallError::Deadline { .. }))));
    assert_eq!(began.elapsed().as_secs(), 1);
    chat.abort();
}

#[tokio::test(start_paused = true)]
async fn a_router_that_reads_nothing_is_waited_for_no_longer_than_the_deadline() {
    let (near, _far) = tokio::io::duplex(64);
    let client = sitepeer::routeros::Client::over(near, ends());
    let long = Command::new("/file/set").attr("contents", vec![b'x'; 4_096]);
    let began = Instant::now();
    assert!(matches!(client.call(&long).await, Err(CallError::Deadline { .. })));
    assert_eq!(began.elapsed(), COMMAND_DEADLINE);
    // Closing does not wait for it either.
    client.close().await;
    assert!(began.elapsed() < COMMAND_DEADLINE + Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn listening_may_wait_for_ever() {
    let (client, mut router) = pair();
    let mut call = client.with_deadline(Duration::MAX).stream(&Command::new("/interface/listen")).await.unwrap();
    let tag = router.tag().await;
    let (row, ()) = tokio::join!(call.next(), async {
        sleep(Duration::from_secs(100_000)).await;
        router.say(&["!re", &tag, "=name=ether1"]).await;
    });
    row.unwrap().unwrap();
}
