//! What people read of a fleet: a line for each router that ends, and the table at the end.

use serde_json::{Value, json};

use super::one::Ended;
use crate::cli::report::{Outcome, Verdict, clean};
use crate::routeros::menu::format_duration;

/// Widest value of the last column: a terminal of 120 columns.
const WORDS: usize = 70;

/// A verdict in its word.
pub(super) fn verdict(verdict: Verdict) -> String {
    // A verdict is a text in JSON.
    json!(verdict).as_str().unwrap_or_default().replace('_', " ")
}

/// How a router's turn ended, in a word and a line.
pub(super) fn ended(ended: &Ended) -> (String, String) {
    let (word, words) = match &ended.result {
        Ok(outcome) => (verdict(outcome.verdict), of_outcome(outcome)),
        Err(failure) => (verdict(failure.verdict), failure.message.clone()),
    };
    (word, clean(&words))
}

fn of_outcome(outcome: &Outcome) -> String {
    let details = &outcome.details;
    if let Some(status) = details.get("status") {
        return of_status(status);
    }
    let changes = match details.get("changes").and_then(Value::as_u64) {
        None | Some(0) => "nothing to change".to_owned(),
        Some(changes) if outcome.verdict == Verdict::Pending => format!("{changes} changes to be made"),
        Some(changes) => format!("{changes} rows changed"),
    };
    let cause = details.get("causes").and_then(|causes| causes.get(0)?.get("message")?.as_str());
    cause.map_or_else(|| changes.clone(), |cause| format!("{changes}; {cause}"))
}

fn of_status(status: &Value) -> String {
    let peer = &status["peer"];
    let handshake = peer["handshake_age_secs"].as_u64().map(std::time::Duration::from_secs);
    let handshake =
        handshake.map_or("no handshake".to_owned(), |age| format!("handshake {} ago", format_duration(age)));
    match status["probe"]["rtt_us"]["mean"].as_u64() {
        Some(mean) => {
            format!("{handshake}, {} round trip", crate::cli::show::millis(std::time::Duration::from_micros(mean)))
        }
        None => format!("{handshake}, no answer through the tunnel"),
    }
}

/// The table of all routers: name, result, time, words.
pub(super) fn table(rows: &[[String; 4]]) -> String {
    let head = ["ROUTER", "RESULT", "TIME", "WHAT"].map(str::to_owned);
    let width =
        |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |[name, result, time, words]: &[String; 4]| {
        let short: String = if words.chars().count() > WORDS {
            words.chars().take(WORDS - 1).chain(['…']).collect()
        } else {
            words.clone()
        };
        let [a, b, c] = widths;
        format!("{name:<a$}  {result:<b$}  {time:>c$}  {short}").trim_end().to_owned() + "\n"
    };
    rows.iter().fold(line(&head), |text, row| text + &line(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_a_long_word_is_cut() {
        let row = |name: &str, words: &str| [name, "converged", "1.2 s", words].map(str::to_owned);
        let text = table(&[row("oslo-1", "14 rows changed"), row("bergen-harbour", &"x".repeat(200))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ROUTER          RESULT      TIME  WHAT");
        assert_eq!(lines[1], "oslo-1          converged  1.2 s  14 rows changed");
        assert!(lines[2].ends_with('…') && lines[2].chars().count() <= 120, "{text}");
    }
}
