//! The question before the first write.

use std::io;
use std::time::Duration;

use crate::cli::failure::Failure;

use super::{Reporter, Verdict};

/// How long a person may think. Meanwhile the session to the router stands open.
const PATIENCE: Duration = Duration::from_mins(10);

/// Whether a change still needs a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// `--yes` was given.
    Given,
    /// There is a terminal, and somebody to ask.
    Ask,
}

impl Confirm {
    /// Returns if the change may be made.
    ///
    /// # Errors
    /// A [`Failure`] with [`Verdict::Pending`] if the answer is not yes, or does not come within ten minutes.
    ///
    /// # Cancel safety
    /// Dropping it leaves a thread waiting for a line on stdin, which ends with the process.
    pub async fn obtain(self, reporter: &Reporter, question: &str) -> Result<(), Failure> {
        if self == Self::Given {
            return Ok(());
        }
        reporter.note(&format!("{question} [y/N]"));
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_bytes| line)
        });
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(line))) if is_yes(&line) => Ok(()),
            Ok(Ok(Ok(_))) => Err(Failure::new(Verdict::Pending, "declined", "nothing was changed")),
            Ok(Ok(Err(error))) => Err(Failure::usage("needs-yes", format!("cannot read the answer: {error}"))),
            Ok(Err(error)) => Err(Failure::internal(format!("the question failed: {error}"))),
            Err(_elapsed) => Err(Failure::new(Verdict::Pending, "declined", "no answer; nothing was changed")),
        }
    }
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_yes_is_yes() {
        assert!(super::is_yes("y\n") && super::is_yes("YES\r\n"));
        assert!(!super::is_yes("\n") && !super::is_yes("") && !super::is_yes("yep\n"));
    }
}
