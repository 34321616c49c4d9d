//! The hub's settings as flags, made from the one table of them: [`OPTIONS`].

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::cli::failure::Failure;
use crate::hub::config::{HubConfig, HubOption, OPTIONS, ValueKind};

/// `--config` and a flag for each of the hub's options.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// Settings from a TOML file; variables count before it, flags before both
    #[arg(long, value_name = "FILE", env = "SITEPEER_HUB_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl SettingsArgs {
    pub(super) fn settle(&self) -> Result<HubConfig, Failure> {
        // What is not UTF-8 is read with its wrong bytes marked, and refused as the value it is.
        let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        HubConfig::load(self.config.as_deref(), environment, &self.flags.0)
            .map_err(|error| Failure::of(crate::cli::report::Verdict::Invalid, "hub-config", &error, error.hint()))
    }
}

/// Keys and values as they would stand in the file.
#[derive(Debug, Clone, Default)]
struct Flags(Vec<(String, String)>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        OPTIONS.iter().fold(command, |command, option| command.arg(flag(option)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A flag that leaves defaults and variables to the settings themselves.
fn flag(option: &HubOption) -> Arg {
    // clap keeps names for ever; there are a dozen, made once in a process.
    let long: &'static str = Box::leak(option.flag().into_boxed_str());
    let default = if option.default.is_empty() { String::new() } else { format!(" [default: {}]", option.default) };
    let sentence = option.help.trim_end_matches('.');
    // Called as its flag is: a key with `_` may be the name of a flag of the daily work.
    let arg = Arg::new(long)
        .long(long)
        .value_name(option.value)
        .help(format!("{sentence}{default} [env: {}]", option.variable()))
        .help_heading("Settings");
    match option.kind {
        ValueKind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        ValueKind::Text | ValueKind::Number | ValueKind::List => arg,
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |option: &HubOption| {
            matches.get_one::<String>(&option.flag()).map(|value| (option.key.to_owned(), value.clone()))
        };
        Ok(Self(OPTIONS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
