//! A provisioned router with somebody who watches its tunnel.

use std::time::{Duration, Instant};

use sitepeer::api::TunnelState;
use sitepeer::health::state::PERIOD;
use sitepeer::health::{HubView, Moment, Monitor, Report, Settings};
use sitepeer::routeros::client::Client;
use sitepeer::routeros::connect;
use sitepeer::sim::SimOptions;

use crate::run::access;
use crate::site::SiteText;
use crate::world::World;

/// What the issue allows from a fault to the verdict with its cause.
pub const VERDICT_WITHIN: Duration = Duration::from_mins(1);

/// A world with a monitor in it.
pub struct Watch {
    pub world: World,
    pub site: SiteText,
    pub monitor: Monitor,
    client: Client,
    start: Instant,
}

impl Watch {
    /// Provisions and looks once: the tunnel is up.
    pub async fn up() -> Self {
        Self::up_with(|_| {}, |site| site).await
    }

    pub async fn up_with(change: impl FnOnce(&mut SimOptions), site: impl FnOnce(SiteText) -> SiteText) -> Self {
        let world = Box::pin(World::start_with(change)).await;
        let site = site(world.site());
        Box::pin(world.provision(&site)).await.assert_result("converged");
        let mut watch = Box::pin(Self::over(world, site)).await;
        let report = Box::pin(watch.cycle()).await;
        assert_eq!(report.state, TunnelState::Up, "{report:#?}");
        assert_eq!(codes(&report), [""; 0], "nothing is the matter: {report:#?}");
        watch
    }

    /// Begins to watch a world as it is.
    pub async fn over(world: World, site: SiteText) -> Self {
        let client = connect(&access("admin", "", world.router.api_addr())).await.unwrap();
        let start = Instant::now();
        let settings = Settings { user: "admin".to_owned() };
        let monitor = Monitor::new(site.load(), settings, Moment::since(start));
        Self { world, site, monitor, client, start }
    }

    pub fn now(&self) -> Moment {
        Moment::since(self.start)
    }

    /// One cycle, now.
    pub async fn cycle(&mut self) -> Report {
        let now = self.now();
        self.monitor.cycle(&self.client, now).await.unwrap()
    }

    /// Connects anew, as the agent does when the router was away.
    pub async fn reconnect(&mut self) {
        let access = access("admin", "", self.world.router.api_addr());
        loop {
            match connect(&access).await {
                Ok(client) => return self.client = client,
                Err(error) => tracing::debug!(%error, "not yet"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the hub tells an agent when all is well with it.
    pub async fn hub_view(&self) -> HubView {
        HubView { enabled: Some(true), public_key: self.public_key().await, gateway_online: Some(true) }
    }

    /// The router's public key.
    pub async fn public_key(&self) -> Option<sitepeer::domain::PublicKey> {
        let rows = self.world.operator("/interface/wireguard/print", &[]).await;
        let of = |row: &sitepeer::sim::OperatorRow, name: &str| {
            row.iter().find(|(field, _)| field == name).map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        let ours = rows.iter().find(|row| of(row, "name").as_deref() == Some("sitepeer-acme"))?;
        of(ours, "public-key")?.parse().ok()
    }

    /// Runs cycles until exactly these codes are shown in a state.
    pub async fn until_shown(&mut self, state: TunnelState, wanted: &[&str]) -> Report {
        let report = self.until(|report| report.state == state && !report.findings.is_empty()).await;
        assert_eq!(codes(&report), wanted, "{report:#?}");
        for finding in &report.findings {
            assert!(!finding.evidence.is_empty() && !finding.hint.is_empty(), "{finding:?}");
            assert!(!finding.hint.contains(['{', '}']), "a hint is filled in: {finding:?}");
        }
        report
    }

    /// Runs cycles when they are due until one reports as is wanted, within what is left of a minute.
    ///
    /// A steady monitor may have looked right before something happens: its whole pause is taken off the minute instead of
    /// being waited for.
    pub async fn until(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        let begun = Instant::now();
        let mut due = tokio::time::Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let looked = tokio::time::Instant::now();
            let report = self.cycle().await;
            assert!(begun.elapsed() + PERIOD < VERDICT_WITHIN, "no verdict within a minute: {report:#?}");
            if wanted(&report) {
                return report;
            }
            due = looked + report.next_in;
        }
    }
}

/// The codes of what is the matter.
pub fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}
