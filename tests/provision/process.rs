//! The binary itself: signals, pipes, files.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::meddler::{Fate, Meddler};
use crate::world::{World, assert_same, shape, with_ids};

struct Bench {
    world: World,
    folder: tempfile::TempDir,
    /// Flags beside those that all have.
    more: &'static [&'static str],
}

impl Bench {
    async fn start() -> Self {
        Self { world: World::start().await, folder: tempfile::tempdir().unwrap(), more: &[] }
    }

    /// `provision --yes --json` with an environment of its own.
    fn command(&self, address: std::net::SocketAddr) -> Command {
        let site = self.world.site().write(self.folder.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
        command.args(["provision", "--yes", "--json", "--timeout", "1", "--router", &format!("api://admin@{address}")]);
        command.arg("--site").arg(site).args(self.more);
        command.env_clear().env("SITEPEER_ROUTER_PASSWORD", "").env("XDG_RUNTIME_DIR", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it up to its end without blocking the simulator's thread.
    async fn run(&self, command: Command) -> (Option<i32>, Vec<Value>, String) {
        let mut command = command;
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code(), lines, String::from_utf8(output.stderr).unwrap())
    }

    async fn provision(&self) -> (Option<i32>, Vec<Value>, String) {
        self.run(self.command(self.world.router.api_addr())).await
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Starts a run that stops at its n-th write, which is never answered; `then` ends it there.
async fn stopped_at_write(bench: &Bench, n: usize, then: impl FnOnce(&mut Child)) -> (Option<i32>, String) {
    let (reached, mut at_write) = tokio::sync::mpsc::channel(1);
    let mut writes = 0;
    let meddler = Meddler::start(
        &bench.world.router,
        move |command| {
            let is_write = [b"/add".as_slice(), b"/set", b"/remove"].iter().any(|verb| command[0].ends_with(verb));
            writes += usize::from(is_write);
            if is_write && writes >= n {
                // The channel holds one: later writes have nothing to tell.
                reached.try_send(()).unwrap_or_default();
                return Fate::Answer(Vec::new());
            }
            Fate::Pass
        },
        |_, said| vec![said],
    )
    .await;
    let mut child = bench.command(meddler.address).spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(20), at_write.recv()).await.expect("it comes to write").unwrap();
    then(&mut child);
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_run_ended_by_a_signal_between_two_writes_is_completed_by_the_next() {
    let undisturbed = Bench::start().await;
    assert_eq!(undisturbed.provision().await.0, Some(3), "in place; nobody entered the key at the hub");
    let wanted = shape(&undisturbed.world);
    for (name, code, words) in [
        ("-INT", Some(130), "\"result\":\"interrupted\""),
        ("-TERM", Some(143), "\"result\":\"terminated\""),
        ("-KILL", None, ""),
    ] {
        let then = |child: &mut Child| signal(child, name);
        for n in [1, 7, 14] {
            let bench = Bench::start().await;
            let (ended, stdout) = stopped_at_write(&bench, n, then).await;
            assert_eq!(ended, code, "{n}: {stdout}");
            assert!(stdout.contains(words), "{stdout}");
            // The next run comes by another way, and knows nothing of the token: the lock has to end first.
            bench.world.router.advance(Duration::from_secs(61));
            let (again, lines, stderr) = bench.provision().await;
            assert_eq!(again, Some(3), "{n}: {lines:?}{stderr}");
            assert_eq!(lines.last().unwrap()["result"], "unproven");
            assert_same(&wanted, &shape(&bench.world), &format!("ended at write {n}"));
        }
    }
}

#[cfg(feature = "proxy")]
#[tokio::test]
async fn a_run_in_safe_mode_that_is_stopped_says_that_the_router_undoes_it() {
    let bench = Bench { more: &["--safe-mode"], ..Bench::start().await };
    let before = shape(&bench.world);
    let (ended, stdout) = stopped_at_write(&bench, 7, |child| signal(child, "-INT")).await;
    assert_eq!(ended, Some(130), "{stdout}");
    assert!(stdout.contains("the router undoes what was changed"), "{stdout}");
    while bench.world.router.sessions() > 0 {
        tokio::task::yield_now().await;
    }
    bench.world.router.pass_time(Duration::from_secs(61)).await;
    assert_same(&before, &shape(&bench.world), "stopped in safe mode");
}

#[tokio::test]
async fn a_lock_left_by_a_killed_run_is_taken_over_by_the_next_on_this_host_at_once() {
    let bench = Bench::start().await;
    // The one who answers no write stays between for the second run too: the router has one address.
    let armed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let silent = std::sync::Arc::clone(&armed);
    let (reached, mut at_write) = tokio::sync::mpsc::channel(1);
    let meddler = Meddler::start(
        &bench.world.router,
        move |command| {
            let is_lock = command.iter().any(|word| word == b"=list=sitepeer-lock");
            if silent.load(std::sync::atomic::Ordering::Relaxed) && command[0].ends_with(b"/add") && !is_lock {
                reached.try_send(()).unwrap_or_default();
                return Fate::Answer(Vec::new());
            }
            Fate::Pass
        },
        |_, said| vec![said],
    )
    .await;
    let child = bench.command(meddler.address).spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(20), at_write.recv()).await.expect("it comes to write").unwrap();
    // A living run is not taken for dead.
    let (code, lines, _) = bench.run(bench.command(meddler.address)).await;
    assert_eq!((code, &lines.last().unwrap()["code"]), (Some(5), &"busy".into()), "{lines:?}");
    signal(&child, "-KILL");
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    armed.store(false, std::sync::atomic::Ordering::Relaxed);
    let (code, lines, stderr) = bench.run(bench.command(meddler.address)).await;
    assert_eq!((code, &lines.last().unwrap()["result"]), (Some(3), &"unproven".into()), "{lines:?}{stderr}");
    let left: Vec<_> = locks(bench.folder.path());
    assert!(left.is_empty(), "no file is left behind: {left:?}");
}

fn locks(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("sitepeer-") && name.contains(".lock")).collect()
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_stop_a_run_half_way() {
    let bench = Bench::start().await;
    let mut child = bench.command(bench.world.router.api_addr()).spawn().unwrap();
    let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let ended = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        // As `| head -1` does.
        BufReader::new(out).read_line(&mut line).unwrap();
        let mut words = String::new();
        err.read_to_string(&mut words).unwrap();
        (child.wait().unwrap().code(), line, words)
    });
    let (code, line, stderr) = ended.await.unwrap();
    assert!(line.contains("\"connect\""), "{line}");
    assert_eq!(code, Some(3), "{stderr}");
    let plan = bench.world.plan(&bench.world.site()).await;
    assert_eq!((plan.exit(), plan.planned()), (0, vec![]), "everything was written");
}

#[tokio::test]
async fn a_password_that_others_may_read_is_refused_before_anything_is_sent() {
    let bench = Bench::start().await;
    let file = bench.folder.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    for (mode, accepted) in [(0o644, false), (0o640, false), (0o604, false), (0o600, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = bench.command(bench.world.router.api_addr());
        command.env_remove("SITEPEER_ROUTER_PASSWORD").arg("--password-file").arg(&file);
        let (code, lines, stderr) = bench.run(command).await;
        let result = lines.last().unwrap();
        // The right file holds a wrong password: the router was asked.
        assert_eq!(code, Some(if accepted { 4 } else { 2 }), "{mode:o}: {result} {stderr}");
        assert_eq!(accepted, result["code"] == "login-refused", "{mode:o}: {result}");
        assert!(!stderr.contains("hunter2") && !result.to_string().contains("hunter2"), "{stderr}");
    }
}

#[tokio::test]
async fn somebody_s_link_in_place_of_the_lock_file_is_neither_followed_nor_a_hindrance() {
    let bench = Bench::start().await;
    let target = bench.folder.path().join("precious");
    fs::write(&target, "untouched").unwrap();
    let address = bench.world.router.api_addr().to_string().replace(['.', ':'], "_");
    std::os::unix::fs::symlink(&target, bench.folder.path().join(format!("sitepeer-{address}.lock"))).unwrap();
    let (code, lines, stderr) = bench.provision().await;
    assert_eq!(code, Some(3), "{lines:?}{stderr}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
}

#[tokio::test]
async fn path_locale_and_folders_that_are_not_there_change_nothing() {
    let bench = Bench::start().await;
    let before = with_ids(&bench.world);
    for variables in [
        [("XDG_RUNTIME_DIR", "/nonexistent"), ("HOME", "/nonexistent"), ("LC_ALL", "tr_TR.ISO-8859-9")],
        [("XDG_RUNTIME_DIR", ""), ("PATH", ""), ("LANG", "\u{1b}[31m")],
        [("TMPDIR", "/nonexistent"), ("NO_COLOR", "1"), ("TERM", "dumb")],
    ] {
        let mut command = bench.command(bench.world.router.api_addr());
        command.envs(variables);
        let (code, lines, stderr) = bench.run(command).await;
        assert_eq!(code, Some(3), "{variables:?}: {lines:?}{stderr}");
        assert_eq!(lines.last().unwrap()["result"], "unproven", "{variables:?}");
        bench.world.remove(sitepeer::cli::args::Subject::Only).await.assert_result("removed");
        assert_same(&before, &with_ids(&bench.world), &format!("{variables:?}"));
    }
    // A folder for run-time files that is none is no reason to use this one.
    assert_eq!(locks(Path::new(".")), [""; 0]);
}
