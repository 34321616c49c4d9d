//! Who drives a site's router: its own agent, or the proxies of a group, and never both.
//!
//! The two would write in turn what each was told, with a key each. Whoever comes second is refused, in the change that would have
//! let it in: both hold the site's row. A credential counts from when it was given out, used or not, until it is taken back: nobody
//! can tell an agent that is away for a week from one that is gone.

use super::check::conflict;
use super::db::{RowExt as _, Run as _, Tx, q};
use super::site;
use crate::api::{PeerId, SiteId, code};
use crate::hub::store::Stored;

/// Refuses proxies where an agent drives the router. The site's row is held.
pub(super) async fn no_agent(tx: &mut Tx, site: &SiteId, group: &str) -> Stored<()> {
    let agents = q!(
        "SELECT p.id, p.name FROM peer p JOIN credential c ON c.peer = p.id \
         WHERE p.site = $1 AND c.revoked_at IS NULL ORDER BY p.id LIMIT 1",
        site.as_str()
    );
    let Some(row) = agents.maybe(tx).await? else { return Ok(()) };
    let (peer, name) = (row.text("id")?, row.text("name")?);
    let detail = format!(
        "the router of site {site} is driven by the agent of peer {peer} ({name}): the proxies of group {group} would be a second driver"
    );
    let way =
        format!("stop that agent and run `sitepeer hub peer revoke {peer}`, then assign the site to its proxies again");
    Err(conflict("group", detail, code::DRIVEN).hint(&way))
}

/// Refuses an agent where proxies drive the router, and holds the site's row.
pub(super) async fn no_proxies(tx: &mut Tx, peer: &PeerId, site: &SiteId) -> Stored<()> {
    site::lock(tx, site).await?;
    let row = q!("SELECT proxy FROM site WHERE id = $1", site.as_str()).maybe(tx).await?;
    let Some(group) = row.map(|row| row.opt_text("proxy")).transpose()?.flatten() else { return Ok(()) };
    let detail = format!(
        "the router of site {site} is driven by the proxies of group {group}: an agent of peer {peer} would be a second driver"
    );
    let way = format!("run `sitepeer hub site unassign {site}` first, then enrol again");
    Err(conflict("token", detail, code::DRIVEN).hint(&way))
}
