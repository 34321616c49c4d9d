//! A network namespace for real programs, gone when dropped.

use std::fs::File;
use std::process::{Command, id};
use std::thread;

use nix::sched::{CloneFlags, setns};

pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// Makes one, or says why it cannot.
    pub fn new(label: &str) -> Option<Self> {
        let name = format!("spsim-{}-{label}", id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => Some(Self { name }),
            Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => skipped(&format!("ip: {error}")),
        }
    }

    /// Runs `ip` inside.
    pub fn ip(&self, words: &str) {
        let output = Command::new("ip").args(["-n", &self.name]).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Does blocking work inside, on a thread of its own.
    pub async fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let thread = thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap()
    }
}

fn skipped(reason: &str) -> Option<Namespace> {
    println!("skipped: no network namespace can be made here: {}", reason.trim());
    None
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = Command::new("ip").args(["netns", "del", &self.name]).status() {
            println!("{} stays behind: {error}", self.name);
        }
    }
}
