//! `sitepeer hub` as people and scripts meet it: the binary is run, against a scripted hub and against the real one.

#![cfg(feature = "hub")]
#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

mod daily;
mod fake;
mod help;
mod hostile;
mod readme;
#[cfg(all(unix, feature = "gateway"))]
mod real;
mod refusals;
mod samples;
#[path = "../cli/schema.rs"]
mod schema;
mod secrets;

use std::process::{Command, Stdio};

use serde_json::Value;

/// How a run ended.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(mut command: Command) -> Self {
        let output = command.output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// It did what it was asked.
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// `sitepeer hub …` with an environment of its own and no terminal.
fn hub(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
    command.arg("hub").args(args).env_clear().env("COLUMNS", "100").stdin(Stdio::null());
    command
}

/// A token as a hub makes it.
const TOKEN: &str = "sp_tok_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Runs a command at a hub.
fn ask(url: &str, args: &[&str]) -> Run {
    let mut command = hub(args);
    command.env("SITEPEER_HUB", url).env("SITEPEER_HUB_TOKEN", TOKEN);
    Run::of(command)
}

/// Runs a command at a hub for machines; what it writes keeps to the schema.
#[track_caller]
fn ask_json(url: &str, args: &[&str]) -> (Option<i32>, Value) {
    let run = ask(url, &[args, &["--json"]].concat());
    let result = schema::assert_output("hub", &run.stdout);
    assert_eq!(run.code.map(Value::from), Some(result["exit"].clone()), "{run:?}");
    (run.code, result)
}
