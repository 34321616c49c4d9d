//! `sitepeer hub check`: the settings, and what they come to.

use serde_json::{Value, json};

use crate::cli::args::hub::Check;
use crate::cli::failure::Failure;
use crate::cli::hub::implementation::text::{Sheet, join};
use crate::cli::report::{Event, Outcome, Reporter, Verdict};
use crate::hub::config::HubConfig;
use crate::hub::server::{self, ServeError};

/// Says what the settings come to, as far as that can be told without serving.
pub(in crate::cli::hub) async fn check(check: Check, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let config = check.config;
    match server::check(&config).await {
        Ok(()) => {}
        // Most likely the hub itself, which is asked about while it serves.
        Err(ServeError::Listen { address, source }) if source.kind() == std::io::ErrorKind::AddrInUse => {
            reporter.event(&Event::Warning {
                code: "in-use",
                message: format!("{address} is in use: by this hub, or by another program"),
                hint: None,
            });
        }
        Err(error) => return Err(not_served(&error).into()),
    }
    reporter.data(sheet(&config).text());
    Ok(Outcome::new(Verdict::Done).say("these settings can be served").detail("settings", settings(&config)))
}

/// A server that cannot start.
pub(super) fn not_served(error: &ServeError) -> Failure {
    Failure::of(Verdict::Invalid, "hub-serve", error, error.hint())
}

/// Where everything is kept, without saying a password.
pub(super) fn store(config: &HubConfig) -> String {
    match config.database_url {
        Some(_) => "PostgreSQL".to_owned(),
        None => format!("SQLite in {}", config.data_dir.display()),
    }
}

fn sheet(config: &HubConfig) -> Sheet {
    let tls = match &config.tls {
        Some(files) => format!("{} with {}", files.cert.display(), files.key.display()),
        None if config.allow_plaintext => "none, and plaintext beyond loopback is allowed".to_owned(),
        None => "none: loopback only".to_owned(),
    };
    Sheet::default()
        .line("listen", config.listen.to_string())
        .line("store", store(config))
        .line("data folder", config.data_dir.display().to_string())
        .line("tls", tls)
        .line("domain", config.domain.as_deref().unwrap_or("none: peers call the gateway's own address"))
        .line("proxies", join(&config.trusted_proxies))
        .line("reports", format!("every {} s", config.report_secs))
        .line(
            "connections",
            format!("{} at most, {} of one address", config.max_connections, config.max_connections_per_address),
        )
        .line("enrolments", format!("{} in a minute from one address", config.enroll_per_minute))
        .line("metrics", if config.metrics_open { "open to everybody" } else { "for administrators" })
}

fn settings(config: &HubConfig) -> Value {
    json!({
        "listen": config.listen.to_string(),
        "data_dir": config.data_dir.display().to_string(),
        "store": if config.database_url.is_some() { "postgresql" } else { "sqlite" },
        "tls_cert": config.tls.as_ref().map(|files| files.cert.display().to_string()),
        "tls_key": config.tls.as_ref().map(|files| files.key.display().to_string()),
        "allow_plaintext": config.allow_plaintext,
        "trusted_proxies": config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "domain": config.domain,
        "report_secs": config.report_secs,
        "max_connections": config.max_connections,
        "max_connections_per_address": config.max_connections_per_address,
        "enroll_per_minute": config.enroll_per_minute,
        "metrics_open": config.metrics_open,
    })
}
