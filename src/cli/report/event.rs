//! What a command says while it works. One file lists every event; `cli/schema/event.schema.json` has their shape.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::api::Backend;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A step began, or has a result.
    Step {
        /// Which.
        step: Step,
        /// What it is about or what it found, for people.
        detail: String,
    },
    /// A change that is needed (in `plan`, `--dry-run` and before the question).
    Change(Change),
    /// A change that the router carried out.
    Written(Change),
    /// The router's own public key: someone may have to enter it at the hub.
    PublicKey {
        /// The WireGuard interface.
        interface: String,
        /// Base64.
        public_key: String,
    },
    /// A simulated device answers.
    Listening {
        /// The RouterOS version it is.
        version: String,
        /// Where its API answers.
        api: String,
        /// Where its api-ssl answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        api_ssl: Option<String>,
        /// The pin of its certificate.
        #[serde(skip_serializing_if = "Option::is_none")]
        pin: Option<String>,
    },
    /// A hub serves.
    Serving {
        /// How this machine reaches it.
        url: String,
        /// Where everything is kept.
        store: String,
        /// The file of the first administrator's token.
        #[serde(skip_serializing_if = "Option::is_none")]
        admin_token: Option<String>,
        /// The file to trust, if the certificate is not public.
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
        /// The gateway beside it.
        #[serde(skip_serializing_if = "Option::is_none")]
        gateway: Option<ServingGateway>,
    },
    /// Something a person should know that stops nothing.
    Warning {
        /// A short word for machines, which stays.
        code: &'static str,
        /// What is the matter.
        message: String,
        /// What to do.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Something the demo shows.
    Shown {
        /// Which of its acts: `provision`, `ping`, …
        act: &'static str,
        /// Which site, or `hub`, or `ping`.
        subject: String,
        /// For people.
        detail: String,
        /// For machines; what there is depends on the act.
        figures: Value,
    },
}

/// A gateway in the hub's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServingGateway {
    /// The region it serves.
    pub region: String,
    /// Where peers reach it.
    pub public_host: String,
    /// How it makes tunnels, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
}

/// The steps of a command, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Enrolling at the hub, waiting for its site config, telling it what was done.
    Hub,
    /// TCP, TLS and login.
    Connect,
    /// Reading the router.
    Read,
    /// What must hold before the first write.
    Check,
    /// Deciding.
    Plan,
    /// Writing.
    Write,
    /// Reading again.
    Verify,
    /// Handshake and answers through the tunnel.
    Prove,
    /// What goes on until it is stopped.
    Serve,
}

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A new row.
    Add,
    /// Fields of a row.
    Set,
    /// A field of a row goes.
    Unset,
    /// Another place in an ordered menu.
    Move,
    /// A row goes.
    Remove,
}

/// One change to a row of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// The menu, such as `/ip/route`.
    pub menu: String,
    /// The row's marker.
    pub marker: String,
    /// Why.
    pub reason: String,
    /// Fields, old and new. Empty when a row goes.
    pub fields: Vec<FieldChange>,
}

/// A field of a changed row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The field.
    pub key: String,
    /// What the router has; `None` in a new row, or if it is secret or unknown.
    pub from: Option<String>,
    /// What it is to have; `None` if it goes, or if it is secret.
    pub to: Option<String>,
    /// A secret's values are never told.
    pub secret: bool,
}

impl Event {
    /// The event in lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Step { step, detail } => vec![format!("{:<8} {detail}", step.word())],
            Self::Change(change) => change.lines(),
            Self::Written(change) => vec![format!("  done {}", change.row())],
            Self::PublicKey { interface, public_key } => {
                vec![format!("{:<8} public key of {interface}: {public_key}", "router")]
            }
            Self::Listening { version, api, api_ssl, pin } => {
                listening(version, api, api_ssl.as_deref(), pin.as_deref())
            }
            Self::Serving { url, store, admin_token, gateway, .. } => {
                serving(url, store, admin_token.as_deref(), gateway.as_ref())
            }
            Self::Warning { message, hint, .. } => {
                let hint = hint.as_ref().map(|hint| format!("hint: {hint}"));
                [Some(format!("warning: {message}")), hint].into_iter().flatten().collect()
            }
            Self::Shown { subject, detail, .. } => vec![format!("{subject:<8} {detail}")],
        }
    }
}

fn listening(version: &str, api: &str, api_ssl: Option<&str>, pin: Option<&str>) -> Vec<String> {
    let mut lines =
        vec![format!("RouterOS {version}, simulated; Ctrl-C ends it"), format!("  api      api://admin@{api}")];
    if let (Some(address), Some(pin)) = (api_ssl, pin) {
        lines.push(format!("  api-ssl  apis://admin@{address}"));
        lines.push(format!("           --pin {pin}"));
    }
    lines
}

fn serving(url: &str, store: &str, admin_token: Option<&str>, gateway: Option<&ServingGateway>) -> Vec<String> {
    let mut lines = vec![format!("hub      {url}; Ctrl-C ends it"), format!("store    {store}")];
    if let Some(file) = admin_token {
        lines.push(format!("token    the first administrator's is in {file}"));
    }
    if let Some(gateway) = gateway {
        lines.push(format!("gateway  region {}, peers reach it at {}", gateway.region, gateway.public_host));
    }
    lines
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Check => "check",
            Self::Plan => "plan",
            Self::Write => "write",
            Self::Verify => "verify",
            Self::Prove => "prove",
            Self::Serve => "serve",
        }
    }
}

/// Widest line of a change: a terminal of 100 columns, with some room for a log's prefix.
const WIDTH: usize = 96;
/// Where the fields of a change begin.
const INDENT: &str = "      ";
/// Reasons that go without saying: the whole command is about them.
const PLAIN_REASONS: [&str; 2] = ["missing", "all of this site is to go"];

impl Change {
    /// The row in a few words: what is done, where, and its role.
    fn row(&self) -> String {
        let sign = match self.action {
            Action::Add => "+",
            Action::Set | Action::Unset => "~",
            Action::Move => ">",
            Action::Remove => "-",
        };
        // The site is the same in every line.
        let role = self.marker.splitn(3, ':').nth(2).unwrap_or(&self.marker);
        format!("{sign} {} [{role}]", self.menu)
    }

    fn lines(&self) -> Vec<String> {
        let reason =
            if PLAIN_REASONS.contains(&self.reason.as_str()) { String::new() } else { format!("  {}", self.reason) };
        let mut lines = vec![format!("  {}{reason}", self.row())];
        let mut line = String::new();
        for field in self.fields.iter().map(ToString::to_string) {
            if !line.is_empty() && INDENT.len() + line.len() + 1 + field.len() > WIDTH {
                lines.push(format!("{INDENT}{line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&field);
        }
        if !line.is_empty() {
            lines.push(format!("{INDENT}{line}"));
        }
        lines
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            _ if self.secret => write!(f, "{}=***", self.key),
            (Some(from), Some(to)) => write!(f, "{}={to} (was {from})", self.key),
            (None, Some(to)) => write!(f, "{}={to}", self.key),
            (Some(from), None) => write!(f, "without {} (was {from})", self.key),
            (None, None) => write!(f, "without {}", self.key),
        }
    }
}
