//! No text makes the reader of credential files panic, and no refusal shows what stands in one.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sitepeer::agent::fleet::{Credentials, MAX_RULES};

/// Stands where a password would, whatever else the file says.
const PASSWORD: &str = "zQ7-never-shown-zQ7";

fuzz_target!(|text: &str| {
    assert!(MAX_RULES > 0);
    let file = Path::new("credentials.toml");
    for text in [text.to_owned(), format!("{text}\npassword = \"{PASSWORD}\"\n")] {
        if let Err(error) = Credentials::parse(&text, file) {
            let said = format!("{error} {error:?}");
            assert!(said.starts_with("credentials.toml"), "{said}");
            assert!(!said.contains(PASSWORD), "{said}");
        }
    }
});
