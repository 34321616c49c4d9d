//! A PostgreSQL server of a test's own: on a temporary folder and a unix socket, gone when the test ends.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the server, which first makes its files.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server. Dropping it stops it and removes its files.
pub struct Postgres {
    bin: PathBuf,
    folder: tempfile::TempDir,
}

/// Starts a server, or says why there is none.
///
/// # Errors
/// The reason, for `skipped: …`.
pub fn start() -> Result<Postgres, String> {
    let bin = installed().ok_or("PostgreSQL is not installed below /usr/lib/postgresql")?;
    let (user, group) = postgres_user().ok_or("there is no user postgres")?;
    let folder = tempfile::Builder::new().prefix("sitepeer-pg").tempdir().expect("a temporary folder");
    if chown(folder.path(), Some(user), Some(group)).is_err() {
        return Err("only root may start a server as the user postgres".to_owned());
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("a folder of one's own");
    let server = Postgres { bin, folder };
    server.initialise()?;
    server.run()?;
    Ok(server)
}

/// The newest one that is installed.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    found.retain(|bin| bin.join("postgres").exists());
    found.sort();
    found.pop()
}

fn postgres_user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Postgres {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// As the user postgres: the server refuses to be root.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(self.bin.join(program));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(self.folder.path());
        command
    }

    fn initialise(&self) -> Result<(), String> {
        let mut command = self.command("initdb");
        command.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        let made = command.arg(self.data()).status().map_err(|error| format!("initdb: {error}"))?;
        if made.success() { Ok(()) } else { Err(format!("initdb: {made}")) }
    }

    fn run(&self) -> Result<(), String> {
        let log = self.folder.path().join("log");
        let socket =
            format!("-c listen_addresses='' -c unix_socket_directories={} -c fsync=on", self.folder.path().display());
        let mut command = self.command("pg_ctl");
        command.arg("--pgdata").arg(self.data()).arg("--log").arg(&log).args([
            "--no-wait",
            "--options",
            &socket,
            "start",
        ]);
        command.status().map_err(|error| format!("pg_ctl: {error}"))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut ask = self.command("pg_isready");
            ask.arg("--host").arg(self.folder.path()).arg("--quiet");
            if ask.status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the server did not come up: {}", read(&log)))
    }

    /// Makes an empty database in the server, and returns its URL, by the unix socket.
    pub fn database(&self, name: &str) -> String {
        let mut command = self.command("createdb");
        let made = command.arg("--host").arg(self.folder.path()).arg(name).status().expect("createdb runs");
        assert!(made.success(), "createdb {name}: {made}");
        format!("postgres://postgres@localhost/{name}?host={}", self.folder.path().display())
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut command = self.command("pg_ctl");
        command.arg("--pgdata").arg(self.data()).args(["--mode=immediate", "stop"]);
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("the PostgreSQL server of this test was not stopped");
        }
    }
}
