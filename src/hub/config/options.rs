//! Every option of the hub, once: flags, environment variables, keys of the file and the README's table come from here.

/// What a value is, for help and for the file's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// A text in quotes.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// A list of texts; in the environment and behind the flag with commas between.
    List,
}

/// An option of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubOption {
    /// The key in the file. The flag is the same with `-`, the variable the same in capitals behind `SITEPEER_HUB_`.
    pub key: &'static str,
    /// What stands for the value in help, such as `ADDRESS:PORT`.
    pub value: &'static str,
    /// What the value is.
    pub kind: ValueKind,
    /// What counts without it; empty is nothing.
    pub default: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
}

impl HubOption {
    /// Returns the flag without its dashes, such as `data-dir`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Returns the environment variable, such as `SITEPEER_HUB_DATA_DIR`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SITEPEER_HUB_{}", self.key.to_ascii_uppercase())
    }
}

const fn option(
    key: &'static str,
    value: &'static str,
    kind: ValueKind,
    default: &'static str,
    help: &'static str,
) -> HubOption {
    HubOption { key, value, kind, default, help }
}

/// The options, in the order in which people need them.
pub const OPTIONS: &[HubOption] = &[
    option(
        "listen",
        "ADDRESS:PORT",
        ValueKind::Text,
        "127.0.0.1:8443",
        "Where the hub listens. Beyond loopback it needs TLS, or allow_plaintext.",
    ),
    option(
        "data_dir",
        "FOLDER",
        ValueKind::Text,
        "/var/lib/sitepeer/hub",
        "Where the hub keeps its SQLite store and the first admin token.",
    ),
    option(
        "database_url",
        "URL",
        ValueKind::Text,
        "",
        "PostgreSQL instead of SQLite: postgres://user@host/database. A URL with a password is not taken from a flag.",
    ),
    option(
        "database_url_file",
        "FILE",
        ValueKind::Text,
        "",
        "A file that holds the database URL, readable by its owner only.",
    ),
    option("tls_cert", "FILE", ValueKind::Text, "", "The certificate chain, PEM. Read again when it changes."),
    option("tls_key", "FILE", ValueKind::Text, "", "The certificate's private key, PEM. Read again when it changes."),
    option(
        "allow_plaintext",
        "BOOL",
        ValueKind::Switch,
        "false",
        "Serves without TLS beyond loopback: only where a proxy in front of it does TLS on the same wire.",
    ),
    option(
        "trusted_proxies",
        "PREFIX,…",
        ValueKind::List,
        "",
        "Proxies whose X-Forwarded-For says who the client is, for the rate limits.",
    ),
    option(
        "domain",
        "NAME",
        ValueKind::Text,
        "",
        "The DNS domain of the instances' endpoints: <hostname>.<domain>. Without it peers call the gateway's own address.",
    ),
    option("report_secs", "SECS", ValueKind::Number, "10", "How often gateways report, 1 to 60."),
    option(
        "max_connections",
        "NUMBER",
        ValueKind::Number,
        "16384",
        "Most connections at once; more wait in the kernel. Each needs a file descriptor.",
    ),
    option(
        "max_connections_per_address",
        "NUMBER",
        ValueKind::Number,
        "1024",
        "Most connections of one client address (of IPv6, a /64); more are closed. Loopback and trusted_proxies are not counted.",
    ),
    option(
        "enroll_per_minute",
        "NUMBER",
        ValueKind::Number,
        "60",
        "Enrolments from one address in a minute; more are told to wait.",
    ),
    option(
        "metrics_open",
        "BOOL",
        ValueKind::Switch,
        "false",
        "Serves /metrics without a token. Otherwise it takes an admin's.",
    ),
];

/// Returns the table of options for the README.
#[must_use]
pub fn markdown() -> String {
    let mut table =
        String::from("| key in the file | flag | environment | default | what it does |\n|---|---|---|---|---|\n");
    for option in OPTIONS {
        let default = if option.default.is_empty() { "–".to_owned() } else { format!("`{}`", option.default) };
        let flag = match option.kind {
            ValueKind::Switch => option.flag(),
            _ => format!("{} {}", option.flag(), option.value),
        };
        let row = [format!("`{}`", option.key), format!("`--{flag}`"), format!("`{}`", option.variable()), default];
        table.extend(["| ", row.join(" | ").as_str(), " | ", option.help, " |\n"]);
    }
    table
}
