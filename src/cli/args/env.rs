//! The environment variables, all of them.

/// The router's URL, where `--router` is not given.
pub(super) const ROUTER: &str = "SITEPEER_ROUTER";
/// The router's password, where `--password-file` is not given. May be empty: RouterOS allows it.
pub(super) const ROUTER_PASSWORD: &str = "SITEPEER_ROUTER_PASSWORD";
/// What to log, where `--log` is not given.
pub(super) const LOG: &str = "SITEPEER_LOG";

/// The table of `--help`.
pub(super) const TABLE: &str = "  SITEPEER_ROUTER           the router's URL, instead of --router
  SITEPEER_ROUTER_PASSWORD  the router's password, instead of --password-file or the prompt
  SITEPEER_LOG              what to log on stderr, instead of --log";
