//! Lists in pages.

use serde::{Deserialize, Serialize};

/// Items in a page if none are asked for.
pub const DEFAULT_PAGE: usize = 100;
/// Most items in a page.
pub const MAX_PAGE: usize = 1000;

/// Part of a list, in the order of ids (audit entries: newest first).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; nothing follows where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
