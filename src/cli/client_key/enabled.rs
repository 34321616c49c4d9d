//! `sitepeer client-key` where keys can be made.
//!
//! The private key is made here and goes into the profile, nowhere else: the hub gets the public one and answers with a profile
//! that has a placeholder. What is needed to ask again stands in `OUT.enrolling` until the profile is on the disk, so that a lost
//! answer costs no token.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::{EnrollReply, EnrollmentKind, PRIVATE_KEY_PLACEHOLDER};
use crate::cli::args::ClientKey;
use crate::cli::failure::Failure;
use crate::cli::report::{Event, Outcome, Reporter, Step, Verdict};
use crate::cli::uplink::credential::{random_hex, unwritable};
use crate::cli::uplink::enroll;
use crate::config::{self, FileReason, Over, put};
use crate::domain::PublicKey;
use crate::wireguard::keys::{SecretKey, generate_private};

/// The only version of the file of what was begun.
const VERSION: u16 = 1;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;
/// Bytes of a private key.
const KEY_BYTES: usize = 32;

/// Carries out `client-key`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: ClientKey, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let ClientKey { hub, token, out, is_forced, timeout } = command;
    let pending = pending(&out);
    let begun = Begun::of(&pending, &hub.place())?;
    let public_key = PublicKey::from_bytes(begun.key.public())?;
    let end = Instant::now() + timeout;
    let reply = enroll(&hub, token, begun.nonce.clone(), Some(public_key), end, reporter).await?;
    let detail = format!("enrolled as peer {} of {}", reply.peer, reply.instance_name);
    reporter.event(&Event::Step { step: Step::Hub, detail });
    let profile = finished(&reply, &begun.key)?;
    let over = if is_forced { Over::Anything } else { Over::Nothing };
    put(&out, profile.as_bytes(), over).map_err(|error| unwritable(&out, &error))?;
    if let Err(error) = std::fs::remove_file(&pending) {
        let message = format!("{} is not needed any more and could not be removed: {error}", pending.display());
        reporter.event(&Event::Warning { code: "file-stays", message, hint: Some("it holds the private key".into()) });
    }
    Ok(Outcome::new(Verdict::Done)
        .say(format!("profile  {}; only you can read it, and only it has the private key", out.display()))
        .detail("profile", out.display().to_string())
        .detail("peer", reply.peer.as_str())
        .detail("instance", reply.instance_name.as_str())
        .detail("public_key", public_key.to_string()))
}

/// The profile with the private key in its place.
fn finished(reply: &EnrollReply, key: &SecretKey) -> Result<Zeroizing<String>, Failure> {
    if reply.kind != EnrollmentKind::Client {
        return Err(Failure::usage("other-token", "this token is for a site's router, not for a client")
            .hint("a site is enrolled with: sitepeer provision --hub"));
    }
    let garbage = |what: &str| Failure::new(Verdict::HubFailed, "hub-garbage", what);
    let profile = reply.profile.as_deref().ok_or_else(|| garbage("the hub enrolled this client without a profile"))?;
    // A hostile hub could have commands run by `wg-quick` as root.
    let is_hook = |line: &str| {
        let name = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        ["preup", "postup", "predown", "postdown", "saveconfig"].contains(&name.as_str())
    };
    if profile.lines().any(is_hook) {
        return Err(garbage("the hub's profile has commands in it (PostUp and the like); nothing was written")
            .hint("no hub of sitepeer writes them: somebody has to look at this hub"));
    }
    if profile.matches(PRIVATE_KEY_PLACEHOLDER).count() != 1 {
        return Err(garbage("the hub's profile has no place for the private key"));
    }
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(key.expose()));
    Ok(Zeroizing::new(profile.replace(PRIVATE_KEY_PLACEHOLDER, &encoded)))
}

/// `OUT.enrolling` beside `OUT`.
fn pending(out: &Path) -> PathBuf {
    let mut path = out.as_os_str().to_owned();
    path.push(".enrolling");
    PathBuf::from(path)
}

/// What has to be the same when the hub is asked again.
struct Begun {
    nonce: String,
    key: SecretKey,
}

/// The shape of the file.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    version: u16,
    hub: &'a str,
    nonce: &'a str,
    private_key: &'a str,
}

impl Begun {
    /// Takes up what was begun, or begins and keeps it.
    fn of(path: &Path, hub: &str) -> anyhow::Result<Self> {
        match config::read_secret(path) {
            Ok(text) => return Ok(Self::read(text.expose(), path, hub)?),
            Err(error) if matches!(&error.reason, FileReason::Io(io) if io.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(Failure::from(error).into()),
        }
        let begun = Self { nonce: random_hex::<NONCE_BYTES>()?, key: generate_private()? };
        let private_key = Zeroizing::new(BASE64_STANDARD.encode(begun.key.expose()));
        let stored = Stored { version: VERSION, hub, nonce: &begun.nonce, private_key: &private_key };
        let mut line = Zeroizing::new(serde_json::to_vec(&stored)?);
        line.push(b'\n');
        put(path, &line, Over::Nothing).map_err(|error| unwritable(path, &error))?;
        Ok(begun)
    }

    fn read(text: &str, path: &Path, hub: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            Failure::usage("enrolling-file", format!("{}: {what}", path.display()))
                .hint("remove it and run this again; a token for one use may then be spent")
        };
        let stored: Stored<'_> =
            serde_json::from_str(text).map_err(|_| wrong("is not what an earlier run left behind"))?;
        if stored.version != VERSION || stored.hub != hub {
            return Err(wrong("is for another hub, or of another version"));
        }
        let bytes = BASE64_STANDARD.decode(stored.private_key).map(Zeroizing::new);
        let bytes = bytes.ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
        let key = bytes.map(SecretKey::from).ok_or_else(|| wrong("has no private key"))?;
        Ok(Self { nonce: stored.nonce.to_owned(), key })
    }
}
