//! Why there is no session on a router, in words that say what to do.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::super::{
    error::{CallError, Loss, Nonsense, Refusal},
    login::LoginError,
    tls::TlsError,
};

/// What was being done when a deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Resolving the host's name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Logging in.
    Login,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Login => "logging in",
        })
    }
}

/// What kind of failure it is: decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Exit code 2: what the user gave us cannot be used.
    Usage,
    /// Exit code 4: no (working) router there, or it does not let us in.
    Unreachable,
    /// Exit code 5: going on would not be safe.
    Safety,
}

/// Why there is no session on the router.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The API in the clear, to an address where others may listen.
    #[error("{address} is not a private address: the password would travel there in the clear")]
    PlaintextRefused {
        /// The address.
        address: IpAddr,
    },
    /// The name has no address.
    #[error("{host} does not resolve to an address")]
    Unresolvable {
        /// The host, as given.
        host: String,
        /// What the resolver says, if it says anything.
        #[source]
        why: Option<io::Error>,
    },
    /// No TCP connection.
    #[error("no connection to {address}")]
    Unreachable {
        /// The last address tried.
        address: SocketAddr,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// A deadline passed.
    #[error("{step} took longer than {} s", after.as_secs_f32())]
    Timeout {
        /// Doing what.
        step: Step,
        /// The deadline.
        after: Duration,
    },
    /// No TLS session.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The router said no to the login. Its words, and what may be behind them: [`ConnectError::hint`].
    #[error("the router refused the login: {0}")]
    LoginRefused(Refusal),
    /// The login was right, but the user may not use the API.
    #[error("the user may not use the API: {0}")]
    NoApiPolicy(Refusal),
    /// The router ended the session while logging in, with these words.
    #[error("the router ended the session at the login: {words}")]
    TurnedAway {
        /// Its words, fit to be shown.
        words: String,
    },
    /// The router closed the connection without a word before the login was answered.
    #[error("the router closed the connection before it answered the login")]
    Closed,
    /// The other side speaks TLS, and the URL says `api://`.
    #[error("this port speaks TLS, and the URL says api://")]
    SpeaksTls,
    /// What answers is not the API.
    #[error("what answers is not the RouterOS API")]
    Garbage(#[source] Nonsense),
    /// An answer to the login that means nothing.
    #[error("the login failed")]
    Login(#[source] LoginError),
}

impl ConnectError {
    /// Says which exit code it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::PlaintextRefused { .. }
            | Self::Tls(
                TlsError::UnknownCertificate { .. }
                | TlsError::ChangedCertificate { .. }
                | TlsError::UntrustedCertificate { .. },
            ) => FailureClass::Safety,
            Self::Tls(TlsError::CaFile { .. }) => FailureClass::Usage,
            _ => FailureClass::Unreachable,
        }
    }

    /// Says what a failed login means.
    pub(super) fn of_login(error: LoginError, after: Duration) -> Self {
        match error {
            LoginError::Refused(refusal) if is_about_policy(&refusal) => Self::NoApiPolicy(refusal),
            LoginError::Refused(refusal) => Self::LoginRefused(refusal),
            LoginError::Call(CallError::Deadline { .. }) => Self::Timeout { step: Step::Login, after },
            LoginError::Call(CallError::Fatal { message }) => Self::TurnedAway { words: message },
            LoginError::Call(CallError::ConnectionLost { how: Loss::Closed | Loss::Socket(_) }) => Self::Closed,
            LoginError::Call(CallError::Garbage { what: Nonsense::Tls }) => Self::SpeaksTls,
            LoginError::Call(CallError::Garbage { what }) => Self::Garbage(what),
            error => Self::Login(error),
        }
    }

    /// Returns what the user may do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PlaintextRefused { .. } => Some(PLAINTEXT.into()),
            Self::Unresolvable { .. } => Some("check the name, or give the router's address".into()),
            Self::Unreachable { address, why } => Some(unreachable_hint(*address, why)),
            Self::Timeout { step, .. } => Some(timeout_hint(*step).into()),
            Self::Tls(error) => tls_hint(error),
            Self::LoginRefused(refusal) => Some(refused_hint(refusal).into()),
            Self::NoApiPolicy(_) => Some(API_POLICY.into()),
            Self::TurnedAway { .. } | Self::Closed => Some(TURNED_AWAY.into()),
            Self::SpeaksTls => Some("write apis:// for this port, or give the port of the api service (8728)".into()),
            Self::Garbage(_) => Some(NOT_THE_API.into()),
            Self::Login(_) => None,
        }
    }
}

const PLAINTEXT: &str = "use apis:// (api-ssl, port 8729), or --allow-plaintext if nobody on the way can listen; only \
     loopback, link-local and private addresses go without";

const API_POLICY: &str = "give the user's group the api policy: /user/group set <group> policy=api,read,write,…";

const WRONG_PASSWORD: &str = "check user and password; the same words may come for a user that is disabled, that may \
     not log in from this address (/user address=), or whose group lacks the api policy";

const RADIUS: &str =
    "the router asks a RADIUS server for this user and got no answer: check /radius, or use a local user";

const UNKNOWN_REFUSAL: &str = "the words are the router's own; look for: sessions used up (/ip/service max-sessions, \
     /user/active), a group without the api policy, a user bound to other addresses";

const TURNED_AWAY: &str = "one of: this address may not use the service (/ip/service available-from=), all sessions are used up (/ip/service \
     max-sessions=), the firewall resets it, or the port is another service's (api is 8728, api-ssl 8729)";

const NOT_THE_API: &str = "check the port: api is 8728, api-ssl 8729 (apis://); 8291 is WinBox, 22 is SSH, 80 and 443 \
     are the web interface";

const NO_CERTIFICATE: &str = "give api-ssl a certificate: /certificate add name=api common-name=<address> key-usage=tls-server; /certificate sign \
     api; /ip/service set api-ssl certificate=api";

fn is_about_policy(refusal: &Refusal) -> bool {
    ["not enough permissions", "not permitted", "not allowed"].iter().any(|words| refusal.mentions(words))
}

fn refused_hint(refusal: &Refusal) -> &'static str {
    if refusal.mentions("radius") {
        RADIUS
    } else if refusal.mentions("invalid user name or password") || refusal.mentions("cannot log in") {
        WRONG_PASSWORD
    } else {
        UNKNOWN_REFUSAL
    }
}

fn unreachable_hint(address: SocketAddr, why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "nothing listens on port {}: is the service enabled? /ip/service print where name~\"api\"",
            address.port()
        ),
        _ => "check the address, the way there, and the router's input firewall".to_owned(),
    }
}

fn timeout_hint(step: Step) -> &'static str {
    match step {
        Step::Resolve => "check the name server, or give the router's address",
        Step::Connect => "check the address and the way there; a firewall that drops looks like this, too",
        Step::Tls => "is this the port of api-ssl (8729)? a service that waits for something else looks like this, too",
        Step::Login => {
            "is this the port of the API? a router that asks an unreachable RADIUS server looks like this, too"
        }
    }
}

fn tls_hint(error: &TlsError) -> Option<String> {
    Some(match error {
        TlsError::UnknownCertificate { fingerprint } => format!(
            "compare it with the router's own (/certificate print detail where name=<api-ssl's>: fingerprint) and trust it \
             with --pin {fingerprint}"
        ),
        TlsError::ChangedCertificate { fingerprint, .. } => format!(
            "if the certificate was renewed, check it on the router (/certificate print detail: fingerprint) and pin it: \
             --pin {fingerprint}; if not, somebody answers in the router's place"
        ),
        TlsError::UntrustedCertificate { fingerprint, .. } => {
            format!("give the CA that signed it, the name it is made out to, or pin it: --pin {fingerprint}")
        }
        TlsError::NoCertificate => NO_CERTIFICATE.into(),
        TlsError::NotTls => "write api:// for the API in the clear, or give the port of api-ssl (8729)".into(),
        TlsError::Closed => format!("{TURNED_AWAY}; or api-ssl has no certificate. {NO_CERTIFICATE}"),
        TlsError::CaFile { .. } | TlsError::Io(_) | TlsError::Protocol(_) => return None,
    })
}
