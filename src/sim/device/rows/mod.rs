//! Rows: how they are kept, shown, asked for and compared.

mod query;
mod state;
mod table;
mod view;

pub use state::{DeviceState, StateOptions};
pub(crate) use table::{FIRST_DYNAMIC_ROUTE, Fields, Item, Origin, Table, parse_id, show_id};
pub(super) use view::belongs;
pub(crate) use view::{View, Wanted};
