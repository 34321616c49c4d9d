//! A hub that says what a test wrote for it, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Longest wait for a request that was begun.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /v1/instances?limit=1000`
    pub line: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// Null where there was none.
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
}

impl Answer {
    pub fn json(body: &Value) -> Self {
        Self { status: 200, kind: "application/json", body: body.to_string() }
    }

    pub fn made(body: &Value) -> Self {
        Self { status: 201, ..Self::json(body) }
    }

    pub fn list(items: &[Value]) -> Self {
        Self::json(&json!({"items": items}))
    }

    pub fn text(text: &str) -> Self {
        Self { status: 200, kind: "text/plain; charset=utf-8", body: text.to_owned() }
    }

    pub fn nothing() -> Self {
        Self { status: 204, kind: "", body: String::new() }
    }

    pub fn problem(status: u16, code: &str, detail: &str, hint: Option<&str>) -> Self {
        let body = json!({"type": "about:blank", "title": "no", "status": status, "detail": detail, "code": code,
            "hint": hint, "field": null});
        Self { status, kind: "application/problem+json", body: body.to_string() }
    }

    pub fn missing() -> Self {
        Self::problem(404, "not-found", "there is no such thing", None)
    }
}

/// A hub on a port of its own; its thread ends with the test's process.
pub struct FakeHub {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeHub {
    /// Answers every request as `script` says.
    pub fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&asked), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                let stream = stream.expect("a connection");
                thread::spawn(move || serve(&stream, &log, script.as_ref()));
            }
        });
        Self { url, asked }
    }

    /// Answers by the request line up to its query; everything else is a 404.
    pub fn with(answers: Vec<(&'static str, Answer)>) -> Self {
        Self::start(move |asked| {
            let line = asked.line.split('?').next().unwrap_or_default();
            let found = answers.iter().find(|(wanted, _)| *wanted == line);
            found.map_or_else(Answer::missing, |(_, answer)| answer.clone())
        })
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The first request of this method and path.
    #[track_caller]
    pub fn asked_for(&self, line: &str) -> Asked {
        let asked = self.asked();
        let found = asked.iter().find(|asked| asked.line.split('?').next() == Some(line));
        found.cloned().unwrap_or_else(|| panic!("{line} was not asked: {asked:#?}"))
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<Asked>>, script: &dyn Fn(&Asked) -> Answer) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let answer = script(&asked);
        log.lock().expect("no panic").push(asked);
        let kind = if answer.kind.is_empty() { String::new() } else { format!("content-type: {}\r\n", answer.kind) };
        let length =
            if answer.status == 204 { String::new() } else { format!("content-length: {}\r\n", answer.body.len()) };
        let head = format!("HTTP/1.1 {} x\r\n{kind}{length}\r\n", answer.status);
        let mut stream = stream;
        if stream.write_all((head + &answer.body).as_bytes()).is_err() {
            return;
        }
    }
}

/// The next request; `None` once the other side is done.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
    Some(Asked { line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), headers, body })
}
