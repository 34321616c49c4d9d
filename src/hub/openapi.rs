//! The OpenAPI document: from the handlers and the types themselves; what all operations share is added here once.

use std::sync::LazyLock;

use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(info(title = "sitepeer hub"))]
struct Document;

/// Returns the document as JSON.
pub(super) fn document() -> &'static [u8] {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| serde_json::to_vec(&Document::openapi()).unwrap_or_default());
    &TEXT
}
