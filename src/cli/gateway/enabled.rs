//! `sitepeer gateway` on the data planes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::Backend;
use crate::cli::args::{Gateway, GatewayServe};
use crate::cli::failure::Failure;
use crate::cli::process;
use crate::cli::report::{Event, Outcome, Reporter, Verdict};
use crate::gateway::disk::StateDir;
use crate::gateway::plane::probe::{self, Finding, Findings, PartState};
use crate::gateway::plane::rootless::Rootless;
use crate::gateway::plane::{Planes, Rooted};
use crate::gateway::{self, GatewayError, GatewayOptions};

/// Serves until it is told to stop, or looks at the host.
///
/// # Errors
/// [`GatewayError`]; a [`Failure`] if the host lacks what the wanted backend needs.
pub async fn run(command: Gateway, reporter: &Reporter) -> anyhow::Result<Outcome> {
    match command {
        Gateway::Serve(serve) => serve_until_stopped(*serve, reporter).await,
        Gateway::Doctor(wanted) => Ok(doctor(wanted).await),
    }
}

async fn serve_until_stopped(command: GatewayServe, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let signal = process::stop_signal();
    let stop = async {
        signal.await;
    };
    serve(command, stop, reporter).await?;
    Ok(Outcome::new(Verdict::Done).say("stopped; what a kernel serves goes on"))
}

/// Serves until `stop`: as a process of its own, or beside a hub in the hub's.
///
/// # Errors
/// As [`run`].
pub async fn serve(serve: GatewayServe, stop: impl Future<Output = ()>, reporter: &Reporter) -> anyhow::Result<()> {
    let planes = planes(&serve, reporter).await?;
    let options = GatewayOptions {
        hub: serve.hub,
        planes,
        state_dir: serve.state_dir,
        name: serve.name,
        region: serve.region,
        public_host: serve.public_host,
        report_every: serve.report_every,
    };
    Ok(gateway::run(options, stop).await.map_err(failure)?)
}

/// Makes the planes of the backend that is wanted, or of the best one that this host can serve.
async fn planes(serve: &GatewayServe, reporter: &Reporter) -> anyhow::Result<Arc<dyn Planes>> {
    let backend = match serve.backend {
        Some(Backend::Rootless) => Backend::Rootless,
        wanted => probe::probe().await.choose(wanted).map_err(|error| lacks(&error))?,
    };
    if backend == Backend::Rootless {
        if serve.backend.is_none() {
            reporter.event(&Event::Warning {
                code: "rootless",
                message: "this host serves no rooted backend: peers reach each other, and nothing beyond this gateway"
                    .into(),
                hint: Some("sitepeer gateway doctor says what is missing".into()),
            });
        }
        return Ok(Arc::new(Rootless::new(serve.bind)));
    }
    // What is on the host is marked with the word of this installation. It is locked again at once by whoever serves.
    let install = StateDir::open(&serve.state_dir).map_err(|error| failure(error.into()))?.install().to_owned();
    let beyond = serve.egress_allow.clone();
    Ok(Arc::new(Rooted::new(backend, &install, beyond).map_err(|error| lacks(&error))?))
}

async fn doctor(wanted: Option<Backend>) -> Outcome {
    let findings = probe::probe().await;
    let serves = |backend: Backend| findings.lacking(backend).is_empty();
    let good = match wanted {
        Some(backend) => serves(backend),
        None => serves(Backend::Kernel) || serves(Backend::Userspace),
    };
    let mut outcome = Outcome::new(if good { Verdict::Done } else { Verdict::Pending });
    for finding in &findings.0 {
        outcome = outcome.say(line(finding));
        if let Some(hint) = finding.hint {
            outcome = outcome.say(format!("  hint: {hint}"));
        }
    }
    let word = |backend| if serves(backend) { "yes" } else { "no" };
    let (kernel, userspace) = (word(Backend::Kernel), word(Backend::Userspace));
    outcome
        .say(format!("backends: kernel {kernel}, userspace {userspace}, rootless yes"))
        .detail("findings", Value::Array(findings.0.iter().map(row).collect()))
        .detail("backends", backends(&findings))
}

fn line(finding: &Finding) -> String {
    format!("{:<9} {}: {}", word(finding.state), finding.part, finding.detail)
}

fn row(finding: &Finding) -> Value {
    json!({
        "code": finding.code,
        "part": finding.part,
        "state": word(finding.state),
        "detail": finding.detail,
        "hint": finding.hint,
    })
}

fn backends(findings: &Findings) -> Value {
    let served = |backend: Backend| findings.lacking(backend).is_empty();
    json!({ "kernel": served(Backend::Kernel), "userspace": served(Backend::Userspace), "rootless": true })
}

fn word(state: PartState) -> &'static str {
    match state {
        PartState::Works => "works",
        PartState::Look => "look",
        PartState::Lacking => "lacking",
        PartState::NotTried => "not-tried",
    }
}

fn failure(error: GatewayError) -> Failure {
    let hint = error.hint();
    match &error {
        GatewayError::Disk(_) => Failure::of(Verdict::Failed, "gateway-state", &error, hint),
        GatewayError::Refused(_) => Failure::of(Verdict::HubFailed, "hub-refused", &error, hint),
        GatewayError::Plane(_) => Failure::of(Verdict::Failed, "gateway-plane", &error, hint),
    }
}

fn lacks(error: &gateway::plane::PlaneError) -> Failure {
    let hint = "sitepeer gateway doctor says what is missing and how to get it".to_owned();
    Failure::of(Verdict::Pending, "gateway-host", error, Some(hint))
}
