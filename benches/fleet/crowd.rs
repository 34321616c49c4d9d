//! Many simulated routers, in as many processes as that takes.

use std::net::SocketAddr;
use std::ops::Range;
use std::process::Stdio;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Where tunnel addresses come from.
const NETWORK: &str = "10.64.0.0/16";
/// The hub's end of each tunnel; every process has a hub end of its own.
pub const HUB: &str = "10.64.0.1";
/// One of so many is a black hole, and another one is slow.
const ONE_ODD: usize = 20;
/// Most routers in one process: each has three sockets, and 20,000 open files are what many systems allow.
const IN_ONE_PROCESS: usize = 5_000;

/// What a router is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Healthy,
    Slow,
    /// Connections are taken, and that is all.
    Dead,
}

impl Nature {
    /// Which one a number has.
    pub fn of(number: usize) -> Self {
        match number % ONE_ODD {
            1 => Self::Dead,
            2 => Self::Slow,
            _ => Self::Healthy,
        }
    }

    pub fn is_dead(self) -> bool {
        self == Self::Dead
    }
}

pub struct Crowd {
    processes: Vec<Process>,
    /// By number.
    addresses: Vec<SocketAddr>,
}

/// A process that simulates some of them.
struct Process {
    numbers: Range<usize>,
    /// Key and endpoint of its hub end.
    hub: (String, String),
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Crowd {
    pub async fn start(count: usize) -> Self {
        let starts = (0..count).step_by(IN_ONE_PROCESS);
        let started = starts.map(|first| Process::start(first..count.min(first + IN_ONE_PROCESS)));
        let (processes, addresses): (Vec<_>, Vec<_>) = join_all(started).await.into_iter().unzip();
        Self { processes, addresses: addresses.concat() }
    }

    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// How many are of a nature.
    pub fn of(&self, nature: Nature) -> usize {
        (0..self.count()).filter(|number| Nature::of(*number) == nature).count()
    }

    pub fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    /// One router of each process.
    pub fn models(&self) -> Vec<usize> {
        self.processes.iter().map(|process| process.numbers.start).collect()
    }

    /// Gives the others of each process the rows of its model; returns how many.
    pub async fn copy(&mut self) -> u64 {
        self.ask("copy").await
    }

    /// Enters the keys that routers have made at their hub ends; returns how many these have then.
    pub async fn tell_hubs(&mut self) -> u64 {
        self.ask("tell").await
    }

    /// Writes to all routers.
    pub async fn writes(&mut self) -> u64 {
        self.ask("writes").await
    }

    async fn ask(&mut self, word: &str) -> u64 {
        join_all(self.processes.iter_mut().map(|process| process.ask(word))).await.into_iter().sum()
    }

    /// A site config as a person writes it.
    pub fn site(&self, number: usize) -> String {
        let (key, endpoint) = &self.processes.iter().find(|process| process.numbers.contains(&number)).unwrap().hub;
        format!(
            "version = 1\nid = \"{}\"\ninstance = \"acme\"\n[tunnel]\nprotocol = \"wireguard\"\naddresses = [\"{}/16\"]\n\
             probe = [\"{HUB}\"]\n[hub]\npublic_key = \"{key}\"\nendpoints = [\"{endpoint}\"]\n[subnets]\n\
             advertise = [\"192.168.88.0/24\"]\nreach = [\"{NETWORK}\"]\n",
            site_id(number),
            tunnel_address(number)
        )
    }
}

impl Process {
    async fn start(numbers: Range<usize>) -> (Self, Vec<SocketAddr>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--bench", "--simulate", &numbers.start.to_string(), "--until", &numbers.end.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut output = BufReader::new(output).lines();
        let hub = next(&mut output).await;
        let (key, endpoint) = hub.split_once(' ').unwrap();
        let hub = (key.to_owned(), endpoint.to_owned());
        let mut addresses = Vec::new();
        for _ in numbers.clone() {
            addresses.push(next(&mut output).await.parse().unwrap());
        }
        (Self { numbers, hub, input, output, _child: child }, addresses)
    }

    async fn ask(&mut self, word: &str) -> u64 {
        self.input.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        next(&mut self.output).await.parse().unwrap()
    }
}

async fn next(output: &mut Lines<BufReader<ChildStdout>>) -> String {
    output.next_line().await.unwrap().unwrap_or_else(|| panic!("simulated routers ended; see above"))
}

pub fn site_id(number: usize) -> String {
    format!("site{number:05}")
}

pub fn tunnel_address(number: usize) -> String {
    format!("10.64.{}.{}", 1 + number / 250, 1 + number % 250)
}
