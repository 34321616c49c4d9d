//! One router's turn: the command that does it for one router, with what it says passed on under the router's name.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::fleet::{FleetRouter, FleetSite};
use crate::cli::args::fleet::{FleetChange, Operation};
use crate::cli::args::{Fleet, HubSource, Plan, Provision, Remove, Source, Status, Subject, Write as Writing};
use crate::cli::failure::Failure;
use crate::cli::report::{Confirm, Mode, Outcome, Reporter, Tally, Verdict};
use crate::cli::uplink::credential::{CredentialFile, Kept};
use crate::cli::{plan, provision, remove, status};
use crate::reconcile::guard::When;
use crate::routeros::target::{Access, Deadlines};
use crate::uplink::{Hub, Trust};

/// How a router's turn ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its place in the order.
    pub(super) place: usize,
    /// What the command says of it.
    pub(super) result: Result<Outcome, Failure>,
    /// What was asked of the router.
    pub(super) tally: Tally,
    /// How long it took.
    pub(super) took: Duration,
}

/// Does what is to be done with one router; `outer` hears all of it.
///
/// # Cancel safety
/// As the command for one router.
pub(super) async fn turn(command: &Fleet, router: &FleetRouter, place: usize, outer: &Reporter) -> Ended {
    let said = Said::default();
    let inner = Reporter::to(Mode::Json, Box::new(said.clone()), Box::new(io::sink()));
    let begun = Instant::now();
    let work = async {
        let ended = carry_out(command, router, &inner).await.map_err(Failure::from);
        match &ended {
            Ok(outcome) => inner.finish(outcome),
            Err(failure) => inner.fail(failure),
        }
        ended
    };
    let result = Box::pin(said.passed_on(work, &router.name, outer)).await;
    Ended { place, result, tally: inner.tallied(), took: begun.elapsed() }
}

async fn carry_out(command: &Fleet, router: &FleetRouter, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let access = access(router).await?;
    let guard = command.change.as_ref().map_or_else(When::default, |change: &FleetChange| change.guard);
    // One question was asked for all of them.
    let write = Writing::Apply(Confirm::Given);
    match command.operation {
        Operation::Plan => plan::run(Plan { access, source: source(command, &router.site)? }, reporter).await,
        Operation::Provision { proof_timeout, max_removals } => {
            let source = source(command, &router.site)?;
            provision::run(Provision { access, source, write, guard, proof_timeout, max_removals }, reporter).await
        }
        Operation::Status => {
            let (subject, hub) = match source(command, &router.site)? {
                Source::File(site) => (Subject::Site(site), None),
                Source::Hub(hub) => (Subject::Only, Some(*hub)),
            };
            status::run(Status { access, subject, hub }, reporter).await
        }
        Operation::Remove => {
            remove::run(Remove { access, subject: subject(&router.site)?, write, guard }, reporter).await
        }
    }
}

/// The way in, with the password as it is now.
async fn access(router: &FleetRouter) -> Result<Access, Failure> {
    let no_password = |error| Failure::of(Verdict::Invalid, "no-password", &error, None);
    let password = router.password.obtain().await.map_err(no_password)?;
    let (url, trust, plaintext) = (router.url.clone(), router.trust.clone(), router.plaintext);
    Ok(Access { url, password, trust, plaintext, deadlines: Deadlines::default() })
}

fn source(command: &Fleet, site: &FleetSite) -> Result<Source, Failure> {
    match site {
        FleetSite::File(site) => Ok(Source::File(site.clone())),
        FleetSite::Hub { url, ca_file, credential } => {
            let file = CredentialFile { path: credential.clone(), hub: url.to_string() };
            let trust = ca_file.clone().map_or(Trust::Public, Trust::CaFile);
            let hub = Hub::new(url.clone(), &trust, None).map_err(anyhow::Error::from)?;
            Ok(Source::Hub(Box::new(HubSource { hub, file, token: None, timeout: command.hub_timeout })))
        }
    }
}

/// Whose rows go: of a site at a hub, those of its peer; the hub is not asked, which may have deleted it already.
fn subject(site: &FleetSite) -> Result<Subject, Failure> {
    let (url, credential) = match site {
        FleetSite::File(site) => return Ok(Subject::Site(site.clone())),
        FleetSite::Hub { url, credential, ca_file: _ } => (url, credential),
    };
    let file = CredentialFile { path: credential.clone(), hub: url.to_string() };
    let Kept::Enrolled(enrolled) = file.read()? else {
        let message = format!("there is no credential in {}: whose rows are to go is not known", file.path.display());
        return Err(Failure::usage("not-enrolled", message)
            .hint("sitepeer remove takes out the rows of the only site on a router"));
    };
    let wrong = |error| Failure::usage("credential-malformed", format!("{}: {error}", file.path.display()));
    enrolled.peer.as_str().parse().map(Subject::Id).map_err(wrong)
}

/// Lines of `--json` that one router's command wrote.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<VecDeque<Value>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A reporter writes whole lines.
        if let Ok(line) = serde_json::from_slice(bytes) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Said {
    /// Lets `work` go on to its end, and passes on what it says whenever it pauses: never more than that is kept.
    async fn passed_on<T>(&self, work: impl Future<Output = T>, router: &str, outer: &Reporter) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let polled: Poll<T> = work.as_mut().poll(context);
            let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            for line in lines {
                pass_on(line, router, outer);
            }
            polled
        })
        .await
    }
}

fn pass_on(line: Value, router: &str, outer: &Reporter) {
    if line.get("result").is_some() {
        return outer.object(&json!({"event": "router", "router": router, "ended": line}));
    }
    if line.get("event").is_some_and(|event| event == "warning") {
        let message = line.get("message").and_then(Value::as_str).unwrap_or_default();
        outer.note_for_people(&format!("warning: {router}: {message}"));
    }
    outer.object(&json!({"event": "router", "router": router, "says": line}));
}
