//! Pings: from the router itself as `/tool/ping` sends them, and from a host behind it.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::router::{Answer, Pinger, SharedRouter};
use crate::wireguard::packet::{DEFAULT_TTL, IpPacket, Problem};

/// How long an echo reply is waited for, as RouterOS waits by default.
const REPLY_DEADLINE: Duration = Duration::from_secs(1);

/// Replies that may wait for the one who reads them; a slow reader slows the ping.
pub(super) const REPLY_QUEUE: usize = 8;

/// Size of a LAN host's echo request in bytes, IP header included: what `ping` sends on most systems.
const HOST_PING_SIZE: u16 = 84;

/// A ping from the router itself.
#[derive(Debug, Clone)]
pub struct PingRequest {
    /// Whom to ask.
    pub to: IpAddr,
    /// How many requests; `None` goes on until the receiver is dropped.
    pub count: Option<u32>,
    /// From one request to the next.
    pub interval: Duration,
    /// Size of a request in bytes, IP header included (RouterOS: 56 by default).
    pub size: u16,
    /// The source address; `None` takes that of the outgoing interface.
    pub source: Option<IpAddr>,
    /// The requests' TTL.
    pub ttl: u8,
}

impl PingRequest {
    /// Asks an address with RouterOS's defaults: 56 bytes, every second, without end.
    #[must_use]
    pub fn new(to: IpAddr) -> Self {
        Self { to, count: None, interval: Duration::from_secs(1), size: 56, source: None, ttl: DEFAULT_TTL }
    }
}

/// What came of one echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingStatus {
    /// It was answered.
    Reply {
        /// TTL of the reply as it arrived.
        ttl: u8,
        /// Size of the reply in bytes, IP header included.
        size: usize,
    },
    /// No answer in time.
    Timeout,
    /// The router has no route to the address.
    NoRoute,
    /// A router on the way has no route.
    NetUnreachable,
    /// A router on the way cannot reach the host.
    HostUnreachable,
    /// A firewall on the way refused it.
    Prohibited,
    /// The TTL ran out on the way.
    TtlExceeded,
    /// Too long for a link on the way.
    TooBig,
}

impl PingStatus {
    /// The word in the `status` field of a ping row; `None` for a reply, which has no such field.
    ///
    /// *Source*: `timeout` from `transcripts/` (FACTS.md §2); the others are not observed, from memory of RouterOS's terminal.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Reply { .. } => return None,
            Self::Timeout => "timeout",
            Self::NoRoute => "no route to host",
            Self::NetUnreachable => "net unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::Prohibited => "packet rejected",
            Self::TtlExceeded => "TTL exceeded",
            Self::TooBig => "packet too large and cannot be fragmented",
        })
    }
}

impl From<Problem> for PingStatus {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NetUnreachable => Self::NetUnreachable,
            Problem::HostUnreachable => Self::HostUnreachable,
            Problem::Prohibited => Self::Prohibited,
            Problem::TtlExceeded => Self::TtlExceeded,
            Problem::TooBig { .. } => Self::TooBig,
        }
    }
}

/// One echo request's end, and the figures so far.
#[derive(Debug, Clone)]
pub struct PingReply {
    /// Number of the request, from 0.
    pub seq: u32,
    /// Who answered; the address asked, if nobody did.
    pub host: IpAddr,
    /// What came of it.
    pub status: PingStatus,
    /// Time from request to reply; only for a reply.
    pub rtt: Option<Duration>,
    /// The figures up to this request.
    pub summary: PingSummary,
}

/// The figures of a series of pings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PingSummary {
    /// Requests sent.
    pub sent: u32,
    /// Replies received.
    pub received: u32,
    /// Shortest round trip.
    pub min: Option<Duration>,
    /// Longest round trip.
    pub max: Option<Duration>,
    /// Sum of all round trips.
    total: Duration,
    /// What became of the last request that was not answered.
    pub last_failure: Option<PingStatus>,
}

impl PingSummary {
    /// Mean round trip, if there was any.
    #[must_use]
    pub fn avg(&self) -> Option<Duration> {
        self.total.checked_div(self.received)
    }

    /// Requests without reply, in percent, rounded down.
    #[must_use]
    pub fn loss_percent(&self) -> u32 {
        (self.sent - self.received) * 100 / self.sent.max(1)
    }

    fn count(&mut self, status: PingStatus, rtt: Option<Duration>) {
        self.sent += 1;
        let Some(rtt) = rtt else {
            self.last_failure = Some(status);
            return;
        };
        self.received += 1;
        self.total += rtt;
        self.min = Some(self.min.map_or(rtt, |min| min.min(rtt)));
        self.max = Some(self.max.map_or(rtt, |max| max.max(rtt)));
    }
}

/// Somebody who pings, with his answers.
struct Series {
    router: SharedRouter,
    pinger: Pinger,
    id: u16,
    answers: mpsc::Receiver<Answer>,
    summary: PingSummary,
}

impl Series {
    fn new(router: &SharedRouter, pinger: Pinger) -> Self {
        let (id, answers) = router.lock().register(pinger);
        Self { router: router.clone(), pinger, id, answers, summary: PingSummary::default() }
    }

    /// Sends one request and waits for its end.
    async fn ask(&mut self, request: &PingRequest, seq: u32) -> PingReply {
        let sent = Instant::now();
        // The number on the wire has 16 bits and wraps.
        let number = u16::try_from(seq & u32::from(u16::MAX)).unwrap_or_default();
        let answer = match self.send(request, number) {
            Ok(()) => self.answer(number, sent + REPLY_DEADLINE).await,
            Err(status) => Some(Answer { seq: number, from: request.to, status, at: sent }),
        };
        let (host, status, at) =
            answer.map_or((request.to, PingStatus::Timeout, sent), |answer| (answer.from, answer.status, answer.at));
        let replied = matches!(status, PingStatus::Reply { .. });
        let rtt = replied.then(|| at.duration_since(sent));
        self.summary.count(status, rtt);
        PingReply { seq, host, status, rtt, summary: self.summary }
    }

    fn send(&self, request: &PingRequest, seq: u16) -> Result<(), PingStatus> {
        let mut router = self.router.lock();
        let source = match self.pinger {
            Pinger::Host(host) => host,
            Pinger::Router => {
                let towards = router.source_towards(request.to).ok_or(PingStatus::NoRoute)?;
                request.source.unwrap_or(towards)
            }
        };
        let (echo, size) = ((self.id, seq), usize::from(request.size));
        let packet = IpPacket::echo_request(source, request.to, request.ttl, echo, size).ok_or(PingStatus::NoRoute)?;
        let sent = match self.pinger {
            Pinger::Host(host) => router.send_from_host(host, packet),
            Pinger::Router => router.send(packet),
        };
        sent.then_some(()).ok_or(PingStatus::NoRoute)
    }

    /// Waits for the answer with a number; earlier ones are late and count as lost.
    async fn answer(&mut self, seq: u16, deadline: Instant) -> Option<Answer> {
        loop {
            let answer = timeout_at(deadline, self.answers.recv()).await.ok()??;
            if answer.seq == seq {
                return Some(answer);
            }
        }
    }
}

/// Pings from the router until the count is reached or nobody reads the replies any more.
pub(super) async fn from_router(router: SharedRouter, request: PingRequest, replies: mpsc::Sender<PingReply>) {
    let mut series = Series::new(&router, Pinger::Router);
    for seq in 0..request.count.unwrap_or(u32::MAX) {
        let next = Instant::now() + request.interval;
        let reply = tokio::select! {
            reply = series.ask(&request, seq) => reply,
            () = replies.closed() => return,
        };
        if replies.send(reply).await.is_err() {
            return;
        }
        if Some(seq + 1) == request.count {
            return;
        }
        tokio::select! {
            () = sleep_until(next) => {}
            () = replies.closed() => return,
        }
    }
}

/// Pings from a LAN host, each request as soon as the one before has ended.
pub(super) async fn from_host(router: &SharedRouter, host: IpAddr, to: IpAddr, count: u32) -> PingSummary {
    let request = PingRequest { size: HOST_PING_SIZE, ..PingRequest::new(to) };
    let mut series = Series::new(router, Pinger::Host(host));
    for seq in 0..count {
        series.ask(&request, seq).await;
    }
    series.summary
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn dropping_the_receiver_ends_an_endless_ping_between_two_requests() {
        let (sender, mut replies) = mpsc::channel(REPLY_QUEUE);
        let request = PingRequest { interval: HOUR, ..PingRequest::new([192, 0, 2, 1].into()) };
        let ping = tokio::spawn(from_router(SharedRouter::new(Vec::new()), request, sender));
        assert_eq!(replies.recv().await.unwrap().status, PingStatus::NoRoute);
        drop(replies);
        timeout(Duration::from_secs(5), ping).await.expect("the ping ends").unwrap();
    }

    #[test]
    fn a_summary_counts_losses_and_bounds_the_round_trips() {
        let mut summary = PingSummary::default();
        assert_eq!((summary.avg(), summary.loss_percent()), (None, 0));
        let reply = PingStatus::Reply { ttl: 64, size: 56 };
        summary.count(reply, Some(Duration::from_millis(1)));
        summary.count(PingStatus::Timeout, None);
        summary.count(reply, Some(Duration::from_millis(3)));
        assert_eq!((summary.sent, summary.received, summary.loss_percent()), (3, 2, 33));
        assert_eq!(summary.min, Some(Duration::from_millis(1)));
        assert_eq!(summary.avg(), Some(Duration::from_millis(2)));
        assert_eq!(summary.max, Some(Duration::from_millis(3)));
        assert_eq!(summary.last_failure, Some(PingStatus::Timeout));
    }
}
