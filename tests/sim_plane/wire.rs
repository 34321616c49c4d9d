//! Real programs behind the simulated routers: their packets go through forwarding, firewall and tunnel, and back.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use sitepeer::sim::plane::{Lan, Plane, PlaneError, PlaneOptions};

use crate::namespace::Namespace;
use crate::world::{World, ip};

const REAL_A: &str = "192.168.88.20";
const REAL_B: &str = "192.168.89.20";
/// Long enough for many windows and a lost packet or two.
const TRANSFER: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// The world with a namespace as each LAN; `None` where there can be none.
async fn start() -> Option<(World, [Namespace; 2])> {
    let sites = [Namespace::new("a")?, Namespace::new("b")?];
    let wires = sites.each_ref().map(|site| Some(format!("lan0@{}", site.name).parse().unwrap()));
    let world = World::start_on(PlaneOptions::default(), wires).await;
    for (site, (address, gateway)) in sites.iter().zip([(REAL_A, "192.168.88.1"), (REAL_B, "192.168.89.1")]) {
        site.ip(&format!("address add {address}/24 dev lan0"));
        site.ip(&format!("route add default via {gateway}"));
    }
    world.a.handshake().await;
    world.b.handshake().await;
    Some((world, sites))
}

/// Serves one connection: sends back the number of bytes it got, and whom it saw.
fn serve(at: SocketAddr) -> (std::sync::mpsc::Receiver<IpAddr>, std::thread::JoinHandle<usize>) {
    let (seen, from) = std::sync::mpsc::channel();
    let listener = TcpListener::bind(at).unwrap();
    let server = std::thread::spawn(move || {
        let (mut socket, peer) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        seen.send(peer.ip()).unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    (from, server)
}

fn send(to: SocketAddr, length: usize) -> std::io::Result<()> {
    let mut socket = TcpStream::connect_timeout(&to, PATIENCE)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(&vec![7; length])
}

#[tokio::test]
async fn a_tcp_transfer_between_two_sites_arrives_whole_from_the_hosts_own_address() {
    let Some((world, [a, b])) = start().await else { return };
    let to = SocketAddr::new(ip(REAL_B), 8000);
    let (from, server) = b.inside(move || serve(to)).await;
    let began = Instant::now();
    a.inside(move || send(to, TRANSFER)).await.unwrap();
    let length = tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
    let secs = began.elapsed().as_secs_f64();
    assert_eq!((length, from.recv().unwrap()), (TRANSFER, ip(REAL_A)));
    println!("LAN to LAN by TCP: {TRANSFER} bytes in {secs:.2} s");
    drop(world);
}

#[tokio::test]
async fn a_ping_of_a_real_host_reaches_simulated_and_real_hosts_and_the_router() {
    let Some((world, [a, _b])) = start().await else { return };
    for to in [REAL_B, "192.168.89.10", "192.168.88.1", "10.99.0.1"] {
        let output =
            a.inside(move || Command::new("ping").args(["-c", "2", "-i", "0.2", "-W", "2", to]).output()).await;
        let Ok(output) = output else { return println!("skipped: there is no ping here") };
        assert!(output.status.success(), "{to}: {}", String::from_utf8_lossy(&output.stdout));
    }
    drop(world);
}

#[tokio::test]
async fn connections_of_real_programs_are_tracked() {
    let Some((mut world, [a, b])) = start().await else { return };
    let only_outward = [
        "chain=forward action=accept connection-state=established,related",
        "chain=forward action=drop connection-state=invalid",
        "chain=forward action=reject in-interface=wg",
    ];
    world.a.filter(&only_outward).await;
    let (to_a, to_b) = (SocketAddr::new(ip(REAL_A), 8000), SocketAddr::new(ip(REAL_B), 8000));
    let (_from, server) = b.inside(move || serve(to_b)).await;
    a.inside(move || send(to_b, 10_000)).await.unwrap();
    assert_eq!(tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap(), 10_000);
    let listener = a.inside(move || TcpListener::bind(to_a).unwrap()).await;
    let refused = b.inside(move || send(to_a, 10_000)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable), "{refused}");
    drop(listener);
}

#[tokio::test]
async fn masquerade_shows_the_far_end_the_routers_address_by_tcp_and_udp() {
    let Some((mut world, [a, b])) = start().await else { return };
    world.a.nat(&["chain=srcnat action=masquerade out-interface=wg"]).await;
    let to = SocketAddr::new(ip(REAL_B), 8000);
    let (from, server) = b.inside(move || serve(to)).await;
    a.inside(move || send(to, 100_000)).await.unwrap();
    assert_eq!(tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap(), 100_000);
    assert_eq!(from.recv().unwrap(), ip("10.99.0.2"));
    let socket = b.inside(move || UdpSocket::bind(to).unwrap()).await;
    let asked = a.inside(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"who am I?", to).unwrap();
        let mut buffer = [0; 64];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    });
    let answered = b.inside(move || {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (_, peer) = socket.recv_from(&mut [0; 64]).unwrap();
        socket.send_to(peer.ip().to_string().as_bytes(), peer).unwrap();
    });
    let (said, ()) = tokio::join!(asked, answered);
    assert_eq!(said, "10.99.0.2");
}

#[tokio::test]
async fn a_device_that_cannot_be_opened_is_an_error_that_names_it() {
    let tun = Some("lan0@spsim-no-such-namespace".parse().unwrap());
    let lans = vec![Lan { interface: "bridge".into(), hosts: Vec::new(), tun }];
    let error = Plane::start(PlaneOptions { lans, ..PlaneOptions::default() }).await.unwrap_err();
    assert!(matches!(&error, PlaneError::Tun { .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot open the TUN device lan0@spsim-no-such-namespace");
}
