//! WireGuard keys that are made on this machine.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// A private or preshared WireGuard key: 32 bytes, wiped on drop, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Borrows the bytes, for those who need them on the wire or in a row.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Computes the public key that belongs to this private key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.to_static()).to_bytes()
    }

    pub(crate) fn to_static(&self) -> StaticSecret {
        StaticSecret::from(*self.0)
    }
}

impl From<[u8; 32]> for SecretKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The system gave no random bytes, so no key could be made.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes for a key")]
pub struct NoRandomness;

/// Makes a private key, clamped as X25519 wants it (and as RouterOS and `wg genkey` show it).
///
/// # Errors
/// [`NoRandomness`] if the system's random source fails.
pub fn generate_private() -> Result<SecretKey, NoRandomness> {
    let mut key = generate_preshared()?;
    key.0[0] &= 0b1111_1000;
    key.0[31] = (key.0[31] & 0b0111_1111) | 0b0100_0000;
    Ok(key)
}

/// Makes a preshared key.
///
/// # Errors
/// [`NoRandomness`] if the system's random source fails.
pub fn generate_preshared() -> Result<SecretKey, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| NoRandomness)?;
    Ok(SecretKey(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_is_the_one_of_rfc_7748() {
        let private = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(SecretKey::from(hex(private)).public(), hex(public));
    }

    #[test]
    fn a_made_private_key_is_clamped_and_never_twice_the_same() {
        let one = generate_private().unwrap();
        let other = generate_private().unwrap();
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose()[0] & 0b111, 0);
        assert_eq!(one.expose()[31] >> 6, 1);
    }

    #[test]
    fn debug_shows_no_byte_of_a_key() {
        assert_eq!(format!("{:?}", SecretKey::from([7; 32])), "***");
    }

    fn hex(text: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
        }
        bytes
    }
}
