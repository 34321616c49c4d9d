//! Things named by id or by name. An id counts first; a name that several have is an error that lists them.

use serde::de::DeserializeOwned;

use super::api::{Api, Asked};
use crate::api::{
    Account, AccountId, Enrollment, Gateway, Instance, InstanceId, Peer, PeerId, Site, SiteId, Token, WhoAmI,
};
use crate::cli::failure::Failure;
use crate::cli::report::{Verdict, clean};
use crate::uplink::encode;

/// Most candidates that an error lists.
const MAX_TOLD: usize = 8;

/// Something with an id and a name.
pub(super) trait Named {
    /// What it is, in a word that is also its command.
    const KIND: &'static str;
    /// Never changes.
    fn id(&self) -> &str;
    /// Whether this is what was meant.
    fn is_called(&self, wanted: &str) -> bool;
    /// Tells it from others of that name.
    fn label(&self) -> String;
}

macro_rules! named {
    ($($type:ty, $kind:literal, $name:ident => $label:expr;)*) => {$(
        impl Named for $type {
            const KIND: &'static str = $kind;
            fn id(&self) -> &str {
                self.id.as_str()
            }
            fn is_called(&self, wanted: &str) -> bool {
                self.$name.as_str() == wanted
            }
            fn label(&self) -> String {
                let label: fn(&$type) -> String = $label;
                label(self)
            }
        }
    )*};
}
named! {
    Account, "account", name => |account| account.name.clone();
    Instance, "instance", name => |instance| format!("{} of {}", instance.name, instance.account_name);
    Site, "site", name => |site| format!("{} of account {}", site.name, site.account);
    Token, "token", name => |token| token.name.clone();
    Gateway, "gateway", name => |gateway| format!("{} in {}", gateway.name, gateway.region);
}

impl Named for Peer {
    const KIND: &'static str = "peer";

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn is_called(&self, wanted: &str) -> bool {
        // With a slash it is always a place: a tenant that calls its peer `acme/branch-12` is not taken for acme's.
        match wanted.split_once('/') {
            Some((instance, name)) => {
                self.name == name && (self.instance_name == instance || self.instance.as_str() == instance)
            }
            None => self.name == wanted,
        }
    }

    fn label(&self) -> String {
        format!("{}/{}", self.instance_name, self.name)
    }
}

impl Named for Enrollment {
    const KIND: &'static str = "enrollment";

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn is_called(&self, _wanted: &str) -> bool {
        false
    }

    fn label(&self) -> String {
        format!("for peer {}", self.peer)
    }
}

impl Api {
    pub(super) async fn instance(&self, wanted: &str) -> Asked<Instance> {
        let is_id = wanted.parse::<InstanceId>().is_ok();
        self.by_id_or_search("/v1/instances", is_id, wanted, wanted).await
    }

    pub(super) async fn site(&self, wanted: &str) -> Asked<Site> {
        self.by_id_or_search("/v1/sites", wanted.parse::<SiteId>().is_ok(), wanted, wanted).await
    }

    pub(super) async fn peer(&self, wanted: &str) -> Asked<Peer> {
        // The hub searches in names; which instance is meant is seen here.
        let name = wanted.split_once('/').map_or(wanted, |(_instance, name)| name);
        self.by_id_or_search("/v1/peers", wanted.parse::<PeerId>().is_ok(), wanted, name).await
    }

    /// One of a list that is never long.
    pub(super) async fn one_of<T: Named + DeserializeOwned>(&self, path: &str, wanted: &str) -> Asked<T> {
        let all: Vec<T> = self.all(path, &[]).await?;
        choose(all, wanted)
    }

    pub(super) async fn account(&self, wanted: &str) -> Asked<Account> {
        self.one_of("/v1/accounts", wanted).await
    }

    /// Whose a new thing is to be: as it was said, or the only account there is where an administrator said nothing.
    pub(super) async fn owner(&self, said: Option<String>) -> Asked<Option<AccountId>> {
        if let Some(said) = said {
            return Ok(Some(self.account(&said).await?.id));
        }
        let me: Option<WhoAmI> = self.find("/v1/whoami").await?;
        if me.is_none_or(|me| me.account.is_some()) {
            return Ok(None);
        }
        let mut accounts: Vec<Account> = self.some("/v1/accounts", &[], 2).await?;
        match (accounts.pop(), accounts.is_empty()) {
            (Some(only), true) => Ok(Some(only.id)),
            (None, _) => Err(Failure::usage("no-account", "there is no account that this could belong to")
                .hint("sitepeer hub account create NAME makes one")),
            (Some(_), false) => Err(Failure::usage("no-account", "which account is this to belong to?")
                .hint("add --account; sitepeer hub account list shows them")),
        }
    }

    async fn by_id_or_search<T: Named + DeserializeOwned>(
        &self,
        path: &str,
        is_id: bool,
        wanted: &str,
        search: &str,
    ) -> Asked<T> {
        if is_id && let Some(found) = self.find(&format!("{path}/{}", encode(wanted))).await? {
            return Ok(found);
        }
        let found: Vec<T> = self.all(path, &[("search", search.to_owned())]).await?;
        choose(found, wanted)
    }
}

/// The only one of this id, or of this name.
pub(super) fn choose<T: Named>(all: Vec<T>, wanted: &str) -> Asked<T> {
    let (mut by_id, others): (Vec<T>, Vec<T>) = all.into_iter().partition(|item| item.id() == wanted);
    if let Some(found) = by_id.pop() {
        return Ok(found);
    }
    let mut called: Vec<T> = others.into_iter().filter(|item| item.is_called(wanted)).collect();
    let kind = T::KIND;
    let shown = clean(wanted);
    match called.pop() {
        None => Err(Failure::new(Verdict::HubFailed, "not-found", format!("there is no {kind} {shown:?}"))
            .hint(format!("sitepeer hub {kind} list shows those that your token may see"))),
        Some(found) if called.is_empty() => Ok(found),
        Some(last) => {
            called.push(last);
            let told: Vec<String> =
                called.iter().take(MAX_TOLD).map(|item| format!("{} ({})", item.id(), item.label())).collect();
            let more = called.len().saturating_sub(told.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Failure::usage("ambiguous", format!("{} are called {shown:?}", several(called.len(), kind)))
                .hint(clean(&format!("name it by its id: {}{more}", told.join(", ")))))
        }
    }
}

/// `2 peers`
fn several(count: usize, kind: &str) -> String {
    format!("{count} {kind}s")
}
