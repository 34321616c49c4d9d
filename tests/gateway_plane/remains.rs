//! What stays and what goes: restarts, removals, and things of others.

use std::sync::Arc;

use sitepeer::api::Backend;
use sitepeer::gateway::plane::Planes;
use sitepeer::gateway::plane::probe::{PartState, probe};

use crate::netns::{Net, has, run, unique};
use crate::stage::{backend, rooted, stage};

#[test]
fn nothing_of_an_instance_stays_and_nothing_of_others_goes() {
    let Some(mut stage) = stage() else { return };
    stage.host.run("nft", &["add table inet foreign; add chain inet foreign x { type filter hook forward priority 10; }; add rule inet foreign x counter"]);
    stage.host.ip("link add sp-foreign type bridge");
    let foreign = format!("sitepeer-f{}", unique());
    run("ip", &["netns", "add", &foreign]);
    let rules = stage.host.run("nft", &["list", "ruleset"]);
    let links = stage.host.ip("-br link");
    let instances = [stage.instance(51820), stage.instance(51821)];
    let raised: Vec<_> = instances.iter().map(|instance| stage.raise(instance)).collect();
    let client = stage.client(&raised[0], 5, true, &["198.51.100.0/24"]);
    client.net.pings_in_the_end("198.51.100.80");
    let planes = Arc::clone(&stage.planes);
    let found = stage.run(async move { planes.found().await }).unwrap();
    let mut ids: Vec<_> = instances.iter().map(|instance| instance.id.clone()).collect();
    ids.sort();
    assert_eq!(found, ids, "ours, and only ours");
    stage.remove(&ids[0]);
    assert!(stage.host.run("nft", &["list", "tables"]).contains("sitepeer"), "the other instance needs it");
    stage.remove(&ids[1]);
    // Twice is once.
    stage.remove(&ids[1]);
    let comparable = |rules: &str| -> Vec<String> {
        rules.lines().filter(|line| !line.contains("counter packets")).map(str::to_owned).collect()
    };
    assert_eq!(comparable(&stage.host.run("nft", &["list", "ruleset"])), comparable(&rules));
    assert_eq!(stage.host.ip("-br link"), links);
    let names = run("ip", &["netns"]);
    assert!(ids.iter().all(|id| !names.contains(id.as_str())), "{names}");
    assert!(names.contains(&foreign));
    // The port is free at once.
    stage.host.enter(|| std::net::UdpSocket::bind("[::]:51820").unwrap());
    let planes = Arc::clone(&stage.planes);
    assert_eq!(stage.run(async move { planes.found().await }).unwrap(), []);
    run("ip", &["netns", "del", &foreign]);
}

#[test]
fn another_gateways_instance_is_neither_found_nor_touched() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let client = stage.client(&raised, 5, false, &["10.99.0.0/24"]);
    client.net.pings_in_the_end("10.99.0.1");
    let other = rooted("another");
    let (one, id, wanted, key) = (Arc::clone(&other), instance.id.clone(), instance.clone(), raised.key.clone());
    let (found, removed, taken) = stage.run(async move {
        (one.found().await.unwrap(), one.remove(&id).await, one.raise(&wanted, &key).await.map(drop))
    });
    assert_eq!(found, []);
    assert!(removed.unwrap_err().to_string().contains("another gateway"));
    assert!(taken.unwrap_err().to_string().contains("another gateway"));
    assert!(client.net.pings("10.99.0.1"));
}

#[test]
fn a_restarted_gateway_takes_over_what_is_there() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let mut raised = stage.raise(&instance);
    let gone = stage.client(&raised, 6, true, &["10.99.0.0/24"]);
    let client = stage.client(&raised, 5, true, &["10.99.0.0/24", "198.51.100.0/24"]);
    client.net.pings_in_the_end("198.51.100.80");
    gone.net.pings_in_the_end("10.99.0.1");
    let handshake = client.wireguard.handshake();
    // As after a crash: everything in this process is gone.
    let name = format!("test {}", unique());
    let key = raised.key.clone();
    stage.rename_owner(&instance.id, &name);
    drop(raised);
    stage.planes = rooted(&name);
    raised = stage.raise_until_free(&instance, key);
    let plane = Arc::clone(&raised.plane);
    let left = stage.run(async move { plane.peers().await }).unwrap();
    if backend() == Backend::Kernel {
        assert_eq!(left.len(), 2, "the kernel kept them");
        assert!(client.net.pings("198.51.100.80"), "it went on passing");
    } else {
        assert_eq!(left, [], "it comes back from its configuration");
    }
    // The one that is wanted no more is known by its key alone.
    let (plane, public_key) = (Arc::clone(&raised.plane), gone.peer.public_key);
    stage.run(async move { plane.remove_peer(0, &public_key, None).await }).unwrap();
    stage.set(&raised, &client.peer);
    client.net.pings_in_the_end("198.51.100.80");
    assert!(!gone.net.pings("10.99.0.1"));
    let inside = Net::named(&format!("sitepeer-{}", instance.id));
    let elements = inside.run("nft", &["list", "set", "inet", "sitepeer", "full4"]);
    assert!(elements.contains("10.99.0.5") && !elements.contains("10.99.0.6"), "{elements}");
    if backend() == Backend::Kernel {
        assert_eq!(client.wireguard.handshake(), handshake, "the session was kept");
    }
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_stays() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let taken = stage.host.enter(|| std::net::UdpSocket::bind("0.0.0.0:51820").unwrap());
    let links = stage.host.ip("-br link");
    let (planes, wanted) = (Arc::clone(&stage.planes), instance.clone());
    let key = sitepeer::wireguard::keys::generate_private().unwrap();
    let error = stage.run(async move { planes.raise(&wanted, &key).await.map(drop) }).unwrap_err();
    assert!(error.to_string().contains("51820"), "{error}");
    assert_eq!(stage.host.ip("-br link"), links);
    assert!(!run("ip", &["netns"]).contains(instance.id.as_str()));
    drop(taken);
    stage.raise(&instance);
}

#[test]
fn a_suspended_instance_is_dark_and_comes_back() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let site = stage.site(&raised, 2, 11);
    let client = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    client.net.pings_in_the_end("192.168.11.10");
    instance.suspended = true;
    stage.configure(&raised, &instance);
    assert!(!client.net.pings("192.168.11.10"));
    instance.suspended = false;
    stage.configure(&raised, &instance);
    client.net.pings_in_the_end("192.168.11.10");
    drop(site);
}

#[test]
fn the_probe_says_what_this_host_has() {
    let Some(stage) = stage() else { return };
    let findings = stage.run(probe());
    for finding in &findings.0 {
        eprintln!("{:?} {}: {}", finding.state, finding.part, finding.detail);
    }
    for part in ["namespaces", "veth", "nftables", "tun"] {
        assert!(findings.works(part), "{part}");
    }
    let kernel = run(
        "sh",
        &["-c", "ip link add spprobe type wireguard 2>/dev/null && ip link del spprobe && echo yes || echo no"],
    );
    assert_eq!(findings.works("kernel-wireguard"), kernel.trim() == "yes");
    let off = findings.0.iter().find(|finding| finding.code == "forwarding").unwrap();
    assert_eq!(off.state, PartState::Look, "the stage's host does not forward yet");
    assert!(has("nft"));
}
