//! RouterOS's own safe mode: taken, let go, undone; and who holds it.
//!
//! *Source*: `tik4net`, which does it over the API: it is bound to the API session, and a session that ends without letting go is
//! undone. The fields, and what `take` can do where somebody holds it, are those of the console's schema from 7.18 on.

use std::time::Duration;

use crate::domain::RouterOsVersion;
use crate::reconcile::observe::Observed;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::row::Row;

/// The first version that has it for programs. *Source*: console schemas, 7.18 to 7.24.
pub const SAFE_MODE_SINCE: RouterOsVersion = RouterOsVersion::new(7, 18, 0);
/// How long the router may take for a word about safe mode: what it does not say by then is looked for again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Who holds a router's safe mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeHold {
    /// Whether it is the session that asks; `None` if the router does not say.
    pub is_ours: Option<bool>,
    /// The user, if the router says.
    pub user: Option<String>,
    /// What the router calls the session, if it does.
    pub owner: Option<String>,
}

impl SafeHold {
    fn of(row: &Row) -> Option<Self> {
        let said = |name: &str| row.text(name).map(std::borrow::Cow::into_owned).filter(|text| !text.is_empty());
        let flag = |name: &str| said(name).map(|text| matches!(text.as_str(), "true" | "yes"));
        let is_held = flag("enabled").or(flag("current")).unwrap_or_default();
        is_held.then(|| Self { is_ours: flag("current"), user: said("user"), owner: said("owner") })
    }

    /// Says who holds it, and what follows from that, in a sentence.
    #[must_use]
    pub fn explain(&self) -> String {
        let who = match (&self.user, &self.owner) {
            (Some(user), Some(owner)) => format!("user {user} (session {owner})"),
            (Some(user), None) => format!("user {user}"),
            (None, Some(owner)) => format!("session {owner}"),
            (None, None) => "somebody whom the router does not name".to_owned(),
        };
        format!(
            "{who} holds the router's safe mode: whatever anybody changes is undone with it, unless it is let go of first"
        )
    }
}

/// Reads who holds safe mode; `None` if nobody does.
///
/// # Errors
/// Any [`CallError`]: a refusal where the router has no safe mode for programs.
///
/// # Cancel safety
/// Nothing is written.
pub async fn safe_hold(client: &Client) -> Result<Option<SafeHold>, CallError> {
    let reply = client.with_deadline(ANSWER_WITHIN).call(&Command::new("/safe-mode/print")).await?;
    Ok(reply.rows.first().and_then(SafeHold::of))
}

/// Reads who holds safe mode, on a router of which it is only known what a reading showed; `None` too if it has none for programs.
///
/// # Errors
/// Any [`CallError`] but a refusal.
///
/// # Cancel safety
/// Nothing is written.
pub async fn safe_hold_of(client: &Client, observed: &Observed) -> Result<Option<SafeHold>, CallError> {
    if observed.version().is_none_or(|version| version < SAFE_MODE_SINCE) {
        return Ok(None);
    }
    match safe_hold(client).await {
        Err(error) if error.refusal().is_some() => Ok(None),
        hold => hold,
    }
}

/// Takes safe mode for this session, and never from anybody.
///
/// # Errors
/// Any [`CallError`]: a refusal if somebody holds it.
///
/// # Cancel safety
/// Whether it was taken is not known; the end of the session ends it.
pub async fn take_safe_mode(client: &Client) -> Result<(), CallError> {
    let take = Command::new("/safe-mode/take").attr("on-error", "abort");
    client.with_deadline(ANSWER_WITHIN).call(&take).await.map(drop)
}

/// Lets go of it: what was changed stays.
///
/// # Errors
/// Any [`CallError`]; what became of it is then not known, and has to be read.
pub async fn release_safe_mode(client: &Client) -> Result<(), CallError> {
    client.with_deadline(ANSWER_WITHIN).call(&Command::new("/safe-mode/release")).await.map(drop)
}

/// Undoes what was changed since it was taken.
///
/// # Errors
/// Any [`CallError`]; the end of the session then undoes it.
pub async fn unroll_safe_mode(client: &Client) -> Result<(), CallError> {
    client.with_deadline(ANSWER_WITHIN).call(&Command::new("/safe-mode/unroll")).await.map(drop)
}
