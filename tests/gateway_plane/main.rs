//! The rooted data planes in worlds of network namespaces.
//!
//! `SITEPEER_PLANE_BACKEND` is `userspace` (default) or `kernel`. In a virtual machine: build with `cargo test --test gateway_plane
//! --no-run`, take the binary with `ip nft nsenter ping wg kill sh` along, and run it there with
//! `SITEPEER_PLANE_BACKEND=kernel ./gateway_plane --test-threads=1 --nocapture`: `tests/vm/run.sh` does that. Without
//! `wireguard-go`, sites and clients are the kernel's WireGuard, too.

#![cfg(all(feature = "gateway", target_os = "linux"))]
#![expect(dead_code, reason = "the world's helpers serve other tests too")]
#![expect(clippy::unwrap_used, reason = "a test that unwraps fails with the place")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod changes;
mod moves;
#[path = "../common/netns.rs"]
mod netns;
mod outside;
mod remains;
mod sites;
mod stage;
