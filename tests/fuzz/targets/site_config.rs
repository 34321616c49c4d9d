//! No text makes the reader of site configs panic, and every refusal names the file.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sitepeer::config::{Privacy, parse};
use sitepeer::domain::Secret;

fuzz_target!(|text: &str| {
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    match parse(text, Path::new("site.toml"), Privacy::Private, |_| Ok(Secret::new(key.to_owned()))) {
        Ok(site) => assert!(site.check().is_ok(), "a site that breaks its own rules was let through"),
        Err(error) => assert!(error.to_string().starts_with("site.toml:"), "{error}"),
    }
});
