//! The way back in for who has lost every administrator's token: on the hub's own machine, past the HTTP API.

use super::{Actor, Scope, StoreConfig, Stored, sql};
use crate::api::{NewToken, Role, TokenMade};

#[cfg(doc)]
use super::StoreError;

/// Makes an administrator's token in the store itself, while a hub may be running on it. It stands in the audit log.
///
/// # Errors
/// [`StoreError::State`] if there is no store, or one whose schema is not this version's; [`StoreError::Corrupt`] if it is damaged;
/// [`StoreError::Unavailable`] if it cannot be reached or written to.
///
/// # Cancel safety
/// The token is made or not; nobody has one whose secret was not returned.
pub async fn admin_token(config: &StoreConfig, name: &str) -> Stored<TokenMade> {
    let store = sql::beside(config).await?;
    let by = Actor { who: "the hub's own machine".to_owned(), token: None, role: None, scope: Scope::All };
    let new = NewToken { name: name.to_owned(), role: Role::Admin, account: None, region: None, ttl_secs: None };
    let made = super::Store::create_token(&store, &by, None, new).await;
    store.close().await;
    made
}
