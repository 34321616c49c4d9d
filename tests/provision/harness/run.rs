//! Commands run in this process, as their callers see them: events, result line, exit code.

use std::fmt;
use std::io::{self, Write};

use serde_json::Value;
use sitepeer::cli::args;
use sitepeer::cli::failure::Failure;
use sitepeer::cli::report::{Confirm, Mode, Outcome, Reporter};
use sitepeer::cli::{plan, provision, remove, status};
use sitepeer::domain::Secret;
use sitepeer::reconcile::guard::When;
use sitepeer::routeros::target::{Access, Deadlines, Plaintext};
use sitepeer::routeros::tls::Trust;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How a command ended.
pub struct Run {
    pub events: Vec<Value>,
    pub result: Value,
    pub stderr: String,
}

/// As it was said, line by line, but for the changes.
impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.events.iter().filter(|line| line["event"] != "change" && line["event"] != "written");
        told.chain([&self.result]).try_for_each(|line| writeln!(f, "{line}"))?;
        f.write_str(&self.stderr)
    }
}

impl Run {
    pub fn exit(&self) -> u64 {
        self.result["exit"].as_u64().unwrap()
    }

    /// Exit code and the word that stands for the reason.
    #[track_caller]
    pub fn failed(&self) -> (u64, &str) {
        (self.exit(), self.result["code"].as_str().unwrap_or_else(|| panic!("no code: {self:#?}")))
    }

    pub fn writes(&self) -> u64 {
        self.result["writes"].as_u64().unwrap()
    }

    pub fn round_trips(&self, of: &str) -> u64 {
        self.result["round_trips_by"][of].as_u64().unwrap()
    }

    /// All round trips but those of waiting for the proof.
    pub fn round_trips_but_proof(&self) -> u64 {
        self.result["round_trips"].as_u64().unwrap() - self.round_trips("prove")
    }

    #[track_caller]
    pub fn assert_result(&self, result: &str) {
        assert_eq!(self.result["result"], result, "{self:#?}");
    }

    /// The changes that were carried out: verb, menu, role and the names of the fields.
    pub fn written(&self) -> Vec<String> {
        self.changes("written")
    }

    /// The changes of the plan.
    pub fn planned(&self) -> Vec<String> {
        self.changes("change")
    }

    fn changes(&self, kind: &str) -> Vec<String> {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let line = |event: &Value| {
            let keys: Vec<String> = event["fields"].as_array().unwrap().iter().map(|f| word(&f["key"])).collect();
            let role = word(&event["marker"]).splitn(3, ':').nth(2).unwrap().to_owned();
            format!("{} {} {role} {}", word(&event["action"]), word(&event["menu"]), keys.join(",")).trim().to_owned()
        };
        self.events.iter().filter(|event| event["event"] == kind).map(line).collect()
    }

    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self.events.iter().filter(|event| event["event"] == "warning");
        warnings.map(|event| event["code"].as_str().unwrap()).collect()
    }

    /// The likely causes of a proof that failed, likeliest first.
    #[track_caller]
    pub fn causes(&self) -> Vec<&str> {
        let causes = self.result["causes"].as_array().unwrap_or_else(|| panic!("no causes: {self:#?}"));
        causes.iter().map(|cause| cause["code"].as_str().unwrap()).collect()
    }
}

/// Access to a router on loopback by the plain API.
pub fn access(user: &str, password: &str, address: std::net::SocketAddr) -> Access {
    Access {
        url: format!("api://{user}@{address}").parse().unwrap(),
        password: Secret::new(password.to_owned()),
        trust: Trust::None,
        plaintext: Plaintext::Refuse,
        deadlines: Deadlines::default(),
    }
}

/// What a command says, piece by piece.
struct Pieces(UnboundedSender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command up to its end, and lets `heard` know of every event as it comes.
pub async fn carry_out(
    command: impl AsyncFnOnce(&Reporter) -> anyhow::Result<Outcome>,
    mut heard: impl AsyncFnMut(&Value),
) -> Run {
    let ((out, said), (err, shown)) = (unbounded_channel(), unbounded_channel());
    let running = async {
        let reporter = Reporter::to(Mode::Json, Box::new(Pieces(out)), Box::new(Pieces(err)));
        match command(&reporter).await {
            Ok(outcome) => reporter.finish(&outcome),
            Err(error) => reporter.fail(&Failure::from(error)),
        }
    };
    let listening = async {
        let (mut said, mut events, mut line) = (said, Vec::new(), Vec::new());
        while let Some(piece) = said.recv().await {
            line.extend(piece);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let event: Value = serde_json::from_slice(&line.drain(..=end).collect::<Vec<u8>>()).unwrap();
                heard(&event).await;
                events.push(event);
            }
        }
        assert!(line.is_empty(), "half a line at the end");
        events
    };
    let ((), mut events) = tokio::join!(running, listening);
    let result = events.pop().expect("there is a result");
    assert!(result.get("result").is_some(), "the last line is the result: {result}");
    Run { events, result, stderr: gathered(shown) }
}

/// Runs a command as at a terminal and returns all it shows.
pub async fn for_people(command: impl AsyncFnOnce(&Reporter) -> anyhow::Result<Outcome>) -> String {
    let (pieces, shown) = unbounded_channel();
    let reporter = Reporter::to(Mode::People, Box::new(Pieces(pieces.clone())), Box::new(Pieces(pieces)));
    match command(&reporter).await {
        Ok(outcome) => reporter.finish(&outcome),
        Err(error) => reporter.fail(&Failure::from(error)),
    }
    drop(reporter);
    gathered(shown)
}

fn gathered(mut pieces: UnboundedReceiver<Vec<u8>>) -> String {
    let mut bytes = Vec::new();
    while let Ok(piece) = pieces.try_recv() {
        bytes.extend(piece);
    }
    String::from_utf8(bytes).unwrap()
}

/// As `--site` gives it.
pub fn from_file(site: sitepeer::domain::Site) -> args::Source {
    args::Source::File(Box::new(site))
}

/// `provision --yes`, with what may be changed about it.
pub fn provision_of(access: Access, site: sitepeer::domain::Site) -> args::Provision {
    args::Provision {
        access,
        source: from_file(site),
        write: args::Write::Apply(Confirm::Given),
        proof_timeout: crate::world::LONG_PROOF,
        max_removals: 10,
        guard: When::default(),
    }
}

pub async fn provision(command: args::Provision, heard: impl AsyncFnMut(&Value)) -> Run {
    carry_out(async |reporter| provision::run(command, reporter).await, heard).await
}

pub async fn plan(command: args::Plan) -> Run {
    carry_out(async |reporter| plan::run(command, reporter).await, async |_| {}).await
}

pub async fn status(command: args::Status) -> Run {
    carry_out(async |reporter| status::run(command, reporter).await, async |_| {}).await
}

pub async fn remove(access: Access, subject: args::Subject) -> Run {
    let command = args::Remove { access, subject, write: args::Write::Apply(Confirm::Given), guard: When::default() };
    carry_out(async |reporter| remove::run(command, reporter).await, async |_| {}).await
}
