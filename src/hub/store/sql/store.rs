//! The trait, method by method: each is a function of its resource.

use std::sync::Arc;

use async_trait::async_trait;

use super::check::invalid;
use super::db::{Run as _, is_clash, q};
use super::{
    SqlStore, account, agent, enrollment, freeze, gateway, health, instance, lease, once, peer, rotate, site, tick,
    token,
};
use crate::api::{
    Account, AccountEdit, AccountId, AgentApplied, AgentDesired, AgentReports, AuditEntry, EnrollReply, EnrollRequest,
    Enrollment, EnrollmentId, EnrollmentMade, Gateway, GatewayApplied, GatewayDesired, GatewayHello, GatewayId,
    GatewayReport, GatewayWelcome, HealthHour, Instance, InstanceEdit, InstanceId, LeaseReply, LeaseRequest,
    NewAccount, NewEnrollment, NewFreeze, NewInstance, NewPeer, NewSite, NewToken, Page, Peer, PeerEdit, PeerId,
    ProxyAssignment, ReportsTaken, Role, Site, SiteEdit, SiteEvent, SiteHealth, SiteId, SiteSubnets, Token, TokenId,
    TokenMade, Transition, Usage, code,
};
use crate::domain::Secret;
use crate::hub::store::{
    Actor, Census, InstanceFilter, Keep, Once, Paging, PeerFilter, Principal, ProxyActor, Store, Stored,
};
use crate::hub::wake::Wakes;

/// How often a change is tried that meets another one in PostgreSQL.
const TRIES: u32 = 3;

/// Makes a change, once more if it met another one half way.
macro_rules! again {
    ($change:expr) => {{
        let mut tries = 1;
        loop {
            match $change.await {
                Err(error) if tries < TRIES && is_clash(&error) => tries += 1,
                result => break result,
            }
        }
    }};
}

/// Refuses what the role does not allow, should the HTTP layer have forgotten it. The hub itself and agents have none.
fn may(by: &Actor, needed: Role) -> Stored<()> {
    match by.role {
        None | Some(Role::Admin) => Ok(()),
        Some(Role::Operator) if needed == Role::Operator => Ok(()),
        Some(_) => Err(invalid("", "the token's role does not allow this", code::FORBIDDEN)),
    }
}

#[async_trait]
impl Store for SqlStore {
    fn wakes(&self) -> &Arc<Wakes> {
        &self.db.wakes
    }

    async fn close(&self) {
        Self::close(self).await;
    }

    async fn ping(&self) -> Stored<()> {
        q!("SELECT 1").run(&mut *self.db.read().await?).await?;
        Ok(())
    }

    async fn first_token(&self, keep: Keep<'_>) -> Stored<bool> {
        Self::first_token(self, keep).await
    }

    async fn tick(&self) -> Stored<()> {
        tick::tick(&self.db, &self.rounds).await
    }

    async fn census(&self) -> Stored<Census> {
        tick::census(&self.db).await
    }

    async fn authenticate(&self, credential: &Secret) -> Stored<Option<Principal>> {
        token::authenticate(&self.db, credential).await
    }

    async fn create_token(&self, by: &Actor, once: Option<&Once>, new: NewToken) -> Stored<TokenMade> {
        may(by, Role::Admin)?;
        again!(token::create(&self.db, by, once, new.clone()))
    }

    async fn tokens(&self, by: &Actor, paging: &Paging) -> Stored<Page<Token>> {
        token::list(&self.db, by, paging).await
    }

    async fn delete_token(&self, by: &Actor, id: &TokenId) -> Stored<()> {
        may(by, Role::Admin)?;
        again!(token::delete(&self.db, by, id))
    }

    async fn create_account(&self, by: &Actor, once: Option<&Once>, new: NewAccount) -> Stored<Account> {
        may(by, Role::Admin)?;
        again!(account::create(&self.db, by, once, new.clone()))
    }

    async fn accounts(&self, by: &Actor, paging: &Paging) -> Stored<Page<Account>> {
        account::list(&self.db, by, paging).await
    }

    async fn account(&self, by: &Actor, id: &AccountId) -> Stored<Account> {
        account::get(&self.db, by, id).await
    }

    async fn edit_account(
        &self,
        by: &Actor,
        id: &AccountId,
        if_match: Option<i64>,
        edit: AccountEdit,
    ) -> Stored<Account> {
        may(by, Role::Admin)?;
        again!(account::edit(&self.db, by, id, if_match, edit.clone()))
    }

    async fn delete_account(&self, by: &Actor, id: &AccountId, if_match: Option<i64>) -> Stored<()> {
        may(by, Role::Admin)?;
        again!(account::delete(&self.db, by, id, if_match))
    }

    async fn create_instance(&self, by: &Actor, once: Option<&Once>, new: NewInstance) -> Stored<Instance> {
        may(by, Role::Operator)?;
        again!(instance::create(&self.db, &self.context, by, once, new.clone()))
    }

    async fn instances(&self, by: &Actor, filter: &InstanceFilter, paging: &Paging) -> Stored<Page<Instance>> {
        instance::list(&self.db, &self.context, by, filter, paging).await
    }

    async fn instance(&self, by: &Actor, id: &InstanceId) -> Stored<Instance> {
        instance::get(&self.db, &self.context, by, id).await
    }

    async fn edit_instance(
        &self,
        by: &Actor,
        id: &InstanceId,
        if_match: Option<i64>,
        edit: InstanceEdit,
    ) -> Stored<Instance> {
        may(by, Role::Operator)?;
        again!(instance::edit(&self.db, &self.context, by, id, if_match, edit.clone()))
    }

    async fn delete_instance(&self, by: &Actor, id: &InstanceId, if_match: Option<i64>) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(instance::delete(&self.db, &self.context, by, id, if_match))
    }

    async fn retry_instance(&self, by: &Actor, id: &InstanceId) -> Stored<Instance> {
        may(by, Role::Operator)?;
        again!(instance::retry(&self.db, &self.context, by, id))
    }

    async fn suspend_instance(&self, by: &Actor, id: &InstanceId, suspended: bool) -> Stored<Instance> {
        may(by, Role::Operator)?;
        again!(instance::suspend(&self.db, &self.context, by, id, suspended))
    }

    async fn instance_usage(&self, by: &Actor, id: &InstanceId) -> Stored<Vec<Usage>> {
        instance::usage(&self.db, by, id).await
    }

    async fn create_peer(&self, by: &Actor, once: Option<&Once>, instance: &InstanceId, new: NewPeer) -> Stored<Peer> {
        may(by, Role::Operator)?;
        again!(peer::create(&self.db, by, once, instance, new.clone()))
    }

    async fn peers(&self, by: &Actor, filter: &PeerFilter, paging: &Paging) -> Stored<Page<Peer>> {
        peer::list(&self.db, by, filter, paging).await
    }

    async fn peer(&self, by: &Actor, id: &PeerId) -> Stored<Peer> {
        peer::get(&self.db, by, id).await
    }

    async fn edit_peer(&self, by: &Actor, id: &PeerId, if_match: Option<i64>, edit: PeerEdit) -> Stored<Peer> {
        may(by, Role::Operator)?;
        again!(peer::edit(&self.db, by, id, if_match, edit.clone()))
    }

    async fn delete_peer(&self, by: &Actor, id: &PeerId, if_match: Option<i64>) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(peer::delete(&self.db, by, id, if_match))
    }

    async fn peer_usage(&self, by: &Actor, id: &PeerId) -> Stored<Vec<Usage>> {
        peer::usage(&self.db, by, id).await
    }

    async fn create_site(&self, by: &Actor, once: Option<&Once>, new: NewSite) -> Stored<Site> {
        may(by, Role::Operator)?;
        again!(site::create(&self.db, by, once, new.clone()))
    }

    async fn sites(&self, by: &Actor, search: Option<&str>, paging: &Paging) -> Stored<Page<Site>> {
        site::list(&self.db, by, search, paging).await
    }

    async fn site(&self, by: &Actor, id: &SiteId) -> Stored<Site> {
        site::get(&self.db, by, id).await
    }

    async fn edit_site(&self, by: &Actor, id: &SiteId, if_match: Option<i64>, edit: SiteEdit) -> Stored<Site> {
        may(by, Role::Operator)?;
        again!(site::edit(&self.db, by, id, if_match, edit.clone()))
    }

    async fn delete_site(&self, by: &Actor, id: &SiteId, if_match: Option<i64>) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(site::delete(&self.db, by, id, if_match))
    }

    async fn site_subnets(&self, by: &Actor, id: &SiteId) -> Stored<SiteSubnets> {
        site::subnets(&self.db, by, id).await
    }

    async fn site_health(&self, by: &Actor, id: &SiteId, month: Option<&str>) -> Stored<SiteHealth> {
        health::site(&self.db, by, id, month).await
    }

    async fn site_transitions(&self, by: &Actor, id: &SiteId, paging: &Paging) -> Stored<Page<Transition>> {
        health::transitions(&self.db, by, id, paging).await
    }

    async fn site_events(&self, by: &Actor, id: &SiteId, paging: &Paging) -> Stored<Page<SiteEvent>> {
        health::events(&self.db, by, id, paging).await
    }

    async fn site_hours(&self, by: &Actor, id: &SiteId, paging: &Paging) -> Stored<Page<HealthHour>> {
        health::hours(&self.db, by, id, paging).await
    }

    async fn freeze_site(&self, by: &Actor, id: &SiteId, freeze: NewFreeze) -> Stored<Site> {
        may(by, Role::Operator)?;
        again!(freeze::freeze(&self.db, by, id, freeze.clone()))
    }

    async fn thaw_site(&self, by: &Actor, id: &SiteId) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(freeze::thaw(&self.db, by, id))
    }

    async fn create_enrollment(&self, by: &Actor, once: Option<&Once>, new: NewEnrollment) -> Stored<EnrollmentMade> {
        may(by, Role::Operator)?;
        again!(enrollment::create(&self.db, by, once, new.clone()))
    }

    async fn enrollments(&self, by: &Actor, paging: &Paging) -> Stored<Page<Enrollment>> {
        enrollment::list(&self.db, by, paging).await
    }

    async fn revoke_enrollment(&self, by: &Actor, id: &EnrollmentId) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(enrollment::revoke(&self.db, by, id))
    }

    async fn enroll(&self, request: EnrollRequest) -> Stored<EnrollReply> {
        again!(enrollment::enroll(&self.db, request.clone()))
    }

    async fn rotate_instance(&self, by: &Actor, id: &InstanceId) -> Stored<Instance> {
        may(by, Role::Operator)?;
        again!(rotate::instance(&self.db, &self.context, by, id))
    }

    async fn rotate_peer(&self, by: &Actor, id: &PeerId) -> Stored<Peer> {
        may(by, Role::Operator)?;
        again!(rotate::peer(&self.db, by, id))
    }

    async fn cancel_rotation(&self, by: &Actor, id: &PeerId) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(rotate::cancel(&self.db, by, id))
    }

    async fn agent_rotate(&self, peer: &PeerId) -> Stored<()> {
        again!(rotate::by_agent(&self.db, peer))
    }

    async fn revoke_agent(&self, by: &Actor, peer: &PeerId) -> Stored<()> {
        may(by, Role::Operator)?;
        again!(agent::revoke(&self.db, by, peer))
    }

    async fn agent_desired(&self, peer: &PeerId, since: Option<i64>) -> Stored<Option<AgentDesired>> {
        agent::desired(&self.db, &self.context, peer, since).await
    }

    async fn agent_applied(&self, peer: &PeerId, applied: AgentApplied) -> Stored<()> {
        again!(agent::applied(&self.db, &self.context, &self.telemetry, (peer, None), applied.clone()))
    }

    async fn agent_reports(&self, peer: &PeerId, reports: AgentReports) -> Stored<ReportsTaken> {
        again!(agent::reports(&self.db, &self.telemetry, (peer, None), reports.clone()))
    }

    async fn assign_site(&self, by: &Actor, id: &SiteId, assignment: Option<ProxyAssignment>) -> Stored<Site> {
        may(by, Role::Operator)?;
        again!(lease::assign(&self.db, by, id, assignment.as_ref()))
    }

    async fn proxy_leases(&self, by: &ProxyActor, request: &LeaseRequest) -> Stored<LeaseReply> {
        again!(lease::leases(&self.db, by, request))
    }

    async fn proxy_holds(&self, by: &ProxyActor, peer: &PeerId, number: i64) -> Stored<InstanceId> {
        lease::holds(&self.db, by, peer, number).await
    }

    async fn proxy_applied(&self, by: &ProxyActor, peer: &PeerId, number: i64, applied: AgentApplied) -> Stored<()> {
        let claim = || Some(lease::Claim::new(by, number));
        again!(agent::applied(&self.db, &self.context, &self.telemetry, (peer, claim()), applied.clone()))
    }

    async fn proxy_reports(
        &self,
        by: &ProxyActor,
        peer: &PeerId,
        number: i64,
        reports: AgentReports,
    ) -> Stored<ReportsTaken> {
        let claim = || Some(lease::Claim::new(by, number));
        again!(agent::reports(&self.db, &self.telemetry, (peer, claim()), reports.clone()))
    }

    async fn gateway_hello(&self, token: &TokenId, hello: GatewayHello) -> Stored<GatewayWelcome> {
        again!(gateway::hello(&self.db, &self.context, token, hello.clone()))
    }

    async fn gateway_desired(&self, gateway: &GatewayId, since: i64) -> Stored<Option<GatewayDesired>> {
        gateway::desired(&self.db, gateway, since).await
    }

    async fn gateway_applied(&self, gateway: &GatewayId, applied: GatewayApplied) -> Stored<()> {
        again!(gateway::applied(&self.db, gateway, applied.clone()))
    }

    async fn gateway_report(&self, gateway: &GatewayId, report: GatewayReport) -> Stored<ReportsTaken> {
        again!(gateway::report(&self.db, gateway, report.clone()))
    }

    async fn delete_gateway(&self, by: &Actor, id: &GatewayId) -> Stored<()> {
        may(by, Role::Admin)?;
        again!(gateway::delete(&self.db, by, id))
    }

    async fn gateways(&self, by: &Actor, paging: &Paging) -> Stored<Page<Gateway>> {
        gateway::list(&self.db, by, paging).await
    }

    async fn audit(&self, by: &Actor, paging: &Paging) -> Stored<Page<AuditEntry>> {
        once::list(&mut *self.db.read().await?, &by.scope, paging).await
    }
}
