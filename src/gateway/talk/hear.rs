//! Asking the hub what is wanted: hello, then one long-poll after the other.

use std::time::Duration;

use super::super::GatewayOptions;
use crate::api::{GatewayHello, GatewayWelcome};
use crate::gateway::desired::{Delta, Offer, Pages, Refused, Step};
use crate::uplink::{Hub, UplinkError};

/// What was heard.
#[derive(Debug)]
pub enum Heard {
    /// Something new, complete.
    Change(Box<Delta>, Vec<Refused>),
    /// Nothing new.
    Nothing,
    /// The hub contradicts itself.
    Nonsense(String),
}

/// Listens to one hub.
#[derive(Debug)]
pub struct Ears {
    hub: Hub,
    hello: GatewayHello,
    greeted: bool,
}

impl Ears {
    /// For a gateway as it is set up.
    #[must_use]
    pub fn new(options: &GatewayOptions, install: &str) -> Self {
        let hello = GatewayHello {
            name: options.name.clone(),
            region: options.region.clone(),
            public_host: options.public_host.clone(),
            backend: options.planes.backend(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            install: install.to_owned(),
        };
        Self { hub: options.hub.clone(), hello, greeted: false }
    }

    /// Says hello if the hub has to hear it; returns how often it wants reports.
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// Safe: hello may be said twice.
    pub async fn greet(&mut self) -> Result<Option<Duration>, UplinkError> {
        if self.greeted {
            return Ok(None);
        }
        let welcome: GatewayWelcome = self.hub.post("/v1/gateway/hello", &self.hello).await?;
        self.greeted = true;
        tracing::info!(gateway = %welcome.id, hub = %self.hub.place(), "the hub knows this gateway");
        Ok(Some(Duration::from_secs(welcome.report_secs.into())))
    }

    /// Has the hub greeted again before the next question: it may have forgotten us.
    pub fn forget(&mut self) {
        self.greeted = false;
    }

    /// Asks what is new after a revision, and waits for it; without one, asks for everything, now.
    ///
    /// # Errors
    /// [`UplinkError`].
    ///
    /// # Cancel safety
    /// Safe: the next question gets the same answer.
    pub async fn hear(&self, since: Option<i64>) -> Result<Heard, UplinkError> {
        let mut pages = since.map_or_else(Pages::everything, Pages::since);
        let mut ask = pages.ask();
        loop {
            let path = format!("/v1/gateway/desired?revision={}&wait={}", ask.revision, ask.wait_secs);
            match pages.take(self.hub.poll::<Offer>(&path).await?) {
                Step::Next(next) => ask = next,
                Step::Whole(delta, refused) => return Ok(Heard::Change(delta, refused)),
                Step::Nothing => return Ok(Heard::Nothing),
                Step::Nonsense(why) => return Ok(Heard::Nonsense(why)),
            }
        }
    }
}
