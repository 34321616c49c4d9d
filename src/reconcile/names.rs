//! The names of what we make on a router.

use crate::domain::Site;

/// The names that rows of ours refer to each other by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The WireGuard interface: carries the instance's name, for people, and changes with it.
    pub interface: String,
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
        Self {
            interface: format!("{NAME_PREFIX}{}", site.instance),
            interface_list: format!("{NAME_PREFIX}{id}"),
            ours: format!("{NAME_PREFIX}{id}-ours"),
            theirs: format!("{NAME_PREFIX}{id}-theirs"),
        }
    }
}

/// What every name of ours begins with; of an interface the instance's name follows.
pub const NAME_PREFIX: &str = "sitepeer-";
