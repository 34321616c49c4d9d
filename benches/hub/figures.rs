//! Figures beside their budgets.

use std::process::ExitCode;
use std::time::Duration;

/// What was measured; whether something that is judged did not hold.
#[derive(Debug, Default)]
pub struct Figures {
    failed: Vec<String>,
}

pub fn heading(text: &str) {
    println!("\n{text}");
}

/// Shows a figure without a budget.
pub fn say(what: &str, figure: &str) {
    println!("  {what:<52} {figure}");
}

/// Shows a time's distribution beside its budget, at the percentile that the budget is for.
pub fn times(what: &str, times: &mut [Duration], percentile: usize, budget: Duration) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let (held, most) = (at(percentile), times[times.len() - 1]);
    let ratio = held.as_secs_f64() / budget.as_secs_f64();
    let shown = format!(
        "p50 {}, p{percentile} {}, max {} of {}: {ratio:.2} of {}{}",
        millis(at(50)),
        millis(held),
        millis(most),
        times.len(),
        millis(budget),
        if ratio > 1.0 { "  OVER BUDGET" } else { "" }
    );
    say(what, &shown);
}

impl Figures {
    /// What has to hold on any machine.
    pub fn holds(&mut self, what: &str, figure: &str, is_held: bool) {
        say(what, &format!("{figure}{}", if is_held { "" } else { "  FAILED" }));
        if !is_held {
            self.failed.push(what.to_owned());
        }
    }

    pub fn end(&self) -> ExitCode {
        if self.failed.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("\nnot held: {}", self.failed.join("; "));
        ExitCode::FAILURE
    }
}

pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
