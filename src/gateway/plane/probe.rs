//! What this host has for a data plane.
