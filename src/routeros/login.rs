//! Logging in: name and password, and the challenge of routers before 6.43.
//!
//! The password goes first and in full, as every router since 6.43 wants it; an older one answers that with a challenge.
//! Answering it tells a hostile router nothing that it has not been told already, which is why the channel has to be
//! trusted (TLS with a known certificate, or a private network) before this module is called.
//!
//! *Source*: MikroTik manual, "API", initial login; `tests/golden/protocol.txt`.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{
    client::{Client, Done},
    command::Command,
    error::{CallError, Refusal},
};
use crate::domain::Secret;

/// Bytes of a challenge.
const CHALLENGE_BYTES: usize = 16;

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The router said no.
    #[error("the router refused the login")]
    Refused(Refusal),
    /// The router did not say anything, or not all of it.
    #[error("the login got no answer")]
    Call(#[source] CallError),
    /// An answer that belongs to no way of logging in.
    #[error("the answer to the login is neither yes, no, nor a challenge")]
    Strange,
}

/// Logs in. One round trip, two with a router before 6.43.
///
/// # Errors
/// [`LoginError`].
pub async fn login(client: &Client, user: &str, password: &Secret) -> Result<(), LoginError> {
    let first = Command::new("/login").attr("name", user).secret("password", password.expose());
    let Some(challenge) = ask(client, &first).await?.ret else {
        return Ok(());
    };
    let challenge = parse_challenge(&challenge).ok_or(LoginError::Strange)?;
    tracing::debug!("router asks for the login of RouterOS before 6.43");
    let answer = answer(password, challenge);
    let second = Command::new("/login").attr("name", user).secret("response", answer.as_slice());
    match ask(client, &second).await?.ret {
        None => Ok(()),
        // A second challenge would let a router ask for ever.
        Some(_) => Err(LoginError::Strange),
    }
}

async fn ask(client: &Client, command: &Command) -> Result<Done, LoginError> {
    let lost = |error| match error {
        CallError::Refused(refusal) => LoginError::Refused(refusal),
        error => LoginError::Call(error),
    };
    let mut call = client.stream(command).await.map_err(lost)?;
    match call.next().await {
        Some(Err(error)) => Err(lost(error)),
        // Nobody is logged in: there is nothing to print.
        Some(Ok(_)) => Err(LoginError::Strange),
        None => Ok(call.done().cloned().unwrap_or_default()),
    }
}

fn parse_challenge(text: &[u8]) -> Option<[u8; CHALLENGE_BYTES]> {
    if text.len() != 2 * CHALLENGE_BYTES {
        return None;
    }
    let mut challenge = [0; CHALLENGE_BYTES];
    for (byte, pair) in challenge.iter_mut().zip(text.chunks_exact(2)) {
        let mut digits = pair.iter().map(|&digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    Some(challenge)
}

/// `00` and the MD5 of a zero byte, the password and the challenge, in hex.
fn answer(password: &Secret, challenge: [u8; CHALLENGE_BYTES]) -> Zeroizing<Vec<u8>> {
    let digest = Md5::new().chain_update([0]).chain_update(password.expose()).chain_update(challenge).finalize();
    let mut hex = Zeroizing::new(Vec::with_capacity(2 + 2 * digest.len()));
    hex.extend_from_slice(b"00");
    for byte in digest {
        for digit in [byte >> 4, byte & 0xF] {
            hex.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_md5_of_zero_password_and_challenge() {
        // Reckoned with coreutils: printf '\0secret\1\2…\20' | md5sum
        let challenge = parse_challenge(b"0102030405060708090a0b0c0d0e0f10").unwrap();
        let answer = answer(&Secret::new("secret".into()), challenge);
        assert_eq!(std::str::from_utf8(&answer).unwrap(), "000dae91173a0b9c05a589ceea3421016c");
    }

    #[test]
    fn a_challenge_is_32_hex_digits_and_nothing_else() {
        for bad in [&b""[..], b"0102", b"0102030405060708090a0b0c0d0e0f1g", b"0102030405060708090a0b0c0d0e0f1011"] {
            assert_eq!(parse_challenge(bad), None);
        }
    }
}
