//! Dropping a call cancels it on the router and leaves the connection usable.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use sitepeer::routeros::{Client, Command};

use crate::fake::{Fake, pair};

/// Answers a cancelled command as RouterOS 7.23.1 does, and everything else at once.
async fn serve(mut router: Fake) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(command) = router.hear().await {
        let tag = format!(".tag={}", std::str::from_utf8(command.tag().unwrap()).unwrap());
        let path = String::from_utf8(command.first().to_vec()).unwrap();
        match path.as_str() {
            "/interface/listen" => {
                for _ in 0..3 {
                    router.say(&["!re", &tag, "=name=ether1"]).await;
                }
            }
            "/cancel" => {
                let victim = format!(".tag={}", std::str::from_utf8(command.attr("tag").unwrap()).unwrap());
                router.say(&["!re", &victim, "=name=late"]).await;
                router.say(&["!trap", &victim, "=category=2", "=message=interrupted"]).await;
                router.say(&["!done", &tag]).await;
                router.say(&["!trap", &victim, "=message=failure: late"]).await;
                router.say(&["!done", &victim]).await;
            }
            _ => {
                router.say(&["!re", &tag, "=name=fresh"]).await;
                router.say(&["!done", &tag]).await;
            }
        }
        heard.push(path);
    }
    heard
}

/// The connection still answers, and with nobody else's rows.
async fn assert_usable(client: &Client) {
    let reply = client.call(&Command::new("/interface/print")).await.unwrap();
    let names: Vec<_> = reply.rows.iter().map(|row| row.text("name").unwrap().into_owned()).collect();
    assert_eq!(names, ["fresh"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_after_any_number_of_polls_leaves_the_connection_usable() {
    for polls in 0..12 {
        let (client, router) = pair();
        let router = tokio::spawn(serve(router));
        {
            let command = Command::new("/interface/listen");
            let mut call = pin!(client.call(&command));
            for _ in 0..polls {
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                tokio::task::yield_now().await;
            }
        }
        assert_usable(&client).await;
        assert_usable(&client).await;
        drop(client);
        let heard = router.await.unwrap();
        let count = |path: &str| heard.iter().filter(|heard| *heard == path).count();
        assert_eq!(count("/cancel"), count("/interface/listen"), "after {polls} polls: {heard:?}");
        assert_eq!(count("/interface/print"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_dropped_after_any_number_of_rows_leaves_the_connection_usable() {
    for rows in 0..=3 {
        let (client, router) = pair();
        let router = tokio::spawn(serve(router));
        let mut call = client.stream(&Command::new("/interface/listen")).await.unwrap();
        for _ in 0..rows {
            assert_eq!(call.next().await.unwrap().unwrap().get("name"), Some(&b"ether1"[..]));
        }
        drop(call);
        assert_usable(&client).await;
        drop(client);
        assert!(router.await.unwrap().len() <= 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_not_used_again_before_its_done() {
    let (client, mut router) = pair();
    let mut call = client.stream(&Command::new("/interface/listen")).await.unwrap();
    let first = router.tag().await;
    router.say(&["!re", &first, "=name=ether1"]).await;
    call.next().await.unwrap().unwrap();
    drop(call);
    let cancel = router.hear().await.unwrap();
    assert_eq!(cancel.first(), b"/cancel");
    assert_eq!(format!(".tag={}", std::str::from_utf8(cancel.attr("tag").unwrap()).unwrap()), first);

    let print = Command::new("/interface/print");
    let (reply, ()) = tokio::join!(client.call(&print), async {
        let second = router.tag().await;
        assert_ne!(first, second);
        router.say(&["!re", &first, "=name=late"]).await;
        router.say(&["!done", &first]).await;
        router.say(&["!re", &second, "=name=right"]).await;
        // Even after its end, a late reply reaches nobody.
        router.say(&["!re", &first, "=name=late"]).await;
        router.say(&["!done", &second]).await;
    });
    let names: Vec<_> = reply.unwrap().rows.iter().map(|row| row.text("name").unwrap().into_owned()).collect();
    assert_eq!(names, ["right"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_ended_is_not_cancelled() {
    let (client, router) = pair();
    let router = tokio::spawn(serve(router));
    let mut call = client.stream(&Command::new("/interface/print")).await.unwrap();
    call.next().await.unwrap().unwrap();
    // The end is there by now, though nobody has looked at it.
    assert_usable(&client).await;
    drop(call);
    assert_usable(&client).await;
    drop(client);
    assert!(!router.await.unwrap().contains(&"/cancel".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn no_row_is_lost_when_a_wait_for_the_next_is_dropped() {
    let (client, mut router) = pair();
    let mut call = client.stream(&Command::new("/interface/listen")).await.unwrap();
    let tag = router.tag().await;
    for number in 0..5 {
        {
            let next = pin!(call.next());
            let polled = next.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
        }
        router.say(&["!re", &tag, &format!("=number={number}")]).await;
        let row = call.next().await.unwrap().unwrap();
        assert_eq!(row.text("number").as_deref(), Some(&*number.to_string()));
    }
}
