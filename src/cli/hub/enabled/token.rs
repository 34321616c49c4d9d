//! `sitepeer hub token`.

use super::api::{Api, Asked};
use super::instance::{json_of, listed};
use super::secret::SecretPlace;
use super::text::{Column, Table, now, since, word};
use crate::api::{Token, TokenMade};
use crate::cli::args::hub::TokenAction;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::uplink::encode;

/// Carries out `token …`.
pub(super) async fn run(api: &Api, action: TokenAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        TokenAction::Create { mut new, account, to } => {
            let place = SecretPlace::open(to)?;
            if let Some(account) = account {
                new.account = Some(api.account(&account).await?.id);
            }
            let made: TokenMade = api.create("/v1/tokens", &new).await?;
            let outcome = Outcome::new(Verdict::Done)
                .say(format!("made {} token {} ({})", word(&made.token.role), made.token.name, made.token.id))
                .detail("token", json_of(&made.token));
            place.keep(&made.secret, outcome, reporter)
        }
        TokenAction::List => list(api, reporter).await,
        TokenAction::Revoke(wanted, confirm) => {
            let found: Token = api.one_of("/v1/tokens", &wanted).await?;
            let question = format!("Take {} token {} ({}) back?", word(&found.role), found.name, found.id);
            confirm.obtain(reporter, &question).await?;
            api.delete(&format!("/v1/tokens/{}", encode(found.id.as_str()))).await?;
            Ok(Outcome::new(Verdict::Done)
                .say(format!("took token {} ({}) back", found.name, found.id))
                .detail("deleted", found.id.as_str()))
        }
    }
}

async fn list(api: &Api, reporter: &Reporter) -> Asked<Outcome> {
    let all: Vec<Token> = api.all("/v1/tokens", &[]).await?;
    let now = now();
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME", 8),
        Column::whole("ROLE"),
        Column::cut("FOR", 8),
        Column::whole("MADE"),
        Column::whole("USED"),
        Column::whole("EXPIRES"),
    ];
    let rows = all.iter().map(|token| {
        let account = token.account.as_ref().map(ToString::to_string);
        [
            token.id.to_string(),
            token.name.clone(),
            word(&token.role),
            account.or_else(|| token.region.clone()).unwrap_or_default(),
            since(token.created_at, now),
            token.used_at.map_or_else(|| "never".to_owned(), |at| since(at, now)),
            token.expires_at.map_or_else(|| "never".to_owned(), |at| since(at, now)),
        ]
    });
    reporter.data(&Table::new(columns, rows).text());
    Ok(listed("tokens", "sitepeer hub token create NAME makes one", &all))
}
