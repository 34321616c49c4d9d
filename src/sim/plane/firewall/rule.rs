//! Firewall rows as rules: the action, and the matchers by name.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::Context;
use super::matcher::{self, Matcher};

/// What the rows' lists hold, by list name.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// `/interface/list/member`: names of interfaces by list.
    pub interfaces: HashMap<String, HashSet<String>>,
    /// `/ip/firewall/address-list`: prefixes by list.
    pub addresses: HashMap<String, Vec<IpNet>>,
}

/// What a rule does with the packets it matches.
///
/// *Source*: the `action` enumeration of `/ip/firewall/filter` and `/ip/firewall/nat` in the menu schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Let pass; no further rule is asked.
    Accept,
    /// Drop without a word.
    Drop,
    /// Drop and say so by ICMP.
    Reject,
    /// Let pass: the rest of the connection skips the firewall.
    FasttrackConnection,
    /// Count and go on.
    Passthrough,
    /// Log and go on.
    Log,
    /// Go on in another chain.
    Jump(String),
    /// Go back to the chain that jumped here.
    Return,
    /// Replace the source by the address of the outgoing interface (`srcnat` only).
    Masquerade,
    /// An action without effect here, by its name.
    Other(String),
}

/// One enabled firewall row.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) chain: String,
    pub(super) action: Action,
    pub(super) matchers: Vec<Matcher>,
    pub(super) unknown: Vec<String>,
}

/// Fields of a firewall row that say nothing about which packets it matches.
const NO_MATCHERS: &[&str] = &[
    ".id",
    "action",
    "address-list",
    "address-list-timeout",
    "bytes",
    "chain",
    "comment",
    "disabled",
    "dynamic",
    "hw-offload",
    "invalid",
    "jump-target",
    "log",
    "log-prefix",
    "packets",
    "reject-with",
    "to-addresses",
    "to-ports",
];

impl Rule {
    /// Makes a rule of an action and matchers.
    #[must_use]
    pub fn new(chain: &str, action: Action, matchers: Vec<Matcher>) -> Self {
        Self { chain: chain.to_owned(), action, matchers, unknown: Vec::new() }
    }

    /// Reads an enabled row of `/ip/firewall/{filter,nat}` or `/ipv6/firewall/filter`.
    ///
    /// Fields with an empty value count as absent. A matcher that is not known here, or whose value does not parse, makes a rule
    /// that never matches: [`unknown`](Self::unknown) names it.
    #[must_use]
    pub fn from_row<'a>(row: impl IntoIterator<Item = (&'a str, &'a str)>, lists: &Lists) -> Self {
        let (mut chain, mut action, mut target) = ("", "accept", "");
        let (mut matchers, mut unknown) = (Vec::new(), Vec::new());
        for (key, value) in row {
            match key {
                "chain" => chain = value,
                "action" => action = value,
                "jump-target" => target = value,
                _ if value.is_empty() || NO_MATCHERS.contains(&key) => {}
                _ => match matcher::parse(key, value, lists) {
                    Some(matcher) => matchers.push(matcher),
                    None => unknown.push(format!("{key}={value}")),
                },
            }
        }
        Self { unknown, ..Self::new(chain, Action::parse(action, target), matchers) }
    }

    /// Names the matchers of the row that are not known here, as `key=value`: with any, the rule never matches.
    #[must_use]
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    pub(super) fn matches(&self, context: &Context<'_>) -> bool {
        self.unknown.is_empty() && self.matchers.iter().all(|matcher| matcher.matches(context))
    }
}

impl Action {
    fn parse(action: &str, jump_target: &str) -> Self {
        match action {
            "accept" => Self::Accept,
            "drop" => Self::Drop,
            "reject" => Self::Reject,
            "fasttrack-connection" => Self::FasttrackConnection,
            "passthrough" => Self::Passthrough,
            "log" => Self::Log,
            "jump" => Self::Jump(jump_target.to_owned()),
            "return" => Self::Return,
            "masquerade" => Self::Masquerade,
            other => Self::Other(other.to_owned()),
        }
    }
}
