//! What the tests are made of: a hub and routers, sites, commands run in this process, and somebody in between.

pub mod meddler;
pub mod run;
pub mod site;
pub mod world;
