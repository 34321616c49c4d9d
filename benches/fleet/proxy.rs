//! The proxy as a process, seen through its metrics.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::crowd::{Crowd, Nature};

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// The variable that holds the routers' password, which is empty.
const PASSWORD: &str = "SITEPEER_BENCH_PASSWORD";

pub struct Proxy {
    folder: TempDir,
    child: Child,
    metrics: SocketAddr,
}

/// What the metrics say of one router.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub watching: bool,
    pub up: bool,
    pub away: bool,
    pub looks: u64,
    pub commands: u64,
    pub bytes: u64,
}

/// What they say of all, at one moment.
pub struct Counts {
    each: Vec<Count>,
}

impl Counts {
    pub fn of(&self, number: usize) -> &Count {
        &self.each[number]
    }

    /// How many of the routers that answer are so.
    pub fn healthy(&self, is_so: impl Fn(&Count) -> bool) -> usize {
        self.select(|nature| !nature.is_dead(), is_so)
    }

    /// How many of the others are so.
    pub fn odd(&self, is_so: impl Fn(&Count) -> bool) -> usize {
        self.select(Nature::is_dead, is_so)
    }

    fn select(&self, fits: impl Fn(Nature) -> bool, is_so: impl Fn(&Count) -> bool) -> usize {
        self.each.iter().enumerate().filter(|(number, count)| fits(Nature::of(*number)) && is_so(count)).count()
    }

    pub fn sum(&self, of: fn(&Count) -> u64) -> u64 {
        self.each.iter().map(of).sum()
    }
}

impl Proxy {
    /// Has it keep the routers with these numbers.
    pub fn start(crowd: &Crowd, numbers: &[usize], period: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut fleet = format!("version = 1\n[defaults]\npassword_env = \"{PASSWORD}\"\n");
        for &number in numbers {
            fs::write(path(&format!("{number}.toml")), crowd.site(number)).unwrap();
            let address = crowd.address(number);
            writeln!(
                fleet,
                "[[router]]\nname = \"{number}\"\nurl = \"api://admin@{address}\"\nsite = \"{number}.toml\""
            )
            .unwrap();
        }
        fs::write(path("fleet.toml"), fleet).unwrap();
        // A port that is free now.
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let program = std::env::var_os("SITEPEER").unwrap_or_else(|| env!("CARGO_BIN_EXE_sitepeer").into());
        let mut command = Command::new(program);
        command.arg("proxy").arg("--fleet").arg(path("fleet.toml")).arg("--state-dir").arg(folder.path());
        command
            .args(["--metrics", &metrics.to_string(), "--start-within", "0", "--period", &period.to_string()])
            .env(PASSWORD, "");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { folder, child, metrics }
    }

    /// Reads the metrics; nothing is known of a proxy that does not answer yet.
    pub async fn count(&mut self, crowd: &Crowd) -> Counts {
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(self.child.try_wait().unwrap().is_none(), "the proxy ended: {}", log());
        let mut each = vec![Count::default(); crowd.count()];
        let text = self.scrape().await.unwrap_or_default();
        for line in text.lines().filter_map(|line| line.strip_prefix("sitepeer_agent_")) {
            let Some((labels, value)) = line.rsplit_once(' ') else { continue };
            let Some((name, labels)) = labels.split_once('{') else { continue };
            let labels: HashMap<&str, &str> =
                labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('=')).collect();
            let (number, value): (usize, u64) =
                (labels["router"].trim_matches('"').parse().unwrap(), value.parse().unwrap());
            let one = &mut each[number];
            match (name, labels.get("phase").or(labels.get("state")).copied()) {
                ("phase", Some("\"watching\"")) => one.watching = value == 1,
                ("tunnel", Some("\"up\"")) => one.up = value == 1,
                ("away", _) => one.away = value == 1,
                ("looks_total", _) => one.looks = value,
                ("look_commands_total", _) => one.commands = value,
                ("look_bytes_total", _) => one.bytes = value,
                _ => {}
            }
        }
        Counts { each }
    }

    async fn scrape(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.metrics).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// Resident memory in KiB, now and at its most.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (value("VmRSS:"), value("VmHWM:"))
    }

    /// Time on a processor since its start.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // User and system time, in hundredths of a second on Linux.
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(10 * ticks)
    }

    /// Stops it as the system does, and waits for its end.
    pub async fn stop(mut self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(begun.elapsed() < PATIENCE, "the proxy does not end: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
