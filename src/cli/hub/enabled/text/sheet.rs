//! One thing, line by line.

use super::WIDTH;
use crate::cli::report::clean;

/// Where values begin.
const INDENT: usize = 13;

/// Names and values, a line each; a value with many words goes on in the next line.
#[derive(Debug, Default)]
pub(in crate::cli::hub) struct Sheet(String);

impl Sheet {
    /// Adds a line; `none` where there is no value.
    pub(in crate::cli::hub) fn line(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = clean(value.as_ref());
        let value = if value.is_empty() { "none" } else { &value };
        let mut line = format!("{name:<width$}", width = INDENT - 1);
        let mut used = INDENT - 1;
        for (index, word) in value.split(' ').flat_map(pieces).enumerate() {
            let length = word.chars().count();
            if index > 0 && used + 1 + length > WIDTH {
                line.push('\n');
                line.push_str(&" ".repeat(INDENT - 1));
                used = INDENT - 1;
            }
            line.push(' ');
            line.push_str(&word);
            used += 1 + length;
        }
        self.0.push_str(&line);
        self.0.push('\n');
        self
    }

    /// Adds a line if there is a value.
    pub(in crate::cli::hub) fn line_if(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.line(name, value),
            None => self,
        }
    }

    pub(in crate::cli::hub) fn text(&self) -> &str {
        &self.0
    }
}

/// A word in pieces that fit a line.
fn pieces(word: &str) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(WIDTH - INDENT).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_goes_on_below_itself() {
        let subnets: Vec<String> = (0..12).map(|n| format!("10.{n}.0.0/16")).collect();
        let sheet = Sheet::default().line("subnets", subnets.join(", ")).line("dns", "");
        let lines: Vec<&str> = sheet.text().lines().collect();
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines[1].starts_with("             10."), "{lines:?}");
        assert_eq!(lines.last(), Some(&"dns          none"));
    }

    #[test]
    fn a_value_cannot_begin_a_line_of_its_own() {
        assert_eq!(Sheet::default().line("user", "x\nadmin: yes").text(), "user         x\u{fffd}admin: yes\n");
    }
}
