//! What the hub is held to: ten thousand site peers on either store, ten thousand polls, a thousand agents to be told.
//!
//!     tests/with_postgres.sh cargo bench --bench hub              # both stores
//!     cargo bench --bench hub -- --peers 1000 --agents 200       # smaller, SQLite only
//!
//! `SITEPEER` names another build of the program: `SITEPEER=target/release/sitepeer cargo bench --profile dev --bench hub` compiles
//! nothing for speed but what is measured.
//!
//! The hub is the real program as a process of its own, asked over HTTP; the gateway is one that only talks: it says hello, acks
//! and reports. Every figure is printed beside its budget. Times are shown, not judged: the machine may be busy. What does not
//! depend on the machine (memory, the rows a gateway is told of, that nobody was missed) ends the run with 1.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::process::{Command, ExitCode};

mod figures;
mod fill;
mod polls;
mod program;

use figures::{Figures, heading};
use program::{Kind, Program};

/// What is measured unless arguments say otherwise.
const PEERS: usize = 10_000;
const AGENTS: usize = 1_000;

/// How much.
#[derive(Debug, Clone, Copy)]
struct Size {
    peers: usize,
    agents: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without it, cargo test has built this and wants to know its tests: there are none.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default: usize| {
        let value = arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
        value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {value:?}")))
    };
    let peers = number("--peers", PEERS);
    let size = Size { peers, agents: number("--agents", AGENTS).min(peers) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut figures = Figures::default();
    runtime.block_on(measure(&mut figures, "SQLite", Kind::Sqlite, size));
    match database() {
        Some(url) => runtime.block_on(measure(&mut figures, "PostgreSQL", Kind::Postgres(url), size)),
        None => println!("skipped: PostgreSQL (no SITEPEER_TEST_POSTGRES: see tests/with_postgres.sh)"),
    }
    figures.end()
}

async fn measure(figures: &mut Figures, store: &str, kind: Kind, size: Size) {
    heading(&format!("{store}, {} site peers", size.peers));
    let mut program = Program::start(&kind).await;
    let fleet = fill::fill(&program, size.peers).await;
    fill::lists(figures, &fleet).await;
    fill::adds(figures, &fleet).await;
    polls::told(figures, &program, &fleet, size.agents).await;
    polls::held(figures, &program, &fleet, false).await;
    if matches!(kind, Kind::Sqlite) {
        program.with_tls().await;
        polls::held(figures, &program, &fleet.at(&program), true).await;
    }
}

/// A database of our own in the server that `tests/with_postgres.sh` started.
fn database() -> Option<String> {
    let server = std::env::var("SITEPEER_TEST_POSTGRES").ok()?;
    let name = format!("bench{}", std::process::id());
    let made = Command::new("psql").args([&server, "-q", "-c", &format!("CREATE DATABASE {name}")]).status();
    assert!(made.is_ok_and(|status| status.success()), "psql makes no database");
    let (base, _) = server.rsplit_once('/')?;
    Some(format!("{base}/{name}"))
}
