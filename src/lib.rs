//! sitepeer
