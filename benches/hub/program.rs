//! The hub as a process.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sitepeer::domain::Secret;
use sitepeer::uplink::{Hub, HubUrl, Trust};
use tempfile::TempDir;

/// How long the hub may take to answer after its start.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which store.
#[derive(Debug, Clone)]
pub enum Kind {
    Sqlite,
    Postgres(String),
}

pub struct Program {
    kind: Kind,
    folder: TempDir,
    child: Child,
    url: String,
    trust: Trust,
}

impl Program {
    /// Starts a hub with an empty store.
    pub async fn start(kind: &Kind) -> Self {
        let folder = TempDir::new().unwrap();
        let (child, address) = spawn(kind, &folder, &[]);
        let url = format!("http://{address}");
        let program = Self { kind: kind.clone(), folder, child, url, trust: Trust::Public };
        program.answers().await;
        program
    }

    /// Starts it again, on the same store, with TLS.
    pub async fn with_tls(&mut self) {
        self.stop();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        let (child, address) = spawn(&self.kind, &self.folder, &tls);
        self.child = child;
        self.url = format!("https://localhost:{}", address.rsplit_once(':').unwrap().1);
        self.trust = Trust::CaFile(cert);
        self.answers().await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client with a connection of its own.
    pub fn client(&self, credential: Option<Secret>) -> Hub {
        let url: HubUrl = self.url.parse().unwrap();
        Hub::new(url, &self.trust, credential).unwrap()
    }

    /// The first administrator.
    pub fn admin(&self) -> Hub {
        let token = fs::read_to_string(self.path("data/admin.token")).unwrap();
        self.client(Some(Secret::new(token.trim().to_owned())))
    }

    async fn answers(&self) {
        let (begun, hub) = (Instant::now(), self.client(None));
        while let Err(error) = hub.text("/readyz").await {
            assert!(begun.elapsed() < PATIENCE, "the hub does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn spawn(kind: &Kind, folder: &TempDir, more: &[&str]) -> (Child, String) {
    // A port that is free now.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let log = fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    let data = folder.path().join("data");
    let program = std::env::var_os("SITEPEER").unwrap_or_else(|| env!("CARGO_BIN_EXE_sitepeer").into());
    let mut command = Command::new(program);
    command.args(["hub", "--listen", &address, "--enroll-per-minute", "1000000", "--data-dir"]).arg(data).args(more);
    if let Kind::Postgres(url) = kind {
        command.args(["--database-url", url]);
    }
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    (child, address)
}
