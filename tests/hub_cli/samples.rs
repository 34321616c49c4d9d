//! Objects as a hub sends them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Two minutes ago, and a little: what is shown stays the same while a test runs.
pub fn then() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("before the end of time") - 130
}

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

pub fn instance(id: &str, name: &str, status: &str) -> Value {
    json!({
        "id": id, "account": "acc00001", "account_name": "ops", "name": name, "hostname": name, "region": "eu",
        "status": status, "gateway": "gw000001",
        "readiness": [
            {"step": "gateway", "state": "done", "detail": "gw-1"},
            {"step": "interface", "state": if status == "active" { "done" } else { "waiting" }, "detail": "waiting for gw-1"},
        ],
        "tunnel_subnet": "10.99.0.0/24", "listen_port": 51820, "dns": ["10.99.0.1"], "search": [],
        "pushed_routes": [], "policy": {"client_to_client": false, "site_to_site": true},
        "endpoint": "203.0.113.7:51820", "public_key": KEY, "reach": ["10.99.0.0/24", "192.168.88.0/24"],
        "peers": 2, "connected": 1, "usage": {"period": "2026-11", "rx_bytes": 1_610_612_736, "tx_bytes": 4096},
        "created_at": then(), "version": 3,
    })
}

pub fn peer(id: &str, instance: &str, name: &str, kind: &str) -> Value {
    let mut peer = json!({
        "id": id, "instance": "inst0001", "instance_name": instance, "account": "acc00001", "kind": kind, "name": name,
        "protocol": "wireguard", "enabled": true, "status": "connected", "public_key": KEY, "addresses": ["10.99.0.2"],
        "subnets": ["192.168.88.0/24"], "route_all": false, "keepalive_secs": 25, "preshared_key": false,
        "link": {"handshake_at": then(), "handshake_age_secs": 130, "endpoint": "198.51.100.9:4000",
            "connected_since": then(), "rx_bytes": 2048, "tx_bytes": 512, "reported_at": then(), "revision": 7,
            "router_revision": 7, "gateway_wanted": 9, "gateway_revision": 8, "agent_says": "proven", "agent_at": then()},
        "usage": {"period": "2026-11", "rx_bytes": 2048, "tx_bytes": 512}, "created_at": then(), "version": 5,
    });
    match kind {
        "site" => peer["site"] = json!("site0001"),
        "client" => {
            peer["user"] = json!("alice");
            peer["subnets"] = json!([]);
        }
        _ => {}
    }
    peer
}

pub fn site(id: &str, name: &str) -> Value {
    json!({
        "id": id, "account": "acc00001", "name": name, "device_at": then(), "same_serial": ["site0009"],
        "device": {"identity": "MikroTik", "board": "hEX S", "version": "7.21.5", "serial": "HG109", "uptime_secs": 7200,
            "subnets": [{"subnet": "192.168.88.0/24", "interface": "bridge"}]},
        "created_at": then(), "version": 1,
    })
}

pub fn account(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name, "max_instances": 5, "instances": 1, "created_at": then(), "version": 1})
}

pub fn token(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name, "role": "operator", "account": "acc00001", "created_at": then(), "used_at": then()})
}

pub fn enrollment(id: &str) -> Value {
    json!({"id": id, "account": "acc00001", "kind": "site", "peer": "peer0001", "state": "open", "uses": 1, "used": 0,
        "created_at": then(), "expires_at": then() + 86_400})
}

pub fn gateway(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name, "region": "eu", "public_host": "203.0.113.7", "backend": "kernel", "version": "0.1.0",
        "instances": 3, "seen_at": then(), "revision": 12, "applied_revision": 12})
}

pub fn entry(number: i64) -> Value {
    json!({"number": number, "at": then(), "who": "token aaaaaaaa (laptop)", "action": "peer.edit",
        "object": "peer peer0001 (branch-12)", "account": "acc00001",
        "before": {"name": "branch-12", "subnets": []}, "after": {"name": "branch-12", "subnets": ["192.168.88.0/24"]}})
}

pub fn freeze() -> Value {
    json!({"until": then() + 7200, "since": then(), "reason": "a technician is there", "by": "token tok00001 (laptop)"})
}

pub fn transition(number: i64) -> Value {
    json!({"number": number, "at": then(), "peer": "peer0001", "was": "up", "state": "down", "cause": "no-udp-egress",
        "evidence": "nothing comes back from 203.0.113.7 although packets are sent"})
}

/// A site of two peers: one that both ends see, and one that nobody has heard of.
pub fn health() -> Value {
    let finding = |code: &str, evidence: &str, hint: &str| json!({"code": code, "severity": "critical", "since": then(), "evidence": evidence, "hint": hint});
    let month = |known: u64| {
        let mut month = json!({"month": "2026-11", "up_secs": known, "degraded_secs": 0, "down_secs": 90, "disabled_secs": 0,
            "unknown_secs": 7200});
        if known > 0 {
            month["available_ppm"] = json!(999_123);
        }
        month
    };
    json!({
        "site": "site0001", "name": "branch-12", "verdict": "disputed", "frozen": freeze(),
        "peers": [
            {"peer": "peer0001", "name": "branch-12", "instance": "inst0001", "instance_name": "acme", "verdict": "disputed",
                "findings": [finding("ends-disagree", "the agent says it carries traffic, the gateway never saw a handshake", "look")],
                "gateway": {"enabled": true, "online": true, "reported_at": then(), "handshake_age_secs": 130,
                    "endpoint": "198.51.100.9:4000", "rx_bytes": 2048, "tx_bytes": 512},
                "agent": {"state": "up", "since": then(), "heard_at": then(), "dropped": 0,
                    "findings": [finding("clock-behind", "the router's clock is 9 h behind", "/system/ntp/client/set enabled=yes")],
                    "sample": {"loss_percent": 20, "rtt_us": {"min": 900, "avg": 12_340, "max": 50_000}, "rx_bytes": 5}},
                "availability": month(100_000)},
            {"peer": "peer0002", "name": "second", "instance": "inst0002", "instance_name": "lab", "verdict": "unknown",
                "gateway": {"enabled": true, "online": false, "rx_bytes": 0, "tx_bytes": 0}, "availability": month(0)},
        ],
        "transitions": [transition(2), transition(1)],
    })
}
