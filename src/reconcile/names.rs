//! The names of what we make on a router.

use crate::domain::{InstanceName, Site};

/// The names that rows of ours refer to each other by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The WireGuard interface in use: carries the instance's name, for people, and changes with it.
    pub interface: String,
    /// The WireGuard interface beside it, if there is one.
    pub beside: Option<String>,
    /// The interface list: carries the id, so that a new name touches no rule.
    pub interface_list: String,
    /// The address list of our subnets.
    pub ours: String,
    /// The address list of theirs.
    pub theirs: String,
}

impl Names {
    /// Returns the names for a site.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        let id = &site.id;
        let beside = site.beside.as_ref().map(|beside| interface(&site.instance, beside.generation));
        Self {
            interface: interface(&site.instance, site.generation),
            beside,
            interface_list: format!("{NAME_PREFIX}{id}"),
            ours: format!("{NAME_PREFIX}{id}-ours"),
            theirs: format!("{NAME_PREFIX}{id}-theirs"),
        }
    }

    /// Returns the names of the WireGuard interfaces, the one in use first.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.interface.as_str()).chain(self.beside.as_deref())
    }
}

/// What every name of ours begins with; of an interface the instance's name follows.
pub const NAME_PREFIX: &str = "sitepeer-";
/// Longest name of an instance, and so of what stands behind [`NAME_PREFIX`]: how long a name RouterOS takes is not documented, so
/// that no name is longer than those of the first generation.
const MAX_BEHIND: usize = 20;

/// What the interface of one tunnel is called. No instance's name has a `_`, so that none is another's tunnel.
fn interface(instance: &InstanceName, generation: u32) -> String {
    let number = if generation == 0 { String::new() } else { format!("_g{generation}") };
    let instance: String = instance.as_str().chars().take(MAX_BEHIND.saturating_sub(number.len())).collect();
    format!("{NAME_PREFIX}{instance}{number}")
}

/// Returns the name of the instance that an interface of ours is called after; of a long one its beginning.
#[must_use]
pub fn instance_in(interface: &str) -> &str {
    let behind = interface.strip_prefix(NAME_PREFIX).unwrap_or(interface);
    behind.split('_').next().unwrap_or(behind)
}

/// Tells whether an interface of ours is called after an instance; of later tunnels, instances that begin alike are called alike.
#[must_use]
pub fn is_called_after(name: &str, instance: &InstanceName) -> bool {
    let number = name.rsplit_once("_g").and_then(|(_, number)| number.parse().ok());
    name == interface(instance, number.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_one_instance_have_a_name_each_and_none_is_longer_than_the_first() {
        let instance: InstanceName = "0123456789abcdefghij".parse().unwrap();
        let names: Vec<String> = [0, 1, 11, u32::MAX].iter().map(|n| interface(&instance, *n)).collect();
        assert_eq!(names[0], "sitepeer-0123456789abcdefghij");
        assert_eq!(names[1], "sitepeer-0123456789abcdefg_g1");
        assert!(names.iter().all(|name| name.len() <= names[0].len()), "{names:?}");
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
        assert_eq!(interface(&"acme".parse().unwrap(), 2), "sitepeer-acme_g2");
        assert!(names.iter().all(|name| is_called_after(name, &instance)), "{names:?}");
        assert!(!names.iter().any(|name| is_called_after(name, &"0123456".parse().unwrap())), "{names:?}");
        assert_eq!((instance_in("sitepeer-acme_g2"), instance_in("sitepeer-acme-2")), ("acme", "acme-2"));
    }
}
