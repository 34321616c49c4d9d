//! `sitepeer hub peer profile`: a client's `.conf`, to a file, to stdout or as a QR code.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::api::{Api, Asked};
use super::peer::{called, path};
use super::secret::write_new;
use crate::api::{PRIVATE_KEY_PLACEHOLDER, Peer};
use crate::cli::args::hub::ProfileAs;
use crate::cli::failure::Failure;
use crate::cli::report::{Event, Outcome, Reporter, Verdict, clean};

/// Writes the profile of a peer.
pub(super) async fn run(api: &Api, peer: &Peer, shape: ProfileAs, reporter: &Reporter) -> Asked<Outcome> {
    let text = api.text(&format!("{}/profile", path(peer))).await?;
    // Its lines are kept; nothing in them speaks to a terminal or an app.
    let profile: String = text.lines().map(|line| clean(line) + "\n").collect();
    if profile.contains(PRIVATE_KEY_PLACEHOLDER) {
        reporter.event(&Event::Warning {
            code: "key-missing",
            message: format!("the profile has {PRIVATE_KEY_PLACEHOLDER} where the client's own private key belongs"),
            hint: Some("sitepeer client-key makes key and finished profile on the client's machine".to_owned()),
        });
    }
    let outcome = Outcome::new(Verdict::Done).detail("of", peer.id.as_str());
    match shape {
        ProfileAs::Stdout => {
            reporter.data(&profile);
            Ok(outcome.detail("profile", profile))
        }
        ProfileAs::File(file) => {
            write_new(&file, &profile)?;
            let file = file.display().to_string();
            Ok(outcome
                .say(format!("wrote the profile of {} to {file}, which only you can read", called(peer)))
                .detail("profile_file", file))
        }
        ProfileAs::Qr => {
            reporter.data(&qr(&profile)?);
            Ok(outcome.detail("profile", profile))
        }
    }
}

/// The code in half blocks, with the quiet border that cameras need.
fn qr(profile: &str) -> Asked<String> {
    let code = QrCode::new(profile).map_err(|error| {
        Failure::usage("profile-too-long", format!("the profile does not fit a QR code: {error}"))
            .hint("use --out FILE, and import the file")
    })?;
    Ok(code.render::<Dense1x2>().quiet_zone(true).build() + "\n")
}
