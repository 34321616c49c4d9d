//! The program as people and scripts meet it: the binary is run.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

#[cfg(all(feature = "sim", feature = "hub", feature = "gateway"))]
mod demo;
mod freeze;
mod help;
mod json;
#[cfg(feature = "sim")]
mod real;
mod router;
mod schema;
#[cfg(feature = "proxy")]
mod supervisor;
mod usage;

use std::process::{Command, Stdio};

/// How a run ended.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program with an environment of its own and no terminal.
fn sitepeer(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
    command.args(args).env_clear().env("COLUMNS", "100").stdin(Stdio::null());
    command
}

/// Runs the program up to its end.
fn run(args: &[&str]) -> Run {
    let output = sitepeer(args).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
