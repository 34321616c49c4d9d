//! A real tunnel behind the rows: handshake, counters and pings as the API shows them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sitepeer::sim::plane::{HubEnd, HubOptions, HubPeer};
use sitepeer::sim::{Fault, SimRouter};
use sitepeer::wireguard::keys::generate_private;
use tokio::time::Instant;

use crate::talk::{Fields, Talk, start};

/// A handshake takes milliseconds; one that is lost is tried again after five seconds.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(20);

async fn hub() -> HubEnd {
    let options = HubOptions::new(generate_private().unwrap(), vec!["10.99.0.1/24".parse().unwrap()]);
    HubEnd::start(options).await.unwrap()
}

/// Puts a site peer's rows on the device and its key on the hub.
async fn provision(talk: &mut Talk, hub: &HubEnd, endpoint: &str) {
    talk.ask("/interface/wireguard/add", &["=name=site"]).await;
    let key = talk.field("/interface/wireguard", "?name=site", "public-key").await.unwrap();
    let public_key = STANDARD.decode(key).unwrap().try_into().unwrap();
    let allowed = vec!["10.99.0.2/32".parse().unwrap(), "192.168.88.0/24".parse().unwrap()];
    hub.set_peer(HubPeer { public_key, preshared_key: None, allowed }).await.unwrap();
    talk.ask("/ip/address/add", &["=address=10.99.0.2/24", "=interface=site"]).await;
    let hub_key = format!("=public-key={}", STANDARD.encode(hub.public_key()));
    let host = format!("=endpoint-address={endpoint}");
    let port = format!("=endpoint-port={}", hub.endpoint().port());
    let words =
        ["=interface=site", "=allowed-address=10.99.0.0/24", "=persistent-keepalive=25s", &hub_key, &host, &port];
    let reply = talk.ask("/interface/wireguard/peers/add", &words).await;
    assert!(reply.traps.is_empty(), "{reply:?}");
}

async fn peer(talk: &mut Talk) -> Fields {
    talk.ask("/interface/wireguard/peers/print", &["?interface=site"]).await.rows.remove(0)
}

async fn handshake(talk: &mut Talk) -> Fields {
    let deadline = Instant::now() + HANDSHAKE_DEADLINE;
    loop {
        let row = peer(talk).await;
        if row.contains_key("last-handshake") {
            return row;
        }
        assert!(Instant::now() < deadline, "no handshake: {row:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_peer_shows_its_handshake_and_a_ping_goes_through() {
    let hub = hub().await;
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    provision(&mut talk, &hub, "127.0.0.1").await;
    let row = handshake(&mut talk).await;
    assert_eq!(row["current-endpoint-address"], "127.0.0.1");
    assert_eq!(row["current-endpoint-port"], hub.endpoint().port().to_string());
    let rows = talk.ask("/tool/ping", &["=address=10.99.0.1", "=count=2", "=interval=50ms"]).await.rows;
    assert_eq!((rows.len(), rows[1]["received"].as_str()), (2, "2"), "{rows:?}");
    let row = peer(&mut talk).await;
    assert!(row["rx"].parse::<u64>().unwrap() > 0 && row["tx"].parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_device_behind_its_firewall_lets_its_lan_reach_the_hub() {
    let hub = hub().await;
    let host = "192.168.88.10".parse().unwrap();
    let router = start(|options| options.lan_hosts = vec![host]).await;
    let mut talk = Talk::admin(&router).await;
    provision(&mut talk, &hub, "127.0.0.1").await;
    handshake(&mut talk).await;
    let summary = router.plane().unwrap().lan_ping(host, "10.99.0.1".parse().unwrap(), 3).await;
    assert_eq!(summary.received, 3, "{summary:?}");
}

#[tokio::test]
async fn a_name_is_looked_up_again_when_the_endpoint_is_set_anew() {
    let hub = hub().await;
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    provision(&mut talk, &hub, "hub.example.net").await;
    assert!(!peer(&mut talk).await.contains_key("last-handshake"));
    router.plane().unwrap().set_name("hub.example.net", Some("127.0.0.1".parse().unwrap())).await.unwrap();
    let id = peer(&mut talk).await[".id"].clone();
    let again = [format!("=.id={id}"), "=endpoint-address=hub.example.net".to_owned()];
    talk.ask("/interface/wireguard/peers/set", &[&again[0], &again[1]]).await;
    handshake(&mut talk).await;
}

async fn with_tunnel(faults: Vec<Fault>) -> (HubEnd, SimRouter, Talk, Fields) {
    let hub = hub().await;
    let router = start(|options| options.faults = faults).await;
    let mut talk = Talk::admin(&router).await;
    provision(&mut talk, &hub, "127.0.0.1").await;
    let row = handshake(&mut talk).await;
    (hub, router, talk, row)
}

#[tokio::test]
async fn setting_allowed_addresses_drops_the_session_only_with_the_fault() {
    for (faults, drops) in [(vec![], false), (vec![Fault::DropSessionOnSet], true)] {
        let (hub, _router, mut talk, row) = with_tunnel(faults).await;
        hub.set_black_hole(true);
        let id = format!("=.id={}", row[".id"]);
        talk.ask("/interface/wireguard/peers/set", &[&id, "=allowed-address=10.99.0.0/24,10.98.0.0/24"]).await;
        assert_eq!(!peer(&mut talk).await.contains_key("last-handshake"), drops);
    }
}

#[tokio::test]
async fn a_disabled_tunnel_is_not_running_and_answers_no_ping() {
    let (_hub, _router, mut talk, _) = with_tunnel(vec![]).await;
    assert_eq!(talk.field("/interface", "?name=site", "running").await.as_deref(), Some("true"));
    talk.ask("/interface/wireguard/disable", &["=numbers=site"]).await;
    assert_eq!(talk.field("/interface", "?name=site", "running").await.as_deref(), Some("false"));
    let rows = talk.ask("/tool/ping", &["=address=10.99.0.1", "=count=1", "=interval=50ms"]).await.rows;
    assert_eq!(rows[0]["received"], "0", "{rows:?}");
}

#[tokio::test]
async fn a_reboot_begins_tunnels_anew() {
    let (_hub, router, mut talk, _) = with_tunnel(vec![]).await;
    router.reboot().await;
    assert!(talk.next().await.is_none_or(|r| r.is_err()));
    let deadline = Instant::now() + HANDSHAKE_DEADLINE;
    while tokio::net::TcpStream::connect(router.api_addr()).await.is_err() {
        assert!(Instant::now() < deadline, "the device came back");
        tokio::task::yield_now().await;
    }
    let mut talk = Talk::admin(&router).await;
    handshake(&mut talk).await;
}
