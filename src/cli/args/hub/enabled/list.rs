//! Values that several commands read the same way.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;

use crate::cli::args::common::at_terminal;
pub(super) use crate::cli::args::common::span;
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;

/// One value of a list, or the word that empties it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item<T> {
    /// `none`
    None,
    /// A value.
    Value(T),
}

impl<T: FromStr> FromStr for Item<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::Value) }
    }
}

/// The list, if one was given.
pub(super) fn list<T>(items: Vec<Item<T>>) -> Result<Option<Vec<T>>, Failure> {
    if items.is_empty() {
        return Ok(None);
    }
    let count = items.len();
    let values: Vec<T> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::None => None,
            Item::Value(value) => Some(value),
        })
        .collect();
    match values.len() {
        0 if count == 1 => Ok(Some(values)),
        given if given == count => Ok(Some(values)),
        _ => Err(Failure::usage("usage", "`none` empties a list, and stands alone")),
    }
}

/// A word of the API, one of `words`.
pub(super) fn word<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|text| serde_json::from_value::<T>(text.into()))
}

/// Whole seconds of a time that [`span`] read.
pub(super) fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

/// `--yes`, before something is lost.
#[derive(Debug, clap::Args)]
pub(super) struct YesArgs {
    /// Do not ask first
    #[arg(long, short)]
    yes: bool,
}

impl YesArgs {
    pub(super) fn settle(&self) -> Result<Confirm, Failure> {
        if self.yes {
            Ok(Confirm::Given)
        } else if at_terminal() {
            Ok(Confirm::Ask)
        } else {
            Err(Failure::usage("needs-yes", "this cannot be undone, and there is no terminal to ask on")
                .hint("add --yes if you mean it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, secs) in [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(span(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for bad in ["", "m", "0", "1w", "-1h", "1.5h", "99999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn none_empties_a_list_and_stands_alone() {
        let items = |texts: &[&str]| texts.iter().map(|text| text.parse::<Item<u8>>().unwrap()).collect::<Vec<_>>();
        assert_eq!(list(items(&[])).unwrap(), None);
        assert_eq!(list(items(&["none"])).unwrap(), Some(vec![]));
        assert_eq!(list(items(&["1", "2"])).unwrap(), Some(vec![1, 2]));
        assert!(list(items(&["1", "none"])).is_err());
    }
}
