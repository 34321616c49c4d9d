//! A store that holds nothing, knows a credential of each kind, and misbehaves on purpose.
#![expect(unused_braces, reason = "bodies come in braces")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use sitepeer::api::*;
use sitepeer::domain::Secret;
use sitepeer::hub::store::*;
use sitepeer::hub::wake::{Signal, Topic, Wakes};

pub const ADMIN: &str = "sp_tok_admin123_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const OPERATOR: &str = "sp_tok_operator_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const VIEWER: &str = "sp_tok_viewer12_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const GATEWAY: &str = "sp_gw_gateway1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub const AGENT: &str = "sp_agt_agent123_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The store.
#[derive(Debug, Default)]
pub struct Fake {
    pub wakes: Arc<Wakes>,
    /// The agent's revision.
    pub revision: AtomicI64,
    /// How often a credential was looked up.
    pub looked_up: AtomicU64,
    /// The agent's credential was taken back.
    pub revoked: AtomicBool,
}

fn nothing<T>(what: &'static str) -> Stored<T> {
    Err(StoreError::NotFound { what, id: "nothing".to_owned() })
}

#[expect(clippy::unnecessary_wraps, reason = "as the store answers")]
fn page<T>() -> Stored<Page<T>> {
    Ok(Page { items: Vec::new(), next: None })
}

impl Fake {
    /// Changes what the agent is to have.
    pub fn change(&self) {
        self.revision.fetch_add(1, Ordering::SeqCst);
        self.wakes.signal(&Signal::Topic(Topic::Peer("peer".parse().unwrap())));
    }

    fn who(&self, credential: &str) -> Stored<Option<Principal>> {
        self.looked_up.fetch_add(1, Ordering::SeqCst);
        let token = |role, account: Option<&str>| {
            let account = account.map(|id| id.parse().unwrap());
            Ok(Some(Principal::Token { id: "token".parse().unwrap(), name: "test".to_owned(), role, account }))
        };
        match credential {
            ADMIN => token(Role::Admin, None),
            OPERATOR => token(Role::Operator, Some("acme")),
            VIEWER => token(Role::Viewer, Some("acme")),
            GATEWAY => Ok(Some(Principal::Gateway { token: "token".parse().unwrap(), gateway: None })),
            AGENT if self.revoked.load(Ordering::SeqCst) => Err(StoreError::Revoked),
            AGENT => Ok(Some(Principal::Agent {
                peer: "peer".parse().unwrap(),
                instance: "inst".parse().unwrap(),
                account: "acme".parse().unwrap(),
            })),
            _ => Ok(None),
        }
    }

    fn desired(&self, since: Option<i64>) -> Option<AgentDesired> {
        let revision = self.revision.load(Ordering::SeqCst);
        let (peer, waiting_for) = ("peer".parse().unwrap(), Some("a gateway".to_owned()));
        let desired = AgentDesired {
            revision,
            peer,
            enabled: true,
            public_key: None,
            config: None,
            waiting_for,
            frozen_until: None,
            frozen_for_secs: None,
            gateway_online: None,
        };
        (since != Some(revision)).then_some(desired)
    }
}

macro_rules! fake {
    ($(fn $name:ident($this:ident $(, $argument:ident: $kind:ty)*) -> $result:ty $body:block)*) => {
        #[async_trait::async_trait]
        impl Store for Fake {
            fn wakes(&self) -> &Arc<Wakes> {
                &self.wakes
            }
            async fn close(&self) {}
            $(async fn $name(&self $(, $argument: $kind)*) -> Stored<$result> {
                let $this = self;
                let _unused = ($this, $(&$argument,)*);
                $body
            })*
        }
    };
}

fake! {
    fn ping(this) -> () { Ok(()) }
    fn tick(this) -> () { Err(StoreError::Unavailable("gone fishing".into())) }
    fn first_token(this, keep: Keep<'_>) -> bool { Ok(false) }
    fn census(this) -> Census { Ok(Census { instances: vec![(InstanceStatus::Active, 3)], peers: 7, connected: 5, gateways: 1 }) }
    fn authenticate(this, credential: &Secret) -> Option<Principal> { this.who(credential.expose()) }
    fn create_token(this, by: &Actor, once: Option<&Once>, new: NewToken) -> TokenMade { nothing("token") }
    fn tokens(this, by: &Actor, paging: &Paging) -> Page<Token> { page() }
    fn delete_token(this, by: &Actor, id: &TokenId) -> () { nothing("token") }
    fn create_account(this, by: &Actor, once: Option<&Once>, new: NewAccount) -> Account {
        Ok(Account {
            id: "acme".parse().unwrap(), name: new.name, max_instances: 0, instances: 0, created_at: 0,
            version: once.map_or(0, |once| i64::from(once.digest[0])),
        })
    }
    fn accounts(this, by: &Actor, paging: &Paging) -> Page<Account> { page() }
    fn account(this, by: &Actor, id: &AccountId) -> Account { panic!("the password is hunter2") }
    fn edit_account(this, by: &Actor, id: &AccountId, if_match: Option<i64>, edit: AccountEdit) -> Account {
        Err(StoreError::Changed { what: "account", id: id.to_string(), now: if_match.unwrap_or(0) + 1 })
    }
    fn delete_account(this, by: &Actor, id: &AccountId, if_match: Option<i64>) -> () { nothing("account") }
    fn create_instance(this, by: &Actor, once: Option<&Once>, new: NewInstance) -> Instance { nothing("account") }
    fn instances(this, by: &Actor, filter: &InstanceFilter, paging: &Paging) -> Page<Instance> { page() }
    fn instance(this, by: &Actor, id: &InstanceId) -> Instance { nothing("instance") }
    fn edit_instance(this, by: &Actor, id: &InstanceId, if_match: Option<i64>, edit: InstanceEdit) -> Instance { nothing("instance") }
    fn delete_instance(this, by: &Actor, id: &InstanceId, if_match: Option<i64>) -> () { nothing("instance") }
    fn retry_instance(this, by: &Actor, id: &InstanceId) -> Instance { nothing("instance") }
    fn suspend_instance(this, by: &Actor, id: &InstanceId, suspended: bool) -> Instance { nothing("instance") }
    fn instance_usage(this, by: &Actor, id: &InstanceId) -> Vec<Usage> { nothing("instance") }
    fn create_peer(this, by: &Actor, once: Option<&Once>, instance: &InstanceId, new: NewPeer) -> Peer { nothing("instance") }
    fn peers(this, by: &Actor, filter: &PeerFilter, paging: &Paging) -> Page<Peer> { page() }
    fn peer(this, by: &Actor, id: &PeerId) -> Peer { nothing("peer") }
    fn edit_peer(this, by: &Actor, id: &PeerId, if_match: Option<i64>, edit: PeerEdit) -> Peer { nothing("peer") }
    fn delete_peer(this, by: &Actor, id: &PeerId, if_match: Option<i64>) -> () { nothing("peer") }
    fn peer_usage(this, by: &Actor, id: &PeerId) -> Vec<Usage> { nothing("peer") }
    fn create_site(this, by: &Actor, once: Option<&Once>, new: NewSite) -> Site { nothing("account") }
    fn sites(this, by: &Actor, search: Option<&str>, paging: &Paging) -> Page<Site> {
        // A database that does not answer.
        std::future::pending().await
    }
    fn site(this, by: &Actor, id: &SiteId) -> Site { nothing("site") }
    fn edit_site(this, by: &Actor, id: &SiteId, if_match: Option<i64>, edit: SiteEdit) -> Site { nothing("site") }
    fn delete_site(this, by: &Actor, id: &SiteId, if_match: Option<i64>) -> () { nothing("site") }
    fn site_subnets(this, by: &Actor, id: &SiteId) -> SiteSubnets { nothing("site") }
    fn site_health(this, by: &Actor, id: &SiteId, month: Option<&str>) -> SiteHealth { nothing("site") }
    fn site_events(this, by: &Actor, id: &SiteId, paging: &Paging) -> Page<SiteEvent> { page() }
    fn site_transitions(this, by: &Actor, id: &SiteId, paging: &Paging) -> Page<Transition> { page() }
    fn site_hours(this, by: &Actor, id: &SiteId, paging: &Paging) -> Page<HealthHour> { page() }
    fn freeze_site(this, by: &Actor, id: &SiteId, freeze: NewFreeze) -> Site { nothing("site") }
    fn thaw_site(this, by: &Actor, id: &SiteId) -> () { nothing("site") }
    fn assign_site(this, by: &Actor, id: &SiteId, assignment: Option<ProxyAssignment>) -> Site { nothing("site") }
    fn proxy_leases(this, by: &ProxyActor, request: &LeaseRequest) -> LeaseReply { Ok(LeaseReply::default()) }
    fn proxy_holds(this, by: &ProxyActor, peer: &PeerId, number: i64) -> InstanceId { nothing("peer") }
    fn proxy_applied(this, by: &ProxyActor, peer: &PeerId, number: i64, applied: AgentApplied) -> () { nothing("peer") }
    fn proxy_reports(this, by: &ProxyActor, peer: &PeerId, number: i64, reports: AgentReports) -> ReportsTaken { nothing("peer") }
    fn create_enrollment(this, by: &Actor, once: Option<&Once>, new: NewEnrollment) -> EnrollmentMade { nothing("peer") }
    fn enrollments(this, by: &Actor, paging: &Paging) -> Page<Enrollment> { page() }
    fn revoke_enrollment(this, by: &Actor, id: &EnrollmentId) -> () { nothing("enrolment token") }
    fn enroll(this, request: EnrollRequest) -> EnrollReply {
        Err(StoreError::Token { code: code::TOKEN_SPENT, detail: "this token was used".to_owned() })
    }
    fn rotate_instance(this, by: &Actor, id: &InstanceId) -> Instance { nothing("instance") }
    fn rotate_peer(this, by: &Actor, id: &PeerId) -> Peer { nothing("peer") }
    fn cancel_rotation(this, by: &Actor, id: &PeerId) -> () { nothing("rotation of peer") }
    fn agent_rotate(this, peer: &PeerId) -> () { nothing("peer") }
    fn revoke_agent(this, by: &Actor, peer: &PeerId) -> () { nothing("peer") }
    fn agent_desired(this, peer: &PeerId, since: Option<i64>) -> Option<AgentDesired> { Ok(this.desired(since)) }
    fn agent_applied(this, peer: &PeerId, applied: AgentApplied) -> () { nothing("peer") }
    fn agent_reports(this, peer: &PeerId, reports: AgentReports) -> ReportsTaken { Ok(ReportsTaken { number: 1, gateway_online: None }) }
    fn gateway_hello(this, token: &TokenId, hello: GatewayHello) -> GatewayWelcome {
        Ok(GatewayWelcome { id: "gate".parse().unwrap(), report_secs: 1 })
    }
    fn gateway_desired(this, gateway: &GatewayId, since: i64) -> Option<GatewayDesired> { Ok(None) }
    fn gateway_applied(this, gateway: &GatewayId, applied: GatewayApplied) -> () { Ok(()) }
    fn gateway_report(this, gateway: &GatewayId, report: GatewayReport) -> ReportsTaken { Ok(ReportsTaken { number: 1, gateway_online: None }) }
    fn delete_gateway(this, by: &Actor, id: &GatewayId) -> () { nothing("gateway") }
    fn gateways(this, by: &Actor, paging: &Paging) -> Page<Gateway> { page() }
    fn audit(this, by: &Actor, paging: &Paging) -> Page<AuditEntry> { page() }
}
