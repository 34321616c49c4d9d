//! Nobody is told: a container on a router has no service manager.

/// Does nothing.
pub fn ready(_status: &str) {}

/// Does nothing.
pub fn stopping() {}

/// Never ends.
pub async fn watchdog() {
    std::future::pending::<()>().await;
}
