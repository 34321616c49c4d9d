//! What no router is needed for.

mod day;
mod news;

use std::time::Duration;

use crate::domain::{Hub, Routing, Site, SubnetSet, Tunnel};

fn site() -> Site {
    let nets = |texts: &[&str]| -> SubnetSet { texts.iter().map(|text| text.parse().unwrap()).collect() };
    Site {
        id: "k3f9q2".parse().unwrap(),
        instance: "acme".parse().unwrap(),
        tunnel: Tunnel {
            addresses: vec!["10.99.0.2/24".parse().unwrap()],
            mtu: None,
            listen_port: None,
            probe: vec!["10.99.0.1".parse().unwrap()],
        },
        hub: Hub {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
            endpoints: vec!["203.0.113.1:51820".parse().unwrap()],
            preshared_key: None,
            keepalive: Some(Duration::from_secs(25)),
        },
        advertise: nets(&["192.168.88.0/24"]),
        reach: nets(&["10.99.0.0/24", "192.168.89.0/24", "192.168.90.0/24"]),
        routing: Routing::default(),
        generation: 0,
        beside: None,
        fence: None,
    }
}
