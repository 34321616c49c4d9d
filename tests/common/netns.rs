//! Worlds of network namespaces for tests: hosts, cables, switches, WireGuard clients, pings and transfers.
//!
//! Needs root, `ip`, `nsenter`, `ping`, and `wg` with either `wireguard-go` or the kernel's WireGuard. A test includes it by
//! `#[path = "../common/netns.rs"] mod netns;`, asks [`World::new`] first, and prints `skipped: reason` if there is none.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long one attempt of a connection or a read may take.
const SOCKET_DEADLINE: Duration = Duration::from_secs(5);

/// Numbers for names that must differ on this machine, not only in a namespace (control sockets of `wireguard-go`).
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A world; everything in it goes when it is dropped.
pub struct World {
    prefix: String,
    names: Vec<String>,
}

/// A host of a world: a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    name: String,
}

/// What a world needs that is not there.
fn lacking(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    if let Some(missing) = programs.iter().find(|program| !has(program)) {
        return Some(format!("no `{missing}`"));
    }
    let clients = if kernel_clients() { kernel_wireguard() } else { Path::new("/dev/net/tun").exists() };
    (!clients).then(|| "neither wireguard-go with /dev/net/tun nor the kernel's WireGuard".to_owned())
}

/// Whether this kernel has WireGuard: tried in a namespace of its own.
pub fn kernel_wireguard() -> bool {
    thread::spawn(|| {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let output = Command::new("ip").args(["link", "add", "probe", "type", "wireguard"]).output();
        output.unwrap().status.success()
    })
    .join()
    .unwrap()
}

/// Whether a program is there.
pub fn has(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(program).exists())
}

/// A number that this machine's tests do not use twice.
pub fn unique() -> String {
    format!("{:06x}{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl World {
    /// Makes an empty world; the error is the reason why there can be none.
    pub fn new(part: &str) -> Result<Self, String> {
        match lacking(&["ip", "nft", "nsenter", "ping", "wg"]) {
            Some(reason) => Err(reason),
            None => Ok(Self { prefix: format!("sp{part}{}", unique()), names: Vec::new() }),
        }
    }

    /// Adds a host. Its loopback is up; it forwards nothing.
    pub fn host(&mut self, name: &str) -> Net {
        let net = Net { name: format!("{}-{name}", self.prefix) };
        run("ip", &["netns", "add", &net.name]);
        self.names.push(net.name.clone());
        net.ip("link set lo up");
        net
    }

    #[expect(clippy::unused_self, reason = "cables belong to a world")]
    /// Lays a cable between two hosts: `(host, interface, address/length)`. An empty address gives none.
    pub fn cable(&self, a: (&Net, &str, &str), b: (&Net, &str, &str)) {
        let one = format!("link add {} type veth peer name {} netns {}", a.1, b.1, b.0.name);
        a.0.ip(&one);
        for (net, interface, address) in [a, b] {
            if !address.is_empty() {
                net.ip(&format!(
                    "addr add {address} dev {interface} {}",
                    if address.contains(':') { "nodad" } else { "" }
                ));
            }
            net.ip(&format!("link set {interface} up"));
        }
    }

    #[expect(clippy::unused_self, reason = "switches belong to a world")]
    /// Makes a switch of a host, with an address of the host itself on it.
    pub fn switch(&self, net: &Net, name: &str, addresses: &[&str]) {
        // An address of its own: else it takes the least of its ports', changes it with the next cable, and is deaf to all who know
        // the one before until they ask again.
        net.ip(&format!("link add {name} address 02:00:00:00:00:01 type bridge"));
        for address in addresses {
            net.ip(&format!("addr add {address} dev {name} {}", if address.contains(':') { "nodad" } else { "" }));
        }
        net.ip(&format!("link set {name} up"));
    }

    /// Plugs a host into a switch.
    pub fn plug(&self, net: &Net, interface: &str, addresses: &[&str], switch: (&Net, &str)) {
        let port = format!("p{}", unique());
        self.cable((net, interface, ""), (switch.0, &port, ""));
        for address in addresses {
            net.ip(&format!("addr add {address} dev {interface} {}", if address.contains(':') { "nodad" } else { "" }));
        }
        switch.0.ip(&format!("link set {port} master {}", switch.1));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Runs a program; it has to succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Net {
    /// The namespace's name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A namespace that others made.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Runs `ip …` inside; it has to succeed.
    pub fn ip(&self, arguments: &str) -> String {
        let all: Vec<&str> = ["-n", &self.name].into_iter().chain(arguments.split_whitespace()).collect();
        run("ip", &all)
    }

    /// Prepares a program that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Runs a program inside.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Runs a program inside; it has to succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the host a router.
    pub fn forward(&self) {
        self.enter(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{switch}"), "1").unwrap();
            }
        });
    }

    /// Runs something on a thread inside, and waits for it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter_this_thread();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs something on a thread inside, meanwhile.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let net = self.clone();
        thread::spawn(move || {
            net.enter_this_thread();
            work()
        })
    }

    fn enter_this_thread(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs a future on a runtime whose every thread is inside.
    pub fn block_on<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        self.enter(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(future)
        })
    }

    /// Whether an address answers to a ping within a second.
    pub fn pings(&self, address: &str) -> bool {
        self.output("ping", &["-n", "-c", "1", "-W", "1", address]).status.success()
    }

    /// Waits until an address answers.
    pub fn pings_in_the_end(&self, address: &str) {
        until(&format!("{} pings {address}", self.name), || self.pings(address));
    }

    /// Begins to ping an address 100 times a second, so often; [`Pinging::end`] waits for the last answers, too.
    pub fn ping_count(&self, address: &str, count: u32) -> Pinging {
        let mut command = self.command("ping");
        command.args(["-n", "-i", "0.01", "-W", "1", "-c", &count.to_string(), address]).stdout(Stdio::piped());
        Pinging(Some(command.spawn().unwrap()))
    }

    /// Begins to ping an address 100 times a second, until it is stopped: a packet that is under way then counts as lost.
    pub fn ping(&self, address: &str) -> Pinging {
        let mut command = self.command("ping");
        command.args(["-n", "-i", "0.01", "-W", "1", address]).stdout(Stdio::piped());
        Pinging(Some(command.spawn().unwrap()))
    }

    /// Sends bytes by TCP to a server that is made in `to`, and returns what it got and from whom; `None` if it could not connect.
    pub fn transfer(&self, to: &Net, address: &str, bytes: usize) -> Option<Received> {
        let address: IpAddr = address.parse().unwrap();
        let listener = to.enter(|| TcpListener::bind((address, 0)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let target = listener.local_addr().unwrap();
        let server = to.spawn(move || serve(&listener));
        let sent = self.enter(|| send(target, bytes));
        let received = server.join().unwrap();
        sent.is_some().then_some(received).flatten()
    }
}

/// What a server got.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// How much.
    pub bytes: usize,
    /// From whom, as the server sees it.
    pub from: IpAddr,
}

fn serve(listener: &TcpListener) -> Option<Received> {
    let begun = Instant::now();
    // A little longer than a client tries to connect.
    while begun.elapsed() < SOCKET_DEADLINE + Duration::from_millis(500) {
        if let Ok((mut stream, peer)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(SOCKET_DEADLINE)).unwrap();
            let mut buffer = vec![0; 1 << 16];
            let mut bytes = 0;
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => bytes += n,
                    Err(error) => panic!("after {bytes} bytes: {error}"),
                }
            }
            stream.write_all(b"!").unwrap();
            return Some(Received { bytes, from: peer.ip() });
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

fn send(target: SocketAddr, bytes: usize) -> Option<()> {
    let mut stream = TcpStream::connect_timeout(&target, SOCKET_DEADLINE).ok()?;
    stream.set_write_timeout(Some(SOCKET_DEADLINE)).unwrap();
    stream.set_read_timeout(Some(SOCKET_DEADLINE)).unwrap();
    stream.write_all(&vec![7; bytes]).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    stream.read_exact(&mut [0]).ok()
}

/// A ping at work.
pub struct Pinging(Option<Child>);

impl Pinging {
    /// Ends it, and returns how many went and how many of them were lost: those that were on the way when it ended are neither.
    pub fn stop_and_count_lost(mut self) -> (u32, u32) {
        let child = self.0.take().unwrap();
        run("kill", &["-INT", &child.id().to_string()]);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse::<u32>().ok();
        let came: std::collections::BTreeSet<u32> =
            text.lines().filter(|line| line.contains("time=")).filter_map(number).collect();
        let highest = came.last().copied().unwrap_or(0);
        let sums = text.lines().find(|line| line.contains("packets transmitted")).unwrap_or_else(|| panic!("{text}"));
        let asked: u32 = sums.split(' ').next().unwrap().parse().unwrap();
        let (lost, under_way) = (highest - u32::try_from(came.len()).unwrap(), asked - highest);
        // Ten are sent in the time that an answer may take on a busy machine; more that did not come are lost.
        (asked, lost + if under_way <= 10 { 0 } else { under_way })
    }

    /// Ends it, and returns how many went and how many came back.
    pub fn stop(self) -> (u32, u32) {
        // SIGINT makes it print its sums.
        run("kill", &["-INT", &self.0.as_ref().unwrap().id().to_string()]);
        self.end()
    }

    /// Waits for its end, and returns how many went and how many came back.
    pub fn end(mut self) -> (u32, u32) {
        let child = self.0.take().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.contains("packets transmitted")).unwrap_or_else(|| panic!("{text}"));
        let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }
}

impl Drop for Pinging {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

/// A WireGuard peer on a host, independent of the one under test: `wireguard-go`, or the kernel's where that is asked for.
pub struct Wireguard {
    net: Net,
    interface: String,
    private_key: String,
    process: Option<Child>,
}

/// Whether clients are to be the kernel's WireGuard: where there is no `wireguard-go`.
fn kernel_clients() -> bool {
    !has("wireguard-go")
}

impl Wireguard {
    /// Makes an interface on a host, with addresses such as `10.99.0.2/32`.
    pub fn new(net: &Net, addresses: &[&str]) -> Self {
        let interface = format!("w{}", unique());
        let mut made = Self { net: net.clone(), interface, private_key: run("wg", &["genkey"]), process: None };
        if kernel_clients() {
            net.ip(&format!("link add {} type wireguard", made.interface));
        } else {
            let mut command = net.command("wireguard-go");
            command
                .args(["-f", &made.interface])
                .env("LOG_LEVEL", "error")
                .stdout(Stdio::null())
                .stderr(Stdio::inherit());
            made.process = Some(command.spawn().unwrap());
            let name = made.interface.clone();
            // Not by `wg show`: it removes a control socket that does not answer yet, and wireguard-go ends when its socket goes.
            let control = format!("/var/run/wireguard/{name}.sock");
            until("wireguard-go is there", || {
                let ended = made.process.as_mut().and_then(|process| process.try_wait().unwrap());
                assert_eq!(ended, None, "wireguard-go {name} ended");
                UnixStream::connect(&control).is_ok()
            });
        }
        made.set(&format!("[Interface]\nPrivateKey = {}", made.private_key));
        for address in addresses {
            net.ip(&format!(
                "addr add {address} dev {} {}",
                made.interface,
                if address.contains(':') { "nodad" } else { "" }
            ));
        }
        net.ip(&format!("link set {} mtu 1420 up", made.interface));
        made
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The public key as base64.
    pub fn public_key(&self) -> String {
        self.net.run("wg", &["show", &self.interface, "public-key"]).trim().to_owned()
    }

    /// Has the gateway as a peer, with routes to `allowed`.
    pub fn connect(&self, public_key: &str, endpoint: &str, allowed: &[&str], keepalive: u16) {
        let nets = allowed.join(", ");
        self.set(&format!(
            "[Peer]\nPublicKey = {public_key}\nEndpoint = {endpoint}\nAllowedIPs = {nets}\nPersistentKeepalive = {keepalive}"
        ));
        for net in allowed {
            self.net.ip(&format!("route replace {net} dev {}", self.interface));
        }
    }

    /// Adds configuration, as `wg addconf` takes it.
    pub fn set(&self, configuration: &str) {
        let mut command = self.net.command("wg");
        command.args(["addconf", &self.interface, "/dev/stdin"]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{configuration}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "wg addconf");
    }

    /// Seconds since 1970 of the last handshake; 0 if there was none.
    pub fn handshake(&self) -> u64 {
        let text = self.net.run("wg", &["show", &self.interface, "latest-handshakes"]);
        text.split_whitespace().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Wireguard {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.kill();
            let _gone = process.wait();
            let _gone = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.interface));
        }
    }
}
