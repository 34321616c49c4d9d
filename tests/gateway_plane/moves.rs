//! A site that changes to another device of its instance: with another key of the gateway, or with another key of its own.

use std::sync::Arc;
use std::time::Duration;

use sitepeer::api::{Backend, GatewayDevice, GatewayInstance, GatewayMove, GatewayPeer};
use sitepeer::domain::PublicKey;
use sitepeer::wireguard::keys::{SecretKey, generate_private};

use crate::netns::{Net, Wireguard, unique, until};
use crate::stage::{End, HOST, Raised, Stage, backend, rooted, stage};

/// How long the old device stays after both ends have left it: what was on its way by it has arrived by then. The hub waits minutes.
const GRACE: Duration = Duration::from_secs(1);
/// What a site sends into its tunnel.
const ROUTES: [&str; 2] = ["10.99.0.0/24", "192.168.0.0/16"];

fn set_device(stage: &Stage, raised: &Raised, device: u32, port: u16, key: &SecretKey) {
    let (plane, key) = (Arc::clone(&raised.plane), key.clone());
    let wanted = GatewayDevice { device, listen_port: port, any_port: true };
    let real = stage.run(async move { plane.set_device(&wanted, &key).await }).unwrap();
    assert_eq!(real, port);
}

fn remove_device(stage: &Stage, raised: &Raised, device: u32) {
    let plane = Arc::clone(&raised.plane);
    stage.run(async move { plane.remove_device(device).await }).unwrap();
}

/// Makes the site's interface to another device of the gateway, without routes.
fn beside(site: &End, port: u16, key: &SecretKey) -> Wireguard {
    let wireguard = Wireguard::new(&site.net, &["10.99.0.2/32"]);
    let hub = PublicKey::from_bytes(key.public()).unwrap();
    let allowed = ROUTES.join(", ");
    wireguard.set(&format!(
        "[Peer]\nPublicKey = {hub}\nEndpoint = {HOST}:{port}\nAllowedIPs = {allowed}\nPersistentKeepalive = 1"
    ));
    wireguard
}

/// The site sends by an interface from now on.
fn send_by(site: &End, wireguard: &Wireguard) {
    for net in ROUTES {
        site.net.ip(&format!("route replace {net} dev {}", wireguard.interface()));
    }
}

/// A peer that changes to a device, with what is sent to it by that one or not.
fn moving(peer: &GatewayPeer, device: u32, to: &Wireguard, sends: bool) -> GatewayPeer {
    let public_key = to.public_key().parse().unwrap();
    GatewayPeer { moving: Some(GatewayMove { device, public_key, sends }), ..peer.clone() }
}

fn handshake(wireguard: &Wireguard) {
    until("a handshake on the other device", || wireguard.handshake() > 0);
}

/// Packets arrive by either interface, whichever the route is.
fn takes_from_both(net: &Net) {
    for of in ["all", "default"] {
        net.run("sysctl", &["-qw", &format!("net.ipv4.conf.{of}.rp_filter=0")]);
    }
}

/// The whole course of a site's change to a device: the old one is out of use at the end.
fn change(stage: &Stage, raised: &Raised, site: &mut End, device: u32, port: u16, key: &SecretKey) {
    let old = (site.peer.device, site.peer.public_key);
    let next = beside(site, port, key);
    stage.set(raised, &moving(&site.peer, device, &next, false));
    handshake(&next);
    send_by(site, &next);
    // Back and forth: whoever switches first, and whoever has to switch back.
    stage.set(raised, &moving(&site.peer, device, &next, true));
    send_by(site, &site.wireguard);
    stage.set(raised, &moving(&site.peer, device, &next, false));
    stage.set(raised, &moving(&site.peer, device, &next, true));
    send_by(site, &next);
    std::thread::sleep(GRACE);
    let plane = Arc::clone(&raised.plane);
    let id = site.peer.id.clone();
    stage.run(async move { plane.remove_peer(old.0, &old.1, Some(&id)).await }).unwrap();
    let public_key = next.public_key().parse().unwrap();
    site.peer = GatewayPeer { device, public_key, moving: None, ..site.peer.clone() };
    stage.set(raised, &site.peer);
    site.wireguard = next;
}

#[test]
fn a_site_changes_its_key_and_its_gateways_key_and_loses_no_packet() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let mut site = stage.site(&raised, 2, 11);
    takes_from_both(&site.net);
    let other = stage.site(&raised, 3, 12);
    let client = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    client.net.pings_in_the_end("192.168.11.10");
    let lan = other.lan.as_ref().unwrap();
    lan.pings_in_the_end("192.168.11.10");
    let pings = [client.net.ping("192.168.11.10"), lan.ping("192.168.11.10"), client.net.ping("10.99.0.2")];

    // By its own key: to a device beside the one that everybody else has.
    let keys = [generate_private().unwrap(), generate_private().unwrap()];
    let also = |device, listen_port| GatewayDevice { device, listen_port, any_port: true };
    instance.devices = vec![also(1, 51821)];
    stage.configure(&raised, &instance);
    set_device(&stage, &raised, 1, 51821, &keys[0]);
    change(&stage, &raised, &mut site, 1, 51821, &keys[0]);
    // By the gateway's key: the new device is the one that new peers get.
    set_device(&stage, &raised, 2, 51822, &keys[1]);
    instance =
        GatewayInstance { device: 2, listen_port: 51822, devices: vec![also(0, 51820), also(1, 51821)], ..instance };
    stage.configure(&raised, &instance);
    change(&stage, &raised, &mut site, 2, 51822, &keys[1]);
    remove_device(&stage, &raised, 1);
    // And back to a device that was there before.
    change(&stage, &raised, &mut site, 0, 51820, &raised.key);
    change(&stage, &raised, &mut site, 2, 51822, &keys[1]);

    for (ping, whose) in pings.into_iter().zip(["a client's to a host", "a site's to a host", "a client's to a router"])
    {
        let (sent, lost) = ping.stop_and_count_lost();
        eprintln!("{whose}, through four changes of device: {sent} pings, {lost} lost");
        assert!(sent > 50 && lost == 0, "{whose}: {lost} of {sent} lost");
    }
    // Nobody else was touched, and the rules are the same on every device.
    let inside = Net::named(&format!("sitepeer-{}", instance.id));
    let routes = inside.ip("route show");
    assert!(routes.contains("192.168.11.0/24 dev wg2") && routes.contains("192.168.12.0/24 dev wg0"), "{routes}");
    assert!(client.net.pings("192.168.12.10"));
    instance.policy.site_to_site = false;
    stage.configure(&raised, &instance);
    assert!(!lan.pings("192.168.11.10"), "the policy holds between devices");
    assert!(client.net.pings("192.168.11.10"));
    stage.host.enter(|| std::net::UdpSocket::bind("[::]:51821").unwrap());
    stage.remove(&instance.id);
    for port in [51820, 51822] {
        stage.host.enter(move || std::net::UdpSocket::bind(("::", port)).unwrap());
    }
}

#[test]
fn a_gateway_restarted_in_the_midst_of_a_change_takes_both_devices_over() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let mut raised = stage.raise(&instance);
    let site = stage.site(&raised, 2, 11);
    takes_from_both(&site.net);
    let client = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    client.net.pings_in_the_end("192.168.11.10");
    let second = generate_private().unwrap();
    set_device(&stage, &raised, 1, 51821, &second);
    let next = beside(&site, 51821, &second);
    let peer = moving(&site.peer, 1, &next, true);
    stage.set(&raised, &peer);
    handshake(&next);
    send_by(&site, &next);
    client.net.pings_in_the_end("192.168.11.10");
    let before = next.handshake();
    let plane = Arc::clone(&raised.plane);
    let found = stage.run(async move { plane.peers().await }).unwrap();
    let heard = |key: PublicKey| found.iter().find(|on| on.public_key == key).unwrap().endpoint;
    let (client_heard, site_heard) = (heard(client.peer.public_key), heard(peer.moving.unwrap().public_key));
    let ping = client.net.ping("192.168.11.10");
    // As after a crash: everything in this process is gone.
    let name = format!("test {}", unique());
    let key = raised.key.clone();
    stage.rename_owner(&instance.id, &name);
    drop(raised);
    stage.planes = rooted(&name);
    raised = stage.raise_until_free(&instance, key);
    let plane = Arc::clone(&raised.plane);
    let left = stage.run(async move { plane.devices().await });
    let kernel = backend() == Backend::Kernel;
    assert!(!kernel || left.contains(&(1, 0)), "what the kernel kept is known: {left:?}");
    until("the device is up", || {
        let (plane, key) = (Arc::clone(&raised.plane), second.clone());
        let wanted = GatewayDevice { device: 1, listen_port: 51821, any_port: true };
        // A device of before may still hold the port for a moment.
        stage.run(async move { plane.set_device(&wanted, &key).await }).is_ok()
    });
    // As a gateway does: who was heard is called, for it does not know yet that its session is gone.
    for (peer, heard) in [(client.peer.clone(), client_heard), (peer, site_heard)] {
        let plane = Arc::clone(&raised.plane);
        stage.run(async move { plane.set_peer(&peer, heard).await }).unwrap();
    }
    client.net.pings_in_the_end("192.168.11.10");
    let (sent, lost) = ping.stop_and_count_lost();
    eprintln!("a gateway restarted in the midst of a change: {sent} pings, {lost} lost");
    if kernel {
        assert_eq!(lost, 0, "the kernel went on");
        assert_eq!(next.handshake(), before, "the session was kept");
    }
    // One that nobody wants goes, with all that is on it.
    stage.set(&raised, &site.peer);
    send_by(&site, &site.wireguard);
    remove_device(&stage, &raised, 1);
    client.net.pings_in_the_end("192.168.11.10");
    let inside = Net::named(&format!("sitepeer-{}", instance.id));
    assert!(!inside.ip("-br link").contains("wg1"));
}
