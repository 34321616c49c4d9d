//! `sitepeer hub`. To serve and to look after the store is [`serve`]; all else asks a hub over its HTTP API and nothing else.
//!
//! What comes from a hub was written by other people: it is shown by [`text`] only, which lets no control character through.

mod account;
mod api;
mod enrollment;
mod find;
mod instance;
mod look;
mod peer;
mod profile;
mod secret;
mod serve;
mod site;
mod site_health;
mod text;
mod token;

use crate::cli::args::hub::{Ask, Hub};
use crate::cli::report::{Outcome, Reporter};
use api::Api;

/// Carries out `hub`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Hub, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let (connection, ask) = match command {
        Hub::Serve(serve) => return serve::run(*serve, reporter).await,
        Hub::Check(check) => return serve::check(*check, reporter).await,
        Hub::Backup(backup) => return serve::backup(*backup, reporter).await,
        Hub::Restore(restore) => return serve::restore(*restore, reporter).await,
        Hub::AdminToken(wanted) => return serve::admin_token(*wanted, reporter).await,
        Hub::Ask(connection, ask) => (connection, ask),
    };
    let api = Api::new(*connection)?;
    let outcome = match *ask {
        Ask::Instance(action) => instance::run(&api, action, reporter).await,
        Ask::Peer(action) => peer::run(&api, action, reporter).await,
        Ask::Site(action) => site::run(&api, action, reporter).await,
        Ask::Enrollment(action) => enrollment::run(&api, action, reporter).await,
        Ask::Token(action) => token::run(&api, action, reporter).await,
        Ask::Account(action) => account::run(&api, action, reporter).await,
        Ask::Gateway(action) => look::gateways(&api, action, reporter).await,
        Ask::Audit(limit) => look::audit(&api, limit, reporter).await,
        Ask::Whoami => look::whoami(&api, reporter).await,
    };
    Ok(outcome?)
}
