//! What `--json` writes keeps to the schemas.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sitepeer::api::Backend;
use sitepeer::cli::failure::Failure;
use sitepeer::cli::report::{
    Action, Change, Event, FieldChange, Mode, Outcome, Reporter, RoundTrips, ServingGateway, Step, Verdict,
};

use crate::schema::{assert_output, problems};

/// A stream that remembers what was written to it.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }
}

fn reporter(mode: Mode) -> (Reporter, Paper, Paper) {
    let (out, err) = (Paper::default(), Paper::default());
    (Reporter::to(mode, Box::new(out.clone()), Box::new(err.clone())), out, err)
}

/// One of each event.
fn events() -> Vec<Event> {
    let change = Change {
        action: Action::Set,
        menu: "/interface/wireguard/peers".into(),
        marker: "sitepeer:k3f9q2:peer".into(),
        reason: "edited by hand".into(),
        fields: vec![
            FieldChange {
                key: "endpoint-port".into(),
                from: Some("1".into()),
                to: Some("51820".into()),
                secret: false,
            },
            FieldChange { key: "preshared-key".into(), from: None, to: None, secret: true },
        ],
    };
    vec![
        Event::Step { step: Step::Connect, detail: "apis://admin@192.168.88.1".into() },
        Event::Change(change.clone()),
        Event::Written(change),
        Event::PublicKey {
            interface: "sitepeer-acme".into(),
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".into(),
        },
        Event::Listening {
            version: "7.24".into(),
            api: "127.0.0.1:8728".into(),
            api_ssl: Some("127.0.0.1:8729".into()),
            pin: Some(format!("sha256:{}", "0a".repeat(32))),
        },
        Event::Serving {
            url: "http://127.0.0.1:8443".into(),
            store: "SQLite in ./hub".into(),
            admin_token: Some("./hub/admin.token".into()),
            certificate: None,
            gateway: Some(ServingGateway {
                region: "default".into(),
                public_host: "127.0.0.1".into(),
                backend: Some(Backend::Rootless),
            }),
        },
        Event::Shown {
            act: "ping",
            subject: "ping".into(),
            detail: "192.168.88.10 -> 192.168.89.10".into(),
            figures: json!({"sent": 5, "received": 5, "rtt_us": 190}),
        },
        Event::Warning { code: "clock-behind", message: "the clock is behind".into(), hint: None },
        Event::Warning { code: "clock-behind", message: "the clock is behind".into(), hint: Some("set it".into()) },
    ]
}

#[test]
fn every_event_and_result_keeps_to_its_schema() {
    let (reporter, out, err) = reporter(Mode::Json);
    for event in events() {
        reporter.event(&event);
    }
    reporter.tally(|tally| {
        tally.writes = 12;
        tally.round_trips = RoundTrips { login: 1, read: 1, write: 2, verify: 1, prove: 7 };
    });
    let outcome = Outcome::new(Verdict::Converged)
        .say("converged")
        .detail("changes", 12)
        .detail("public_key", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=")
        .detail("proof", json!({"handshake_age_secs": 1, "probe": "10.99.0.1", "rtt_us": 20_000, "waited_ms": 900}));
    reporter.finish(&outcome);
    let result = assert_output("provision", &out.text());
    assert_eq!((&result["writes"], &result["round_trips"]), (&json!(12), &json!(12)));
    assert_eq!(err.text(), "", "with --json a run that succeeds says nothing on stderr");
}

#[test]
fn every_failure_keeps_to_every_command_s_schema() {
    let verdicts = [
        Verdict::Invalid,
        Verdict::Unreachable,
        Verdict::HubFailed,
        Verdict::Refused,
        Verdict::Rejected,
        Verdict::Pending,
        Verdict::Unproven,
        Verdict::Interrupted,
        Verdict::Terminated,
        Verdict::Failed,
    ];
    for command in ["provision", "plan", "status", "doctor", "remove", "rotate-key", "render", "sim", "demo", "hub"] {
        for verdict in verdicts {
            let (reporter, out, err) = reporter(Mode::Json);
            reporter.fail(&Failure::new(verdict, "a-code", "it failed").hint("do this"));
            let result = assert_output(command, &out.text());
            assert_eq!(result["exit"], json!(verdict.exit() as u8));
            assert_eq!(err.text(), "error: it failed\nhint: do this\n");
        }
    }
}

#[test]
fn the_schemas_refuse_what_is_not_documented() {
    let good = json!({"event": "step", "step": "read", "detail": "27 menus"});
    assert_eq!(problems("plan", &good), Vec::<String>::new());
    for bad in [
        json!({"event": "step", "step": "read"}),
        json!({"event": "step", "step": "dance", "detail": ""}),
        json!({"event": "step", "step": "read", "detail": "", "extra": 1}),
        json!({"event": "other"}),
        json!({"result": "converged"}),
        json!({}),
        Value::Null,
    ] {
        assert_ne!(problems("plan", &bad), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn people_read_the_same_without_json() {
    let (reporter, out, err) = reporter(Mode::People);
    for event in events() {
        reporter.event(&event);
    }
    reporter.finish(&Outcome::new(Verdict::Converged).say("converged: 12 rows written"));
    insta::assert_snapshot!(err.text());
    assert_eq!(out.text(), "", "stdout is for data");
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let reporter = Reporter::to(Mode::Json, Box::new(Gone), Box::new(Gone));
    for event in events() {
        reporter.event(&event);
    }
    reporter.note("still here");
    reporter.finish(&Outcome::new(Verdict::Converged));
    assert_eq!(reporter.tallied(), sitepeer::cli::report::Tally::default());
}
