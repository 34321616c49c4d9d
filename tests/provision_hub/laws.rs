//! Whatever a hub says: no panic, and what passes would have passed as a file.

use std::path::Path;

use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::{Value, json};
use sitepeer::api::AgentDesired;
use sitepeer::config::{self, Privacy};
use sitepeer::domain::{Site, SubnetSet};
use sitepeer::uplink;

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Prefixes and addresses, good and bad, that meet each other often.
fn prefixes() -> impl Strategy<Value = String> {
    let v4 = (
        prop_oneof![Just(0u8), Just(10), Just(127), Just(169), Just(192), Just(224)],
        0u8..3,
        0u8..3,
        0u8..4,
        0u8..=32,
    )
        .prop_map(|(a, b, c, d, length)| {
            let net: IpNet = format!("{a}.{}.{c}.{d}/{length}", if a == 169 { 254 } else { b }).parse().unwrap();
            net.to_string()
        });
    let v6 = (prop_oneof![Just("fd00"), Just("fe80"), Just("ff02"), Just("")], 0u16..3, 0u8..=128)
        .prop_map(|(head, tail, length)| format!("{head}::{tail:x}/{length}"));
    prop_oneof![3 => v4, 1 => v6]
}

fn hosts() -> impl Strategy<Value = String> {
    prefixes().prop_map(|prefix| prefix.split('/').next().unwrap().to_owned())
}

fn configs() -> impl Strategy<Value = Value> {
    let texts = |most| prop::collection::vec(prefixes(), 0..most);
    (
        (texts(4), prop::option::of(0u16..10_000), prop::option::of(0u16..3), prop::collection::vec(hosts(), 0..4)),
        prop::collection::vec((hosts(), 0u32..70_000), 0..4),
        0u32..70_000,
        (texts(5), texts(5)),
        prop_oneof![Just("acme"), Just("-a"), Just("")],
        prop_oneof![9 => Just("k3f9q2x7"), 1 => Just("other123")],
    )
        .prop_map(
            |((addresses, mtu, listen_port, probe), endpoints, keepalive, (advertise, reach), instance, id)| {
                let endpoints: Vec<String> = endpoints
                    .into_iter()
                    .map(
                        |(host, port)| {
                            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
                        },
                    )
                    .collect();
                // JSON cuts host bits off and drops what another prefix covers before anybody looks: the one difference there is.
                let trunc =
                    |list: Vec<String>| -> SubnetSet { list.iter().map(|net| net.parse::<IpNet>().unwrap()).collect() };
                json!({
                    "id": id, "instance": instance,
                    "tunnel": {"addresses": addresses, "mtu": mtu, "listen_port": listen_port, "probe": probe},
                    "hub": {"public_key": KEY, "endpoints": endpoints, "keepalive_secs": keepalive},
                        "advertise": trunc(advertise), "reach": trunc(reach),
                })
            },
        )
}

fn from_hub(config: &Value) -> Option<Site> {
    let desired = json!({"revision": 1, "peer": "k3f9q2x7", "enabled": true, "config": config});
    let desired: AgentDesired = serde_json::from_value(desired).ok()?;
    uplink::site(desired, &"k3f9q2x7".parse().unwrap()).ok()?
}

fn from_file(config: &Value) -> Option<Site> {
    let list = |value: &Value| value.to_string();
    let (tunnel, hub) = (&config["tunnel"], &config["hub"]);
    let number = |key: &str| tunnel[key].as_u64().map(|value| format!("{key} = {value}\n")).unwrap_or_default();
    let text = format!(
        "version = 1\nid = {}\ninstance = {}\n[tunnel]\nprotocol = \"wireguard\"\naddresses = {}\nprobe = {}\n{}{}\
         [hub]\npublic_key = {}\nendpoints = {}\nkeepalive_secs = {}\n[subnets]\nadvertise = {}\nreach = {}\n",
        config["id"],
        config["instance"],
        list(&tunnel["addresses"]),
        list(&tunnel["probe"]),
        number("mtu"),
        number("listen_port"),
        hub["public_key"],
        list(&hub["endpoints"]),
        hub["keepalive_secs"],
        list(&config["advertise"]),
        list(&config["reach"]),
    );
    config::parse(&text, Path::new("x.toml"), Privacy::Private, |_| unreachable!()).ok()
}

/// A config with one thing wrong at most: most random ones have everything wrong.
fn nearly_good() -> impl Strategy<Value = Value> {
    let good = json!({
        "id": "k3f9q2x7", "instance": "acme",
        "tunnel": {"addresses": ["10.1.0.2/24"], "mtu": null, "listen_port": null, "probe": ["10.1.0.1"]},
        "hub": {"public_key": KEY, "endpoints": ["hub.example.net:51820"], "keepalive_secs": 25},
        "advertise": ["192.1.1.0/24"], "reach": ["10.1.0.0/24", "192.1.2.0/24"],
    });
    (configs(), 0usize..12).prop_map(move |(other, which)| {
        let mut config = good.clone();
        match which {
            0 => config["tunnel"]["addresses"] = other["tunnel"]["addresses"].clone(),
            1 => config["tunnel"]["probe"] = other["tunnel"]["probe"].clone(),
            2 => config["tunnel"]["mtu"] = other["tunnel"]["mtu"].clone(),
            3 => config["tunnel"]["listen_port"] = other["tunnel"]["listen_port"].clone(),
            4 => config["hub"]["endpoints"] = other["hub"]["endpoints"].clone(),
            5 => config["hub"]["keepalive_secs"] = other["hub"]["keepalive_secs"].clone(),
            6 => config["advertise"] = other["advertise"].clone(),
            7 | 8 => config["reach"] = other["reach"].clone(),
            9 => config["instance"] = other["instance"].clone(),
            10 => config = other,
            _ => {}
        }
        config
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_hubs_config_is_taken_where_the_same_file_is_and_makes_the_same_site(config in nearly_good()) {
        let hub = from_hub(&config);
        // Somebody else's id is a hub's fault only.
        if config["id"] == "k3f9q2x7" {
            prop_assert_eq!(hub, from_file(&config), "{}", config);
        } else {
            prop_assert_eq!(hub, None);
        }
    }

    #[test]
    fn no_bytes_of_a_hub_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(desired) = serde_json::from_slice::<AgentDesired>(&bytes) {
            drop(uplink::site(desired, &"k3f9q2x7".parse().unwrap()));
        }
    }
}
