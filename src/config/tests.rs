//! The rules of a site config, each by a config that keeps or breaks it.

use std::fs;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::*;
use crate::domain::{Secret, Site};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// The example of the documentation, all keys set.
fn full() -> String {
    format!(
        r#"version = 1
id = "k3f9q2"
instance = "acme"
[tunnel]
protocol = "wireguard"
addresses = ["10.99.0.2/24", "fd99::2/64"]
mtu = 1420
listen_port = 13231
probe = ["10.99.0.1"]
[hub]
public_key = "{KEY}"
endpoints = ["hub.example.net:51820"]
keepalive_secs = 25
[subnets]
advertise = ["192.168.88.0/24"]
reach = ["10.99.0.0/24", "192.168.89.0/24"]
[routing]
distance = 1
table = "main"
"#
    )
}

fn read(text: &str) -> Result<Site, ConfigError> {
    parse(text, Path::new("site.toml"), Privacy::Private, |_| Ok(Secret::new(KEY.to_owned())))
}

/// The refusal of the full config with one change, as a person sees it.
fn refused(from: &str, to: &str) -> String {
    let text = full();
    assert!(text.contains(from), "the example has no {from:?}");
    shown(&read(&text.replacen(from, to, 1)).expect_err("must be refused"))
}

fn shown(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match error.hint() {
        Some(hint) => format!("{text}\nhint: {hint}"),
        None => text,
    }
}

#[test]
fn the_documented_example_is_read() {
    let site = read(&full()).unwrap();
    assert_eq!(site.id.as_str(), "k3f9q2");
    assert_eq!(site.tunnel.addresses.len(), 2);
    assert_eq!(site.tunnel.mtu, Some(1420));
    assert_eq!(site.reach.to_string(), "10.99.0.0/24,192.168.89.0/24");
    assert_eq!(site.hub.keepalive, Some(std::time::Duration::from_secs(25)));
    assert!(site.hub.preshared_key.is_none());
}

#[test]
fn what_is_left_out_has_its_default() {
    let short = full().replace("mtu = 1420\nlisten_port = 13231\n", "").replace("keepalive_secs = 25\n", "");
    let short = &short[..short.find("[routing]").unwrap()];
    let site = read(short).unwrap();
    assert_eq!((site.tunnel.mtu, site.tunnel.listen_port), (None, None));
    assert_eq!(site.hub.keepalive, Some(std::time::Duration::from_secs(DEFAULT_KEEPALIVE_SECS.into())));
    assert_eq!(site.routing, crate::domain::Routing::default());
}

#[test]
fn a_keepalive_of_nought_is_off() {
    assert_eq!(read(&full().replace("keepalive_secs = 25", "keepalive_secs = 0")).unwrap().hub.keepalive, None);
}

#[test]
fn every_refusal_names_place_key_problem_and_way_out() {
    let cases = [
        ("mtu = 1420", "mut = 1420"),
        ("mtu = 1420", "colour = 1"),
        ("mtu = 1420", "distance = 1"),
        ("mtu = 1420", "mtu = 90"),
        ("mtu = 1420", "mtu = \"1420\""),
        ("mtu = 1420", "mtu = 99999999999999999999"),
        ("mtu = 1420", "mtu = "),
        ("version = 1", "version = 2"),
        ("version = 1\n", ""),
        ("id = \"k3f9q2\"", "id = \"K3\""),
        ("instance = \"acme\"", "instance = \"-acme\""),
        ("\"wireguard\"", "\"openvpn\""),
        ("\"10.99.0.2/24\"", "\"10.99.0.0/24\""),
        ("\"10.99.0.2/24\"", "\"10.99.0.255/24\""),
        ("\"10.99.0.2/24\"", "\"10.99.0.2\""),
        ("\"10.99.0.2/24\"", "10"),
        ("\"fd99::2/64\"", "\"10.99.0.2/16\""),
        ("[\"10.99.0.1\"]", "[]"),
        ("[\"10.99.0.1\"]", "\"10.99.0.1\""),
        ("[\"10.99.0.1\"]", "[\"10.99.0.1/32\"]"),
        ("[\"10.99.0.1\"]", "[\"8.8.8.8\"]"),
        ("[\"10.99.0.1\"]", "[\"10.99.0.2\"]"),
        ("xTIBA5", "xTIBA"),
        ("hub.example.net:51820", "hub.example.net"),
        ("hub.example.net:51820", "10.99.0.1:51820"),
        ("[\"192.168.88.0/24\"]", "[\"192.168.88.1/24\"]"),
        ("[\"192.168.88.0/24\"]", "[\"127.0.0.0/8\"]"),
        ("[\"192.168.88.0/24\"]", "[\"192.168.88/24\"]"),
        ("[\"192.168.88.0/24\"]", "[\"0.0.0.0/0\"]"),
        ("[\"192.168.88.0/24\"]", "[\"192.168.0.0/16\"]"),
        ("[\"192.168.88.0/24\"]", "[\"10.99.0.0/16\"]"),
        ("\"192.168.89.0/24\"]", "\"::/0\"]"),
        ("distance = 1", "distance = 256"),
        ("table = \"main\"", "table = \"ma in\""),
        ("[routing]", "[rooting]"),
        ("[subnets]", "[tunnel]"),
    ];
    let all: Vec<String> = cases.iter().map(|(from, to)| format!("# {to}\n{}\n", refused(from, to))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn safety_and_form_are_told_apart() {
    let class = |from: &str, to: &str| read(&full().replacen(from, to, 1)).unwrap_err().class();
    assert_eq!(class("192.168.88.0/24", "192.168.89.0/25"), ConfigClass::Safety);
    assert_eq!(class("192.168.88.0/24", "10.99.0.0/25"), ConfigClass::Safety);
    assert_eq!(class("192.168.88.0/24", "0.0.0.0/0"), ConfigClass::Safety);
    assert_eq!(class("192.168.88.0/24", "0.0.0.0/4"), ConfigClass::Safety);
    assert_eq!(class("192.168.88.0/24", "192.168.88.1/24"), ConfigClass::Malformed);
}

#[test]
fn a_column_counts_characters_and_not_bytes() {
    let error = read("version = 1\n'äöü' = 1 # naïve\n").unwrap_err();
    assert!(error.to_string().starts_with("site.toml:2:1: unknown key `äöü`"), "{error}");
    let error = read("version = 1\nid = ['äöü', 1]").unwrap_err();
    assert!(error.to_string().starts_with("site.toml:1:1: `tunnel` is missing"), "{error}");
}

#[test]
fn two_preshared_keys_are_one_too_many() {
    let both = format!("keepalive_secs = 25\npreshared_key = \"{KEY}\"\npreshared_key_file = \"psk\"");
    assert!(refused("keepalive_secs = 25", &both).contains("stands beside `hub.preshared_key`"));
}

#[test]
fn an_inline_preshared_key_needs_a_private_file() {
    let text = full().replace("keepalive_secs = 25", &format!("preshared_key = \"{KEY}\""));
    let read = |privacy| parse(&text, Path::new("site.toml"), privacy, |_| unreachable!("no file is named"));
    assert!(read(Privacy::Private).unwrap().hub.preshared_key.is_some());
    let error = read(Privacy::Shared { mode: 0o644 }).unwrap_err();
    assert!(error.to_string().contains("others can read (mode 0644)"), "{error}");
    assert!(!format!("{error:?}{}", shown(&error)).contains(KEY), "a refusal must not show the key");
}

#[cfg(unix)]
#[test]
fn a_relative_path_counts_from_the_config_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (site, psk) = (folder.path().join("site.toml"), folder.path().join("psk"));
    fs::write(&site, full().replace("keepalive_secs = 25", "preshared_key_file = \"psk\"")).unwrap();
    let missing = load(&site).unwrap_err();
    assert!(shown(&missing).ends_with(&format!("{}: no such file or directory", psk.display())), "{missing}");

    fs::write(&psk, format!("{KEY}\n")).unwrap();
    fs::set_permissions(&psk, fs::Permissions::from_mode(0o644)).unwrap();
    let open = load(&site).unwrap_err();
    assert_eq!(open.code(), "secret-readable-by-others");

    fs::set_permissions(&psk, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(load(&site).unwrap().hub.preshared_key.is_some());

    fs::write(&psk, "not a key").unwrap();
    let wrong = load(&site).unwrap_err();
    assert!(!shown(&wrong).contains("not a key"), "what stands in a secret file is not shown: {wrong}");
}

#[test]
fn a_config_larger_than_the_limit_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site.toml");
    let length = usize::try_from(MAX_SITE_BYTES).unwrap() + 1;
    fs::write(&site, vec![b'#'; length]).unwrap();
    assert!(shown(&load(&site).unwrap_err()).ends_with("is larger than 262144 bytes"));
}

prop_compose! {
    fn ipv4_network()(bits in any::<u32>(), length in 8u8..=32) -> IpNet {
        // Within 10.0.0.0/8: always one that can be routed.
        let address = std::net::Ipv4Addr::from(bits & 0x00ff_ffff | 0x0a00_0000);
        IpNet::V4(Ipv4Net::new(address, length).unwrap().trunc())
    }
}

proptest! {
    #[test]
    fn a_list_of_networks_is_read_as_the_set_it_writes(nets in prop::collection::vec(ipv4_network(), 0..20)) {
        let list: Vec<String> = nets.iter().map(|net| format!("\"{net}\"")).collect();
        let text = full()
            .replace("10.99.0.1\"", "fd99::1\"")
            .replace("10.99.0.2/24", "172.16.0.2/24")
            .replace("\"10.99.0.0/24\", \"192.168.89.0/24\"", &list.join(", "));
        let site = read(&text).map_err(|error| TestCaseError::fail(shown(&error)))?;
        prop_assert_eq!(site.reach, nets.into_iter().collect());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _outcome = read(&text);
    }

    #[test]
    fn no_damage_to_a_good_config_makes_the_reader_panic_or_lose_the_place(
        at in 0usize..600,
        damage in "[\\PC\\n]{0,6}",
        cut in 0usize..8,
    ) {
        let good = full();
        let start = (0..=at.min(good.len())).rev().find(|i| good.is_char_boundary(*i)).unwrap_or(0);
        let end = (start + cut).min(good.len());
        let text = format!("{}{damage}{}", &good[..start], good.get(end..).unwrap_or(""));
        if let Err(error) = read(&text) {
            prop_assert!(error.to_string().starts_with("site.toml:"), "{}", error);
        }
    }
}
