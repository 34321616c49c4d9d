//! `sitepeer demo` on the simulator.
//!
//! Everything happens in this process: the hub with its store and gateway, two simulated routers, and the ordinary commands, run on
//! them over TLS as from a command line. Nothing is faked here, and nothing is left behind: files stand in a folder of the demo's own, which goes with it.
//!
//! | module | holds |
//! |---|---|
//! | `hub` | hub and gateway, and what is made there |
//! | `stage` | routers, files |
//! | `command` | an ordinary command, run and listened to |
//! | `acts` | what is shown, and checked |
//! | `account` | the words |

mod account;
mod acts;
mod command;
mod hub;
mod stage;

use std::time::Instant;

use self::account::Account;
use self::stage::Stage;
use crate::cli::args::{Demo, DemoEnd};
use crate::cli::failure::Failure;
use crate::cli::process;
use crate::cli::report::{Outcome, Reporter, Verdict};

/// Carries out `demo`.
///
/// # Errors
/// What keeps it from starting, what is not as it should be, or a signal before everything was shown.
///
/// # Cancel safety
/// Dropping it ends everything and removes its files.
pub async fn run(command: Demo, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut account = Account::new(reporter);
    let mut stage = unless_stopped(play(&mut account)).await?;
    if command.end == DemoEnd::OnInterrupt {
        account.look_around(&stage);
        tokio::select! {
            _ = stopped() => {}
            error = stage.hub.ended() => return Err(error),
        }
    }
    unless_stopped(async {
        acts::remove(&stage, &mut account).await?;
        stage.strike().await
    })
    .await?;
    let took = account::duration(begun.elapsed());
    account.line("");
    account.line(&format!("All of it worked, in {took}; no file and no process is left behind."));
    Ok(Outcome::new(Verdict::Done).detail("took_ms", u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

/// Everything up to the end, which is for [`run`] to choose.
async fn play(account: &mut Account<'_>) -> anyhow::Result<Stage> {
    let stage = Stage::start().await?;
    account.cast(&stage);
    acts::provision(&stage, account).await?;
    acts::ping(&stage, account).await?;
    acts::drift(&stage, account).await?;
    acts::again(&stage, account).await?;
    acts::switch(&stage, account).await?;
    Ok(stage)
}

/// Carries something out unless a signal comes first.
async fn unless_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        biased;
        ended = work => ended,
        verdict = stopped() => {
            let failure = Failure::new(verdict, "stopped", "stopped before everything was shown");
            Err(failure.hint("nothing is left behind").into())
        }
    }
}

/// Waits for Ctrl-C, SIGTERM, or the terminal's end.
async fn stopped() -> Verdict {
    #[cfg(unix)]
    let closed = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
            Ok(mut hangup) => hangup.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let closed = std::future::pending::<Option<()>>();
    tokio::select! {
        verdict = process::stop_signal() => verdict,
        _ = closed => Verdict::Terminated,
    }
}
