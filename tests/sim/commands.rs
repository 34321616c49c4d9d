//! What commands do to rows.

use crate::talk::{Talk, start, version};

const KEY_A: &str = "=public-key=HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const KEY_B: &str = "=public-key=TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

#[tokio::test]
async fn add_returns_the_id_of_a_row_that_print_then_shows() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let id = talk.ask("/interface/wireguard/add", &["=name=wg1", "=comment=ours"]).await.ret.unwrap();
    let rows = talk.ask("/interface/wireguard/print", &["?name=wg1"]).await.rows;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0][".id"].as_str(), rows[0]["mtu"].as_str()), (id.as_str(), "1420"));
    assert_eq!(rows[0]["public-key"].len(), 44);
    assert_eq!(rows[0]["private-key"].len(), 44);
    let seen = talk.ask("/interface/print", &["?type=wg", "?name=wg1", "=.proplist=.id"]).await.rows;
    assert_eq!(seen[0][".id"], id, "an interface has one id in every menu");
}

#[tokio::test]
async fn ids_are_not_used_twice() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let add = ["=list=x", "=address=10.1.1.1"];
    let first = talk.ask("/ip/firewall/address-list/add", &add).await.ret.unwrap();
    let gone = talk.ask("/ip/firewall/address-list/remove", &[&format!("=.id={first}")]).await;
    assert!(gone.traps.is_empty());
    let second = talk.ask("/ip/firewall/address-list/add", &add).await.ret.unwrap();
    assert_ne!(first, second);
}

#[tokio::test]
async fn an_address_brings_its_connected_route_and_takes_it_along() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let add = ["=address=10.99.0.2/24", "=interface=bridge"];
    let id = talk.ask("/ip/address/add", &add).await.ret.unwrap();
    let query = "?dst-address=10.99.0.0/24";
    assert_eq!(talk.field("/ip/route", query, "connect").await.as_deref(), Some("true"));
    assert_eq!(talk.field("/ip/route", query, "active").await.as_deref(), Some("true"));
    talk.ask("/ip/address/remove", &[&format!("=.id={id}")]).await;
    assert!(talk.ask("/ip/route/print", &[query]).await.rows.is_empty());
}

#[tokio::test]
async fn a_rule_is_placed_before_the_row_it_is_told() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let drops = talk.ask("/ip/firewall/filter/print", &["?chain=input", "?action=drop"]).await.rows;
    let before = drops[0][".id"].clone();
    let place = format!("=place-before={before}");
    let id = talk
        .ask("/ip/firewall/filter/add", &["=chain=input", "=protocol=udp", "=dst-port=13231", &place])
        .await
        .ret
        .unwrap();
    let order = |rows: Vec<crate::talk::Fields>| rows.into_iter().map(|r| r[".id"].clone()).collect::<Vec<_>>();
    let ids = order(talk.ask("/ip/firewall/filter/print", &["=.proplist=.id"]).await.rows);
    let at = |id: &str| ids.iter().position(|i| i == id).unwrap();
    assert_eq!(at(&id) + 1, at(&before));
    talk.ask("/ip/firewall/filter/move", &[&format!("=numbers={id}")]).await;
    let ids = order(talk.ask("/ip/firewall/filter/print", &["=.proplist=.id"]).await.rows);
    assert_eq!(ids.last(), Some(&id));
}

#[tokio::test]
async fn values_are_printed_in_routeros_own_form() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/interface/wireguard/add", &["=name=wg1"]).await;
    let peer = ["=interface=wg1", KEY_A, "=allowed-address=10.0.0.1,fd00::/8", "=persistent-keepalive=25"];
    talk.ask("/interface/wireguard/peers/add", &peer).await;
    let row = talk.ask("/interface/wireguard/peers/print", &["?interface=wg1"]).await.rows.remove(0);
    assert_eq!(row["persistent-keepalive"], "25s");
    assert_eq!(row["allowed-address"], "10.0.0.1/32,fd00::/8");
    talk.ask("/ip/firewall/address-list/add", &["=list=x", "=address=10.1.1.1/32", "=disabled=yes"]).await;
    let row = talk.ask("/ip/firewall/address-list/print", &["?list=x"]).await.rows.remove(0);
    assert_eq!((row["address"].as_str(), row["disabled"].as_str()), ("10.1.1.1", "true"));
    talk.ask("/ip/route/add", &["=dst-address=10.5.0.9/16", "=gateway=wg1"]).await;
    assert_eq!(talk.field("/ip/route", "?gateway=wg1", "dst-address").await.as_deref(), Some("10.5.0.0/16"));
}

#[tokio::test]
async fn a_presence_flag_is_empty_when_set_and_absent_when_cleared() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/routing/table/add", &["=name=sites", "=fib="]).await;
    assert_eq!(talk.field("/routing/table", "?name=sites", "fib").await.as_deref(), Some(""));
    talk.ask("/routing/table/set", &["=.id=sites", "=!fib="]).await;
    assert_eq!(talk.field("/routing/table", "?name=sites", "fib").await, None);
}

#[tokio::test]
async fn a_row_is_found_by_its_name_as_well() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    assert!(talk.ask("/interface/set", &["=.id=ether1", "=comment=uplink"]).await.traps.is_empty());
    assert_eq!(talk.field("/interface", "?name=ether1", "comment").await.as_deref(), Some("uplink"));
    assert!(talk.ask("/interface/comment", &["=numbers=ether1", "=comment="]).await.traps.is_empty());
    assert_eq!(talk.field("/interface", "?name=ether1", "comment").await, None);
}

#[tokio::test]
async fn rows_follow_the_new_name_of_an_interface_unless_told_not_to() {
    for follows in [true, false] {
        let router = start(|options| options.rename_follows = follows).await;
        let mut talk = Talk::admin(&router).await;
        talk.ask("/interface/wireguard/set", &["=.id=wg-office", "=name=wg-hq"]).await;
        let expected = if follows { "wg-hq" } else { "wg-office" };
        let peers = talk.ask("/interface/wireguard/peers/print", &[]).await.rows;
        assert_eq!(peers[0]["interface"], expected);
    }
}

#[tokio::test]
async fn what_named_a_removed_interface_stays_and_is_invalid() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let id = talk.ask("/interface/wireguard/print", &["?name=wg-office"]).await.rows[0][".id"].clone();
    talk.ask("/interface/wireguard/remove", &[&format!("=.id={id}")]).await;
    let row = talk.ask("/ip/address/print", &["?address=172.16.50.2/24"]).await.rows.remove(0);
    assert_eq!((row["interface"].as_str(), row["invalid"].as_str()), (id.as_str(), "true"));
    assert!(talk.ask("/ip/route/print", &["?dst-address=172.16.50.0/24"]).await.rows.is_empty());
}

#[tokio::test]
async fn a_list_entry_with_a_timeout_is_dynamic_and_goes_by_itself() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/ip/firewall/address-list/add", &["=list=x", "=address=10.1.1.1", "=timeout=1m"]).await;
    assert_eq!(talk.field("/ip/firewall/address-list", "?list=x", "dynamic").await.as_deref(), Some("true"));
    router.advance(std::time::Duration::from_secs(61));
    assert!(talk.ask("/ip/firewall/address-list/print", &["?list=x"]).await.rows.is_empty());
}

#[tokio::test]
async fn a_route_is_active_only_while_its_gateway_can_be_reached_and_no_nearer_one_exists() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    talk.ask("/ip/route/add", &["=dst-address=10.6.0.0/16", "=gateway=bridge", "=distance=5"]).await;
    talk.ask("/ip/route/add", &["=dst-address=10.6.0.0/16", "=gateway=wg-office", "=distance=1"]).await;
    let active = |rows: Vec<crate::talk::Fields>| {
        rows.iter().filter(|r| r.contains_key("active")).map(|r| r["gateway"].clone()).collect::<Vec<_>>()
    };
    let query = "?dst-address=10.6.0.0/16";
    assert_eq!(active(talk.ask("/ip/route/print", &[query]).await.rows), ["wg-office"]);
    talk.ask("/interface/wireguard/disable", &["=numbers=wg-office"]).await;
    assert_eq!(active(talk.ask("/ip/route/print", &[query]).await.rows), ["bridge"]);
}

#[tokio::test]
async fn the_responder_argument_has_the_name_of_its_version() {
    for (ros, known, unknown) in [("7.16.2", "is-responder", "responder"), ("7.17", "responder", "is-responder")] {
        let router = version(ros).await;
        let mut talk = Talk::admin(&router).await;
        let base = ["=interface=wg-office", "=allowed-address=10.9.0.0/16"];
        let refused =
            talk.ask("/interface/wireguard/peers/add", &[base[0], base[1], KEY_B, &format!("={unknown}=yes")]).await;
        assert_eq!(refused.trap(), format!("unknown parameter {unknown}"), "{ros}");
        let taken =
            talk.ask("/interface/wireguard/peers/add", &[base[0], base[1], KEY_B, &format!("={known}=yes")]).await;
        assert!(taken.traps.is_empty(), "{ros}: {taken:?}");
        let peers = talk.ask("/interface/wireguard/peers/print", &[&format!("?{known}=true")]).await.rows;
        assert_eq!(peers.len(), 1, "{ros}");
    }
}

#[tokio::test]
async fn every_version_prints_every_menu_it_has() {
    for ros in ["6.49.10", "7.9", "7.12", "7.13.5", "7.15.3", "7.16.2", "7.17", "7.18.2", "7.20.8", "7.21.5", "7.24.4"]
    {
        let router = version(ros).await;
        let mut talk = Talk::admin(&router).await;
        for menu in [
            "/interface",
            "/interface/list",
            "/interface/list/member",
            "/interface/bridge",
            "/interface/bridge/port",
            "/interface/ethernet",
            "/ip/address",
            "/ip/route",
            "/ip/firewall/filter",
            "/ip/firewall/nat",
            "/ip/service",
            "/ip/dns",
            "/ip/dhcp-client",
            "/ipv6/address",
            "/ipv6/settings",
            "/ipv6/firewall/filter",
            "/ipv6/firewall/address-list",
            "/system/resource",
            "/system/identity",
            "/system/clock",
            "/system/package",
            "/user",
            "/user/group",
            "/user/active",
        ] {
            let reply = talk.ask(&format!("{menu}/print"), &[]).await;
            assert!(reply.traps.is_empty() && !reply.rows.is_empty(), "{ros} {menu}: {reply:?}");
        }
        let peers = talk.ask("/interface/wireguard/peers/print", &[]).await;
        assert_eq!(peers.rows.len(), usize::from(ros.starts_with('7')), "{ros}");
    }
}

#[tokio::test]
async fn adding_rows_and_removing_them_leaves_the_state_as_it_was() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let before = router.state(sitepeer::sim::StateOptions::default());
    let rows: [(&str, &[&str]); 4] = [
        ("/interface/wireguard", &["=name=wg1"]),
        ("/ip/address", &["=address=10.99.0.2/24", "=interface=wg1"]),
        ("/ip/route", &["=dst-address=10.5.0.0/16", "=gateway=wg1"]),
        ("/ip/firewall/filter", &["=chain=forward", "=in-interface=wg1"]),
    ];
    let mut ids = Vec::new();
    for (menu, words) in rows {
        ids.push((menu, talk.ask(&format!("{menu}/add"), words).await.ret.unwrap()));
    }
    let between = router.state(sitepeer::sim::StateOptions::default());
    assert_eq!(before.difference(&between).len(), 4);
    for (menu, id) in ids.iter().rev() {
        talk.ask(&format!("{menu}/remove"), &[&format!("=.id={id}")]).await;
    }
    let after = router.state(sitepeer::sim::StateOptions::default());
    assert_eq!(before.difference(&after), Vec::<String>::new());
    assert!(before == after);
}
