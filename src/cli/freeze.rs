//! `sitepeer freeze`: hands off a site's router while somebody works there.

use super::args::Freeze;
use super::failure::Failure;
use super::hub;
use super::report::{Outcome, Reporter, Verdict};
use crate::agent::freeze;

/// Carries out `freeze`.
///
/// # Errors
/// As `hub site freeze`; or that the folder cannot be written to.
pub async fn run(command: Freeze, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let (folder, site, wanted) = match command {
        Freeze::AtHub(ask) => return Box::pin(hub::run(ask, reporter)).await,
        Freeze::Here { folder, site, freeze } => (folder, site, freeze),
    };
    let failed = |error: std::io::Error| {
        let message = format!("{}: {error}", freeze::path(&folder, &site).display());
        Failure::usage("state-dir", message).hint("the folder is the --state-dir of the agent or proxy on this host")
    };
    let Some((length, reason)) = wanted else {
        let was = freeze::end(&folder, &site).map_err(failed)?;
        let said =
            if was { "is no longer frozen on this host: its agent goes on" } else { "is not frozen on this host" };
        return Ok(Outcome::new(Verdict::Done).say(format!("site {site} {said}")).detail("frozen", false));
    };
    let until = freeze::begin(&folder, &site, length, &reason).map_err(failed)?;
    let secs = length.as_secs();
    let said = format!("site {site} is frozen on this host for {secs} s: its agent holds hands off");
    Ok(Outcome::new(Verdict::Done).say(said).detail("frozen", true).detail("until", until))
}
