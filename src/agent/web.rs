//! `/healthz` and `/metrics`, for this machine: the least of HTTP/1.1 that a scraper and a health check speak.
//!
//! One request a connection, no body, no keep-alive. The small agent has no HTTP server otherwise, and has no room for one.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::standing::{Figures, Phase, Roll, Standing, metrics};

/// Largest head of a request in bytes: a scraper's is a fifth of it.
const MAX_HEAD: usize = 4 * 1024;
/// How long a request may take, its answer included.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most connections at once: a scraper and a health check or two.
const MAX_CONNECTIONS: usize = 16;
/// Most routers whose last step of healing is told: a screen.
const MAX_LAST_HEALS: usize = 20;
/// After the system refused a connection: trying at once again would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers on one address.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
    address: SocketAddr,
}

impl Web {
    /// Listens; answers nobody yet.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    ///
    /// # Cancel safety
    /// Requests under way are answered or cut within seconds.
    pub async fn serve(self, roll: Roll) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let roll = roll.clone();
                    tokio::spawn(async move {
                        // Whoever asked may be gone by now.
                        let _answered = tokio::time::timeout(DEADLINE, answer(stream, &roll)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the system gives no connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, roll: &Roll) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let answer = match path(&head) {
        Ok("/healthz") => whole("200 OK", "application/json", &health(&roll.all())),
        Ok("/metrics") => whole("200 OK", "text/plain; version=0.0.4", &metrics(&roll.all())),
        Ok(_) => whole("404 Not Found", "text/plain", "there are /healthz and /metrics\n"),
        Err(status) => whole(status, "text/plain", "only GET is answered here\n"),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads up to the empty line.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 || head.len() + read > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&part[..read]);
    }
    Ok(head)
}

/// The path that is asked for, or the status that says why not.
fn path(head: &[u8]) -> Result<&str, &'static str> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| "400 Bad Request")?;
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("GET"), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) if target.starts_with('/') => {
            Ok(target.split('?').next().unwrap_or(target))
        }
        (Some(method), Some(_), Some("HTTP/1.1" | "HTTP/1.0")) if method != "GET" => Err("405 Method Not Allowed"),
        _ => Err("400 Bad Request"),
    }
}

fn whole(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// That this answers says that the agent lives; the figures say how its routers stand.
fn health(standings: &[Standing]) -> String {
    let all: Vec<_> = standings.iter().map(Standing::figures).collect();
    let mut text = format!("{{\"routers\":{},\"away\":{}", all.len(), all.iter().filter(|one| one.is_away).count());
    for phase in Phase::ALL {
        // Writing to a text does not fail.
        let _written = write!(text, ",\"{}\":{}", phase.word(), all.iter().filter(|one| one.phase == phase).count());
    }
    let sum = |of: fn(&Figures) -> u64| all.iter().map(of).sum::<u64>();
    let _written = write!(text, ",\"heals\":{},\"healed\":{},", sum(|one| one.heals), sum(|one| one.healed));
    text + "\"last_heals\":[" + &last_heals(standings).join(",") + "]}\n"
}

/// Which routers were healed last, the newest first.
fn last_heals(standings: &[Standing]) -> Vec<String> {
    let mut last: Vec<_> =
        standings.iter().filter_map(|one| one.figures().last_heal.map(|(step, at)| (at, step, one.name()))).collect();
    last.sort_unstable_by_key(|(at, _, name)| (std::cmp::Reverse(*at), *name));
    let shown = last.into_iter().take(MAX_LAST_HEALS);
    shown
        .map(|(at, step, router)| serde_json::json!({ "router": router, "step": step, "at": at }).to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_of_http_1_has_a_path() {
        assert_eq!(path(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), Ok("/metrics"));
        assert_eq!(path(b"POST /metrics HTTP/1.1\r\n\r\n"), Err("405 Method Not Allowed"));
        for head in
            [&b"GET /metrics\r\n\r\n"[..], b"\r\n\r\n", b"\xff\xfe / HTTP/1.1\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n"]
        {
            assert_eq!(path(head), Err("400 Bad Request"), "{head:?}");
        }
    }

    #[tokio::test]
    async fn health_and_metrics_are_answered_and_a_head_without_end_is_cut() {
        let web = Web::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = web.local_addr();
        let roll = Roll::default();
        roll.enter(Standing::new("one"));
        let serving = tokio::spawn(web.serve(roll));
        let ask = |request: Vec<u8>| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // It may have been cut off already.
            let _sent = stream.write_all(&request).await;
            let mut answer = Vec::new();
            let _read = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        };
        let health = ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()).await;
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
        assert!(
            health.ends_with(
                "{\"routers\":1,\"away\":0,\"waiting\":1,\"connecting\":0,\"working\":0,\"watching\":0,\"frozen\":0,\"refused\":0,\"heals\":0,\"healed\":0,\"last_heals\":[]}\n"
            ),
            "{health}"
        );
        let metrics = ask(b"GET /metrics HTTP/1.0\r\n\r\n".to_vec()).await;
        assert!(metrics.contains("sitepeer_agent_rounds_total{router=\"one\"} 0\n"), "{metrics}");
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n".to_vec()).await.starts_with("HTTP/1.1 404 "));
        assert_eq!(ask(vec![b'a'; 2 * MAX_HEAD]).await, "");
        serving.abort();
    }
}
