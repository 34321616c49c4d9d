//! What can go wrong with a request to the hub, and what the caller may do about it.

use std::{error::Error, io, ops::Deref, path::PathBuf, time::Duration};

use rustls::CertificateError;

use crate::api::{MAX_REPLY_BYTES, Problem};

use super::Step;

/// A hub's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its words, fit to be shown, with the status that came.
    pub problem: Problem,
    /// How long it asked to be left alone (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Deref for Refusal {
    type Target = Problem;

    fn deref(&self) -> &Problem {
        &self.problem
    }
}

/// Why a request gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The name has no address.
    #[error("the hub's name {host} was not resolved")]
    Unresolvable {
        /// The name.
        host: String,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// No connection.
    #[error("no connection to the hub at {place}")]
    Unreachable {
        /// Where.
        place: String,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// Something took too long. Whether the request was done is not known after [`Step::Head`] and [`Step::Body`].
    #[error("the hub was too slow: {step} within {} s", after.as_secs_f32())]
    Timeout {
        /// What.
        step: Step,
        /// The deadline.
        after: Duration,
    },
    /// The certificate does not pass, or what answers speaks no TLS that will do.
    #[error("no TLS session with the hub")]
    Tls(#[source] Box<rustls::Error>),
    /// The CA file cannot be used.
    #[error("CA file {}: {why}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The credential has bytes that no header may have; nothing was sent.
    #[error("the credential has characters that no credential has")]
    Credential,
    /// The request cannot be written as HTTP; nothing was sent.
    #[error("the request's {what} cannot be sent: {why}")]
    Unsendable {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The connection ended before the answer was whole. Whether the request was done is not known.
    #[error("the connection to the hub was lost")]
    Lost {
        /// How.
        #[source]
        why: Box<dyn Error + Send + Sync>,
    },
    /// The answer is larger than any answer of a hub.
    #[error("the hub's answer is longer than {MAX_REPLY_BYTES} bytes")]
    TooLong,
    /// What answers is no hub, or not one of this version.
    #[error("what answers is not the hub's API (status {status}): {said}")]
    Garbage {
        /// Its status, 0 if it was not even HTTP.
        status: u16,
        /// Its first words, fit to be shown.
        said: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It sent us elsewhere. The credential does not go there.
    #[error("the hub's address leads elsewhere (status {status}): {to}")]
    Moved {
        /// Its status.
        status: u16,
        /// Where to, fit to be shown.
        to: String,
    },
    /// The hub refused.
    #[error("the hub refused ({}): {}", .0.problem.code, .0.problem.detail)]
    Refused(Box<Refusal>),
}

/// When trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once, over a new connection.
    Now,
    /// After a while: [`UplinkError::retry_after`], or what the caller thinks fit.
    Later,
    /// Not without a change of something.
    Never,
}

impl UplinkError {
    /// Says when trying again makes sense. Whether it is safe, the caller has to know: a request whose answer was lost
    /// may have been done.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Lost { .. } => Retry::Now,
            // A certificate is renewed, and clocks are set, without the agent being told.
            Self::Unresolvable { .. } | Self::Unreachable { .. } | Self::Timeout { .. } | Self::Tls(_) => Retry::Later,
            Self::Refused(refusal) => of_status(refusal.status),
            Self::Garbage { status, .. } => of_status(*status),
            Self::CaFile { .. } | Self::Credential | Self::Unsendable { .. } | Self::TooLong | Self::Moved { .. } => {
                Retry::Never
            }
        }
    }

    /// How long the hub asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Garbage { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What the hub refused with, if it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(refusal) => Some(&refusal.problem),
            _ => None,
        }
    }

    /// Says whether the hub refused with this [`crate::api::code`].
    #[must_use]
    pub fn is_refused_with(&self, code: &str) -> bool {
        self.problem().is_some_and(|problem| problem.code == code)
    }

    /// Returns what the user may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Refused(refusal) => return refusal.problem.hint.clone(),
            Self::Unresolvable { .. } => "check the name in --hub, and this machine's DNS".to_owned(),
            Self::Unreachable { .. } => "check that the hub runs, its port in --hub, and firewalls between".to_owned(),
            Self::Timeout { .. } => "the hub may be overloaded or gone; run the same command again".to_owned(),
            Self::Tls(error) => tls_hint(error).to_owned(),
            Self::CaFile { .. } => {
                "give a PEM file with the hub's certificate or the authority that signed it".to_owned()
            }
            Self::Credential => "give the file as it was made: one line, nothing else".to_owned(),
            Self::Lost { .. } => "run the same command again: what was done stays".to_owned(),
            // No HTTP came back: a TLS port answers so, asked in the clear.
            Self::Garbage { status: 0, .. } => "is this the hub's port, and is it not https:// there?".to_owned(),
            Self::Garbage { .. } | Self::TooLong => "is this the hub's address and port?".to_owned(),
            Self::Moved { .. } => "give the address it leads to as --hub, if that is the hub".to_owned(),
            Self::Unsendable { .. } => return None,
        })
    }
}

/// When a request that got this status makes sense again.
fn of_status(status: u16) -> Retry {
    match status {
        // Too early, too many, and what a hub or the proxy before it says while it starts or fails.
        408 | 425 | 429 | 500 | 502 | 503 | 504 => Retry::Later,
        _ => Retry::Never,
    }
}

fn tls_hint(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                "no authority that is trusted signed it: give the hub's certificate with --hub-ca FILE"
            }
            CertificateError::BadSignature => {
                "another key signed it than the one that is trusted: give the hub's present certificate with --hub-ca FILE"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate is past its time, or this machine's clock is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet, or this machine's clock is wrong"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name: use the name it is for in --hub"
            }
            _ => "the hub's certificate cannot be used",
        },
        rustls::Error::InvalidMessage(_) => "what answers does not speak TLS: is this the hub's port?",
        _ => "is this the hub's address and port?",
    }
}
