//! Tables.

use super::WIDTH;
use crate::cli::report::clean;

/// Between two columns.
const GAP: &str = "  ";

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli::hub) struct Column {
    name: &'static str,
    /// How narrow it may get where there is no room; 0 is as wide as its widest value.
    min: usize,
}

impl Column {
    /// A column whose values are shown whole.
    pub(in crate::cli::hub) const fn whole(name: &'static str) -> Self {
        Self { name, min: 0 }
    }

    /// A column whose values are cut where there is no room, down to `min` characters.
    pub(in crate::cli::hub) const fn cut(name: &'static str, min: usize) -> Self {
        Self { name, min }
    }
}

/// Rows with a head, of at most 80 columns.
#[derive(Debug)]
pub(in crate::cli::hub) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(in crate::cli::hub) fn new(columns: [Column; N], rows: impl IntoIterator<Item = [String; N]>) -> Self {
        let rows = rows.into_iter().map(|row| row.map(|value| shown(&value))).collect();
        Self { columns, rows }
    }

    /// The table; nothing where there are no rows.
    pub(in crate::cli::hub) fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths = self.widths();
        let head = line(&self.columns.map(|column| column.name.to_owned()), &widths);
        self.rows.iter().fold(head, |text, row| text + &line(row, &widths))
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.columns.map(|column| column.name.chars().count());
        for row in &self.rows {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = (*width).max(value.chars().count());
            }
        }
        let gaps = GAP.len() * N.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let widest = (0..N).filter(|at| self.columns[*at].min > 0 && widths[*at] > self.columns[*at].min);
            let Some(widest) = widest.max_by_key(|at| widths[*at]) else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

/// A value that is there.
fn shown(value: &str) -> String {
    let value = clean(value);
    if value.is_empty() { "-".to_owned() } else { value }
}

fn line<const N: usize>(values: &[String; N], widths: &[usize; N]) -> String {
    let cells: Vec<String> = values
        .iter()
        .zip(widths)
        .map(|(value, width)| {
            let cut = if value.chars().count() > *width {
                value.chars().take(width.saturating_sub(1)).chain(['…']).collect()
            } else {
                value.clone()
            };
            format!("{cut:<width$}")
        })
        .collect();
    cells.join(GAP).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_says_what_it_cut() {
        let columns = [Column::whole("ID"), Column::cut("NAME", 8), Column::cut("PLACE", 6)];
        let row = |id: &str, name: &str, place: &str| [id, name, place].map(str::to_owned);
        let table = Table::new(columns, [row("k3f9q2x7", &"n".repeat(64), &"p".repeat(30)), row("a", "b", "")]);
        let text = table.text();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("…") && text.contains("k3f9q2x7") && text.ends_with(" -\n"), "{text}");
    }

    #[test]
    fn what_others_wrote_cannot_begin_a_line_or_colour_it() {
        let table = Table::new([Column::whole("NAME")], [["x\ny\u{1b}[31m\u{202e}".to_owned()]]);
        assert_eq!(table.text(), "NAME\nx\u{fffd}y\u{fffd}[31m\u{fffd}\n");
    }

    #[test]
    fn no_rows_are_no_table() {
        assert_eq!(Table::new([Column::whole("NAME")], []).text(), "");
    }
}
