//! `sitepeer demo` as a newcomer and as CI run it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::schema::{assert_output, problems};
use crate::{Run, sitepeer};

/// The longest silence of a demo that works, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);

/// The demo with an empty folder for everything it might leave behind.
fn demo(folder: &Path, args: &[&str]) -> Command {
    let mut command = sitepeer(&[&["demo"], args].concat());
    command.env("TMPDIR", folder).env("XDG_RUNTIME_DIR", folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run_once(folder: &Path, args: &[&str]) -> Run {
    let output = demo(folder, args).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn left_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_demo_shows_every_promise_and_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder");
    let Run { code, stdout, stderr } = run_once(folder.path(), &["--once"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
    for promise in [
        "192.168.88.10 -> 192.168.89.10   5 of 5 answered",
        "192.168.89.10 -> 192.168.88.10   5 of 5 answered",
        "192.168.88.10 -> 192.168.89.10   0 of 1 answered",
        "finds 1 change: add /ip/route sitepeer:",
        ":route:192.168.89.0/24 (missing)",
        "192.168.89.10 -> 192.168.88.10   1 of 1 answered",
        "1 row put back",
        "north  0 writes, 1 round trip of reading",
        "south  0 writes, 1 round trip of reading",
        "rows as before",
        "All of it worked",
    ] {
        assert!(stdout.contains(promise), "{promise:?} is not in:\n{stdout}");
    }
    let wide: Vec<&str> = stdout.lines().filter(|line| line.chars().count() > 100).collect();
    assert_eq!(wide, Vec::<&str>::new(), "wider than a terminal");
    assert!(stdout.lines().count() <= 40, "more than a screen:\n{stdout}");
}

#[test]
fn the_demo_for_machines_keeps_to_its_schema() {
    let folder = TempDir::new().expect("a folder");
    let Run { code, stdout, stderr } = run_once(folder.path(), &["--once", "--json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let result = assert_output("demo", &stdout);
    assert_eq!((&result["result"], &result["exit"]), (&"done".into(), &0.into()));
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
}

/// A demo that stays up, and its lines as they come.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let mut child = demo(folder, &["--json"]).spawn().expect("it starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line that `wanted` is true of.
    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the demo goes on");
            let event: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(problems("demo", &event), Vec::<String>::new(), "{line}");
            if wanted(&event) {
                return event;
            }
        }
    }

    fn until_act(&self, act: &str, subject: &str) -> Value {
        self.until(|event| event["act"] == act && event["subject"] == subject)["figures"].clone()
    }

    fn interrupt(&self) {
        let stopped = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(stopped.expect("kill is there").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed test only; one that has ended is not there to be killed.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Runs a command on a router of the demo from outside, as somebody at another terminal.
fn outside(folder: &Path, command: &str, router: &Value, more: &[&str]) -> Option<i32> {
    let text = |name: &str| router[name].as_str().expect("a text").to_owned();
    let (url, pin, password) = (text("url"), text("pin"), text("password_file"));
    let args = [&[command, "--router", &url, "--pin", &pin, "--password-file", &password], more].concat();
    let output = sitepeer(&args).env("TMPDIR", folder).env("XDG_RUNTIME_DIR", folder).output().expect("it starts");
    output.status.code()
}

#[cfg(unix)]
#[test]
fn the_demo_stays_up_to_be_looked_at_and_takes_everything_out_on_ctrl_c() {
    let folder = TempDir::new().expect("a folder");
    let mut demo = Running::start(folder.path());
    let north = demo.until_act("start", "north");
    demo.until(|event| event["act"] == "up");

    let text = |name: &str| north[name].as_str().expect("a text").to_owned();
    let (hub, token) = (text("hub_url"), text("token_file"));
    let at_hub = ["--hub", &hub, "--token-file", &token];
    let outside = |command: &str, more: &[&str]| outside(folder.path(), command, &north, more);
    assert_eq!(outside("status", &[]), Some(0));
    assert_eq!(outside("status", &at_hub), Some(0));
    assert_eq!(outside("plan", &at_hub), Some(0));
    assert_eq!(outside("remove", &["--yes"]), Some(0));
    assert_eq!(outside("plan", &at_hub), Some(3));
    // The router makes a new key, and provision tells the hub.
    assert_eq!(outside("provision", &[&at_hub[..], &["--yes"]].concat()), Some(0));

    demo.interrupt();
    for name in ["north", "south"] {
        assert_eq!(demo.until_act("remove", name)["difference"], serde_json::json!([]));
    }
    demo.until(|event| event["result"] == "done");
    assert_eq!(demo.child.wait().expect("it ends").code(), Some(0));
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn a_demo_stopped_before_its_end_is_no_success_and_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder");
    let mut demo = Running::start(folder.path());
    demo.until_act("provision", "south");
    demo.interrupt();
    let result = demo.until(|event| event.get("result").is_some());
    assert_eq!((&result["result"], &result["code"]), (&"interrupted".into(), &"stopped".into()));
    assert_eq!(demo.child.wait().expect("it ends").code(), Some(130));
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
}
