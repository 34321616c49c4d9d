//! What is wrong with a command line is said before any work starts.

use std::fs;

use crate::schema::assert_output;
use crate::{Run, run};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A site config that is right.
fn site(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("site.toml");
    let text = format!(
        "version = 1\nid = \"k3f9q2\"\ninstance = \"acme\"\n\
         [tunnel]\nprotocol = \"wireguard\"\naddresses = [\"10.99.0.2/24\"]\nprobe = [\"10.99.0.1\"]\n\
         [hub]\npublic_key = \"{KEY}\"\nendpoints = [\"hub.example.net:51820\"]\n\
         [subnets]\nadvertise = [\"192.168.88.0/24\"]\nreach = [\"10.99.0.0/24\"]\n"
    );
    fs::write(&path, text).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

/// Runs a command that must be refused with exit 2, checks its `--json`, and returns code and stderr.
fn refused(args: &[&str]) -> (String, String) {
    let Run { code, stdout, stderr } = run(&[args, &["--json"]].concat());
    assert_eq!(code, Some(2), "{args:?}: {stderr}");
    let result = assert_output(args[0], &stdout);
    assert_eq!(result["result"], "invalid");
    (result["code"].as_str().expect("a code").to_owned(), stderr)
}

#[test]
fn a_write_without_terminal_needs_yes() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = site(&folder);
    let (code, stderr) = refused(&["provision", "--router", "apis://192.168.88.1", "--site", &site]);
    assert_eq!(code, "needs-yes");
    assert!(stderr.contains("\nhint: add --yes"), "{stderr}");
    assert_eq!(refused(&["remove", "--router", "apis://192.168.88.1"]).0, "needs-yes");
}

#[cfg(feature = "proxy")]
#[test]
fn safe_mode_is_in_place_of_a_guard_and_never_beside_one() {
    for other in ["--guard", "--unguarded"] {
        for command in ["provision", "remove"] {
            let (_, stderr) = refused(&[command, "--router", "apis://192.168.88.1", "--yes", "--safe-mode", other]);
            assert!(stderr.contains("cannot be used with") && stderr.contains(other), "{stderr}");
        }
    }
}

#[test]
fn a_missing_password_names_the_ways_to_give_one() {
    let (code, stderr) = refused(&["status", "--router", "apis://192.168.88.1"]);
    assert_eq!(code, "no-password");
    assert!(stderr.contains("hint: use --password-file, or set SITEPEER_ROUTER_PASSWORD"), "{stderr}");
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let (code, stderr) = refused(&["status", "--router", "apis://admin:hunter2@192.168.88.1"]);
    assert_eq!(code, "router-url");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_password_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pw");
    fs::write(&path, "hunter2\n").expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    let path = path.to_str().expect("UTF-8");
    let (code, stderr) = refused(&["status", "--router", "apis://192.168.88.1", "--password-file", path]);
    assert_eq!(code, "secret-readable-by-others");
    assert!(stderr.contains(&format!("hint: chmod 600 {path}")) && !stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn wrong_flags_say_which_and_exit_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = site(&folder);
    let router = ["--router", "apis://192.168.88.1"];
    let cases: [(&[&str], &str); 8] = [
        (&["provision", "--site", &site, "--yes"], "--router <URL>"),
        (&["plan", router[0], router[1]], "--site <FILE>"),
        (&["plan", router[0], router[1], "--site", "/nowhere"], "/nowhere: no such file or directory"),
        (&["status", "--router", "192.168.88.1"], "--router: "),
        (&["status", router[0], router[1], "--pin", "md5:00"], "--pin: "),
        (&["status", "--router", "api://192.168.88.1", "--ca-file", "ca.pem"], "api:// has no certificate"),
        (&["status", router[0], router[1], "--instance=-x"], "--instance -x: "),
        (&["provision", router[0], router[1], "--site", &site, "--yes", "--timeout", "0"], "--timeout"),
    ];
    for (args, words) in cases {
        let (_code, stderr) = refused(args);
        assert!(stderr.starts_with("error: ") && stderr.contains(words), "{args:?}: {stderr}");
    }
}

#[test]
fn a_config_that_breaks_a_safety_rule_is_exit_5() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = site(&folder);
    let broad = fs::read_to_string(&path).expect("readable").replace("192.168.88.0/24", "0.0.0.0/0");
    fs::write(&path, broad).expect("writable");
    let Run { code, stdout, .. } = run(&["render", "--site", &path, "--json"]);
    assert_eq!(code, Some(5));
    let result = assert_output("render", &stdout);
    assert_eq!((&result["result"], &result["code"]), (&"refused".into(), &"broad-route".into()));
}

#[test]
fn a_script_is_data_on_stdout_or_part_of_the_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = site(&folder);
    let Run { code, stdout: script, stderr } = run(&["render", "--site", &site]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(script.contains("/interface/wireguard/add "), "{script}");
    let Run { stdout, .. } = run(&["render", "--site", &site, "--json"]);
    assert_eq!(assert_output("render", &stdout)["script"], script);
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    let Run { code, stderr, .. } = run(&["render", "--site", "x", "--log", "loud=very"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--log: ") && stderr.contains("hint: "), "{stderr}");
}

#[cfg(feature = "manual")]
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    use std::io::Read as _;
    use std::process::Stdio;

    let mut child = crate::sitepeer(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_script_that_did_not_fit_on_the_disk_is_no_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = site(&folder);
    for more in [&[][..], &["--json"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
        let ended = crate::sitepeer(&[&["render", "--site", &site][..], more].concat()).stdout(full).output();
        let ended = ended.expect("it ends");
        let stderr = String::from_utf8(ended.stderr).expect("UTF-8");
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: not all of the output could be written to stdout: No space"), "{stderr}");
    }
}

#[cfg(not(feature = "sim"))]
#[test]
fn a_build_without_the_simulator_says_so() {
    for command in ["sim", "demo"] {
        let (code, stderr) = refused(&[command]);
        assert_eq!(code, "not-built");
        assert!(stderr.starts_with("error: built without sim support\nhint: "), "{stderr}");
    }
}

#[cfg(not(feature = "manual"))]
#[test]
fn a_build_without_the_manual_says_so() {
    for args in [&["man"][..], &["completions", "bash"]] {
        let Run { code, stderr, .. } = run(args);
        assert_eq!(code, Some(2));
        assert!(stderr.starts_with("error: built without manual support\nhint: "), "{stderr}");
    }
}
