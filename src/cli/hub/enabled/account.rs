//! `sitepeer hub account`.

use super::api::{Api, Asked};
use super::instance::{json_of, listed};
use super::text::{Column, Table, now, since};
use crate::api::Account;
use crate::cli::args::hub::AccountAction;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::uplink::encode;

/// Carries out `account …`.
pub(super) async fn run(api: &Api, action: AccountAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        AccountAction::Create(new) => {
            let made: Account = api.create("/v1/accounts", &new).await?;
            Ok(shown(&made, reporter).say(format!("made account {} ({})", made.name, made.id)))
        }
        AccountAction::List => {
            let all: Vec<Account> = api.all("/v1/accounts", &[]).await?;
            reporter.data(&table(&all));
            Ok(listed("accounts", "sitepeer hub account create NAME makes one", &all))
        }
        AccountAction::Edit(wanted, edit) => {
            let found = api.account(&wanted).await?;
            let edited: Account = api.edit(&path(&found), None, &edit).await?;
            Ok(shown(&edited, reporter).say(format!("changed account {} ({})", edited.name, edited.id)))
        }
        AccountAction::Delete(wanted, confirm) => {
            let found = api.account(&wanted).await?;
            let question = format!("Delete account {} ({}) with its tokens?", found.name, found.id);
            confirm.obtain(reporter, &question).await?;
            api.delete(&path(&found)).await?;
            Ok(Outcome::new(Verdict::Done)
                .say(format!("deleted account {} ({})", found.name, found.id))
                .detail("deleted", found.id.as_str()))
        }
    }
}

fn path(account: &Account) -> String {
    format!("/v1/accounts/{}", encode(account.id.as_str()))
}

fn shown(account: &Account, reporter: &Reporter) -> Outcome {
    reporter.data(&table(std::slice::from_ref(account)));
    Outcome::new(Verdict::Done).detail("account", json_of(account))
}

fn table(accounts: &[Account]) -> String {
    let now = now();
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME", 8),
        Column::whole("INSTANCES"),
        Column::whole("MOST"),
        Column::whole("MADE"),
    ];
    let rows = accounts.iter().map(|account| {
        let most = if account.max_instances == 0 { "no limit".to_owned() } else { account.max_instances.to_string() };
        [
            account.id.to_string(),
            account.name.clone(),
            account.instances.to_string(),
            most,
            since(account.created_at, now),
        ]
    });
    Table::new(columns, rows).text()
}
