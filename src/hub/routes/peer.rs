//! `/v1/peers`, and the peers of an instance.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::reply;
use crate::api::{
    InstanceId, NewPeer, Page, Peer, PeerEdit, PeerId, PeerKind, PeerStatus, ProfileFormat, SiteId, Usage,
};
use crate::hub::auth::{Operator, Viewer};
use crate::hub::problem::{Answer, Refusal};
use crate::hub::profile::{self, Picture};
use crate::hub::request::{Body, Id, IfMatch, New, Params, paging, search};
use crate::hub::state::Context;
use crate::hub::store::PeerFilter;

/// Which peers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct PeerParams {
    /// Only this instance's.
    #[param(inline)]
    instance: Option<InstanceId>,
    /// Only this site's.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9]{4,12}$")]
    site: Option<SiteId>,
    /// Only such.
    #[param(inline)]
    kind: Option<PeerKind>,
    /// Only such.
    #[param(inline)]
    status: Option<PeerStatus>,
    /// Part of a name: the peer's, its user, its site's, its instance's. Case does not matter.
    #[param(max_length = 128, pattern = "^[^\\x00]*$")]
    search: Option<String>,
    /// `next` of the page before.
    #[param(min_length = 1, max_length = 64)]
    cursor: Option<String>,
    /// Items in a page; 100 if it is missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Which peers of an instance.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct InstancePeerParams {
    /// Only such.
    #[param(inline)]
    kind: Option<PeerKind>,
    /// Only such.
    #[param(inline)]
    status: Option<PeerStatus>,
    /// Part of a name: the peer's, its user, its site's. Case does not matter.
    #[param(max_length = 128, pattern = "^[^\\x00]*$")]
    search: Option<String>,
    /// `next` of the page before.
    #[param(min_length = 1, max_length = 64)]
    cursor: Option<String>,
    /// Items in a page; 100 if it is missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// How a QR code is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::hub) enum Image {
    /// Lines: sharp at any size.
    #[default]
    Svg,
    /// Pixels.
    Png,
}

/// How a profile is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct ProfileParams {
    /// A `.conf` file, or a QR code of it.
    #[serde(default)]
    #[param(inline)]
    format: ProfileFormat,
    /// How the QR code is drawn.
    #[serde(default)]
    #[param(inline)]
    image: Image,
}

/// Lists peers of all instances, with what is known of their tunnels.
#[utoipa::path(get, path = "/v1/peers", tag = "peers", params(PeerParams),
    responses((status = 200, description = "A page of peers", body = Page<Peer>)))]
pub(in crate::hub) async fn list(
    caller: Viewer,
    State(hub): State<Context>,
    Params(params): Params<PeerParams>,
) -> Answer {
    let paging = paging(params.cursor, params.limit)?;
    let PeerParams { instance, site, kind, status, .. } = params;
    let filter = PeerFilter { instance, site, kind, status, search: search(params.search)? };
    reply::ok(&hub.store.peers(&caller.actor, &filter, &paging).await?)
}

/// Lists the peers of an instance.
#[utoipa::path(get, path = "/v1/instances/{id}/peers", tag = "peers",
    params(("id" = InstanceId, Path, description = "Whose"), InstancePeerParams),
    responses((status = 200, description = "A page of peers", body = Page<Peer>)))]
pub(in crate::hub) async fn list_of_instance(
    caller: Viewer,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
    Params(params): Params<InstancePeerParams>,
) -> Answer {
    let paging = paging(params.cursor, params.limit)?;
    let InstancePeerParams { kind, status, .. } = params;
    let filter = PeerFilter { instance: Some(id.clone()), site: None, kind, status, search: search(params.search)? };
    // An empty list would say that there is such an instance.
    hub.store.instance(&caller.actor, &id).await?;
    reply::ok(&hub.store.peers(&caller.actor, &filter, &paging).await?)
}

/// Makes a peer of an instance.
#[utoipa::path(post, path = "/v1/instances/{id}/peers", tag = "peers",
    params(("id" = InstanceId, Path, description = "Whose")), request_body = NewPeer,
    responses((status = 201, description = "Made", body = Peer)))]
pub(in crate::hub) async fn create(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
    new: New<NewPeer>,
) -> Answer {
    let made = hub.store.create_peer(&by, new.once.as_ref(), &id, new.value).await?;
    reply::created(&format!("/v1/peers/{}", made.id), Some(made.version), &made)
}

/// Reads a peer, with what is known of its tunnel.
#[utoipa::path(get, path = "/v1/peers/{id}", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    responses((status = 200, description = "The peer", body = Peer)))]
pub(in crate::hub) async fn one(caller: Viewer, State(hub): State<Context>, Id(id): Id<PeerId>) -> Answer {
    let peer = hub.store.peer(&caller.actor, &id).await?;
    reply::versioned(peer.version, &peer)
}

/// Changes a peer, live.
#[utoipa::path(patch, path = "/v1/peers/{id}", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    request_body = PeerEdit, responses((status = 200, description = "As it is now", body = Peer)))]
pub(in crate::hub) async fn edit(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<PeerId>,
    IfMatch(version): IfMatch,
    Body(edit): Body<PeerEdit>,
) -> Answer {
    let peer = hub.store.edit_peer(&by, &id, version, edit).await?;
    reply::versioned(peer.version, &peer)
}

/// Deletes a peer, its agent's credential and its enrolment tokens.
#[utoipa::path(delete, path = "/v1/peers/{id}", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    responses((status = 204, description = "Deleted")))]
pub(in crate::hub) async fn delete(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<PeerId>,
    IfMatch(version): IfMatch,
) -> Answer {
    hub.store.delete_peer(&by, &id, version).await?;
    Ok(reply::done())
}

/// Takes the credential of a site peer's agent back. The peer stays, and can be enrolled again.
#[utoipa::path(delete, path = "/v1/peers/{id}/credential", tag = "peers",
    params(("id" = PeerId, Path, description = "Whose")), responses((status = 204, description = "Taken back")))]
pub(in crate::hub) async fn revoke(Operator(by): Operator, State(hub): State<Context>, Id(id): Id<PeerId>) -> Answer {
    hub.store.revoke_agent(&by, &id).await?;
    Ok(reply::done())
}

/// Switches a peer on.
#[utoipa::path(post, path = "/v1/peers/{id}/enable", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Peer)))]
pub(in crate::hub) async fn enable(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<PeerId>,
    IfMatch(version): IfMatch,
) -> Answer {
    let edit = PeerEdit { enabled: Some(true), ..PeerEdit::default() };
    let peer = hub.store.edit_peer(&by, &id, version, edit).await?;
    reply::versioned(peer.version, &peer)
}

/// Switches a peer off; its configuration and address are kept.
#[utoipa::path(post, path = "/v1/peers/{id}/disable", tag = "peers",
    params(("id" = PeerId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Peer)))]
pub(in crate::hub) async fn disable(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<PeerId>,
    IfMatch(version): IfMatch,
) -> Answer {
    let edit = PeerEdit { enabled: Some(false), ..PeerEdit::default() };
    let peer = hub.store.edit_peer(&by, &id, version, edit).await?;
    reply::versioned(peer.version, &peer)
}

/// Traffic of a peer by month, newest first.
#[utoipa::path(get, path = "/v1/peers/{id}/usage", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    responses((status = 200, description = "At most 24 months", body = Vec<Usage>)))]
pub(in crate::hub) async fn usage(caller: Viewer, State(hub): State<Context>, Id(id): Id<PeerId>) -> Answer {
    reply::ok(&hub.store.peer_usage(&caller.actor, &id).await?)
}

/// A client peer's profile, with `[YOUR_PRIVATE_KEY]` where its private key belongs.
#[utoipa::path(get, path = "/v1/peers/{id}/profile", tag = "peers",
    params(("id" = PeerId, Path, description = "Which"), ProfileParams),
    responses((status = 200, description = "The profile", content(
        (String = "text/plain"), (String = "image/svg+xml"), (Vec<u8> = "image/png")))))]
pub(in crate::hub) async fn profile(
    caller: Viewer,
    State(hub): State<Context>,
    Id(id): Id<PeerId>,
    Params(params): Params<ProfileParams>,
) -> Answer {
    let peer = hub.store.peer(&caller.actor, &id).await?;
    let instance = hub.store.instance(&caller.actor, &peer.instance).await?;
    let conf = profile::conf(&peer, &instance)?;
    let (kind, body) = match (params.format, params.image) {
        (ProfileFormat::Conf, _) => ("text/plain; charset=utf-8", conf.into_bytes()),
        (ProfileFormat::Qr, Image::Svg) => ("image/svg+xml", profile::picture(&conf, Picture::Svg)?),
        (ProfileFormat::Qr, Image::Png) => ("image/png", profile::picture(&conf, Picture::Png)?),
    };
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response();
    if params.format == ProfileFormat::Conf {
        let named = format!("attachment; filename=\"{}.conf\"", profile::interface(&instance));
        let named = HeaderValue::from_str(&named).map_err(|_| Refusal::internal())?;
        response.headers_mut().insert(header::CONTENT_DISPOSITION, named);
    }
    Ok(response)
}
