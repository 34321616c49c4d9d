//! Who may in: `/login` by password or by challenge, and how many at once.

use md5::{Digest as _, Md5};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::sim::device::{Device, Refusal, Request};
use crate::sim::faults::Fault;
use crate::sim::options::LoginMethod;

use super::armed::Armory;

/// What a login attempt comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// In, as this user.
    In(String),
    /// The challenge to answer.
    Challenge(String),
    Refused(Refusal),
    /// No place: the connection ends. What a router says then is not known; this text is made here.
    Full(&'static str),
}

/// Decides about one `/login`.
pub(super) fn attempt(
    device: &Device,
    faults: &Armory,
    via: &str,
    challenge: Option<&str>,
    request: &Request,
) -> Attempt {
    let old = device.options.login == LoginMethod::Challenge;
    if old && request.get("response").is_none() {
        return match new_challenge() {
            Some(challenge) => Attempt::Challenge(challenge),
            None => Attempt::Refused(Refusal::BadChallenge),
        };
    }
    let wrong = if old { Refusal::BadChallenge } else { Refusal::BadLogin };
    if faults.has(|f| *f == Fault::RefuseLogin) {
        return Attempt::Refused(wrong);
    }
    let name = request.text("name").unwrap_or_default();
    let password = device.user(name).map(|item| item.fields.get("password").unwrap_or_default());
    let Some(password) = password else { return Attempt::Refused(wrong) };
    let right = if old {
        let answer = challenge.and_then(|c| answer_to(c, password));
        answer.as_deref() == request.text("response") && answer.is_some()
    } else {
        request.get("password").unwrap_or_default() == password
    };
    if !right {
        return Attempt::Refused(wrong);
    }
    // A user without the policy seems to be told what one with a wrong password is told. *Source*: the maintainer's question in
    // aluisiora/routeros-client#2; no recording. The fault says the other text that clients expect.
    if !device.viewer(name).may("api") {
        return Attempt::Refused(wrong);
    }
    if faults.has(|f| *f == Fault::NoApiPolicy) {
        return Attempt::Refused(Refusal::AccessDenied);
    }
    let taken = device.sessions.iter().filter(|s| s.via == via).count();
    if faults.has(|f| *f == Fault::SessionLimit) || taken >= device.max_sessions(via) {
        return Attempt::Full("too many sessions");
    }
    Attempt::In(name.to_owned())
}

fn new_challenge() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

/// `00` and the MD5 of a zero byte, the password and the challenge's bytes. *Source*: manual, API, login before 6.43.
fn answer_to(challenge: &str, password: &[u8]) -> Option<String> {
    let mut bytes = vec![0_u8];
    bytes.extend_from_slice(password);
    for pair in challenge.as_bytes().chunks(2) {
        bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
    }
    Some(format!("00{}", hex(&Md5::digest(&bytes))))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_challenge_is_the_md5_that_the_manual_describes() {
        // printf '\0admin\x01\x23' | md5sum
        assert_eq!(answer_to("0123", b"admin").unwrap(), "0044cab3f6e6a24330ae290287e137aa7a");
    }
}
