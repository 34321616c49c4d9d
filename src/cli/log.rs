//! The process's log.

use std::fmt;
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::failure::Failure;

/// What gotatun calls an error, and where: a packet for a peer that has not called yet. On a gateway that is everyday life.
const EVERYDAY: (&str, &str) = ("gotatun::device", "No endpoint");

/// Writes the log to stderr, filtered as `--log` says.
pub(super) fn start(filter: &str) -> Result<(), Failure> {
    let targets: Targets = filter.parse().map_err(|_| {
        Failure::usage("usage", format!("--log: {filter:?} is no filter"))
            .hint("error, warn, info, debug, trace, or pairs such as sitepeer::routeros=debug,info")
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .with(NoEverydayErrors)
        .try_init()
        .map_err(|error| Failure::internal(format!("cannot start the log: {error}")))
}

/// Leaves [`EVERYDAY`] out, and nothing else of that library.
struct NoEverydayErrors;

impl<S: Subscriber> Layer<S> for NoEverydayErrors {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let (target, words) = EVERYDAY;
        if event.metadata().target() != target {
            return true;
        }
        let mut says = Says { words, found: false };
        event.record(&mut says);
        !says.found
    }
}

/// Whether the message of an event is this one.
struct Says {
    words: &'static str,
    found: bool,
}

impl Visit for Says {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.found |= field.name() == "message" && format!("{value:?}") == self.words;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Registry;
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn read(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| line.trim().to_owned()).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn errors_in(lines: &Lines) -> impl Layer<Registry> + use<> {
        let writer = lines.clone();
        let layer =
            tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false).without_time();
        layer.with_filter(LevelFilter::ERROR)
    }

    #[test]
    fn everyday_errors_of_gotatun_are_left_out_and_no_others() {
        let lines = Lines::default();
        let log = tracing_subscriber::registry().with(errors_in(&lines)).with(NoEverydayErrors);
        tracing::subscriber::with_default(log, || {
            tracing::error!(target: "gotatun::device", "No endpoint");
            tracing::error!(target: "gotatun::device", "Timer error = {}", 7);
            tracing::error!("No endpoint");
        });
        let expected = ["ERROR gotatun::device: Timer error = 7", "ERROR sitepeer::cli::log::tests: No endpoint"];
        assert_eq!(lines.read(), expected);
    }

    /// The words are the library's own: a new version may have others.
    #[cfg(feature = "gateway")]
    #[tokio::test]
    async fn a_packet_for_a_peer_that_has_not_called_is_that_everyday_error() {
        use std::time::{Duration, Instant};

        use crate::wireguard::device::{DeviceSettings, Embedded, PeerSettings};
        use crate::wireguard::keys::generate_private;
        use crate::wireguard::packet::IpPacket;
        use crate::wireguard::wire::TakenPort;

        let (lines, here) = (Lines::default(), std::net::Ipv4Addr::LOCALHOST.into());
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(errors_in(&lines)));
        let private_key = generate_private().unwrap();
        let settings = DeviceSettings { bind: here, port: 0, taken: TakenPort::Refuse, private_key, mtu: 1420 };
        let device = Embedded::new(&settings, Arc::default(), |_| Box::new(|_| {})).await.unwrap();
        device.resume(true).await.unwrap();
        let public_key = generate_private().unwrap().public();
        let allowed = vec!["10.0.0.0/8".parse().unwrap()];
        let peer = PeerSettings { public_key, preshared_key: None, endpoint: None, allowed, keepalive_secs: None };
        device.add(&peer).await.unwrap();
        let packet = IpPacket::echo_request("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 64, (1, 1), 84);
        device.input(1420).send(&packet.unwrap().to_bytes().unwrap());
        let begun = Instant::now();
        while lines.read().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "gotatun says nothing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(lines.read()[0], format!("ERROR {}: {}", EVERYDAY.0, EVERYDAY.1));
    }
}
