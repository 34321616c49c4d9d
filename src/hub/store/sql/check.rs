//! Rules of single values, and the refusals that name them.

use ipnet::IpNet;
use sqlx::AnyConnection;

use super::db::{RowExt as _, Run as _, q};
use super::reach;
use crate::api::{AccountId, MAX_NAME, code};
use crate::domain::{MAX_SUBNETS, SubnetSet, is_broad};
use crate::hub::store::{Actor, Scope, StoreError, Stored};

/// A value that is not allowed.
pub(super) fn invalid(field: impl Into<String>, detail: impl Into<String>, code: &'static str) -> StoreError {
    StoreError::Invalid { field: field.into(), detail: detail.into(), code, hint: None }
}

/// Something that is in the way.
pub(super) fn conflict(field: &str, detail: impl Into<String>, code: &'static str) -> StoreError {
    StoreError::Conflict { field: Some(field.to_owned()), detail: detail.into(), code, hint: None }
}

impl StoreError {
    /// Adds the way out.
    pub(super) fn hint(mut self, way: &str) -> Self {
        if let Self::Invalid { hint, .. } | Self::Conflict { hint, .. } = &mut self {
            *hint = Some(way.to_owned());
        }
        self
    }
}

/// What does not exist, or is out of the actor's scope: nobody can tell which.
pub(super) fn not_found(what: &'static str, id: &impl ToString) -> StoreError {
    StoreError::NotFound { what, id: id.to_string() }
}

/// Refuses an edit that started from another version.
pub(super) fn version(what: &'static str, id: &impl ToString, now: i64, if_match: Option<i64>) -> Stored<()> {
    match if_match {
        Some(expected) if expected != now => Err(StoreError::Changed { what, id: id.to_string(), now }),
        _ => Ok(()),
    }
}

/// A name for people: 1 to 64 characters, none of them a control character, no blank at either end.
pub(super) fn name(field: &str, text: &str) -> Stored<()> {
    let fits = (1..=MAX_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits && text.trim() == text {
        return Ok(());
    }
    let detail = format!("{field} has 1 to {MAX_NAME} characters, no control characters, and no blank at either end");
    Err(invalid(field, detail, code::INVALID))
}

/// Whose a new thing is to be: an actor of an account makes its own account's, an administrator says.
pub(super) async fn owner(
    connection: &mut AnyConnection,
    by: &Actor,
    asked: Option<&AccountId>,
) -> Stored<(AccountId, String)> {
    let id = match (&by.scope, asked) {
        (Scope::Account(own), None) => own,
        (Scope::Account(own), Some(asked)) if own == asked => own,
        (Scope::Account(_), Some(asked)) => return Err(not_found("account", asked)),
        (Scope::All, Some(asked)) => asked,
        (Scope::All, None) => {
            return Err(invalid("account", "an administrator says whose it is to be", code::INVALID)
                .hint("name the account's id in `account`"));
        }
    };
    let row = q!("SELECT name FROM account WHERE id = $1", id.as_str()).maybe(connection).await?;
    let row = row.ok_or_else(|| not_found("account", id))?;
    Ok((id.clone(), row.text("name")?))
}

/// Prefixes as they were asked for: not too many, and broad ones only where that was said.
pub(super) fn prefixes(field: &str, asked: &[IpNet], allow_broad: bool) -> Stored<SubnetSet> {
    if asked.len() > MAX_SUBNETS {
        return Err(invalid(field, format!("{field} has more than {MAX_SUBNETS} prefixes"), code::INVALID));
    }
    let broad = asked.iter().enumerate().find(|(_, net)| is_broad(**net));
    if let Some((index, net)) = broad.filter(|_| !allow_broad) {
        return Err(invalid(format!("{field}[{index}]"), format!("{} is broader than a /8", net.trunc()), code::BROAD)
            .hint("say `allow_broad: true` if it is meant"));
    }
    let never = asked.iter().enumerate().find_map(|(index, net)| reach::never(*net).map(|what| (index, net, what)));
    if let Some((index, net, what)) = never {
        let detail = format!("{} is {what}: no tunnel carries it", net.trunc());
        return Err(invalid(format!("{field}[{index}]"), detail, code::INVALID));
    }
    let set: SubnetSet = asked.iter().copied().collect();
    // A router is told broad ones in parts.
    if reach::carried(&set).len() > MAX_SUBNETS {
        let detail = format!("{field} makes more than {MAX_SUBNETS} prefixes on a router");
        return Err(invalid(field, detail, code::LIMIT));
    }
    Ok(set)
}
