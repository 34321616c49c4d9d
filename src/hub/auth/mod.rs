//! Who asks: bearer credentials, and what a role may do.
//!
//! Each handler names whom it serves by the type of its first argument; a handler without one serves everybody. What is another
//! account's is not found, whether or not it exists: that is the store's scope, and nothing here answers before it in another way.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::problem::Refusal;
use super::state::{Context, State};
use super::store::{Actor, Principal, ProxyActor, Scope, StoreError};
use crate::api::{GatewayId, InstanceId, PeerId, Role, TokenId};
use crate::domain::Secret;

mod address;
mod limit;

pub(crate) use address::{Remote, client};
pub(crate) use limit::{Limiter, network};

/// Failed tries of one address in a minute: a device with a revoked credential that asks every few seconds stays below it.
const FAILURES_PER_MINUTE: u32 = 30;
/// Longest credential that is looked at, in bytes; ours have about 60.
const MAX_CREDENTIAL: usize = 128;
/// Good credentials that are remembered, so that a neighbour's wrong ones do not lock them out.
const MAX_KNOWN: usize = 32_768;
/// How long a good credential is remembered for that.
const KNOWN_FOR: Duration = Duration::from_hours(1);

/// Reads what belongs to its account: viewer, operator or admin.
pub(super) struct Viewer {
    /// For the store.
    pub(super) actor: Actor,
    /// Its role.
    role: Role,
}

/// Changes what belongs to its account: operator or admin.
pub(super) struct Operator(pub(super) Actor);

/// Does everything.
pub(super) struct Admin(pub(super) Actor);

/// A gateway's token.
pub(super) struct GatewayToken {
    /// The token.
    pub(super) token: TokenId,
    /// The gateway, once it said hello.
    pub(super) gateway: Option<GatewayId>,
    /// What it came with.
    pass: Pass,
}

/// A gateway that said hello.
pub(super) struct GatewayCaller {
    /// The gateway.
    pub(super) gateway: GatewayId,
    /// What it came with.
    pub(super) pass: Pass,
}

/// A credential that was good, to be looked at again after a wait.
pub(super) struct Pass(Secret);

/// An agent.
pub(super) struct AgentCaller {
    /// Its peer.
    pub(super) peer: PeerId,
    /// The peer's instance.
    pub(super) instance: InstanceId,
    /// What it came with.
    pub(super) pass: Pass,
}

/// A proxy.
pub(super) struct ProxyCaller {
    /// For the store.
    pub(super) actor: ProxyActor,
    /// What it came with.
    pub(super) pass: Pass,
}

/// Any credential at all.
pub(super) struct Anyone(pub(super) Principal);

/// What is remembered of failures and successes.
#[derive(Debug)]
pub(super) struct Doorman {
    failures: Limiter,
    known: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Default for Doorman {
    fn default() -> Self {
        Self { failures: Limiter::per_minute(FAILURES_PER_MINUTE), known: Mutex::default() }
    }
}

impl Doorman {
    fn knows(&self, digest: &[u8; 32], now: Instant) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR)
    }

    fn remember(&self, digest: [u8; 32], now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN && !known.contains_key(&digest) {
            known.retain(|_, at| now.saturating_duration_since(*at) < KNOWN_FOR);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
        }
        known.insert(digest, now);
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

/// Takes the credential out of the headers.
fn bearer(parts: &Parts) -> Result<Secret, Refusal> {
    let mut lines = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(Refusal::unauthenticated("this needs a credential"));
    };
    let text = line.to_str().unwrap_or("");
    let (scheme, credential) = text.split_once(' ').unwrap_or(("", ""));
    let credential = credential.trim();
    let fits = credential.len() <= MAX_CREDENTIAL && credential.starts_with("sp_");
    let fits = fits && credential.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if scheme.eq_ignore_ascii_case("bearer") && fits {
        Ok(Secret::new(credential.to_owned()))
    } else {
        Err(Refusal::unauthenticated("this credential is not known"))
    }
}

impl Pass {
    /// Looks whether the credential is still good.
    pub(super) async fn again(&self, context: &State) -> Result<(), Refusal> {
        match context.store.authenticate(&self.0).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refusal::revoked()),
            Err(error) => Err(refused(error)),
        }
    }
}

/// What the store's answer to a credential means to the client.
fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::NotFound { .. } => Refusal::removed(),
        StoreError::Token { code, detail } => {
            Refusal::new(StatusCode::UNAUTHORIZED, code, detail).hint("ask an administrator for a new one")
        }
        other => other.into(),
    }
}

async fn principal(parts: &Parts, context: &Context) -> Result<Principal, Refusal> {
    identify(parts, context).await.map(|(principal, _)| principal)
}

async fn identify(parts: &Parts, context: &Context) -> Result<(Principal, Pass), Refusal> {
    let now = Instant::now();
    let remote = parts.extensions.get::<Remote>().copied().unwrap_or(Remote::Embedded);
    let address = client(remote, &parts.headers, &context.config.trusted_proxies);
    let credential = bearer(parts)?;
    let digest = crate::hub::request::sha256(&[credential.expose().as_bytes()]);
    let doorman = &context.doorman;
    if let Some(address) = address
        && let Err(secs) = doorman.failures.ask(address, now)
        && !doorman.knows(&digest, now)
    {
        return Err(Refusal::rate_limited("too many credentials from this address were not known", secs));
    }
    let refusal = match context.store.authenticate(&credential).await {
        Ok(Some(principal)) => {
            doorman.remember(digest, now);
            return Ok((principal, Pass(credential)));
        }
        Ok(None) => Refusal::unauthenticated("this credential is not known"),
        Err(error @ (StoreError::Revoked | StoreError::NotFound { .. } | StoreError::Token { .. })) => refused(error),
        // The store's trouble is not the client's failure.
        Err(error) => return Err(error.into()),
    };
    doorman.forget(&digest);
    if let Some(address) = address {
        // Whether this was the last one it had is told by the next try.
        let _counted: Result<(), u64> = doorman.failures.take(address, now);
        tracing::info!(%address, code = refusal.code(), "a credential was refused");
    }
    Err(refusal)
}

fn viewer(principal: Principal) -> Result<Viewer, Refusal> {
    let Principal::Token { id, name, role, account } = principal else {
        return Err(Refusal::forbidden("this is for the tokens of people and programs")
            .hint("an administrator makes one with `sitepeer hub token`"));
    };
    let scope = match (role, account) {
        (Role::Admin, _) => Scope::All,
        (Role::Viewer | Role::Operator, Some(account)) => Scope::Account(account),
        // Such a token is not made; if there were one, it would be nobody's.
        (Role::Viewer | Role::Operator, None) | (Role::Gateway | Role::Proxy, _) => {
            return Err(Refusal::forbidden("this token belongs to no account"));
        }
    };
    let actor = Actor { who: format!("token {id} ({name})"), token: Some(id), role: Some(role), scope };
    Ok(Viewer { actor, role })
}

fn at_least(viewer: Viewer, role: Role) -> Result<Actor, Refusal> {
    // Roles are ordered from little to much, and a gateway's never comes here.
    if viewer.role >= role {
        return Ok(viewer.actor);
    }
    let needed = if role == Role::Admin { "admin" } else { "operator" };
    Err(Refusal::forbidden(format!("this needs the role {needed}")).hint("ask an administrator for such a token"))
}

impl FromRequestParts<Context> for Anyone {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        principal(parts, context).await.map(Self)
    }
}

impl FromRequestParts<Context> for Viewer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        viewer(principal(parts, context).await?)
    }
}

impl FromRequestParts<Context> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        at_least(viewer(principal(parts, context).await?)?, Role::Operator).map(Self)
    }
}

impl FromRequestParts<Context> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        at_least(viewer(principal(parts, context).await?)?, Role::Admin).map(Self)
    }
}

impl FromRequestParts<Context> for GatewayToken {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        match identify(parts, context).await? {
            (Principal::Gateway { token, gateway }, pass) => Ok(Self { token, gateway, pass }),
            _ => Err(Refusal::forbidden("this is for gateways")),
        }
    }
}

impl FromRequestParts<Context> for GatewayCaller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        let GatewayToken { gateway, pass, .. } = GatewayToken::from_request_parts(parts, context).await?;
        gateway.map(|gateway| Self { gateway, pass }).ok_or_else(|| {
            let detail = "this token's gateway has not said hello".to_owned();
            Refusal::from(StoreError::State { detail }).hint("POST /v1/gateway/hello first")
        })
    }
}

impl FromRequestParts<Context> for AgentCaller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        match identify(parts, context).await? {
            (Principal::Agent { peer, instance, account: _ }, pass) => Ok(Self { peer, instance, pass }),
            _ => Err(Refusal::forbidden("this is for the agents of site peers")),
        }
    }
}

impl FromRequestParts<Context> for ProxyCaller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Refusal> {
        match identify(parts, context).await? {
            (Principal::Proxy(actor), pass) => Ok(Self { actor, pass }),
            _ => Err(Refusal::forbidden("this is for proxies")
                .hint("an administrator makes such a token: sitepeer hub token create --role proxy")),
        }
    }
}
