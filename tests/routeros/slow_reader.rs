//! One slow reader: alone it slows the router down and loses nothing; with others it is the one that goes.

use std::time::Duration;

use sitepeer::routeros::{
    CallError, Command,
    connection::{HARD_QUEUED_BYTES, SOFT_QUEUED_BYTES},
};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::fake::{encode, pair};

const ROW_BYTES: usize = 120;

fn row(tag: &str, number: usize) -> Vec<u8> {
    let filler = "x".repeat(ROW_BYTES - 40);
    encode(&["!re", tag, &format!("=n={number}"), &format!("=filler={filler}")])
}

/// More rows than may ever be queued.
const MANY: usize = 4 * HARD_QUEUED_BYTES / ROW_BYTES;

#[tokio::test(start_paused = true)]
async fn alone_it_holds_the_router_back_and_loses_nothing() {
    let (client, mut router) = pair();
    let mut call = client.stream(&Command::new("/big/print")).await.unwrap();
    let tag = router.tag().await;
    let mut sent = 0;
    let mut rows = (0..MANY).map(|number| row(&tag, number));
    // Nobody reads: at some point the router cannot write any more.
    let mut stuck = Vec::new();
    for bytes in rows.by_ref() {
        if timeout(Duration::from_secs(5), router.stream.write_all(&bytes)).await.is_err() {
            stuck = bytes;
            break;
        }
        sent += bytes.len();
    }
    assert!(!stuck.is_empty(), "the router was never held back");
    // The queue, the read buffer and the pipe: not more.
    assert!(sent < SOFT_QUEUED_BYTES + (512 << 10) + (1 << 20) + ROW_BYTES, "{sent} bytes were taken in");
    // What was cut by the timeout cannot be told apart: this test only counts what came before.
    let mut seen = 0;
    while let Ok(Some(row)) = timeout(Duration::from_secs(5), call.next()).await {
        assert_eq!(row.unwrap().text("n").as_deref(), Some(&*seen.to_string()));
        seen += 1;
    }
    assert!(seen * ROW_BYTES >= SOFT_QUEUED_BYTES, "only {seen} rows");
}

#[tokio::test(start_paused = true)]
async fn a_reader_slower_than_the_router_gets_every_row_of_a_long_list() {
    let (client, mut router) = pair();
    let mut call = client.stream(&Command::new("/big/print")).await.unwrap();
    let serve = async {
        let tag = router.tag().await;
        for number in 0..MANY {
            router.raw(&row(&tag, number)).await;
        }
        router.say(&["!done", &tag]).await;
        router
    };
    let read = async {
        let mut seen = 0;
        while let Some(row) = call.next().await {
            assert_eq!(row.unwrap().text("n").as_deref(), Some(&*seen.to_string()));
            seen += 1;
            if seen % 1_000 == 0 {
                // Longer than its own deadline in all: waiting for the reader is not the router's fault.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        seen
    };
    let (_router, seen) = tokio::join!(serve, read);
    assert_eq!(seen, MANY);
    assert!(call.done().is_some());
}

#[tokio::test(start_paused = true)]
async fn with_others_waiting_the_slow_one_is_given_up_and_named() {
    let (client, mut router) = pair();
    let mut slow = client.stream(&Command::new("/big/print")).await.unwrap();
    let big = router.tag().await;
    let other = tokio::spawn({
        let client = client.clone();
        async move { client.call(&Command::new("/small/print")).await }
    });
    let small = router.tag().await;
    let serve = tokio::spawn(async move {
        for number in 0..MANY {
            router.raw(&row(&big, number)).await;
        }
        let cancel = router.hear().await.unwrap();
        assert_eq!(cancel.first(), b"/cancel");
        router.say(&["!re", &small, "=name=other"]).await;
        router.say(&["!done", &small]).await;
        router
    });
    let reply = other.await.unwrap().unwrap();
    assert_eq!(reply.rows.len(), 1);
    let _router = serve.await.unwrap();

    let mut seen = 0;
    let end = loop {
        match slow.next().await {
            Some(Ok(_)) => seen += 1,
            Some(Err(error)) => break error,
            None => panic!("a list that was cut is not a list"),
        }
    };
    assert!(matches!(end, CallError::SlowReader { queued } if queued >= HARD_QUEUED_BYTES), "{end:?}");
    assert!(end.hint().is_some());
    assert!(seen < MANY);
    assert!(slow.next().await.is_none() && slow.done().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_made_while_reading_is_paused_is_answered() {
    let (client, mut router) = pair();
    let _slow = client.stream(&Command::new("/big/print")).await.unwrap();
    let tag = router.tag().await;
    let enough = 2 * SOFT_QUEUED_BYTES / ROW_BYTES;
    for number in 0..enough {
        router.raw(&row(&tag, number)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let print = Command::new("/small/print");
    let (reply, ()) = tokio::join!(client.call(&print), async {
        let tag = router.tag().await;
        router.say(&["!done", &tag]).await;
    });
    reply.unwrap();
}
