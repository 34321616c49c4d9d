//! The dead-man: a change that cuts off the way to the router is undone by the router itself.
//!
//! Before the first write the router gets a script that is the inverse of the plan, and two entries in its scheduler that run it: one
//! after [`FUSE`], one at the next start, whatever its clock says then. Then the plan is carried out, a change at a time. A *new*
//! connection, and the tunnel if there was one, confirm it by taking script and entries out. Whatever happens instead, the router is
//! back as it was, without a reboot.
//!
//! | module | holds |
//! |---|---|
//! | `touches` | which changes touch the way of the session, or the tunnel |
//! | `split` | what waits until the rest has proved harmless |
//! | `inverse` | the script |
//! | `found` | a guard that a reading shows |
//! | `run` | arm, carry out, confirm |
//! | `outside` | how a change is judged over a new connection |
//! | `safe_mode` | the same under the router's own safe mode, for who asks for it |
//!
//! Only [`super::apply`] writes. A real device may take 40 s to write its flash (*source*: the manual, NAND write-back): a power cut
//! within them can lose script and changes alike, or the one and not the other; no script can help that.

mod found;
mod inverse;
mod outside;
mod run;
#[cfg(feature = "proxy")]
mod safe_mode;
mod script;
mod split;
mod touches;

use std::time::Duration;

pub use found::{Found, armed, guard_of, guards};
pub use inverse::{Irreversible, Undo, inverse};
pub use run::{GuardError, Guarded, Guarding, Reach, Unconfirmed, apply_guarded, until_clear};
#[cfg(feature = "proxy")]
pub use safe_mode::{
    DEAD_PEER, MAX_SAFE_WRITES, NOTICED_WITHIN, NotSafe, Patience, SafeError, apply_in_safe_mode, check_safe_mode,
};
pub use split::split;
pub use touches::{Part, Touch, Touches, classify};

/// How long after arming the router puts itself back: with what the script takes, well within a minute.
pub const FUSE: Duration = Duration::from_secs(45);
/// How long before that nothing is confirmed any more: what is on its way then could cross the script.
pub const MARGIN: Duration = Duration::from_secs(5);
/// How long after arming the changes must be through: what is left is for new connections and a handshake.
pub const APPLY_WITHIN: Duration = Duration::from_secs(20);
/// How long a firewall rule may take to have its effect. *Source*: about 1 s, 5 s advised, observed by `MikroDash` on 7.24.4.
pub const SETTLE: Duration = Duration::from_secs(5);

/// How long a run waits for another's guard: that is confirmed or has run by then, and its session may need a moment.
pub const GONE_WITHIN: Duration = Duration::from_mins(1);

/// The times of a guard; tests have shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// See [`FUSE`]; whole seconds.
    pub fuse: Duration,
    /// See [`MARGIN`].
    pub margin: Duration,
    /// See [`APPLY_WITHIN`].
    pub apply_within: Duration,
    /// See [`SETTLE`].
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { fuse: FUSE, margin: MARGIN, apply_within: APPLY_WITHIN, settle: SETTLE }
    }
}

/// When a plan is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// When it touches what the session runs over.
    #[default]
    Session,
    /// When it touches that, or the tunnel that is there.
    Tunnel,
    /// Always.
    Always,
    /// Never, not even where that can cut us off.
    Never,
    /// Not by a script of ours: always by the router's own safe mode.
    #[cfg(feature = "proxy")]
    SafeMode,
}

impl When {
    /// Tells whether a plan that touches these is guarded.
    #[must_use]
    pub fn holds(self, touches: &Touches) -> bool {
        match self {
            Self::Session => !touches.session.is_empty(),
            Self::Tunnel => touches.any(),
            Self::Always => true,
            Self::Never => false,
            #[cfg(feature = "proxy")]
            Self::SafeMode => false,
        }
    }
}
