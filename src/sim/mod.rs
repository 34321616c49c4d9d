//! A simulated RouterOS device.
//!
//! It answers the API as a device of a chosen version does: the same menus and arguments, the same refusals in the same words,
//! the rows of a home router as it leaves the factory, and on demand the faults that networks and routers have.
//! What it says comes from recordings (`data/`); where the truth is unknown, its answer is marked as made here, and nothing may
//! depend on it.
//!
//! | module | holds |
//! |---|---|
//! | [`options`], [`faults`] | what is chosen about a device |
//! | `schema` | menus, arguments and types by version |
//! | `script` | the part of the script language that stored scripts need |
//! | `device` | rows and commands, without I/O |
//! | [`plane`] | what the device does with packets: real WireGuard, routes, firewall, ping |
//! | `server` | sockets, sessions, login, faults of the link |

mod device;
pub mod faults;
pub mod options;
pub mod plane;
mod schema;
mod script;
mod server;

pub use device::{DeviceState, StateOptions, Trap};
pub use faults::{FAULT_NAMES, Fault, InvalidFault};
pub use options::{LoginMethod, SessionPath, SimOptions, SimUser, Through};
pub use schema::SchemaError;
pub use server::{OperatorRow, SimError, SimRouter, TlsError, Written};
