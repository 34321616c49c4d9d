//! Exit codes: a contract with scripts, documented in `--help` and `README.md`.

use std::process::ExitCode;

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Converged and proven; nothing to do; done.
    Converged = 0,
    /// A fault of this program.
    Internal = 1,
    /// Flags, TOML, key or file malformed; needs `--yes` and there is no terminal.
    Usage = 2,
    /// Changes pending; applied but not proven; the router refused a write; something is the matter.
    NotConverged = 3,
    /// The router is unreachable, stops answering, talks garbage or refuses the login.
    Unreachable = 4,
    /// A safety rule.
    Safety = 5,
    /// The hub is unreachable, refuses, or says what cannot be used.
    Hub = 6,
    /// Ended by Ctrl-C: 128 + SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM: 128 + SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table of `--help`.
pub(super) const TABLE: &str = "  0  converged and proven; plan with nothing to do
  1  internal error
  2  usage: flags, TOML, key or file malformed; needs --yes and there is no terminal
  3  not converged: changes pending, not proven, or a write was refused; doctor found something
  4  router unreachable, stops answering, or refuses the login
  5  refused by a safety rule: plaintext, certificate, version, overlap, broad route, ownership
  6  hub unreachable, refuses, or says what cannot be used
  130, 143  stopped by Ctrl-C or SIGTERM; the same command again completes what was begun";
