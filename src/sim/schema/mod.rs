//! What each menu of one RouterOS version knows: commands, arguments and their types.
//!
//! Read from `data/menus.json`, which is derived from recorded console schemas (its `origin` says which) and checked against
//! them by `tests/sim/data.rs`. Nothing here knows rows or sessions.

mod duration;
mod value;

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::domain::RouterOsVersion;

pub(crate) use duration::{parse_duration, print_duration};
pub(crate) use value::{AddressKind, BadValue, Type};

const MENUS: &str = include_str!("../data/menus.json");

/// The data that the program carries is malformed: a fault of the build, found by the first test.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file is not the JSON that is expected.
    #[error("menu data is not readable")]
    Json(#[from] serde_json::Error),
    /// A version range in the file is none.
    #[error("menu data has the version range {0:?}")]
    Range(String),
}

#[derive(Deserialize)]
struct MenuFile {
    versions: Vec<String>,
    menus: BTreeMap<String, MenuEntry>,
}

#[derive(Deserialize)]
struct MenuEntry {
    commands: BTreeMap<String, String>,
    types: HashMap<String, String>,
    read: String,
}

/// All menus of one version.
pub(crate) struct Schema {
    menus: BTreeMap<String, Menu>,
}

/// One menu: its commands with their arguments, and what its fields hold.
pub(crate) struct Menu {
    commands: HashMap<String, Vec<String>>,
    types: HashMap<String, Type>,
    readable: Vec<String>,
}

impl Schema {
    /// Reads the menus as they are in `version`.
    ///
    /// A version between two recorded ones counts as the older one, but never as one of another minor release while its own
    /// was recorded.
    ///
    /// # Errors
    /// [`SchemaError`] if the data built into the program is malformed.
    pub(crate) fn of_version(version: &RouterOsVersion) -> Result<Self, SchemaError> {
        let file: MenuFile = serde_json::from_str(MENUS)?;
        let recorded = recorded_version(&file.versions, version)?;
        let mut menus = BTreeMap::new();
        for (path, entry) in file.menus {
            let mut commands = HashMap::new();
            for (command, arguments) in &entry.commands {
                let Some(command) = in_version(command, &recorded)? else { continue };
                let mut names = Vec::new();
                for argument in arguments.split(' ').filter(|a| !a.is_empty()) {
                    names.extend(in_version(argument, &recorded)?.map(str::to_owned));
                }
                commands.insert(command.to_owned(), names);
            }
            // A menu without a command came later, or is gone.
            if commands.is_empty() {
                continue;
            }
            let types = entry.types.iter().map(|(name, text)| (name.clone(), Type::parse(text))).collect();
            let readable = entry.read.split(' ').map(str::to_owned).collect();
            menus.insert(path, Menu { commands, types, readable });
        }
        Ok(Self { menus })
    }

    pub(crate) fn menu(&self, path: &str) -> Option<&Menu> {
        self.menus.get(path)
    }

    /// Tells whether `path` is a directory above some menu.
    pub(crate) fn is_directory(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.menus.keys().any(|menu| menu.starts_with(&below))
    }

    /// Takes menus away, as on a device whose package is missing.
    pub(crate) fn without(&mut self, prefixes: &[&str]) {
        self.menus.retain(|path, _| !prefixes.iter().any(|prefix| path.starts_with(prefix)));
    }
}

impl Menu {
    /// The arguments of a command, or `None` if the menu has no such command.
    pub(crate) fn arguments(&self, command: &str) -> Option<&[String]> {
        self.commands.get(command).map(Vec::as_slice)
    }

    /// Tells whether an argument can be written by `add` or `set`.
    pub(crate) fn writes(&self, name: &str) -> bool {
        ["add", "set"].iter().filter_map(|c| self.arguments(c)).any(|a| a.iter().any(|n| n == name))
    }

    /// Tells whether `print` can show a field that cannot be written.
    pub(crate) fn reads(&self, name: &str) -> bool {
        self.readable.iter().any(|n| n == name)
    }

    pub(crate) fn type_of(&self, name: &str) -> Type {
        self.types.get(name).cloned().unwrap_or(Type::Text)
    }
}

fn parse_version(text: &str) -> Result<RouterOsVersion, SchemaError> {
    text.parse().map_err(|_| SchemaError::Range(text.to_owned()))
}

fn recorded_version(recorded: &[String], version: &RouterOsVersion) -> Result<RouterOsVersion, SchemaError> {
    let recorded = recorded.iter().map(|v| parse_version(v)).collect::<Result<Vec<_>, _>>()?;
    let minor = |v: &RouterOsVersion| v.to_string().split('.').nth(1).map(str::to_owned);
    let older = recorded.iter().rfind(|v| *v <= version);
    let same_minor = recorded.iter().find(|v| v.major() == version.major() && minor(v) == minor(version));
    let floor_is_same_minor = older.is_some_and(|v| minor(v) == minor(version));
    let chosen = if floor_is_same_minor { older } else { same_minor.or(older) };
    Ok(chosen.or(recorded.first()).cloned().unwrap_or_else(|| version.clone()))
}

/// Returns the name without its range if it exists in `version`: `vrf@7.21-` is `vrf` from 7.21 on.
fn in_version<'a>(text: &'a str, version: &RouterOsVersion) -> Result<Option<&'a str>, SchemaError> {
    let Some((name, ranges)) = text.split_once('@') else { return Ok(Some(text)) };
    for range in ranges.split(',') {
        let (from, to) = range.split_once('-').ok_or_else(|| SchemaError::Range(text.to_owned()))?;
        let after = from.is_empty() || parse_version(from)? <= *version;
        let before = to.is_empty() || *version <= parse_version(to)?;
        if after && before {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(version: &str) -> Schema {
        Schema::of_version(&version.parse().unwrap()).unwrap()
    }

    fn peers_know(version: &str, name: &str) -> bool {
        schema(version).menu("/interface/wireguard/peers").unwrap().writes(name)
    }

    #[test]
    fn the_responder_argument_changes_its_name_with_the_version() {
        assert!(!peers_know("7.14.3", "responder") && !peers_know("7.14.3", "is-responder"));
        assert!(!peers_know("7.15", "responder") && peers_know("7.15", "is-responder"));
        assert!(!peers_know("7.16.2", "responder") && peers_know("7.16.2", "is-responder"));
        assert!(peers_know("7.17", "responder") && !peers_know("7.17", "is-responder"));
    }

    #[test]
    fn a_version_that_was_not_recorded_counts_as_the_nearest_of_its_minor_release() {
        assert!(peers_know("7.12", "client-address"), "7.12 counts as 7.12.2, not as 7.11.3");
        assert!(peers_know("7.15.1", "name"));
        assert!(!peers_know("7.14.9", "name"));
        assert!(peers_know("7.24.4", "client-allowed-address"));
        assert!(peers_know("7.30", "client-allowed-address"));
    }
}
