//! The right to write to a router ends at any moment: nothing is written after it, and who has a larger number goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sitepeer::domain::Site;
use sitepeer::reconcile::apply::{ApplyError, LocalLock, LockError, Warrant};
use sitepeer::reconcile::converge::{ConvergeError, Progress, Task, converge};
use sitepeer::reconcile::decide::{decide_guarded, decide_settled};
use sitepeer::reconcile::guard::{GuardError, Guarding, Reach, Timing, When, apply_guarded};
use sitepeer::reconcile::observe::{Interest, Observed, observe};
use sitepeer::reconcile::preflight::Session;
use sitepeer::routeros::client::Client;
use sitepeer::routeros::target::{ConnectError, connect};
use sitepeer::sim::{SimOptions, SimRouter};

use crate::run::access;
use crate::site::SiteText;
use crate::world;

/// More looks at a warrant than any run has.
const ALWAYS: usize = usize::MAX;
/// Longer than a guard waits.
const PROMISED: Duration = Duration::from_secs(61);

/// A warrant that says yes so often, and notes how much was written when it said no.
#[derive(Debug)]
struct Ticket {
    number: i64,
    looks: AtomicUsize,
    good_for: usize,
    router: Written,
    /// Writes of sessions at the first no; [`ALWAYS`] if there was none.
    then: AtomicUsize,
}

/// Counts what sessions wrote.
struct Written(Arc<SimRouter>);

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} writes", self.0.written().len())
    }
}

impl Warrant for Ticket {
    fn number(&self) -> i64 {
        self.number
    }

    fn of_run(self: Arc<Self>) -> Arc<dyn Warrant> {
        self
    }

    fn holds(&self) -> bool {
        let holds = self.looks.fetch_add(1, Ordering::Relaxed) < self.good_for;
        if !holds {
            self.then.fetch_min(self.router.0.written().len(), Ordering::Relaxed);
        }
        holds
    }
}

struct Place {
    router: Arc<SimRouter>,
    site: Site,
    client: Client,
}

impl Place {
    async fn start() -> Self {
        let hub = world::hub().await;
        let options = SimOptions { api_ssl: None, plane: false, ..SimOptions::default() };
        let router = Arc::new(SimRouter::start(options).await.unwrap());
        let client = connect(&access("admin", "", router.api_addr())).await.unwrap();
        Self { router, site: SiteText::a(&hub).load(), client }
    }

    fn ticket(&self, number: i64, good_for: usize) -> Arc<Ticket> {
        let (looks, then) = (AtomicUsize::new(0), AtomicUsize::new(ALWAYS));
        Arc::new(Ticket { number, looks, good_for, router: Written(Arc::clone(&self.router)), then })
    }

    fn local(&self, ticket: Option<Arc<Ticket>>) -> LocalLock {
        let local = LocalLock::claim(&self.client.peer_addr().to_string()).unwrap();
        local.under(ticket.map(|ticket| -> Arc<dyn Warrant> { ticket }))
    }

    async fn session(&self) -> Session {
        Session::of(&self.client, "admin", Some(&self.site), 1_785_000_000, true).await
    }

    async fn converge(&self, ticket: Option<Arc<Ticket>>) -> Result<Observed, ConvergeError> {
        let (session, interest) = (self.session().await, Interest::of(&self.site));
        let before = observe(&self.client, &interest).await.unwrap();
        let decide = |observed: &Observed| decide_guarded(&self.site, observed, &session, 10);
        let settled = |observed: &Observed| decide_settled(&self.site, observed, &session);
        let task = Task { site: &self.site.id, interest, decide, settled, agreed: None };
        converge(&self.client, task, self.local(ticket), &before, &mut Progress::default(), |_| {}).await
    }

    /// Somebody else's lock, with 60 s to go.
    async fn lock(&self, key: &str) {
        let comment = format!("sitepeer:k3f9q2:lock:{key}");
        let entry = [("list", "sitepeer-lock"), ("address", "192.0.2.1"), ("timeout", "60s"), ("comment", &comment)];
        let entry = entry.map(|(name, value)| (name, value.as_bytes()));
        self.router.operator("/ip/firewall/address-list/add", &entry).await.unwrap();
    }
}

fn is_unwarranted(error: &ConvergeError) -> bool {
    matches!(
        error,
        ConvergeError::Lock(LockError::Unwarranted) | ConvergeError::Apply(ApplyError::Lock(LockError::Unwarranted))
    )
}

#[tokio::test]
async fn nothing_is_written_after_the_warrant_ended_wherever_that_is() {
    let mut cuts = 0;
    loop {
        let place = Place::start().await;
        let ticket = place.ticket(7, cuts);
        let result = place.converge(Some(Arc::clone(&ticket))).await;
        if ticket.then.load(Ordering::Relaxed) == ALWAYS {
            result.unwrap();
            break;
        }
        assert_eq!(place.router.written().len(), ticket.then.load(Ordering::Relaxed), "after {cuts} looks");
        // Only letting go of the lock comes after the last change, and needs the right, too.
        assert!(result.is_ok() || result.as_ref().is_err_and(is_unwarranted), "after {cuts} looks: {result:?}");
        // The next holder completes it at once, over the lock that was left.
        place
            .converge(Some(place.ticket(8, ALWAYS)))
            .await
            .unwrap_or_else(|error| panic!("after {cuts} looks: {error}"));
        cuts += 1;
    }
    assert!(cuts >= 4, "it is looked at {cuts} times only");
}

#[tokio::test]
async fn a_larger_number_takes_the_lock_over_a_smaller_one_stops_and_one_without_waits() {
    let place = Place::start().await;
    place.lock("aaaaaaaaaaaaaaaa:5").await;
    let before = place.router.written().len();
    let smaller = place.converge(Some(place.ticket(4, ALWAYS))).await.unwrap_err();
    assert!(is_unwarranted(&smaller), "{smaller}");
    for ticket in [None, Some(place.ticket(5, ALWAYS))] {
        let busy = place.converge(ticket).await.unwrap_err();
        assert!(matches!(busy, ConvergeError::Lock(LockError::Busy(Some(_)))), "{busy}");
    }
    assert_eq!(place.router.written().len(), before, "none of them wrote");
    place.converge(Some(place.ticket(6, ALWAYS))).await.unwrap();
}

#[tokio::test]
async fn a_lock_without_a_number_is_nobody_s_to_take_over() {
    let place = Place::start().await;
    place.lock("aaaaaaaaaaaaaaaa").await;
    let busy = place.converge(Some(place.ticket(9, ALWAYS))).await.unwrap_err();
    assert!(matches!(busy, ConvergeError::Lock(LockError::Busy(Some(_)))), "{busy}");
}

struct Again(std::net::SocketAddr);

impl Reach for Again {
    async fn connect(&self) -> Result<Client, ConnectError> {
        connect(&access("admin", "", self.0)).await
    }

    async fn carries(&self, _: &Client, _: &Observed, _: &Progress, _: Duration) -> bool {
        true
    }
}

#[tokio::test]
async fn a_guarded_change_whose_warrant_ends_is_undone_by_the_router_and_not_by_us() {
    for good_for in 3..6 {
        let place = Place::start().await;
        let (session, interest) = (place.session().await, Interest::of(&place.site));
        let before = observe(&place.client, &interest).await.unwrap();
        let decide = |observed: &Observed| decide_guarded(&place.site, observed, &session, 10);
        let settled = |observed: &Observed| decide_settled(&place.site, observed, &session);
        let task = Task { site: &place.site.id, interest, decide, settled, agreed: None };
        let reach = Again(place.router.api_addr());
        let guarding = Guarding { when: When::Always, session: &session, timing: Timing::default(), reach: &reach };
        let ticket = place.ticket(7, good_for);
        let local = place.local(Some(Arc::clone(&ticket)));
        let mut progress = Progress::default();
        let run = apply_guarded(&place.client, task, local, &before, &mut progress, |_| {}, guarding);
        let minute = async {
            while ticket.then.load(Ordering::Relaxed) == ALWAYS {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            place.router.pass_time(PROMISED).await;
        };
        let (result, ()) = tokio::join!(Box::pin(run), minute);
        let why = format!("after {good_for} looks: {result:?}");
        assert!(matches!(result, Err(GuardError::PutBack { .. } | GuardError::Converge(_))), "{why}");
        assert_eq!(place.router.written().len(), ticket.then.load(Ordering::Relaxed), "{why}");
        let interfaces = place.router.operator("/interface/wireguard/print", &[]).await.unwrap();
        let is_ours = |value: &[u8]| value.starts_with(b"sitepeer:");
        let ours = interfaces.iter().flatten().filter(|(name, value)| name == "comment" && is_ours(value)).count();
        assert_eq!(ours, 0, "the router is as before; {why}");
    }
}
