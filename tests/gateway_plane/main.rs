//! The rooted data planes in worlds of network namespaces. `SITEPEER_PLANE_BACKEND` = `userspace` (default) or `kernel`.

#![cfg(all(feature = "gateway", target_os = "linux"))]
#![expect(dead_code, reason = "the world's helpers serve other tests too")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod changes;
#[path = "../common/netns.rs"]
mod netns;
mod outside;
mod remains;
mod sites;
mod stage;
