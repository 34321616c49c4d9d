//! `sitepeer render`: the plan for a clean router as a script to read, import or paste.

use super::args::Render;
use super::failure::Failure;
use super::report::{Outcome, Reporter, Verdict};
use crate::domain::{RouterOsVersion, Site};
use crate::reconcile::desired::{Value, desired_unseen};
use crate::reconcile::names::Names;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{Basis, Change, Op, plan};
use crate::render::{PlaceBefore, Script, ScriptCommand, Value as ScriptValue, script};

/// The oldest version we support: what it understands, all later ones do.
const WRITTEN_FOR: RouterOsVersion = RouterOsVersion::new(7, 12, 0);

/// Carries out `render`.
///
/// # Errors
/// An internal error, if a menu or field of ours has a name that RouterOS never uses.
pub fn run(command: Render, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Render { site, show_secrets } = command;
    let clean = Observed::new([]);
    let basis = Basis { site: &site.id, version: &WRITTEN_FOR, may_read_secrets: None };
    let plan = plan(basis, &desired_unseen(&site), &clean)
        .map_err(|_| Failure::internal("a router without rows has ambiguous ones"))?;
    let commands: Vec<ScriptCommand> = plan.ops.iter().filter_map(|op| row(op, show_secrets)).collect();
    let rows = commands.len();
    let text = script(&Script { header: header(&site, show_secrets), commands, done: done(&site) })?;
    reporter.data(&text);
    Ok(Outcome::new(Verdict::Rendered).detail("script", text).detail("changes", rows))
}

fn header(site: &Site, show_secrets: bool) -> Vec<String> {
    let mut lines = vec![
        format!(
            "sitepeer: site {} of instance {}, for a router that has none of its rows yet.",
            site.id, site.instance
        ),
        "For RouterOS 7.12 and later. Unlike `sitepeer provision` it checks nothing beforehand and proves nothing."
            .into(),
        "To take it out again: sitepeer remove".into(),
    ];
    if site.hub.preshared_key.is_some() {
        lines.push(if show_secrets {
            "It holds the preshared key: keep it as safe as that.".into()
        } else {
            "The preshared key is left out (--show-secrets writes it); until it is set there is no handshake.".into()
        });
    }
    lines
}

fn done(site: &Site) -> String {
    let Names { interface, .. } = Names::of(site);
    format!("sitepeer: done. Give the hub this router's public key: /interface/wireguard/print where name={interface}")
}

fn row(op: &Op, show_secrets: bool) -> Option<ScriptCommand> {
    let Change::Add { fields, comment, .. } = &op.change else { return None };
    let args = fields.iter().filter_map(|(name, value)| match value {
        Value::Plain(_) | Value::Bytes(_) => Some(((*name).to_owned(), ScriptValue::Text(value.to_string()))),
        Value::Secret(secret) if show_secrets => Some(((*name).to_owned(), ScriptValue::Secret(secret.clone()))),
        Value::Secret(_) => None,
    });
    let mut args: Vec<(String, ScriptValue)> = args.collect();
    args.push(("comment".to_owned(), ScriptValue::Text(comment.clone())));
    let chain = fields.iter().find(|(name, _)| *name == "chain").map(|(_, value)| value.to_string());
    // Before whatever stands in the chain: nobody looked which of its rules drop.
    let place_before = chain.filter(|_| op.menu.ordered).map(|chain| PlaceBefore {
        matching: vec![("chain".to_owned(), chain), ("dynamic".to_owned(), "no".to_owned())],
    });
    let path = op.menu.path.to_owned();
    Some(ScriptCommand { title: op.marker.to_string(), path, verb: "add".to_owned(), args, place_before })
}
