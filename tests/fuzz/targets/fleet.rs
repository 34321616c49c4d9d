//! No text makes the reader of fleet files panic, every refusal names a file, and what is read holds to the rules.

#![no_main]

use std::collections::HashSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sitepeer::agent::fleet::{MAX_ROUTERS, parse};

fuzz_target!(|text: &str| {
    match parse(text, Path::new("fleet.toml")) {
        Ok(fleet) => {
            assert!((1..=MAX_ROUTERS).contains(&fleet.routers.len()));
            let names: HashSet<_> = fleet.routers.iter().map(|router| &router.name).collect();
            assert_eq!(names.len(), fleet.routers.len(), "two routers of one name were let through");
        }
        // A site config that it names has a name of its own.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
