//! `/v1/enrollments`, and `/v1/enroll` for the device itself.

use std::time::Instant;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;

use super::account::ListParams;
use super::{limits, reply};
use crate::api::{
    EnrollReply, EnrollRequest, Enrollment, EnrollmentId, EnrollmentKind, EnrollmentMade, NewEnrollment, Page,
};
use crate::hub::auth::{Operator, Remote, Viewer, client};
use crate::hub::problem::{Answer, Refusal};
use crate::hub::profile;
use crate::hub::request::{Body, Id, New, Params, paging};
use crate::hub::state::Context;
use crate::hub::store::{Actor, Scope};

/// Somebody who may try to enrol now.
pub(in crate::hub) struct Stranger;

impl FromRequestParts<Context> for Stranger {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Context) -> Result<Self, Refusal> {
        let remote = parts.extensions.get::<Remote>().copied().unwrap_or(Remote::Embedded);
        if let Some(address) = client(remote, &parts.headers, &hub.config.trusted_proxies) {
            let refused = |secs| Refusal::rate_limited("too many enrolments from this address", secs);
            hub.enrolments.take(address, Instant::now()).map_err(refused)?;
        }
        Ok(Self)
    }
}

/// Lists enrolment tokens, without their secrets.
#[utoipa::path(get, path = "/v1/enrollments", tag = "enrolment", params(ListParams),
    responses((status = 200, description = "A page of enrolment tokens", body = Page<Enrollment>)))]
pub(in crate::hub) async fn list(
    caller: Viewer,
    State(hub): State<Context>,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = hub.store.enrollments(&caller.actor, &paging(params.cursor, params.limit)?).await?;
    reply::ok(&page)
}

/// Makes an enrolment token for a peer; its secret is shown this once.
#[utoipa::path(post, path = "/v1/enrollments", tag = "enrolment", request_body = NewEnrollment,
    responses((status = 201, description = "Made, with its secret", body = EnrollmentMade)))]
pub(in crate::hub) async fn create(
    Operator(by): Operator,
    State(hub): State<Context>,
    new: New<NewEnrollment>,
) -> Answer {
    let made = hub.store.create_enrollment(&by, new.once.as_ref(), new.value).await?;
    reply::created(&format!("/v1/enrollments/{}", made.enrollment.id), None, &made)
}

/// Takes an enrolment token back. Who enrolled with it stays.
#[utoipa::path(delete, path = "/v1/enrollments/{id}", tag = "enrolment",
    params(("id" = EnrollmentId, Path, description = "Which")), responses((status = 204, description = "Taken back")))]
pub(in crate::hub) async fn revoke(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<EnrollmentId>,
) -> Answer {
    hub.store.revoke_enrollment(&by, &id).await?;
    Ok(reply::done())
}

/// Enrols a device with an enrolment token. A site's agent gets its own credential, shown this once.
#[utoipa::path(post, path = "/v1/enroll", tag = "enrolment", request_body = EnrollRequest, security(()),
    responses((status = 200, description = "Enrolled", body = EnrollReply)))]
pub(in crate::hub) async fn enroll(
    _: Stranger,
    State(hub): State<Context>,
    Body(mut request): Body<EnrollRequest>,
) -> Answer {
    limits::enroll(&mut request)?;
    let mut enrolled = hub.store.enroll(request).await?;
    if enrolled.kind == EnrollmentKind::Client {
        enrolled.profile = client_profile(&hub, &enrolled).await?;
    }
    reply::ok(&enrolled)
}

/// The profile of a client that just enrolled; none as long as its instance has no gateway.
async fn client_profile(hub: &Context, enrolled: &EnrollReply) -> Result<Option<String>, Refusal> {
    let by = Actor { who: "hub".to_owned(), token: None, role: None, scope: Scope::All };
    let peer = hub.store.peer(&by, &enrolled.peer).await?;
    let instance = hub.store.instance(&by, &enrolled.instance).await?;
    Ok(profile::conf(&peer, &instance).ok())
}
