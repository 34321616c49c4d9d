//! Many calls on one connection.

use sitepeer::routeros::{
    CallError, Command, client::MAX_SENT_BYTES, command::MAX_SENT_WORD_BYTES, connection::MAX_OUTSTANDING,
};

use crate::fake::{encode, pair};

#[tokio::test(start_paused = true)]
async fn replies_find_their_calls_however_they_are_interleaved() {
    let (client, mut router) = pair();
    let serve = async {
        let tags = [router.tag().await, router.tag().await, router.tag().await];
        let mut bytes = Vec::new();
        for round in 0..50 {
            for (index, tag) in tags.iter().enumerate() {
                if round % (index + 1) == 0 {
                    bytes.extend(encode(&["!re", &format!("=call={index}"), &format!("=round={round}"), tag]));
                }
            }
        }
        for tag in tags.iter().rev() {
            bytes.extend(encode(&["!done", tag]));
        }
        // In pieces that respect nothing.
        for piece in bytes.chunks(37) {
            router.raw(piece).await;
            tokio::task::yield_now().await;
        }
        router
    };
    let print = Command::new("/ip/address/print");
    let (a, b, c, _router) = tokio::join!(client.call(&print), client.call(&print), client.call(&print), serve);
    for (index, reply) in [a, b, c].into_iter().enumerate() {
        let rows = reply.unwrap().rows;
        assert_eq!(rows.len(), 50_usize.div_ceil(index + 1));
        assert!(rows.iter().all(|row| row.text("call").as_deref() == Some(&index.to_string())));
        assert!(rows.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[tokio::test(start_paused = true)]
async fn commands_sent_together_are_one_round_trip() {
    let (client, router) = pair();
    tokio::spawn(router.agree());
    let print = Command::new("/ip/address/print");
    assert_eq!(client.round_trips(), 0);
    let (a, b, c) = tokio::join!(client.call(&print), client.call(&print), client.call(&print));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(client.round_trips(), 1);
    client.call(&print).await.unwrap();
    client.call(&print).await.unwrap();
    assert_eq!(client.round_trips(), 3);
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_may_be_outstanding_wait_their_turn() {
    let (client, mut router) = pair();
    let calls: Vec<_> = (0..MAX_OUTSTANDING + 50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(&Command::new("/x")).await.map(drop) })
        })
        .collect();
    let mut tags = Vec::new();
    for _ in 0..MAX_OUTSTANDING {
        tags.push(router.tag().await);
    }
    let next = tokio::time::timeout(std::time::Duration::from_secs(1), router.hear()).await;
    assert!(next.is_err(), "nothing more is sent while {MAX_OUTSTANDING} are outstanding");
    for tag in tags {
        router.say(&["!done", &tag]).await;
    }
    tokio::spawn(router.agree());
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_too_long_for_a_router_is_not_sent() {
    let (client, router) = pair();
    tokio::spawn(router.agree());
    let long_word = Command::new("/file/set").attr("contents", vec![b'x'; MAX_SENT_WORD_BYTES]);
    let mut long = Command::new("/x");
    for _ in 0..5 {
        long = long.attr("a", vec![b'x'; MAX_SENT_WORD_BYTES - 3]);
    }
    for (command, limit) in [(long_word, MAX_SENT_WORD_BYTES), (long, MAX_SENT_BYTES)] {
        let error = client.call(&command).await.unwrap_err();
        assert!(matches!(error, CallError::CommandTooLong { limit: seen, .. } if seen == limit), "{error:?}");
    }
    client.call(&Command::new("/x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_calls_of_every_clone() {
    let (client, mut router) = pair();
    let clone = client.clone();
    let command = Command::new("/interface/listen");
    let (listening, ()) = tokio::join!(clone.call(&command), async {
        router.tag().await;
        client.close().await;
    });
    assert!(matches!(listening, Err(CallError::Closed)));
    assert!(matches!(clone.call(&command).await, Err(CallError::Closed)));
    assert!(router.hear().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_its_last_handle_and_not_before() {
    let (client, mut router) = pair();
    let mut call = client.stream(&Command::new("/interface/print")).await.unwrap();
    drop(client);
    let tag = router.tag().await;
    router.say(&["!re", &tag, "=name=ether1"]).await;
    router.say(&["!done", &tag]).await;
    assert_eq!(call.next().await.unwrap().unwrap().get("name"), Some(&b"ether1"[..]));
    assert!(call.next().await.is_none());
    assert!(call.done().is_some());
    drop(call);
    assert!(router.hear().await.is_none());
}

#[test]
fn a_commands_secrets_are_not_shown() {
    let command = Command::new("/login").attr("name", "admin").secret("anything", "s3cret").attr("password", "s3cret");
    assert_eq!(format!("{command:?}"), "/login =name=admin =anything=*** =password=***");
}
