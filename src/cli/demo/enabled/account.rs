//! The words of the demo: one screen for people, one event per fact for machines.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Site, Stage};
use crate::cli::report::{Event, Mode, Reporter, Tally, clean};
use crate::sim::plane::{PingStatus, PingSummary};

/// What is told, and to whom.
pub(super) struct Account<'a> {
    reporter: &'a Reporter,
    acts: u32,
}

impl<'a> Account<'a> {
    pub(super) fn new(reporter: &'a Reporter) -> Self {
        Self { reporter, acts: 0 }
    }

    /// A line for people only.
    pub(super) fn line(&self, text: &str) {
        self.reporter.data(&format!("{}\n", clean(text)));
    }

    /// The title of an act.
    pub(super) fn act(&mut self, title: &str) {
        self.acts += 1;
        self.line("");
        self.line(&format!("{}  {title}", self.acts));
    }

    /// A fact about one part of the stage.
    pub(super) fn fact(&self, act: &'static str, subject: &str, detail: &str, figures: Value) {
        match self.reporter.mode() {
            Mode::People => self.line(&format!("   {subject:<7}{detail}")),
            Mode::Json => self.reporter.event(&Event::Shown {
                act,
                subject: subject.to_owned(),
                detail: in_a_row(detail),
                figures,
            }),
        }
    }

    /// Who is who.
    pub(super) fn cast(&self, stage: &Stage) {
        let [north, south] = &stage.sites;
        self.line("sitepeer demo: two sites reach each other's LAN through a hub, all on this machine, without root.");
        self.line("The routers are simulated RouterOS devices; hub, gateway, WireGuard and the pings are real.");
        self.line("");
        self.line(&format!(
            "   {} ── north ══ WireGuard ══ gateway ══ WireGuard ══ south ── {}",
            north.subnet, south.subnet
        ));
        self.line("");
        for site in &stage.sites {
            let version = site.version.to_string();
            let detail = format!(
                "RouterOS {version:<7}  LAN host {}   tunnel {}   {}",
                site.host,
                site.tunnel,
                site.url.replace("admin@", "")
            );
            self.fact("start", site.name, &detail, site.figures());
        }
        let (endpoint, url) = (stage.hub.endpoint(), &stage.hub.url);
        let address = stage.hub.tunnel_address().map(|address| address.to_string()).unwrap_or_default();
        let detail = format!("{url:<43}tunnel {address}   {endpoint} (UDP)");
        let figures = json!({"endpoint": endpoint, "hub_url": url, "admin_token_file": stage.hub.token_file});
        self.fact("start", "hub", &detail, figures);
    }

    /// How to look around from another terminal.
    pub(super) fn look_around(&self, stage: &Stage) {
        if self.reporter.mode() == Mode::Json {
            return self.fact("up", "hub", "everything is up until this process is stopped", json!({}));
        }
        let [north, _] = &stage.sites;
        self.line("");
        self.line("Everything is up. Look around from another terminal; the lines work as they stand:");
        for (command, does) in [
            ("status", "handshake, traffic and round trip of north's tunnel"),
            ("plan", "what is not as it should be; nothing, now"),
            ("remove", "take the tunnel out of north"),
            ("provision", "put it in again, with a new key; the hub is told, no token is needed any more"),
        ] {
            self.line(&format!("   # {does}"));
            for line in command_lines(&north.words(command)) {
                self.line(&line);
            }
        }
        for (words, does) in [
            (&["peer", "list"][..], "what the hub knows of both sites"),
            (&["peer", "disable", "demo/south"], "switch south off; `enable` switches it on"),
            (&["audit"], "who did what"),
        ] {
            self.line(&format!("   # {does}"));
            for line in command_lines(&stage.hub.words(words)) {
                self.line(&line);
            }
        }
        self.line("");
        self.line("Ctrl-C takes everything out again, proves it, and ends.");
    }
}

/// What stands in columns for people, as one sentence.
fn in_a_row(detail: &str) -> String {
    let columns = detail.split("  ").map(str::trim).filter(|column| !column.is_empty());
    columns.collect::<Vec<_>>().join("; ")
}

/// A command to be pasted: the options on lines of their own.
fn command_lines(words: &[String]) -> Vec<String> {
    let program = std::env::current_exe().map_or_else(|_| "sitepeer".to_owned(), |path| path.display().to_string());
    let mut lines = vec![format!("   {}", shell_word(&program))];
    for word in words {
        let breaks = ["--password-file", "--token-file", "--hub", "--pin"].contains(&word.as_str());
        if let (true, Some(last)) = (breaks, lines.last_mut()) {
            last.push_str(" \\");
            lines.push("      ".to_owned() + word);
        } else if let Some(last) = lines.last_mut() {
            last.push(' ');
            last.push_str(&shell_word(word));
        }
    }
    lines
}

/// A word that a shell takes as it is.
fn shell_word(word: &str) -> String {
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@=,+%".contains(&byte));
    if plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Round trips by kind: `6 round trips: 1 login, 1 read, 3 write, 1 verify`, the wait for proof apart.
pub(super) fn round_trips(tally: &Tally) -> String {
    let trips = tally.round_trips;
    let kinds = [(trips.login, "login"), (trips.read, "read"), (trips.write, "write"), (trips.verify, "verify")];
    let told: Vec<String> =
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
    format!("{} ({})", counted(trips.total() - trips.prove, "round trip"), told.join(", "))
}

/// `1 row`, `2 rows`.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What became of a series of pings.
pub(super) fn pings(summary: &PingSummary) -> String {
    let answered = format!("{} of {} answered", summary.received, summary.sent);
    if let Some(mean) = summary.avg() {
        return format!("{answered}, {} round trip", duration(mean));
    }
    let why = summary.last_failure.and_then(PingStatus::word).unwrap_or("nothing was sent");
    format!("{answered}: {why}")
}

/// The figures of a series of pings.
pub(super) fn ping_figures(from: &Site, to: &Site, summary: &PingSummary) -> Value {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    json!({
        "from": from.host,
        "to": to.host,
        "sent": summary.sent,
        "received": summary.received,
        "rtt_us": summary.avg().map(micros),
    })
}

/// The figures of what a command cost.
pub(super) fn cost(tally: &Tally) -> Value {
    json!({
        "writes": tally.writes,
        "round_trips": tally.round_trips.total(),
        "round_trips_by": tally.round_trips,
    })
}

/// A time with two digits that matter: `0.42 ms`, `5.1 s`.
pub(super) fn duration(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ..1.0 => format!("{millis:.2} ms"),
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_two_digits_that_matter() {
        let told = [420, 4_200, 42_000, 420_000, 5_140_000].map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(told, ["0.42 ms", "4.2 ms", "42 ms", "420 ms", "5.1 s"]);
    }

    #[test]
    fn columns_become_one_sentence_for_machines() {
        assert_eq!(in_a_row("RouterOS 7.24     LAN host 192.0.2.1   up"), "RouterOS 7.24; LAN host 192.0.2.1; up");
    }

    #[test]
    fn a_path_with_a_space_or_a_quote_is_one_word_for_the_shell() {
        assert_eq!(shell_word("/tmp/a-1/x.toml"), "/tmp/a-1/x.toml");
        assert_eq!(shell_word("/tmp/it's here"), r"'/tmp/it'\''s here'");
    }

    #[test]
    fn proof_is_no_part_of_the_round_trips_told() {
        let mut tally = Tally::default();
        (tally.round_trips.login, tally.round_trips.read, tally.round_trips.prove) = (1, 1, 7);
        assert_eq!(round_trips(&tally), "2 round trips (1 login, 1 read)");
    }
}
