//! WireGuard keys.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

/// Points of small order on Curve25519, little-endian, the top bit clear: with one of them as the other's key, everybody computes
/// the same "secret", so no device has one. The all-zero key is the first.
///
/// *Source:* `has_small_order` in libsodium's `x25519_ref10.c`; RFC 7748, section 6.1 and 7.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    with_ends(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    // p - 1, p and p + 1 with p = 2^255 - 19.
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

const fn with_ends(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// A WireGuard public key: 32 bytes, shown as base64. There is no all-zero key, none of small order, and no default.
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
    /// A point of small order: the secret that is agreed with it is known to everybody.
    #[error("this is a point of small order on Curve25519, and no device's WireGuard key")]
    SmallOrder,
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
    /// [`InvalidKey::Zero`] for the all-zero key, [`InvalidKey::SmallOrder`] for its like.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        if bytes == [0; 32] {
            return Err(InvalidKey::Zero);
        }
        // X25519 ignores the top bit.
        let mut point = bytes;
        point[31] &= 0x7f;
        if SMALL_ORDER.contains(&point) { Err(InvalidKey::SmallOrder) } else { Ok(Self(bytes)) }
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
        decode(text).and_then(Self::from_bytes)
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
    fn points_of_small_order_are_no_public_keys() {
        for mut point in SMALL_ORDER {
            for top in [0, 0x80] {
                point[31] |= top;
                let why = if point == [0; 32] { InvalidKey::Zero } else { InvalidKey::SmallOrder };
                assert_eq!(PublicKey::from_bytes(point), Err(why));
                assert_eq!(BASE64_STANDARD.encode(point).parse::<PublicKey>(), Err(why), "{point:x?}");
            }
        }
        assert!(PublicKey::from_bytes([9; 32]).is_ok());
    }

    #[cfg(feature = "wireguard")]
    #[test]
    fn with_a_point_of_small_order_every_private_key_agrees_on_the_same_secret() {
        for point in SMALL_ORDER {
            for secret in [[1; 32], [0x5a; 32]] {
                let agreed = x25519_dalek::StaticSecret::from(secret).diffie_hellman(&point.into());
                assert!(!agreed.was_contributory(), "{point:x?}");
            }
        }
    }

    #[test]
    fn a_preshared_key_is_never_shown() {
        assert_eq!(KEY.parse::<PresharedKey>().map(|k| format!("{k:?}")), Ok("PresharedKey(***)".to_owned()));
    }
}
