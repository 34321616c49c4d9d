//! Where the hub keeps everything: SQLite or PostgreSQL behind one trait.
//!
//! Rules that must hold whoever writes are held here, in transactions and constraints, not in the HTTP layer: names and hostnames
//! unique, no overlap, no address twice, no key twice, the account's limit, the audit log, revisions, idempotency. A change is
//! acknowledged only after its commit; who waits for it is woken by the same commit.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::wake::Wakes;
use crate::api::{
    Account, AccountEdit, AccountId, AgentApplied, AgentDesired, AgentReports, AuditEntry, EnrollReply, EnrollRequest,
    Enrollment, EnrollmentId, EnrollmentMade, Gateway, GatewayApplied, GatewayDesired, GatewayHello, GatewayId,
    GatewayReport, GatewayWelcome, HealthHour, Instance, InstanceEdit, InstanceId, InstanceStatus, LeaseReply,
    LeaseRequest, NewAccount, NewEnrollment, NewFreeze, NewInstance, NewPeer, NewSite, NewToken, Page, Peer, PeerEdit,
    PeerId, PeerKind, PeerStatus, ProxyAssignment, ReportsTaken, Role, Site, SiteEdit, SiteEvent, SiteHealth, SiteId,
    SiteSubnets, Token, TokenId, TokenMade, Transition, Usage,
};
use crate::domain::Secret;

mod backup;
mod error;
mod open;
mod rescue;
mod sql;
mod verdict;

pub use backup::{backup, restore};
pub use error::StoreError;
pub use open::{ROTATE_GRACE, Settings, StoreConfig, first_admin, open, open_with};
pub use rescue::admin_token;
pub use sql::Clock;

/// Who asks: decides what is seen, and stands in the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What stands in the audit log, such as `token k3f9q2x7 (laptop)`.
    pub who: String,
    /// The token, if it is one: idempotency keys are its own.
    pub token: Option<TokenId>,
    /// What it may do: the store refuses what it does not allow, whatever the HTTP layer forgot. `None` for agents and the hub itself.
    pub role: Option<Role>,
    /// What is seen.
    pub scope: Scope,
}

/// What an actor sees. What is out of scope does not exist for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All accounts.
    All,
    /// One account.
    Account(AccountId),
}

/// Whom a credential belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person or program.
    Token {
        /// Its id.
        id: TokenId,
        /// For people.
        name: String,
        /// Viewer, operator or admin.
        role: Role,
        /// Whose it is.
        account: Option<AccountId>,
    },
    /// A gateway's token; its gateway is known once it said hello.
    Gateway {
        /// The token.
        token: TokenId,
        /// The gateway.
        gateway: Option<GatewayId>,
    },
    /// A proxy.
    Proxy(ProxyActor),
    /// An enrolled agent.
    Agent {
        /// The site peer it looks after.
        peer: PeerId,
        /// The peer's instance.
        instance: InstanceId,
        /// Whose it is.
        account: AccountId,
    },
}

/// A proxy's token: what it may drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyActor {
    /// The token.
    pub token: TokenId,
    /// Only sites of this account.
    pub account: AccountId,
    /// Only sites of this group; `None` for all groups.
    pub group: Option<String>,
}

/// Makes a POST safe to repeat: the same key and digest give the same object again, another digest is refused.
///
/// A repeated request for a secret gives the same object a new secret, and the old one is no good any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The client's key.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub digest: [u8; 32],
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// At most so many, 1 to [`crate::api::MAX_PAGE`].
    pub limit: usize,
}

/// Which instances are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Part of the instance's name or hostname, a site's name, or the account's name; case does not matter.
    pub search: Option<String>,
    /// Only these.
    pub status: Option<InstanceStatus>,
    /// Only of this account.
    pub account: Option<AccountId>,
}

/// Which peers are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerFilter {
    /// Only of this instance.
    pub instance: Option<InstanceId>,
    /// Only of this site.
    pub site: Option<SiteId>,
    /// Only these.
    pub kind: Option<PeerKind>,
    /// Only these.
    pub status: Option<PeerStatus>,
    /// Part of the name, the user, the site's or instance's name; case does not matter.
    pub search: Option<String>,
}

/// Numbers for `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Instances by status.
    pub instances: Vec<(InstanceStatus, u64)>,
    /// Peers, enabled or not.
    pub peers: u64,
    /// Peers that are connected.
    pub connected: u64,
    /// Gateways heard within the last minute.
    pub gateways: u64,
}

/// The result of everything here.
pub type Stored<T> = Result<T, StoreError>;

/// Puts a secret where its owner finds it.
pub type Keep<'a> = &'a (dyn Fn(&TokenMade) -> std::io::Result<()> + Send + Sync);

/// The hub's store.
///
/// `by` limits what is seen: what is out of its scope is [`StoreError::NotFound`], as if it did not exist. `if_match` is the version
/// that an edit starts from; another is [`StoreError::Changed`]. Every method that changes something writes the audit log in the
/// same transaction and, after the commit, wakes who waits (here by [`Wakes`], in other replicas by NOTIFY).
///
/// # What holds whatever happens
/// - Locks are taken in the order account, instance (by id), gateway; a serialization failure is tried again, at most three times.
/// - Revisions grow as max(counter + 1, now in µs), so that a restored backup never reuses one; 304 only on equality, a `since`
///   above the counter or below what tombstones cover means `restart`. No two things of a gateway share a revision: placing an
///   instance gives each of its peers one of its own. A peer is live or a tombstone, never both. Deltas are read in one snapshot.
/// - A gateway speaks only for instances that are placed on it, an agent only for its own peer; a key is refused if any peer of the
///   instance, enabled or not, or the instance itself has it. Results for an older revision than wanted are ignored.
/// - Default reach is made of tunnel subnets, pushed routes and what site and remote peers advertise, *enabled or not*, so that
///   switching a peer off rewrites no router. It is merged only when published, never beyond a /8; broad prefixes, what no tunnel
///   carries and the gateway's own address stay out; if it is too long for [`crate::domain::MAX_SUBNETS`] coarser prefixes stand in,
///   and coarser holes for a site's own, which is logged. An instance whose tunnel subnet has the gateway's own address in it is
///   not placed there; if the gateway moves into one, its agents wait. Every [`AgentDesired`] passes [`crate::domain::Site::check`].
///   Disabling and deleting are never refused.
/// - Telemetry (reports, `seen_at`, `used_at`) has tables of its own and never locks what a change needs. Rows of peers that are gone
///   are skipped. A total that falls within an epoch counts as no traffic; a new epoch begins from its first total.
/// - Health goes by the hub's clock. A report is taken once, by epoch and number; an epoch that was left is not gone back to. Time
///   counts into the state that was told before it, and no longer than an agent may be silent. Nobody is silent while the hub or its
///   database is away or its clock is set: it listens anew after that. A freeze ends by itself; its beginning and its end each raise
///   the revision of the site's agents.
/// - A replay of an enrolment (same token and nonce) is good for ten minutes, until its credential was first used, and not after a
///   revocation; another nonce on a bound peer replaces the agent: the old credential ends, the key is cleared. Spent, expired and
///   revoked are told only to who has the whole token.
///
/// # Cancel safety
/// A dropped future leaves the change whole or undone, never half.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Where long-polls wait.
    fn wakes(&self) -> &Arc<Wakes>;
    /// Ends the work with the database: a SQLite file is then whole without its log. Whoever still asks is told that the store does
    /// not answer.
    async fn close(&self);
    /// Answers if the store does.
    async fn ping(&self) -> Stored<()>;
    /// Does what is due: finds gateways for instances, publishes merged reach whose debounce is over, forgets what is old.
    /// Runs every [`super::TICK`]; more replicas than one may run it at once.
    async fn tick(&self) -> Stored<()>;
    /// Numbers for `/metrics`.
    async fn census(&self) -> Stored<Census>;
    /// Makes an administrator's token where there is none. `keep` is called before the commit, so that no token is made that nobody
    /// has; tells whether one was made.
    async fn first_token(&self, keep: Keep<'_>) -> Stored<bool>;

    /// Finds whom a bearer credential belongs to: `None` for one that is unknown, [`StoreError::Revoked`] for one that was,
    /// [`StoreError::NotFound`] for an agent's whose peer was deleted.
    async fn authenticate(&self, credential: &Secret) -> Stored<Option<Principal>>;
    /// Makes a token.
    async fn create_token(&self, by: &Actor, once: Option<&Once>, new: NewToken) -> Stored<TokenMade>;
    /// Lists tokens.
    async fn tokens(&self, by: &Actor, paging: &Paging) -> Stored<Page<Token>>;
    /// Takes a token back.
    async fn delete_token(&self, by: &Actor, id: &TokenId) -> Stored<()>;

    /// Makes an account.
    async fn create_account(&self, by: &Actor, once: Option<&Once>, new: NewAccount) -> Stored<Account>;
    /// Lists accounts: an actor of one account sees that one.
    async fn accounts(&self, by: &Actor, paging: &Paging) -> Stored<Page<Account>>;
    /// Reads an account.
    async fn account(&self, by: &Actor, id: &AccountId) -> Stored<Account>;
    /// Changes an account.
    async fn edit_account(
        &self,
        by: &Actor,
        id: &AccountId,
        if_match: Option<i64>,
        edit: AccountEdit,
    ) -> Stored<Account>;
    /// Deletes an account without instances and sites, with its tokens.
    async fn delete_account(&self, by: &Actor, id: &AccountId, if_match: Option<i64>) -> Stored<()>;

    /// Makes an instance, `deploying`.
    async fn create_instance(&self, by: &Actor, once: Option<&Once>, new: NewInstance) -> Stored<Instance>;
    /// Lists instances.
    async fn instances(&self, by: &Actor, filter: &InstanceFilter, paging: &Paging) -> Stored<Page<Instance>>;
    /// Reads an instance.
    async fn instance(&self, by: &Actor, id: &InstanceId) -> Stored<Instance>;
    /// Changes an instance.
    async fn edit_instance(
        &self,
        by: &Actor,
        id: &InstanceId,
        if_match: Option<i64>,
        edit: InstanceEdit,
    ) -> Stored<Instance>;
    /// Deletes an instance with its peers; its gateway is told to take it down with its keys.
    async fn delete_instance(&self, by: &Actor, id: &InstanceId, if_match: Option<i64>) -> Stored<()>;
    /// Lets a gateway try again; name, hostname, settings and keys stay. [`StoreError::State`] unless it is `error` or `deploying`.
    async fn retry_instance(&self, by: &Actor, id: &InstanceId) -> Stored<Instance>;
    /// Switches an instance off, or on again.
    async fn suspend_instance(&self, by: &Actor, id: &InstanceId, suspended: bool) -> Stored<Instance>;
    /// Traffic of an instance by period, newest first, at most 24.
    async fn instance_usage(&self, by: &Actor, id: &InstanceId) -> Stored<Vec<Usage>>;

    /// Makes a peer.
    async fn create_peer(&self, by: &Actor, once: Option<&Once>, instance: &InstanceId, new: NewPeer) -> Stored<Peer>;
    /// Lists peers.
    async fn peers(&self, by: &Actor, filter: &PeerFilter, paging: &Paging) -> Stored<Page<Peer>>;
    /// Reads a peer.
    async fn peer(&self, by: &Actor, id: &PeerId) -> Stored<Peer>;
    /// Changes a peer.
    async fn edit_peer(&self, by: &Actor, id: &PeerId, if_match: Option<i64>, edit: PeerEdit) -> Stored<Peer>;
    /// Deletes a peer, its agent's credential and its enrolment tokens.
    async fn delete_peer(&self, by: &Actor, id: &PeerId, if_match: Option<i64>) -> Stored<()>;
    /// Traffic of a peer by period, newest first, at most 24.
    async fn peer_usage(&self, by: &Actor, id: &PeerId) -> Stored<Vec<Usage>>;

    /// Makes a site.
    async fn create_site(&self, by: &Actor, once: Option<&Once>, new: NewSite) -> Stored<Site>;
    /// Lists sites; `search` is part of the name, the board or the serial number.
    async fn sites(&self, by: &Actor, search: Option<&str>, paging: &Paging) -> Stored<Page<Site>>;
    /// Reads a site.
    async fn site(&self, by: &Actor, id: &SiteId) -> Stored<Site>;
    /// Changes a site.
    async fn edit_site(&self, by: &Actor, id: &SiteId, if_match: Option<i64>, edit: SiteEdit) -> Stored<Site>;
    /// Deletes a site without peers.
    async fn delete_site(&self, by: &Actor, id: &SiteId, if_match: Option<i64>) -> Stored<()>;
    /// What a site could advertise.
    async fn site_subnets(&self, by: &Actor, id: &SiteId) -> Stored<SiteSubnets>;
    /// How a site is, seen from both ends, and how `month` (such as `2026-11`; this one if it is missing) went.
    async fn site_health(&self, by: &Actor, id: &SiteId, month: Option<&str>) -> Stored<SiteHealth>;
    /// Lists a site's changes of state, newest first.
    async fn site_transitions(&self, by: &Actor, id: &SiteId, paging: &Paging) -> Stored<Page<Transition>>;
    /// Lists what agents did to a site's routers by themselves or found done, newest first.
    async fn site_events(&self, by: &Actor, id: &SiteId, paging: &Paging) -> Stored<Page<SiteEvent>>;
    /// Lists a site's hours, newest first.
    async fn site_hours(&self, by: &Actor, id: &SiteId, paging: &Paging) -> Stored<Page<HealthHour>>;
    /// Makes the site's agents hold hands off for a while; it ends by itself.
    async fn freeze_site(&self, by: &Actor, id: &SiteId, freeze: NewFreeze) -> Stored<Site>;
    /// Assigns a site's router to a group of proxies, or to none.
    async fn assign_site(&self, by: &Actor, id: &SiteId, assignment: Option<ProxyAssignment>) -> Stored<Site>;
    /// Renews a proxy's leases, and takes more up to its fair share. By the database's clock, where replicas share one.
    async fn proxy_leases(&self, by: &ProxyActor, request: &LeaseRequest) -> Stored<LeaseReply>;
    /// Tells a peer's instance to the proxy that has the lease of its site with this number; [`StoreError::Conflict`] to any other.
    async fn proxy_holds(&self, by: &ProxyActor, peer: &PeerId, number: i64) -> Stored<InstanceId>;
    /// Takes a proxy's word for what it did on a site's router: the lease is looked at in the same change, and no other begins
    /// before that is made.
    async fn proxy_applied(&self, by: &ProxyActor, peer: &PeerId, number: i64, applied: AgentApplied) -> Stored<()>;
    /// Takes a proxy's reports of a site, by the lease as in [`proxy_applied`](Self::proxy_applied).
    async fn proxy_reports(
        &self,
        by: &ProxyActor,
        peer: &PeerId,
        number: i64,
        reports: AgentReports,
    ) -> Stored<ReportsTaken>;
    /// Ends a freeze. [`StoreError::NotFound`] if there is none.
    async fn thaw_site(&self, by: &Actor, id: &SiteId) -> Stored<()>;

    /// Makes an enrolment token.
    async fn create_enrollment(&self, by: &Actor, once: Option<&Once>, new: NewEnrollment) -> Stored<EnrollmentMade>;
    /// Lists enrolment tokens.
    async fn enrollments(&self, by: &Actor, paging: &Paging) -> Stored<Page<Enrollment>>;
    /// Takes an enrolment token back; who enrolled with it stays.
    async fn revoke_enrollment(&self, by: &Actor, id: &EnrollmentId) -> Stored<()>;
    /// Enrols a device.
    async fn enroll(&self, request: EnrollRequest) -> Stored<EnrollReply>;

    /// Makes a new gateway key for an instance: its site peers follow to it, one after another. While that goes on, nothing more.
    async fn rotate_instance(&self, by: &Actor, id: &InstanceId) -> Stored<Instance>;
    /// Gives a site peer's router a new key, make before break. While that goes on, nothing more.
    async fn rotate_peer(&self, by: &Actor, id: &PeerId) -> Stored<Peer>;
    /// Gives a change up that is not yet made. [`StoreError::NotFound`] if there is none.
    async fn cancel_rotation(&self, by: &Actor, id: &PeerId) -> Stored<()>;
    /// The same as [`rotate_peer`](Self::rotate_peer), wanted by the peer's own agent.
    async fn agent_rotate(&self, peer: &PeerId) -> Stored<()>;

    /// Takes an agent's credential back; its peer stays, and can be enrolled again.
    async fn revoke_agent(&self, by: &Actor, peer: &PeerId) -> Stored<()>;

    /// What is to be on a site peer's router; `None` if that is at revision `since` exactly (a higher one, after a restore, is told).
    async fn agent_desired(&self, peer: &PeerId, since: Option<i64>) -> Stored<Option<AgentDesired>>;
    /// Takes an agent's word for what it did, with the router's key.
    async fn agent_applied(&self, peer: &PeerId, applied: AgentApplied) -> Stored<()>;
    /// Takes an agent's reports.
    async fn agent_reports(&self, peer: &PeerId, reports: AgentReports) -> Stored<ReportsTaken>;

    /// Registers a gateway, or finds it again by its token.
    async fn gateway_hello(&self, token: &TokenId, hello: GatewayHello) -> Stored<GatewayWelcome>;
    /// What changed for a gateway since a revision; `None` if nothing did.
    async fn gateway_desired(&self, gateway: &GatewayId, since: i64) -> Stored<Option<GatewayDesired>>;
    /// Takes a gateway's word for what it did.
    async fn gateway_applied(&self, gateway: &GatewayId, applied: GatewayApplied) -> Stored<()>;
    /// Takes a gateway's report.
    async fn gateway_report(&self, gateway: &GatewayId, report: GatewayReport) -> Stored<ReportsTaken>;
    /// Forgets a gateway that is gone for good: its token is revoked and its instances go to another one, with new keys.
    async fn delete_gateway(&self, by: &Actor, id: &GatewayId) -> Stored<()>;
    /// Lists gateways; for administrators.
    async fn gateways(&self, by: &Actor, paging: &Paging) -> Stored<Page<Gateway>>;

    /// Lists the audit log, newest first.
    async fn audit(&self, by: &Actor, paging: &Paging) -> Stored<Page<AuditEntry>>;
}
