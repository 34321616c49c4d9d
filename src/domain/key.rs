//! WireGuard keys.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

/// A WireGuard public key: 32 bytes, shown as base64. There is no all-zero key and no default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A WireGuard preshared key: 32 bytes, wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<[u8; 32]>);

/// Why a text is not a WireGuard key. The text itself is never repeated: it may be a secret in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not standard base64 of 32 bytes.
    #[error("not a WireGuard key: expected 44 characters of base64 (32 bytes), as `wg pubkey` prints them")]
    Malformed,
    /// 32 zero bytes: what a failed decode looks like, and never a real key.
    #[error("an all-zero key is not a WireGuard key")]
    Zero,
}

fn decode(text: &str) -> Result<[u8; 32], InvalidKey> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).map_err(|_| InvalidKey::Malformed)?);
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| InvalidKey::Malformed)?;
    if key == [0; 32] { Err(InvalidKey::Zero) } else { Ok(key) }
}

impl PublicKey {
    /// Takes the 32 raw bytes.
    ///
    /// # Errors
    /// [`InvalidKey::Zero`] for the all-zero key.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        if bytes == [0; 32] { Err(InvalidKey::Zero) } else { Ok(Self(bytes)) }
    }

    /// Returns the 32 raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        decode(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl PresharedKey {
    /// Returns the 32 raw bytes, the form a WireGuard device takes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key as base64, the form RouterOS takes; the text is wiped when dropped.
    #[must_use]
    pub fn expose_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.0.as_slice()))
    }
}

impl FromStr for PresharedKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        decode(text).map(|key| Self(Zeroizing::new(key)))
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

    #[test]
    fn a_key_is_shown_as_it_was_written() {
        assert_eq!(KEY.parse::<PublicKey>().map(|k| k.to_string()), Ok(KEY.to_owned()));
    }

    #[test]
    fn zero_short_and_foreign_texts_are_no_keys() {
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse::<PublicKey>(), Err(InvalidKey::Zero));
        for bad in
            ["", "short", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg", "!TIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="]
        {
            assert_eq!(bad.parse::<PublicKey>(), Err(InvalidKey::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_preshared_key_is_never_shown() {
        assert_eq!(KEY.parse::<PresharedKey>().map(|k| format!("{k:?}")), Ok("PresharedKey(***)".to_owned()));
    }
}
