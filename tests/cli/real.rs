//! The commands against a simulated router, each a process of its own: what they write keeps to the schemas.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::schema::{assert_output, problems};
use crate::sitepeer;

/// A running `sitepeer sim`, ended when dropped.
struct Sim {
    child: Child,
    url: String,
    pin: String,
}

impl Sim {
    fn start(args: &[&str]) -> Self {
        let all = [&["sim", "--json", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"], args].concat();
        let mut child = sitepeer(&all).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
        let serving: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(problems("sim", &serving), Vec::<String>::new(), "{line}");
        let text = |key: &str| serving[key].as_str().expect("a text").to_owned();
        Self { child, url: format!("apis://admin@{}", text("api_ssl")), pin: text("pin") }
    }

    /// Runs a command against the router and returns exit code and result.
    fn run(&self, args: &[&str]) -> (Option<i32>, Value) {
        self.run_trusting(&["--pin", &self.pin], args)
    }

    fn run_trusting(&self, trust: &[&str], args: &[&str]) -> (Option<i32>, Value) {
        let all = [args, &["--json", "--router", &self.url], trust].concat();
        let output = sitepeer(&all).env("SITEPEER_ROUTER_PASSWORD", "").output().expect("it starts");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let result = assert_output(args[0], &stdout);
        assert_eq!(output.status.code().map(Value::from), Some(result["exit"].clone()), "{result}");
        (output.status.code(), result)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it here.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A site whose hub nobody is: 198.51.100.0/24 is TEST-NET-2.
fn site() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "version = 1\nid = \"k3f9q2\"\ninstance = \"acme\"\n\
        [tunnel]\nprotocol = \"wireguard\"\naddresses = [\"10.77.0.2/24\"]\nprobe = [\"10.77.0.1\"]\n\
        [hub]\npublic_key = \"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\"\nendpoints = [\"198.51.100.7:51820\"]\n\
        [subnets]\nadvertise = [\"192.168.88.0/24\"]\nreach = [\"10.77.0.0/24\", \"192.168.89.0/24\"]\n";
    fs::write(file.path(), text).expect("writable");
    file
}

#[test]
fn a_site_s_life_keeps_to_the_schemas() {
    let (sim, file) = (Sim::start(&[]), site());
    let site = file.path().to_str().expect("UTF-8");
    let result = |(code, result): (Option<i32>, Value)| (code, result["result"].as_str().map(str::to_owned));
    let pending = (Some(3), Some("pending".to_owned()));
    let unproven = (Some(3), Some("unproven".to_owned()));

    assert_eq!(result(sim.run(&["status"])), pending, "nothing of ours is there");
    assert_eq!(result(sim.run(&["plan", "--site", site])), pending);
    assert_eq!(result(sim.run(&["provision", "--site", site, "--dry-run"])), pending);
    let (_, first) = sim.run(&["provision", "--site", site, "--yes", "--timeout", "1"]);
    assert_eq!(first["result"], "unproven", "{first}");
    assert!(first["writes"].as_u64() > Some(0), "{first}");
    assert_eq!(result(sim.run(&["status", "--instance", "acme"])), unproven);
    assert_eq!(result(sim.run(&["plan", "--site", site])), (Some(0), Some("converged".to_owned())));
    assert_eq!(result(sim.run(&["remove", "--site", site, "--yes"])), (Some(0), Some("removed".to_owned())));
    assert_eq!(result(sim.run(&["remove", "--yes"])), (Some(0), Some("removed".to_owned())));
}

#[test]
fn a_refused_login_and_a_refused_write_keep_to_the_schemas() {
    let sim = Sim::start(&["--fault", "refuse-login"]);
    let (code, refused) = sim.run(&["status"]);
    assert_eq!((code, &refused["code"]), (Some(4), &"login-refused".into()), "{refused}");

    let (sim, file) = (Sim::start(&["--fault", "trap-on-write=4"]), site());
    let site = file.path().to_str().expect("UTF-8");
    let (code, refused) = sim.run(&["provision", "--site", site, "--yes", "--timeout", "1"]);
    assert_eq!((code, &refused["result"]), (Some(3), &"rejected".into()), "{refused}");
    assert_eq!(refused["code"], "write-refused", "{refused}");
}

#[test]
fn an_unknown_certificate_is_exit_5_and_its_fingerprint_can_be_pinned() {
    let sim = Sim::start(&[]);
    let (code, changed) = sim.run_trusting(&["--pin", &format!("sha256:{}", "00".repeat(32))], &["status"]);
    assert_eq!((code, &changed["code"]), (Some(5), &"changed-certificate".into()), "{changed}");

    let (code, unknown) = sim.run_trusting(&[], &["status"]);
    assert_eq!((code, &unknown["code"]), (Some(5), &"unknown-certificate".into()), "{unknown}");
    let hint = unknown["hint"].as_str().expect("a hint");
    assert!(hint.contains(&format!("--pin {}", sim.pin)), "{hint}");
}

#[test]
fn a_fault_that_does_not_exist_names_those_that_do() {
    let output = sitepeer(&["sim", "--listen", "127.0.0.1:0", "--fault", "gremlins"]).output().expect("it starts");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no-answer") && stderr.contains("trap-on-write"), "{stderr}");
}
