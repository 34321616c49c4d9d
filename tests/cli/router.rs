//! Routers that cannot be talked to, each with its own words and exit code. No simulator is needed for these.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::schema::assert_output;
use crate::{Run, sitepeer};

/// Runs `status` against a URL and returns exit code and result.
fn status(url: &str) -> (Option<i32>, Value, String) {
    let output = sitepeer(&["status", "--json", "--router", url])
        .env("SITEPEER_ROUTER_PASSWORD", "hunter2")
        .output()
        .expect("it starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"), "the password is shown");
    (output.status.code(), assert_output("status", &stdout), stderr)
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("api://admin@{}", listener.local_addr().expect("bound"));
    (listener, url)
}

#[test]
fn nobody_there_is_exit_4() {
    let (listener, url) = listener();
    drop(listener);
    let (code, result, _) = status(&url);
    assert_eq!((code, &result["result"], &result["code"]), (Some(4), &"unreachable".into(), &"unreachable".into()));
}

#[test]
fn garbage_is_exit_4_and_says_what_to_check() {
    let (listener, url) = listener();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        socket.write_all(b"SSH-2.0-ROSSSH\r\n").expect("a client");
        // Up to the end: the client hangs up on garbage.
        let _bytes = socket.read_to_end(&mut Vec::new());
    });
    let (code, result, stderr) = status(&url);
    server.join().expect("no panic");
    assert_eq!((code, &result["code"]), (Some(4), &"garbage".into()), "{stderr}");
    assert!(stderr.contains("\nhint: "), "{stderr}");
}

#[test]
fn plaintext_to_a_public_address_is_exit_5() {
    // TEST-NET-3: nothing is sent there, or the deadline would tell.
    let (code, result, stderr) = status("api://admin@203.0.113.1");
    assert_eq!((code, &result["code"]), (Some(5), &"plaintext-refused".into()), "{stderr}");
    assert!(stderr.contains("--allow-plaintext"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_cleanly_and_says_how_to_go_on() {
    for (signal, code, result) in [("-INT", 130, "interrupted"), ("-TERM", 143, "terminated")] {
        let (listener, url) = listener();
        let child = sitepeer(&["status", "--json", "--router", &url])
            .env("SITEPEER_ROUTER_PASSWORD", "hunter2")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // It waits for an answer to its login once the first byte of that has come.
        let (mut socket, _) = listener.accept().expect("it connects");
        socket.read_exact(&mut [0]).expect("it logs in");
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let output = child.wait_with_output().expect("it ends");
        let run = Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        };
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert_eq!(assert_output("status", &run.stdout)["result"], result);
        assert!(run.stderr.contains("hint: running the same command again completes it"), "{}", run.stderr);
    }
}
