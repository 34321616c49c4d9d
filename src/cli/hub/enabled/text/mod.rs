//! What a hub says, shown to people: tables and sheets that fit 80 columns, ages, times, words.
//!
//! Every value goes through [`clean`](crate::cli::report::clean): what others wrote must not speak to the terminal.

mod sheet;
mod table;
mod words;

pub(super) use sheet::Sheet;
pub(super) use table::{Column, Table};
pub(super) use words::{age, join, now, rate, since, when, word};

/// Widest line: what every terminal has.
const WIDTH: usize = 80;
