//! The daily work at the real hub: a process of its own with its gateway beside it, killed and restarted on the way.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Run, hub, schema};

/// Longest wait for a hub to start or end, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);
const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A hub and the folder that outlives it.
struct RealHub {
    folder: TempDir,
    child: Child,
    lines: Receiver<String>,
    serving: Value,
}

fn spawn(data: &Path) -> (Child, Receiver<String>) {
    let data = data.to_str().expect("UTF-8");
    let mut command = hub(&["--json", "--listen", "127.0.0.1:0", "--data-dir", data, "--report-secs", "1"]);
    command.args(["--gateway", "--backend", "rootless", "--public-host", "127.0.0.1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    (child, lines)
}

fn serving(lines: &Receiver<String>) -> Value {
    let line = lines.recv_timeout(PATIENCE).expect("it says where it serves");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(schema::problems("hub", &event), Vec::<String>::new(), "{line}");
    assert_eq!(event["event"], "serving", "{line}");
    event
}

impl RealHub {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (child, lines) = spawn(&folder.path().join("hub"));
        let serving = serving(&lines);
        Self { folder, child, lines, serving }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    /// A path for a file of the test.
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn start_again(&mut self) {
        (self.child, self.lines) = spawn(&self.data());
        self.serving = serving(&self.lines);
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// As a crash of the machine would, and up again.
    fn kill_and_start_again(&mut self) {
        self.signal("-KILL");
        self.child.wait().expect("it ends");
        self.start_again();
    }

    /// As systemd would.
    fn stop(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0), "to be stopped is how it ends");
        let last = self.lines.iter().last().expect("last words");
        assert_eq!(serde_json::from_str::<Value>(&last).expect("JSON")["result"], "done", "{last}");
    }

    fn ask_as(&self, token_file: &str, args: &[&str]) -> Run {
        let mut command = hub(args);
        command.env("SITEPEER_HUB", self.serving["url"].as_str().expect("a URL"));
        command.env("SITEPEER_HUB_TOKEN_FILE", token_file);
        Run::of(command)
    }

    fn ask(&self, args: &[&str]) -> Run {
        let token = self.data().join("admin.token");
        self.ask_as(token.to_str().expect("UTF-8"), args)
    }

    /// Asks, and returns exit code and result, which keeps to the schema.
    #[track_caller]
    fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let run = self.ask(&[args, &["--json"]].concat());
        (run.code, schema::assert_output("hub", &run.stdout))
    }

    /// Asks for something that is done.
    #[track_caller]
    fn done(&self, args: &[&str]) -> Value {
        let (code, result) = self.json(args);
        assert_eq!(code, Some(0), "{args:?}: {result}");
        result
    }

    /// Asks for something that the hub refuses, with this code.
    #[track_caller]
    fn refused(&self, args: &[&str], code: &str) -> Value {
        let (exit, result) = self.json(args);
        assert_eq!((exit, &result["code"]), (Some(6), &json!(code)), "{args:?}: {result}");
        result
    }

    /// The instance `acme`, on a UDP port that nobody has: 51820 may be somebody's on this machine.
    #[track_caller]
    fn with_an_instance(&self) -> Value {
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        self.done(&["instance", "create", "acme", "--wait", "--listen-port", &free.to_string()])["instance"].clone()
    }

    /// An account, an instance, a site and its peer.
    fn with_a_site() -> Self {
        let hub = Self::start();
        hub.done(&["account", "create", "ops"]);
        hub.with_an_instance();
        hub.done(&["site", "create", "branch-12"]);
        hub.done(&["peer", "add", "site", "acme", "branch-12", "--subnets", "192.168.88.0/24"]);
        hub
    }
}

impl Drop for RealHub {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it here.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[cfg(unix)]
#[test]
fn a_hub_alone_on_a_machine_serves_everything_and_keeps_its_secrets() {
    let hub = RealHub::start();
    assert_eq!(hub.serving["gateway"]["region"], "default");
    assert_eq!(hub.serving["admin_token"], json!(hub.data().join("admin.token").display().to_string()));
    assert_eq!((mode(&hub.data()), mode(&hub.data().join("admin.token"))), (0o700, 0o600));
    assert_eq!((mode(&hub.data().join("gateway.token")), mode(&hub.data().join("hub.db"))), (0o600, 0o600));
    assert_eq!(hub.done(&["whoami"])["whoami"]["role"], "admin");

    hub.done(&["account", "create", "ops"]);
    let made = hub.with_an_instance();
    assert_eq!((&made["status"], &made["region"]), (&json!("active"), &json!("default")), "{made}");
    assert!(made["endpoint"].as_str().expect("an endpoint").starts_with("127.0.0.1:"), "{made}");
    assert!(made["public_key"].is_string(), "{made}");
    let gateways = hub.done(&["gateway", "list"])["gateways"].clone();
    assert_eq!((&gateways[0]["backend"], &gateways[0]["instances"]), (&json!("rootless"), &json!(1)), "{gateways}");
}

#[test]
fn the_daily_work_from_the_terminal() {
    let hub = RealHub::with_a_site();
    let peer = hub.done(&["peer", "show", "acme/branch-12"])["peer"].clone();
    assert_eq!((&peer["kind"], &peer["status"]), (&json!("site"), &json!("waiting")), "{peer}");
    assert_eq!(peer["subnets"], json!(["192.168.88.0/24"]));

    // What collides is named.
    hub.done(&["site", "create", "branch-13"]);
    let clash = ["peer", "add", "site", "acme", "branch-13", "--subnets", "192.168.0.0/16"];
    let refused = hub.refused(&clash, "overlap");
    assert!(refused["message"].as_str().expect("a text").contains("branch-12"), "{refused}");
    hub.done(&["peer", "disable", "branch-12"]);
    hub.done(&clash);
    hub.refused(&["peer", "enable", "branch-12"], "overlap");
    hub.done(&["peer", "rm", "branch-13", "--yes"]);
    hub.done(&["peer", "enable", "branch-12"]);
    let edited = hub.done(&["peer", "edit", "branch-12", "--add-subnets", "192.168.90.0/24"]);
    assert_eq!(edited["peer"]["subnets"], json!(["192.168.88.0/24", "192.168.90.0/24"]));

    // A client with its own key, and its profile.
    hub.done(&["peer", "add", "client", "acme", "alice", "--public-key", KEY]);
    let conf = hub.file("alice.conf");
    hub.ask(&["peer", "profile", "alice", "--out", &conf]).ok();
    let profile = fs::read_to_string(&conf).expect("it is there");
    assert!(profile.contains("[YOUR_PRIVATE_KEY]") && profile.contains("[Peer]"), "{profile}");
    assert!(hub.ask(&["peer", "profile", "alice", "--qr"]).ok().stdout.contains('█'));
    assert!(!hub.ask(&["peer", "profile", "branch-12"]).stdout.contains("[Peer]"), "a site has no profile");

    let remote = ["peer", "add", "remote", "acme", "aws", "--subnets", "10.20.0.0/16", "--public-key", KEY];
    hub.refused(&remote, "key-taken");
    hub.refused(&["instance", "create", "www", "--wait"], "hostname-reserved");
    assert_eq!(hub.done(&["instance", "suspend", "acme", "--yes"])["instance"]["status"], "suspended");
    assert_eq!(hub.done(&["instance", "resume", "acme", "--wait"])["instance"]["status"], "active");

    let actions: Vec<Value> = hub.done(&["audit", "--limit", "200"])["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| e["action"].clone())
        .collect();
    assert!(actions.len() >= 10, "{actions:?}");
    for command in
        [&["instance", "list"][..], &["peer", "list"], &["site", "list"], &["token", "list"], &["account", "list"]]
    {
        let run = hub.ask(command).ok();
        assert!(
            run.stdout.lines().count() >= 2 && run.stdout.lines().all(|line| line.chars().count() <= 80),
            "{run:?}"
        );
    }
    hub.done(&["instance", "delete", "acme", "--yes"]);
    assert_eq!(hub.done(&["peer", "list"])["peers"], json!([]));
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let mut hub = RealHub::with_a_site();
    let before = hub.done(&["instance", "show", "acme"])["instance"].clone();
    let token = hub.file("branch-12.token");
    hub.ask(&["enrollment", "create", "branch-12", "--out", &token]).ok();
    hub.kill_and_start_again();
    let after = hub.done(&["instance", "show", "acme"])["instance"].clone();
    for key in ["id", "public_key", "listen_port", "status"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(hub.done(&["peer", "list"])["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(hub.done(&["enrollment", "list"])["enrollments"][0]["state"], "open");
    // The embedded gateway is the one it was.
    assert_eq!(hub.done(&["gateway", "list"])["gateways"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_backup_brings_back_what_was_there() {
    let mut hub = RealHub::with_a_site();
    let (data, copy) = (hub.data().to_str().expect("UTF-8").to_owned(), hub.file("copy.db"));
    Run::of(crate::hub(&["backup", &copy, "--data-dir", &data])).ok();
    #[cfg(unix)]
    assert_eq!(mode(Path::new(&copy)), 0o600);
    let again = Run::of(crate::hub(&["backup", &copy, "--data-dir", &data]));
    assert_eq!(again.code, Some(2), "nothing is written over: {again:?}");
    hub.done(&["peer", "rm", "branch-12", "--yes"]);

    let running = Run::of(crate::hub(&["restore", &copy, "--yes", "--data-dir", &data]));
    assert_eq!(running.code, Some(2), "not under a running hub: {running:?}");
    hub.stop();
    Run::of(crate::hub(&["restore", &copy, "--yes", "--data-dir", &data])).ok();
    hub.start_again();
    assert_eq!(hub.done(&["peer", "show", "branch-12"])["peer"]["subnets"], json!(["192.168.88.0/24"]));
}

#[test]
fn who_lost_every_admin_token_makes_another_on_the_hub_s_machine_while_it_runs_or_not() {
    let mut hub = RealHub::start();
    let data = hub.data().to_str().expect("UTF-8").to_owned();
    fs::remove_file(hub.data().join("admin.token")).expect("it was there");
    let (one, two) = (hub.file("one.token"), hub.file("two.token"));
    let nowhere = Run::of(crate::hub(&["admin-token", "--data-dir", &data]));
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    let made = Run::of(crate::hub(&["admin-token", "--data-dir", &data, "--out", &one, "--json"])).ok();
    let result = schema::assert_output("hub", &made.stdout);
    assert_eq!((&result["token"]["role"], &result["secret_file"]), (&json!("admin"), &json!(one)), "{result}");
    assert_eq!(mode(Path::new(&one)), 0o600);
    hub.ask_as(&one, &["account", "create", "mine"]).ok();
    let log = hub.ask_as(&one, &["audit"]).ok();
    assert!(log.stdout.contains("token.create") && log.stdout.contains("the hub's own machine"), "{log:?}");
    let again = Run::of(crate::hub(&["admin-token", "--data-dir", &data, "--out", &one]));
    assert!(again.code == Some(2) && again.stderr.contains("nothing is written over"), "{again:?}");

    hub.stop();
    Run::of(crate::hub(&["admin-token", "--data-dir", &data, "--out", &two, "--name", "two"])).ok();
    hub.start_again();
    hub.ask_as(&two, &["whoami"]).ok();
    let empty = hub.file("nothing here");
    let none = Run::of(crate::hub(&["admin-token", "--data-dir", &empty, "--out", &hub.file("three.token")]));
    assert!(none.code == Some(2) && none.stderr.contains("there is no store at"), "{none:?}");
    assert!(!Path::new(&hub.file("three.token")).exists(), "an empty file is left behind");
}

#[test]
fn a_hub_can_be_stopped_as_soon_as_it_says_that_it_serves() {
    let mut hub = RealHub::start();
    for _ in 0..4 {
        hub.stop();
        hub.start_again();
    }
    hub.stop();
}

#[test]
fn a_hub_that_is_stopped_leaves_one_whole_file() {
    let mut hub = RealHub::with_a_site();
    hub.stop();
    for name in ["hub.db-wal", "hub.db-shm"] {
        assert!(!hub.data().join(name).exists(), "{name} is left");
    }
    hub.start_again();
    assert_eq!(hub.done(&["peer", "show", "branch-12"])["peer"]["subnets"], json!(["192.168.88.0/24"]));
}

#[test]
fn a_damaged_store_stops_with_its_path_and_the_way_out() {
    let mut hub = RealHub::start();
    hub.stop();
    let file = hub.data().join("hub.db");
    fs::write(&file, "this is no database, and was not one for a long time").expect("writable");
    // What the log still has would mend it.
    for name in ["hub.db-wal", "hub.db-shm"] {
        let log = hub.data().join(name);
        assert!(!log.exists() || fs::remove_file(log).is_ok());
    }
    let data = hub.data().to_str().expect("UTF-8").to_owned();
    let run = Run::of(crate::hub(&["--listen", "127.0.0.1:0", "--data-dir", &data]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains(&file.display().to_string()) && run.stderr.contains("sitepeer hub restore"), "{run:?}");
    assert!(fs::read_to_string(&file).expect("it stays").starts_with("this is no database"));
}

#[test]
fn a_token_sees_its_own_account_and_does_what_its_role_may() {
    let hub = RealHub::with_a_site();
    hub.done(&["account", "create", "others"]);
    let (viewer, stranger) = (hub.file("viewer"), hub.file("stranger"));
    hub.ask(&["token", "create", "v", "--role", "viewer", "--account", "ops", "--out", &viewer]).ok();
    hub.ask(&["token", "create", "s", "--role", "operator", "--account", "others", "--out", &stranger]).ok();

    let seen = hub.ask_as(&viewer, &["peer", "list"]).ok();
    assert!(seen.stdout.contains("branch-12"), "{seen:?}");
    let denied = hub.ask_as(&viewer, &["peer", "disable", "branch-12"]);
    assert_eq!(denied.code, Some(6), "{denied:?}");
    assert!(denied.stderr.contains("hint: "), "{denied:?}");

    let seen = hub.ask_as(&stranger, &["peer", "list"]).ok();
    assert_eq!(seen.stdout, "", "{seen:?}");
    let id = hub.done(&["peer", "show", "branch-12"])["peer"]["id"].as_str().expect("an id").to_owned();
    let words = |wanted: &str| hub.ask_as(&stranger, &["peer", "show", wanted]).stderr.replace(wanted, "X");
    assert_eq!(words(&id), words("zzzzzzzz"), "what is another's is as if it did not exist");

    hub.done(&["token", "revoke", "v", "--yes"]);
    assert_eq!(hub.ask_as(&viewer, &["whoami"]).code, Some(6));
}

#[test]
fn names_that_speak_to_terminals_do_not() {
    let hub = RealHub::with_a_site();
    let nasty = "x\u{1b}[31m\u{202e}\u{9b}2J";
    // Whether the hub takes such a name is its own affair; the terminal never sees it as it is.
    for args in [
        &["site", "create", nasty][..],
        &["site", "list"],
        &["peer", "add", "client", "acme", nasty],
        &["peer", "list"],
        &["audit"],
    ] {
        let run = hub.ask(args);
        for text in [&run.stdout, &run.stderr] {
            assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        }
    }
}

#[test]
fn settings_are_checked_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hub.toml");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, "listen = \"127.0.0.1:0\"\ndata_dir = \"/var/lib/x\"\ndomain = \"vpn.example.net\"\n")
        .expect("writable");
    let run = Run::of(hub(&["check", "--config", path, "--report-secs", "5", "--json"])).ok();
    let settings = schema::assert_output("hub", &run.stdout)["settings"].clone();
    assert_eq!((&settings["domain"], &settings["report_secs"]), (&json!("vpn.example.net"), &json!(5)), "{settings}");
    let run = Run::of(hub(&["check", "--config", path])).ok();
    assert!(run.stdout.contains("SQLite in /var/lib/x"), "{run:?}");

    fs::write(&file, "lisen = \"127.0.0.1:0\"\n").expect("writable");
    let run = Run::of(hub(&["check", "--config", path]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("lisen") && run.stderr.contains("hint: "), "{run:?}");

    let run = Run::of(hub(&["check", "--listen", "0.0.0.0:8443"]));
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("there is no TLS") && run.stderr.contains("hint: "), "{run:?}");
}
