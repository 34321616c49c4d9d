//! The simulated router's firewall: rules that really decide, over connections that are really tracked.
//!
//! [`rule`] reads a RouterOS firewall row into an action and matchers, [`connections`] tracks what is established, and this
//! module walks the chains. It knows packets and names of interfaces, but neither routes nor sockets.

pub(super) mod connections;
mod matcher;
mod rule;

use std::collections::HashMap;

use connections::ConnectionState;
pub use matcher::Matcher;
pub use rule::{Action, Lists, Rule};

use crate::wireguard::packet::IpPacket;

/// How deep chains may jump into chains; RouterOS has a limit too, a loop of jumps must end.
const MAX_JUMPS: usize = 16;

/// What a matcher may look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub packet: &'a IpPacket,
    /// `None` for what the router itself sends.
    pub in_interface: Option<&'a str>,
    /// `None` for what is for the router itself.
    pub out_interface: Option<&'a str>,
    pub state: ConnectionState,
    /// Whether the connection's source was rewritten.
    pub source_nat: bool,
}

/// What the rules decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Reject,
    Masquerade,
}

/// The rules of one table (`filter` or `nat`), by chain, in order.
#[derive(Debug, Default)]
pub(super) struct Table {
    chains: HashMap<String, Vec<Rule>>,
}

impl Table {
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut chains: HashMap<String, Vec<Rule>> = HashMap::new();
        for rule in rules {
            chains.entry(rule.chain.clone()).or_default().push(rule);
        }
        Self { chains }
    }

    /// Walks a chain: the first rule that decides wins, none means accept.
    pub fn decide(&self, chain: &str, context: &Context<'_>) -> Verdict {
        self.walk(chain, context, 0).unwrap_or(Verdict::Accept)
    }

    fn walk(&self, chain: &str, context: &Context<'_>, depth: usize) -> Option<Verdict> {
        if depth > MAX_JUMPS {
            tracing::warn!(chain, "chains of the simulated firewall jump in a circle");
            return Some(Verdict::Drop);
        }
        for rule in self.chains.get(chain)?.iter().filter(|rule| rule.matches(context)) {
            match &rule.action {
                // RouterOS: what a fasttrack rule matches skips the rest of the firewall; the packets that
                // do pass it meet the next rule, by convention an accept with the same matchers.
                Action::Accept | Action::FasttrackConnection => return Some(Verdict::Accept),
                Action::Drop => return Some(Verdict::Drop),
                Action::Reject => return Some(Verdict::Reject),
                Action::Masquerade => return Some(Verdict::Masquerade),
                Action::Return => return None,
                Action::Jump(target) => {
                    if let Some(verdict) = self.walk(target, context, depth + 1) {
                        return Some(verdict);
                    }
                }
                Action::Log => tracing::debug!(chain, "a rule of the simulated firewall logs a packet"),
                Action::Passthrough | Action::Other(_) => {}
            }
        }
        None
    }
}
