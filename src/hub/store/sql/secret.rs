//! Ids and credentials: made here, stored as hashes, compared in constant time.

use std::str::FromStr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::api::ID_LENGTH;
use crate::domain::Secret;
use crate::hub::store::{StoreError, Stored};

/// The 32 characters of an id: without those that people take for another (i, l, o, u).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Random bytes of a credential.
const SECRET_BYTES: usize = 32;
/// What 32 bytes are in base64url.
const SECRET_TEXT: usize = 43;

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// People and programs.
    Token,
    /// A gateway.
    Gateway,
    /// A proxy.
    Proxy,
    /// An enrolled agent.
    Agent,
    /// Enrolling.
    Enrollment,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Token => "tok",
            Self::Gateway => "gw",
            Self::Proxy => "prx",
            Self::Agent => "agt",
            Self::Enrollment => "enr",
        }
    }
}

fn fill(bytes: &mut [u8]) -> Stored<()> {
    SystemRandom::new().fill(bytes).map_err(|_| StoreError::Unavailable("the system gives no random bytes".into()))
}

/// Makes an id that never was and never comes again, but by a chance of one in 32^8.
pub fn new_id<T: FromStr<Err: std::fmt::Display>>() -> Stored<T> {
    let mut bytes = [0; ID_LENGTH];
    fill(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    text.parse().map_err(|error: T::Err| StoreError::Unavailable(error.to_string().into()))
}

/// Makes a credential: what its owner gets, and the hash that is kept.
pub fn new_secret(kind: Kind, id: &str) -> Stored<(Secret, Vec<u8>)> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    fill(&mut *bytes)?;
    let random = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    let text = format!("sp_{}_{id}_{}", kind.word(), random.as_str());
    Ok((Secret::new(text), hash(random.as_bytes())))
}

/// SHA-256.
pub fn hash(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// A credential taken apart.
pub struct Presented {
    pub kind: Kind,
    pub id: String,
    hash: Vec<u8>,
}

impl Presented {
    /// Takes a credential apart; `None` if it is none of ours.
    pub fn read(credential: &Secret) -> Option<Self> {
        let mut parts = credential.expose().trim().splitn(4, '_');
        let (mark, kind, id, random) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let kinds = [Kind::Token, Kind::Gateway, Kind::Proxy, Kind::Agent, Kind::Enrollment];
        let kind = kinds.into_iter().find(|known| known.word() == kind)?;
        let fits = mark == "sp" && random.len() == SECRET_TEXT && (4..=12).contains(&id.len());
        fits.then(|| Self { kind, id: id.to_owned(), hash: hash(random.as_bytes()) })
    }

    /// Compares with the stored hash in constant time; without one, against nothing in the same time.
    pub fn matches(&self, stored: Option<&[u8]>) -> bool {
        let against = stored.unwrap_or(&[0; 32]);
        bool::from(self.hash.as_slice().ct_eq(against)) && stored.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_matches_its_own_hash_only() {
        let (secret, stored) = new_secret(Kind::Agent, "k3f9q2x7").unwrap();
        let (_, other) = new_secret(Kind::Agent, "k3f9q2x7").unwrap();
        let presented = Presented::read(&secret).unwrap();
        assert_eq!((presented.kind, presented.id.as_str()), (Kind::Agent, "k3f9q2x7"));
        assert!(presented.matches(Some(&stored)) && !presented.matches(Some(&other)) && !presented.matches(None));
    }

    #[test]
    fn what_is_no_credential_is_not_read() {
        for text in [
            "",
            "sp_tok_k3f9q2x7",
            "sp_tok_k3f9q2x7_short",
            "xx_tok_k3f9q2x7_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(Presented::read(&Secret::new(text.to_owned())).is_none(), "{text}");
        }
    }
}
