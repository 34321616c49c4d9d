//! Each refusal, provoked by a command that earns it.

use sitepeer::domain::Secret;
use sitepeer::sim::{SimOptions, SimUser};

use crate::talk::{Talk, start, version};

#[tokio::test]
async fn a_wrong_command_is_refused_in_the_words_of_a_device() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let cases: &[(&str, &[&str], &str)] = &[
        ("/interface/teleport/print", &[], "no such command prefix"),
        ("/ip/address/teleport", &[], "no such command"),
        ("/ip/address/add", &["=adress=10.0.0.1/24"], "unknown parameter adress"),
        ("/ip/address/remove", &["=.id=*FFFF"], "no such item (4)"),
        ("/ip/address/set", &["=.id=*FFFF", "=comment=x"], "no such item (4)"),
        ("/ip/firewall/filter/add", &["=chain=input", "=place-before=*FFFF"], "no such item (4)"),
        (
            "/ip/address/add",
            &["=address=192.168.88.1", "=interface=asdf"],
            "input does not match any value of interface",
        ),
        ("/interface/list/member/add", &["=list=NO", "=interface=bridge"], "input does not match any value of list"),
        (
            "/ip/firewall/filter/add",
            &["=chain=input", "=in-interface-list=NO"],
            "input does not match any value of in-interface-list",
        ),
        ("/ip/firewall/filter/add", &["=chain=input", "=action=allow"], "input does not match any value of action"),
        (
            "/ip/address/add",
            &["=address=10.0.0.1/24", "=interface="],
            "ambiguous value of interface, more than one possible value matches input",
        ),
        ("/ip/address/add", &["=address=ten", "=interface=bridge"], "invalid value for argument address"),
        (
            "/ip/firewall/filter/add",
            &["=chain=input", "=src-mac-address=aa"],
            "invalid value of src-mac-address, mac address required",
        ),
        (
            "/ip/firewall/filter/add",
            &["=chain=input", "=src-address=here"],
            "value of src-address expects range of ip addresses",
        ),
        (
            "/ip/firewall/filter/add",
            &["=chain=input", "=src-address=x-10.0.0.1"],
            "value of src-address must have ip address before '-'",
        ),
        (
            "/interface/wireguard/set",
            &["=.id=wg-office", "=listen-port=70000"],
            "invalid value for argument listen-port",
        ),
        ("/tool/ping", &["=address=nowhere.example", "=count=1"], "failure: resolve failed"),
        (
            "/ping",
            &["=interface=", "=address=192.168.178.6"],
            "ambiguous value of interface, more than one possible value matches input",
        ),
        ("/system/resource/listen", &[], "unknown parameter follow-only"),
        ("/ip/address/add", &["=interface=bridge"], "missing value(s) of argument(s) address"),
        ("/interface/list/remove", &["=.id=all"], "failure: can not change builtin item"),
    ];
    for (path, words, text) in cases {
        assert_eq!(talk.ask(path, words).await.trap(), *text, "{path} {words:?}");
    }
}

#[tokio::test]
async fn what_is_there_already_is_not_added_again() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    let key = talk.field("/interface/wireguard/peers", "?interface=wg-office", "public-key").await.unwrap();
    let key = format!("=public-key={key}");
    let cases: &[(&str, &[&str], &str)] = &[
        ("/ip/address/add", &["=address=192.168.88.1/24", "=interface=bridge"], "failure: already have such address"),
        ("/interface/wireguard/add", &["=name=bridge"], "failure: already have interface with such name"),
        (
            "/interface/wireguard/set",
            &["=.id=wg-office", "=name=ether1"],
            "failure: already have interface with such name",
        ),
        ("/interface/list/add", &["=name=LAN"], "failure: item with such name already exists"),
        (
            "/interface/wireguard/peers/add",
            &["=interface=wg-office", "=allowed-address=10.0.0.0/8", &key],
            "failure: entry already exists",
        ),
        ("/user/add", &["=name=admin", "=group=read"], "failure: user with the same name already exists"),
    ];
    for (path, words, text) in cases {
        assert_eq!(talk.ask(path, words).await.trap(), *text, "{path} {words:?}");
    }
    let entry = ["=list=sites", "=address=10.1.0.0/16"];
    assert!(talk.ask("/ip/firewall/address-list/add", &entry).await.traps.is_empty());
    let again = talk.ask("/ip/firewall/address-list/add", &entry).await;
    assert_eq!(again.trap(), "failure: already have such entry");
    assert!(!again.traps[0].contains_key("category"), "failures have no category");
}

#[tokio::test]
async fn rows_of_routeros_own_refuse_to_be_changed() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    for (menu, query) in [("/ip/address", "?interface=ether1"), ("/ip/firewall/filter", "?dynamic=true")] {
        let id = talk.field(menu, query, ".id").await.unwrap();
        for command in ["remove", "disable"] {
            let reply = talk.ask(&format!("{menu}/{command}"), &[&format!("=numbers={id}")]).await;
            assert_eq!(reply.trap(), "failure: can not change dynamic item", "{menu}/{command}");
        }
    }
}

fn users(options: &mut SimOptions) {
    options.groups = vec![("noapi".into(), "read,write".into()), ("plain".into(), "read,write,api".into())];
    options.users = [("reader", "read"), ("noapi", "noapi"), ("plain", "plain")]
        .map(|(name, group)| SimUser { name: name.into(), password: Secret::new("secret".into()), group: group.into() })
        .into();
}

#[tokio::test]
async fn a_user_without_the_policy_is_refused() {
    let router = start(users).await;
    let mut reader = Talk::user(&router, "reader", "secret").await;
    assert!(!reader.ask("/ip/address/print", &[]).await.rows.is_empty());
    let refused = "not enough permissions (9)";
    let add = ["=address=10.9.0.1/24", "=interface=bridge"];
    assert_eq!(reader.ask("/ip/address/add", &add).await.trap(), refused);
    let mut plain = Talk::user(&router, "plain", "secret").await;
    assert!(plain.ask("/ip/address/add", &add).await.traps.is_empty());
    assert_eq!(plain.ask("/tool/ping", &["=address=127.0.0.1", "=count=1"]).await.trap(), refused);
    assert_eq!(plain.ask("/user/add", &["=name=x", "=group=full"]).await.trap(), refused);
    let more = ["=name=s", "=policy=read,write,policy"];
    assert_eq!(plain.ask("/system/scheduler/add", &more).await.trap(), refused);
}

#[tokio::test]
async fn a_user_without_the_policy_api_cannot_log_in() {
    let router = start(users).await;
    let mut talk = Talk::connect(router.api_addr()).await;
    let reply = talk.ask("/login", &["=name=noapi", "=password=secret"]).await;
    assert_eq!(reply.trap(), "invalid user name or password (6)");
}

#[tokio::test]
async fn a_service_that_is_off_or_for_others_takes_no_connection() {
    let router = start(|_| {}).await;
    let mut talk = Talk::admin(&router).await;
    for (words, on) in [
        (["=.id=api", "=address=10.0.0.0/8"], false),
        (["=.id=api", "=available-from=127.0.0.0/8,10.0.0.0/8"], true),
        (["=.id=api", "=disabled=yes"], false),
    ] {
        assert!(talk.ask("/ip/service/set", &words).await.traps.is_empty(), "{words:?}");
        let mut other = Talk::connect(router.api_addr()).await;
        // A closed connection may fail the sending already.
        let answered = other.try_ask("/login", &["=name=admin", "=password="]).await;
        assert_eq!(answered, on, "{words:?}");
    }
}

#[tokio::test]
async fn secrets_are_printed_only_to_users_with_the_policy_sensitive() {
    let router = start(users).await;
    let mut admin = Talk::admin(&router).await;
    assert!(admin.field("/interface/wireguard", "?name=wg-office", "private-key").await.is_some());
    let mut plain = Talk::user(&router, "plain", "secret").await;
    assert!(plain.field("/interface/wireguard", "?name=wg-office", "private-key").await.is_none());
    assert!(plain.field("/interface/wireguard", "?name=wg-office", "public-key").await.is_some());
    let psk = "=preshared-key=HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    assert!(plain.ask("/interface/wireguard/peers/set", &["=.id=peer1", psk]).await.traps.is_empty());
    assert!(plain.field("/interface/wireguard/peers", "?name=peer1", "preshared-key").await.is_none());
    assert!(admin.field("/interface/wireguard/peers", "?name=peer1", "preshared-key").await.is_some());
    assert!(admin.field("/user", "?name=admin", "password").await.is_none());
}

#[tokio::test]
async fn a_device_without_wireguard_knows_no_such_menu() {
    for router in [version("6.49.10").await, start(|options| options.wireguard = false).await] {
        let mut talk = Talk::admin(&router).await;
        assert_eq!(talk.ask("/interface/wireguard/print", &[]).await.trap(), "no such command prefix");
        assert_eq!(talk.ask("/interface/wireguard/peers/print", &[]).await.trap(), "no such command prefix");
        assert_eq!(talk.ask("/system/resource/print", &[]).await.rows.len(), 1);
    }
    let router = version("6.49.10").await;
    let mut talk = Talk::admin(&router).await;
    let resource = talk.ask("/system/resource/print", &["=.proplist=version"]).await.rows;
    assert_eq!(resource[0]["version"], "6.49.10 (stable)");
}
