//! `sitepeer hub enrollment`.

use super::api::{Api, Asked};
use super::find::choose;
use super::instance::{json_of, listed};
use super::secret::SecretPlace;
use super::text::{Column, Table, now, since, when, word};
use crate::api::{Enrollment, EnrollmentKind, EnrollmentMade, NewEnrollment};
use crate::cli::args::hub::EnrollmentAction;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::uplink::encode;

/// Carries out `enrollment …`.
pub(super) async fn run(api: &Api, action: EnrollmentAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        EnrollmentAction::Create { peer, ttl_secs, uses, to } => {
            let place = SecretPlace::open(to)?;
            let peer = api.peer(&peer).await?;
            let new = NewEnrollment { peer: peer.id.clone(), ttl_secs, uses };
            let made: EnrollmentMade = api.create("/v1/enrollments", &new).await?;
            let about = &made.enrollment;
            let file = place.file_argument();
            let next = match about.kind {
                EnrollmentKind::Site => {
                    format!("sitepeer provision --router URL --hub {} --token-file {file}", api.url)
                }
                EnrollmentKind::Client => {
                    format!("sitepeer client-key --hub {} --token-file {file} --out PROFILE", api.url)
                }
            };
            let outcome = Outcome::new(Verdict::Done)
                .say(format!("made an enrolment token for peer {}/{} ({})", peer.instance_name, peer.name, peer.id))
                .say(format!(
                    "good until {}, {} of {} uses left",
                    when(about.expires_at, now()),
                    left(about),
                    about.uses
                ))
                .say(format!("next, where the device is: {next}"))
                .detail("enrollment", json_of(about));
            place.keep(&made.token, outcome, reporter)
        }
        EnrollmentAction::List => list(api, reporter).await,
        EnrollmentAction::Revoke(wanted) => {
            let all: Vec<Enrollment> = api.all("/v1/enrollments", &[]).await?;
            let found = choose(all, &wanted)?;
            api.delete(&format!("/v1/enrollments/{}", encode(found.id.as_str()))).await?;
            Ok(Outcome::new(Verdict::Done)
                .say(format!("took enrolment token {} back; who enrolled with it stays", found.id))
                .detail("deleted", found.id.as_str()))
        }
    }
}

fn left(enrollment: &Enrollment) -> u32 {
    enrollment.uses.saturating_sub(enrollment.used)
}

async fn list(api: &Api, reporter: &Reporter) -> Asked<Outcome> {
    let all: Vec<Enrollment> = api.all("/v1/enrollments", &[]).await?;
    let now = now();
    let columns = [
        Column::whole("ID"),
        Column::whole("KIND"),
        Column::whole("PEER"),
        Column::whole("STATE"),
        Column::whole("USED"),
        Column::whole("MADE"),
        Column::whole("EXPIRES"),
    ];
    let rows = all.iter().map(|enrollment| {
        [
            enrollment.id.to_string(),
            word(&enrollment.kind),
            enrollment.peer.to_string(),
            word(&enrollment.state),
            format!("{}/{}", enrollment.used, enrollment.uses),
            since(enrollment.created_at, now),
            since(enrollment.expires_at, now),
        ]
    });
    reporter.data(&Table::new(columns, rows).text());
    Ok(listed("enrollments", "sitepeer hub enrollment create PEER --out FILE makes one", &all))
}
