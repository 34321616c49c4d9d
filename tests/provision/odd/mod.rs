//! Routers that are of another version, slow, broken, or liars.

mod faults;
mod hostile;
mod timed_rows;
mod versions;
