//! Arguments that several commands share.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::api::MAX_FREEZE_SECS;
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;
use crate::config;
use crate::domain::{InstanceName, Site};
use crate::reconcile::guard::When;

/// `--json`.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Write one JSON object per line to stdout; the last is the result
    #[arg(long)]
    pub(super) json: bool,
}

/// `--site`, where a site is needed.
#[derive(Debug, Args)]
pub struct SiteArgs {
    /// The site config, a TOML file
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
}

impl SiteArgs {
    pub(super) fn settle(&self) -> Result<Site, Failure> {
        Ok(config::load(&self.site)?)
    }
}

/// `--site` or `--instance`, where our rows on the router can say which site it is.
#[derive(Debug, Args)]
pub struct SubjectArgs {
    /// The site config, a TOML file; without it our rows on the router are looked for
    #[arg(long, value_name = "FILE", conflicts_with = "instance")]
    site: Option<PathBuf>,
    /// Which instance, if the router has several
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Which site's rows a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The site of a config.
    Site(Box<Site>),
    /// The site with this id.
    #[cfg(feature = "proxy")]
    Id(crate::domain::SiteId),
    /// The only one on the router that serves this instance.
    Instance(InstanceName),
    /// The only one on the router.
    Only,
}

impl SubjectArgs {
    pub(super) fn settle(&self) -> Result<Subject, Failure> {
        match (&self.site, &self.instance) {
            (Some(site), _) => Ok(Subject::Site(Box::new(config::load(site)?))),
            (None, Some(name)) => match name.parse() {
                Ok(name) => Ok(Subject::Instance(name)),
                Err(error) => Err(Failure::usage("usage", format!("--instance {name}: {error}"))),
            },
            (None, None) => Ok(Subject::Only),
        }
    }
}

/// `--dry-run`, `--yes`, `--guard`, `--unguarded` and `--safe-mode`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct WriteArgs {
    /// Show what would change and stop, even with --yes; exit 3 if anything would
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before the first write
    #[arg(long, short)]
    yes: bool,
    /// Have the router undo the change by itself unless a new connection confirms it; without this only a change that could
    /// cut this session off is guarded
    #[arg(long, conflicts_with = "unguarded")]
    guard: bool,
    /// Make even a change that could cut this session off without a guard
    #[arg(long)]
    unguarded: bool,
    /// Make the change in the router's own safe mode (RouterOS 7.18 and later): unless a new connection confirms it, the router
    /// undoes it, and with it whatever anybody else changes meanwhile
    #[cfg(feature = "proxy")]
    #[arg(long, conflicts_with_all = ["guard", "unguarded"])]
    safe_mode: bool,
}

/// Whether a command may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It only shows what it would do.
    DryRun,
    /// It writes, once this is given.
    Apply(Confirm),
}

impl WriteArgs {
    /// When the change is guarded.
    pub(super) fn guard(&self) -> When {
        #[cfg(feature = "proxy")]
        if self.safe_mode {
            return When::SafeMode;
        }
        match (self.guard, self.unguarded) {
            (true, _) => When::Always,
            (false, true) => When::Never,
            (false, false) => When::default(),
        }
    }

    /// # Errors
    /// If it would have to ask and there is nobody to answer.
    pub(super) fn settle(&self) -> Result<Write, Failure> {
        if self.dry_run {
            Ok(Write::DryRun)
        } else if self.yes {
            Ok(Write::Apply(Confirm::Given))
        } else if at_terminal() {
            Ok(Write::Apply(Confirm::Ask))
        } else {
            Err(Failure::usage("needs-yes", "this writes to the router, and there is no terminal to ask on")
                .hint("add --yes, or --dry-run to see what would change"))
        }
    }
}

/// Tells whether a person can read a question and answer it.
pub(super) fn at_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Longest time that can be said: ten years.
const MAX_SECS: u64 = 315_360_000;

/// Reads `90`, `90s`, `15m`, `12h` or `7d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let each = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("the unit is one of s, m, h, d".to_owned()),
    };
    let secs = number.parse::<u64>().ok().and_then(|number| number.checked_mul(each));
    match secs {
        Some(secs) if (1..=MAX_SECS).contains(&secs) => Ok(Duration::from_secs(secs)),
        _ => Err("a time is a number and a unit, such as 30m, 12h or 7d; ten years at most".to_owned()),
    }
}

/// The terms of a freeze, wherever it is asked for.
#[derive(Debug, Args)]
pub(super) struct FreezeTerms {
    /// How long, such as 30m, 2h or 7d; a week at most
    #[arg(long = "for", value_name = "TIME", value_parser = freeze_span, required_unless_present = "off")]
    pub(super) length: Option<Duration>,
    /// Why, for those who wonder
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// End it now
    #[arg(long, conflicts_with_all = ["length", "reason"])]
    off: bool,
}

/// A time that a freeze may last.
pub(super) fn freeze_span(text: &str) -> Result<Duration, String> {
    let length = span(text)?;
    if length.as_secs() > MAX_FREEZE_SECS {
        return Err("a freeze lasts 7d at most; whoever needs longer says so again".to_owned());
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_lasts_a_week_at_most() {
        assert_eq!(freeze_span("7d"), Ok(Duration::from_secs(MAX_FREEZE_SECS)));
        for bad in ["8d", "169h", "0", "soon"] {
            assert!(freeze_span(bad).is_err(), "{bad}");
        }
    }
}
