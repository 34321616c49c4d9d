//! Logging in, and being refused.

use sitepeer::routeros::{
    Client, ConnectError, connect,
    login::LoginError,
    target::{Access, FailureClass},
};
use tokio::net::TcpStream;

use crate::fake::{Fake, accept, listen};

/// Plays a router that answers `/login` sentence by sentence.
async fn log_in<F>(serve: impl FnOnce(Fake<TcpStream>) -> F) -> (Result<Client, ConnectError>, Access)
where
    F: Future<Output = Fake<TcpStream>>,
{
    let (listener, access) = listen("api").await;
    let (client, _router) = tokio::join!(connect(&access), async { serve(accept(&listener).await).await });
    (client, access)
}

async fn refuse(message: &str) -> ConnectError {
    let (client, _) = log_in(async |mut router| {
        let tag = router.tag().await;
        router.say(&["!trap", &tag, &format!("=message={message}")]).await;
        router.say(&["!done", &tag]).await;
        router
    })
    .await;
    client.unwrap_err()
}

#[tokio::test]
async fn a_modern_login_is_one_round_trip() {
    let (client, access) = log_in(async |mut router| {
        let login = router.hear().await.unwrap();
        assert_eq!(login.first(), b"/login");
        assert_eq!((login.attr("name"), login.attr("password")), (Some(&b"admin"[..]), Some(&b"bench"[..])));
        let tag = format!(".tag={}", std::str::from_utf8(login.tag().unwrap()).unwrap());
        router.say(&["!done", &tag]).await;
        router
    })
    .await;
    let client = client.unwrap();
    assert_eq!(client.round_trips(), 1);
    assert_eq!(client.peer_addr().port(), access.url.port);
    assert_ne!(client.local_addr(), client.peer_addr());
}

#[tokio::test]
async fn a_router_before_6_43_is_answered_its_challenge() {
    let (client, _) = log_in(async |mut router| {
        let tag = router.tag().await;
        router.say(&["!done", &tag, "=ret=0102030405060708090a0b0c0d0e0f10"]).await;
        let second = router.hear().await.unwrap();
        // printf '\0bench\1\2\3…\20' | md5sum
        assert_eq!(second.attr("response"), Some(&b"001ad29be5c1419c4d7ef0ec9e648aff3c"[..]));
        assert_eq!((second.attr("name"), second.attr("password")), (Some(&b"admin"[..]), None));
        let tag = format!(".tag={}", std::str::from_utf8(second.tag().unwrap()).unwrap());
        router.say(&["!done", &tag]).await;
        router
    })
    .await;
    assert_eq!(client.unwrap().round_trips(), 2);
}

#[tokio::test]
async fn a_router_may_not_challenge_twice_nor_with_anything() {
    for challenges in [&["0102030405060708090a0b0c0d0e0f10"; 2][..], &["short"], &[""]] {
        let (client, _) = log_in(async |mut router| {
            for challenge in challenges {
                let tag = router.tag().await;
                router.say(&["!done", &tag, &format!("=ret={challenge}")]).await;
            }
            router
        })
        .await;
        let error = client.unwrap_err();
        assert!(matches!(error, ConnectError::Login(LoginError::Strange)), "{error:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_says_so_in_the_routers_words() {
    for words in ["invalid user name or password (6)", "cannot log in"] {
        let error = refuse(words).await;
        assert!(matches!(error, ConnectError::LoginRefused(_)), "{error:?}");
        assert_eq!(error.class(), FailureClass::Unreachable);
        assert!(error.to_string().ends_with(words));
        assert!(error.hint().unwrap().contains("check user and password"));
    }
}

#[tokio::test]
async fn a_silent_radius_server_is_not_taken_for_a_wrong_password() {
    let hint = refuse("could not authenticate - radius timeout").await.hint().unwrap();
    assert!(hint.contains("/radius") && !hint.contains("check user"), "{hint}");
}

#[tokio::test]
async fn a_user_without_the_api_policy_is_told_which() {
    let error = refuse("not enough permissions (9)").await;
    assert!(matches!(error, ConnectError::NoApiPolicy(_)), "{error:?}");
    assert!(error.hint().unwrap().contains("policy=api"));
}

#[tokio::test]
async fn words_nobody_knows_are_shown_as_they_came_but_harmless() {
    let error = refuse("no more sessions\x1b[31m for you").await;
    assert!(error.to_string().contains("no more sessions\\u{1b}[31m for you"), "{error}");
    assert!(error.hint().unwrap().contains("max-sessions"));
}

#[tokio::test]
async fn a_fatal_in_answer_to_the_login_is_shown() {
    let (client, _) = log_in(async |mut router| {
        router.tag().await;
        router.say(&["!fatal", "not logged in"]).await;
        router
    })
    .await;
    let error = client.unwrap_err();
    assert!(matches!(&error, ConnectError::TurnedAway { words } if words == "not logged in"), "{error:?}");
    assert!(error.hint().is_some());
}
