//! The SHA-256 of a certificate: `sha256:3f8a…`.

use std::{fmt, str::FromStr};

use ring::digest;

const PREFIX: &str = "sha256:";
const PIN_BYTES: usize = 32;

/// The SHA-256 of one certificate's DER bytes, which identifies it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificatePin([u8; PIN_BYTES]);

/// Why a text is no pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPin {
    /// It does not begin with `sha256:`.
    #[error("a pin begins with sha256:")]
    Prefix,
    /// A character that is neither a hex digit nor a colon between bytes.
    #[error("a pin is sha256: and hex digits, with or without colons between the bytes; \"{0}\" is neither")]
    Digit(char),
    /// Not 64 hex digits.
    #[error("a SHA-256 has 64 hex digits, this has {0}")]
    Length(usize),
}

impl CertificatePin {
    /// Takes a SHA-256 that was computed elsewhere.
    #[must_use]
    pub fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Computes the pin of a certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let mut pin = [0; PIN_BYTES];
        pin.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(pin)
    }
}

impl FromStr for CertificatePin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let hex = match text.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ => return Err(InvalidPin::Prefix),
        };
        let mut pin = [0; PIN_BYTES];
        let mut digits = 0;
        for character in hex.chars().filter(|&character| character != ':') {
            let digit = character.to_digit(16).ok_or(InvalidPin::Digit(character))?;
            if let Some(byte) = pin.get_mut(digits / 2) {
                *byte = *byte << 4 | u8::try_from(digit).unwrap_or(0);
            }
            digits += 1;
        }
        if digits == 2 * PIN_BYTES { Ok(Self(pin)) } else { Err(InvalidPin::Length(digits)) }
    }
}

impl fmt::Display for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
