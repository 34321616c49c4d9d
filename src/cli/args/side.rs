//! Arguments of `demo` and `completions`.

use clap::Args;

use super::common::OutputArgs;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End by itself; without it everything stays up to be looked at
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `demo` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// Whether to end by itself.
    pub end: DemoEnd,
}

/// When the demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoEnd {
    /// Once it has shown everything.
    ByItself,
    /// On Ctrl-C.
    OnInterrupt,
}

impl DemoArgs {
    pub(super) fn settle(&self) -> Demo {
        Demo { end: if self.once { DemoEnd::ByItself } else { DemoEnd::OnInterrupt } }
    }
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// The shells there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// elvish
    Elvish,
    /// `PowerShell`
    Powershell,
}

/// What `completions` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Completions {
    /// Which shell.
    pub shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn settle(&self) -> Completions {
        Completions { shell: self.shell }
    }
}
