//! `agent` and `proxy` as processes: arguments, files, signals.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails with the test")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUTER: &str = "version = 1\n[[router]]\nname = \"oslo-1\"\nurl = \"api://admin@127.0.0.1:9\"\npassword_env = \"OSLO\"\nsite = \"oslo-1.toml\"\n";
const SITE: &str = "version = 1\nid = \"k3f9q2\"\ninstance = \"acme\"\n[tunnel]\nprotocol = \"wireguard\"\naddresses = [\"10.99.0.2/24\"]\n\
probe = [\"10.99.0.1\"]\n[hub]\npublic_key = \"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"\nendpoints = [\"192.0.2.1:51820\"]\n[subnets]\n\
advertise = [\"192.168.88.0/24\"]\nreach = [\"10.99.0.0/24\"]\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.toml"), ROUTER).unwrap();
    std::fs::write(folder.path().join("oslo-1.toml"), SITE).unwrap();
    folder
}

fn in_folder(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
    command.current_dir(folder.path()).args(arguments).env("OSLO", "pw").stdin(Stdio::null());
    command
}

#[test]
fn a_fleet_file_is_checked_and_what_is_wrong_names_the_router() {
    let folder = folder();
    let good = in_folder(&folder, &["proxy", "check", "--fleet", "fleet.toml"]).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(String::from_utf8(good.stderr).unwrap().ends_with("ok       1 routers\n"));
    let unset = in_folder(&folder, &["proxy", "check", "--fleet", "fleet.toml"]).env_remove("OSLO").output().unwrap();
    let said = String::from_utf8(unset.stderr).unwrap();
    assert_eq!(unset.status.code(), Some(2), "{said}");
    assert!(said.contains("oslo-1: the environment has no OSLO"), "{said}");
    std::fs::write(folder.path().join("fleet.toml"), ROUTER.replacen("admin@", "admin:secret@", 1)).unwrap();
    let wrong = in_folder(&folder, &["proxy", "check", "--fleet", "fleet.toml"]).output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(said.contains("fleet.toml:4:7") && !said.contains("secret"), "{said}");
}

#[test]
fn metrics_are_answered_on_loopback_only() {
    let folder = folder();
    let arguments = ["proxy", "--fleet", "fleet.toml", "--state-dir", ".", "--metrics", "0.0.0.0:9180"];
    let refused = in_folder(&folder, &arguments).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("--metrics 0.0.0.0:9180") && said.contains("hint: "), "{said}");
}

#[cfg(unix)]
#[test]
fn a_proxy_whose_only_router_is_away_serves_until_sigterm_and_ends_with_0() {
    let folder = folder();
    let arguments = ["proxy", "--fleet", "fleet.toml", "--state-dir", ".", "--metrics", "127.0.0.1:0", "--json"];
    let mut child = in_folder(&folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(out).map(Result::unwrap);
    assert!(lines.any(|line| line.contains("1 router is kept as wanted")), "it does not serve");
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let last = lines.last().unwrap();
    assert!(last.contains("\"result\":\"done\"") && last.contains("\"exit\":0"), "{last}");
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn an_agent_reads_its_file_again_at_sighup_and_a_wrong_one_changes_nothing() {
    let folder = folder();
    let arguments = ["agent", "--router", "api://admin@127.0.0.1:9", "--site", "oslo-1.toml", "--log", "info"];
    let mut child = in_folder(&folder, &arguments)
        .env("SITEPEER_ROUTER_PASSWORD", "pw")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(out).map(Result::unwrap);
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    let mut until = |words: &str| assert!(lines.any(|line| line.contains(words)), "it does not say {words:?}");
    // Only then does it hear signals.
    until("1 router is kept as wanted");
    std::fs::write(folder.path().join("oslo-1.toml"), SITE.replacen("192.168.88.0/24", "192.168.88.0/99", 1)).unwrap();
    signal("-HUP");
    until("the site config is wrong");
    std::fs::write(folder.path().join("oslo-1.toml"), SITE.replacen("10.99.0.2", "10.99.0.3", 1)).unwrap();
    signal("-HUP");
    until("the site config was read again");
    until("is let go of");
    signal("-TERM");
    assert!(child.wait().unwrap().success());
}
