//! Client profiles, read by the tools that people read them with.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::hub::{Hub, KEYS, Tenant, serve, text, until};

/// An active instance with client peers of these names.
async fn clients(hub: &Hub, tenant: &Tenant, peers: &[Value]) -> Vec<String> {
    let new = json!({
        "name": "office", "region": "eu", "dns": ["10.99.0.1"], "search": ["corp.example"],
        "pushed_routes": ["172.16.0.0/12"], "tunnel_subnet6": "fd00:99::/64",
    });
    let instance = text(&tenant.operator.post("/v1/instances", new).await.done(201).json()["id"]);
    let gateway = hub.gateway().await;
    until(&hub.admin, "/v1/gateways", |page| page["items"][0]["instances"] == 1).await;
    serve(&gateway, 0, KEYS[0]).await;
    let path = format!("/v1/instances/{instance}");
    until(&tenant.operator, &path, |instance| instance["status"] == "active").await;
    let mut made = Vec::new();
    for peer in peers {
        made.push(text(&tenant.peer(&instance, peer.clone()).await.done(201).json()["id"]));
    }
    let reached = |instance: &Value| instance["reach"].as_array().is_some_and(|reach| reach.len() >= 3);
    until(&tenant.operator, &path, reached).await;
    made
}

fn have(tool: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|at| at.join(tool).exists()));
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// What `wg-quick strip` makes of a profile.
fn strip(folder: &Path, conf: &str) -> String {
    let file = folder.join("office.conf");
    std::fs::write(&file, conf).unwrap();
    let done = Command::new("wg-quick").arg("strip").arg(&file).output().unwrap();
    assert!(done.status.success(), "{}\n{conf}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn every_profile_is_taken_by_wg_quick_whatever_people_call_their_devices() {
    let hub = Hub::start("").await;
    let tenant = hub.tenant("acme").await;
    let hostile =
        ["eve\nPostUp = touch /tmp/x", "a\r\n[Peer]\r\nAllowedIPs = 0.0.0.0/0", "# x", "Zoë 東京", "\u{2028}y"];
    let peers = [
        json!({"kind": "client", "user": "split"}),
        json!({"kind": "client", "user": "full", "route_all": true, "keepalive_secs": 0, "dns": ["192.0.2.53"]}),
    ];
    let ids = clients(&hub, &tenant, &peers).await;
    let instance = text(&tenant.operator.get(&format!("/v1/peers/{}", ids[0])).await.done(200).json()["instance"]);
    let mut profiles = ids.clone();
    for name in hostile {
        let made = tenant.peer(&instance, json!({"kind": "client", "user": name, "name": name})).await;
        if made.status == 201 {
            profiles.push(text(&made.json()["id"]));
        } else {
            // A name that the store refuses is as good as one that does no harm.
            assert_eq!(made.status, 422, "{}", made.text());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let tools = have("wg-quick");
    for id in &profiles {
        let answer = tenant.operator.get(&format!("/v1/peers/{id}/profile")).await.done(200);
        let named = answer.header("content-disposition").unwrap().to_owned();
        assert_eq!(named, "attachment; filename=\"office.conf\"");
        let conf = String::from_utf8(answer.body).unwrap();
        assert!(!conf.contains("PostUp") || conf.lines().all(|line| !line.starts_with("PostUp")), "{conf}");
        assert_eq!(conf.matches("[YOUR_PRIVATE_KEY]").count(), 1, "{conf}");
        if tools {
            // As the person does, or `sitepeer client-key`.
            let mine = conf.replace("[YOUR_PRIVATE_KEY]", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=");
            let stripped = strip(folder.path(), &mine);
            assert!(stripped.contains("Endpoint = 192.0.2.1:51820") && !stripped.contains("DNS"), "{stripped}");
        }
    }
    let split = tenant.operator.get(&format!("/v1/peers/{}/profile", ids[0])).await.done(200).text();
    assert!(split.contains("DNS = 10.99.0.1, corp.example\n") && split.contains("172.16.0.0/12"), "{split}");
    assert!(split.contains("PersistentKeepalive = 25\n") && !split.contains("0.0.0.0/0"), "{split}");
    let full = tenant.operator.get(&format!("/v1/peers/{}/profile", ids[1])).await.done(200).text();
    assert!(
        full.contains("AllowedIPs = 0.0.0.0/0, ::/0\n") && full.contains("DNS = 192.0.2.53, corp.example\n"),
        "{full}"
    );
    assert!(!full.contains("PersistentKeepalive"), "{full}");

    let svg = tenant.operator.get(&format!("/v1/peers/{}/profile?format=qr", ids[0])).await.done(200);
    assert_eq!(svg.header("content-type"), Some("image/svg+xml"));
    assert!(svg.body.starts_with(b"<?xml"));
    let png = tenant.operator.get(&format!("/v1/peers/{}/profile?format=qr&image=png", ids[0])).await.done(200);
    assert_eq!(&png.body[..8], b"\x89PNG\r\n\x1a\n");
    setconf(folder.path(), &split);
}

/// `wg setconf` needs a device, and that root: in a network namespace of its own, with a userspace WireGuard.
fn setconf(folder: &Path, answer: &str) {
    if !have("wg") || !have("wireguard-go") || !have("ip") {
        return;
    }
    let conf = answer.split_once("\n\n").unwrap().1;
    let mine = conf.replace("[YOUR_PRIVATE_KEY]", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=");
    let stripped = folder.join("stripped.conf");
    std::fs::write(&stripped, strip(folder, &mine)).unwrap();
    let namespace = format!("sphttp{}", std::process::id());
    let run = |arguments: &[&str]| Command::new("ip").args(arguments).output().unwrap();
    if !run(&["netns", "add", &namespace]).status.success() {
        eprintln!("skipped: no network namespace can be made here (wg setconf)");
        return;
    }
    let inside = |arguments: &[&str]| run(&[&["netns", "exec", namespace.as_str()], arguments].concat());
    let device = format!("w{}", std::process::id());
    let raised = inside(&["wireguard-go", &device]).status.success();
    let set = inside(&["wg", "setconf", &device, stripped.to_str().unwrap()]);
    let shown = inside(&["wg", "show", &device, "allowed-ips"]);
    inside(&["ip", "link", "del", &device]);
    run(&["netns", "del", &namespace]);
    if !raised {
        eprintln!("skipped: wireguard-go makes no device here (wg setconf)");
        return;
    }
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("172.16.0.0/12"), "{shown:?}");
}
