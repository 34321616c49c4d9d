//! The real binary as a process, with what it says kept for whoever wants to know why.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::netns::Net;

/// Lines of a log that a failure shows.
const TAIL: usize = 60;

/// Where a process runs.
#[derive(Clone)]
pub enum Place {
    /// In a namespace.
    Net(Net),
    /// In this process's own.
    Here,
}

impl Place {
    /// Prepares `sitepeer` there.
    pub fn sitepeer(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_sitepeer");
        match self {
            Self::Net(net) => net.command(binary),
            Self::Here => Command::new(binary),
        }
    }
}

/// A `sitepeer` that runs until it is killed; dropped, it is.
pub struct Program {
    place: Place,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    pub fn start(place: &Place, log: &Path, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        let mut program = Self { place: place.clone(), arguments, log: log.to_owned(), child: None };
        program.start_again();
        program
    }

    /// Starts it with the same arguments once more.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = self
            .place
            .sitepeer()
            .args(&self.arguments)
            .env("SITEPEER_LOG", "sitepeer=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The end of what it said.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.arguments.first().map_or("", String::as_str), self.said());
        }
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

/// An address on loopback whose TCP port nobody has now.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Runs `sitepeer` to its end; it has to succeed.
pub fn run(place: &Place, arguments: &[&str]) -> String {
    let output =
        place.sitepeer().args(arguments).env("SITEPEER_ROUTER_PASSWORD", "").stdin(Stdio::null()).output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "sitepeer {arguments:?}: {:?}\n{said}\n{error}", output.status.code());
    said.into_owned()
}
