//! The whole configuration at one moment, to be compared with another.

use std::collections::BTreeMap;
use std::fmt;

use super::super::Device;
use super::table::show_id;

/// What a snapshot holds beside the configured values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// The ids of rows.
    pub ids: bool,
    /// Rows that RouterOS makes itself.
    pub dynamic: bool,
}

/// Rows of all menus; equal when the configurations are equal, order of rows included.
///
/// Counters are never part of it. Secrets are, as a device keeps them: print it in tests only.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceState(BTreeMap<String, Vec<BTreeMap<String, Vec<u8>>>>);

impl Device {
    /// Takes a snapshot of all menus.
    pub(crate) fn state(&self, options: StateOptions) -> DeviceState {
        let mut menus = BTreeMap::new();
        for (menu, table) in &self.tables {
            let rows: Vec<_> = table
                .items()
                .iter()
                .filter(|item| options.dynamic || !(item.is_dynamic() || item.expires.is_some()))
                .map(|item| {
                    let mut row: BTreeMap<String, Vec<u8>> =
                        item.fields.iter().map(|(k, v)| (k.to_owned(), v.to_vec())).collect();
                    if options.ids {
                        row.insert(".id".to_owned(), show_id(item.id).into_bytes());
                    }
                    row
                })
                .collect();
            if !rows.is_empty() {
                menus.insert((*menu).to_owned(), rows);
            }
        }
        DeviceState(menus)
    }
}

impl DeviceState {
    /// The rows of one menu, each with its fields by name.
    #[must_use]
    pub fn rows(&self, menu: &str) -> &[BTreeMap<String, Vec<u8>>] {
        self.0.get(menu).map(Vec::as_slice).unwrap_or_default()
    }

    /// How many rows there are, in all menus.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Says in which menus two states differ, a line for each row that only one of them has.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for menu in self.0.keys().chain(other.0.keys().filter(|menu| !self.0.contains_key(*menu))) {
            let (ours, theirs) = (self.rows(menu), other.rows(menu));
            lines.extend(ours.iter().filter(|r| !theirs.contains(r)).map(|r| format!("- {menu} {}", show(r))));
            lines.extend(theirs.iter().filter(|r| !ours.contains(r)).map(|r| format!("+ {menu} {}", show(r))));
            if lines.is_empty() && ours != theirs {
                lines.push(format!("~ {menu}: other order or number"));
            }
        }
        lines
    }
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (menu, rows) in &self.0 {
            writeln!(f, "{menu}")?;
            for row in rows {
                writeln!(f, "  {}", show(row))?;
            }
        }
        Ok(())
    }
}

fn show(row: &BTreeMap<String, Vec<u8>>) -> String {
    let secret = |name: &str| matches!(name, "private-key" | "preshared-key" | "password");
    let field = |(name, value): (&String, &Vec<u8>)| {
        if secret(name) { format!("{name}=***") } else { format!("{name}={}", value.escape_ascii()) }
    };
    row.iter().map(field).collect::<Vec<_>>().join(" ")
}
