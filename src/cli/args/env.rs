//! The environment variables, all of them.

/// The router's URL, where `--router` is not given.
pub(super) const ROUTER: &str = "SITEPEER_ROUTER";
/// The router's password, where `--password-file` is not given. May be empty: RouterOS allows it.
pub(super) const ROUTER_PASSWORD: &str = "SITEPEER_ROUTER_PASSWORD";
/// The hub's URL, where `--hub` is not given.
#[cfg(feature = "hub")]
pub(super) const HUB: &str = "SITEPEER_HUB";
/// The file of the token for the hub, where `--hub-token-file` is not given.
#[cfg(feature = "hub")]
pub(super) const HUB_TOKEN_FILE: &str = "SITEPEER_HUB_TOKEN_FILE";
/// The token for the hub itself, where there is no file.
#[cfg(feature = "hub")]
pub(super) const HUB_TOKEN: &str = "SITEPEER_HUB_TOKEN";
/// The CA file of the hub, where `--hub-ca` is not given.
#[cfg(feature = "hub")]
pub(super) const HUB_CA: &str = "SITEPEER_HUB_CA";
/// What to log, where `--log` is not given.
pub(super) const LOG: &str = "SITEPEER_LOG";

/// The table of `--help`.
pub(super) const TABLE: &str = "  SITEPEER_ROUTER           the router's URL, instead of --router
  SITEPEER_ROUTER_PASSWORD  the router's password, instead of --password-file or the prompt
  SITEPEER_HUB              the hub's URL, instead of --hub
  SITEPEER_HUB_TOKEN_FILE   the file of your token for the hub, instead of --hub-token-file
  SITEPEER_HUB_TOKEN        the token itself, where there is no file
  SITEPEER_HUB_CA           the hub's certificate or its CA, instead of --hub-ca
  SITEPEER_LOG              what to log on stderr, instead of --log";
