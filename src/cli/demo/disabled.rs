//! `sitepeer demo` of a build that lacks the hub, the gateway or the simulator.

use crate::cli::args::Demo;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says which part this build lacks.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Demo, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    let parts =
        [("sim", cfg!(feature = "sim")), ("hub", cfg!(feature = "hub")), ("gateway", cfg!(feature = "gateway"))];
    let lacking = parts.into_iter().find(|(_, is_there)| !is_there).map_or("sim", |(part, _)| part);
    Err(Failure::not_built(lacking).into())
}
