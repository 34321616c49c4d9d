//! The hub's store: opened to serve, copied, put back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::cli::args::hub::{AdminToken, Backup, Restore};
use crate::cli::failure::Failure;
use crate::cli::hub::implementation::instance::json_of;
use crate::cli::hub::implementation::secret::SecretPlace;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::hub::config::HubConfig;
use crate::hub::store::{self, Settings, Store, StoreConfig, StoreError};

/// The SQLite file in the data folder.
const FILE: &str = "hub.db";

pub(super) fn place(config: &HubConfig) -> StoreConfig {
    match &config.database_url {
        Some(url) => StoreConfig::Postgres(url.clone()),
        None => StoreConfig::Sqlite(config.data_dir.join(FILE)),
    }
}

pub(super) async fn open(config: &HubConfig) -> Result<Arc<dyn Store>, Failure> {
    let settings = Settings { domain: config.domain.clone(), report_secs: config.report_secs, ..Settings::default() };
    store::open_with(&place(config), &settings).await.map_err(|error| failure(&error))
}

/// Makes the first token if there is none, and tells whether it did.
pub(super) async fn first_admin(store: &dyn Store, file: &Path) -> Result<bool, Failure> {
    store::first_admin(store, file).await.map_err(|error| failure(&error))
}

/// The data folder, for nobody else to look into.
pub(super) fn make_folder(folder: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        Failure::usage("data-dir", format!("the data folder {} cannot be made: {error}", folder.display()))
            .hint("choose another one with --data-dir")
    })
}

/// Copies the store.
pub(in crate::cli::hub) async fn backup(backup: Backup, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    store::backup(&place(&backup.config), &backup.file).await.map_err(|error| failure(&error))?;
    let file = backup.file.display().to_string();
    Ok(Outcome::new(Verdict::Done)
        .say(format!("wrote {file}; it holds hashes of tokens and preshared keys: keep it as a secret"))
        .detail("file", file))
}

/// Puts a copy back.
pub(in crate::cli::hub) async fn restore(restore: Restore, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let file = restore.file.display().to_string();
    let question = format!(
        "Put {file} in the place of the store in {}? What was changed since it was written is lost, and tokens taken \
         back since then are good again. The present store is kept beside it.",
        restore.config.data_dir.display()
    );
    restore.confirm.obtain(reporter, &question).await?;
    store::restore(&place(&restore.config), &restore.file).await.map_err(|error| failure(&error))?;
    Ok(Outcome::new(Verdict::Done)
        .say(format!("put {file} back; start the hub again"))
        .say("look through `sitepeer hub token list`: what was taken back since the copy is good again")
        .detail("file", file))
}

/// Makes an administrator's token in the store itself.
pub(in crate::cli::hub) async fn admin_token(wanted: AdminToken, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let to = SecretPlace::open(wanted.to)?;
    let made = store::admin_token(&place(&wanted.config), &wanted.name).await.map_err(|error| failure(&error))?;
    let outcome = Outcome::new(Verdict::Done)
        .say(format!("made admin token {} ({})", made.token.name, made.token.id))
        .say("if another one is lost, take it back: sitepeer hub token list, sitepeer hub token revoke")
        .detail("token", json_of(&made.token));
    Ok(to.keep(&made.secret, outcome, reporter)?)
}

/// Why the store cannot be used, and the way out.
pub(super) fn failure(error: &StoreError) -> Failure {
    let (code, hint) = match error {
        StoreError::Corrupt { .. } => {
            ("store-corrupt", Some("stop here; put a copy back with: sitepeer hub restore FILE".to_owned()))
        }
        StoreError::Unavailable(_) => (
            "store-unavailable",
            Some("is another hub running on it, the disk full, or the database away? sitepeer hub check shows where it is".to_owned()),
        ),
        _ => ("store-refused", None),
    };
    Failure::of(Verdict::Invalid, code, error, hint)
}
