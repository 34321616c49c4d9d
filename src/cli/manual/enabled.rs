//! Completions and manual page, made from the arguments themselves.

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::aot;

use crate::cli::args::{Args, Completions, Shell};
use crate::cli::report::{Outcome, Reporter, Verdict};

/// Writes completions for a shell to stdout.
///
/// # Errors
/// Only by a fault of this program.
pub fn completions(command: Completions, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let shell = match command.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
        Shell::Elvish => aot::Shell::Elvish,
        Shell::Powershell => aot::Shell::PowerShell,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut Args::command(), "sitepeer", &mut script);
    write(&script, reporter)
}

/// Writes the manual page, all commands in one, to stdout.
///
/// # Errors
/// Only by a fault of this program.
pub fn man(reporter: &Reporter) -> anyhow::Result<Outcome> {
    let mut page = Vec::new();
    let mut command = Args::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page).context("writing the manual page")?;
    for part in command.get_subcommands() {
        let part = part.clone().disable_version_flag(true);
        clap_mangen::Man::new(part).render(&mut page).context("writing the manual page")?;
    }
    write(&page, reporter)
}

fn write(bytes: &[u8], reporter: &Reporter) -> anyhow::Result<Outcome> {
    reporter.data(std::str::from_utf8(bytes).context("the text is not UTF-8")?);
    Ok(Outcome::new(Verdict::Done))
}
