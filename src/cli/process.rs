//! What belongs to the process and to no command: its runtime, its signals, its panics.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::panic;

use clap::error::ErrorKind;
use tokio::runtime::{Builder, Runtime};

use super::exit::Exit;
use super::failure::Failure;
use super::report::{Mode, Reporter, Verdict};

/// Answers a command line that clap did not take: help and version to stdout, errors to stderr.
pub(super) fn misread(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Ok(()) => Exit::Converged,
            // A pager that was left.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Converged,
            Err(_) => Exit::Internal,
        };
    }
    if arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        // Its first paragraph; usage and tips follow.
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = lines.join(" ").trim_start_matches("error: ").to_owned();
        Reporter::stdio(Mode::Json).fail(&Failure::usage("usage", message));
    } else if let Err(lost) = error.print() {
        tracing::debug!(error = %lost, "stderr is gone");
    }
    Exit::Usage
}

/// The runtime: one thread is enough for one router, and the small agent has no room for more; a server uses what there is.
pub(super) fn runtime(serves: bool) -> Result<Runtime, Failure> {
    let mut builder = if serves { many_threads() } else { Builder::new_current_thread() };
    builder.enable_all().build().map_err(|error| Failure::internal(format!("cannot start the runtime: {error}")))
}

#[cfg(any(feature = "hub", feature = "gateway"))]
fn many_threads() -> Builder {
    Builder::new_multi_thread()
}

/// A build without servers.
#[cfg(not(any(feature = "hub", feature = "gateway")))]
fn many_threads() -> Builder {
    Builder::new_current_thread()
}

/// Ends the process on a panic, saying where it was and not what was in hand: that may be a secret.
///
/// A server says the same and goes on: the request or task that panicked is over, the others are not.
pub(super) fn install_panic_hook(mode: Mode, serves: bool) {
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        // Only a message without values is a `&'static str`.
        let words = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
        if serves {
            tracing::error!(place, words, "a panic: please report this");
            return;
        }
        let failure = Failure::internal(format!("internal error at {place}: {words}"))
            .hint("please report this; running the same command again completes what was begun");
        Reporter::stdio(mode).fail(&failure);
        std::process::exit(Exit::Internal as i32);
    }));
}

/// Runs a command up to its end, or until somebody stops it; then `words` say how things stand, and the way out.
pub(super) async fn until_stopped<T>(
    command: impl Future<Output = Result<T, Failure>>,
    words: [&str; 2],
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        ended = command => ended,
        verdict = stop_signal() => Err(Failure::new(verdict, "stopped", words[0]).hint(words[1])),
    }
}

/// Waits for Ctrl-C or SIGTERM, from the call on: whoever says that it serves calls it before. Every waiter is told.
#[cfg(unix)]
pub(super) fn stop_signal() -> impl Future<Output = Verdict> {
    use tokio::signal::unix::{SignalKind, signal};
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = handlers else {
            // Without handlers the signals end the process as they always did.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => Verdict::Interrupted,
            _ = terminate.recv() => Verdict::Terminated,
        }
    }
}

/// Waits for Ctrl-C. Every waiter is told.
#[cfg(not(unix))]
pub(super) fn stop_signal() -> impl Future<Output = Verdict> {
    async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Verdict::Interrupted,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Those that come.
#[cfg(unix)]
pub(super) type Hangups = tokio::signal::unix::Signal;

/// Hears SIGHUP, which asks a server to read its files again.
#[cfg(unix)]
pub(super) fn hangups() -> io::Result<Hangups> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

/// There is no such signal here.
#[cfg(not(unix))]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(super) async fn recv(&mut self) -> Option<()> {
        std::future::pending().await
    }
}

/// Hears nothing.
#[cfg(not(unix))]
pub(super) fn hangups() -> io::Result<Hangups> {
    Ok(Hangups)
}

/// Logs how much memory the process held at most: a figure that the small build is measured by.
pub(super) fn log_peak_memory() {
    let status = std::fs::read_to_string("/proc/self/status");
    let peak = status.iter().flat_map(|text| text.lines()).find_map(|line| line.strip_prefix("VmHWM:"));
    if let Some(peak) = peak {
        tracing::debug!(peak = peak.trim(), "memory");
    }
}
