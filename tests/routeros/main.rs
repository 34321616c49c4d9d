//! The RouterOS API client against a router that can misbehave in every way.

mod calls;
mod cancel;
mod codec;
mod deadlines;
mod fake;
mod golden;
mod hostile;
mod login;
mod replies;
mod slow_reader;
mod tls;
mod url;
