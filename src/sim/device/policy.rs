//! Which policies a command needs, and which a user has.

use std::collections::BTreeSet;

/// All policies, in the order in which RouterOS prints them. *Source*: manual, User.
pub(crate) const POLICIES: [&str; 16] = [
    "local",
    "telnet",
    "ssh",
    "ftp",
    "reboot",
    "read",
    "write",
    "policy",
    "test",
    "winbox",
    "password",
    "web",
    "sniff",
    "sensitive",
    "api",
    "romon",
];

/// The policies a scheduler or script may run with, in the order of a recorded row.
const SCRIPT_POLICIES: [&str; 10] =
    ["ftp", "reboot", "read", "write", "policy", "test", "password", "sniff", "sensitive", "romon"];

/// What the log calls someone at the router's own console. *Source*: quoted logs, `tcp-msg(winbox):admin@192.168.2.250/terminal`.
const OPERATOR: &str = "tcp-msg(winbox):admin@192.168.88.20/terminal";

/// What a session may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    pub(crate) user: String,
    pub(crate) policies: BTreeSet<String>,
    /// The number of the session; scripts and the console have none.
    pub(crate) session: Option<u32>,
    /// What the log calls them: program, user and where from.
    pub(crate) from: String,
}

impl Viewer {
    /// Someone at the router's own console, who may do everything.
    pub(crate) fn operator() -> Self {
        Self {
            user: "admin".to_owned(),
            policies: POLICIES.iter().map(|p| (*p).to_owned()).collect(),
            session: None,
            from: OPERATOR.to_owned(),
        }
    }

    pub(crate) fn may(&self, policy: &str) -> bool {
        self.policies.contains(policy)
    }

    /// What a script made by this user runs with.
    pub(crate) fn script_policy(&self) -> String {
        let own: Vec<&str> = SCRIPT_POLICIES.into_iter().filter(|p| self.may(p)).collect();
        own.join(",")
    }
}

/// Reads `read,write,!ftp`: names with `!` are not granted.
pub(crate) fn parse_policies(text: &str) -> BTreeSet<String> {
    text.split(',').filter(|p| !p.is_empty() && !p.starts_with('!')).map(str::to_owned).collect()
}

/// Prints all policies, those not granted with `!`, or `None` if one is unknown.
pub(crate) fn canonical_policies(text: &str) -> Option<String> {
    let known = |p: &str| POLICIES.contains(&p.trim_start_matches('!')) || p == "rest-api" || p == "!rest-api";
    if !text.split(',').filter(|p| !p.is_empty()).all(known) {
        return None;
    }
    let granted = parse_policies(text);
    let shown = |p: &&str| if granted.contains(*p) { (*p).to_owned() } else { format!("!{p}") };
    Some(POLICIES.iter().map(shown).collect::<Vec<_>>().join(","))
}

/// The policy that `command` in `menu` asks for.
pub(crate) fn needed(menu: &str, command: &str) -> &'static str {
    match command {
        _ if menu == "/tool/ping" => "test",
        "print" | "get" | "getall" | "listen" => "read",
        "reboot" => "reboot",
        _ if menu == "/user" || menu == "/user/group" => "policy",
        _ => "write",
    }
}
