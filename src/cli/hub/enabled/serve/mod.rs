//! `sitepeer hub` as a server, and what looks after its settings and its store.

mod check;

use crate::cli::args::hub::{Backup, Restore, Serve};
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

pub(super) use check::check;

pub(super) async fn run(_serve: Serve, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::internal("not yet").into())
}

pub(super) async fn backup(_backup: Backup, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::internal("not yet").into())
}

pub(super) async fn restore(_restore: Restore, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::internal("not yet").into())
}
