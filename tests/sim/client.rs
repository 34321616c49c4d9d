//! The project's own client against the simulated device: TLS, the old login, and a connection that is late.

use sitepeer::domain::Secret;
use sitepeer::routeros::target::{Access, Deadlines, Plaintext, connect};
use sitepeer::routeros::tls::Trust;
use sitepeer::routeros::{Client, Command};
use sitepeer::sim::{LoginMethod, SimRouter, SimUser};

use crate::talk::start;

async fn login(url: &str, trust: Trust, password: &str) -> Client {
    let access = Access {
        url: url.parse().unwrap(),
        password: Secret::new(password.into()),
        trust,
        plaintext: Plaintext::Refuse,
        deadlines: Deadlines::default(),
    };
    connect(&access).await.unwrap()
}

fn pin(router: &SimRouter) -> Trust {
    let digits = router.fingerprint().unwrap().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Trust::Pin(format!("sha256:{digits}").parse().unwrap())
}

async fn identity(client: &Client) -> String {
    let reply = client.call(&Command::new("/system/identity/print")).await.unwrap();
    reply.rows[0].text("name").unwrap().into_owned()
}

#[tokio::test]
async fn api_ssl_shows_the_certificate_whose_fingerprint_it_tells() {
    let router = start(|options| options.identity = "branch".into()).await;
    let address = router.api_ssl_addr().unwrap();
    let client = login(&format!("apis://admin@{address}"), pin(&router), "").await;
    assert_eq!(identity(&client).await, "branch");
}

#[tokio::test]
async fn the_old_login_lets_in_who_answers_the_challenge() {
    let router = start(|options| {
        options.login = LoginMethod::Challenge;
        options.users =
            vec![SimUser { name: "admin".into(), password: Secret::new("pass".into()), group: "full".into() }];
    })
    .await;
    let client = login(&format!("api://admin@{}", router.api_addr()), Trust::None, "pass").await;
    assert_eq!(identity(&client).await, "MikroTik");
}

#[tokio::test]
async fn a_connection_over_tls_survives_a_late_and_chopped_link() {
    let router = start(|options| {
        options.faults = ["latency=10", "one-byte-segments"].map(|f| f.parse().unwrap()).into();
    })
    .await;
    let address = router.api_ssl_addr().unwrap();
    let client = login(&format!("apis://admin@{address}"), pin(&router), "").await;
    assert_eq!(identity(&client).await, "MikroTik");
}
