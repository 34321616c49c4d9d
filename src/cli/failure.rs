//! Errors as the command line shows them: a word for machines, a sentence for people, a way out, an exit code.

use std::error::Error;
use std::fmt;

use crate::config::{ConfigClass, ConfigError, FileError};
use crate::domain::SiteConflict;
use crate::reconcile::observe::ReadError;
use crate::routeros::error::CallError;
use crate::routeros::target::{ConnectError, FailureClass};
use crate::routeros::tls::TlsError;
use crate::uplink::{UnfitSite, UplinkError};

use super::exit::Exit;
use super::report::Verdict;

/// Why a command ended without doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the result line says; decides the exit code.
    pub verdict: Verdict,
    /// A short word for machines, which stays: `unknown-certificate`.
    pub code: &'static str,
    /// One line for people, causes included, without a full stop.
    pub message: String,
    /// The way out, if there is a plain one.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(verdict: Verdict, code: &'static str, message: impl Into<String>) -> Self {
        Self { verdict, code, message: message.into(), hint: None }
    }

    /// Wrong flags, files or environment (exit 2).
    #[must_use]
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Verdict::Invalid, code, message)
    }

    /// A fault of this program (exit 1).
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Verdict::Failed, "internal", message)
    }

    /// A part that this build leaves out (exit 2).
    #[must_use]
    pub fn not_built(feature: &'static str) -> Self {
        Self::usage("not-built", format!("built without {feature} support"))
            .hint(format!("build with: cargo build --release --features {feature}"))
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.verdict.exit()
    }

    /// The failure of an error of a lower layer, whose causes are told in the message.
    pub(in crate::cli) fn of(
        verdict: Verdict,
        code: &'static str,
        error: &(dyn Error + 'static),
        hint: Option<String>,
    ) -> Self {
        Self { verdict, code, message: chain(error), hint }
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        message.push_str(": ");
        message.push_str(&source.to_string());
        cause = source.source();
    }
    message
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

impl From<&ConfigError> for Failure {
    fn from(error: &ConfigError) -> Self {
        let verdict = match error.class() {
            ConfigClass::Malformed => Verdict::Invalid,
            ConfigClass::Safety => Verdict::Refused,
        };
        Self::of(verdict, error.code(), error, error.hint())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from(&error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::of(Verdict::Invalid, error.code(), &error, error.hint())
    }
}

impl From<anyhow::Error> for Failure {
    /// Finds the error that knows what it is, whatever context was wrapped around it; what nobody knows
    /// is a fault of this program.
    fn from(error: anyhow::Error) -> Self {
        let known = error.chain().find_map(known);
        let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let mut failure = known.unwrap_or_else(|| Self::internal(""));
        failure.message = message;
        failure
    }
}

/// Every error type that has an exit code of its own. A new one gets a line here.
fn known(error: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.clone());
    }
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return Some(error.into());
    }
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(connect_failure(error));
    }
    if let Some(error) = error.downcast_ref::<ReadError>() {
        return Some(read_failure(error));
    }
    if let Some(error) = error.downcast_ref::<UplinkError>() {
        return Some(hub_failure(error));
    }
    if let Some(error) = error.downcast_ref::<UnfitSite>() {
        return Some(unfit_failure(error));
    }
    error.downcast_ref::<CallError>().map(call_failure)
}

/// The hub was not reached, or did not do what it was asked.
fn hub_failure(error: &UplinkError) -> Failure {
    let (verdict, code) = match error {
        UplinkError::Unresolvable { .. } => (Verdict::HubFailed, "hub-unresolvable"),
        UplinkError::Unreachable { .. } => (Verdict::HubFailed, "hub-unreachable"),
        UplinkError::Timeout { .. } => (Verdict::HubFailed, "hub-timeout"),
        UplinkError::Tls(_) => (Verdict::HubFailed, "hub-tls"),
        UplinkError::Lost { .. } => (Verdict::HubFailed, "hub-connection-lost"),
        UplinkError::Garbage { .. } | UplinkError::TooLong => (Verdict::HubFailed, "hub-garbage"),
        UplinkError::Moved { .. } => (Verdict::HubFailed, "hub-moved"),
        UplinkError::Refused(_) => (Verdict::HubFailed, "hub-refused"),
        UplinkError::CaFile { .. } => (Verdict::Invalid, "file-unusable"),
        UplinkError::Credential => (Verdict::Invalid, "credential-malformed"),
        UplinkError::Unsendable { .. } => (Verdict::Invalid, "usage"),
    };
    Failure::of(verdict, code, error, error.hint())
}

/// The hub says what no router should have.
fn unfit_failure(error: &UnfitSite) -> Failure {
    let hint = "nothing was written to the router; somebody has to look at this peer at the hub".to_owned();
    let (verdict, code) = match error {
        UnfitSite::OtherPeer { .. } => (Verdict::HubFailed, "hub-other-peer"),
        UnfitSite::Fault(_) | UnfitSite::Order { .. } | UnfitSite::Conflict(SiteConflict::SameTunnel(_)) => {
            (Verdict::HubFailed, "hub-config")
        }
        UnfitSite::Conflict(SiteConflict::Broad { .. }) => (Verdict::Refused, "broad-route"),
        UnfitSite::Conflict(_) => (Verdict::Refused, "overlap"),
    };
    Failure::of(verdict, code, error, Some(hint))
}

/// The router was reached, but not read.
fn read_failure(error: &ReadError) -> Failure {
    match error {
        ReadError::Call { source, .. } => call_failure(source),
        ReadError::TooManyRows { .. } => Failure::of(Verdict::Unreachable, "too-many-rows", error, None),
        ReadError::BadId { .. } => Failure::of(Verdict::Unreachable, "garbage", error, None),
        ReadError::Deadline => Failure::of(Verdict::Unreachable, "no-answer", error, None),
    }
}

/// No session on the router.
fn connect_failure(error: &ConnectError) -> Failure {
    let verdict = match error.class() {
        FailureClass::Usage => Verdict::Invalid,
        FailureClass::Unreachable => Verdict::Unreachable,
        FailureClass::Safety => Verdict::Refused,
    };
    let code = match error {
        ConnectError::PlaintextRefused { .. } => "plaintext-refused",
        ConnectError::Unresolvable { .. } => "unresolvable",
        ConnectError::Unreachable { .. } => "unreachable",
        ConnectError::Timeout { .. } => "timeout",
        ConnectError::Tls(TlsError::UnknownCertificate { .. }) => "unknown-certificate",
        ConnectError::Tls(TlsError::ChangedCertificate { .. }) => "changed-certificate",
        ConnectError::Tls(TlsError::UntrustedCertificate { .. }) => "untrusted-certificate",
        ConnectError::Tls(TlsError::CaFile { .. }) => "file-unusable",
        ConnectError::Tls(TlsError::NoCertificate) => "no-certificate",
        ConnectError::Tls(_) => "tls",
        ConnectError::LoginRefused(_) | ConnectError::Login(_) => "login-refused",
        ConnectError::NoApiPolicy(_) => "no-api-policy",
        ConnectError::TurnedAway { .. } | ConnectError::Closed => "turned-away",
        ConnectError::SpeaksTls => "speaks-tls",
        ConnectError::Garbage(_) => "garbage",
    };
    Failure::of(verdict, code, error, error.hint())
}

/// A call that a command could not do without.
fn call_failure(error: &CallError) -> Failure {
    // The session stood, so the port and the protocol are right: the client's own hints are for those.
    let again = "run the same command again: what was written stays, and is completed";
    let (verdict, code, hint) = match error {
        CallError::Refused(_) => (Verdict::Rejected, "router-refused", error.hint()),
        CallError::Deadline { .. } => (Verdict::Unreachable, "no-answer", Some(again.to_owned())),
        CallError::Garbage { .. } => {
            let hint = format!("something on the way changes the bytes, or the router is at fault; {again}");
            (Verdict::Unreachable, "garbage", Some(hint))
        }
        _ => (Verdict::Unreachable, "connection-lost", Some(again.to_owned())),
    };
    Failure::of(verdict, code, error, hint)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_keeps_its_code_through_any_context() {
        let refused = Failure::new(Verdict::Refused, "overlap", "they overlap").hint("move one");
        let wrapped = Err::<(), _>(refused).context("checking the site").context("provision").unwrap_err();
        let failure = Failure::from(wrapped);
        assert_eq!((failure.code, failure.exit()), ("overlap", Exit::Safety));
        assert_eq!(failure.message, "provision: checking the site: they overlap");
        assert_eq!(failure.hint.as_deref(), Some("move one"));
    }

    #[test]
    fn an_error_nobody_knows_is_internal() {
        assert_eq!(Failure::from(anyhow::anyhow!("boom")).exit(), Exit::Internal);
    }
}
